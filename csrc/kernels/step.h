/* One step in time: the state's product tile by tile, and the cell on each tile while it is hot.
 *
 * The functions here know nothing of a cell but its number of gates G; the cell comes in as a constant function and is
 * inlined. Hidden units come in groups: one vector of units if a cell has several gates (a tile then holds every gate
 * of its units), TILE_WIDTH vectors if it has one, and in the backward step.
 */
static inline real *step_row(const Rows *rows, ptrdiff_t s, ptrdiff_t b)
{
    return (real *)rows->data + s * rows->s_stride + b * rows->b_stride;
}
static inline real *gates_row(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    return step_row(&p->gates, s - p->first, b);
}
static inline const real *h_prev_row(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    return s ? step_row(&p->y, s - 1, b) : (const real *)p->h0 + b * p->H;
}

/* The row b as the cell sees it at step s. */
static inline CellRow cell_row(const Pass *p, ptrdiff_t s, ptrdiff_t b)
{
    CellRow row = {.gates = gates_row(p, s, b), .h_prev = h_prev_row(p, s, b), .h = step_row(&p->y, s, b)};
    if (p->c) {
        row.c = (real *)p->c + s * p->c_stride + b * p->H;
        row.c_prev = s ? row.c - p->c_stride : (const real *)p->c0 + b * p->H;
        if (p->dc) row.dc = (real *)p->dc + b * p->H;
    }
    if (p->dh) row.dh = (real *)p->dh + b * p->H;
    if (p->dy.data) row.dy = step_row(&p->dy, s, b);
    return row;
}

static ALWAYS_INLINE void step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       const int G, cell_forward_function *cell)
{
    const ptrdiff_t H = p->H, units = G > 1 ? V : TILE_WIDTH * V; /* units in a whole group */
    const ptrdiff_t whole = G > 1 ? g1 : whole_groups(H, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V];               /* [rows][P][N][V] finished pre-activations */
    CellRow row[PANEL_ROWS];
    CellVector at[PANEL_ROWS * TILE_WIDTH];
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
                for (int v = 0; v < P * N / G; v++) /* vectors of units: side by side, whatever groups they are in */
                    for (int r = 0; r < rows; r++)
                        at[v * rows + r] = (CellVector){&row[r], j + v * V, lanes_at(j + v * V, H),
                                                        block + (r * P * N + v * G) * V};
                const int count = (int)P * N / G * rows;
                int v = 0;
                for (; v + 4 <= count; v += 4) cell(p, 4, at + v);
                if (v + 2 <= count) cell(p, 2, at + v), v += 2;
                if (v < count) cell(p, 1, at + v);
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

/* What step s+1 carries back to these vectors, plus dy, through the cell. */
static ALWAYS_INLINE void cell_gradient(const Pass *p, ptrdiff_t s, const int M, const CellVector *at, const int goes_round,
                                        cell_backward_function *cell)
{
    const int last = s == p->T - 1;
    vec dh[ABREAST];
    EACH(m) dh[m] = last ? v_load_at(at[m].row->dh, &at[m]) : v_load(at[m].a);
    if (goes_round && !last) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->dh, &at[m]));
    if (s < 0) {
        EACH(m) v_store_at(at[m].row->dh, &at[m], dh[m]);
        return;
    }
    if (p->dy.data) EACH(m) dh[m] = v_add(dh[m], v_load_at(at[m].row->dy, &at[m]));
    cell(p, M, at, dh);
}

/* Step s of the way back. dh = (gradients of step s+1) . W_hh [+ what went round its gates] + dy, then the cell; at the
 * last step dh is what came in from behind. s = -1 leaves the gradient of the initial state in p->dh. */
static ALWAYS_INLINE void step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        const int goes_round, cell_backward_function *cell)
{
    const ptrdiff_t H = p->H, K = p->G * H, units = TILE_WIDTH * V;
    const ptrdiff_t whole = whole_groups(H, g1), sweep = sweep_of(b1 - b0, g1 - g0);
    const int last = s == p->T - 1;
    static const real zeros[V];
    ALIGNED real block[PANEL_ROWS * TILE_WIDTH * V]; /* [rows][P][N][V] what the gates carry back */
    CellRow row[PANEL_ROWS];
    CellVector at[PANEL_ROWS * TILE_WIDTH];
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
                row[r] = s < 0 ? (CellRow){.dh = (real *)p->dh + (b + r) * H} : cell_row(p, s, b + r);
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
                for (int v = 0; v < P * N; v++)
                    for (int r = 0; r < rows; r++)
                        at[v * rows + r] = (CellVector){&row[r], j + v * V, lanes_at(j + v * V, H),
                                                        block + (r * P * N + v) * V};
                const int count = (int)P * N * rows;
                int v = 0;
                for (; v + 4 <= count; v += 4) cell_gradient(p, s, 4, at + v, goes_round, cell);
                if (v + 2 <= count) cell_gradient(p, s, 2, at + v, goes_round, cell), v += 2;
                if (v < count) cell_gradient(p, s, 1, at + v, goes_round, cell);
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
