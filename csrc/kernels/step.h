/* One step in time: the state's product tile by tile, and the cell on each tile while it is hot.
 *
 * The functions here know nothing of a cell but its number of gates G; the cell comes in as a constant function and is
 * inlined. Hidden units come in groups: one vector of units if a cell has several gates (a tile then holds every gate
 * of its units), TILE_WIDTH vectors if it has one, and in the backward step. A step with a second product has a second
 * phase, which starts once all units of its rows have the first: the same functions with the constant `second`.
 */
static inline real *gates_row(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return row_at(&p->gates, s - p->first, b); }

/* Row b's part of a state or of its gradient, [B, width]. */
static inline ptrdiff_t state_place(const Pass *p, ptrdiff_t b, ptrdiff_t width)
{
    return (p->order ? p->order[b] : b) * width;
}

/* Whether nothing passes from step s - 1 to step s of row b, nor back. */
static inline int is_cut(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return p->cut && p->cut[s * p->B + b]; }

/* The h or c that goes into step s: the step before's, the initial one, or zero. */
static inline const real *state_before(const Pass *p, const Rows *steps, const void *initial, ptrdiff_t width, ptrdiff_t s,
                                       ptrdiff_t b)
{
    if (is_cut(p, s, b) || (s == 0 && !initial)) return p->zeros;
    return s ? row_at(steps, s - 1, b) : (const real *)initial + state_place(p, b, width);
}

/* The row b as the cell sees it at step s; at step -1 it has only the gradients of the initial state. */
static inline CellRow cell_row(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    CellRow row = {.gates = NULL};
    if (p->dh) row.dh = (real *)p->dh + state_place(p, b, p->P);
    if (p->dc) row.dc = (real *)p->dc + state_place(p, b, p->H);
    if (s < 0) return row;
    row.gates = gates_row(p, s, b);
    row.h_prev = state_before(p, &p->y, p->h0, p->P, s, b);
    row.h = row_at(&p->y, s, b);
    if (p->c.data) {
        row.c = row_at(&p->c, s, b);
        row.c_prev = state_before(p, &p->c, p->c0, p->H, s, b);
    }
    if (p->m.data) row.m = row_at(&p->m, s, b);
    if (p->d_m.data) row.d_m = row_at(&p->d_m, s, b);
    if (p->dy.data) row.dy = row_at(&p->dy, s, b);
    if (p->dh_steps.data) row.dh_step = row_at(&p->dh_steps, s, b);
    if (p->dc_steps.data) row.dc_step = row_at(&p->dc_steps, s, b);
    return row;
}

/* The vectors of units that a panel has finished, in the order in which they lie in its block: a row's, then the next's. */
typedef struct {
    const CellRow *row;
    const real *a;      /* [rows][width][size][V] */
    ptrdiff_t j0, U;    /* the first unit of each row, of U */
    int width, v;       /* vectors of units in a row, and the one whose turn it is */
} Finished;

/* The next M of them, each with `size` vectors in the block. */
static ALWAYS_INLINE void take(Finished *from, const int M, const int size, CellVector *at)
{
    EACH(m) {
        const ptrdiff_t j = from->j0 + from->v * V;
        at[m] = (CellVector){from->row, j, lanes_at(j, from->U), from->a};
        from->a += size * V;
        if (++from->v == from->width) from->v = 0, from->row++;
    }
}

