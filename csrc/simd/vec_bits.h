/* The bits of V floats, as integers. */
#ifndef RNNFAST_SIMD_VEC_BITS_H
#define RNNFAST_SIMD_VEC_BITS_H

#include <stdint.h>
#include <string.h>

#if V == 1
typedef uint32_t vec_bits;
#define MASK(condition) (-(vec_bits)(condition))
#elif defined(__GNUC__) || defined(__clang__)
#define VECTOR_OPERATORS /* a + b of vectors */
typedef uint32_t vec_bits __attribute__((vector_size(4 * V)));
#define MASK(condition) ((vec_bits)(condition))
#else
typedef struct {
    uint32_t lane[V];
} vec_bits;
#define MASK(condition) (-(uint32_t)(condition)) /* of one lane */
#endif

static inline vec_bits v_bits(vec x)
{
    vec_bits bits_of_x;
    memcpy(&bits_of_x, &x, sizeof bits_of_x);
    return bits_of_x;
}

/* -x in each lane. */
static inline vec_bits v_minus(vec_bits x)
{
#if V == 1 || defined(VECTOR_OPERATORS)
    return -x;
#else
    for (int l = 0; l < V; l++) x.lane[l] = 0u - x.lane[l];
    return x;
#endif
}

#endif
