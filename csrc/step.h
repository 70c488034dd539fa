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
        row.dc = (real *)p->dc + b * p->H;
    }
    row.dh = (real *)p->dh + b * p->H;
    row.dy = p->dy.data ? step_row(&p->dy, s, b) : NULL;
    return row;
}

static ALWAYS_INLINE void step_forward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                       const int G, cell_forward_function *cell)
{
    const ptrdiff_t H = p->H, units = G > 1 ? V : TILE_WIDTH * V; /* units in a whole group */
    ALIGNED real block[TILE_GROUPS * TILE_ROWS * TILE_WIDTH * V];  /* [P][R][N][V] the tile's pre-activations */
    CellRow row[TILE_ROWS];
    Tile t = {.K = H, .a_step = 1, .w_group = H * units * G, .init_n = G > 1 ? H : V, .init_p = units,
              .out_n = V, .lanes = V};

    for (ptrdiff_t group = g0, P; group < g1; group += P) {
        const ptrdiff_t j = group * units;
        const int N = G > 1 ? G : group_width(group, H);
        const ptrdiff_t blocks = (b1 - b0 + tile_rows(N) - 1) / tile_rows(N);
        const ptrdiff_t whole = G > 1 ? g1 : g1 < vectors(H) / TILE_WIDTH ? g1 : vectors(H) / TILE_WIDTH;
        P = blocks == 1 && whole > group ? tile_groups((int)(b1 - b0), N, whole - group) : 1;
        t.w = (const real *)p->w_step + j * G * H;
        for (ptrdiff_t i = 0; i < blocks; i++) {
            const ptrdiff_t b = b0 + cut(b1 - b0, blocks, i);
            const int R = (int)(b0 + cut(b1 - b0, blocks, i + 1) - b);
            for (int r = 0; r < R; r++) {
                row[r] = cell_row(p, s, b + r);
                t.a[r] = row[r].h_prev;
                t.init[r] = row[r].gates + (p->S - G) * H + j;
                t.out[r] = block + r * N * V;
            }
            t.out_p = R * N * V;
            tile_run(&t, R, N, (int)P);
            for (int v = 0; v < P * R * N / G; v++) { /* v counts [P][R][vectors of units] */
                const int per_row = N / G, pr = v / per_row;
                const ptrdiff_t unit = j + pr / R * units + v % per_row * V;
                cell(p, &row[pr % R], unit, lanes_at(unit, H), block + v * G * V);
            }
        }
    }
}

/* Step s of the way back. dh = (gradients of step s+1) . W_hh [+ what went round its gates] + dy, then the cell; at the
 * last step dh is what came in from behind. s = -1 leaves the gradient of the initial state in p->dh. */
static ALWAYS_INLINE void step_backward(const Pass *p, ptrdiff_t s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t g0, ptrdiff_t g1,
                                        const int goes_round, cell_backward_function *cell)
{
    const ptrdiff_t H = p->H, K = p->G * H, units = TILE_WIDTH * V;
    const int last = s == p->T - 1;
    static const real zeros[V];
    ALIGNED real block[TILE_GROUPS * TILE_ROWS * TILE_WIDTH * V]; /* [P][R][N][V] what the gates carry back */
    CellRow row[TILE_ROWS];
    Tile t = {.K = K, .a_step = 1, .w_group = K * units, .out_n = V, .lanes = V};

    for (ptrdiff_t group = g0, P; group < g1; group += P) {
        const ptrdiff_t j = group * units;
        const int N = group_width(group, H);
        const ptrdiff_t blocks = (b1 - b0 + tile_rows(N) - 1) / tile_rows(N);
        const ptrdiff_t whole = g1 < vectors(H) / TILE_WIDTH ? g1 : vectors(H) / TILE_WIDTH;
        P = blocks == 1 && whole > group ? tile_groups((int)(b1 - b0), N, whole - group) : 1;
        t.w = (const real *)p->w_back + j * K;
        for (ptrdiff_t i = 0; i < blocks; i++) {
            const ptrdiff_t b = b0 + cut(b1 - b0, blocks, i);
            const int R = (int)(b0 + cut(b1 - b0, blocks, i + 1) - b);
            for (int r = 0; r < R; r++) {
                row[r] = s < 0 ? (CellRow){.dh = (real *)p->dh + (b + r) * H} : cell_row(p, s, b + r);
                t.init[r] = zeros;
                t.out[r] = block + r * N * V;
                if (!last) t.a[r] = gates_row(p, s + 1, b + r) + (p->S - p->G) * H;
            }
            t.out_p = R * N * V;
            if (!last) tile_run(&t, R, N, (int)P);
            for (int v = 0; v < P * R * N; v++) { /* v counts [P][R][N] */
                const CellRow *at = &row[v / N % R];
                const ptrdiff_t unit = j + v / N / R * units + v % N * V;
                const int lanes = lanes_at(unit, H);
                vec dh = last ? v_load_n(at->dh + unit, lanes) : v_load(block + v * V);
                if (goes_round && !last) dh = v_add(dh, v_load_n(at->dh + unit, lanes));
                if (s < 0) {
                    v_store_n(at->dh + unit, dh, lanes);
                    continue;
                }
                if (at->dy) dh = v_add(dh, v_load_n(at->dy + unit, lanes));
                cell(p, at, unit, lanes, dh);
            }
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
