/* One step in time: the product of the state tile by tile, and the cell on each tile while it is in the cache.
 *
 * The functions here know only one number of a cell: G, the number of slots that the product of the state adds to. The cell
 * itself is a constant argument, a function that is inlined. Hidden units come in groups: one vector of units if G > 1 (a tile
 * then holds every gate of its units), else TILE_WIDTH vectors, as in the backward step. Further phases of a step run the same
 * functions; the constant `which` says which product a phase begins with.
 */
#ifndef RNNFAST_KERNELS_STEP_H
#define RNNFAST_KERNELS_STEP_H

#include "cells/cell.h"
#include "kernels.h"
#include "kernels/product.h"

static inline real *gates_row(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return row_at(&p->gates, s - p->first, b); }

/* Whether the state of row b is set to zero before step s: no value and no gradient passes between steps s - 1 and s. */
static inline int is_reset(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return p->reset && p->reset[s * p->B + b]; }

/* Row b of an initial state or of the gradient of a state, [B, width]. */
static inline ptrdiff_t state_offset(const Pass *p, ptrdiff_t b, int part)
{
    return (p->order ? p->order[b] : b) * part_width(p, part);
}

/* A part of the state before step s. */
static inline const real *state_before(const Pass *p, int part, ptrdiff_t s, ptrdiff_t b)
{
    if (is_reset(p, s, b) || (s == 0 && !p->initial[part])) return p->zeros;
    return s ? row_at(&p->state[part], s - 1, b) : (const real *)p->initial[part] + state_offset(p, b, part);
}

/* h before step s as the products of the state read it. */
static inline const real *fed_before(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    if (is_reset(p, s, b) || (s == 0 && !p->fed_initial)) return p->zeros;
    return s ? row_at(&p->fed, s - 1, b) : (const real *)p->fed_initial + state_offset(p, b, PART_H);
}

/* Row b as the cell sees it at step s; at step -1 it has the gradients of the initial state alone. Written in place, because a
 * copy of so many pointers would wait for them. */
static void set_cell_row(const Pass *p, ptrdiff_t s, ptrdiff_t b, CellRow *row)
{
    row->gates = row->m = row->d_m = row->d_out = row->dh_step = NULL;
    row->masks = NULL;
    for (int part = 0; part < p->parts; part++) {
        row->prev[part] = row->d_step[part] = NULL;
        row->now[part] = row->d[part] = NULL;
        if (p->d_state[part]) row->d[part] = (real *)p->d_state[part] + state_offset(p, b, part);
        if (s < 0) continue;
        row->prev[part] = state_before(p, part, s, b);
        row->now[part] = row_at(&p->state[part], s, b);
        if (p->d_steps[part].data) row->d_step[part] = row_at(&p->d_steps[part], s, b);
    }
    if (s < 0) return;
    row->gates = gates_row(p, s, b);
    if (p->m.data) row->m = row_at(&p->m, s, b);
    if (p->d_m.data) row->d_m = row_at(&p->d_m, s, b);
    if (p->d_out.data) row->d_out = row_at(&p->d_out, s, b);
    if (p->dh_steps.data) row->dh_step = row_at(&p->dh_steps, s, b);
}

/* From row b of all units to that of one head: its units become units 0..D of each array. */
static inline void to_head(const Pass *p, ptrdiff_t head, CellRow *row)
{
    const ptrdiff_t j = head * p->D;

    if (row->gates) row->gates += p->S * j;
    if (row->dh_step) row->dh_step += j;
    for (int part = 0; part < p->parts; part++) {
        if (row->d[part]) row->d[part] += j;
        if (row->prev[part]) row->prev[part] += j;
        if (row->now[part]) row->now[part] += j;
        if (row->d_step[part]) row->d_step[part] += j;
    }
}

