/* Numbers and pointers that any thread may read and set at any time. Relaxed: no reader relies on the order of two of them. */
#ifndef RNNFAST_SHARED_H
#define RNNFAST_SHARED_H

#include <stdatomic.h>

#include "kernels.h"

typedef atomic_int SharedInt;
typedef atomic_ullong SharedCount;
typedef _Atomic(const Kernels *) SharedKernels;

#define shared_read(place) atomic_load_explicit(place, memory_order_relaxed)
#define shared_set(place, value) atomic_store_explicit(place, value, memory_order_relaxed)
#define shared_add(place, value) (void)atomic_fetch_add_explicit(place, value, memory_order_relaxed)

#endif
