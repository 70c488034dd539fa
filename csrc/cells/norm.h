/* Layer normalization around a cell (Ba, Kiros and Hinton 2016). N(a) = (a - mean) * scale: kernels/norm.h.
 *
 *     pre-activation = N(W_ih x) * gain_x + N(W_hh h_prev) * gain_h + shift          slots x: W_ih x, slots h: W_hh h_prev
 *     shift          = the shifts and the biases of both parts; of the gru's n those of x alone, of its q those of h alone
 *     lstm           h = o * tanh(N(c) * gain_c + shift_c)
 *
 * The mean and the scale of each part are those of all its slots. A step has two phases. The product of the state fills the
 * slots h. When it is complete, a phase over whole rows takes means and scales and runs the cell. Backward, one phase computes
 * dh, and the next goes over whole rows. The slots hold the products until then, and everything else is computed again from
 * them, which costs little beside the products. That phase leaves the gradients of both products in their slots.
 *
 * The cell inside has its slots in scratch memory.
 */
#ifndef RNNFAST_CELLS_NORM_H
#define RNNFAST_CELLS_NORM_H

#include "cells/gru.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include "kernels/norm.h"
#include "kernels/step.h"
#include "kernels/vectors.h"

enum { NORM_ROWS = NORM_ARRAYS / 2 };

/* Up to NORM_ROWS rows of the batch at one step. Their products come in pairs: the slots x and the slots h of each row, which are
 * as many (X = G). */
typedef struct {
    CellRow row[NORM_ROWS];       /* as the cell inside sees them */
    MaskRow masks[NORM_ROWS];
    real *product[NORM_ARRAYS];   /* [X*H] each */
    Moments of_product[NORM_ARRAYS], of_c[NORM_ROWS];
    ALIGNED real block[ABREAST * MAX_SLOTS * V]; /* [M][G][V] pre-activations of the units at hand */
} NormRows;

/* What a phase over whole rows does with M vectors of units of row r. */
typedef void norm_function(const Pass *p, const int M, NormRows *rows, int r, CellVector *at);

/* Runs it for M vectors from unit j on, and for all units of a row. */
static ALWAYS_INLINE void units_from(const Pass *p, const int M, NormRows *rows, int r, ptrdiff_t j, norm_function *run)
{
    CellVector at[ABREAST];
    EACH(m) at[m] = (CellVector){&rows->row[r], j + m * V, lanes_at(j + m * V, p->H), rows->block + m * p->G * V};
    run(p, M, rows, r, at);
}

static ALWAYS_INLINE void each_units(const Pass *p, NormRows *rows, int r, norm_function *run)
{
    const ptrdiff_t H = p->H;
    ptrdiff_t j = 0;
    for (; vectors(H - j) >= 4; j += 4 * V) units_from(p, 4, rows, r, j, run);
    if (vectors(H - j) >= 2) units_from(p, 2, rows, r, j, run), j += 2 * V;
    if (j < H) units_from(p, 1, rows, r, j, run);
}

/* The pre-activations of these units, for a cell with S slots of which G come from the state. */
static ALWAYS_INLINE void norm_preactivations(const Pass *p, const int M, NormRows *rows, int r, CellVector *at, const int S,
                                              const int X, const int G)
{
    const ptrdiff_t H = p->H;
    const NormLayout n = norm_layout(p);
    const real *norm = p->norm;

    EACH(m) UNROLL for (int slot = 0; slot < S; slot++) {
        const int of_h = slot - (S - G);
        vec a = v_load_at(norm + n.shift + slot * H, &at[m]);
        if (slot < X) {
            const vec x = v_normal(v_load_at(rows->product[2 * r] + slot * H, &at[m]), &rows->of_product[2 * r]);
            a = v_fma(x, v_load_at(norm + n.gain_x + slot * H, &at[m]), a);
        }
        if (of_h >= 0) {
            const vec h = v_normal(v_load_at(rows->product[2 * r + 1] + of_h * H, &at[m]), &rows->of_product[2 * r + 1]);
            a = v_fma(h, v_load_at(norm + n.gain_h + of_h * H, &at[m]), a);
            v_store(rows->block + (m * G + of_h) * V, a);
        } else v_store_at(at[m].row->gates + slot * H, &at[m], a);
    }
}

/* N(c) * gain_c + shift_c. */
static ALWAYS_INLINE void normalize_c(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    const NormLayout n = norm_layout(p);
    const real *gain = (const real *)p->norm + n.gain_c, *shift = (const real *)p->norm + n.shift_c;
    EACH(m) {
        const vec x = v_normal(v_load_at(at[m].row->c, &at[m]), &rows->of_c[r]);
        v_store_at(at[m].row->c_normal, &at[m], v_fma(x, v_load_at(gain, &at[m]), v_load_at(shift, &at[m])));
    }
}

