/* What the pool of threads needs of a POSIX system. Included first, because _GNU_SOURCE must come before any other header.
 *
 * Monitor: a lock with a condition to wait for. MONITOR is the initial value of one. */
#ifndef RNNFAST_THREADS_POSIX_H
#define RNNFAST_THREADS_POSIX_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* affinity */
#endif
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <unistd.h>

#include "atomics.h"

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
} Monitor;
#define MONITOR {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}

static inline void monitor_enter(Monitor *m) { pthread_mutex_lock(&m->lock); }
static inline void monitor_leave(Monitor *m) { pthread_mutex_unlock(&m->lock); }
static inline void monitor_wait(Monitor *m) { pthread_cond_wait(&m->changed, &m->lock); }
static inline void monitor_wake_all(Monitor *m) { pthread_cond_broadcast(&m->changed); }

static inline void yield_core(void) { sched_yield(); }

/* Calls `forget` in every forked child. */
static inline void after_fork(void (*forget)(void)) { pthread_atfork(NULL, NULL, forget); }

/* Starts a thread that nobody waits for; 0 if the system refuses. */
#define THREAD_RESULT void *
static inline int thread_start(THREAD_RESULT (*run)(void *), void *argument)
{
    pthread_t thread;
    pthread_attr_t detached;

    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    const int failed = pthread_create(&thread, &detached, run, argument);
    pthread_attr_destroy(&detached);
    return !failed;
}

/* Cores that this process may run on; less than 1 if the system does not tell. */
static inline long cores_allowed(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    return sysconf(_SC_NPROCESSORS_ONLN);
}

#if defined(__linux__)
/* The scheduler does not separate threads that yield to each other on one core, so they separate themselves. taken[cpu] is
 * the last job in which a thread claimed that core. A thread that finds its core claimed in this job moves to a free one.
 * Its affinity is restored at once, and it stays on the new core. */
static atomic_uint taken[CPU_SETSIZE];

static inline void claim_core(unsigned job)
{
    cpu_set_t allowed, free;
    int cpu = sched_getcpu(), left = 0;
    if (cpu < 0 || cpu >= CPU_SETSIZE || atomic_exchange(&taken[cpu], job) != job) return;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    CPU_ZERO(&free);
    for (int n = 0; n < CPU_SETSIZE; n++)
        if (CPU_ISSET(n, &allowed) && atomic_load(&taken[n]) != job) {
            CPU_SET(n, &free);
            left++;
        }
    if (!left || sched_setaffinity(0, sizeof free, &free)) return;
    cpu = sched_getcpu();
    if (cpu >= 0 && cpu < CPU_SETSIZE) atomic_store(&taken[cpu], job);
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static inline void claim_core(unsigned job) { (void)job; }
#endif

#endif
