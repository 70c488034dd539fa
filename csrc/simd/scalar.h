/* The vector vocabulary in plain C99, one lane a vector. fma() is one rounding, so its bits are those of the SIMD units. */
#include "target.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

#define TILE_ACCUMULATORS 8
#define V 1

#if REAL_BITS == 32
typedef float real;
typedef uint32_t word;
#define MANTISSA_BITS 23
#define OP(name) name##f
#else
typedef double real;
typedef uint64_t word;
#define MANTISSA_BITS 52
#define OP(name) name
#endif
typedef real vec;

static inline vec v_exponent(vec t)
{
    word bits;
    memcpy(&bits, &t, sizeof bits);
    bits <<= MANTISSA_BITS;
    memcpy(&t, &bits, sizeof bits);
    return t;
}
static inline vec v_zero(void) { return 0; }
static inline vec v_set1(real x) { return x; }
static inline vec v_load(const real *p) { return *p; }
static inline vec v_load_n(const real *p, int n) { return n ? *p : 0; }
static inline void v_store(real *p, vec x) { *p = x; }
static inline void v_store_n(real *p, vec x, int n) { if (n) *p = x; }
static inline vec v_add(vec a, vec b) { return a + b; }
static inline vec v_sub(vec a, vec b) { return a - b; }
static inline vec v_mul(vec a, vec b) { return a * b; }
static inline vec v_div(vec a, vec b) { return a / b; }
static inline vec v_fma(vec a, vec b, vec c) { return OP(fma)(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return OP(fma)(-a, b, c); }
static inline vec v_where_less(vec a, vec b, vec yes, vec no) { return a < b ? yes : no; }
static inline vec v_or(vec a, vec b)
{
    word x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x |= y;
    memcpy(&a, &x, sizeof a);
    return a;
}
static inline int v_all_finite(vec a) { return a - a == 0; }
static inline vec v_min(vec a, vec b) { return a < b ? a : b; }
static inline vec v_max(vec a, vec b) { return a > b ? a : b; }
static inline vec v_negative(vec a) { return -OP(fabs)(a); }
static inline vec v_copysign(vec magnitude, vec sign) { return OP(copysign)(magnitude, sign); }

/* Interleaves the lanes of a and b, a first: low from their lower halves, high from their upper halves. */
static inline void v_zip(vec a, vec b, vec *low, vec *high)
{
    *low = a;
    *high = b;
}

#if defined(OPERANDS_INT8)
typedef uint32_t word_vec; /* an integer, or four int8 */
static inline word_vec v_set1_word(uint32_t x) { return x; }
static inline vec v_float(word_vec x) { return (real)(int32_t)x; }
#define v_arranged(words) (words)
#define ROW_OFFSET 0

/* sum + a . w. */
static inline word_vec v_dot(word_vec a, word_vec w, word_vec sum)
{
    for (int d = 0; d < 32; d += 8) sum += (uint32_t)((int8_t)(a >> d) * (int8_t)(w >> d));
    return sum;
}
#endif
