/* What the kernels work on: plain C, no Python. Dims T B I H P G, V lanes a vector; row-major; strides in elements.
 *
 * A cell keeps S slots of H numbers for each (step, row) in one buffer, `gates`. The input's product fills the first X
 * slots, the state's product adds to the last G:
 *
 *     rnn         a          S 1  X 1  G 1
 *     lstm        i f g o    S 4  X 4  G 4
 *     gru         n r z q    S 4  X 3  G 3      q = W_hn h + b_hn, the state's part of the candidate n, kept apart
 *     coupled     i g o      S 3  X 3  G 3      lstm with f = 1 - i
 *     gru_before  n r z      S 3  X 3  G 2      r acts before the state's product with W_hn
 *
 * Some cells take a second product within the step, once all units have the first: what it reads is m, and h is P wide.
 *
 *     lstm, coupled, projected    m = o tanh(c)     W_m = W_hr [P, H]     h = W_m m
 *     gru_before                  m = r h_prev      W_m = W_hn [H, H]     n = tanh(slot n + W_m m)        P = H
 *
 * `gates` has three lives: pre-activations (project, then the step's product), activations (step_forward, if `save`),
 * gradients of the pre-activations (step_backward). Steps s count in the direction of the pass: for a reversed pass the
 * caller gives views of x and y whose time stride is negative, so that nothing below knows of directions.
 */
#ifndef RNNFAST_PASS_H
#define RNNFAST_PASS_H

#include <stddef.h>

enum { RNN, LSTM, GRU, COUPLED, GRU_BEFORE, CELLS };
enum { TANH, RELU, SIGMOID, IDENTITY };
enum { MAX_SLOTS = 4 };

/* Rows in two axes, the last axis contiguous: row b of step s is at data + s*s_stride + b*b_stride, or + place[b] where
 * the rows of the batch have been put in another order. Flat, rows are counted step by step: row q = s*B + b, or, where not
 * every step has all B of them, q = start[s] + b. */
typedef struct {
    void *data;
    ptrdiff_t B, s_stride, b_stride;
    const ptrdiff_t *place; /* [B], or NULL */
    const ptrdiff_t *start; /* [steps + 1], or NULL */
} Rows;

/* A matrix stored as blocks of rows (gates of H rows each) in the user's order; window slot n is block order[n]. */
typedef struct {
    const void *data; /* [blocks * height, width] */
    ptrdiff_t height, width;
    int count;        /* slots in the window */
    int order[MAX_SLOTS];
} Blocks;

/* out[q] = bias + a[q] . W for whole rows: the projection of x, its gradient, dense layers. */
typedef struct {
    ptrdiff_t K, C;   /* columns of a, columns of W */
    ptrdiff_t extra;  /* columns of out behind those, which get the bias alone (gru: q) */
    Rows a;           /* IN  [.., K] */
    const void *w;    /* IN  flat pack of C columns: [C/(4V)][K][4][V], the last group narrower */
    const void *bias; /* IN  [C + extra]; NULL: zero */
    Rows out;         /* OUT [.., C + extra] */
} Product;

/* The rows of an embedded input stand in a table: row b at step s is number token[s*s_stride + b*b_stride] of them. */
typedef struct {
    const ptrdiff_t *token; /* IN [T, B]; NULL: the input is no embedded one */
    ptrdiff_t s_stride, b_stride;
    const ptrdiff_t *place; /* [B], or NULL: as in Rows */
    ptrdiff_t C;            /* columns of the table */
    void *table;            /* [V, C] IN what each token adds to gates (gather); INOUT the sum of its gradients (scatter) */
} Lookup;

/* dW[c][k] += sum over rows q, ascending, of d[q][c] * a[q][k]: the gradient of a weight, packed. The rows come last step
 * first (time strides are negative), the order in which backpropagation makes them. */
typedef struct {
    ptrdiff_t K, C;        /* columns of a, columns of d */
    ptrdiff_t c0, c1;      /* the columns of d that this weight has; others of the same groups are summed and not used */
    void *dw;              /* INOUT flat pack of C columns: [C/(4V)][K][4][V] */
} GradientProduct;

/* One layer in one direction, forward or backward. */
typedef struct {
    int cell, nonlinearity, save;
    int phases;              /* of a step: 2 with a second product, else 1 */
    ptrdiff_t T, B, H;
    ptrdiff_t P;             /* numbers of h, and rows of W_m; H without a projection */
    ptrdiff_t S, X, G;       /* slots, slots of the input's window, slots of the state's window */
    const ptrdiff_t *order;  /* IN    [B] row b is row order[b] of the states h0, c0, dh, dc; NULL: b */
    const unsigned char *cut;/* IN    [T, B] nonzero: the state is set to zero before this step; NULL: nowhere */
    const void *zeros;       /* IN    [max(H, P)] */
    Rows gates;              /* INOUT [T or a chunk, B, S*H] */
    ptrdiff_t first;         /* the step in the first row of gates: 0, or where the chunk starts in evaluation */
    Rows y;                  /* OUT   [T, B, P], forward; IN backward */
    const void *h0;          /* IN    [B, P]; NULL: zero */
    const void *c0;          /* IN    [B, H]; NULL: zero                         (lstm) */
    Rows c;                  /* OUT   [T, B, H] if kept, else one step; IN backward (lstm) */
    const void *w_step;      /* IN    W_hh packed in groups of one vector of each gate: [H/V][P][G][V] (flat if G = 1) */
    const void *w_back;      /* IN    W_hh packed flat over its P columns: [P/(4V)][G*H][4][V] */
    const void *w_m;         /* IN    W_m packed flat over its rows: [P/(4V)][H][4][V] */
    const void *w_m_back;    /* IN    W_m packed flat over its columns: [H/(4V)][P][4][V] */
    Rows m;                  /* OUT   [B, H] of the present step forward, IN in its second phase; [chunk, B, H] backward;
                                      data NULL: no second product */
    Rows d_m;                /* INOUT [T or a chunk, B, P] the gradients of W_m m: those of h, or of slot n */
    const void *w_ci;        /* IN    [H] peepholes; NULL: none (lstm, coupled) */
    const void *w_cf;        /* IN    [H] (lstm) */
    const void *w_co;        /* IN    [H] */
    void *dw_ci;             /* INOUT [H] the sums of their gradients */
    void *dw_cf;             /* INOUT [H] */
    void *dw_co;             /* INOUT [H] */
    double cell_clip;        /* the bound of c; infinity: none (lstm, coupled) */
    Rows dy;                 /* IN    [T, B, P]; data NULL: zero */
    Rows dc_steps;           /* IN    [T, B, H] gradients of every c; data NULL: zero (lstm) */
    Rows dh_steps;           /* OUT   [T, B, P] the gradient of every h; data NULL: not kept */
    void *dh;                /* INOUT [B, P] what is carried back beside the gates: dh at both ends, dh * z between (gru) */
    void *dc;                /* INOUT [B, H]                                     (lstm) */
} Pass;

#endif
