/* A small pool of threads: one job at a time, run by a team of workers that can meet at barriers. */
#ifndef RNNFAST_THREADS_H
#define RNNFAST_THREADS_H

typedef struct Team Team;
typedef void job_function(void *job, const Team *team, int worker, int workers);

/* Cores that this process may run on. */
int threads_available(void);

/* Runs job on `workers` threads, the caller's among them, and returns when all are done. Where the pool is busy, cannot
 * grow or does not exist, fewer run it, down to the caller alone: `workers` as the job sees it is the true number. */
void threads_run(job_function *function, void *job, int workers);

/* Returns once every worker of the team is here. */
void threads_barrier(const Team *team);

/* Nonzero: no job is run alone because an earlier one waited for its workers' cores. For tests. */
void threads_insist(int always);

#endif
