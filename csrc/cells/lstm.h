/* Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000). Options
 * are in brackets: peepholes (Gers and Schmidhuber 2000), a bound on c, and a projection (Sak, Senior and Beaufays 2014).
 * With coupled gates, f = 1 - i has no slot. With zoneout, tanh takes c as it is before zoneout, and o's peephole the state c.
 *
 *     i, f = sigmoid(b + W x + W h_prev [+ w_c c_prev]),   g = tanh(b + W x + W h_prev)          slots i f g o
 *     c = [clip] f * c_prev + i * g
 *     o = sigmoid(b + W x + W h_prev [+ w_co c])
 *     m = o * tanh(c),   h = [W_hr] m                  with layer normalization: tanh(N(c) * gain + shift), cells/norm.h
 *
 *     dm = dh [W_hr]
 *     do = dm * tanh(c) * o (1 - o)
 *     dc += dm * o * (1 - tanh(c)^2) [+ do w_co],   [0 where c was clipped]
 *     di = dc * g * i (1 - i)               coupled: dc * (g - c_prev) * i (1 - i), as two products
 *     df = dc * c_prev * f (1 - f)          dg = dc * i * (1 - g^2)
 *     dc_prev = dc * f [+ di w_ci + df w_cf]
 *
 * With zoneout, the state c has a gradient from later steps [+ do w_co]. Its share z goes to dc_prev, its share 1 - z to dc.
 */
#ifndef RNNFAST_CELLS_LSTM_H
#define RNNFAST_CELLS_LSTM_H

#include <math.h>

#include "kernels/step.h"

#define LSTM_I 0
#define LSTM_F 1 /* not if coupled */
#define LSTM_G (2 - coupled)
#define LSTM_O (3 - coupled)

/* Places of the peepholes among the vector weights. */
enum { LSTM_CI, LSTM_CO, LSTM_CF };

/* x where -bound <= c <= bound, else `below` or `above`. */
static ALWAYS_INLINE vec v_within(real bound, vec c, vec below, vec above, vec x)
{
    x = v_where_less(v_set1(bound), c, above, x);
    return v_where_less(c, v_set1(-bound), below, x);
}

/* m, or h without a projection, from what the tanh reads. */
static ALWAYS_INLINE void lstm_output(const Pass *p, const int M, const CellVector *at, const vec *o, vec *c)
{
    v_tanh(M, c);
    EACH(m) c[m] = v_mul(o[m], c[m]);
    if (p->m.data) EACH(m) v_store_at(at[m].row->m, &at[m], c[m]);
    else v_store_state(p, PART_H, M, at, c);
}

/* `normed`: the output waits until c is normalized, and o is in its slot. */
static ALWAYS_INLINE void lstm_forward_with(const Pass *p, const int M, const CellVector *at, const int coupled,
                                            const int normed)
{
    const ptrdiff_t H = p->H;
    const real bound = (real)p->cell_clip;
    vec i[ABREAST], f[ABREAST], g[ABREAST], o[ABREAST], c[ABREAST];

    EACH(m) i[m] = v_load(at[m].a + LSTM_I * V);
    if (p->vector[LSTM_CI]) EACH(m) i[m] = v_weighted(p->vector[LSTM_CI], &at[m], v_load_at(at[m].row->prev[PART_C], &at[m]), i[m]);
    v_sigmoid(M, i);
    EACH(m) g[m] = v_load(at[m].a + LSTM_G * V);
    v_tanh(M, g);
    EACH(m) c[m] = v_mul(i[m], g[m]);
    if (p->save) EACH(m) { /* was: pre-activations; now: activations */
        v_store_at(at[m].row->gates + LSTM_I * H, &at[m], i[m]);
        v_store_at(at[m].row->gates + LSTM_G * H, &at[m], g[m]);
    }
    if (coupled) EACH(m) f[m] = v_sub(v_set1(1), i[m]);
    else {
        EACH(m) f[m] = v_load(at[m].a + LSTM_F * V);
        if (p->vector[LSTM_CF]) EACH(m) f[m] = v_weighted(p->vector[LSTM_CF], &at[m], v_load_at(at[m].row->prev[PART_C], &at[m]), f[m]);
        v_sigmoid(M, f);
    }
    EACH(m) c[m] = v_fma(f[m], v_load_at(at[m].row->prev[PART_C], &at[m]), c[m]);
    if (bound < INFINITY) EACH(m) c[m] = v_within(bound, c[m], v_set1(-bound), v_set1(bound), c[m]);
    EACH(m) o[m] = v_load(at[m].a + LSTM_O * V);
    v_store_state(p, PART_C, M, at, c);
    if (normed && p->zone[PART_C].data) EACH(m) v_store_at(at[m].row->c, &at[m], c[m]);
    if (p->vector[LSTM_CO]) EACH(m) o[m] = v_weighted(p->vector[LSTM_CO], &at[m], v_load_at(at[m].row->now[PART_C], &at[m]), o[m]);
    v_sigmoid(M, o);
    if (p->save || normed) EACH(m) { /* as above */
        if (!coupled) v_store_at(at[m].row->gates + LSTM_F * H, &at[m], f[m]);
        v_store_at(at[m].row->gates + LSTM_O * H, &at[m], o[m]);
    }
    if (!normed) lstm_output(p, M, at, o, c);
}

