/* Operands in bfloat16, the upper half of a float. Two numbers of the inner axis are stored together, and a product takes the
 * second of them first:
 *
 *     sum = second(a) * second(w) + sum;  sum = first(a) * first(w) + sum      each a fused multiply-add, rounded to float
 *
 * These are the bits of VDPBF16PS. With BFLOAT16_INSTRUCTION, an operand is a pair, and the kernels use that instruction. Without
 * it, an operand is a rounded number as a float, the second of each pair before the first, and the kernels are those of floats.
 *
 * Numbers are rounded to nearest even, subnormal floats to zero; NaN stays NaN. All of that is integer arithmetic, the same on
 * every machine. */
#ifndef RNNFAST_SIMD_BFLOAT16_H
#define RNNFAST_SIMD_BFLOAT16_H

#include <stddef.h>
#include "compiler.h"
#include "simd/vec_bits.h"

#define ROUNDED(function, words) /* of one word, or of each word of a vector */ \
    static inline words function(words x) \
    { \
        const words magnitude = x & 0x7fffffffu, number = x + 0x7fffu + (x >> 16 & 1); \
        const words tiny = MASK(magnitude < 0x00800000u), nan = MASK(magnitude > 0x7f800000u); \
        return ((tiny & x & 0x80000000u) | (nan & (x | 0x400000u)) | (~(tiny | nan) & number)) & 0xffff0000u; \
    }
#if V == 1 || defined(VECTOR_OPERATORS)
ROUNDED(rounded_words, vec_bits)
#else
ROUNDED(rounded_word, uint32_t)
static inline vec_bits rounded_words(vec_bits x)
{
    for (int l = 0; l < V; l++) x.lane[l] = rounded_word(x.lane[l]);
    return x;
}
#endif

/* The bits of x rounded to bfloat16, which are in the upper halves. */
static inline vec_bits v_rounded(vec x) { return rounded_words(v_bits(x)); }

#if defined(BFLOAT16_INSTRUCTION)
typedef __m512i operand_vec;

static inline operand_vec v_load_operand(const operand *p) { return _mm512_loadu_si512(p); }
static inline operand_vec v_set1_operand(const operand *p)
{
    operand_vec pairs = _mm512_set1_epi32((int)*p);
    NOT_COMBINED(pairs);
    return pairs;
}
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)w);
}
static inline void v_store_operands(operand *p, ptrdiff_t step, const vec *x)
{
    const vec_bits pairs = v_rounded(x[0]) >> 16 | v_rounded(x[1]);
    (void)step;
    memcpy(p, &pairs, sizeof pairs);
}
static inline void clear_number(operand *p, ptrdiff_t step, ptrdiff_t q) { p[q / 2 * step] &= q % 2 ? 0x0000ffffu : 0xffff0000u; }

/* V numbers that follow each other along the inner axis as operands. */
static inline void v_store_along(operand *p, vec x)
{
    const __m512i rounded = (__m512i)v_rounded(x), first = _mm512_srli_epi64(rounded, 16), second = _mm512_srli_epi64(rounded, 32);
    const __m512i pairs = _mm512_or_si512(_mm512_and_si512(first, _mm512_set1_epi64(0xffff)), second);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi64_epi32(pairs));
}
#else
typedef vec operand_vec;

static inline operand_vec v_load_operand(const operand *p) { return v_load(p); }
static inline operand_vec v_set1_operand(const operand *p) { return v_set1(*p); }
static ALWAYS_INLINE vec v_multiply_add(operand_vec a, operand_vec w, vec sum) { return v_fma(a, w, sum); }
static inline void v_store_operands(operand *p, ptrdiff_t step, const vec *x)
{
    const vec_bits first = v_rounded(x[0]), second = v_rounded(x[1]);
    memcpy(p, &second, sizeof second);
    memcpy(p + step, &first, sizeof first);
}
static inline void clear_number(operand *p, ptrdiff_t step, ptrdiff_t q) { p[(q ^ 1) * step] = 0; }

#if V > 1
static inline void v_store_along(operand *p, vec x)
{
#if defined(VECTOR_OPERATORS)
    typedef uint64_t pair_vec __attribute__((vector_size(4 * V)));
    pair_vec pairs = (pair_vec)v_rounded(x);
    pairs = pairs << 32 | pairs >> 32;
#else
    const vec_bits numbers = v_rounded(x);
    vec_bits pairs;
    for (int l = 0; l < V; l++) pairs.lane[l] = numbers.lane[l ^ 1];
#endif
    memcpy(p, &pairs, sizeof pairs);
}
#endif
#endif

static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make, int bounded)
{
    const ptrdiff_t whole = V > 1 ? K / V * V : 0;
    operand *copy = copies + n * copy_size(K);
    (void)bounded;
    if (!make) return copy;
#if V > 1
    for (ptrdiff_t k = 0; k < whole; k += V) v_store_along(copy + k / 2 * PLACES, v_load(row + k));
#endif
    for (ptrdiff_t k = whole; k < K; k += 2) {
        operand pairs[2 * V];
        const vec x[2] = {v_load_n(row + k, 1), k + 1 < K ? v_load_n(row + k + 1, 1) : v_zero()};
        v_store_operands(pairs, V, x);
        for (int place = 0; place < PLACES; place++) copy[k / 2 * PLACES + place] = pairs[place * V];
    }
    return copy;
}

#endif
