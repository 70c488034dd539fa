/* The minimal long short-term memory (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024): gates and candidate see the input
 * alone, and the two gates are scaled to shares that sum to 1. The state is h alone.
 *
 *     f, i = sigmoid(a + k),   a = b + W x,   n = g(b_h + W_h x)          slots f i h; slot h holds n; g: candidate.h
 *     f' = f / (f + i),   i' = i / (f + i)
 *     h = f' * h_prev + i' * n
 *
 * k = max(0, -40 - max(a_f, a_i)) changes no share, since sigmoid(a) = e^a below -40 in either type. It keeps f + i above zero.
 *
 *     dr = dh (h_prev - n) f' i'        df = dr (1 - f)       di = -dr (1 - i)
 *     dn = dh i' g'                     dh_prev = dh f'
 */
#ifndef RNNFAST_CELLS_MINLSTM_H
#define RNNFAST_CELLS_MINLSTM_H

#include "cells/candidate.h"
#include "kernels/scan.h"

enum { MINLSTM_F, MINLSTM_I, MINLSTM_N };

/* f and i: the pre-activations become the gates. */
static ALWAYS_INLINE void minlstm_gates(const int M, vec *f, vec *i)
{
    EACH(m) {
        const vec k = v_max(v_zero(), v_sub(v_set1(-40), v_max(f[m], i[m])));
        f[m] = v_add(f[m], k);
        i[m] = v_add(i[m], k);
    }
    v_sigmoid(M, f);
    v_sigmoid(M, i);
}

static ALWAYS_INLINE void minlstm_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t H = p->H;
    vec f[ABREAST], i[ABREAST], n[ABREAST], per_sum[ABREAST];

    EACH(m) f[m] = v_load_at(at[m].row->gates + MINLSTM_F * H, &at[m]);
    EACH(m) i[m] = v_load_at(at[m].row->gates + MINLSTM_I * H, &at[m]);
    minlstm_gates(M, f, i);
    EACH(m) n[m] = v_load_at(at[m].row->gates + MINLSTM_N * H, &at[m]);
    v_candidate(p->nonlinearity, M, n);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations */
        v_store_at(at[m].row->gates + MINLSTM_F * H, &at[m], f[m]);
        v_store_at(at[m].row->gates + MINLSTM_I * H, &at[m], i[m]);
        v_store_at(at[m].row->gates + MINLSTM_N * H, &at[m], n[m]);
    }
    EACH(m) per_sum[m] = v_div(v_set1(1), v_add(f[m], i[m]));
    EACH(m) n[m] = v_mul(v_mul(i[m], per_sum[m]), n[m]);
    EACH(m) n[m] = v_fma(v_mul(f[m], per_sum[m]), v_load_at(at[m].row->prev[PART_H], &at[m]), n[m]);
    EACH(m) v_store_at(at[m].row->now[PART_H], &at[m], n[m]);
}

static ALWAYS_INLINE void minlstm_gradient(const Pass *p, const CellVector *at, vec dh, const int guard)
{
    const ptrdiff_t H = p->H;
    const CellRow *row = at->row;
    const vec f = v_load_at(row->gates + MINLSTM_F * H, at), i = v_load_at(row->gates + MINLSTM_I * H, at);
    const vec n = v_load_at(row->gates + MINLSTM_N * H, at), zero = v_zero();
    const vec per_sum = v_div(v_set1(1), v_add(f, i)), dh_prev = v_mul(dh, v_mul(f, per_sum)), of_i = v_mul(i, per_sum);
    const vec dr = v_mul(v_mul(dh_prev, of_i), v_sub(v_load_at(row->prev[PART_H], at), n));
    const vec dn = v_candidate_slope(p->nonlinearity, v_mul(dh, of_i), n);

    v_store_at(row->d[PART_H], at, v_guarded(guard, dh, dh_prev, zero));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + MINLSTM_F * H, at, v_guarded(guard, dh, v_fnma(dr, f, dr), zero));
    v_store_at(row->gates + MINLSTM_I * H, at, v_guarded(guard, dh, v_sub(zero, v_fnma(dr, i, dr)), zero));
    v_store_at(row->gates + MINLSTM_N * H, at, v_guarded(guard, dh, dn, zero));
}

static ALWAYS_INLINE void minlstm_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const ptrdiff_t H = p->H;
    vec read = v_zero(); /* not finite if any value that is read is not */

    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + MINLSTM_F * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + MINLSTM_I * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->gates + MINLSTM_N * H, &at[m]));
    EACH(m) read = v_add(read, v_load_at(at[m].row->prev[PART_H], &at[m]));
    if (v_all_finite(read)) EACH(m) minlstm_gradient(p, &at[m], dh[m], 0);
    else EACH(m) minlstm_gradient(p, &at[m], dh[m], 1);
}

FORWARD_PHASE(minlstm_step_forward, STATE_PRODUCT, 0, minlstm_cell_forward)
BACKWARD_PHASE(minlstm_step_backward, STATE_PRODUCT, BESIDE_PRODUCT, minlstm_cell_backward)
FORWARD_SCAN(minlstm_scan_forward, minlstm_cell_forward)
BACKWARD_SCAN(minlstm_scan_backward, minlstm_cell_backward)

FORWARD_PHASES(minlstm, minlstm_step_forward)
BACKWARD_PHASES(minlstm, minlstm_step_backward)

#endif