/* Numbers of scratch memory of a row: the slots of the cell inside, N(c), its gradient, c, and each part of the state. */
static inline ptrdiff_t norm_row(const Pass *p) { return (norm_layout(p).slots + 3 + MAX_PARTS) * p->H; }
static ptrdiff_t norm_scratch(const Pass *p) { return is_normed(p) ? NORM_ROWS * norm_row(p) : 0; }

/* `count` rows from b on, with `scratch` [count][norm_row]. */
static void norm_rows(const Pass *p, ptrdiff_t s, ptrdiff_t b, int count, real *scratch, NormRows *rows)
{
    const ptrdiff_t H = p->H, S = norm_layout(p).slots;
    for (int r = 0; r < count; r++) {
        CellRow *row = &rows->row[r];
        set_cell_row(p, s, b + r, row);
        add_masks(p, s, b + r, row, &rows->masks[r]);
        rows->product[2 * r] = row->gates;
        rows->product[2 * r + 1] = row->gates + p->X * H;
        row->gates = scratch + r * norm_row(p);
        row->c_normal = row->gates + S * H;
    }
    norm_moments(2 * count, (const real *const *)rows->product, p->X * H, rows->of_product);
}

/* The cell on whole rows. With `on_c` it ends with N(c), for the output that follows. */
static ALWAYS_INLINE void norm_cell(const Pass *p, int count, NormRows *rows, norm_function *cell, const int on_c)
{
    const real *c[NORM_ROWS] = {NULL};
    for (int r = 0; r < count; r++) {
        CellRow *row = &rows->row[r];
        if (on_c) c[r] = row->c = p->zone[PART_C].data ? row->c_normal + 2 * p->H : row->now[PART_C];
        each_units(p, rows, r, cell);
    }
    if (!on_c) return;
    norm_moments(count, c, p->H, rows->of_c);
    for (int r = 0; r < count; r++) each_units(p, rows, r, normalize_c);
}

/* The rows b0..b1 of a phase over whole rows are also its groups g0..g1. */
static inline ptrdiff_t first_row(ptrdiff_t b0, ptrdiff_t g0) { return b0 > g0 ? b0 : g0; }
static inline int next_rows(ptrdiff_t b, ptrdiff_t b1, ptrdiff_t g1) { return at_most((b1 < g1 ? b1 : g1) - b, NORM_ROWS); }

/* The first phase leaves the product of the state in the slots h. */
static ALWAYS_INLINE void norm_product(const Pass *p, const int M, const CellVector *at)
{
    EACH(m) for (ptrdiff_t g = 0; g < p->G; g++)
        v_store_at(at[m].row->gates + (p->X + g) * p->H, &at[m], v_load(at[m].a + g * V));
}

static ALWAYS_INLINE void rnn_norm_cell(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    norm_preactivations(p, M, rows, r, at, 1, 1, 1);
    rnn_cell_forward(p, M, at);
}
static ALWAYS_INLINE void gru_norm_cell(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    norm_preactivations(p, M, rows, r, at, 4, 3, 3);
    gru_cell_forward(p, M, at);
}
static ALWAYS_INLINE void lstm_norm_cell(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    norm_preactivations(p, M, rows, r, at, 4, 4, 4);
    lstm_forward_with(p, M, at, 0, 1);
}
static ALWAYS_INLINE void lstm_coupled_norm_cell(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    norm_preactivations(p, M, rows, r, at, 3, 3, 3);
    lstm_forward_with(p, M, at, 1, 1);
}
static ALWAYS_INLINE void lstm_norm_output(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    const real *gates = rows->row[r].gates + (norm_layout(p).slots - 1) * p->H;
    vec o[ABREAST], c[ABREAST];
    EACH(m) o[m] = v_load_at(gates, &at[m]);
    EACH(m) c[m] = v_load_at(at[m].row->c_normal, &at[m]);
    lstm_output(p, M, at, o, c);
}

#if TRAINS

/* The gradients of c through N(c) of some rows, after their cell has run again with `save`. */
static ALWAYS_INLINE void norm_c_backward(const Pass *p, int count, NormRows *rows, real *const *d_norm,
                                          norm_function *output_backward)
{
    const NormLayout n = norm_layout(p);
    const real *dy[NORM_ROWS], *gain[NORM_ROWS];
    real *d_gain[NORM_ROWS], *c[NORM_ROWS];

    for (int r = 0; r < count; r++) {
        dy[r] = rows->row[r].c_normal + p->H;
        c[r] = rows->row[r].c;
        gain[r] = (const real *)p->norm + n.gain_c;
        d_gain[r] = d_norm[r] ? d_norm[r] + n.gain_c : NULL;
        each_units(p, rows, r, output_backward);
        if (d_norm[r]) add(p->H, dy[r], d_norm[r] + n.shift_c);
    }
    norm_gradient(count, p->H, dy, gain, rows->of_c, c, d_gain); /* was: c; now: its gradient through N(c) */
}