/* Adds the masks of row b at step s, if the pass is masked. */
static inline void add_masks(const Pass *p, ptrdiff_t s, ptrdiff_t b, CellRow *row, MaskRow *masks)
{
    if (!p->masked) return;
    *masks = (MaskRow){.read = row->prev[PART_H]};
    row->masks = masks;
    if (p->drop) masks->drop = (const real *)p->drop + state_offset(p, b, PART_H);
    if (s < 0) return;
    for (int part = 0; part < p->parts; part++)
        if (p->zone[part].data) masks->zone[part] = row_at(&p->zone[part], s, b);
    if (p->drop) masks->read = fed_before(p, s, b), masks->fed = row_at(&p->fed, s, b);
}

/* The product of a phase: of the state with W_hh, of m with W_m, or none. */
enum { STATE_PRODUCT, SECOND_PRODUCT, NO_PRODUCT };

/* The vectors of units that a panel has finished, in the order of its block: row by row. */
typedef struct {
    const CellRow *row;
    const real *a;      /* [rows][width][size][V] */
    ptrdiff_t j0, U;    /* the first unit of each row, of U */
    int width, v;       /* vectors of units in a row, and the next of them to take */
} Finished;

/* Takes the next M finished vectors; each has `size` vectors in the block. */
static ALWAYS_INLINE void take(Finished *from, const int M, const int size, CellVector *at)
{
    EACH(m) {
        const ptrdiff_t j = from->j0 + from->v * V;
        at[m] = (CellVector){from->row, j, lanes_at(j, from->U), from->a};
        from->a += size * V;
        if (++from->v == from->width) from->v = 0, from->row++;
    }
}

/* Group g of all heads as a border between the groups of this head. */
static inline ptrdiff_t group_in_head(ptrdiff_t g, ptrdiff_t head, ptrdiff_t groups)
{
    g -= head * groups;
    return g < 0 ? 0 : g < groups ? g : groups;
}

/* Groups g0..g1 of one head. */
static ALWAYS_INLINE void head_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       ptrdiff_t head, void *scratch, const int which, const int G, cell_forward_function *cell)
{
    const int second = which == SECOND_PRODUCT;
    const ptrdiff_t D = p->D, inner = second ? D : head_width(p), depth = packed_depth(inner);
    const ptrdiff_t units = G > 1 ? V : TILE_WIDTH * V; /* units in a whole group */
    const ptrdiff_t whole = G > 1 ? g1 : whole_groups(D, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const operand *w = second ? p->w_m : (const operand *)p->w_step + head * padded_to(D, V) * G * depth;
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V];               /* [rows][P][N][V] finished pre-activations */
    CellRow row[PANEL_ROWS];
    MaskRow masks[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    REQUIRE(b0 < b1 && b1 <= rows_in_step(&p->state[PART_H], s) && g0 <= g1);
    if (G) {
        panel.K = depth_of(inner);
        panel.out_skip = 0;
        panel.w_group = depth * units * G;
        panel.w_end = w + padded_to(D, V) * G * depth;
        panel.init_n = G > 1 ? D : V;
        panel.init_p = units;
        panel.out_n = V;
    }
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                set_cell_row(p, s, b + r, &row[r]);
                if (head) to_head(p, head, &row[r]);
                add_masks(p, s, b + r, &row[r], &masks[r]);
                if (G)
                    panel.a[r] = row_operands(second ? row[r].m : p->masked ? masks[r].read : row[r].prev[PART_H], inner,
                                              scratch, b - b0 + r, first == g0,
                                              is_bounded(p));
                panel.init[r] = row[r].gates + (second ? 0 : (p->S - G) * D);
            }
            Sweep left = sweep_over(first, first + sweep, whole, b1 - b0, s + p->turn);
            while (sweep_next(&left, b1 - b0, G > 1 ? G : TILE_WIDTH)) {
                const ptrdiff_t P = left.P, j = left.group * units;
                const int N = G > 1 ? G : group_width(left.group, D);
                Finished done = {.row = row, .a = block, .j0 = j, .U = D, .width = G > 1 ? (int)P : (int)P * N};
                if (G) {
                    panel.w = w + left.group * panel.w_group;
                    panel.next = w + left.next * panel.w_group;
                    panel.init_skip = j;
                    panel.out_p = N * V;
                    panel.lanes = lanes_at(j + (G > 1 ? P - 1 : P * N - 1) * V, D);
                    panel.inner = G > 1 ? panel.lanes : V; /* what follows the last unit is the next gate */
                    for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                    panel_product(&panel, rows, N, (int)P);
                }
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, G, at), cell(p, 4, at);
                if (count >= 2) take(&done, 2, G, at), cell(p, 2, at), count -= 2;
                if (count) take(&done, 1, G, at), cell(p, 1, at);
            }
        }
}

