/* An embedded input: the rows of a pass are rows of a table, chosen by tokens. */
#ifndef RNNFAST_KERNELS_LOOKUP_H
#define RNNFAST_KERNELS_LOOKUP_H

#include "kernels/step.h"

static inline real *lookup_row(const Lookup *l, ptrdiff_t s, ptrdiff_t b)
{
    return (real *)l->table + l->token[s * l->s_stride + (l->place ? l->place[b] : b * l->b_stride)] * l->C;
}

/* gates[s][b] = table[token[s][b]] in columns c0..c1. */
static void gather(const Lookup *l, const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t c0,
                   ptrdiff_t c1)
{
    for (ptrdiff_t s = s0; s < s1; s++)
        for (ptrdiff_t b = b0; b < b1 && b < rows_in_step(&p->state[PART_H], s); b++)
            memcpy(gates_row(p, s, b) + c0, lookup_row(l, s, b) + c0, (size_t)(c1 - c0) * sizeof(real));
}

#if TRAINS
/* table[token[s][b]] += gates[s][b] in columns c0..c1, the last step first, b ascending. */
static void scatter(const Lookup *l, const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t c0, ptrdiff_t c1)
{
    for (ptrdiff_t s = s1 - 1; s >= s0; s--)
        for (ptrdiff_t b = 0; b < rows_in_step(&p->state[PART_H], s); b++) {
            const real *d = gates_row(p, s, b);
            real *sum = lookup_row(l, s, b);
            for (ptrdiff_t c = c0; c < c1; c += V) {
                const int lanes = lanes_at(c, c1);
                v_store_n(sum + c, v_add(v_load_n(sum + c, lanes), v_load_n(d + c, lanes)), lanes);
            }
        }
}
#endif

#endif
