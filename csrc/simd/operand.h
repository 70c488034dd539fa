/* Operands of products, in the type of their sums.
 *
 * The tile multiplies operands and sums reals. These are two types, so that kernels with narrower operands can be added, with
 * another file of this form. Packed weights and the copied rows of a gradient's product hold operands. States, gates and
 * gradients are reals. */
#ifndef RNNFAST_SIMD_OPERAND_H
#define RNNFAST_SIMD_OPERAND_H

#include "compiler.h"

typedef real operand;
typedef vec operand_vec; /* V operands, one for each sum of a vector */

static inline operand_vec v_load_operand(const operand *p) { return v_load(p); }
static inline operand_vec v_set1_operand(const operand *p) { return v_set1(*p); }
static inline void v_store_operand(operand *p, vec x) { v_store(p, x); }

/* sum + a * w, rounded once. */
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum) { return v_fma(a, w, sum); }

#endif
