/* The gated recurrent unit with the reset gate before the product of the state (later versions of Cho et al. 2014). It has
 * two phases: the first computes m of all units.
 *
 *     r, z = sigmoid(b + W x + W h_prev),   m = r * h_prev                                slots n r z
 *     n = tanh(b_in + b_hn + W_in x + W_hn m)
 *     h = (1 - z) * n + z * h_prev
 *
 *     dn = dh (1 - z) (1 - n^2)      dz = dh (h_prev - n) z (1 - z)
 *     dm = dn W_hn                   dr = dm * h_prev * r (1 - r)
 *     dh_prev = dh * z + dm * r + what r and z carry back
 */
#ifndef RNNFAST_CELLS_GRU_BEFORE_H
#define RNNFAST_CELLS_GRU_BEFORE_H

#include "kernels/step.h"

enum { GRU_BEFORE_N, GRU_BEFORE_R, GRU_BEFORE_Z }; /* in gates; the tile has the last two */

static ALWAYS_INLINE void gru_before_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec r[ABREAST], z[ABREAST];

    EACH(m) r[m] = v_load(at[m].a + (GRU_BEFORE_R - 1) * V);
    v_sigmoid(M, r);
    EACH(m) v_store_at(at[m].row->m, &at[m], v_mul(r[m], v_read(p, &at[m])));
    EACH(m) z[m] = v_load(at[m].a + (GRU_BEFORE_Z - 1) * V);
    v_sigmoid(M, z);
    EACH(m) { /* was: pre-activations; now: activations */
        if (p->save) v_store_at(at[m].row->gates + GRU_BEFORE_R * H, &at[m], r[m]);
        v_store_at(at[m].row->gates + GRU_BEFORE_Z * H, &at[m], z[m]);
    }
}

static ALWAYS_INLINE void gru_before_candidate_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec n[ABREAST];

    EACH(m) n[m] = v_load(at[m].a);
    v_tanh(M, n);
    if (p->save) EACH(m) v_store_at(at[m].row->gates + GRU_BEFORE_N * H, &at[m], n[m]); /* as above */
    EACH(m) {
        const vec z = v_load_at(at[m].row->gates + GRU_BEFORE_Z * H, &at[m]);
        n[m] = v_fma(z, v_load_at(at[m].row->prev[PART_H], &at[m]), v_fnma(z, n[m], n[m]));
    }
    v_store_state(p, PART_H, M, at, n);
}

static ALWAYS_INLINE void gru_before_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const ptrdiff_t H = p->H;
    const CellRow *row = at->row;
    const vec n = v_load_at(row->gates + GRU_BEFORE_N * H, at), z = v_load_at(row->gates + GRU_BEFORE_Z * H, at), zero = v_zero();
    const vec dz = v_mul(dh, v_sub(v_load_at(row->prev[PART_H], at), n));

    v_store_at(row->d[PART_H], at, v_guarded(guard, dh, v_mul(dh, z), zero));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + GRU_BEFORE_N * H, at, v_guarded(guard, dh, v_tanh_slope(v_fnma(dh, z, dh), n), zero));
    v_store_at(row->gates + GRU_BEFORE_Z * H, at, v_guarded(guard, dh, v_sigmoid_slope(dz, z), zero));
}

static ALWAYS_INLINE void gru_before_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const ptrdiff_t H = p->H;
    vec read = v_zero(); /* not finite if any value that is read is not */

    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_BEFORE_N * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_BEFORE_Z * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->prev[PART_H], &at[m]));
    if (v_all_finite(read)) EACH(m) gru_before_gradient(p, &at[m], dh[m], 0);
    else EACH(m) gru_before_gradient(p, &at[m], dh[m], 1);
}

static ALWAYS_INLINE void gru_before_candidate_gradient(const Pass *p, const CellVector *at, vec dm, const int guard)
{
    const ptrdiff_t H = p->H;
    const CellRow *row = at->row;
    const vec r = v_load_at(row->gates + GRU_BEFORE_R * H, at), h_prev = v_read(p, at);
    const vec dh = v_load_at(row->d[PART_H], at);

    v_store_at(row->d[PART_H], at, v_guarded(guard, dm, v_fma(v_dropped(p, at, dm), r, dh), dh));
    v_store_at(row->m, at, v_mul(r, h_prev));
    v_store_at(row->gates + GRU_BEFORE_R * H, at, v_guarded(guard, dm, v_sigmoid_slope(v_mul(dm, h_prev), r), v_zero())); /* as above */
}

static ALWAYS_INLINE void gru_before_candidate_backward(const Pass *p, const int M, const CellVector *at, vec *dm)
{
    const ptrdiff_t H = p->H;
    vec read = v_zero(); /* as above */

    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + GRU_BEFORE_R * H, &at[m]));
    EACH(m) read = v_add(read, v_read(p, &at[m]));
    if (v_all_finite(read)) EACH(m) gru_before_candidate_gradient(p, &at[m], dm[m], 0);
    else EACH(m) gru_before_candidate_gradient(p, &at[m], dm[m], 1);
}

FORWARD_PHASE(gru_before_step_forward, STATE_PRODUCT, 2, gru_before_cell_forward)
FORWARD_PHASE(gru_before_second_forward, SECOND_PRODUCT, 1, gru_before_candidate_forward)
BACKWARD_PHASE(gru_before_step_backward, STATE_PRODUCT, THROUGH_PRODUCT | BESIDE_PRODUCT, gru_before_cell_backward)
BACKWARD_PHASE(gru_before_second_backward, SECOND_PRODUCT, 0, gru_before_candidate_backward)

FORWARD_PHASES(gru_before, gru_before_step_forward, gru_before_second_forward)
BACKWARD_PHASES(gru_before, gru_before_step_backward, gru_before_second_backward)

#endif
