/* The pool. A worker waits for the next job, and at a barrier for its team, in the same way: it spins for some
 * microseconds, then offers its core to others for some hundred, then sleeps on a condition variable, so that more
 * workers than cores do no harm.
 *
 * An atomic flag says whether the pool is taken. A caller that finds it taken runs its job alone. So does a caller for a
 * while after a job that mostly waited, because others then hold the cores of its workers. After fork() the child has no
 * workers and makes its own when it needs them. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#endif

#include "fpenv.h"
#include "threads.h"

#if defined(_WIN32)
struct Team {
    int size;
};
int threads_available(void) { return 1; }
void threads_run(job_function *function, void *job, int workers)
{
    const Team alone = {1};
    const uint64_t before = fp_enter();
    (void)workers;
    function(job, &alone, 0, 1);
    fp_leave(before);
}
void threads_barrier(const Team *team) { (void)team; }
void threads_insist(int always) { (void)always; }
#else

enum { MAX_WORKERS = 256, SPINS = 500, YIELDS = 300 };
enum { LATE_NS = 1000000, TIMES_ALONE = 10, MOST_ALONE_NS = 1000000000 }; /* a job that waits longer than a slice
    of the scheduler is late; jobs then run alone for TIMES_ALONE times as long as it took, but MOST_ALONE_NS at most */

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* A counter that threads wait on. */
typedef struct {
    _Alignas(64) atomic_uint value;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} Signal;

struct Team {
    int size;
    Signal *barrier;
    atomic_int *arrived;
};

static struct {
    atomic_int taken;
    int workers;                /* threads made so far; the caller is not one of them */
    unsigned born[MAX_WORKERS]; /* the value of `start` when each was made; it waits for the next value */
    job_function *function;
    void *job;
    Team team;
    Signal start, done, barrier;
    atomic_int left, arrived;
    atomic_llong alone_until; /* nanoseconds of the clock */
    atomic_int insist;
} pool = {
    .start = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
    .done = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
    .barrier = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
};

static _Thread_local long long waited; /* nanoseconds waited after the first spins; counts in the thread that starts a job */

static long long clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static unsigned signal_value(Signal *s) { return atomic_load_explicit(&s->value, memory_order_acquire); }

static void signal_advance(Signal *s)
{
    atomic_fetch_add(&s->value, 1);
    if (atomic_load(&s->sleepers)) {
        pthread_mutex_lock(&s->mutex);
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->mutex);
    }
}

/* Returns when the value is no longer `seen`. */
static void signal_wait(Signal *s, unsigned seen)
{
    for (int spin = 0; spin < SPINS; spin++) {
        if (signal_value(s) != seen) return;
        PAUSE();
    }
    const long long since = clock_ns();
    for (int yield = 0; yield < YIELDS && signal_value(s) == seen; yield++) sched_yield();
    if (signal_value(s) == seen) {
        pthread_mutex_lock(&s->mutex);
        atomic_fetch_add(&s->sleepers, 1);
        while (atomic_load(&s->value) == seen) pthread_cond_wait(&s->changed, &s->mutex);
        atomic_fetch_sub(&s->sleepers, 1);
        pthread_mutex_unlock(&s->mutex);
    }
    waited += clock_ns() - since;
}

void threads_barrier(const Team *team)
{
    if (team->size == 1) return;
    const unsigned seen = signal_value(team->barrier);
    if (atomic_fetch_add(team->arrived, 1) == team->size - 1) {
        atomic_store(team->arrived, 0);
        signal_advance(team->barrier);
    } else {
        signal_wait(team->barrier, seen);
    }
}

#if defined(__linux__)
/* The scheduler does not separate threads that yield to each other on one core, so they separate themselves. taken[cpu] is
 * the last job in which a thread claimed that core. A thread that finds its core claimed in this job moves to a free one.
 * Its affinity is restored at once, and it stays on the new core. */
