/* A square of vectors, transposed. */
#ifndef RNNFAST_SIMD_TRANSPOSE_H
#define RNNFAST_SIMD_TRANSPOSE_H

#include "compiler.h"

/* x [V][V] INOUT, in log2 V perfect shuffles. */
static ALWAYS_INLINE void v_transpose(vec *x)
{
    vec y[V];
    UNROLL for (int n = 1; n < V; n *= 2) {
        UNROLL for (int i = 0; i < V / 2; i++) v_zip(x[i], x[i + V / 2], &y[2 * i], &y[2 * i + 1]);
        UNROLL for (int i = 0; i < V; i++) x[i] = y[i];
    }
}

#endif
