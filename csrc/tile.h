/* The register tile: the one inner loop under every matrix product of the library.
 *
 *     out[r][n] = init[r][n] + sum over k, ascending, of a[r][k] * w[k][n]          r < R rows, n < N vectors of V columns
 *
 * R*N accumulators stay in registers for the whole loop over k, each one chain of fused multiply-adds: how rows and
 * columns are cut into tiles never changes a bit. With few rows, P groups of columns go side by side, so that enough
 * chains are in flight to hide the latency of the FMA unit. R, N and P are compile-time constants of each tile.
 */
#define TILE_ROWS 8   /* the most rows in a tile */
#define TILE_WIDTH 4  /* the most vectors in a group of columns */
#define TILE_GROUPS 4 /* the most groups side by side */

typedef struct {
    ptrdiff_t K;
    const real *a[TILE_ROWS];    /* IN  row r, its k-th element at a[r][k * a_step] */
    ptrdiff_t a_step;
    const real *w;               /* IN  [P][K][N][V] packed, group p at w + p * w_group */
    ptrdiff_t w_group;
    const real *init[TILE_ROWS]; /* IN  vector n of group p of row r at init[r] + p * init_p + n * init_n; read whole */
    ptrdiff_t init_p, init_n;
    real *out[TILE_ROWS];        /* OUT likewise; may be the same memory as init */
    ptrdiff_t out_p, out_n;
    int lanes;                   /* columns written in the last vector, 1..V */
} Tile;

static ALWAYS_INLINE void tile_product(const Tile *t, const int R, const int N, const int P)
{
    vec acc[TILE_GROUPS * TILE_ROWS * TILE_WIDTH];
    const real *a[TILE_ROWS], *w = t->w;
    const ptrdiff_t K = t->K, a_step = t->a_step, w_group = t->w_group;

    UNROLL for (int r = 0; r < R; r++) {
        a[r] = t->a[r];
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int n = 0; n < N; n++)
                acc[(p * R + r) * N + n] = v_load(t->init[r] + p * t->init_p + n * t->init_n);
    }
    for (ptrdiff_t k = 0, ka = 0; k < K; k++, ka += a_step, w += N * V) {
        if (R < N) { /* hold the smaller operand in registers and stream the other */
            vec a_k[TILE_ROWS];
            UNROLL for (int r = 0; r < R; r++) a_k[r] = v_set1(a[r][ka]);
            UNROLL for (int p = 0; p < P; p++)
                UNROLL for (int n = 0; n < N; n++) {
                    const vec w_kn = v_load(w + p * w_group + n * V);
                    UNROLL for (int r = 0; r < R; r++)
                        acc[(p * R + r) * N + n] = v_fma(a_k[r], w_kn, acc[(p * R + r) * N + n]);
                }
        } else {
            UNROLL for (int p = 0; p < P; p++) {
                vec w_k[TILE_WIDTH];
                UNROLL for (int n = 0; n < N; n++) w_k[n] = v_load(w + p * w_group + n * V);
                UNROLL for (int r = 0; r < R; r++) {
                    const vec a_rk = v_set1(a[r][ka]);
                    UNROLL for (int n = 0; n < N; n++)
                        acc[(p * R + r) * N + n] = v_fma(a_rk, w_k[n], acc[(p * R + r) * N + n]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int p = 0; p < P; p++)
            UNROLL for (int n = 0; n < N; n++) {
                real *out = t->out[r] + p * t->out_p + n * t->out_n;
                if (p == P - 1 && n == N - 1) v_store_n(out, acc[(p * R + r) * N + n], t->lanes);
                else v_store(out, acc[(p * R + r) * N + n]);
            }
}

/* Rows of a tile N vectors wide that the registers hold. */
static inline int tile_rows(int N) { return TILE_ACCUMULATORS / N < TILE_ROWS ? TILE_ACCUMULATORS / N : TILE_ROWS; }

/* Groups to put side by side when a tile has R rows of N vectors and `left` whole groups remain. */
static inline int tile_groups(int R, int N, ptrdiff_t left)
{
    int P = R == 1 ? 4 : R == 2 ? 2 : 1;
    while (P > left || P * R * N > TILE_ACCUMULATORS) P /= 2;
    return P > 1 ? P : 1;
}

#define TILE(R, N, P) \
    static void tile_##R##x##N##x##P(const Tile *t) \
    { \
        if (R * N * P <= TILE_ACCUMULATORS || (N == 1 && P == 1)) tile_product(t, R, N, P); \
    }
#define TILES_OF_WIDTH(N) \
    TILE(1, N, 1) TILE(2, N, 1) TILE(3, N, 1) TILE(4, N, 1) TILE(5, N, 1) TILE(6, N, 1) TILE(7, N, 1) TILE(8, N, 1) \
    TILE(1, N, 2) TILE(2, N, 2) TILE(1, N, 4)
TILES_OF_WIDTH(1)
TILES_OF_WIDTH(2)
TILES_OF_WIDTH(3)
TILES_OF_WIDTH(4)

typedef void tile_function(const Tile *);
#define TILE_ROW(N) \
    {tile_1x##N##x1, tile_2x##N##x1, tile_3x##N##x1, tile_4x##N##x1, \
     tile_5x##N##x1, tile_6x##N##x1, tile_7x##N##x1, tile_8x##N##x1}
static tile_function *const tiles[TILE_WIDTH][TILE_ROWS] = {TILE_ROW(1), TILE_ROW(2), TILE_ROW(3), TILE_ROW(4)};
static tile_function *const tiles_beside[TILE_WIDTH][3] = {
    {tile_1x1x2, tile_2x1x2, tile_1x1x4}, {tile_1x2x2, tile_2x2x2, tile_1x2x4},
    {tile_1x3x2, tile_2x3x2, tile_1x3x4}, {tile_1x4x2, tile_2x4x2, tile_1x4x4}};

static inline void tile_run(const Tile *t, int R, int N, int P)
{
    if (P == 1) tiles[N - 1][R - 1](t);
    else tiles_beside[N - 1][P == 4 ? 2 : R - 1](t);
}
