/* What the kernels of the module LayerNorm read and write (kernels/rownorm.h). M rows of N numbers. */
#ifndef RNNFAST_LAYERNORM_H
#define RNNFAST_LAYERNORM_H

#include <stddef.h>

typedef struct {
    const void *x;      /* [M, N] */
    const void *weight; /* [N] */
    const void *bias;   /* [N]; NULL: none */
    const void *dy;     /* [M, N] */
    void *out;          /* [M, N] y or dx; NULL: no dx is wanted */
    double *moments;    /* [M, 2] mean and r of each row: OUT forward, IN backward */
    double *dweight;    /* [N] INOUT */
    double *dbias;      /* [N] INOUT */
    ptrdiff_t M, N;
    double eps;
} Norm;

#endif
