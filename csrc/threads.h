/* A small pool of threads: one job at a time, run by a team of workers that can meet at barriers. */
#ifndef RNNFAST_THREADS_H
#define RNNFAST_THREADS_H

typedef struct Team Team;
typedef void job_function(void *job, const Team *team, int worker, int workers);

/* Cores that this process may run on. */
int threads_available(void);

/* Runs a job on `workers` threads, of which the caller is one, and returns when all are done. Fewer threads run it, down to
 * the caller alone, if the pool is busy, cannot grow or does not exist. The job gets the true number as its `workers`. */
void threads_run(job_function *function, void *job, int workers);

/* Returns when every worker of the team has called it. */
void threads_barrier(const Team *team);

/* Functions of an OpenMP runtime: GOMP_parallel, omp_get_max_threads, omp_get_num_threads, omp_get_thread_num. */
typedef void (*OpenMPParallel)(void (*function)(void *), void *data, unsigned threads, unsigned flags);
typedef int (*OpenMPCount)(void);
typedef struct {
    OpenMPParallel parallel;
    OpenMPCount most, size, number;
} OpenMP;

/* Later jobs of as many workers as the runtime has threads, or fewer, run on those, and not on the pool's: they wait for the next
 * work of another library, and spin on the cores that the pool's would need. NULL: on the pool's. So do all jobs of a child forked
 * after threads_notice_forks, whatever the child borrows. `runtime` stays valid for ever. Never waits. */
void threads_borrow(const OpenMP *runtime);

/* From now on, a forked child has a pool of its own. The first thread of a pool has the same effect. */
void threads_notice_forks(void);

/* `always` nonzero: jobs use their workers even after a job that waited for its workers' cores. For tests. */
void threads_insist(int always);

#endif
