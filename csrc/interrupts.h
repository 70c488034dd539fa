/* When a long call looks for signals, and whether a signal handler has stopped it. Worker 0 looks. All workers stop after the
 * same chunk, so that none waits at a barrier for a worker that has stopped. */
#ifndef RNNFAST_INTERRUPTS_H
#define RNNFAST_INTERRUPTS_H

#include <time.h>

#include "fpenv.h"

typedef struct {
    double next;          /* seconds on the clock below; 0: never */
    uint64_t environment; /* the caller's floating-point environment, in which its signal handlers run */
    int stop;             /* the number, from 1, of the chunk after which to stop; 0: none */
} Interrupts;

static inline double interrupts_clock(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* `main`: whether the caller is Python's main thread. Only its calls look, because only that thread runs signal handlers. Another
 * thread that asked for the GIL after the interpreter had ended would be terminated. */
static inline void interrupts_begin(Interrupts *interrupts, int main)
{
    interrupts->next = main ? interrupts_clock() + 0.1 : 0;
    interrupts->environment = fp_enter();
    fp_leave(interrupts->environment);
    interrupts->stop = 0;
}

/* Whether a tenth of a second has passed since the last look, or the clock has been set back. Always 0 without
 * interrupts_begin, because the caller may then not be Python. */
static inline int interrupts_due(Interrupts *interrupts)
{
    if (interrupts->next == 0) return 0;
    const double now = interrupts_clock();
    if (now < interrupts->next && now > interrupts->next - 0.2) return 0;
    interrupts->next = now + 0.1;
    return 1;
}

#if defined(__GNUC__)
static inline void interrupts_stop(Interrupts *interrupts, int chunk)
{
    __atomic_store_n(&interrupts->stop, chunk, __ATOMIC_RELAXED);
}
static inline int interrupts_stopped(const Interrupts *interrupts, int chunk)
{
    const int stop = __atomic_load_n(&interrupts->stop, __ATOMIC_RELAXED);
    return stop && stop <= chunk;
}
#else /* one thread there */
static inline void interrupts_stop(Interrupts *interrupts, int chunk) { interrupts->stop = chunk; }
static inline int interrupts_stopped(const Interrupts *interrupts, int chunk) { return interrupts->stop && interrupts->stop <= chunk; }
#endif

#endif
