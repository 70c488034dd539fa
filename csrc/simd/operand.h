/* Operands of products. The tile multiplies operands and sums reals, or integers that become reals.
 *
 * Packed weights, the copied rows of a gradient's product and the rows that a product reads hold operands. States, gates and
 * gradients are reals. A kind of operands says
 *
 *     TOGETHER      numbers that follow each other along the inner axis of a product are stored together ...
 *     PLACES        ... in so many operands; zeros fill the last ones
 *     COPIES        whether a row is copied before a product reads it
 *     HEAD          operands before a copied row
 *     FOOT          operands of each column of a packed weight after those of a sum
 *     SUM_LENGTH    the most operands of one sum; a longer inner axis has several, one after the other
 *     TRAINS        whether there are backward kernels
 *     SPEED         how many times as many products as reals a processor does in the same time, at most
 *
 * A number is an operand itself here. simd/bfloat16.h and simd/int8.h have other kinds. */
#ifndef RNNFAST_SIMD_OPERAND_H
#define RNNFAST_SIMD_OPERAND_H

#include <stddef.h>
#include "compiler.h"

#if defined(OPERANDS_INT8)
#include <stdint.h>
typedef uint32_t operand;
#define TOGETHER 4
#define PLACES 1
#define COPIES 1
#define HEAD 1 /* the row's scale */
#define FOOT 2 /* the column's scale, and where its sums start */
#define SUM_LENGTH 1024
#define TRAINS 0
#if defined(INT8_INSTRUCTION)
#define SPEED 4
#else
#define SPEED 1
#endif
#else
#if defined(OPERANDS_BFLOAT16)
#if defined(BFLOAT16_INSTRUCTION)
#include <stdint.h>
typedef uint32_t operand; /* a pair, the first number in the lower half */
#define PLACES 1
#define SPEED 2
#else
typedef real operand; /* the second number of a pair before the first */
#define PLACES 2
#define SPEED 1
#endif
#define TOGETHER 2
#define COPIES 1
#else
typedef real operand;
#define TOGETHER 1
#define PLACES 1
#define SPEED 1
#define COPIES 0
#endif
#define HEAD 0
#define FOOT 0
#define SUM_LENGTH ((1 << 18) / (4 * V * (ptrdiff_t)sizeof(operand))) /* a group's weights fill a part of the L2 cache */
#define TRAINS 1
#endif

/* Operands along an inner axis of K numbers: of plain rows; of a packed weight's column; of a copied row, 0 if it is not copied. */
static inline ptrdiff_t depth_of(ptrdiff_t K) { return (K + TOGETHER - 1) / TOGETHER * PLACES; }
static inline ptrdiff_t sums_of(ptrdiff_t depth) { return depth > SUM_LENGTH ? (depth + SUM_LENGTH - 1) / SUM_LENGTH : 1; }
static inline ptrdiff_t packed_depth(ptrdiff_t K) { return depth_of(K) + FOOT * sums_of(depth_of(K)); }
static inline ptrdiff_t copy_size(ptrdiff_t K) { return COPIES ? depth_of(K) + HEAD : 0; }

#if defined(OPERANDS_INT8)
#include "simd/int8.h"
#else

/* Sums of reals: they start at init, and are the result. */
typedef vec sum_vec;
typedef struct {
    char none;
} Columns; /* what the operands of V columns depend on, beside their numbers: nothing */

static ALWAYS_INLINE sum_vec v_sum_begin(const real *init, int lanes, const operand *start)
{
    (void)start;
    return v_load_n(init, lanes);
}
static ALWAYS_INLINE vec v_sum_end(sum_vec sum, const real *init, int lanes, const operand *scale, const operand *row)
{
    (void)init, (void)lanes, (void)scale, (void)row;
    return sum;
}
static inline Columns columns_of(const real *const *rows, const real *scales, int lanes, ptrdiff_t K)
{
    (void)rows, (void)scales, (void)lanes, (void)K;
    return (Columns){0};
}
static inline void v_store_foot(operand *p, ptrdiff_t step, Columns *columns) { (void)p, (void)step, (void)columns; }

#if defined(OPERANDS_BFLOAT16)
#include "simd/bfloat16.h"
#else
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
static ALWAYS_INLINE sum_vec v_multiply_add(operand_vec a, operand_vec w, sum_vec sum) { return v_fma(a, w, sum); }

/* A row of K reals as operands: the row itself, or number n of `copies`, which `make` makes. bounded: whether the row comes from
 * a state that is_bounded (pass.h). */
static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make, int bounded)
{
    (void)K, (void)copies, (void)n, (void)make, (void)bounded;
    return row;
}

/* Number q of the inner axis becomes zero, in one column of operands that are `step` apart. */
static inline void clear_number(operand *p, ptrdiff_t step, ptrdiff_t q) { p[q * step] = 0; }
#endif
#endif

#endif
