/* The table of kernels: one for each instruction set and type of element, all made from one source (kernels/template.h). */
#ifndef RNNFAST_KERNELS_H
#define RNNFAST_KERNELS_H

#include <stdint.h>

#include "layernorm.h"
#include "pass.h"

enum { VMATHS = 4 }; /* exp, tanh, sigmoid, log sigmoid */
enum { CHAINS = 12 }; /* vectors; enough to hide the latency of an FMA on two units */

/* scratch [b1 - b0][copy_size of the inner axis of its product], of this worker alone. */
typedef void step_function(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1, void *scratch);

/* Several steps at once of a cell without a product of the state: rows b0..b1 as far as each step has them. Forward the steps
 * s .. s+count, backward s, s-1 .. s-count+1. */
typedef void scan_function(const Pass *p, ptrdiff_t s, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1);

typedef struct {
    int lanes;        /* V, the numbers in a vector */
    int columns;      /* 4V, the columns in a whole group of a flat pack */
    int real_size;    /* bytes of a number: a sum, a state, a gradient */
    int operand_size; /* bytes of an operand of a product, as it is packed */
    int together;     /* numbers of the inner axis that are stored together */
    int speed;        /* products of operands in the time of one of reals, at most */
    int trains;       /* whether there are backward kernels; the others are NULL */

    /* Operands along an inner axis of K numbers: simd/operand.h. */
    ptrdiff_t (*depth_of)(ptrdiff_t K);
    ptrdiff_t (*packed_depth)(ptrdiff_t K);
    ptrdiff_t (*copy_size)(ptrdiff_t K);

    /* Numbers of a worker's scratch memory for layer normalization, cells/norm.h. */
    ptrdiff_t (*norm_scratch)(const Pass *p);

    /* Packing: kernels/pack.h. */
    void (*pack_by_rows)(const Blocks *w, void *out, ptrdiff_t g0, ptrdiff_t g1);
    void (*pack_by_gates)(const Blocks *w, void *out, ptrdiff_t g0, ptrdiff_t g1);
    void (*pack_by_columns)(const Blocks *w, void *out, ptrdiff_t g0, ptrdiff_t g1);
    void (*add_bias)(const Blocks *bias, void *out);
    void (*unpack_bias)(const Blocks *bias, const void *in);

    /* Flat products over many rows: kernels/product.h. */
    void (*product)(const Product *p, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *scratch);
    ptrdiff_t (*groups_of)(ptrdiff_t C);      /* groups in a flat pack of C columns */
    ptrdiff_t (*operand_stride)(ptrdiff_t K); /* operands in a row that pack_operand writes */

    /* The gradients of the weights: kernels/gradient.h. */
    void (*pack_gradient)(const Rows *d, ptrdiff_t C, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *out,
                          void *db);
    int (*pack_operand)(const Rows *a, ptrdiff_t inner, const Rows *rest, ptrdiff_t K, ptrdiff_t q0, ptrdiff_t q1, void *out);
    void (*clear_operand)(ptrdiff_t K, ptrdiff_t q, void *a);
    void (*drop_operand)(const GradientProduct *p, const Rows *d, ptrdiff_t q0, ptrdiff_t q1, void *a);
    void (*gradient_product)(const GradientProduct *p, ptrdiff_t rows, int first, int last, ptrdiff_t g0, ptrdiff_t g1,
                             const void *d, const void *a);

    /* Rows b0..b1 of steps s0..s1 of an embedded input, and their gradients, in columns c0..c1: kernels/lookup.h. */
    void (*gather)(const Lookup *l, const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t c0,
                   ptrdiff_t c1);
    void (*scatter)(const Lookup *l, const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t c0, ptrdiff_t c1);

    /* One step of rows b0..b1, groups of units g0..g1, a function for each phase of the cell's row; defined by the cell (cells/). */
    step_function *const *step_forward[CELLS];
    step_function *const *step_backward[CELLS];

    /* Several steps of one phase (kernels/scan.h); NULL for a cell with a product of the state. */
    scan_function *scan_forward[CELLS];
    scan_function *scan_backward[CELLS];

    /* The gradients of the vector weights over steps s0..s1, for units j0..j1: kernels/vectors.h. */
    void (*vector_gradients)(const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t j0, ptrdiff_t j1);

    /* Random masks of steps t0..t1: kernels/mask.h. */
    void (*random_mask)(uint64_t seed, uint32_t call, uint32_t layer, ptrdiff_t t0, ptrdiff_t t1, ptrdiff_t B, ptrdiff_t N,
                        double p, ptrdiff_t split, double q, double chosen, double other, void *mask);

    /* The module LayerNorm, rows m0..m1, and the gradients of its parameters in columns k0..k1: kernels/rownorm.h. */
    void (*rownorm_forward)(const Norm *norm, ptrdiff_t m0, ptrdiff_t m1);
    void (*rownorm_backward)(const Norm *norm, ptrdiff_t m0, ptrdiff_t m1);
    void (*rownorm_gradients)(const Norm *norm, ptrdiff_t k0, ptrdiff_t k1);

    /* y += x, n numbers. */
    void (*add)(ptrdiff_t n, const void *x, void *y);

    /* The vector functions, for their tests. */
    void (*vmath[VMATHS])(ptrdiff_t n, const void *x, void *y);

    /* CHAINS chains of `turns` FMAs on registers alone: what a core can do, for benchmarks. */
    void (*fma_chains)(ptrdiff_t turns);
} Kernels;

#endif