static ALWAYS_INLINE void step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       void *scratch, const int which, const int G, cell_forward_function *cell)
{
    const ptrdiff_t groups = G > 1 ? vectors(p->D) : groups_of(p->D);
    for (ptrdiff_t head = p->heads > 1 ? g0 / groups : 0; head * groups < g1; head++)
        head_forward(p, s, b0, b1, group_in_head(g0, head, groups), group_in_head(g1, head, groups), head, scratch, which, G, cell);
}

/* h of rows b0..b1 at step s, groups g0..g1 of its P numbers: the projection of m, then zoneout and recurrent dropout. */
static void project_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1, void *scratch)
{
    Product h = {.K = p->H, .C = p->P, .a = p->m, .w = p->w_m, .out = p->state[PART_H]};
    h.out.data = (real *)h.out.data + s * h.out.s_stride;
    h.out.start = NULL;
    product_of(&h, b0, b1, g0, g1, scratch, 1);
    if (!p->masked) return;
    for (ptrdiff_t b = b0; b < b1; b++) {
        CellRow row;
        MaskRow masks;
        set_cell_row(p, s, b, &row);
        add_masks(p, s, b, &row, &masks);
        for (ptrdiff_t j = g0 * TILE_WIDTH * V; j < g1 * TILE_WIDTH * V && j < p->P; j += V) {
            const CellVector at = {&row, j, lanes_at(j, p->P), NULL};
            v_store_masked(PART_H, &at, v_load_at(row.now[PART_H], &at));
        }
    }
}

#if TRAINS

/* Prefetches what the cells will read of these units after the product: the gates of a long sequence are in main memory. */
static inline void fetch_gates(const Pass *p, const CellRow *row, int rows, ptrdiff_t j, int count)
{
    for (int r = 0; r < rows; r++)
        for (ptrdiff_t u = j; u < j + count * V && u < p->D; u += V) {
            for (ptrdiff_t slot = 0; slot < p->S; slot++) PREFETCH(row[r].gates + slot * p->D + u);
            for (int part = PART_H + 1; part < p->parts; part++) PREFETCH(row[r].prev[part] + u);
            if (row[r].d_step[PART_H]) PREFETCH(row[r].d_step[PART_H] + u);
            for (int part = PART_H; p->masked && part < p->parts; part++)
                if (row[r].masks->zone[part]) PREFETCH(row[r].masks->zone[part] + u);
        }
}

/* Sets the carried gradient of `count` vectors of units, from j on of U, to zero. */
static inline void drop_carried(real *carried, ptrdiff_t U, ptrdiff_t j, int count)
{
    memset(carried + j, 0, (size_t)(U - j < count * V ? U - j : count * V) * sizeof(real));
}

/* How a phase carries gradients from step s+1 to step s. The gradient of h goes through the product of the state, or beside it,
 * in d_state. LEAVES_PARTS: the gradients of further parts stay in d_state for the step before. BEFORE_CELL: the cell runs in a
 * later phase, which adds its share of the gradient of h beside the product. */
