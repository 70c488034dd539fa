/* One step in time: the state's product tile by tile, and the cell on each tile while it is hot.
 *
 * The functions here know nothing of a cell but its number of gates G; the cell comes in as a constant function and is
 * inlined. Hidden units come in groups: one vector of units if a cell has several gates (a tile then holds every gate
 * of its units), TILE_WIDTH vectors if it has one, and in the backward step.
 */
static inline real *gates_row(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return row_at(&p->gates, s - p->first, b); }

/* Row b's part of a state or of its gradient, [B, H]. */
static inline ptrdiff_t state_place(const Pass *p, ptrdiff_t b) { return (p->order ? p->order[b] : b) * p->H; }

/* Whether nothing passes from step s - 1 to step s of row b, nor back. */
static inline int is_cut(const Pass *p, ptrdiff_t s, ptrdiff_t b) { return p->cut && p->cut[s * p->B + b]; }

/* The h or c that goes into step s: the step before's, the initial one, or zero. */
static inline const real *state_before(const Pass *p, const Rows *steps, const void *initial, ptrdiff_t s, ptrdiff_t b)
{
    if (is_cut(p, s, b) || (s == 0 && !initial)) return p->zeros;
    return s ? row_at(steps, s - 1, b) : (const real *)initial + state_place(p, b);
}

/* The row b as the cell sees it at step s; at step -1 it has only the gradients of the initial state. */
static inline CellRow cell_row(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    CellRow row = {.gates = NULL};
    if (p->dh) row.dh = (real *)p->dh + state_place(p, b);
    if (p->dc) row.dc = (real *)p->dc + state_place(p, b);
    if (s < 0) return row;
    row.gates = gates_row(p, s, b);
    row.h_prev = state_before(p, &p->y, p->h0, s, b);
    row.h = row_at(&p->y, s, b);
    if (p->c.data) {
        row.c = row_at(&p->c, s, b);
        row.c_prev = state_before(p, &p->c, p->c0, s, b);
    }
    if (p->dy.data) row.dy = row_at(&p->dy, s, b);
    if (p->dh_steps.data) row.dh_step = row_at(&p->dh_steps, s, b);
    if (p->dc_steps.data) row.dc_step = row_at(&p->dc_steps, s, b);
    return row;
}

/* The vectors of units that a panel has finished, in the order in which they lie in its block: a row's, then the next's. */
typedef struct {
    const CellRow *row;
    const real *a;      /* [rows][width][size][V] */
    ptrdiff_t j0, H;    /* the first unit of each row, of H */
    int width, v;       /* vectors of units in a row, and the one whose turn it is */
} Finished;

/* The next M of them, each with `size` vectors in the block. */
static ALWAYS_INLINE void take(Finished *from, const int M, const int size, CellVector *at)
{
    EACH(m) {
        const ptrdiff_t j = from->j0 + from->v * V;
        at[m] = (CellVector){from->row, j, lanes_at(j, from->H), from->a};
        from->a += size * V;
        if (++from->v == from->width) from->v = 0, from->row++;
    }
}

static ALWAYS_INLINE void step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       const int G, cell_forward_function *cell)
{
    const ptrdiff_t H = p->H, units = G > 1 ? V : TILE_WIDTH * V; /* units in a whole group */
    const ptrdiff_t whole = G > 1 ? g1 : whole_groups(H, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V];               /* [rows][P][N][V] finished pre-activations */
    CellRow row[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    panel.K = H;
    panel.out_skip = 0;
    panel.w_group = H * units * G;
    panel.w_end = (const real *)p->w_step + padded(H) * G * H;
    panel.init_n = G > 1 ? H : V;
    panel.init_p = units;
    panel.out_n = V;
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                row[r] = cell_row(p, s, b + r);
                panel.a[r] = row[r].h_prev;
                panel.init[r] = row[r].gates + (p->S - G) * H;
            }
            for (ptrdiff_t group = first, P; group < first + sweep; group += P) {
                const ptrdiff_t j = group * units;
                const int N = G > 1 ? G : group_width(group, H);
                P = group < whole ? tile_groups(b1 - b0, N, whole - group) : 1;
                panel.w = (const real *)p->w_step + j * G * H;
                panel.init_skip = j;
                panel.out_p = N * V;
                panel.lanes = lanes_at(j + (P * N / G - 1) * V, H);
                panel.inner = G > 1 ? panel.lanes : V; /* the units that are none would be another gate's */
                for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                panel_product(&panel, rows, N, (int)P);
                Finished done = {.row = row, .a = block, .j0 = j, .H = H, .width = (int)P * N / G};
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, G, at), cell(p, 4, at);
                if (count >= 2) take(&done, 2, G, at), cell(p, 2, at), count -= 2;
                if (count) take(&done, 1, G, at), cell(p, 1, at);
            }
        }
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

