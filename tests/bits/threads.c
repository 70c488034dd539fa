/* The pool of threads without Python: many jobs with barriers, callers inside and beside a job, teams of every size, and a
 * program that ends while workers sleep. Prints "threads: ..." and ends with 0 if all is well. */
#if defined(_WIN32)
#include "threads_windows.h"
#else
#include "threads_posix.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "clock.h"
#include "fpenv.h"
#include "threads.h"

enum { WORKERS = 5, TURNS = 10, JOBS = 60, CALLERS = 3 };

#define CHECK(condition) check(condition, #condition, __LINE__)
static void check(int holds, const char *condition, int line)
{
    if (holds) return;
    fprintf(stderr, "threads.c:%d: %s does not hold\n", line, condition);
    exit(1);
}

/* Each turn every worker writes its own number, and after a barrier reads those of all. */
typedef struct {
    int written[WORKERS], workers, wrong;
    atomic_int runs, nested_runs;
} Shared;

static void turns(void *job, const Team *team, int worker, int workers)
{
    Shared *shared = job;
    atomic_fetch_add(&shared->runs, 1);
    if (worker == 0) shared->workers = workers;
    for (int turn = 1; turn <= TURNS; turn++) {
        shared->written[worker] = turn;
        threads_barrier(team);
        for (int other = 0; other < workers; other++)
            if (shared->written[other] != turn) shared->wrong = 1;
        threads_barrier(team);
    }
}

static int run_turns(int workers)
{
    Shared shared;
    memset(&shared, 0, sizeof shared);
    threads_run(turns, &shared, workers);
    CHECK(!shared.wrong);
    CHECK(shared.workers >= 1 && shared.workers <= workers);
    CHECK(atomic_load(&shared.runs) == shared.workers);
    for (int worker = 0; worker < shared.workers; worker++) CHECK(shared.written[worker] == TURNS);
    return shared.workers;
}

/* A job that starts jobs: they find the pool taken, and run alone. */
static void nested(void *job, const Team *team, int worker, int workers)
{
    (void)worker, (void)workers;
    if (run_turns(WORKERS) == 1) atomic_fetch_add(&((Shared *)job)->nested_runs, 1);
    threads_barrier(team);
}

/* Callers of several threads at once. */
static atomic_int callers_left;
static THREAD_RESULT caller(void *unused)
{
    (void)unused;
    for (int n = 0; n < JOBS / 3; n++) run_turns(1 + n % WORKERS);
    atomic_fetch_sub(&callers_left, 1);
    return 0;
}

static void slow(void *job, const Team *team, int worker, int workers)
{
    (void)workers;
    const long long until = clock_ns() + 20000000;
    if (worker == 0) while (clock_ns() < until) yield_core(); /* the others wait at the barrier, and fall asleep */
    threads_barrier(team);
    atomic_fetch_add((atomic_int *)job, 1);
}

/* Each worker reports the environment it runs in. */
static void environments(void *job, const Team *team, int worker, int workers)
{
    const uint64_t here = fp_enter();
    fp_leave(here);
    (void)team, (void)workers;
    ((uint64_t *)job)[worker] = here;
}

int main(void)
{
    int most = 0;

    CHECK(threads_available() >= 1);
    threads_insist(1);
    for (int n = 0; n < JOBS; n++) {
        const int workers = run_turns(1 + n % WORKERS);
        if (workers > most) most = workers;
    }
    CHECK(most == WORKERS);

    Shared outer;
    memset(&outer, 0, sizeof outer);
    for (int n = 0; n < 20; n++) threads_run(nested, &outer, WORKERS);
    CHECK(atomic_load(&outer.nested_runs) == 20 * WORKERS);

    atomic_store(&callers_left, CALLERS);
    for (int n = 0; n < CALLERS; n++) CHECK(thread_start(caller, NULL));
    run_turns(WORKERS);
    while (atomic_load(&callers_left)) yield_core();

    atomic_int done;
    atomic_store(&done, 0);
    threads_run(slow, (void *)&done, WORKERS);
    CHECK(atomic_load(&done) == WORKERS);

    uint64_t found[WORKERS];
    const uint64_t before = fp_enter_default();
    threads_run(environments, found, WORKERS);
    const uint64_t after = fp_enter();
    for (int worker = 1; worker < WORKERS; worker++) CHECK((found[worker] & ~(uint64_t)0x3f) == (found[0] & ~(uint64_t)0x3f));
    fp_leave(before);
    CHECK((after & ~(uint64_t)0x3f) != (found[0] & ~(uint64_t)0x3f) || !FLUSHES_SUBNORMALS);
    printf("threads: %d jobs, teams of up to %d, nested and concurrent callers: all is well\n", JOBS, most);
    return 0;
}
