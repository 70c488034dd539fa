/* Operands of products, in the type of their sums.
 *
 * The tile multiplies operands and sums reals. Packed weights, the copied rows of a gradient's product and the rows that a
 * product reads hold operands. States, gates and gradients are reals. TOGETHER numbers that follow each other along the inner
 * axis of a product are stored together, in PLACES operands; zeros fill the last ones. Here each number is an operand, the real
 * itself. simd/bfloat16.h has other kinds. */
#ifndef RNNFAST_SIMD_OPERAND_H
#define RNNFAST_SIMD_OPERAND_H

#if defined(OPERANDS_BFLOAT16)
#include "simd/bfloat16.h"
#else

#include <stddef.h>
#include "compiler.h"

#define TOGETHER 1
#define PLACES 1
typedef real operand;
typedef vec operand_vec; /* V operands, one for each sum of a vector */

static inline operand_vec v_load_operand(const operand *p) { return v_load(p); }
static inline operand_vec v_set1_operand(const operand *p) { return v_set1(*p); }

/* x[TOGETHER], vectors that follow each other along the inner axis, as PLACES vectors of operands, `step` operands apart. */
static inline void v_store_operands(operand *p, ptrdiff_t step, const vec *x)
{
    (void)step;
    v_store(p, x[0]);
}

/* sum + a * w, rounded once. */
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum) { return v_fma(a, w, sum); }

/* A row of K reals as operands: the row itself, or copy n of those in `copies` [..][depth], which `make` makes. */
static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make)
{
    (void)K, (void)copies, (void)n, (void)make;
    return row;
}

/* Number q of the inner axis becomes zero, in one column of operands that are `step` apart. */
static inline void clear_number(operand *p, ptrdiff_t step, ptrdiff_t q) { p[q * step] = 0; }

#endif

/* Operands along an inner axis of K numbers. */
static inline ptrdiff_t depth_of(ptrdiff_t K) { return (K + TOGETHER - 1) / TOGETHER * PLACES; }

#endif
