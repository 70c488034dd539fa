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

/* `always` nonzero: jobs use their workers even after a job that waited for its workers' cores. For tests. */
void threads_insist(int always);

#endif