enum { THROUGH_PRODUCT = 1, BESIDE_PRODUCT = 2, LEAVES_PARTS = 4, BEFORE_CELL = 8 };

/* Computes the gradient of h for these vectors, then runs the cell. After the second product it is the gradient of m instead;
 * without a product, zero. With zoneout the cell gets (1 - z) of it, and z of it goes to the step before, beside the product. */
static ALWAYS_INLINE void cell_gradient(const Pass *p, ptrdiff_t s, const int last, const int M, const CellVector *at,
                                        const int which, const int carried, cell_backward_function *cell)
{
    const int beside = last || !(carried & THROUGH_PRODUCT), zoned = p->zone[PART_H].data != NULL;
    vec dh[ABREAST], kept[ABREAST];

    EACH(m) kept[m] = v_zero();
    if (which != STATE_PRODUCT) {
        EACH(m) dh[m] = which == SECOND_PRODUCT ? v_load(at[m].a) : v_zero();
        cell(p, M, at, dh);
        return;
    }
    EACH(m) dh[m] = beside ? v_load_at(at[m].row->d[PART_H], &at[m]) : v_load(at[m].a);
    if (p->drop && !beside) EACH(m) dh[m] = v_dropped(p, &at[m], dh[m]);
    if ((carried & BESIDE_PRODUCT || zoned) && !beside) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->d[PART_H], &at[m]));
    if (s < 0) {
        EACH(m) v_store_at(at[m].row->d[PART_H], &at[m], dh[m]);
        return;
    }
    if (p->d_steps[PART_H].data) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->d_step[PART_H], &at[m]));
    if (p->dh_steps.data) EACH(m) v_store_at(at[m].row->dh_step, &at[m], dh[m]);
    if (zoned) EACH(m) {
        kept[m] = v_mul(v_load_at(at[m].row->masks->zone[PART_H], &at[m]), dh[m]);
        dh[m] = v_sub(dh[m], kept[m]);
    }
    cell(p, M, at, dh);
    if (zoned) EACH(m) {
        real *d = at[m].row->d[PART_H];
        const int added = carried & BESIDE_PRODUCT && !(carried & BEFORE_CELL);
        v_store_at(d, &at[m], added ? v_add(v_load_at(d, &at[m]), kept[m]) : kept[m]);
    }
}

/* Step s of the backward pass: dh = (gradients of step s+1) . W_hh [+ what the cell carries] + dy, then the cell.
 * Either all rows b0..b1 are at their last step, where dh starts as the gradient of the final state, or none of them is. A
 * reset before step s+1 stops the gradient of h, a reset before step s those of the other parts. s = -1 leaves the gradient of
 * the initial state in p->d_state. The second product is dm = (gradients of W_m m) . W_m instead. Groups g0..g1 are those of
 * one head. */