static ALWAYS_INLINE void step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       const int second, const int G, cell_forward_function *cell)
{
    const ptrdiff_t H = p->H, K = second ? H : p->P, units = G > 1 ? V : TILE_WIDTH * V; /* units in a whole group */
    const ptrdiff_t whole = G > 1 ? g1 : whole_groups(H, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const real *w = second ? p->w_m : p->w_step;
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V];               /* [rows][P][N][V] finished pre-activations */
    CellRow row[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    panel.K = K;
    panel.out_skip = 0;
    panel.w_group = K * units * G;
    panel.w_end = w + padded(H) * G * K;
    panel.init_n = G > 1 ? H : V;
    panel.init_p = units;
    panel.out_n = V;
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                row[r] = cell_row(p, s, b + r);
                panel.a[r] = second ? row[r].m : row[r].h_prev;
                panel.init[r] = row[r].gates + (second ? 0 : (p->S - G) * H);
            }
            for (ptrdiff_t group = first, P; group < first + sweep; group += P) {
                const ptrdiff_t j = group * units;
                const int N = G > 1 ? G : group_width(group, H);
                P = group < whole ? tile_groups(b1 - b0, N, whole - group) : 1;
                panel.w = w + j * G * K;
                panel.init_skip = j;
                panel.out_p = N * V;
                panel.lanes = lanes_at(j + (P * N / G - 1) * V, H);
                panel.inner = G > 1 ? panel.lanes : V; /* the units that are none would be another gate's */
                for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                panel_product(&panel, rows, N, (int)P);
                Finished done = {.row = row, .a = block, .j0 = j, .U = H, .width = (int)P * N / G};
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, G, at), cell(p, 4, at);
                if (count >= 2) take(&done, 2, G, at), cell(p, 2, at), count -= 2;
                if (count) take(&done, 1, G, at), cell(p, 1, at);
            }
        }
}

/* h of rows b0..b1 at step s, groups g0..g1 of its P numbers: the projection of m. */
static void project_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1)
{
    Product h = {.K = p->H, .C = p->P, .a = p->m, .w = p->w_m, .out = p->y};
    h.out.data = (real *)p->y.data + s * p->y.s_stride;
    h.out.start = NULL;
    product(&h, b0, b1, g0, g1);
}

/* Asks for what the cells will read of these units once the product is done: a long sequence's gates come from afar. */
static inline void fetch_gates(const Pass *p, const CellRow *row, int rows, ptrdiff_t j, int count)
{
    for (int r = 0; r < rows; r++)
        for (ptrdiff_t u = j; u < j + count * V && u < p->H; u += V) {
            for (ptrdiff_t slot = 0; slot < p->S; slot++) PREFETCH(row[r].gates + slot * p->H + u);
            if (row[r].c) PREFETCH(row[r].c_prev + u);
            if (row[r].dy) PREFETCH(row[r].dy + u);
        }
}

/* Forgets what is carried back to `count` vectors of units, j on of U. */
static inline void drop_carried(real *carried, ptrdiff_t U, ptrdiff_t j, int count)
{
    memset(carried + j, 0, (size_t)(U - j < count * V ? U - j : count * V) * sizeof(real));
}

/* What step s+1 carries back to these vectors, plus dy, through the cell; in the second phase, what its product does. */
static ALWAYS_INLINE void cell_gradient(const Pass *p, ptrdiff_t s, const int last, const int M, const CellVector *at,
                                        const int second, const int goes_round, cell_backward_function *cell)
{
    vec dh[ABREAST];
    if (second) {
        EACH(m) dh[m] = v_load(at[m].a);
        cell(p, M, at, dh);
        return;
    }
    EACH(m) dh[m] = last ? v_load_at(at[m].row->dh, &at[m]) : v_load(at[m].a);
    if (goes_round && !last) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->dh, &at[m]));
    if (s < 0) {
        EACH(m) v_store_at(at[m].row->dh, &at[m], dh[m]);
        return;
    }
    if (p->dy.data) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->dy, &at[m]));
    if (p->dh_steps.data) EACH(m) v_store_at(at[m].row->dh_step, &at[m], dh[m]);
    cell(p, M, at, dh);
}

/* Step s of the way back. dh = (gradients of step s+1) . W_hh [+ what went round its gates] + dy, then the cell; at a row's
 * last step dh is what came in from behind: rows b0..b1 are all at their last step or none is. Where step s+1 was cut off,
 * nothing comes back to h; where step s is, dc ends with it. s = -1 leaves the gradient of the initial state in p->dh.
 * The second phase has dm = (gradients of W_m m) . W_m instead. */
