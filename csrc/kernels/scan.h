/* Several steps of a cell without a product of the state, in one call. No unit reads another, so nothing waits between steps. */
#ifndef RNNFAST_KERNELS_SCAN_H
#define RNNFAST_KERNELS_SCAN_H

#include "kernels/step.h"

/* The vectors of units in groups g0..g1 of each row of a panel. */
static inline Finished units_of(const Pass *p, const CellRow *row, ptrdiff_t g0, ptrdiff_t g1)
{
    const ptrdiff_t j0 = g0 * TILE_WIDTH * V, j1 = g1 * TILE_WIDTH * V;
    return (Finished){.row = row, .j0 = j0, .U = p->H, .width = (int)vectors((j1 < p->H ? j1 : p->H) - j0)};
}

/* Steps s .. s+count. */
static ALWAYS_INLINE void scan_forward(const Pass *p, ptrdiff_t s, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0,
                                       ptrdiff_t g1, cell_forward_function *cell)
{
    CellRow row[PANEL_ROWS];
    MaskRow masks[PANEL_ROWS];
    CellVector at[ABREAST];

    REQUIRE(!p->G && s >= 0 && s + count <= p->T && b0 <= b1 && g0 <= g1);
    for (const ptrdiff_t end = s + count; s < end; s++) {
        const ptrdiff_t present = rows_in_step(&p->state[PART_H], s), b_end = b1 < present ? b1 : present;
        for (ptrdiff_t b = b0; b < b_end; b += PANEL_ROWS) {
            const int rows = at_most(b_end - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                set_cell_row(p, s, b + r, &row[r]);
                add_masks(p, s, b + r, &row[r], &masks[r]);
            }
            Finished units = units_of(p, row, g0, g1);
            int left = units.width * rows;
            for (; left >= 4; left -= 4) take(&units, 4, 0, at), cell(p, 4, at);
            if (left >= 2) take(&units, 2, 0, at), cell(p, 2, at), left -= 2;
            if (left) take(&units, 1, 0, at), cell(p, 1, at);
        }
    }
}

#define FORWARD_SCAN(name, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        scan_forward(p, s, count, b0, b1, g0, g1, cell); \
    }

#if TRAINS

/* The gradients of these vectors at step s, where all of the state's comes beside a product. */
static ALWAYS_INLINE void scan_gradient(const Pass *p, ptrdiff_t s, const int M, Finished *units, cell_backward_function *cell)
{
    CellVector at[ABREAST];
    take(units, M, 0, at);
    cell_gradient(p, s, 0, M, at, STATE_PRODUCT, BESIDE_PRODUCT, cell);
}

/* Steps s, s-1 .. s-count+1 of the backward pass. The gradient of the state before a step stays in p->d_state: zero where the
 * step was reset. */
static ALWAYS_INLINE void scan_backward(const Pass *p, ptrdiff_t s, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0,
                                        ptrdiff_t g1, cell_backward_function *cell)
{
    CellRow row[PANEL_ROWS];
    MaskRow masks[PANEL_ROWS];

    REQUIRE(!p->G && s < p->T && s - count >= -1 && b0 <= b1 && g0 <= g1);
    for (const ptrdiff_t end = s - count; s > end; s--) {
        const ptrdiff_t present = rows_in_step(&p->state[PART_H], s), b_end = b1 < present ? b1 : present;
        for (ptrdiff_t b = b0; b < b_end; b += PANEL_ROWS) {
            const int rows = at_most(b_end - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                set_cell_row(p, s, b + r, &row[r]);
                add_masks(p, s, b + r, &row[r], &masks[r]);
            }
            Finished units = units_of(p, row, g0, g1);
            const int width = units.width;
            int left = width * rows;
            for (; left >= 4; left -= 4) scan_gradient(p, s, 4, &units, cell);
            if (left >= 2) scan_gradient(p, s, 2, &units, cell), left -= 2;
            if (left) scan_gradient(p, s, 1, &units, cell);
            for (int r = 0; r < rows; r++)
                if (is_reset(p, s, b + r)) drop_carried(row[r].d[PART_H], p->H, units.j0, width);
        }
    }
}

#define BACKWARD_SCAN(name, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        scan_backward(p, s, count, b0, b1, g0, g1, cell); \
    }

#else
#define BACKWARD_SCAN(name, cell)
#endif

#endif
