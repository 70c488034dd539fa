/* Layer normalization of arrays of n numbers (Ba, Kiros and Hinton 2016), forward and backward.
 *
 *     mean = sum(a) / n,   scale = 1 / sqrt(sum((a - mean)^2) / n + epsilon),   x = (a - mean) * scale
 *
 *     dx = dy * gain,   da = scale * (dx - (sum(dx) / n + x * (sum(dx * x) / n)))
 *
 * A sum has SUM_LANES lanes on every instruction set: number i is added to lane i mod SUM_LANES, i ascending, and the lanes are
 * added in pairs. Several arrays are summed side by side, because each sum is a chain of dependent operations.
 */
#ifndef RNNFAST_KERNELS_NORM_H
#define RNNFAST_KERNELS_NORM_H

#include <math.h>
#include <string.h>
#include "cells/cell.h"
#include "columns.h"
#include "kernels/vectors.h"

#define SUM_LANES 16
#define SUM_VECTORS (SUM_LANES / V)
#define NORM_EPSILON ((real)1e-5)

#if REAL_BITS == 32
#define SQUARE_ROOT sqrtf
#else
#define SQUARE_ROOT sqrt
#endif

/* Arrays that a call takes, at most, and how many of them are summed side by side: their sums should fit in the registers. */
enum { NORM_ARRAYS = 8, SIDE_BY_SIDE = V < 4 ? 1 : V / 2 };

typedef struct {
    real mean, scale;
} Moments;

/* Runs a statement for each vector v of numbers i..i+V of n; `lanes` of them are within n. */
#define EACH_VECTOR(i, n, ...) \
    do { \
        ptrdiff_t from = 0; \
        for (; from + SUM_LANES <= (n); from += SUM_LANES) \
            UNROLL for (int v = 0; v < SUM_VECTORS; v++) { \
                const ptrdiff_t i = from + v * V; \
                const int lanes = V; \
                __VA_ARGS__ \
            } \
        UNROLL for (int v = 0; v < SUM_VECTORS; v++) \
            if (from + v * V < (n)) { \
                const ptrdiff_t i = from + v * V; \
                const int lanes = lanes_at(i, n); \
                __VA_ARGS__ \
            } \
    } while (0)
#define EACH_ARRAY(r) UNROLL for (int r = 0; r < R; r++)

/* x, and zeros behind its first lanes. */
static ALWAYS_INLINE vec v_first(vec x, int lanes)
{
    real numbers[V];
    if (lanes == V) return x;
    v_store(numbers, x);
    return v_load_n(numbers, lanes);
}

/* The sum of the lanes of each of R sums, divided by n: lane l and lane l + 8 are added, then l and l + 4, l + 2, l + 1. Zips
 * put the lanes of two sums side by side, so that one addition serves both. sum [R][SUM_VECTORS] IN, mean [R] OUT. */
static ALWAYS_INLINE void means_of_lanes(const int R, vec (*sum)[SUM_VECTORS], ptrdiff_t n, real *mean)
{
    real numbers[NORM_ARRAYS][V];
    int left = R, copies = 1; /* vectors left; lanes that hold the same sum */

    EACH_ARRAY(r) UNROLL for (int half = SUM_VECTORS / 2; half; half /= 2)
        UNROLL for (int v = 0; v < half; v++) sum[r][v] = v_add(sum[r][v], sum[r][v + half]);
    UNROLL for (int width = V; width > 1; width /= 2) {
        const int pairs = left > 1 ? left / 2 : 1;
        UNROLL for (int r = 0; r < pairs; r++) {
            vec low, high;
            v_zip(sum[r][0], sum[left > 1 ? r + pairs : r][0], &low, &high);
            sum[r][0] = v_add(low, high);
        }
        if (left == 1) copies *= 2;
        left = pairs;
    }
    UNROLL for (int r = 0; r < left; r++) v_store(numbers[r], v_div(sum[r][0], v_set1((real)n)));
    EACH_ARRAY(r) mean[r] = numbers[r % left][r / left * copies];
}

