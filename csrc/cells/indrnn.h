/* The independently recurrent network (Li et al. 2018): each unit sees only its own past.
 *
 *     a = b + W x + u * h_prev          slot 0; u is weight_hh [H]
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a)                   f' from the value h, as in rnn.h
 *     dh_prev = da * u                  du = sum of da * h_prev
 */
#ifndef RNNFAST_CELLS_INDRNN_H
#define RNNFAST_CELLS_INDRNN_H

#include "kernels/scan.h"

static ALWAYS_INLINE void indrnn_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    vec h[ABREAST];

    EACH(m) {
        const CellRow *row = at[m].row;
        h[m] = v_weighted(p->vector[0], &at[m], v_load_at(row->prev[PART_H], &at[m]), v_load_at(row->gates, &at[m]));
    }
    v_nonlinearity(p->nonlinearity, M, h);
    v_store_activation(p, M, at, h);
}

static ALWAYS_INLINE void indrnn_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const CellRow *row = at->row;
    const vec da = v_nonlinearity_slope(p->nonlinearity, dh, v_activation(p, at), guard);
    const vec u = v_load_at((const real *)p->vector[0], at);

    v_store_at(row->d[PART_H], at, v_guarded(guard, da, v_mul(da, u), v_zero()));
    v_store_at(row->gates, at, da); /* as in rnn.h */
}

static ALWAYS_INLINE void indrnn_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    vec read = v_zero(); /* not finite if any value that is read is not */
    EACH(m) read = v_add(read, v_activation(p, &at[m]));
    if (v_all_finite(read)) EACH(m) indrnn_gradient(p, &at[m], dh[m], 0);
    else EACH(m) indrnn_gradient(p, &at[m], dh[m], 1);
}

FORWARD_PHASE(indrnn_step_forward, STATE_PRODUCT, 0, indrnn_cell_forward)
BACKWARD_PHASE(indrnn_step_backward, STATE_PRODUCT, BESIDE_PRODUCT, indrnn_cell_backward)
FORWARD_SCAN(indrnn_scan_forward, indrnn_cell_forward)
BACKWARD_SCAN(indrnn_scan_backward, indrnn_cell_backward)

FORWARD_PHASES(indrnn, indrnn_step_forward)
BACKWARD_PHASES(indrnn, indrnn_step_backward)

#endif
