/* How the columns of a packed matrix are grouped: vectors of V columns, groups of up to TILE_WIDTH vectors.
 *
 * A flat pack stores C columns as [group][K][n][V]; the last group is as narrow as it can be, and zeros fill its last vector.
 */
#ifndef RNNFAST_KERNELS_COLUMNS_H
#define RNNFAST_KERNELS_COLUMNS_H

#include "rows.h"

#define TILE_WIDTH 4 /* the most vectors in a group of columns */

static inline ptrdiff_t vectors(ptrdiff_t columns) { return (columns + V - 1) / V; }
static inline int lanes_at(ptrdiff_t column, ptrdiff_t columns) { return at_most(columns - column, V); }
static inline ptrdiff_t groups_of(ptrdiff_t C) { return (vectors(C) + TILE_WIDTH - 1) / TILE_WIDTH; }
static inline int group_width(ptrdiff_t group, ptrdiff_t C) { return at_most(vectors(C) - group * TILE_WIDTH, TILE_WIDTH); }

/* The number of groups of full width before group g1. A tile takes several groups at once only if all have full width. */
static inline ptrdiff_t whole_groups(ptrdiff_t C, ptrdiff_t g1)
{
    const ptrdiff_t whole = vectors(C) / TILE_WIDTH;
    return whole < g1 ? whole : g1;
}

#endif
