/* What a cell sees of one row of the batch at one step, and the two functions that every cell defines:
 *
 *     <cell>_cell_forward(p, row, j, lanes, a)     a [G][V]: the finished pre-activations of units j .. j+lanes
 *     <cell>_cell_backward(p, row, j, lanes, dh)   dh: the gradient of h of these units
 *
 * Both work on one vector of V hidden units; lanes < V at the end of an odd H.
 */
typedef struct {
    real *gates;        /* [S*H] INOUT */
    const real *h_prev; /* [H]   IN */
    const real *c_prev; /* [H]   IN   (lstm) */
    real *h;            /* [H]   OUT forward, IN backward */
    real *c;            /* [H]   OUT forward, IN backward; may be c_prev (lstm) */
    const real *dy;     /* [H]   IN, or NULL: zero */
    real *dh;           /* [H]   INOUT */
    real *dc;           /* [H]   INOUT (lstm) */
} CellRow;

typedef void cell_forward_function(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, const real *a);
typedef void cell_backward_function(const Pass *p, const CellRow *row, ptrdiff_t j, int lanes, vec dh);

/* d(pre-activation) = d * s (1 - s) and d * (1 - t^2): the slopes of sigmoid and tanh from their values. */
static ALWAYS_INLINE vec v_sigmoid_slope(vec d, vec s) { return v_mul(d, v_fnma(s, s, s)); }
static ALWAYS_INLINE vec v_tanh_slope(vec d, vec t) { return v_mul(d, v_fnma(t, t, v_set1(1))); }
