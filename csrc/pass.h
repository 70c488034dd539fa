/* What the kernels work on: plain C, no Python. Dims T B I H P G, V lanes of a vector; row-major; strides in elements.
 *
 * The table of cells (cells/table.h) explains slots, phases, the second product and vector weights. `gates` holds in turn
 * pre-activations (the product of the input, then the step's product), activations (the forward step, if `save`) and the
 * gradients of the pre-activations (the backward step), each written over the one before.
 *
 * Steps s count in the direction of the pass. For a reversed pass the caller gives views of x and y whose time stride is
 * negative, so nothing below knows of directions.
 */
#ifndef RNNFAST_PASS_H
#define RNNFAST_PASS_H

#include "cells/table.h"
#include "rows.h"

enum { TANH, RELU, SIGMOID, IDENTITY, POSITIVE }; /* the first four in the order of rnnfast.h; POSITIVE: cells/candidate.h */

/* out[q] = bias + a[q] . W for whole rows: the product of the input, its gradient, dense layers. */
typedef struct {
    ptrdiff_t K, C;   /* columns of a, columns of W */
    ptrdiff_t extra;  /* further columns of out, which get the bias alone (gru: q) */
    Rows a;           /* IN  [.., K] */
    const void *w;    /* IN  flat pack of C columns: [C/(4V)][K][4][V], the last group narrower */
    const void *bias; /* IN  [C + extra]; NULL: zero */
    Rows out;         /* OUT [.., C + extra] */
    int turn;         /* odd: the last columns first (Sweep, kernels/panel.h) */
} Product;

enum { SCRATCH_ROWS = 512 }; /* rows of a product that are copied at a time, where operands are copies */

/* The rows of an embedded input are rows of a table: row b of step s is number token[s*s_stride + b*b_stride]. */
typedef struct {
    const ptrdiff_t *token; /* IN [T, B]; NULL: the input is not embedded */
    ptrdiff_t s_stride, b_stride;
    const ptrdiff_t *place; /* [B], or NULL: as in Rows */
    ptrdiff_t C;            /* columns of the table */
    void *table;            /* [V, C] IN what each token adds to gates (gather); INOUT the sum of its gradients (scatter) */
} Lookup;

/* dW[c][k] = sum over rows q, ascending, of d[q][c] * a[q][k]: the gradient of a weight. The rows come last step first (time
 * strides are negative), in the order in which backpropagation produces them, in pieces. */
typedef struct {
    ptrdiff_t K, C;        /* columns of a, columns of d */
    ptrdiff_t c0, c1;      /* the columns of d that belong to this weight; the sums of others in its groups are not used */
    void *sum;             /* INOUT flat pack of C columns between two pieces: [C/(4V)][K][4][V] */
    Blocks dw;             /* OUT   [.., K] columns c0..c1 in the user's order, written with the last piece */
} GradientProduct;

