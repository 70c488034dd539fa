/* What a cell sees of one row of the batch at one step, and the two functions that every cell defines:
 *
 *     <cell>_cell_forward(p, M, at)          from the finished pre-activations of M vectors of units
 *     <cell>_cell_backward(p, M, at, dh)     from the gradients of their h
 *
 * M is a constant of 1 to ABREAST: the vectors are independent, of any rows, and are worked on side by side. A cell loads a
 * gate where it needs it and stores it as early as it can: M vectors of every gate would not fit in the registers.
 */
#ifndef RNNFAST_CELLS_CELL_H
#define RNNFAST_CELLS_CELL_H

#include "compiler.h"
#include "pass.h"
#include "simd/vmath.h"

typedef struct {
    real *gates;                   /* [S*H]   INOUT */
    const real *prev[MAX_PARTS];   /* [width] IN    each part of the state before the step */
    real *now[MAX_PARTS];          /* [width] OUT forward, IN backward: after it; a part other than h may be its prev */
    real *m;                       /* [H]     OUT, or NULL: no second product */
    real *d_m;                     /* [P]     OUT, or NULL */
    real *c;                       /* [H]     INOUT c before zoneout, then its gradient through N(c); NULL without layer norm */
    real *c_normal;                /* [H]     INOUT N(c) * gain + shift, then its tanh; NULL without layer norm */
    real *d_out;                   /* [H]     OUT, then IN: dh or dm, which a phase leaves for the next one; or NULL */
    const real *d_step[MAX_PARTS]; /* [width] IN    its gradient from outside, dy first; NULL: zero */
    real *d[MAX_PARTS];            /* [width] INOUT its gradient carried from the step after to the step before */
    real *dh_step;                 /* [P]     OUT, or NULL: not wanted */
    const struct MaskRow *masks;   /* of a pass that is masked; else NULL */
} CellRow;

/* Zoneout and recurrent dropout of a row. */
typedef struct MaskRow {
    const real *zone[MAX_PARTS];   /* [width] IN    z of zoneout, or NULL */
    const real *drop;              /* [P]     IN    the factors of recurrent dropout, or NULL */
    const real *read;              /* [P]     IN    h before the step as products read it: prev, or prev times drop */
    real *fed;                     /* [P]     OUT   h after the step times drop, or NULL */
} MaskRow;

/* V hidden units j .. j+V of a row; only `lanes` of them at the end of an odd H. */
typedef struct {
    const CellRow *row;
    ptrdiff_t j;
    int lanes;
    const real *a; /* [G][V] pre-activations forward, [V] the gradient of h through the product of the state backward */
} CellVector;

typedef void cell_forward_function(const Pass *p, const int M, const CellVector *at);
typedef void cell_backward_function(const Pass *p, const int M, const CellVector *at, vec *dh);

/* The units of this vector in a slot of the gates, or in another array of the row. */
static ALWAYS_INLINE vec v_load_at(const real *array, const CellVector *at) { return v_load_n(array + at->j, at->lanes); }
static ALWAYS_INLINE void v_store_at(real *array, const CellVector *at, vec x) { v_store_n(array + at->j, x, at->lanes); }

/* Stores a part of the state after the step: x, or with zoneout z * (the part before the step) + (1 - z) * x. */
static ALWAYS_INLINE void v_store_masked(int part, const CellVector *at, vec x)
{
    const MaskRow *masks = at->row->masks;
    if (masks->zone[part]) {
        const vec z = v_load_at(masks->zone[part], at);
        x = v_fma(z, v_load_at(at->row->prev[part], at), v_fnma(z, x, x));
    }
    v_store_at(at->row->now[part], at, x);
    if (part == PART_H && masks->fed) v_store_at(masks->fed, at, v_mul(x, v_load_at(masks->drop, at)));
}
static ALWAYS_INLINE void v_store_state(const Pass *p, int part, const int M, const CellVector *at, const vec *x)
{
    if (p->masked) EACH(m) v_store_masked(part, &at[m], x[m]);
    else EACH(m) v_store_at(at[m].row->now[part], &at[m], x[m]);
}

/* h before the step as products read it. */
static ALWAYS_INLINE vec v_read(const Pass *p, const CellVector *at)
{
    return v_load_at(p->masked ? at->row->masks->read : at->row->prev[PART_H], at);
}

/* The gradient of h before the step from that of what products read. */
static ALWAYS_INLINE vec v_dropped(const Pass *p, const CellVector *at, vec d)
{
    return p->drop ? v_mul(d, v_load_at(at->row->masks->drop, at)) : d;
}

/* w * x + sum for a vector weight w [H]. */
static ALWAYS_INLINE vec v_weighted(const void *w, const CellVector *at, vec x, vec sum)
{
    return v_fma(v_load_at((const real *)w, at), x, sum);
}

/* `result`, a product with the gradient d; but `otherwise` where d is zero and `result` is NaN. So a gradient of zero stays zero
 * at a step that holds NaN or infinity. A cell asks once whether its step does; `guard` is a constant 0 where it does not. */
static ALWAYS_INLINE vec v_guarded(const int guard, vec d, vec result, vec otherwise)
{
    const vec one = v_set1(1), size = v_negative(d); /* -|d|: below zero unless d is zero or NaN, below one unless it is NaN */
    if (!guard) return result;
    otherwise = v_where_less(size, v_zero(), result, v_where_less(size, one, otherwise, result));
    return v_where_less(v_negative(result), one, result, otherwise);
}

/* The gradient of a pre-activation from that of its sigmoid s, d * s (1 - s), or of its tanh t, d * (1 - t^2). */
static ALWAYS_INLINE vec v_sigmoid_slope(vec d, vec s) { return v_mul(d, v_fnma(s, s, s)); }
static ALWAYS_INLINE vec v_tanh_slope(vec d, vec t) { return v_mul(d, v_fnma(t, t, v_set1(1))); }

/* x = f(x), f = tanh | relu | sigmoid | identity. */
static ALWAYS_INLINE void v_nonlinearity(int f, const int M, vec *x)
{
    if (f == TANH) v_tanh(M, x);
    else if (f == SIGMOID) v_sigmoid(M, x);
    else if (f == RELU) EACH(m) x[m] = v_where_less(x[m], v_zero(), v_zero(), x[m]);
}

/* Stores h = f(a). Its slope needs h as it was before zoneout, which takes the slot of the pre-activation. */
static ALWAYS_INLINE void v_store_activation(const Pass *p, const int M, const CellVector *at, const vec *h)
{
    if (p->zone[PART_H].data) EACH(m) v_store_at(at[m].row->gates, &at[m], h[m]);
    v_store_state(p, PART_H, M, at, h);
}
static ALWAYS_INLINE vec v_activation(const Pass *p, const CellVector *at)
{
    return v_load_at(p->zone[PART_H].data ? at->row->gates : at->row->now[PART_H], at);
}

/* The gradient of the pre-activation from d, that of h = f(a), and h:  d (1 - h^2) | d where h > 0 | d h (1 - h) | d. */
static ALWAYS_INLINE vec v_nonlinearity_slope(int f, vec d, vec h, const int guard)
{
    vec da = d;
    if (f == TANH) da = v_tanh_slope(d, h);
    else if (f == SIGMOID) da = v_sigmoid_slope(d, h);
    else if (f == RELU) da = v_where_less(v_zero(), h, d, guard ? v_where_less(h, v_set1(1), v_zero(), h) : v_zero());
    return v_guarded(guard, d, da, v_zero());
}

#endif
