/* Vectors of numbers: sums, and whether they are zero. The gradients of vector weights are summed over rows in the order of every
 * weight's: the last step first, b ascending. */
#ifndef RNNFAST_KERNELS_VECTORS_H
#define RNNFAST_KERNELS_VECTORS_H

#include "kernels/step.h"

/* y += x, n numbers. */
static void add(ptrdiff_t n, const void *x, void *y)
{
    for (ptrdiff_t l = 0; l < n; l += V) {
        const int lanes = lanes_at(l, n);
        real *sum = (real *)y + l;
        v_store_n(sum, v_add(v_load_n(sum, lanes), v_load_n((const real *)x + l, lanes)), lanes);
    }
}

/* Whether n numbers are all zero. */
static inline int is_zero(const real *d, ptrdiff_t n)
{
    while (n > 0 && FLUSHED(*d) == 0) n--, d++;
    return n == 0;
}

#if TRAINS

/* sum += d * x for units j0..j1. */
static ALWAYS_INLINE void add_products(const real *d, const real *x, real *sum, ptrdiff_t j0, ptrdiff_t j1)
{
    for (ptrdiff_t j = j0; j < j1; j += V) {
        const int lanes = lanes_at(j, j1);
        const vec dj = v_load_n(d + j, lanes), xj = v_load_n(x + j, lanes), before = v_load_n(sum + j, lanes);
        const vec after = v_fma(dj, xj, before);
        v_store_n(sum + j, v_all_finite(xj) ? after : v_guarded(1, dj, after, before), lanes);
    }
}

/* d_vector += (gradient in its slot) * (its operand), over the gradients in gates of steps s0..s1. */
static void vector_gradients(const Pass *p, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t j0, ptrdiff_t j1)
{
    const CellInfo *cell = &cell_table[p->cell];

    for (ptrdiff_t s = s1 - 1; s >= s0; s--)
        for (ptrdiff_t b = 0; b < rows_in_step(&p->state[PART_H], s); b++) {
            CellRow row;
            set_cell_row(p, s, b, &row);
            for (int n = 0; n < cell->vectors; n++) {
                const int value = cell->vector[n].operand;
                const real *x = value < PRESENT ? row.prev[value - PREVIOUS] : row.now[value - PRESENT];
                if (p->d_vector[n]) add_products(row.gates + cell->vector[n].slot * p->H, x, p->d_vector[n], j0, j1);
            }
        }
}

#endif

#endif
