/* How data is described: rows of a sequence, blocks of a weight, and the arithmetic of padding and shares. Plain C.
 *
 * Strides count elements, not bytes: nothing here knows the type of an element.
 */
#ifndef RNNFAST_ROWS_H
#define RNNFAST_ROWS_H

#include <stddef.h>

enum { MAX_SLOTS = 8 };

/* Rows in two axes, time and batch, with a contiguous last axis. Row b of step s is at data + row_offset(rows, s, b).
 * Flat rows are counted step by step: row q = s*B + b, or q = start[s] + b where a step may have fewer than B rows. */
typedef struct {
    void *data;
    ptrdiff_t B, s_stride, b_stride;
    const ptrdiff_t *place; /* [B] offset of each row of the batch, instead of b * b_stride; or NULL */
    const ptrdiff_t *start; /* [steps + 1] flat rows before each step; NULL: every step has B rows */
} Rows;

static inline ptrdiff_t row_offset(const Rows *rows, ptrdiff_t s, ptrdiff_t b)
{
    return s * rows->s_stride + (rows->place ? rows->place[b] : b * rows->b_stride);
}
static inline ptrdiff_t rows_in_step(const Rows *rows, ptrdiff_t s)
{
    return rows->start ? rows->start[s + 1] - rows->start[s] : rows->B;
}

/* Flat rows before step s. */
static inline ptrdiff_t rows_before(const Rows *rows, ptrdiff_t s) { return rows->start ? rows->start[s] : s * rows->B; }

/* The step that flat row q belongs to. */
static inline ptrdiff_t step_of_row(const Rows *rows, ptrdiff_t q)
{
    ptrdiff_t s = q / rows->B;
    if (rows->start) /* no step has more than B rows */
        while (rows->start[s + 1] <= q) s++;
    return s;
}

/* A matrix stored as blocks of rows, one block of H rows for each gate, in the user's order. A weight window lists
 * blocks in the order of the slots: slot n of the window is block order[n]. */
typedef struct {
    const void *data; /* [blocks * height, width] */
    ptrdiff_t height, width;
    int count;        /* slots in the window */
    int order[MAX_SLOTS];
    const void *scales; /* [blocks * height] of int8 operands, one for each row; NULL: each row's largest number gives it */
} Blocks;

static inline int at_most(ptrdiff_t n, int most) { return n < most ? (int)n : most; }

/* n rounded up to whole vectors of `lanes` numbers. */
static inline ptrdiff_t padded_to(ptrdiff_t n, ptrdiff_t lanes) { return (n + lanes - 1) / lanes * lanes; }

/* The start of part i when n items are divided into `parts` of nearly equal size. */
static inline ptrdiff_t share(ptrdiff_t n, ptrdiff_t i, ptrdiff_t parts) { return n * i / parts; }

#endif
