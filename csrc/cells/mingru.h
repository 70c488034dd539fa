/* The minimal gated recurrent unit (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024): gate and candidate see the input alone.
 *
 *     z = sigmoid(b_z + W_z x),   n = g(b_h + W_h x)          slots z h; slot h holds n; g: candidate.h
 *     h = (1 - z) * h_prev + z * n
 *
 *     dz = dh (n - h_prev) z (1 - z)    dn = dh z g'          dh_prev = dh (1 - z)
 */
#ifndef RNNFAST_CELLS_MINGRU_H
#define RNNFAST_CELLS_MINGRU_H

#include "cells/candidate.h"
#include "kernels/scan.h"

enum { MINGRU_Z, MINGRU_N };

static ALWAYS_INLINE void mingru_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec z[ABREAST], n[ABREAST];

    EACH(m) z[m] = v_load_at(at[m].row->gates + MINGRU_Z * H, &at[m]);
    v_sigmoid(M, z);
    EACH(m) n[m] = v_load_at(at[m].row->gates + MINGRU_N * H, &at[m]);
    v_candidate(p->nonlinearity, M, n);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations */
        v_store_at(at[m].row->gates + MINGRU_Z * H, &at[m], z[m]);
        v_store_at(at[m].row->gates + MINGRU_N * H, &at[m], n[m]);
    }
    EACH(m) n[m] = v_mul(z[m], n[m]);
    EACH(m) n[m] = v_fma(v_sub(v_set1(1), z[m]), v_load_at(at[m].row->prev[PART_H], &at[m]), n[m]);
    EACH(m) v_store_at(at[m].row->now[PART_H], &at[m], n[m]);
}

static ALWAYS_INLINE void mingru_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const ptrdiff_t H = p->H;
    const CellRow *row = at->row;
    const vec z = v_load_at(row->gates + MINGRU_Z * H, at), n = v_load_at(row->gates + MINGRU_N * H, at), zero = v_zero();
    const vec dz = v_mul(dh, v_sub(n, v_load_at(row->prev[PART_H], at)));
    const vec dn = v_candidate_slope(p->nonlinearity, v_mul(dh, z), n);

    v_store_at(row->d[PART_H], at, v_guarded(guard, dh, v_mul(dh, v_sub(v_set1(1), z)), zero));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + MINGRU_Z * H, at, v_guarded(guard, dh, v_sigmoid_slope(dz, z), zero));
    v_store_at(row->gates + MINGRU_N * H, at, v_guarded(guard, dh, dn, zero));
}

static ALWAYS_INLINE void mingru_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const ptrdiff_t H = p->H;
    vec read = v_zero(); /* not finite if any value that is read is not */

    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + MINGRU_Z * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + MINGRU_N * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->prev[PART_H], &at[m]));
    if (v_all_finite(read)) EACH(m) mingru_gradient(p, &at[m], dh[m], 0);
    else EACH(m) mingru_gradient(p, &at[m], dh[m], 1);
}

FORWARD_PHASE(mingru_step_forward, STATE_PRODUCT, 0, mingru_cell_forward)
BACKWARD_PHASE(mingru_step_backward, STATE_PRODUCT, BESIDE_PRODUCT, mingru_cell_backward)
FORWARD_SCAN(mingru_scan_forward, mingru_cell_forward)
BACKWARD_SCAN(mingru_scan_backward, mingru_cell_backward)

FORWARD_PHASES(mingru, mingru_step_forward)
BACKWARD_PHASES(mingru, mingru_step_backward)

#endif
