/* When a long call looks for signals, and whether a signal handler has stopped it. Worker 0 looks. All workers stop after the
 * same chunk, so that none waits at a barrier for a worker that has stopped. */
#ifndef RNNFAST_INTERRUPTS_H
#define RNNFAST_INTERRUPTS_H

#include "atomics.h"
#include "clock.h"
#include "fpenv.h"

typedef struct {
    long long next;       /* on the clock; 0: never */
    uint64_t environment; /* the caller's floating-point environment, in which its signal handlers run */
    atomic_int stop;      /* the number, from 1, of the chunk after which to stop; 0: none */
} Interrupts;

enum { INTERVAL_NS = 100000000 };

/* `main`: whether the caller is Python's main thread. Only its calls look, because only that thread runs signal handlers. Another
 * thread that asked for the GIL after the interpreter had ended would be terminated. */
static inline void interrupts_begin(Interrupts *interrupts, int main)
{
    interrupts->next = main ? clock_ns() + INTERVAL_NS : 0;
    interrupts->environment = fp_enter();
    fp_leave(interrupts->environment);
    atomic_store_explicit(&interrupts->stop, 0, memory_order_relaxed);
}

/* Whether a tenth of a second has passed since the last look. Always 0 without interrupts_begin, because the caller may then
 * not be Python. */
static inline int interrupts_due(Interrupts *interrupts)
{
    if (interrupts->next == 0) return 0;
    const long long now = clock_ns();
    if (now < interrupts->next) return 0;
    interrupts->next = now + INTERVAL_NS;
    return 1;
}

static inline void interrupts_stop(Interrupts *interrupts, int chunk)
{
    atomic_store_explicit(&interrupts->stop, chunk, memory_order_relaxed);
}
static inline int interrupts_stopped(Interrupts *interrupts, int chunk)
{
    const int stop = atomic_load_explicit(&interrupts->stop, memory_order_relaxed);
    return stop && stop <= chunk;
}

#endif