/* From the gradients of pre-activations to those of the products and the parameters. */
static void norm_products_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b, int count, NormRows *rows, real *const *d_norm,
                                   const real *(*seen)[NORM_ROWS])
{
    const ptrdiff_t H = p->H;
    const NormLayout n = norm_layout(p);
    const real *norm = p->norm, *dy[NORM_ARRAYS], *gain[NORM_ARRAYS];
    real *d_gain[NORM_ARRAYS];

    for (int r = 0; r < count; r++) {
        const CellRow *row = &rows->row[r];
        for (int part = PART_H + 1; part < p->parts; part++)
            if (is_reset(p, s, b + r)) drop_carried(row->d[part], H, 0, (int)vectors(H));
        dy[2 * r] = row->gates, dy[2 * r + 1] = row->gates + (n.slots - p->G) * H;
        gain[2 * r] = norm + n.gain_x, gain[2 * r + 1] = norm + n.gain_h;
        d_gain[2 * r] = d_norm[r] ? d_norm[r] + n.gain_x : NULL, d_gain[2 * r + 1] = d_norm[r] ? d_norm[r] + n.gain_h : NULL;
        if (!d_norm[r]) continue;
        add(n.slots * H, row->gates, d_norm[r] + n.shift);
        for (int v = 0; v < cell_table[p->cell].vectors; v++) {
            const VectorWeight *vector = &cell_table[p->cell].vector[v];
            const real *x = vector->operand < PRESENT ? row->prev[vector->operand - PREVIOUS] : seen[vector->operand - PRESENT][r];
            if (p->vector[v]) add_products(row->gates + vector->slot * H, x, d_norm[r] + n.vectors + v * H, 0, H);
        }
    }
    norm_gradient(2 * count, p->X * H, dy, gain, rows->of_product, rows->product, d_gain); /* was: the products; now: their gradients */
}

/* As norm_rows, but the cell writes the state after the step into scratch memory, because the caller's may not be written.
 * seen [parts][count] OUT the state after the step; d_norm [count] OUT where each row sums gradients, or NULL. */
static void norm_rows_again(const Pass *p, ptrdiff_t s, ptrdiff_t b, int count, real *scratch, NormRows *rows,
                            const real *(*seen)[NORM_ROWS], real **d_norm)
{
    norm_rows(p, s, b, count, scratch, rows);
    for (int r = 0; r < count; r++) {
        d_norm[r] = p->d_norm ? (real *)p->d_norm + (b + r) * norm_layout(p).count : NULL;
        rows->masks[r].fed = NULL;
    }
    for (int r = 0; r < count; r++)
        for (int part = 0; part < p->parts; part++) {
            seen[part][r] = rows->row[r].now[part];
            rows->row[r].now[part] = rows->row[r].c_normal + (3 + part) * p->H;
        }
}

/* A phase keeps dh, or dm, for the phase over whole rows. */
static ALWAYS_INLINE void norm_keep(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    (void)p;
    EACH(m) v_store_at(at[m].row->d_out, &at[m], dh[m]);
}

static ALWAYS_INLINE void load_d_out(const int M, const CellVector *at, vec *dh)
{
    EACH(m) dh[m] = v_load_at(at[m].row->d_out, &at[m]);
}

/* The share of dh that zoneout keeps is in d already. */
static ALWAYS_INLINE void gru_backward_beside(const Pass *p, const int M, const CellVector *at, vec *dh)
{
    const int zoned = p->zone[PART_H].data != NULL;
    vec kept[ABREAST];
    EACH(m) kept[m] = zoned ? v_load_at(at[m].row->d[PART_H], &at[m]) : v_zero();
    gru_cell_backward(p, M, at, dh);
    if (zoned) EACH(m) v_store_at(at[m].row->d[PART_H], &at[m], v_add(v_load_at(at[m].row->d[PART_H], &at[m]), kept[m]));
}

#define NORM_CELL_BACKWARD(name, backward) \
    static ALWAYS_INLINE void name##_norm_cell_backward(const Pass *p, const int M, NormRows *rows, int r, CellVector *at) \
    { \
        vec dh[ABREAST]; \
        (void)rows, (void)r; \
        load_d_out(M, at, dh); \
        backward; \
    }