/* c of a finished step before zoneout, with the bits of the forward step. */
static ALWAYS_INLINE vec lstm_computed_c(const Pass *p, const CellVector *at, const int coupled)
{
    const CellRow *row = at->row;
    const real bound = (real)p->cell_clip;
    vec i, f, c;

    if (!p->zone[PART_C].data) return v_load_at(row->now[PART_C], at);
    i = v_load_at(row->gates + LSTM_I * p->H, at);
    f = coupled ? v_sub(v_set1(1), i) : v_load_at(row->gates + LSTM_F * p->H, at);
    c = v_fma(f, v_load_at(row->prev[PART_C], at), v_mul(i, v_load_at(row->gates + LSTM_G * p->H, at)));
    return bound < INFINITY ? v_within(bound, c, v_set1(-bound), v_set1(bound), c) : c;
}

static ALWAYS_INLINE void lstm_gradient(const Pass *p, const CellVector *at, vec dm, vec tanh_c, const int coupled,
                                        const int normed, const int guard)
{
    const ptrdiff_t H = p->H;
    const int zoned = p->zone[PART_C].data != NULL;
    const real bound = (real)p->cell_clip;
    const CellRow *row = at->row;
    const vec i = v_load_at(row->gates + LSTM_I * H, at), g = v_load_at(row->gates + LSTM_G * H, at);
    const vec f = coupled ? v_sub(v_set1(1), i) : v_load_at(row->gates + LSTM_F * H, at);
    const vec o = v_load_at(row->gates + LSTM_O * H, at), c_prev = v_load_at(row->prev[PART_C], at), zero = v_zero();
    const vec carried = v_load_at(row->d[PART_C], at);
    const vec d_o = v_guarded(guard, dm, v_sigmoid_slope(v_mul(dm, tanh_c), o), zero);
    const vec through_m = normed ? v_load_at(row->c, at) : v_guarded(guard, dm, v_tanh_slope(v_mul(dm, o), tanh_c), zero);
    vec later = row->d_step[PART_C] ? v_add(carried, v_load_at(row->d_step[PART_C], at)) : carried, kept = zero;
    vec dc, d_i, d_f, dc_prev;

    if (zoned) {
        if (p->vector[LSTM_CO]) later = v_weighted(p->vector[LSTM_CO], at, d_o, later);
        kept = v_mul(v_load_at(row->masks->zone[PART_C], at), later);
        later = v_sub(later, kept);
    }
    dc = v_add(later, through_m);
    if (p->vector[LSTM_CO] && !zoned) dc = v_weighted(p->vector[LSTM_CO], at, d_o, dc);
    if (bound < INFINITY) dc = v_within(bound, v_fma(f, c_prev, v_mul(i, g)), zero, zero, dc);
    d_i = v_mul(dc, g);
    d_f = v_mul(dc, c_prev);
    d_i = v_guarded(guard, dc, v_sigmoid_slope(coupled ? v_sub(d_i, d_f) : d_i, i), zero);
    d_f = v_guarded(guard, dc, v_sigmoid_slope(d_f, f), zero);
    dc_prev = v_guarded(guard, dc, v_mul(dc, f), zero);
    if (p->vector[LSTM_CI]) dc_prev = v_weighted(p->vector[LSTM_CI], at, d_i, dc_prev);
    if (!coupled && p->vector[LSTM_CF]) dc_prev = v_weighted(p->vector[LSTM_CF], at, d_f, dc_prev);
    v_store_at(row->d[PART_C], at, zoned ? v_add(dc_prev, kept) : dc_prev);
    if (row->m) v_store_at(row->m, at, v_mul(o, tanh_c));
    /* was: activations; now: gradients of the pre-activations */
    v_store_at(row->gates + LSTM_I * H, at, d_i);
    if (!coupled) v_store_at(row->gates + LSTM_F * H, at, d_f);
    v_store_at(row->gates + LSTM_G * H, at, v_guarded(guard, dc, v_tanh_slope(v_mul(dc, i), g), zero));
    v_store_at(row->gates + LSTM_O * H, at, d_o);
}