/* Forgets what was carried back to units j on: `count` vectors, beside the gates and through them. */
static void drop_carried(const Pass *p, const CellRow *row, ptrdiff_t j, int count, real *through)
{
    const size_t bytes = (size_t)(p->H - j < count * V ? p->H - j : count * V) * sizeof(real);
    memset(through, 0, (size_t)count * V * sizeof(real));
    memset(row->dh + j, 0, bytes);
    if (row->dc) memset(row->dc + j, 0, bytes);
}

/* What step s+1 carries back to these vectors, plus dy, through the cell. */
static ALWAYS_INLINE void cell_gradient(const Pass *p, ptrdiff_t s, const int last, const int M, const CellVector *at,
                                        const int goes_round, cell_backward_function *cell)
{
    vec dh[ABREAST];
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
 * nothing comes back. s = -1 leaves the gradient of the initial state in p->dh. */
static ALWAYS_INLINE void step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        const int goes_round, cell_backward_function *cell)
{
    const ptrdiff_t H = p->H, K = p->G * H, units = TILE_WIDTH * V;
    const ptrdiff_t whole = whole_groups(H, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const int last = s == p->T - 1 || b0 >= rows_in_step(&p->gates, s + 1);
    static const real zeros[V];
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V]; /* [rows][P][N][V] what the gates carry back */
    CellRow row[PANEL_ROWS];
    CellVector at[ABREAST];
    Panel panel;

    panel.K = K;
    panel.init_skip = panel.out_skip = 0;
    panel.w_group = K * units;
    panel.w_end = (const real *)p->w_back + padded(H) * K;
    panel.init_n = panel.init_p = 0;
    panel.out_n = V;
    panel.lanes = panel.inner = V;
    for (ptrdiff_t first = g0; first < g1; first += sweep)
        for (ptrdiff_t b = b0; b < b1; b += PANEL_ROWS) {
            const int rows = at_most(b1 - b, PANEL_ROWS);
            for (int r = 0; r < rows; r++) {
                row[r] = cell_row(p, s, b + r);
                panel.init[r] = zeros;
                if (!last) panel.a[r] = gates_row(p, s + 1, b + r) + (p->S - p->G) * H;
            }
            for (ptrdiff_t group = first, P; group < first + sweep; group += P) {
                const ptrdiff_t j = group * units;
                const int N = group_width(group, H);
                P = group < whole ? tile_groups(b1 - b0, N, whole - group) : 1;
                panel.w = (const real *)p->w_back + j * K;
                panel.out_p = N * V;
                for (int r = 0; r < rows; r++) panel.out[r] = block + r * P * N * V;
                if (s >= 0) fetch_gates(p, row, rows, j, (int)P * N);
                if (!last) panel_product(&panel, rows, N, (int)P);
                if (!last && p->cut)
                    for (int r = 0; r < rows; r++)
                        if (is_cut(p, s + 1, b + r)) drop_carried(p, &row[r], j, (int)P * N, block + r * P * N * V);
                Finished done = {.row = row, .a = block, .j0 = j, .H = H, .width = (int)P * N};
                int count = done.width * rows;
                for (; count >= 4; count -= 4) take(&done, 4, 1, at), cell_gradient(p, s, last, 4, at, goes_round, cell);
                if (count >= 2) take(&done, 2, 1, at), cell_gradient(p, s, last, 2, at, goes_round, cell), count -= 2;
                if (count) take(&done, 1, 1, at), cell_gradient(p, s, last, 1, at, goes_round, cell);
            }
        }
}

#define STEPS(cell, gates, goes_round) \
    static void cell##_step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        step_forward(p, s, b0, b1, g0, g1, gates, cell##_cell_forward); \
    } \
    static void cell##_step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1) \
    { \
        step_backward(p, s, b0, b1, g0, g1, goes_round, cell##_cell_backward); \
    }
STEPS(rnn, 1, 0)
STEPS(lstm, 4, 0)
STEPS(gru, 3, 1)
