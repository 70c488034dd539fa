/* The implementations of the kernels, best first, and whether this machine can run each. */
#ifndef RNNFAST_DISPATCH_H
#define RNNFAST_DISPATCH_H

#include "kernels.h"

typedef struct {
    const char *name, *description;
    const Kernels *float32, *float64;
    int (*runs_here)(void);
} Implementation;

/* Ends with an entry whose name is NULL. */
extern const Implementation implementations[];

/* Bytes of one core's L2 cache; a common size where the system does not tell. */
long l2_bytes(void);

#endif
