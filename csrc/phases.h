/* The phases of a step, from the cell's row in the table and the weights that are given. */
#ifndef RNNFAST_PHASES_H
#define RNNFAST_PHASES_H

#include "kernels.h"

typedef struct {
    int count;
    step_function *run[MAX_PHASES];
    ptrdiff_t groups[MAX_PHASES]; /* that the units of each are divided into */
} Phases;

/* The groups of a phase's units. */
static inline ptrdiff_t groups_of_units(const Kernels *k, const Pass *p, int units)
{
    if (units == WHOLE_ROWS) return p->B;
    if (units == STEP_UNITS && p->G > 1) return padded_to(p->H, k->lanes) / k->lanes;
    return k->groups_of(units == OUTPUT_UNITS ? p->P : p->H);
}

static inline Phases phases_of(const Kernels *k, const Pass *p, const Phase *list, step_function *const *functions)
{
    Phases phases = {.count = 0};
    for (int n = 0; n < MAX_PHASES && list[n].units != NO_PHASE; n++)
        if (!(list[n].needs & ~p->given) && !(list[n].excludes & p->given)) {
            phases.run[phases.count] = functions[n];
            phases.groups[phases.count++] = groups_of_units(k, p, list[n].units);
        }
    return phases;
}

static inline Phases forward_phases(const Kernels *k, const Pass *p)
{
    return phases_of(k, p, cell_table[p->cell].forward, k->step_forward[p->cell]);
}
static inline Phases backward_phases(const Kernels *k, const Pass *p)
{
    return phases_of(k, p, cell_table[p->cell].backward, k->step_backward[p->cell]);
}

#endif
