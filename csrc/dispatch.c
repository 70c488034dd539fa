/* Lists the compiled kernels and asks the processor, and the operating system, which of them run here. */
#include "dispatch.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

#define DECLARE(isa) extern const Kernels kernels_##isa##_float32, kernels_##isa##_float64;
#define ENTRY(isa, description, runs_here) \
    {#isa, description, {[FLOAT32] = &kernels_##isa##_float32, [FLOAT64] = &kernels_##isa##_float64}, runs_here},

static int always(void) { return 1; }

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* The register state that the operating system saves and restores, XCR0; 0 if it does not say. */
static uint64_t saved_state(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

static int avx2_runs(void)
{
    const uint64_t ymm = 0x6;
    unsigned a, b, c, d, fma;
    if ((saved_state() & ymm) != ymm || !__get_cpuid(1, &a, &b, &fma, &d)) return 0;
    return (fma & bit_FMA) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

static int avx512_runs(void)
{
    const uint64_t zmm = 0xe6;
    const unsigned needed = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d;
    if (!avx2_runs() || (saved_state() & zmm) != zmm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (b & needed) == needed;
}

DECLARE(avx512)
DECLARE(avx2)
#elif defined(__aarch64__)
DECLARE(neon)
#endif
DECLARE(scalar)

const Implementation implementations[] = {
#if defined(__x86_64__)
    ENTRY(avx512, "AVX-512 F, DQ, BW, VL", avx512_runs)
    ENTRY(avx2, "AVX2 and FMA", avx2_runs)
#elif defined(__aarch64__)
    ENTRY(neon, "AArch64 NEON", always)
#endif
    ENTRY(scalar, "plain C", always)
    {0},
};

long l2_bytes(void)
{
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (bytes > 0) return bytes;
#endif
    return 1L << 20;
}
