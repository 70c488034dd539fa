/* ---- Arithmetic: float32, rounded to nearest, subnormal numbers read and written as zero ------------------------------
 *
 * Each operation below is one rounding. The processor counts subnormal numbers as zero where it can be told to (NAME_FLUSHES);
 * elsewhere NAME_flushed does. Compilers may not fuse a product and a sum: each fused multiply-add is written as NAME_fma. */

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__ASSOCIATIVE_MATH__) || \
    defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "compile this header without -ffast-math, its parts and -Ofast: its results are those of single operations"
#endif
#if FLT_EVAL_METHOD < 0 || FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2
#error "compile this header with arithmetic in float32 (for x86: -msse2 -mfpmath=sse)"
#endif
#if FLT_MANT_DIG != 24 || DBL_MANT_DIG != 53
#error "this header needs the float and the double of IEEE 754"
#endif

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

#if defined(__GNUC__)
#define NAME_APART static __attribute__((noinline, unused)) /* no operation moves across a change of the mode */
#define NAME_RESTRICT __restrict
#else
#define NAME_APART static
#define NAME_RESTRICT
#endif

/* The mode of the floating-point unit: to nearest, no traps; NAME_FLUSH: subnormal numbers are zero, NAME_KEEP: they are not. */
#if defined(__GNUC__) && defined(__SSE2_MATH__)
#define NAME_FLUSHES 1
#define NAME_FLUSH 0x9fc0u
#define NAME_KEEP 0x1f80u
typedef uint32_t NAME_mode;
static inline NAME_mode NAME_get_mode(void)
{
    NAME_mode mode;
    __asm__ volatile("stmxcsr %0" : "=m"(mode) : : "memory");
    return mode;
}
static inline void NAME_set_mode(NAME_mode mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode) : "memory"); }
#elif defined(__GNUC__) && defined(__aarch64__)
#define NAME_FLUSHES 1
#define NAME_FLUSH 0x1000000u
#define NAME_KEEP 0u
typedef uint64_t NAME_mode;
static inline NAME_mode NAME_get_mode(void)
{
    NAME_mode mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return mode;
}
static inline void NAME_set_mode(NAME_mode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#elif defined(__GNUC__) && defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
#define NAME_FLUSHES 1
#define NAME_FLUSH 0x1000000u
#define NAME_KEEP 0u
typedef uint32_t NAME_mode;
static inline NAME_mode NAME_get_mode(void)
{
    NAME_mode mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode) : : "memory");
    return mode;
}
static inline void NAME_set_mode(NAME_mode mode) { __asm__ volatile("vmsr fpscr, %0" : : "r"(mode) : "memory"); }
#else
#define NAME_FLUSHES 0
#define NAME_FLUSH 0
#define NAME_KEEP 0
typedef int NAME_mode;
static inline NAME_mode NAME_get_mode(void) { return 0; }
static inline void NAME_set_mode(NAME_mode mode) { (void)mode; }
#endif

#if defined(__FMA__) || defined(__aarch64__) || defined(__ARM_FEATURE_FMA) || defined(__FP_FAST_FMAF) || defined(__riscv_flen)
#define NAME_FUSES 1 /* the processor has the instruction */
#else
#define NAME_FUSES 0
#endif

static inline uint32_t NAME_bits(float x)
{
    union { float number; uint32_t bits; } same;
    same.number = x;
    return same.bits;
}
static inline float NAME_of_bits(uint32_t bits)
{
    union { uint32_t bits; float number; } same;
    same.bits = bits;
    return same.number;
}

static inline float NAME_flushed(float x)
{
#if NAME_FLUSHES
    return x;
#else
    return x < FLT_MIN && x > -FLT_MIN ? x * 0.0f : x;
#endif
}
static inline float NAME_add(float a, float b) { return NAME_flushed(a + b); }
static inline float NAME_sub(float a, float b) { return NAME_flushed(a - b); }
static inline float NAME_mul(float a, float b) { return NAME_flushed(a * b); }
static inline float NAME_div(float a, float b) { return NAME_flushed(a / b); }

/* a * b + c, rounded once. Without the instruction: the product of two floats is exact in double. Rounding the sum to double and
 * then to float differs from rounding once only if the double is half way between two floats, but the exact sum is not. The
 * error of the sum then says on which side that is, and one unit of the double moves to it. */
static inline float NAME_fma(float a, float b, float c)
{
#if NAME_FUSES
    return NAME_flushed(__builtin_fmaf(a, b, c));
#else
    const double product = (double)a * b;
    union { double number; uint64_t bits; } sum;
    sum.number = product + c;
    if ((sum.bits & 0x1fffffffu) == 0x10000000u) { /* the digits that a float lacks */
        const double part = sum.number - product, error = (product - (sum.number - part)) + (c - part);
        if (error > 0 || error < 0) sum.bits += (error > 0) == (sum.number > 0) ? 1 : (uint64_t)-1;
    }
    return NAME_flushed((float)sum.number);
#endif
}
static inline float NAME_fnma(float a, float b, float c) { return NAME_fma(-a, b, c); } /* c - a * b, rounded once */
