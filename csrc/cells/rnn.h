/* The vanilla recurrent network (Elman 1990).
 *
 *     a = b_ih + W_ih x + b_hh + W_hh h_prev          slot 0
 *     h = f(a),    f = tanh | relu | sigmoid | identity
 *
 *     da = dh * f'(a), and f' from the value h:  1 - h^2 | h > 0 | h (1 - h) | 1
 */
#ifndef RNNFAST_CELLS_RNN_H
#define RNNFAST_CELLS_RNN_H

#include "kernels/step.h"

static ALWAYS_INLINE void rnn_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    vec h[ABREAST];
    EACH(m) h[m] = v_load(at[m].a);
    v_nonlinearity(p->nonlinearity, M, h);
    EACH(m) v_store_at(at[m].row->now[PART_H], &at[m], h[m]);
}

static ALWAYS_INLINE void rnn_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    EACH(m) {
        const vec h = v_load_at(at[m].row->now[PART_H], &at[m]);
        /* was: the pre-activation, no longer needed; now: da */
        v_store_at(at[m].row->gates, &at[m], v_nonlinearity_slope(p->nonlinearity, dh[m], h));
    }
}

FORWARD_PHASE(rnn_step_forward, 0, 1, rnn_cell_forward)
BACKWARD_PHASE(rnn_step_backward, 0, THROUGH_PRODUCT, rnn_cell_backward)

static step_function *const rnn_forward[MAX_PHASES] = {rnn_step_forward};
static step_function *const rnn_backward[MAX_PHASES] = {rnn_step_backward};

#endif
