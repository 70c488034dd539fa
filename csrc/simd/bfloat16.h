/* Operands in bfloat16, the upper half of a float: two to an operand, the first in its lower half.
 *
 *     sum + a * w    two fused multiply-adds, that of the second number first, each rounded to float
 *
 * These are the bits of VDPBF16PS, which the kernels use if BFLOAT16_INSTRUCTION is defined. Numbers are rounded to nearest
 * even, subnormal floats to zero; NaN stays NaN. All of that is integer arithmetic, the same on every machine. */
#ifndef RNNFAST_SIMD_BFLOAT16_H
#define RNNFAST_SIMD_BFLOAT16_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "compiler.h"

#define DEPTH 2
typedef uint32_t operand;

#if defined(BFLOAT16_INSTRUCTION)
typedef __m512i operand_vec;
#define HOLD_OPERAND(x) IN_REGISTER(x)
static inline operand_vec v_load_operand(const operand *p) { return _mm512_loadu_si512(p); }
static inline operand_vec v_set1_operand(const operand *p) { return _mm512_set1_epi32((int)*p); }
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)w);
}
#else
/* The tile splits each vector of operands into two of reals, which takes registers. */
#if TILE_ACCUMULATORS > 16
#undef TILE_ACCUMULATORS
#define TILE_ACCUMULATORS 16
#elif TILE_ACCUMULATORS > 8
#undef TILE_ACCUMULATORS
#define TILE_ACCUMULATORS 8
#endif

typedef struct {
    vec first, second;
} operand_vec;
#define HOLD_OPERAND(x) do { IN_REGISTER((x).first); IN_REGISTER((x).second); } while (0)

#if V == 1
static inline vec v_of_word(uint32_t u)
{
    vec x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline operand_vec v_split(uint32_t pair)
{
    return (operand_vec){v_of_word(pair << 16), v_of_word(pair & 0xffff0000u)};
}
static inline operand_vec v_load_operand(const operand *p) { return v_split(*p); }
#else
typedef uint32_t word_vec __attribute__((vector_size(4 * V)));
static inline operand_vec v_split(word_vec pairs) { return (operand_vec){(vec)(pairs << 16), (vec)(pairs & 0xffff0000u)}; }
static inline operand_vec v_load_operand(const operand *p)
{
    word_vec pairs;
    memcpy(&pairs, p, sizeof pairs);
    return v_split(pairs);
}
#endif
static inline operand_vec v_set1_operand(const operand *p)
{
    const uint32_t first = *p << 16, second = *p & 0xffff0000u;
    real numbers[2];
    memcpy(&numbers[0], &first, sizeof first);
    memcpy(&numbers[1], &second, sizeof second);
    return (operand_vec){v_set1(numbers[0]), v_set1(numbers[1])};
}
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum)
{
    return v_fma(a.first, w.first, v_fma(a.second, w.second, sum));
}
#endif

/* The bits of a float, rounded to those of a bfloat16 in the lower half. */
static inline uint32_t bfloat16_of(uint32_t x)
{
    const uint32_t magnitude = x & 0x7fffffffu, rounded = (x + 0x7fffu + (x >> 16 & 1)) >> 16;
    const uint32_t number = magnitude < 0x00800000u ? x >> 16 & 0x8000u : rounded;
    return magnitude > 0x7f800000u ? x >> 16 | 0x40u : number;
}

static inline operand operand_of(const real *first, const real *second)
{
    uint32_t lower, upper;
    memcpy(&lower, first, sizeof lower);
    memcpy(&upper, second, sizeof upper);
    return bfloat16_of(lower) | bfloat16_of(upper) << 16;
}

/* V operands, one a column, of x[DEPTH], vectors that follow each other along the inner axis. */
static inline void v_store_operand(operand *p, const vec *x)
{
    ALIGNED real first[V], second[V];
    v_store(first, x[0]);
    v_store(second, x[1]);
    for (int l = 0; l < V; l++) p[l] = operand_of(first + l, second + l);
}

/* A row of K reals as operands: copy n of those in `copies` [..][depth], which `make` makes. */
static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make)
{
    static const real zero;
    operand *copy = copies + n * ((K + 1) / 2);
    if (!make) return copy;
    for (ptrdiff_t k = 0; k + 1 < K; k += 2) copy[k / 2] = operand_of(row + k, row + k + 1);
    if (K % 2) copy[K / 2] = operand_of(row + K - 1, &zero);
    return copy;
}

/* Number `place` of an operand becomes zero. */
static inline void clear_number(operand *p, int place) { *p &= place ? 0x0000ffffu : 0xffff0000u; }

#endif
