/* What the pool of threads needs of Windows; threads_posix.h says what each function does. */
#ifndef RNNFAST_THREADS_WINDOWS_H
#define RNNFAST_THREADS_WINDOWS_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <process.h>
#include <stdint.h>

typedef struct {
    SRWLOCK lock;
    CONDITION_VARIABLE changed;
} Monitor;
#define MONITOR {SRWLOCK_INIT, CONDITION_VARIABLE_INIT}

static inline void monitor_enter(Monitor *m) { AcquireSRWLockExclusive(&m->lock); }
static inline void monitor_leave(Monitor *m) { ReleaseSRWLockExclusive(&m->lock); }
static inline void monitor_wait(Monitor *m) { SleepConditionVariableSRW(&m->changed, &m->lock, INFINITE, 0); }
static inline void monitor_wake_all(Monitor *m) { WakeAllConditionVariable(&m->changed); }

static inline void yield_core(void) { SwitchToThread(); }

static inline void after_fork(void (*forget)(void)) { (void)forget; } /* Windows has no fork */

#define THREAD_RESULT unsigned __stdcall
static inline int thread_start(unsigned(__stdcall *run)(void *), void *argument)
{
    const uintptr_t thread = _beginthreadex(NULL, 0, run, argument, 0, NULL);
    if (thread) CloseHandle((HANDLE)thread);
    return thread != 0;
}

static inline long cores_allowed(void)
{
    DWORD_PTR process, system;
    long count = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) return 0;
    for (; process; process &= process - 1) count++;
    return count ? count : (long)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS); /* no mask: cores of several groups */
}

static inline void claim_core(unsigned job) { (void)job; } /* the scheduler separates threads that yield to each other */

#endif
