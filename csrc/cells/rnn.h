/* The vanilla recurrent network (Elman 1990).
 *
 *     a = b_ih + W_ih x + b_hh + W_hh h_prev          slot 0
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a), and f' from the value h:  1 - h^2 | h > 0 (NaN for NaN) | h (1 - h) | 1
 */
#ifndef RNNFAST_CELLS_RNN_H
#define RNNFAST_CELLS_RNN_H

#include "kernels/step.h"

static ALWAYS_INLINE void rnn_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    vec h[ABREAST];
    EACH(m) h[m] = v_load(at[m].a);
    v_nonlinearity(p->nonlinearity, M, h);
    v_store_activation(p, M, at, h);
}

static ALWAYS_INLINE void rnn_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const vec h = v_activation(p, at);
    /* was: the pre-activation, no longer needed, or h before zoneout; now: da */
    v_store_at(at->row->gates, at, v_nonlinearity_slope(p->nonlinearity, dh, h, guard));
}

static ALWAYS_INLINE void rnn_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    vec read = v_zero(); /* not finite if any value that is read is not */
    EACH(m) read = v_add(read, v_activation(p, &at[m]));
    if (v_all_finite(read)) EACH(m) rnn_gradient(p, &at[m], dh[m], 0);
    else EACH(m) rnn_gradient(p, &at[m], dh[m], 1);
}

FORWARD_PHASE(rnn_step_forward, STATE_PRODUCT, 1, rnn_cell_forward)
BACKWARD_PHASE(rnn_step_backward, STATE_PRODUCT, THROUGH_PRODUCT, rnn_cell_backward)

FORWARD_PHASES(rnn, rnn_step_forward)
BACKWARD_PHASES(rnn, rnn_step_backward)

#endif