/* `normed`: row->c holds the gradient of c through m, and c_normal the tanh. */
static ALWAYS_INLINE void lstm_backward_with(const Pass *p, const int M, const CellVector *at, const vec *dm,
                                             const int coupled, const int normed)
{
    /* Not finite if any value that is read is not: c is NaN where i, f or g is, and where c_prev is unless it was clipped. */
    vec tanh_c[ABREAST], read = v_zero();

    EACH(m) tanh_c[m] = normed ? v_load_at(at[m].row->c_normal, &at[m]) : lstm_computed_c(p, &at[m], coupled);
    EACH(m) read = v_add(read, v_add(tanh_c[m], v_load_at(at[m].row->gates + LSTM_O * p->H, &at[m])));
    if (p->cell_clip < INFINITY) EACH(m) read = v_add(read, v_load_at(at[m].row->prev[PART_C], &at[m]));
    if (!normed) v_tanh(M, tanh_c);
    if (v_all_finite(read)) EACH(m) lstm_gradient(p, &at[m], dm[m], tanh_c[m], coupled, normed, 0);
    else EACH(m) lstm_gradient(p, &at[m], dm[m], tanh_c[m], coupled, normed, 1);
}

static ALWAYS_INLINE void lstm_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    lstm_forward_with(p, M, at, 0, 0);
}
static ALWAYS_INLINE void lstm_coupled_cell_forward(const Pass *p, const int M, const CellVector *at)
{
    lstm_forward_with(p, M, at, 1, 0);
}
static ALWAYS_INLINE void lstm_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dm)
{
    lstm_backward_with(p, M, at, dm, 0, 0);
}
static ALWAYS_INLINE void lstm_coupled_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dm)
{
    lstm_backward_with(p, M, at, dm, 1, 0);
}

/* The first phase with a projection keeps dh, for the product with W_hr and the gradient of W_hr. */
static ALWAYS_INLINE void projected_cell_backward(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    (void)p;
    EACH(m) v_store_at(at[m].row->d_m, &at[m], dh[m]);
}

FORWARD_PHASE(lstm_step_forward, STATE_PRODUCT, 4, lstm_cell_forward)
FORWARD_PHASE(lstm_coupled_step_forward, STATE_PRODUCT, 3, lstm_coupled_cell_forward)
BACKWARD_PHASE(lstm_step_backward, STATE_PRODUCT, THROUGH_PRODUCT | LEAVES_PARTS, lstm_cell_backward)
BACKWARD_PHASE(lstm_coupled_step_backward, STATE_PRODUCT, THROUGH_PRODUCT | LEAVES_PARTS, lstm_coupled_cell_backward)
BACKWARD_PHASE(projected_backward, STATE_PRODUCT, THROUGH_PRODUCT, projected_cell_backward)
BACKWARD_PHASE(lstm_second_backward, SECOND_PRODUCT, LEAVES_PARTS, lstm_cell_backward)
BACKWARD_PHASE(lstm_coupled_second_backward, SECOND_PRODUCT, LEAVES_PARTS, lstm_coupled_cell_backward)

FORWARD_PHASES(lstm, lstm_step_forward, project_forward)
BACKWARD_PHASES(lstm, lstm_step_backward, projected_backward, lstm_second_backward)
FORWARD_PHASES(lstm_coupled, lstm_coupled_step_forward, project_forward)
BACKWARD_PHASES(lstm_coupled, lstm_coupled_step_backward, projected_backward, lstm_coupled_second_backward)

#endif
