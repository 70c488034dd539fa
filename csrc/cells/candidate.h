/* The function g on the candidate of a cell whose gates see the input alone (mingru.h, minlstm.h).
 *
 *     identity     g(x) = x                                      g' = 1
 *     positive     g(x) = x + 1/2 for x >= 0, sigmoid(x) else    g' = 1 for g >= 1/2, g (1 - g) else
 *     tanh         g(x) = tanh(x)                                g' = 1 - g^2
 *
 * The derivative comes from the value g, which a pass keeps.
 */
#ifndef RNNFAST_CELLS_CANDIDATE_H
#define RNNFAST_CELLS_CANDIDATE_H

#include "cells/cell.h"

/* x = g(x). */
static ALWAYS_INLINE void v_candidate(int g, const int M, vec *x)
{
    if (g == TANH) v_tanh(M, x);
    else if (g == POSITIVE) {
        vec below[ABREAST];
        EACH(m) below[m] = x[m];
        v_sigmoid(M, below);
        EACH(m) x[m] = v_where_less(x[m], v_zero(), below[m], v_add(x[m], v_set1((real)0.5)));
    }
}

/* The gradient of the pre-activation from d, that of n = g(a), and n. */
static ALWAYS_INLINE vec v_candidate_slope(int g, vec d, vec n)
{
    if (g == TANH) return v_tanh_slope(d, n);
    if (g == POSITIVE) return v_where_less(n, v_set1((real)0.5), v_sigmoid_slope(d, n), d);
    return d;
}

#endif
