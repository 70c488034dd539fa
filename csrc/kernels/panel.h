/* The panel: many rows that read the same groups of columns, whose weights stay in the cache for all of them.
 *
 * A panel has up to PANEL_ROWS rows of P groups of columns. Its rows are divided evenly into tiles. A long sum over k is
 * divided into parts of SUM_LENGTH, whose weights stay in the L2 cache until all rows have read them. */
#ifndef RNNFAST_KERNELS_PANEL_H
#define RNNFAST_KERNELS_PANEL_H

#include "tile.h"

#define PANEL_ROWS 48

/* How many groups one panel computes before the next panel starts. If one panel has every row, it computes all of them, so that
 * its pointers are set once. Else it computes one, so that the weights stay in the cache for the other panels. */
static inline ptrdiff_t sweep_of(ptrdiff_t rows, ptrdiff_t groups) { return rows <= PANEL_ROWS ? groups : 1; }

/* The order in which a product takes groups g0..g1, of which those before `whole` have full width. Each step reads the same
 * weights. Steps take them in alternating order, so that a step starts with the weights that the caches still hold. */
typedef struct {
    ptrdiff_t g0, g1, whole; /* g0..g1 are left */
    int back;                /* whether it takes the last group first */
    ptrdiff_t group, P;      /* OUT the groups to compute side by side: P from `group` on */
    ptrdiff_t next;          /* OUT about where the groups after those start, for prefetches */
} Sweep;

/* The order of step number `turn`: odd steps take the last group first, if one panel has every row. */
static inline Sweep sweep_over(ptrdiff_t g0, ptrdiff_t g1, ptrdiff_t whole, ptrdiff_t rows, ptrdiff_t turn)
{
    return (Sweep){.g0 = g0, .g1 = g1, .whole = whole, .back = rows <= PANEL_ROWS && turn & 1};
}

/* Takes the next groups for this number of rows; groups of full width are N vectors wide. False: none are left. */
static inline int sweep_next(Sweep *left, ptrdiff_t rows, int N)
{
    const ptrdiff_t whole = left->whole < left->g1 ? left->whole : left->g1;
    const int narrow = (left->back ? left->g1 - 1 : left->g0) >= whole;

    if (left->g0 >= left->g1) return 0;
    left->P = narrow ? 1 : tile_groups(rows, N, whole - left->g0);
    if (left->back) {
        left->group = left->g1 -= left->P;
        left->next = left->group - left->P > left->g0 ? left->group - left->P : left->g0;
    } else {
        left->group = left->g0;
        left->next = left->g0 += left->P;
    }
    return 1;
}

typedef struct {
    ptrdiff_t K;                     /* operands along the inner axis */
    const operand *a[PANEL_ROWS]; /* IN  [HEAD + K] each, at its K operands */
    const operand *w;                /* IN  [P][K and feet][N][V] packed, group p at w + p * w_group */
    const operand *next, *w_end;     /* IN  the weights of the next panel, to prefetch; the end of the whole pack */
    ptrdiff_t w_group;
    const real *init[PANEL_ROWS]; /* IN  as in Tile; all rows skip init_skip columns */
    ptrdiff_t init_skip, init_p, init_n;
    real *out[PANEL_ROWS];        /* OUT likewise */
    ptrdiff_t out_skip, out_p, out_n;
    int lanes, inner;
} Panel;

static void panel_product(const Panel *panel, int rows, int N, int P)
{
    const int blocks = (rows + tile_rows(N) - 1) / tile_rows(N);
    Tile t;

    REQUIRE(rows >= 1 && rows <= PANEL_ROWS);
    t.a_step = 1;
    t.w_group = panel->w_group;
    t.out_skip = panel->out_skip;
    t.out_p = panel->out_p;
    t.out_n = panel->out_n;
    t.lanes = panel->lanes;
    t.inner = panel->inner;
    for (ptrdiff_t k = 0; k == 0 || k < panel->K; k += SUM_LENGTH) {
        const real *const *init = k ? (const real *const *)panel->out : panel->init;
        const operand *ahead;
        t.K = panel->K - k < SUM_LENGTH ? panel->K - k : SUM_LENGTH;
        t.a_skip = k;
        t.w = panel->w + (k + k / SUM_LENGTH * FOOT) * N * V;
        t.init_skip = k ? panel->out_skip : panel->init_skip;
        t.init_p = k ? panel->out_p : panel->init_p;
        t.init_n = k ? panel->out_n : panel->init_n;
        ahead = k + t.K < panel->K ? t.w + (t.K + FOOT) * N * V : panel->next; /* each tile prefetches a share */
        for (int block = 0; block < blocks; block++, ahead += t.K * V) {
            const ptrdiff_t from = share(rows, block, blocks);
            t.a = panel->a + from;
            t.init = init + from;
            t.out = panel->out + from;
            t.ahead = ahead + t.K * V <= panel->w_end ? ahead : t.w;
            tile_run(&t, (int)(share(rows, block + 1, blocks) - from), N, P);
        }
    }
}

#endif
