/* Names for what compilers spell differently, and the assertions of a debug build. */
#ifndef RNNFAST_COMPILER_H
#define RNNFAST_COMPILER_H

#if defined(__GNUC__) || defined(__clang__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define ALIGNED __attribute__((aligned(64)))
#define PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define UNROLL PRAGMA(clang loop unroll(full))
#else
#define UNROLL PRAGMA(GCC unroll 32)
#endif
#else /* cl of Microsoft */
#pragma fp_contract(off) /* a * b + c is rounded twice, as the other compilers are told by an option */
#define ALWAYS_INLINE __forceinline
#define ALIGNED __declspec(align(64))
#define PREFETCH(p) ((void)(p))
#define UNROLL
#endif

/* Statements for i = 0 .. n-1, n a constant of at most 4 or 8. Arrays that they index are registers: clang 14 unrolls loops
 * only after it has placed arrays in memory. */
#define REPEAT_ONE(i, at, n, ...) \
    if (at < (n)) { \
        enum { i = at }; \
        __VA_ARGS__ \
    }
#define REPEAT_4(i, n, ...) \
    REPEAT_ONE(i, 0, n, __VA_ARGS__) REPEAT_ONE(i, 1, n, __VA_ARGS__) REPEAT_ONE(i, 2, n, __VA_ARGS__) REPEAT_ONE(i, 3, n, __VA_ARGS__)
#define REPEAT_8(i, n, ...) \
    REPEAT_4(i, n, __VA_ARGS__) \
    REPEAT_ONE(i, 4, n, __VA_ARGS__) REPEAT_ONE(i, 5, n, __VA_ARGS__) REPEAT_ONE(i, 6, n, __VA_ARGS__) REPEAT_ONE(i, 7, n, __VA_ARGS__)

#if defined(_MSC_VER)
#define THREAD_LOCAL __declspec(thread)
#else
#define THREAD_LOCAL _Thread_local
#endif

/* Tells the processor that a loop waits for another thread. */
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <emmintrin.h>
#define PAUSE() _mm_pause()
#elif defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* Keeps a vector in a register: GCC may otherwise read it from memory again at each use. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#else
#define IN_REGISTER(x) ((void)0)
#endif

/* Hides where a vector comes from: Clang 16 and 17 crash where they combine a broadcast of integers with what reads it as
 * bfloat16. */
#if defined(__clang__) && (__clang_major__ == 16 || __clang_major__ == 17)
#define NOT_COMBINED(x) __asm__("" : "+v"(x))
#else
#define NOT_COMBINED(x) ((void)0)
#endif

/* Keeps a pointer in a register of its own: GCC may otherwise keep the difference from another one, for each use. */
#if defined(__GNUC__)
#define IN_OWN_REGISTER(p) __asm__("" : "+r"(p))
#else
#define IN_OWN_REGISTER(p) ((void)0)
#endif

/* Completes a vector before what follows: compilers may otherwise begin more products at once than the registers hold. */
#if defined(__GNUC__) && defined(__aarch64__)
#define IN_ORDER(x) __asm__ volatile("" : "+w"(x))
#elif defined(__GNUC__) && defined(__x86_64__)
#define IN_ORDER(x) __asm__ volatile("" : "+v"(x))
#else
#define IN_ORDER(x) ((void)0)
#endif

/* No load moves up across this: GCC may otherwise load more at once than the registers of AArch64 hold. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__aarch64__)
#define LOADS_IN_ORDER() __asm__ volatile("" : : : "memory")
#else
#define LOADS_IN_ORDER() ((void)0)
#endif

/* A precondition of a function; a debug build (RNNFAST_DEBUG) checks it. */
#if defined(RNNFAST_DEBUG)
#include <assert.h>
#define REQUIRE(condition) assert(condition)
#else
#define REQUIRE(condition) ((void)0)
#endif

#endif
