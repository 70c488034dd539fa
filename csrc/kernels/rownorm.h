/* The module LayerNorm: layer normalization over the last axis (Ba, Kiros and Hinton 2016).
 *
 *     n[k] = (x[k] - mean) r,   r = 1 / sqrt(variance + eps),   y[k] = n[k] weight[k] + bias[k]
 *     g[k] = dy[k] weight[k],   dx[k] = r (g[k] - mean of g - n[k] (mean of g n)),   dweight = sum of dy n,   dbias = sum of dy
 *
 * These are plain loops in double, which the compiler vectorizes for each instruction set, because a module's input may be far
 * from zero. (norm.h is for the pre-activations of cells, which are near it, and sums in their own type.) A sum over a row is
 * PARTIAL partial sums, which are added in pairs. A sum over rows takes the first row first. So the bits are the same on every
 * instruction set, in any batch and for any number of threads.
 */
#ifndef RNNFAST_KERNELS_ROWNORM_H
#define RNNFAST_KERNELS_ROWNORM_H

#include <math.h>
#include <string.h>

#include "compiler.h"
#include "layernorm.h"
#include "kernels/vectors.h"

#define PARTIAL 16

/* Numbers of a row as the sums read them: x, its difference from the mean, and a product of two. */
static ALWAYS_INLINE double number(real x) { return FLUSHED(x); }
static ALWAYS_INLINE double centered(real x, double mean) { return FLUSHED(x) - mean; }
static ALWAYS_INLINE double times(real x, real y) { return (double)FLUSHED(x) * FLUSHED(y); }

/* The sum of PARTIAL partial sums, which it overwrites. */
static ALWAYS_INLINE double sum_of_partial(double *sums)
{
    for (int step = PARTIAL / 2; step; step /= 2)
        for (int l = 0; l < step; l++) sums[l] += sums[l + step];
    return sums[0];
}

/* The mean of N numbers. */
static ALWAYS_INLINE double mean_of(const real *x, ptrdiff_t N)
{
    double sums[PARTIAL] = {0};
    ptrdiff_t k = 0;

    for (; k + PARTIAL <= N; k += PARTIAL)
        for (int l = 0; l < PARTIAL; l++) sums[l] += number(x[k + l]);
    for (int l = 0; k + l < N; l++) sums[l] += number(x[k + l]);
    return sum_of_partial(sums) / (double)N;
}

/* The mean of the squares of N differences from `mean`. */
static ALWAYS_INLINE double variance_of(const real *x, double mean, ptrdiff_t N)
{
    double sums[PARTIAL] = {0};
    ptrdiff_t k = 0;

    for (; k + PARTIAL <= N; k += PARTIAL)
        for (int l = 0; l < PARTIAL; l++) sums[l] += centered(x[k + l], mean) * centered(x[k + l], mean);
    for (int l = 0; k + l < N; l++) sums[l] += centered(x[k + l], mean) * centered(x[k + l], mean);
    return sum_of_partial(sums) / (double)N;
}

/* y and the moments of rows m0..m1. */
static void rownorm_forward(const Norm *norm, ptrdiff_t m0, ptrdiff_t m1)
{
    const ptrdiff_t N = norm->N;
    const real *weight = norm->weight, *bias = norm->bias;

    for (ptrdiff_t m = m0; m < m1; m++) {
        const real *x = (const real *)norm->x + m * N;
        real *y = (real *)norm->out + m * N;
        const double mean = mean_of(x, N), r = 1 / sqrt(variance_of(x, mean, N) + norm->eps);
        norm->moments[2 * m] = mean;
        norm->moments[2 * m + 1] = r;
        if (bias)
            for (ptrdiff_t k = 0; k < N; k++)
                y[k] = FLUSHED((real)(centered(x[k], mean) * r * number(weight[k]) + number(bias[k])));
        else
            for (ptrdiff_t k = 0; k < N; k++) y[k] = FLUSHED((real)(centered(x[k], mean) * r * number(weight[k])));
    }
}

/* Whether all numbers of a row are finite. */
static ALWAYS_INLINE int rownorm_finite(const double *moments)
{
    return moments[0] - moments[0] == 0 && moments[1] - moments[1] == 0;
}

/* dx of rows m0..m1. In a row that is not finite it is zero if dy is zero. */
static void rownorm_backward(const Norm *norm, ptrdiff_t m0, ptrdiff_t m1)
{
    const ptrdiff_t N = norm->N;
    const real *weight = norm->weight;

    for (ptrdiff_t m = m0; m < m1; m++) {
        const real *x = (const real *)norm->x + m * N, *dy = (const real *)norm->dy + m * N;
        const double mean = norm->moments[2 * m], r = norm->moments[2 * m + 1];
        real *dx = (real *)norm->out + m * N;
        double sum[PARTIAL] = {0}, product[PARTIAL] = {0};
        ptrdiff_t k = 0;

        if (!rownorm_finite(norm->moments + 2 * m) && is_zero(dy, N)) {
            memset(dx, 0, (size_t)N * sizeof(real));
            continue;
        }
        for (; k + PARTIAL <= N; k += PARTIAL) { /* in loops of one sum each, so that compilers vectorize them */
            double g[PARTIAL];
            for (int l = 0; l < PARTIAL; l++) g[l] = times(dy[k + l], weight[k + l]);
            for (int l = 0; l < PARTIAL; l++) sum[l] += g[l];
            for (int l = 0; l < PARTIAL; l++) product[l] += g[l] * centered(x[k + l], mean);
        }
        for (int l = 0; k + l < N; l++) {
            const double g = times(dy[k + l], weight[k + l]);
            sum[l] += g;
            product[l] += g * centered(x[k + l], mean);
        }
        const double of_g = sum_of_partial(sum) / (double)N, of_product = sum_of_partial(product) / (double)N * r * r;
        for (k = 0; k < N; k++)
            dx[k] = FLUSHED((real)(r * (times(dy[k], weight[k]) - of_g - centered(x[k], mean) * of_product)));
    }
}

/* dweight and dbias += those of all rows, in columns k0..k1. In a row that is not finite, a dy of zero adds nothing. */
static void rownorm_gradients(const Norm *norm, ptrdiff_t k0, ptrdiff_t k1)
{
    const ptrdiff_t N = norm->N;
    double *dweight = norm->dweight, *dbias = norm->dbias;

    for (ptrdiff_t m = 0; m < norm->M; m++) {
        const real *x = (const real *)norm->x + m * N, *dy = (const real *)norm->dy + m * N;
        const double mean = norm->moments[2 * m], r = norm->moments[2 * m + 1];
        if (rownorm_finite(norm->moments + 2 * m))
            for (ptrdiff_t k = k0; k < k1; k++) {
                dweight[k] += number(dy[k]) * (centered(x[k], mean) * r);
                dbias[k] += number(dy[k]);
            }
        else
            for (ptrdiff_t k = k0; k < k1; k++)
                if (number(dy[k]) != 0) {
                    dweight[k] += number(dy[k]) * (centered(x[k], mean) * r);
                    dbias[k] += number(dy[k]);
                }
    }
}

#endif