NORM_CELL_BACKWARD(rnn, rnn_cell_backward(p, M, at, dh))
NORM_CELL_BACKWARD(gru, gru_backward_beside(p, M, at, dh))
NORM_CELL_BACKWARD(lstm, lstm_backward_with(p, M, at, dh, 0, 1))
NORM_CELL_BACKWARD(lstm_coupled, lstm_backward_with(p, M, at, dh, 1, 1))

/* The tanh of N(c) * gain_c + shift_c takes its place; the gradient, before that of the tanh, follows it. */
static ALWAYS_INLINE void lstm_norm_output_backward(const Pass *p, const int M, NormRows *rows, int r, CellVector *at)
{
    const real *gates = rows->row[r].gates + (norm_layout(p).slots - 1) * p->H;
    vec t[ABREAST];
    EACH(m) t[m] = v_load_at(at[m].row->c_normal, &at[m]);
    v_tanh(M, t);
    EACH(m) {
        const vec dm = v_load_at(at[m].row->d_out, &at[m]), o = v_load_at(gates, &at[m]);
        v_store_at(at[m].row->c_normal, &at[m], t[m]);
        v_store_at(at[m].row->c_normal + p->H, &at[m], v_guarded(1, dm, v_tanh_slope(v_mul(dm, o), t[m]), v_zero()));
    }
}

#endif

#define NORM_PHASES(name, G, on_c, output, output_backward, carried) \
    static void name##_norm_run(const Pass *p, int count, NormRows *rows) \
    { \
        norm_cell(p, count, rows, name##_norm_cell, on_c); \
    } \
    static void name##_norm_rows(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1, \
                                 void *scratch) \
    { \
        NormRows rows; \
        int count; \
        for (ptrdiff_t b = first_row(b0, g0); (count = next_rows(b, b1, g1)) > 0; b += count) { \
            norm_rows(p, s, b, count, scratch, &rows); \
            name##_norm_run(p, count, &rows); \
            if (on_c) for (int r = 0; r < count; r++) each_units(p, &rows, r, output); \
        } \
    } \
    FORWARD_PHASES(name##_norm, norm_product_##G, name##_norm_rows, project_forward) \
    NORM_BACKWARD_PHASES(name, on_c, output_backward, carried)
#if TRAINS
#define NORM_BACKWARD_PHASES(name, on_c, output_backward, carried) \
    static void name##_norm_rows_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, \
                                          ptrdiff_t g1, void *scratch) \
    { \
        NormRows rows; \
        const real *seen[MAX_PARTS][NORM_ROWS]; \
        real *d_norm[NORM_ROWS]; \
        int count; \
        for (ptrdiff_t b = first_row(b0, g0); (count = next_rows(b, b1, g1)) > 0; b += count) { \
            norm_rows_again(p, s, b, count, scratch, &rows, seen, d_norm); \
            name##_norm_run(p, count, &rows); \
            if (on_c) norm_c_backward(p, count, &rows, d_norm, output_backward); \
            for (int r = 0; r < count; r++) each_units(p, &rows, r, name##_norm_cell_backward); \
            norm_products_backward(p, s, b, count, &rows, d_norm, seen); \
        } \
    } \
    BACKWARD_PHASES(name##_norm, norm_dh##carried, projected_backward, norm_dm, name##_norm_rows_backward)
BACKWARD_PHASE(norm_dh, STATE_PRODUCT, THROUGH_PRODUCT, norm_keep)
BACKWARD_PHASE(norm_dh_beside, STATE_PRODUCT, THROUGH_PRODUCT | BESIDE_PRODUCT | BEFORE_CELL, norm_keep)
BACKWARD_PHASE(norm_dm, SECOND_PRODUCT, 0, norm_keep)
#else
#define NORM_BACKWARD_PHASES(name, on_c, output_backward, carried)
#endif

FORWARD_PHASE(norm_product_1, STATE_PRODUCT, 1, norm_product)
FORWARD_PHASE(norm_product_3, STATE_PRODUCT, 3, norm_product)
FORWARD_PHASE(norm_product_4, STATE_PRODUCT, 4, norm_product)

/* NORM_PHASES(cell inside, G, whether c is normalized, its output, the backward of it, _beside if dh has a share beside the product) */
NORM_PHASES(rnn, 1, 0, normalize_c, normalize_c, )
NORM_PHASES(gru, 3, 0, normalize_c, normalize_c, _beside)
NORM_PHASES(lstm, 4, 1, lstm_norm_output, lstm_norm_output_backward, )
NORM_PHASES(lstm_coupled, 3, 1, lstm_norm_output, lstm_norm_output_backward, )

#endif
