/* The implementations of the kernels, best first, and whether this machine can run each. */
#ifndef RNNFAST_DISPATCH_H
#define RNNFAST_DISPATCH_H

#include "kernels.h"

enum { FLOAT32, FLOAT64, BFLOAT16, KINDS }; /* kinds of kernels: types of elements and of operands */

typedef struct {
    const char *name, *description;
    const Kernels *kernels[KINDS];
    int (*runs_here)(void);
    const Kernels *instruction[KINDS];   /* with a further instruction for its products, whose bits are the same; or NULL */
    int (*has_instruction[KINDS])(void); /* whether this machine has it, with the right bits */
    int (*pays[KINDS])(void);            /* whether it is faster here: it is not on every processor */
} Implementation;

/* Ends with an entry whose name is NULL. */
extern const Implementation implementations[];

/* Bytes of one core's L2 cache; a common size where the system does not tell. */
long l2_bytes(void);

#endif