static ALWAYS_INLINE void head_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        ptrdiff_t head, void *scratch, const int which, const int carried,
                                        cell_backward_function *cell)
{
    const int of_state = which == STATE_PRODUCT, second = which == SECOND_PRODUCT;
    const ptrdiff_t U = of_state ? head_width(p) : p->D, units = TILE_WIDTH * V;
    const ptrdiff_t inner = second ? p->P : p->G * p->D, K = depth_of(inner);
    const ptrdiff_t whole = whole_groups(U, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const int last = of_state && (s == p->T - 1 || b0 >= rows_in_step(&p->gates, s + 1));
    const int multiplied = !last && (second || (of_state && carried & THROUGH_PRODUCT));
    const operand *w = second ? p->w_m_back : (const operand *)p->w_back + head * padded_to(U, V) * K;
    static const real zeros[V];
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V]; /* [rows][P][N][V] the gradient through the product */
    CellRow row[PANEL_ROWS];
    MaskRow masks[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    REQUIRE(b0 < b1 && g0 <= g1 && s < p->T);
    if (multiplied) {
        panel.K = K;
        panel.init_skip = panel.out_skip = 0;
        panel.w_group = K * units;
        panel.w_end = w + padded_to(U, V) * K;
        panel.init_n = panel.init_p = 0;
        panel.out_n = V;
        panel.lanes = panel.inner = V;
    }
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                set_cell_row(p, s, b + r, &row[r]);
                if (head) to_head(p, head, &row[r]);
                add_masks(p, s, b + r, &row[r], &masks[r]);
                panel.init[r] = zeros;
                if (multiplied) {
                    const real *a = second ? row[r].d_m : gates_row(p, s + 1, b + r) + (head * p->S + p->S - p->G) * p->D;
                    panel.a[r] = row_operands(a, inner, scratch, b - b0 + r, first == g0, 0);
                }
            }
            Sweep left = sweep_over(first, first + sweep, whole, b1 - b0, s);
            while (sweep_next(&left, b1 - b0, TILE_WIDTH)) {
                const ptrdiff_t P = left.P, j = left.group * units;
                const int N = group_width(left.group, U);
                if (s >= 0) fetch_gates(p, row, rows, j, (int)P * N);
                if (multiplied) {
                    panel.w = w + left.group * panel.w_group;
                    panel.next = w + left.next * panel.w_group;
                    panel.out_p = N * V;
                    for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                    panel_product(&panel, rows, N, (int)P);
                }
                if (of_state && !last && p->reset)
                    for (int r = 0; r < rows; r++)
                        if (is_reset(p, s + 1, b + r)) {
                            if (multiplied) memset(block + r * P * N * V, 0, (size_t)(P * N * V) * sizeof(real));
                            drop_carried(row[r].d[PART_H], U, j, (int)P * N);
                        }
                Finished done = {.row = row, .a = block, .j0 = j, .U = U, .width = (int)P * N};
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, 1, at), cell_gradient(p, s, last, 4, at, which, carried, cell);
                if (count >= 2) take(&done, 2, 1, at), cell_gradient(p, s, last, 2, at, which, carried, cell), count -= 2;
                if (count) take(&done, 1, 1, at), cell_gradient(p, s, last, 1, at, which, carried, cell);
                if (s >= 0 && p->reset && carried & LEAVES_PARTS)
                    for (int r = 0; r < rows; r++)
                        for (int part = PART_H + 1; part < p->parts; part++)
                            if (is_reset(p, s, b + r)) drop_carried(row[r].d[part], U, j, (int)P * N);
            }
        }
}

static ALWAYS_INLINE void step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        void *scratch, const int which, const int carried, cell_backward_function *cell)
{
    const ptrdiff_t groups = groups_of(which == STATE_PRODUCT ? head_width(p) : p->D);
    for (ptrdiff_t head = p->heads > 1 ? g0 / groups : 0; head * groups < g1; head++)
        head_backward(p, s, b0, b1, group_in_head(g0, head, groups), group_in_head(g1, head, groups), head, scratch, which, carried,
                      cell);
}

#endif

/* Each cell defines the functions of its phases with these macros, and lists them in the order of the table. */
#define FORWARD_PHASE(name, which, G, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1, \
                     void *scratch) \
    { \
        step_forward(p, s, b0, b1, g0, g1, scratch, which, G, cell); \
    }
#define FORWARD_PHASES(name, ...) static step_function *const name##_forward[MAX_PHASES] = {__VA_ARGS__};
#if TRAINS
#define BACKWARD_PHASE(name, which, carried, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1, \
                     void *scratch) \
    { \
        step_backward(p, s, b0, b1, g0, g1, scratch, which, carried, cell); \
    }
#define BACKWARD_PHASES(name, ...) static step_function *const name##_backward[MAX_PHASES] = {__VA_ARGS__};
#else
#define BACKWARD_PHASE(name, which, carried, cell)
#define BACKWARD_PHASES(name, ...)
#endif

#endif
