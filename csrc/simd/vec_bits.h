/* The bits of V floats, as integers. */
#ifndef RNNFAST_SIMD_VEC_BITS_H
#define RNNFAST_SIMD_VEC_BITS_H

#include <stdint.h>
#include <string.h>

#if V == 1
typedef uint32_t vec_bits;
#define MASK(condition) (-(vec_bits)(condition))
#else
typedef uint32_t vec_bits __attribute__((vector_size(4 * V)));
#define MASK(condition) ((vec_bits)(condition))
#endif

static inline vec_bits v_bits(vec x)
{
    vec_bits bits_of_x;
    memcpy(&bits_of_x, &x, sizeof bits_of_x);
    return bits_of_x;
}

#endif
