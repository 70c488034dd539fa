/* The pool. A worker waits for the next job, and at a barrier for its team, in the same way: it spins for some
 * microseconds, then offers its core to others for some hundred, then sleeps on a condition variable, so that more
 * workers than cores do no harm.
 *
 * An atomic flag says whether the pool is taken. A caller that finds it taken runs its job alone. So does a caller for a
 * while after a job that mostly waited, because others then hold the cores of its workers. After fork() the child has no
 * workers and makes its own when it needs them. */
#if defined(_WIN32)
#include "threads_windows.h"
#else
#include "threads_posix.h"
#endif

#include <stdint.h>

#include "atomics.h"
#include "clock.h"
#include "compiler.h"
#include "fpenv.h"
#include "threads.h"

enum { MAX_WORKERS = 256, SPINS = 500, YIELDS = 300 };
enum { LATE_NS = 1000000, TIMES_ALONE = 10, MOST_ALONE_NS = 1000000000 }; /* a job that waits longer than a slice
    of the scheduler is late; jobs then run alone for TIMES_ALONE times as long as it took, but MOST_ALONE_NS at most */

/* A counter that threads wait on. */
typedef struct {
    _Alignas(64) atomic_uint value;
    atomic_int sleepers;
    Monitor monitor;
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
    atomic_pointer runtime; /* the OpenMP whose threads run jobs; NULL: none */
    atomic_int forked;      /* whether this process is a child: an OpenMP runtime that had threads waits for them for ever here */
} pool = {
    .start = {.monitor = MONITOR}, .done = {.monitor = MONITOR}, .barrier = {.monitor = MONITOR},
};

static THREAD_LOCAL long long waited; /* nanoseconds waited after the first spins; counts in the thread that starts a job */

static unsigned signal_value(Signal *s) { return atomic_load_explicit(&s->value, memory_order_acquire); }

static void signal_advance(Signal *s)
{
    atomic_fetch_add(&s->value, 1);
    if (atomic_load(&s->sleepers)) {
        monitor_enter(&s->monitor);
        monitor_wake_all(&s->monitor);
        monitor_leave(&s->monitor);
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
    for (int yield = 0; yield < YIELDS && signal_value(s) == seen; yield++) yield_core();
    if (signal_value(s) == seen) {
        monitor_enter(&s->monitor);
        atomic_fetch_add(&s->sleepers, 1);
        while ((unsigned)atomic_load(&s->value) == seen) monitor_wait(&s->monitor);
        atomic_fetch_sub(&s->sleepers, 1);
        monitor_leave(&s->monitor);
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

static THREAD_RESULT worker_main(void *argument)
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
    return 0;
}

static void forget_after_fork(void)
{
    Signal *signals[] = {&pool.start, &pool.done, &pool.barrier};
    for (int n = 0; n < 3; n++) {
        signals[n]->monitor = (Monitor)MONITOR;
        atomic_store(&signals[n]->value, 0);
        atomic_store(&signals[n]->sleepers, 0);
    }
    pool.workers = 0;
    atomic_store(&pool.arrived, 0);
    atomic_store(&pool.taken, 0);
    atomic_store(&pool.forked, 1);
}

void threads_notice_forks(void)
{
    static atomic_int registered;
    if (!atomic_exchange(&registered, 1)) after_fork(forget_after_fork);
}

/* Makes threads until there are `wanted`, or as many as the system allows. */
static void grow(int wanted)
{
    threads_notice_forks();
    while (pool.workers < wanted && pool.workers + 1 < MAX_WORKERS) {
        pool.born[pool.workers + 1] = signal_value(&pool.start);
        if (!thread_start(worker_main, (void *)(intptr_t)(pool.workers + 1))) return;
        pool.workers++;
    }
}

void threads_insist(int always) { atomic_store(&pool.insist, always); }

/* Whether jobs run alone for now, because their workers would wait for cores that others hold. */
static int stays_alone(long long now) { return now < atomic_load(&pool.alone_until) && !atomic_load(&pool.insist); }

void threads_borrow(const OpenMP *runtime)
{
    threads_notice_forks();
    atomic_exchange_pointer(&pool.runtime, (void *)runtime);
}

/* A job on the threads of a runtime. */
typedef struct {
    const OpenMP *runtime;
    long long ended; /* when the caller was done with its own part */
} Loan;

/* What a thread of the runtime does, of which there may be more than workers, or fewer. */
static void borrowed_main(void *argument)
{
    Loan *loan = argument;
    const int threads = loan->runtime->size(), worker = loan->runtime->number();
    const Team team = {threads < pool.team.size ? threads : pool.team.size, &pool.barrier, &pool.arrived};
    if (worker >= team.size) return;
    const uint64_t before = fp_enter();
    pool.function(pool.job, &team, worker, team.size);
    fp_leave(before);
    if (worker == 0) loan->ended = clock_ns();
}

/* Runs the job of the pool on threads of the runtime, of which the caller is worker 0. */
static void run_on_borrowed(const OpenMP *runtime)
{
    Loan loan = {runtime, 0};
    runtime->parallel(borrowed_main, &loan, 0, 0);
    waited += clock_ns() - loan.ended;
}

/* Runs the job of the pool on `pool.team.size` threads, of which the caller is worker 0. */
static void run_on_workers(void)
{
    grow(pool.team.size - 1);
    if (pool.team.size > pool.workers + 1) pool.team.size = pool.workers + 1;
    const unsigned seen = signal_value(&pool.done);
    atomic_store(&pool.left, pool.workers);
    claim_core(signal_value(&pool.start) + 1);
    signal_advance(&pool.start);
    pool.function(pool.job, &pool.team, 0, pool.team.size);
    if (pool.workers) signal_wait(&pool.done, seen);
}

void threads_run(job_function *function, void *job, int workers)
{
    const uint64_t before = fp_enter();
    const long long begin = workers > 1 ? clock_ns() : 0;
    if (workers > MAX_WORKERS) workers = MAX_WORKERS;
    if (workers > 1 && !stays_alone(begin) && !atomic_exchange(&pool.taken, 1)) {
        waited = 0;
        pool.function = function;
        pool.job = job;
        pool.team = (Team){workers, &pool.barrier, &pool.arrived};
        const OpenMP *runtime = atomic_load(&pool.forked) ? NULL : atomic_load(&pool.runtime);
        if (runtime && runtime->most() >= workers) {
            fp_leave(before); /* a thread that the runtime starts now inherits the environment */
            run_on_borrowed(runtime);
        } else {
            run_on_workers();
        }
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
    long cores = cores_allowed();
    if (cores < 1) cores = 1;
    return cores < MAX_WORKERS ? (int)cores : MAX_WORKERS;
}
