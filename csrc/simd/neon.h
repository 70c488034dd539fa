/* The vector vocabulary in AArch64 NEON: 4 floats or 2 doubles a vector, 32 registers. */
#include "target.h"
#if defined(INT8_INSTRUCTION)
TARGET_BEGIN(SDOT_FEATURE)
#endif
#include <arm_neon.h>

#if defined(OPERANDS_INT8) && !defined(INT8_INSTRUCTION)
#define TILE_ACCUMULATORS 16 /* a product needs further registers */
#else
#define TILE_ACCUMULATORS 24
#endif

#if REAL_BITS == 32
typedef float real;
typedef float32x4_t vec;
typedef uint32x4_t bits;
#define V 4
#define OP(name) name##q_f32
#define LANE(name) name##q_lane_f32
#define BITS(name) name##q_u32
#define AS_BITS vreinterpretq_u32_f32
#define AS_REAL vreinterpretq_f32_u32
#define AS_WORDS(x) (x)
static inline vec v_exponent(vec t) { return AS_REAL(vshlq_n_u32(AS_BITS(t), 23)); }
static inline bits v_sign_bit(void) { return vdupq_n_u32(0x80000000u); }
#else
typedef double real;
typedef float64x2_t vec;
typedef uint64x2_t bits;
#define V 2
#define OP(name) name##q_f64
#define LANE(name) name##q_lane_f64
#define BITS(name) name##q_u64
#define AS_BITS vreinterpretq_u64_f64
#define AS_REAL vreinterpretq_f64_u64
#define AS_WORDS vreinterpretq_u32_u64
static inline vec v_exponent(vec t) { return AS_REAL(vshlq_n_u64(AS_BITS(t), 52)); }
static inline bits v_sign_bit(void) { return vdupq_n_u64(0x8000000000000000u); }
#endif

#define FLUSHED(x) (x) /* a number as it is read and written, never subnormal: the processor does it */

static inline vec v_set1(real x)
{
#if REAL_BITS == 32
    return vdupq_n_f32(x);
#else
    return vdupq_n_f64(x);
#endif
}
static inline vec v_zero(void) { return v_set1(0); }
static inline vec v_load(const real *p) { return OP(vld1)(p); }
static inline void v_store(real *p, vec x) { OP(vst1)(p, x); }
/* Lane by lane: compilers turn a loop over lanes into a call of memcpy, which leaves a tile no registers. */
static inline vec v_load_n(const real *p, int n)
{
    vec x = v_zero();
    if (n == V) return v_load(p);
    if (n > 0) x = LANE(vld1)(p, x, 0);
#if V == 4
    if (n > 1) x = LANE(vld1)(p + 1, x, 1);
    if (n > 2) x = LANE(vld1)(p + 2, x, 2);
#endif
    return x;
}
static inline void v_store_n(real *p, vec x, int n)
{
    if (n == V) {
        v_store(p, x);
        return;
    }
    if (n > 0) LANE(vst1)(p, x, 0);
#if V == 4
    if (n > 1) LANE(vst1)(p + 1, x, 1);
    if (n > 2) LANE(vst1)(p + 2, x, 2);
#endif
}
static inline vec v_add(vec a, vec b) { return OP(vadd)(a, b); }
static inline vec v_sub(vec a, vec b) { return OP(vsub)(a, b); }
static inline vec v_mul(vec a, vec b) { return OP(vmul)(a, b); }
static inline vec v_div(vec a, vec b) { return OP(vdiv)(a, b); }
static inline vec v_fma(vec a, vec b, vec c) { return OP(vfma)(c, a, b); }
static inline vec v_fnma(vec a, vec b, vec c) { return OP(vfms)(c, a, b); }
static inline vec v_where_less(vec a, vec b, vec yes, vec no) { return OP(vbsl)(OP(vclt)(a, b), yes, no); }
static inline vec v_or(vec a, vec b) { return AS_REAL(BITS(vorr)(AS_BITS(a), AS_BITS(b))); }
static inline int v_all_finite(vec a)
{
    const vec zero = OP(vsub)(a, a); /* or NaN */
    const uint32x4_t is_zero = AS_WORDS(OP(vceq)(zero, zero));
    return vminvq_u32(is_zero) != 0;
}
static inline vec v_min(vec a, vec b) { return v_where_less(a, b, a, b); }
static inline vec v_max(vec a, vec b) { return v_where_less(b, a, a, b); }
static inline vec v_negative(vec a)
{
    return AS_REAL(BITS(vorr)(v_sign_bit(), AS_BITS(a)));
}
static inline vec v_copysign(vec magnitude, vec sign) { return OP(vbsl)(v_sign_bit(), sign, magnitude); }

/* Interleaves the lanes of a and b, a first: low from their lower halves, high from their upper halves. */
static inline void v_zip(vec a, vec b, vec *low, vec *high)
{
    *low = OP(vzip1)(a, b);
    *high = OP(vzip2)(a, b);
}

#if defined(OPERANDS_INT8)
#include <stdint.h>
#include "compiler.h"

typedef int32x4_t word_vec; /* 4 words: integers, or four int8 each */
static inline vec v_float(word_vec x) { return vcvtq_f32_s32(x); }
#define ROW_OFFSET 0

/* sum + a . w in each word. */
#if defined(INT8_INSTRUCTION)
#define v_arranged(words) (words)
static inline word_vec v_set1_word(uint32_t x) { return vreinterpretq_s32_u32(vdupq_n_u32(x)); }
static ALWAYS_INLINE word_vec v_dot(word_vec a, word_vec w, word_vec sum)
{
    return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a));
}
#else
/* Four words as the first two numbers of each, then the last two of each: a product of the halves, and the product of the others
 * added to it, fits into 16 bits. */
static inline uint32x4_t v_arranged(uint32x4_t words)
{
    return vreinterpretq_u32_u16(vcombine_u16(vmovn_u32(words), vshrn_n_u32(words, 16)));
}
static inline word_vec v_set1_word(uint32_t x)
{
    return vreinterpretq_s32_u16(vcombine_u16(vdup_n_u16((uint16_t)x), vdup_n_u16((uint16_t)(x >> 16))));
}
static ALWAYS_INLINE word_vec v_dot(word_vec a, word_vec w, word_vec sum)
{
    const int8x16_t a8 = vreinterpretq_s8_s32(a), w8 = vreinterpretq_s8_s32(w);
    sum = vpadalq_s16(sum, vmlal_high_s8(vmull_s8(vget_low_s8(a8), vget_low_s8(w8)), a8, w8));
    IN_ORDER(sum);
    return sum;
}
#endif
#endif