static ALWAYS_INLINE void moments_of(const int R, const real *const *a, ptrdiff_t n, Moments *moments)
{
    vec sum[NORM_ARRAYS][SUM_VECTORS];
    real mean[NORM_ARRAYS], variance[NORM_ARRAYS];

    EACH_ARRAY(r) UNROLL for (int v = 0; v < SUM_VECTORS; v++) sum[r][v] = v_zero();
    EACH_VECTOR(i, n, EACH_ARRAY(r) sum[r][v] = v_add(sum[r][v], v_load_n(a[r] + i, lanes)););
    means_of_lanes(R, sum, n, mean);
    EACH_ARRAY(r) UNROLL for (int v = 0; v < SUM_VECTORS; v++) sum[r][v] = v_zero();
    EACH_VECTOR(i, n, EACH_ARRAY(r) {
        const vec centered = v_first(v_sub(v_load_n(a[r] + i, lanes), v_set1(mean[r])), lanes);
        sum[r][v] = v_fma(centered, centered, sum[r][v]);
    });
    means_of_lanes(R, sum, n, variance);
    EACH_ARRAY(r) moments[r] = (Moments){mean[r], 1 / SQUARE_ROOT(variance[r] + NORM_EPSILON)};
}

/* The moments of up to NORM_ARRAYS arrays of n numbers. a [count][n] IN, moments [count] OUT. */
static void norm_moments(int count, const real *const *a, ptrdiff_t n, Moments *moments)
{
    int r = 0;
    for (; r + SIDE_BY_SIDE <= count; r += SIDE_BY_SIDE) moments_of(SIDE_BY_SIDE, a + r, n, moments + r);
    for (; SIDE_BY_SIDE > 2 && r + 2 <= count; r += 2) moments_of(2, a + r, n, moments + r);
    for (; r < count; r++) moments_of(1, a + r, n, moments + r);
}

/* The normalized numbers of a vector of a row. */
static ALWAYS_INLINE vec v_normal(vec a, const Moments *m) { return v_mul(v_sub(a, v_set1(m->mean)), v_set1(m->scale)); }

#if TRAINS

static ALWAYS_INLINE void gradients_of(const int R, ptrdiff_t n, const real *const *dy, const real *const *gain,
                                       const Moments *moments, real *const *a, real *const *d_gain)
{
    vec sum[NORM_ARRAYS][SUM_VECTORS], with_x[NORM_ARRAYS][SUM_VECTORS];
    real mean[NORM_ARRAYS], mean_x[NORM_ARRAYS];

    EACH_ARRAY(r) UNROLL for (int v = 0; v < SUM_VECTORS; v++) sum[r][v] = with_x[r][v] = v_zero();
    EACH_VECTOR(i, n, EACH_ARRAY(r) {
        const vec x = v_normal(v_load_n(a[r] + i, lanes), &moments[r]);
        const vec dx = v_mul(v_load_n(dy[r] + i, lanes), v_load_n(gain[r] + i, lanes));
        sum[r][v] = v_add(sum[r][v], dx);
        with_x[r][v] = v_fma(dx, x, with_x[r][v]);
    });
    means_of_lanes(R, sum, n, mean);
    means_of_lanes(R, with_x, n, mean_x);
    for (int r = 0; r < R; r++) {
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
            v_store_n(a[r] + i, v_mul(v_set1(moments[r].scale), v_sub(v_mul(d, v_load_n(gain[r] + i, lanes)), shared)), lanes);
        }
    }
}

/* The gradients of up to NORM_ARRAYS arrays of n numbers, over the numbers themselves, and the share of each array in the gradient
 * of its gain. An array whose gradient is zero keeps a gradient of zero, whatever its numbers are.
 * dy, gain [count][n] IN; a [count][n] INOUT the numbers, then their gradients; d_gain [count][n] INOUT, or NULL. */
static void norm_gradient(int count, ptrdiff_t n, const real *const *dy, const real *const *gain, const Moments *moments,
                          real *const *a, real *const *d_gain)
{
    int r = 0;
    for (; r + SIDE_BY_SIDE <= count; r += SIDE_BY_SIDE)
        gradients_of(SIDE_BY_SIDE, n, dy + r, gain + r, moments + r, a + r, d_gain + r);
    for (; SIDE_BY_SIDE > 2 && r + 2 <= count; r += 2) gradients_of(2, n, dy + r, gain + r, moments + r, a + r, d_gain + r);
    for (; r < count; r++) gradients_of(1, n, dy + r, gain + r, moments + r, a + r, d_gain + r);
}

#endif

#endif