/* One layer in one direction, forward or backward. A part of the state is P wide (h) or H wide (all others). */
typedef struct {
    int cell;                      /* its row in the table of cells */
    int nonlinearity, save;
    int given;                     /* the weights that are given, a bit each: 1 << WEIGHT_IH */
    int parts;                     /* of the state */
    int heads;                     /* parts of the units, each with a product of the state of its own; 1 without */
    int turn;                      /* forward: step s takes the last units first if s + turn is odd (Sweep) */
    ptrdiff_t T, B, H;
    ptrdiff_t P;                   /* width of h, and rows of W_m; H without a projection */
    ptrdiff_t D;                   /* units of a head; H without */
    ptrdiff_t S, X, G;             /* slots, slots of the input, slots of the state's product */
    double cell_clip;              /* bound of c; infinity: none (lstm) */
    const ptrdiff_t *order;        /* IN    [B] row b is row order[b] of `initial` and `d_state`; NULL: b */
    const unsigned char *reset;    /* IN    [T, B] nonzero: the state is set to zero before this step; NULL: nowhere */
    const void *zeros;             /* IN    [max(H, P)] */
    Rows gates;                    /* INOUT [T or a chunk, B, S*H], with heads [T or a chunk, B, heads, S*D] */
    ptrdiff_t first;               /* the step in the first row of gates: 0, or the start of the chunk in evaluation */
    const void *w_step;            /* IN    W_hh packed in groups of one vector of each gate: [H/V][P][G][V] (flat if G = 1);
                                            with heads [heads][D/V][D][G][V] */
    const void *w_back;            /* IN    W_hh packed flat over its P columns: [P/(4V)][G*H][4][V];
                                            with heads [heads][D/(4V)][G*D][4][V] */
    const void *w_m;               /* IN    W_m packed flat over its rows: [P/(4V)][H][4][V] */
    const void *w_m_back;          /* IN    W_m packed flat over its columns: [H/(4V)][P][4][V] */
    Rows m;                        /* OUT   [B, H] of the present step forward, IN in the phase of W_m m; [chunk, B, H]
                                            backward; data NULL: no second product */
    Rows d_m;                      /* INOUT [T or a chunk, B, P] the gradient of W_m m: that of h, or of a slot */
    const void *norm;              /* IN    the parameters of layer normalization (NormLayout); NULL: none */
    void *d_norm;                  /* INOUT [B, count] the sums of their gradients, a row of the batch each; NULL: not wanted */
    Rows d_out;                    /* INOUT [B, H] dh or dm of the present step, for the phase over whole rows; data NULL: none */
    const void *vector[MAX_VECTORS]; /* IN  [H] the vector weights, in the order of the table; NULL: not given */
    void *d_vector[MAX_VECTORS];   /* INOUT [H] the sums of their gradients */
    Rows state[MAX_PARTS];         /* OUT   [T, B, width] forward, IN backward: each part after every step, h first, which is
                                            y; a part kept for the last step alone has s_stride 0 */
    const void *initial[MAX_PARTS];/* IN    [B, width]; NULL: zero */
    Rows d_steps[MAX_PARTS];       /* IN    [T, B, width] gradient of each part after every step, that of h first, which is
                                            dy; data NULL: zero */
    void *d_state[MAX_PARTS];      /* INOUT [B, width] gradient carried to the step before, without the share that the product
                                            of the state carries */
    Rows dh_steps;                 /* OUT   [T, B, P] the complete gradient of every h; data NULL: not kept */
    int masked;                    /* whether any of what follows is given */
    Rows zone[MAX_PARTS];          /* IN    [T, B, width] zoneout: z of each part; data NULL: none */
    const void *drop;              /* IN    [B, P] recurrent dropout: the factors of h as the products of the state read it, in
                                            the order of `initial`; NULL: none */
    const void *fed_initial;       /* IN    [B, P] the initial h times these factors; NULL: zero */
    Rows fed;                      /* OUT   [T, B, P] forward, IN backward: h times these factors; data NULL: no dropout */
} Pass;

/* Where the parameters of layer normalization are, in numbers from the first, in the order of the slots. The gradients have
 * the same places; those of the vector weights follow them. `slots` are those of the cell inside. */
typedef struct {
    ptrdiff_t slots, gain_x, gain_h, shift, gain_c, shift_c, vectors, count;
} NormLayout;

static inline NormLayout norm_layout(const Pass *p)
{
    const ptrdiff_t H = p->H;
    NormLayout n = {.slots = cell_table[cell_table[p->cell].plain].S};
    n.gain_h = n.gain_x + p->X * H;
    n.shift = n.gain_h + p->G * H;
    n.gain_c = n.shift + n.slots * H;
    n.shift_c = n.gain_c + H;
    n.vectors = n.shift_c + H;
    n.count = n.vectors + MAX_VECTORS * H;
    return n;
}

/* Whether layer normalization surrounds the cell. */
static inline int is_normed(const Pass *p) { return cell_table[p->cell].plain != p->cell; }

/* Whether the steps have a second product, W_m m. */
static inline int has_second_product(const Pass *p)
{
    const int weight = cell_table[p->cell].m_weight;
    return weight && p->given >> weight & 1;
}

/* Whether |h| is at most 1 in every step if it is so in the initial state. */
static inline int is_bounded(const Pass *p)
{
    return !cell_table[p->cell].unbounded && !(p->given >> WEIGHT_HR & 1) && (p->nonlinearity == TANH || p->nonlinearity == SIGMOID);
}

/* The numbers of h that the product of the state reads for one head. */
static inline ptrdiff_t head_width(const Pass *p) { return p->heads > 1 ? p->D : p->P; }

static inline ptrdiff_t part_width(const Pass *p, int part) { return part == PART_H ? p->P : p->H; }

#endif
