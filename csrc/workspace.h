/* Scratch memory for the length of one call, kept between calls so that the steady state touches no fresh page. */
#ifndef RNNFAST_WORKSPACE_H
#define RNNFAST_WORKSPACE_H

#include <stddef.h>

/* One block cut into parts of at least sizes[n] bytes, each aligned to 64.
 * Returns the block and sets parts[n], or returns NULL if there is no memory. */
void *workspace_take(int count, const size_t *sizes, void **parts);

/* Gives it back: one block is kept for the next call, any other is freed. */
void workspace_give(void *block);

#endif