static atomic_uint taken[CPU_SETSIZE];

static void claim_core(unsigned job)
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
static void claim_core(unsigned job) { (void)job; }
#endif

static void *worker_main(void *argument)
{
    const int worker = (int)(intptr_t)argument;
    unsigned seen = pool.born[worker];
    fp_enter();
    waited = 0; /* thread-local memory is allocated at its first use: here, so that no job allocates it */
    for (;;) {
        signal_wait(&pool.start, seen);
        seen = signal_value(&pool.start);
        if (worker < pool.team.size) {
            claim_core(seen);
            pool.function(pool.job, &pool.team, worker, pool.team.size);
        }
        /* Every thread of the pool reports, also without work, so that each has read `start` before the next job changes it. */
        if (atomic_fetch_sub(&pool.left, 1) == 1) signal_advance(&pool.done);
    }
    return NULL;
}

static void forget_after_fork(void)
{
    const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    const pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
    Signal *signals[] = {&pool.start, &pool.done, &pool.barrier};
    for (int n = 0; n < 3; n++) {
        signals[n]->mutex = mutex;
        signals[n]->changed = changed;
        atomic_store(&signals[n]->value, 0);
        atomic_store(&signals[n]->sleepers, 0);
    }
    pool.workers = 0;
    atomic_store(&pool.arrived, 0);
    atomic_store(&pool.taken, 0);
}

/* Makes threads until there are `wanted`, or as many as the system allows. */
static void grow(int wanted)
{
    static atomic_int registered;
    if (!atomic_exchange(&registered, 1)) pthread_atfork(NULL, NULL, forget_after_fork);
    while (pool.workers < wanted && pool.workers + 1 < MAX_WORKERS) {
        pthread_t thread;
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        pool.born[pool.workers + 1] = signal_value(&pool.start);
        const int failed = pthread_create(&thread, &detached, worker_main, (void *)(intptr_t)(pool.workers + 1));
        pthread_attr_destroy(&detached);
        if (failed) return;
        pool.workers++;
    }
}

void threads_insist(int always) { atomic_store(&pool.insist, always); }

/* Whether jobs run alone for now, because their workers would wait for cores that others hold. */
static int stays_alone(long long now) { return now < atomic_load(&pool.alone_until) && !atomic_load(&pool.insist); }

void threads_run(job_function *function, void *job, int workers)
{
    const uint64_t before = fp_enter();
    const long long begin = workers > 1 ? clock_ns() : 0;
    if (workers > MAX_WORKERS) workers = MAX_WORKERS;
    if (workers > 1 && !stays_alone(begin) && !atomic_exchange(&pool.taken, 1)) {
        waited = 0;
        grow(workers - 1);
        if (workers > pool.workers + 1) workers = pool.workers + 1;
        const unsigned seen = signal_value(&pool.done);
        pool.function = function;
        pool.job = job;
        pool.team = (Team){workers, &pool.barrier, &pool.arrived};
        atomic_store(&pool.left, pool.workers);
        claim_core(signal_value(&pool.start) + 1);
        signal_advance(&pool.start);
        function(job, &pool.team, 0, workers);
        if (pool.workers) signal_wait(&pool.done, seen);
        if (waited > LATE_NS) {
            const long long end = clock_ns(), took = end - begin;
            const long long alone = TIMES_ALONE * took < MOST_ALONE_NS ? TIMES_ALONE * took : MOST_ALONE_NS;
            if (2 * waited > took) atomic_store(&pool.alone_until, end + alone);
        }
        atomic_store(&pool.taken, 0);
    } else {
        const Team alone = {.size = 1};
        function(job, &alone, 0, 1);
    }
    fp_leave(before);
}

int threads_available(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__linux__)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) cores = CPU_COUNT(&set);
#endif
    if (cores < 1) cores = 1;
    return cores < MAX_WORKERS ? (int)cores : MAX_WORKERS;
}
#endif
