/* Scratch memory for one call. It is kept between calls, so that later calls touch no fresh page. */
#ifndef RNNFAST_WORKSPACE_H
#define RNNFAST_WORKSPACE_H

#include <stddef.h>

#include "atomics.h"

/* Keeps the block that was given back last; all zero at first. Threads may share one. */
typedef struct {
    atomic_pointer kept;
} Workspace;

/* The workspace of all calls that have no workspace of their own. */
extern Workspace shared_workspace;

/* Takes one block, divided into parts of at least sizes[n] bytes, each aligned to 64 bytes: the kept block if it is large
 * enough, else a new one. Returns the block and sets parts[n]; returns NULL if there is no memory. If `workspace` is NULL, the
 * block is always new. */
void *workspace_take(Workspace *workspace, int count, const size_t *sizes, void **parts);

/* Gives the block back. The workspace keeps it for the next call and frees the one it kept. If `workspace` is NULL, the block is
 * freed. */
void workspace_give(Workspace *workspace, void *block);

#endif
