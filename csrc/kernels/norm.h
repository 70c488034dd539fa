/* Layer normalization of rows of n numbers (Ba, Kiros and Hinton 2016), forward and backward.
 *
 *     mean = sum(a) / n,   scale = 1 / sqrt(sum((a - mean)^2) / n + epsilon),   x = (a - mean) * scale
 *
 *     dx = dy * gain,   da = scale * (dx - (sum(dx) / n + x * (sum(dx * x) / n)))
 *
 * A sum has SUM_LANES lanes on every instruction set: number i is added to lane i mod SUM_LANES, i ascending, and the lanes are
 * added in pairs. Several rows are summed side by side, because each sum is a chain of dependent operations.
 */
#ifndef RNNFAST_KERNELS_NORM_H
#define RNNFAST_KERNELS_NORM_H

#include <math.h>
#include <string.h>
#include "cells/cell.h"
#include "columns.h"

#define SUM_LANES 16
#define SUM_VECTORS (SUM_LANES / V)
#define NORM_EPSILON ((real)1e-5)
#if REAL_BITS == 32
#define SQUARE_ROOT sqrtf
#else
#define SQUARE_ROOT sqrt
#endif

enum { NORM_ROWS = 4 }; /* rows that are summed side by side, at most */

typedef struct {
    real mean, scale;
} Moments;

typedef struct {
    vec lane[SUM_VECTORS];
} LaneSum;

static ALWAYS_INLINE real lanes_added(const LaneSum *sum)
{
    real lanes[SUM_LANES];
    UNROLL for (int v = 0; v < SUM_VECTORS; v++) v_store(lanes + v * V, sum->lane[v]);
    for (int half = SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

/* Runs a statement for each vector v of numbers i..i+V of rows of n; `lanes` of them are within the row. */
#define EACH_VECTOR(i, n, ...) \
    do { \
        ptrdiff_t from = 0; \
        for (; from + SUM_LANES <= (n); from += SUM_LANES) \
            UNROLL for (int v = 0; v < SUM_VECTORS; v++) { \
                const ptrdiff_t i = from + v * V; \
                const int lanes = V; \
                __VA_ARGS__ \
            } \
        for (int v = 0; from + v * V < (n); v++) { \
            const ptrdiff_t i = from + v * V; \
            const int lanes = lanes_at(i, n); \
            __VA_ARGS__ \
        } \
    } while (0)
#define EACH_ROW(r) UNROLL for (int r = 0; r < R; r++)

/* x, and zeros behind its first lanes. */
static ALWAYS_INLINE vec v_first(vec x, int lanes)
{
    real numbers[V];
    if (lanes == V) return x;
    v_store(numbers, x);
    return v_load_n(numbers, lanes);
}

static ALWAYS_INLINE void moments_of(const int R, const real *const *a, ptrdiff_t n, Moments *moments)
{
    LaneSum sum[NORM_ROWS] = {0};

    EACH_VECTOR(i, n, EACH_ROW(r) sum[r].lane[v] = v_add(sum[r].lane[v], v_load_n(a[r] + i, lanes)););
    EACH_ROW(r) moments[r].mean = lanes_added(&sum[r]) / (real)n;
    memset(sum, 0, sizeof sum);
    EACH_VECTOR(i, n, EACH_ROW(r) {
        const vec centered = v_first(v_sub(v_load_n(a[r] + i, lanes), v_set1(moments[r].mean)), lanes);
        sum[r].lane[v] = v_fma(centered, centered, sum[r].lane[v]);
    });
    EACH_ROW(r) moments[r].scale = 1 / SQUARE_ROOT(lanes_added(&sum[r]) / (real)n + NORM_EPSILON);
}

/* The moments of up to NORM_ROWS rows of n numbers. a [rows][n] IN, moments [rows] OUT. */
static void norm_moments(int rows, const real *const *a, ptrdiff_t n, Moments *moments)
{
    if (rows == NORM_ROWS) moments_of(NORM_ROWS, a, n, moments);
    else for (int r = 0; r < rows; r++) moments_of(1, a + r, n, moments + r);
}

/* The normalized numbers of a vector of a row. */
static ALWAYS_INLINE vec v_normal(vec a, const Moments *m) { return v_mul(v_sub(a, v_set1(m->mean)), v_set1(m->scale)); }

#if TRAINS

static inline int is_zero(const real *d, ptrdiff_t n)
{
    while (n > 0 && *d == 0) n--, d++;
    return n == 0;
}

static ALWAYS_INLINE void gradients_of(const int R, ptrdiff_t n, const real *const *dy, const real *gain,
                                       const Moments *moments, real *const *a, real *const *d_gain)
{
    LaneSum sum[NORM_ROWS] = {0}, with_x[NORM_ROWS] = {0};
    real mean[NORM_ROWS], mean_x[NORM_ROWS];

    EACH_VECTOR(i, n, {
        const vec g = v_load_n(gain + i, lanes);
        EACH_ROW(r) {
            const vec x = v_normal(v_load_n(a[r] + i, lanes), &moments[r]), d = v_load_n(dy[r] + i, lanes), dx = v_mul(d, g);
            sum[r].lane[v] = v_add(sum[r].lane[v], dx);
            with_x[r].lane[v] = v_fma(dx, x, with_x[r].lane[v]);
        }
    });
    EACH_ROW(r) mean[r] = lanes_added(&sum[r]) / (real)n;
    EACH_ROW(r) mean_x[r] = lanes_added(&with_x[r]) / (real)n;
    EACH_ROW(r) {
        const int guard = !(moments[r].scale - moments[r].scale == 0);
        if (guard && is_zero(dy[r], n)) {
            memset(a[r], 0, (size_t)n * sizeof(real));
            continue;
        }
        for (ptrdiff_t i = 0; i < n; i += V) {
            const int lanes = lanes_at(i, n);
            const vec x = v_normal(v_load_n(a[r] + i, lanes), &moments[r]), d = v_load_n(dy[r] + i, lanes);
            const vec shared = v_fma(x, v_set1(mean_x[r]), v_set1(mean[r]));
            if (d_gain[r]) {
                const vec before = v_load_n(d_gain[r] + i, lanes), after = v_fma(d, x, before);
                v_store_n(d_gain[r] + i, guard ? v_guarded(1, d, after, before) : after, lanes);
            }
            v_store_n(a[r] + i, v_mul(v_set1(moments[r].scale), v_sub(v_mul(d, v_load_n(gain + i, lanes)), shared)), lanes);
        }
    }
}

/* The gradients of up to NORM_ROWS rows of n numbers, over the numbers themselves, and the share of each row in the gradient of
 * the gain. A row whose gradient is zero keeps a gradient of zero, whatever its numbers are.
 * dy [rows][n] IN, gain [n] IN, a [rows][n] INOUT the numbers, then their gradients; d_gain [rows][n] INOUT, or NULL. */
static void norm_gradient(int rows, ptrdiff_t n, const real *const *dy, const real *gain, const Moments *moments,
                          real *const *a, real *const *d_gain)
{
    if (rows == NORM_ROWS) gradients_of(NORM_ROWS, n, dy, gain, moments, a, d_gain);
    else for (int r = 0; r < rows; r++) gradients_of(1, n, dy + r, gain, moments + r, a + r, d_gain + r);
}

#endif

#endif
