/* The floating-point environment of every call: round to nearest, no traps, subnormals read and written as zero.
 * fp_enter returns the caller's environment; fp_leave restores it. fp_enter_default is for arithmetic in NumPy: the same, but
 * with subnormals, as a thread has it from its start.
 *
 * FLUSHES_SUBNORMALS: whether the processor takes subnormals as zero. Where it cannot, simd/scalar.h does so. */
#ifndef RNNFAST_FPENV_H
#define RNNFAST_FPENV_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64) || defined(_M_IX86) || defined(__SSE2__)
#define FLUSHES_SUBNORMALS 1
#include <xmmintrin.h>
static inline uint64_t fp_enter(void)
{
    const uint64_t before = _mm_getcsr();
    _mm_setcsr(0x1f80u | 0x8000u | 0x0040u); /* all masked, to nearest | flush to zero | denormals are zero */
    return before;
}
static inline uint64_t fp_enter_default(void)
{
    const uint64_t before = _mm_getcsr();
    _mm_setcsr(0x1f80u);
    return before;
}
static inline void fp_leave(uint64_t before) { _mm_setcsr((unsigned)before); }
#elif defined(__aarch64__)
#define FLUSHES_SUBNORMALS 1
static inline uint64_t fp_enter(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)1 << 24)); /* FZ; to nearest; no traps */
    return before;
}
static inline uint64_t fp_enter_default(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return before;
}
static inline void fp_leave(uint64_t before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#elif defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__) && defined(__GNUC__)
#define FLUSHES_SUBNORMALS 1
static inline void fp_leave(uint64_t before) { __asm__ volatile("vmsr fpscr, %0" : : "r"((uint32_t)before)); }
static inline uint64_t fp_enter(void)
{
    uint32_t before;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    fp_leave((uint32_t)1 << 24); /* FZ; to nearest; no traps */
    return before;
}
static inline uint64_t fp_enter_default(void)
{
    uint32_t before;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    fp_leave(0);
    return before;
}
#else
#define FLUSHES_SUBNORMALS 0
static inline uint64_t fp_enter(void) { return 0; }
static inline uint64_t fp_enter_default(void) { return 0; }
static inline void fp_leave(uint64_t before) { (void)before; }
#endif

#endif