static ALWAYS_INLINE void step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        const int second, const int goes_round, cell_backward_function *cell)
{
    const ptrdiff_t U = second ? p->H : p->P, K = second ? p->P : p->G * p->H, units = TILE_WIDTH * V;
    const ptrdiff_t whole = whole_groups(U, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const int last = !second && (s == p->T - 1 || b0 >= rows_in_step(&p->gates, s + 1));
    const real *w = second ? p->w_m_back : p->w_back;
    static const real zeros[V];
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V]; /* [rows][P][N][V] what the gates carry back */
    CellRow row[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    panel.K = K;
    panel.init_skip = panel.out_skip = 0;
    panel.w_group = K * units;
    panel.w_end = w + padded(U) * K;
    panel.init_n = panel.init_p = 0;
    panel.out_n = V;
    panel.lanes = panel.inner = V;
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                row[r] = cell_row(p, s, b + r);
                panel.init[r] = zeros;
                if (!last) panel.a[r] = second ? row[r].d_m : gates_row(p, s + 1, b + r) + (p->S - p->G) * p->H;
            }
            for (ptrdiff_t group = first, P; group < first + sweep; group += P) {
                const ptrdiff_t j = group * units;
                const int N = group_width(group, U);
                P = group < whole ? tile_groups(b1 - b0, N, whole - group) : 1;
                panel.w = w + j * K;
                panel.out_p = N * V;
                for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                if (s >= 0) fetch_gates(p, row, rows, j, (int)P * N);
                if (!last) panel_product(&panel, rows, N, (int)P);
                if (!last && !second && p->cut)
                    for (int r = 0; r < rows; r++)
                        if (is_cut(p, s + 1, b + r)) {
                            memset(block + r * P * N * V, 0, (size_t)(P * N * V) * sizeof(real));
                            drop_carried(row[r].dh, U, j, (int)P * N);
                        }
                Finished done = {.row = row, .a = block, .j0 = j, .U = U, .width = (int)P * N};
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, 1, at), cell_gradient(p, s, last, 4, at, second, goes_round, cell);
                if (count >= 2) take(&done, 2, 1, at), cell_gradient(p, s, last, 2, at, second, goes_round, cell), count -= 2;
                if (count) take(&done, 1, 1, at), cell_gradient(p, s, last, 1, at, second, goes_round, cell);
                if (s >= 0 && p->cut && p->dc && p->phases == 1 + second)
                    for (int r = 0; r < rows; r++)
                        if (is_cut(p, s, b + r)) drop_carried(row[r].dc, U, j, (int)P * N);
            }
        }
}

#define FORWARD(name, second, gates, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        step_forward(p, s, b0, b1, g0, g1, second, gates, cell); \
    }
FORWARD(rnn_step_forward, 0, 1, rnn_cell_forward)
FORWARD(lstm_step_forward, 0, 4, lstm_cell_forward)
FORWARD(gru_step_forward, 0, 3, gru_cell_forward)
FORWARD(coupled_step_forward, 0, 3, coupled_cell_forward)
FORWARD(gru_before_step_forward, 0, 2, gru_before_cell_forward)
FORWARD(gru_before_second_forward, 1, 1, gru_before_candidate_forward)

#define BACKWARD(name, second, goes_round, cell) \
    static void name(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        step_backward(p, s, b0, b1, g0, g1, second, goes_round, cell); \
    }
BACKWARD(rnn_step_backward, 0, 0, rnn_cell_backward)
BACKWARD(lstm_whole_backward, 0, 0, lstm_cell_backward)
BACKWARD(gru_step_backward, 0, 1, gru_cell_backward)
BACKWARD(coupled_whole_backward, 0, 0, coupled_cell_backward)
BACKWARD(gru_before_step_backward, 0, 1, gru_before_cell_backward)
BACKWARD(projected_backward, 0, 0, projected_cell_backward)
BACKWARD(lstm_second_backward, 1, 0, lstm_cell_backward)
BACKWARD(coupled_second_backward, 1, 0, coupled_cell_backward)
BACKWARD(gru_before_second_backward, 1, 0, gru_before_candidate_backward)

/* With a projection the cell waits for the second phase. */
static void lstm_step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1)
{
    (p->phases == 2 ? projected_backward : lstm_whole_backward)(p, s, b0, b1, g0, g1);
}
static void coupled_step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1)
{
    (p->phases == 2 ? projected_backward : coupled_whole_backward)(p, s, b0, b1, g0, g1);
}
