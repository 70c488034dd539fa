/* The gated recurrent unit (Cho et al. 2014) in the form of cuDNN, where the reset gate acts after the product of the state.
 *
 *     r, z = sigmoid(b + W x + W h_prev)
 *     p = b_in + W_in x,   q = b_hn + W_hn h_prev          slots n r z q; slot n holds p, then n
 *     n = tanh(p + r * q)
 *     h = (1 - z) * n + z * h_prev
 *
 *     dn = dh (1 - z) (1 - n^2)      dq = dn * r       dr = dn * q * r (1 - r)
 *     dz = dh (h_prev - n) z (1 - z)                   dh_prev = dh * z + what r, z and q carry back
 */
#ifndef RNNFAST_CELLS_GRU_H
#define RNNFAST_CELLS_GRU_H

#include "kernels/step.h"

enum { GRU_N, GRU_R, GRU_Z, GRU_Q }; /* in gates; the tile has the last three */

static ALWAYS_INLINE void gru_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec n[ABREAST], r[ABREAST], z[ABREAST], q[ABREAST];

    EACH(m) r[m] = v_load(at[m].a + (GRU_R - 1) * V);
    v_sigmoid(M, r);
    EACH(m) q[m] = v_load(at[m].a + (GRU_Q - 1) * V);
    EACH(m) n[m] = v_fma(r[m], q[m], v_load_at(at[m].row->gates + GRU_N * H, &at[m]));
    v_tanh(M, n);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations, and q as it is */
        v_store_at(at[m].row->gates + GRU_N * H, &at[m], n[m]);
        v_store_at(at[m].row->gates + GRU_R * H, &at[m], r[m]);
        v_store_at(at[m].row->gates + GRU_Q * H, &at[m], q[m]);
    }
    EACH(m) z[m] = v_load(at[m].a + (GRU_Z - 1) * V);
    v_sigmoid(M, z);
    if (p->save) EACH(m) v_store_at(at[m].row->gates + GRU_Z * H, &at[m], z[m]); /* as above */
    EACH(m) n[m] = v_fma(z[m], v_load_at(at[m].row->prev[PART_H], &at[m]), v_fnma(z[m], n[m], n[m]));
    v_store_state(p, PART_H, M, at, n);
}

static ALWAYS_INLINE void gru_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const ptrdiff_t H = p->H;
    const CellRow *row = at->row;
    const vec n = v_load_at(row->gates + GRU_N * H, at), r = v_load_at(row->gates + GRU_R * H, at);
    const vec z = v_load_at(row->gates + GRU_Z * H, at), q = v_load_at(row->gates + GRU_Q * H, at), zero = v_zero();
    const vec dn = v_guarded(guard, dh, v_tanh_slope(v_fnma(dh, z, dh), n), zero);
    const vec dz = v_mul(dh, v_sub(v_load_at(row->prev[PART_H], at), n));

    v_store_at(row->d[PART_H], at, v_guarded(guard, dh, v_mul(dh, z), zero));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + GRU_N * H, at, dn);
    v_store_at(row->gates + GRU_R * H, at, v_guarded(guard, dn, v_sigmoid_slope(v_mul(dn, q), r), zero));
    v_store_at(row->gates + GRU_Z * H, at, v_guarded(guard, dh, v_sigmoid_slope(dz, z), zero));
    v_store_at(row->gates + GRU_Q * H, at, v_guarded(guard, dn, v_mul(dn, r), zero));
}

static ALWAYS_INLINE void gru_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const ptrdiff_t H = p->H;
    vec read = v_zero(); /* not finite if any value that is read is not: n is NaN where r is, and q where h_prev is */

    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_N * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_Z * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_Q * H, &at[m]));
    if (v_all_finite(read)) EACH(m) gru_gradient(p, &at[m], dh[m], 0);
    else EACH(m) gru_gradient(p, &at[m], dh[m], 1);
}

FORWARD_PHASE(gru_step_forward, STATE_PRODUCT, 3, gru_cell_forward)
BACKWARD_PHASE(gru_step_backward, STATE_PRODUCT, THROUGH_PRODUCT | BESIDE_PRODUCT, gru_cell_backward)

FORWARD_PHASES(gru, gru_step_forward)
BACKWARD_PHASES(gru, gru_step_backward)

#endif
