/* Operands of products, in the type of their sums.
 *
 * The tile multiplies operands and sums reals. Packed weights, the copied rows of a gradient's product and the rows that a
 * product reads hold operands. States, gates and gradients are reals. An operand holds DEPTH numbers that follow each other
 * along the inner axis of the product; zeros fill the last one. Here it is one real. simd/bfloat16.h has another kind. */
#ifndef RNNFAST_SIMD_OPERAND_H
#define RNNFAST_SIMD_OPERAND_H

#if defined(OPERANDS_BFLOAT16)
#include "simd/bfloat16.h"
#else

#include "compiler.h"

#define DEPTH 1
typedef real operand;
typedef vec operand_vec; /* V operands, one for each sum of a vector */
#define HOLD_OPERAND(x) IN_REGISTER(x)

static inline operand_vec v_load_operand(const operand *p) { return v_load(p); }
static inline operand_vec v_set1_operand(const operand *p) { return v_set1(*p); }

/* V operands, one a column, of x[DEPTH], vectors that follow each other along the inner axis. */
static inline void v_store_operand(operand *p, const vec *x) { v_store(p, x[0]); }

/* sum + a * w, rounded once. */
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum) { return v_fma(a, w, sum); }

/* A row of K reals as operands: the row itself, or copy n of those in `copies` [..][depth], which `make` makes. */
static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make)
{
    (void)K, (void)copies, (void)n, (void)make;
    return row;
}

/* Number `place` of an operand becomes zero. */
static inline void clear_number(operand *p, int place)
{
    (void)place;
    *p = 0;
}

#endif

/* Operands along an inner axis of K numbers. */
static inline ptrdiff_t depth_of(ptrdiff_t K) { return (K + DEPTH - 1) / DEPTH; }

#endif
