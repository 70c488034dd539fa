/* The vector vocabulary in AVX-512: 16 floats or 8 doubles a vector, 32 registers. */
#include "target.h"
#if defined(__clang__) && __clang_major__ >= 18 && __clang_major__ <= 21 && !defined(__apple_build_version__)
#define AVX512 "avx512f,avx512dq,avx512bw,avx512vl,evex512,avx2,fma" /* zig's clang has it off */
#else
#define AVX512 "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#endif
#if defined(BFLOAT16_INSTRUCTION)
TARGET_BEGIN(AVX512 ",avx512bf16")
#elif defined(INT8_INSTRUCTION)
TARGET_BEGIN(AVX512 ",avx512vnni")
#else
TARGET_BEGIN(AVX512)
#endif
#include "intrinsics.h"

#if defined(OPERANDS_INT8) && !defined(INT8_INSTRUCTION)
#define TILE_ACCUMULATORS 20 /* a product needs further registers */
#else
#define TILE_ACCUMULATORS 24
#endif

#if REAL_BITS == 32
typedef float real;
typedef __m512 vec;
#define V 16
#define OP(name) _mm512_##name##_ps
#define LESS(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define NOT_FINITE(a) _mm512_fpclass_ps_mask(a, 0x99) /* NaN of either kind, infinity of either sign */
#define LANES(n) ((__mmask16)((1u << (n)) - 1u))
static inline vec v_exponent(vec t) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23)); }
#define ZIP_LOW _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define ZIP_LOW _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)
typedef double real;
typedef __m512d vec;
#define V 8
#define OP(name) _mm512_##name##_pd
#define LESS(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)
#define NOT_FINITE(a) _mm512_fpclass_pd_mask(a, 0x99)
#define LANES(n) ((__mmask8)((1u << (n)) - 1u))
static inline vec v_exponent(vec t) { return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(t), 52)); }
#endif
#include "x86.h"

static inline vec v_load_n(const real *p, int n) { return OP(maskz_loadu)(LANES(n), p); }
static inline void v_store_n(real *p, vec x, int n) { OP(mask_storeu)(p, LANES(n), x); }
static inline vec v_where_less(vec a, vec b, vec yes, vec no) { return OP(mask_blend)(LESS(a, b), no, yes); }
static inline int v_all_finite(vec a) { return !NOT_FINITE(a); }

/* Interleaves the lanes of a and b, a first: low from their lower halves, high from their upper halves. */
static inline void v_zip(vec a, vec b, vec *low, vec *high)
{
    *low = OP(permutex2var)(a, ZIP_LOW, b);
    *high = OP(permutex2var)(a, ZIP_HIGH, b);
}

#if defined(OPERANDS_INT8)
typedef __m512i word_vec; /* 16 words */
#define WORD_OP(name) _mm512_##name
#define ASM_PREFIX ""
/* w with the sign of a, byte by byte. Where a is 0 it may be anything, as it is multiplied by |a|. */
static inline word_vec v_signed(word_vec w, word_vec a)
{
    return _mm512_mask_sub_epi8(w, _mm512_movepi8_mask(a), _mm512_setzero_si512(), w);
}
#define DPBUSD _mm512_dpbusd_epi32
#include "x86_int8.h"
#endif
