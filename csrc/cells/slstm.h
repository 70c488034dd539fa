/* The sLSTM (Beck et al. 2024, xLSTM): exponential gates, a normalizer n and a stabilizer m. The package `xlstm` computes the
 * same, except where this comment says otherwise.
 *
 *     i, f, z, o = b + W x + W h_prev                  slots i f z o; W h_prev: each head reads its own units alone
 *     l = log sigmoid(f) + m_prev,   m = max(l, i)     but m = i where n_prev is 0: there the state is empty
 *     i' = exp(i - m),   f' = min(exp(l - m), 1)       one of the two is 1, the other is e = exp(-|i - l|)
 *     c = f' c_prev + i' tanh(z),   n = f' n_prev + i',   h = sigmoid(o) c / n
 *
 * From a state of zeros, n is at least 1 after the first step. The package tests whether n_prev is 0 in all units of all rows;
 * here each unit has its own test, so that a row is the same in any batch. From a state of zeros, and everywhere behind it, both
 * tests agree.
 *
 *     do = dh * q * o (1 - o),  q = c / n     dc += dh * o / n                dn -= dh * o / n * q
 *     dz = dc * i' (1 - tanh(z)^2)            dc_prev = dc * f'               dn_prev = dn * f'
 *     g = e * (m is i: dc * c_prev + dn * n_prev,  m is l: dc * tanh(z) + dn)
 *     di, dl = dm - g, g where m is i;  g, dm - g where m is l;    dm_prev = dl,   df = dl * sigmoid(-f)
 *
 * m is i where both are equal. Where n_prev is 0 and l > i, f' is 1 whatever l is, and g is 0.
 */
#ifndef RNNFAST_CELLS_SLSTM_H
#define RNNFAST_CELLS_SLSTM_H

#include "kernels/step.h"

enum { SLSTM_I, SLSTM_F, SLSTM_Z, SLSTM_O };

/* `empty` where the state before the step is, else `otherwise`. */
static ALWAYS_INLINE vec v_where_empty(vec n_prev, vec empty, vec otherwise)
{
    return v_where_less(v_negative(n_prev), v_zero(), otherwise, empty);
}

static ALWAYS_INLINE void slstm_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    const ptrdiff_t D = p->D;
    const vec zero = v_zero(), one = v_set1(1);
    vec i[ABREAST], f[ABREAST], z[ABREAST], c[ABREAST], n[ABREAST], m_now[ABREAST];

    EACH(m) f[m] = v_load(at[m].a + SLSTM_F * V);
    if (p->save) EACH(m) v_store_at(at[m].row->gates + SLSTM_F * D, &at[m], f[m]); /* was: a part of f; now: f */
    v_log_sigmoid(M, f);
    EACH(m) {
        const vec l = v_add(f[m], v_load_at(at[m].row->prev[PART_M], &at[m]));
        const vec a = v_load(at[m].a + SLSTM_I * V), d = v_sub(a, l);
        n[m] = v_load_at(at[m].row->prev[PART_N], &at[m]);
        m_now[m] = v_where_empty(n[m], a, v_where_less(d, zero, l, a));
        f[m] = d;
        i[m] = v_negative(d);
    }
    v_exp(M, i);
    EACH(m) {
        const vec d = f[m], e = i[m];
        v_store_at(at[m].row->now[PART_M], &at[m], m_now[m]);
        /* was: pre-activations; now: e with the sign of d */
        if (p->save) v_store_at(at[m].row->gates + SLSTM_I * D, &at[m], v_copysign(e, d));
        i[m] = v_where_empty(n[m], one, v_where_less(d, zero, e, one));
        f[m] = v_where_less(d, zero, one, e);
        n[m] = v_fma(f[m], n[m], i[m]);
        v_store_at(at[m].row->now[PART_N], &at[m], n[m]);
    }
    EACH(m) z[m] = v_load(at[m].a + SLSTM_Z * V);
    v_tanh(M, z);
    if (p->save) EACH(m) v_store_at(at[m].row->gates + SLSTM_Z * D, &at[m], z[m]); /* was: pre-activations; now: tanh(z) */
    EACH(m) c[m] = v_fma(f[m], v_load_at(at[m].row->prev[PART_C], &at[m]), v_mul(i[m], z[m]));
    EACH(m) v_store_at(at[m].row->now[PART_C], &at[m], c[m]);
    EACH(m) z[m] = v_load(at[m].a + SLSTM_O * V);
    v_sigmoid(M, z);
    if (p->save) EACH(m) v_store_at(at[m].row->gates + SLSTM_O * D, &at[m], z[m]); /* was: pre-activations; now: sigmoid(o) */
    EACH(m) v_store_at(at[m].row->now[PART_H], &at[m], v_mul(z[m], v_div(c[m], n[m])));
}

