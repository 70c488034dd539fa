/* What a cell sees of one row of the batch at one step, and the two functions that every cell defines:
 *
 *     <cell>_cell_forward(p, M, at)          from the finished pre-activations of M vectors of units
 *     <cell>_cell_backward(p, M, at, dh)     from the gradients of their h
 *
 * M is a constant of 1 to ABREAST: the vectors are independent, of any rows, and are worked on side by side. A gate is
 * loaded where it is needed and stored as soon as it may be: M of each gate at once would not stay in registers.
 */
typedef struct {
    real *gates;        /* [S*H] INOUT */
    const real *h_prev; /* [P]   IN */
    const real *c_prev; /* [H]   IN   (lstm) */
    real *h;            /* [P]   OUT forward, IN backward */
    real *c;            /* [H]   OUT forward, IN backward; may be c_prev (lstm) */
    real *m;            /* [H]   OUT, or NULL: no second product */
    real *d_m;          /* [P]   OUT, or NULL (a projection's dh) */
    const real *dy;     /* [P]   IN, or NULL: zero */
    const real *dc_step;/* [H]   IN, or NULL: zero (lstm) */
    real *dh_step;      /* [P]   OUT, or NULL: not wanted */
    real *dh;           /* [P]   INOUT */
    real *dc;           /* [H]   INOUT (lstm) */
} CellRow;

/* V hidden units j .. j+V of a row; only `lanes` of them at the end of an odd H. */
typedef struct {
    const CellRow *row;
    ptrdiff_t j;
    int lanes;
    const real *a; /* straight from the tile: [G][V] pre-activations forward, [V] what the gates carry to dh backward */
} CellVector;

typedef void cell_forward_function(const Pass *p, const int M, const CellVector *at);
typedef void cell_backward_function(const Pass *p, const int M, const CellVector *at, vec *dh);

/* A slot of the gates, or another array of the row, at these units. */
static ALWAYS_INLINE vec v_load_at(const real *array, const CellVector *at) { return v_load_n(array + at->j, at->lanes); }
static ALWAYS_INLINE void v_store_at(real *array, const CellVector *at, vec x) { v_store_n(array + at->j, x, at->lanes); }

/* `result`, which is the gradient d times something; but `otherwise` where d is zero and the result NaN: a gradient of zero
 * stays zero, even if the step that it passes holds NaN or infinity. The cells ask once whether a step does, and have a
 * `guard` of 0 where it does not. */
static ALWAYS_INLINE vec v_guarded(const int guard, vec d, vec result, vec otherwise)
{
    const vec one = v_set1(1), size = v_negative(d); /* below zero for all but zero and NaN, below one for all but NaN */
    if (!guard) return result;
    otherwise = v_where_less(size, v_zero(), result, v_where_less(size, one, otherwise, result));
    return v_where_less(v_negative(result), one, result, otherwise);
}

/* d(pre-activation) = d * s (1 - s) and d * (1 - t^2): the slopes of sigmoid and tanh from their values. */
static ALWAYS_INLINE vec v_sigmoid_slope(vec d, vec s) { return v_mul(d, v_fnma(s, s, s)); }
static ALWAYS_INLINE vec v_tanh_slope(vec d, vec t) { return v_mul(d, v_fnma(t, t, v_set1(1))); }
