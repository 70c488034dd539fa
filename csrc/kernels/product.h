/* Flat products over many rows: the product of the input, its gradient, dense layers. */
#ifndef RNNFAST_KERNELS_PRODUCT_H
#define RNNFAST_KERNELS_PRODUCT_H

#include <string.h>
#include "pass.h"
#include "panel.h"

static inline real *row_at(const Rows *rows, ptrdiff_t s, ptrdiff_t b) { return (real *)rows->data + row_offset(rows, s, b); }

/* Pointers to the flat rows q .. q+R. */
static inline void rows_at(const Rows *rows, ptrdiff_t q, int R, const real **out)
{
    ptrdiff_t s = step_of_row(rows, q);
    ptrdiff_t b = q - rows_before(rows, s);

    for (int r = 0; r < R; r++, b++) {
        while (b == rows_in_step(rows, s)) {
            b = 0;
            s++;
        }
        out[r] = row_at(rows, s, b);
    }
}

/* `product` of up to SCRATCH_ROWS rows, or of any number where rows are not copied. */
static void product_rows(const Product *p, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, operand *scratch,
                         int bounded)
{
    const ptrdiff_t C = p->C, depth = packed_depth(p->K), whole = whole_groups(C, g1), sweep = sweep_of(q1 - q0, g1 - g0);
    static const real zeros[V];
    const real *a[PANEL_ROWS];
    Panel panel;

    panel.K = depth_of(p->K);
    panel.w_group = depth * TILE_WIDTH * V;
    panel.w_end = (const operand *)p->w + padded_to(C, V) * depth;
    panel.init_n = p->bias ? V : 0;
    panel.init_p = p->bias ? TILE_WIDTH * V : 0;
    panel.inner = V;
    panel.out_n = V;
    panel.out_p = TILE_WIDTH * V;
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
            const int rows = at_most(q1 - q, PANEL_ROWS);
            rows_at(&p->a, q, rows, a);
            rows_at(&p->out, q, rows, (const real **)panel.out);
            for (int r = 0; r < rows; r++) {
                panel.a[r] = row_operands(a[r], p->K, scratch, q - q0 + r, first == g0, bounded);
                panel.init[r] = p->bias ? p->bias : zeros;
            }
            Sweep left = sweep_over(first, first + sweep, whole, q1 - q0, p->turn);
            while (sweep_next(&left, q1 - q0, TILE_WIDTH)) {
                const ptrdiff_t c = left.group * TILE_WIDTH * V;
                const int N = group_width(left.group, C);
                panel.w = (const operand *)p->w + left.group * panel.w_group;
                panel.next = (const operand *)p->w + left.next * panel.w_group;
                panel.out_skip = c;
                panel.init_skip = p->bias ? c : 0;
                panel.lanes = lanes_at(c + (left.P * N - 1) * V, C);
                panel_product(&panel, rows, N, (int)left.P);
            }
        }
}

/* out = bias + a . W for rows q0..q1 and groups g0..g1 of W's columns; the extra columns go with the last group.
 * scratch [SCRATCH_ROWS][copy_size(K)]; bounded: as in row_operands. */
static void product_of(const Product *p, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *scratch, int bounded)
{
    const ptrdiff_t C = p->C, most = COPIES ? SCRATCH_ROWS : q1 - q0;
    Panel panel;

    for (ptrdiff_t q = q0; q < q1; q += most) product_rows(p, q, q1 - q < most ? q1 : q + most, g0, g1, scratch, bounded);
    if (p->extra && g1 == groups_of(C))
        for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
            const int rows = at_most(q1 - q, PANEL_ROWS);
            rows_at(&p->out, q, rows, (const real **)panel.out);
            for (int r = 0; r < rows; r++) memcpy(panel.out[r] + C, (const real *)p->bias + C, p->extra * sizeof(real));
        }
}

static void product(const Product *p, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *scratch)
{
    product_of(p, q0, q1, g0, g1, scratch, 0);
}

#endif