/* The gradient that a part of the state has from later steps and from outside. */
static ALWAYS_INLINE vec v_later(const CellVector *at, int part)
{
    const vec carried = v_load_at(at->row->d[part], at);
    return at->row->d_step[part] ? v_add(carried, v_load_at(at->row->d_step[part], at)) : carried;
}

/* slope: sigmoid(-f). */
static ALWAYS_INLINE void slstm_gradient(const Pass *p, const CellVector *at, vec dh, vec slope, const int guard)
{
    const ptrdiff_t D = p->D;
    const CellRow *row = at->row;
    const vec zero = v_zero(), one = v_set1(1), signed_e = v_load_at(row->gates + SLSTM_I * D, at);
    const vec e = v_copysign(signed_e, one), z = v_load_at(row->gates + SLSTM_Z * D, at), o = v_load_at(row->gates + SLSTM_O * D, at);
    const vec c_prev = v_load_at(row->prev[PART_C], at), n_prev = v_load_at(row->prev[PART_N], at);
    const vec n = v_load_at(row->now[PART_N], at), q = v_div(v_load_at(row->now[PART_C], at), n);
    /* The sign of i - l, below zero where l is the larger one; NaN counts as above. */
    const vec sign = guard ? v_where_less(e, v_set1(2), v_copysign(one, signed_e), one) : v_copysign(one, signed_e);
    const vec i = v_where_empty(n_prev, one, v_where_less(sign, zero, e, one)), f = v_where_less(sign, zero, one, e);
    const vec r = v_guarded(guard, dh, v_div(v_mul(dh, o), n), zero), dm = v_later(at, PART_M);
    const vec later_n = v_later(at, PART_N), dc = v_add(v_later(at, PART_C), r);
    const vec dn = v_guarded(guard, r, v_fnma(r, q, later_n), later_n);
    const vec through_i = v_guarded(guard, dc, v_fma(dc, z, dn), dn), of_c = v_guarded(guard, dc, v_mul(dc, c_prev), zero);
    const vec through_f = v_guarded(guard, dn, v_fma(dn, n_prev, of_c), of_c);
    const vec d_e = v_where_less(sign, zero, v_where_empty(n_prev, zero, through_i), through_f);
    const vec g = v_guarded(guard, d_e, v_mul(d_e, e), zero), rest = v_sub(dm, g);
    const vec of_l = v_where_less(sign, zero, v_where_empty(n_prev, g, rest), g);

    v_store_at(row->d[PART_C], at, v_guarded(guard, dc, v_mul(dc, f), zero));
    v_store_at(row->d[PART_N], at, v_guarded(guard, dn, v_mul(dn, f), zero));
    v_store_at(row->d[PART_M], at, of_l);
    /* was: what forward saves; now: gradients of the pre-activations */
    v_store_at(row->gates + SLSTM_I * D, at, v_where_less(sign, zero, v_where_empty(n_prev, rest, g), rest));
    v_store_at(row->gates + SLSTM_F * D, at, v_guarded(guard, of_l, v_mul(of_l, slope), zero));
    v_store_at(row->gates + SLSTM_Z * D, at, v_guarded(guard, dc, v_tanh_slope(v_mul(dc, i), z), zero));
    v_store_at(row->gates + SLSTM_O * D, at, v_guarded(guard, dh, v_sigmoid_slope(v_mul(dh, q), o), zero));
}

static ALWAYS_INLINE void slstm_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    /* Not finite if any value that is read is not: c is NaN where e, z or c_prev is, and n where n_prev is. */
    vec slope[ABREAST], read = v_zero();

    EACH(m) {
        const vec c = v_load_at(at[m].row->now[PART_C], &at[m]), n = v_load_at(at[m].row->now[PART_N], &at[m]);
        read = v_add(read, v_add(v_add(c, n), v_add(v_div(c, n), v_load_at(at[m].row->gates + SLSTM_O * p->D, &at[m]))));
        slope[m] = v_sub(v_zero(), v_load_at(at[m].row->gates + SLSTM_F * p->D, &at[m]));
    }
    v_sigmoid(M, slope);
    if (v_all_finite(read)) EACH(m) slstm_gradient(p, &at[m], dh[m], slope[m], 0);
    else EACH(m) slstm_gradient(p, &at[m], dh[m], slope[m], 1);
}

FORWARD_PHASE(slstm_step_forward, STATE_PRODUCT, 4, slstm_cell_forward)
BACKWARD_PHASE(slstm_step_backward, STATE_PRODUCT, THROUGH_PRODUCT | LEAVES_PARTS, slstm_cell_backward)

FORWARD_PHASES(slstm, slstm_step_forward)
BACKWARD_PHASES(slstm, slstm_step_backward)

#endif
