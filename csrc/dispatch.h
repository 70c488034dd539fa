/* The implementations of the kernels, best first, and whether this machine can run each. */
#ifndef RNNFAST_DISPATCH_H
#define RNNFAST_DISPATCH_H

#include "kernels.h"

enum { FLOAT32, FLOAT64, BFLOAT16, INT8, KINDS }; /* kinds of kernels: types of elements and of operands */

/* Kernels of an instruction set that use a further instruction for their products; their bits are the same. */
typedef struct {
    const Kernels *kernels;  /* NULL: there is no such instruction */
    int (*runs_here)(void);  /* whether this machine has it, with the right bits */
    int (*pays)(void);       /* whether it is faster here: it is not on every processor */
} Instruction;

typedef struct {
    const char *name, *description;
    const Kernels *kernels[KINDS];
    int (*runs_here)(void);
    Instruction instruction[KINDS];
} Implementation;

/* Ends with an entry whose name is NULL. */
extern const Implementation implementations[];

/* The implementation of that name, whether it runs here or not; NULL: there is none. Without a name, the best one that runs. */
const Implementation *find_implementation(const char *name);

/* Bytes of one core's L2 cache; a common size where the system does not tell. */
long l2_bytes(void);

#endif
