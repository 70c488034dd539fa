/* Atomic numbers and pointers by the names of C11. A compiler of Microsoft without <stdatomic.h> has them from its Interlocked
 * functions, in the strictest memory order. RNNFAST_INTERLOCKED chooses these elsewhere on Windows, for tests. */
#ifndef RNNFAST_ATOMICS_H
#define RNNFAST_ATOMICS_H

#if !defined(RNNFAST_INTERLOCKED) && (!defined(_MSC_VER) || defined(__clang__))
#include <stdatomic.h>

typedef _Atomic(void *) atomic_pointer;
#define atomic_exchange_pointer(p, x) atomic_exchange(p, x)
#else
#define ATOMICS_ARE_INTERLOCKED
#include <intrin.h>

typedef volatile long atomic_int, atomic_uint;
typedef volatile __int64 atomic_llong;
typedef void *volatile atomic_pointer;

static __inline long atomic_load_of_int(volatile long *p) { return _InterlockedOr(p, 0); }
static __inline __int64 atomic_load_of_llong(volatile __int64 *p) { return _InterlockedOr64(p, 0); }
static __inline void *atomic_load_of_pointer(void *volatile *p) { return _InterlockedCompareExchangePointer(p, 0, 0); }
static __inline void atomic_store_of_int(volatile long *p, long x) { _InterlockedExchange(p, x); }
static __inline void atomic_store_of_llong(volatile __int64 *p, __int64 x) { _InterlockedExchange64(p, x); }
#define atomic_load(p) \
    _Generic((p), volatile __int64 *: atomic_load_of_llong, void *volatile *: atomic_load_of_pointer, default: atomic_load_of_int)(p)
#define atomic_store(p, x) _Generic((p), volatile __int64 *: atomic_store_of_llong, default: atomic_store_of_int)(p, x)
#define atomic_exchange(p, x) _InterlockedExchange(p, (long)(x))
#define atomic_exchange_pointer(p, x) _InterlockedExchangePointer(p, x)
#define atomic_fetch_add(p, x) _InterlockedExchangeAdd(p, x)
#define atomic_fetch_sub(p, x) _InterlockedExchangeAdd(p, -(x))
#define atomic_load_explicit(p, order) atomic_load(p)
#define atomic_store_explicit(p, x, order) atomic_store(p, x)
#endif

#endif
