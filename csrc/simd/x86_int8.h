/* Products of int8 that AVX2 and AVX-512 compute alike: WORD_OP(name) is the intrinsic for the vectors of the file that includes
 * this. A word is an integer, or four int8. */
#include <stdint.h>
#include "compiler.h"

static inline word_vec v_set1_word(uint32_t x) { return WORD_OP(set1_epi32)((int)x); }
static inline vec v_float(word_vec x) { return WORD_OP(cvtepi32_ps)(x); }
#define v_arranged(words) (words)

/* sum + a . w in each word. */
#if defined(INT8_INSTRUCTION)
#define ROW_OFFSET 128 /* VPDPBUSD multiplies unsigned a by signed w */
static ALWAYS_INLINE word_vec v_dot(word_vec a, word_vec w, word_vec sum)
{
#if defined(__clang__) || !defined(__GNUC__)
    return DPBUSD(sum, a, w);
#else /* GCC copies the sum of the intrinsic at each use */
    __asm__(ASM_PREFIX "vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(a), "vm"(w));
    return sum;
#endif
}
#else
#define ROW_OFFSET 0
/* |a| times w with the sign of a: the sum of two such products fits into 16 bits. */
static ALWAYS_INLINE word_vec v_dot(word_vec a, word_vec w, word_vec sum)
{
    const word_vec pairs = WORD_OP(maddubs_epi16)(WORD_OP(abs_epi8)(a), v_signed(w, a));
    return WORD_OP(add_epi32)(sum, WORD_OP(madd_epi16)(pairs, WORD_OP(set1_epi16)(1)));
}
#endif
