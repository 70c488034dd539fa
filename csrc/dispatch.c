/* Lists the compiled kernels and asks the processor, and the operating system, which of them run here. */
#include "dispatch.h"

#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "clock.h"
#include "simd/target.h"

#define DECLARE(isa) \
    extern const Kernels kernels_##isa##_float32, kernels_##isa##_float64, kernels_##isa##_bfloat16, kernels_##isa##_int8;
#define KERNELS(isa) \
    {[FLOAT32] = &kernels_##isa##_float32, [FLOAT64] = &kernels_##isa##_float64, \
     [BFLOAT16] = &kernels_##isa##_bfloat16, [INT8] = &kernels_##isa##_int8}

static int always(void) { return 1; }

#if defined(__x86_64__) || defined(_M_X64)
#include <stdint.h>

/* CPUID: registers a, b, c, d of a leaf and its part; 0 if the processor has no such leaf. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
static int cpuid(unsigned leaf, unsigned part, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
    int found[4];
    __cpuid(found, (int)(leaf & 0x80000000u)); /* the last leaf of this range */
    if ((unsigned)found[0] < leaf) return 0;
    __cpuidex(found, (int)leaf, (int)part);
    *a = (unsigned)found[0], *b = (unsigned)found[1], *c = (unsigned)found[2], *d = (unsigned)found[3];
    return 1;
}
static uint64_t xcr0(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static int cpuid(unsigned leaf, unsigned part, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
{
    return __get_cpuid_count(leaf, part, a, b, c, d);
}
static uint64_t xcr0(void)
{
    unsigned a, d;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}
#endif

enum {
    BIT_FMA = 1 << 12, BIT_OSXSAVE = 1 << 27, /* leaf 1, c */
    BIT_AVX2 = 1 << 5, BITS_AVX512 = 1 << 16 | 1 << 17 | 1 << 30, /* leaf 7, b: F, DQ, BW */
};
#define BIT_AVX512VL (1u << 31)

/* The register state that the operating system saves and restores, XCR0; 0 if it does not say. */
static uint64_t saved_state(void)
{
    unsigned a, b, c, d;
    return cpuid(1, 0, &a, &b, &c, &d) && (c & BIT_OSXSAVE) ? xcr0() : 0;
}

static int avx2_runs(void)
{
    const uint64_t ymm = 0x6;
    unsigned a, b, c, d, fma;
    if ((saved_state() & ymm) != ymm || !cpuid(1, 0, &a, &b, &fma, &d)) return 0;
    return (fma & BIT_FMA) && cpuid(7, 0, &a, &b, &c, &d) && (b & BIT_AVX2);
}

static int avx512_runs(void)
{
    const uint64_t zmm = 0xe6;
    const unsigned needed = BITS_AVX512 | BIT_AVX512VL;
    unsigned a, b, c, d;
    if (!avx2_runs() || (saved_state() & zmm) != zmm || !cpuid(7, 0, &a, &b, &c, &d)) return 0;
    return (b & needed) == needed;
}

DECLARE(avx512)
DECLARE(avx2)

#if defined(HAS_VDPBF16)
extern const Kernels kernels_avx512_vdpbf16;

/* Whether the processor has VDPBF16PS, and it gives these bits: sum, two pairs of operands, result. Another order of the two
 * products, or one rounding in place of two, would give others. */
static int vdpbf16_runs(void)
{
    static const uint32_t known[][4] = {
        {0x3e79db77, 0x4046bff3, 0xbf83c01b, 0x3fd6776e},
        {0x3dab76ec, 0xc04bc020, 0xbf8f3ff7, 0xbf993492},
        {0xbe674225, 0xbff6c017, 0xbf8e3f78, 0xbec24114},
        {0x3f0d0b25, 0xc0473f5b, 0x3f9e4083, 0x3e5c0c90},
        {0xbdadbfd6, 0x3fb54000, 0x4033c005, 0xbe927ff8},
        {0x3f320607, 0xc050c03f, 0xc0114024, 0x3ed28c00},
        {0xbdae83f7, 0xbf5cbf91, 0x3fddc005, 0x3f48ff82},
        {0xbe4c8d75, 0xbf7c3ffc, 0xc000bf87, 0xbe9d66bc},
    };
    const unsigned bit_bf16 = 1u << 5;
    unsigned a, b, c, d;

    if (!avx512_runs() || !cpuid(7, 1, &a, &b, &c, &d) || !(a & bit_bf16)) return 0;
    for (size_t n = 0; n < sizeof known / sizeof *known; n++) {
        const uint32_t numbers[2] = {known[n][1] << 16, known[n][1] & 0xffff0000u};
        uint32_t w[16] = {known[n][2]}, scratch, result;
        float row[2], bias, out;
        memcpy(row, numbers, sizeof row);
        memcpy(&bias, &known[n][0], sizeof bias);
        const Product p = {.K = 2, .C = 1, .a = {.data = row, .B = 1}, .w = w, .bias = &bias, .out = {.data = &out, .B = 1}};
        kernels_avx512_vdpbf16.product(&p, 0, 1, 0, 1, &scratch);
        memcpy(&result, &out, sizeof result);
        if (result != known[n][3]) return 0;
    }
    return 1;
}

/* The shortest of five times of a product of 8 rows with these kernels, in nanoseconds. */
static long long product_time(const Kernels *k)
{
    enum { M = 8, K = 128, C = 64 };
    static float rows[M * K], out[M * C], w[K * C];
    static uint32_t scratch[M * K];
    const Product p = {.K = K, .C = C, .a = {.data = rows, .B = M, .b_stride = K}, .w = w,
                       .out = {.data = out, .B = M, .b_stride = C}};
    long long shortest = 1000000000;
    for (int round = 0; round < 5; round++) {
        const long long begin = clock_ns();
        k->product(&p, 0, M, 0, k->groups_of(C), scratch);
        const long long time = clock_ns() - begin;
        if (time < shortest) shortest = time;
    }
    return shortest;
}
static int vdpbf16_pays(void) { return product_time(&kernels_avx512_vdpbf16) < product_time(&kernels_avx512_bfloat16); }
#define VDPBF16 [BFLOAT16] = {&kernels_avx512_vdpbf16, vdpbf16_runs, vdpbf16_pays},
#else
#define VDPBF16
#endif

extern const Kernels kernels_avx512_vnni;

/* VPDPBUSD for vectors of AVX-512, or of AVX2. */
static int avx512_vnni_runs(void)
{
    const unsigned bit_vnni = 1u << 11;
    unsigned a, b, c, d;
    return avx512_runs() && cpuid(7, 0, &a, &b, &c, &d) && (c & bit_vnni);
}
#if defined(HAS_AVX_VNNI)
extern const Kernels kernels_avx2_vnni;

static int avx2_vnni_runs(void)
{
    const unsigned bit_vnni = 1u << 4;
    unsigned a, b, c, d;
    return avx2_runs() && cpuid(7, 1, &a, &b, &c, &d) && (a & bit_vnni);
}
#define AVX_VNNI [INT8] = {&kernels_avx2_vnni, avx2_vnni_runs, always},
#else
#define AVX_VNNI
#endif
#elif defined(__aarch64__)
DECLARE(neon)

#if !defined(HAS_SDOT)
#define SDOT
#else
#define SDOT [INT8] = {&kernels_neon_sdot, sdot_runs, always}
extern const Kernels kernels_neon_sdot;
#if defined(__linux__)
#include <sys/auxv.h>
static int sdot_runs(void)
{
    const unsigned long bit_dotprod = 1ul << 20;
    return !!(getauxval(AT_HWCAP) & bit_dotprod);
}
#else
static int sdot_runs(void)
{
#if defined(__APPLE__)
    return 1; /* every processor of a Mac */
#else
    return 0;
#endif
}
#endif
#endif
#endif
DECLARE(scalar)

const Implementation implementations[] = {
#if defined(__x86_64__) || defined(_M_X64)
    {"avx512", "AVX-512 F, DQ, BW, VL", KERNELS(avx512), avx512_runs,
     {VDPBF16 [INT8] = {&kernels_avx512_vnni, avx512_vnni_runs, always}}},
    {"avx2", "AVX2 and FMA", KERNELS(avx2), avx2_runs, {AVX_VNNI}},
#elif defined(__aarch64__)
    {"neon", "AArch64 NEON", KERNELS(neon), always, {SDOT}},
#endif
    {"scalar", "plain C", KERNELS(scalar), always, {{0}}},
    {0},
};

const Implementation *find_implementation(const char *name)
{
    const Implementation *found = implementations;
    while (found->name && !(name ? !strcmp(found->name, name) : found->runs_here())) found++;
    return found->name ? found : NULL;
}

#if defined(_SC_LEVEL2_CACHE_SIZE)
static long l2_of_the_system(void) { return sysconf(_SC_LEVEL2_CACHE_SIZE); }
#elif defined(__x86_64__) || defined(_M_X64)
static long l2_of_the_system(void) /* by the processor */
{
    unsigned a, b, c, d;
    return cpuid(0x80000006u, 0, &a, &b, &c, &d) ? (long)(c >> 16) << 10 : 0;
}
#else
static long l2_of_the_system(void) { return 0; }
#endif

long l2_bytes(void)
{
    const long bytes = l2_of_the_system();
    return bytes > 0 ? bytes : 1L << 20;
}
