/* The vector vocabulary in AVX2 with FMA: 8 floats or 4 doubles a vector, 16 registers. */
#include "target.h"
#if defined(INT8_INSTRUCTION)
TARGET_BEGIN("avx2,fma,avxvnni")
#else
TARGET_BEGIN("avx2,fma")
#endif
#include "intrinsics.h"

#if defined(OPERANDS_INT8) && !defined(INT8_INSTRUCTION)
#define TILE_ACCUMULATORS 8 /* a product needs further registers */
#else
#define TILE_ACCUMULATORS 12
#endif

/* Read from word 8 - n on, the first n words are all ones: the mask of a masked load or store. */
static const int avx2_lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

#if REAL_BITS == 32
typedef float real;
typedef __m256 vec;
#define V 8
#define OP(name) _mm256_##name##_ps
#define LANES_OF _mm256_permute2f128_ps
static inline __m256i v_lanes(int n) { return _mm256_loadu_si256((const __m256i *)(avx2_lanes + 8 - n)); }
static inline vec v_exponent(vec t) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23)); }
#else
typedef double real;
typedef __m256d vec;
#define V 4
#define OP(name) _mm256_##name##_pd
#define LANES_OF _mm256_permute2f128_pd
static inline __m256i v_lanes(int n) { return _mm256_loadu_si256((const __m256i *)(avx2_lanes + 8 - 2 * n)); }
static inline vec v_exponent(vec t) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(t), 52)); }
#endif
#include "x86.h"

static inline vec v_load_n(const real *p, int n) { return n == V ? v_load(p) : OP(maskload)(p, v_lanes(n)); }
static inline void v_store_n(real *p, vec x, int n)
{
    if (n == V) v_store(p, x);
    else OP(maskstore)(p, v_lanes(n), x);
}
static inline vec v_where_less(vec a, vec b, vec yes, vec no) { return OP(blendv)(no, yes, OP(cmp)(a, b, _CMP_LT_OQ)); }
static inline int v_all_finite(vec a) { return !OP(movemask)(OP(cmp)(OP(sub)(a, a), OP(setzero)(), _CMP_NEQ_UQ)); }

/* Interleaves the lanes of a and b, a first: low from their lower halves, high from their upper halves. */
static inline void v_zip(vec a, vec b, vec *low, vec *high)
{
    const vec even = OP(unpacklo)(a, b), odd = OP(unpackhi)(a, b);
    *low = LANES_OF(even, odd, 0x20);
    *high = LANES_OF(even, odd, 0x31);
}

#if defined(OPERANDS_INT8)
typedef __m256i word_vec; /* 8 words */
#define WORD_OP(name) _mm256_##name
#define ASM_PREFIX "%{vex%} "
/* w with the sign of a, byte by byte. Where a is 0 it may be anything, as it is multiplied by |a|. */
static inline word_vec v_signed(word_vec w, word_vec a) { return _mm256_sign_epi8(w, a); }
#define DPBUSD _mm256_dpbusd_avx_epi32
#include "x86_int8.h"
#endif
