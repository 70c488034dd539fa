/* Scratch memory for the length of one call, kept between calls so that the steady state touches no fresh page. */
#ifndef RNNFAST_WORKSPACE_H
#define RNNFAST_WORKSPACE_H

#include <stdatomic.h>
#include <stddef.h>

/* Where the block last given back is kept; all zero at first. Any threads may share one. */
typedef struct {
    _Atomic(void *) kept;
} Workspace;

/* The one of all calls that have none of their own. */
extern Workspace shared_workspace;

/* One block cut into parts of at least sizes[n] bytes, each aligned to 64: the kept one if it is large enough, else a new one.
 * Returns the block and sets parts[n], or returns NULL if there is no memory. NULL as the workspace: always a new one. */
void *workspace_take(Workspace *workspace, int count, const size_t *sizes, void **parts);

/* Gives it back: one block is kept for the next call, any other is freed. NULL as the workspace: it is freed. */
void workspace_give(Workspace *workspace, void *block);

#endif
