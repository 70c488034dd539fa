/* Compiles the functions between TARGET_BEGIN and TARGET_END for one instruction set, whatever the command line says. */
#ifndef RNNFAST_TARGET_H
#define RNNFAST_TARGET_H

/* Whether the compiler knows AVX-512 BF16. */
#if defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10
#define HAS_VDPBF16
#endif

/* Whether the compiler knows AVX-VNNI. */
#if defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11
#define HAS_AVX_VNNI
#endif

/* Whether the compiler knows AArch64's dot products in functions that name them as their target. */
#if !defined(__clang__) || __clang_major__ >= 16 || defined(__ARM_FEATURE_DOTPROD)
#define HAS_SDOT
#endif

/* The name of AArch64's dot products, as a target. */
#if defined(__clang__)
#define SDOT_FEATURE "dotprod"
#else
#define SDOT_FEATURE "arch=armv8.2-a+dotprod"
#endif

#define TARGET_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TARGET_BEGIN(features) \
    TARGET_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define TARGET_END TARGET_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define TARGET_BEGIN(features) TARGET_PRAGMA(GCC push_options) TARGET_PRAGMA(GCC target(features))
#define TARGET_END TARGET_PRAGMA(GCC pop_options)
#else
#define TARGET_BEGIN(features)
#define TARGET_END
#endif

#endif
