/* The vector vocabulary in plain C99, one lane a vector. A fused multiply-add is one rounding, so its bits are those of the SIMD
 * units. Subnormal numbers count as zero, as there: if the processor keeps them, loads and results are flushed here. */
#include "target.h"
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "fpenv.h"

#if FLT_EVAL_METHOD != 0
#error "Operations must be rounded to their own type. For 32-bit x86, compile with -msse2 -mfpmath=sse."
#endif

#define TILE_ACCUMULATORS 8
#define V 1

#if REAL_BITS == 32
typedef float real;
typedef uint32_t word;
#define MANTISSA_BITS 23
#define LEAST_NORMAL FLT_MIN
#define OP(name) name##f
#define SOFTWARE_FMA fma_of_floats
#else
typedef double real;
typedef uint64_t word;
#define MANTISSA_BITS 52
#define LEAST_NORMAL DBL_MIN
#define OP(name) name
#define SOFTWARE_FMA fma_of_doubles
#endif
typedef real vec;

static inline vec v_without_subnormals(vec x) { return OP(fabs)(x) < LEAST_NORMAL ? OP(copysign)(0, x) : x; }
#if FLUSHES_SUBNORMALS
#define FLUSHED(x) (x)
#else
#define FLUSHED(x) v_without_subnormals(x)
#endif

/* Without an instruction, fma() is rounded twice in some C libraries of Windows. On 32-bit processors, and as zig builds musl for
 * x86-64, its steps do not expect that subnormal numbers are flushed. On x86-64, glibc's is right, and Apple's has the
 * instruction. */
#if defined(__i386__) || (defined(__arm__) && !defined(__ARM_FEATURE_FMA)) || \
    (defined(_WIN32) && !defined(__aarch64__) && !defined(__FMA__)) || \
    (defined(__x86_64__) && !defined(__FMA__) && !defined(__GLIBC__) && !defined(__APPLE__))
#include "fma.h"
static inline vec v_fused(vec a, vec b, vec c)
{
    return v_without_subnormals(SOFTWARE_FMA(v_without_subnormals(a), v_without_subnormals(b), v_without_subnormals(c)));
}
#else
static inline vec v_fused(vec a, vec b, vec c) { return FLUSHED(OP(fma)(a, b, c)); }
#endif

static inline vec v_exponent(vec t)
{
    word bits;
    memcpy(&bits, &t, sizeof bits);
    bits <<= MANTISSA_BITS;
    memcpy(&t, &bits, sizeof bits);
    return t;
}
static inline vec v_zero(void) { return 0; }
static inline vec v_set1(real x) { return FLUSHED(x); }
static inline vec v_load(const real *p) { return FLUSHED(*p); }
static inline vec v_load_n(const real *p, int n) { return n ? FLUSHED(*p) : 0; }
static inline void v_store(real *p, vec x) { *p = x; }
static inline void v_store_n(real *p, vec x, int n) { if (n) *p = x; }
static inline vec v_add(vec a, vec b) { return FLUSHED(a + b); }
static inline vec v_sub(vec a, vec b) { return FLUSHED(a - b); }
static inline vec v_mul(vec a, vec b) { return FLUSHED(a * b); }
static inline vec v_div(vec a, vec b) { return FLUSHED(a / b); }
static inline vec v_fma(vec a, vec b, vec c) { return v_fused(a, b, c); }
static inline vec v_fnma(vec a, vec b, vec c) { return v_fused(-a, b, c); }
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
