/* The register tile: the one inner loop under every matrix product of the library.
 *
 *     out[r][n] = init[r][n] + sum over k, ascending, of a[r][k] * w[k][n]      r < R rows, n < N vectors of V columns
 *
 * a and w are operands (simd/operand.h), and K counts operands. Sums of integers become reals when they are complete.
 *
 * R*N accumulators stay in registers for the whole loop over k. Each is one chain of fused multiply-adds, so the division of
 * rows and columns into tiles never changes a bit. With few rows, a tile takes P groups of columns side by side, so that enough
 * chains run at once to hide the latency of the FMA unit. R, N and P are compile-time constants.
 */
#ifndef RNNFAST_KERNELS_TILE_H
#define RNNFAST_KERNELS_TILE_H

#include "compiler.h"
#include "columns.h"
#include "simd/operand.h"

#define TILE_ROWS 8   /* the most rows in a tile */
#define TILE_GROUPS 4 /* the most groups side by side */
#define TILE_AHEAD 4  /* the least rows of a tile that prefetches; fewer read weights as fast as the caches give them */

typedef struct {
    ptrdiff_t K;
    const operand *const *a;   /* IN  row r, its k-th element at a[r] + a_skip + k * a_step */
    ptrdiff_t a_skip, a_step;  /* a_step is 1, or the stride of a matrix that is read by columns */
    const operand *w;          /* IN  [P][K + FOOT][N][V] packed, group p at w + p * w_group */
    ptrdiff_t w_group;
    const operand *ahead;      /* IN  memory to prefetch, a vector for each k: what the next tiles will read */
    const real *const *init;   /* IN  vector n of group p of row r at init[r] + init_skip + p * init_p + n * init_n */
    ptrdiff_t init_skip, init_p, init_n;
    real *const *out;          /* OUT likewise; may be the same memory as init */
    ptrdiff_t out_skip, out_p, out_n;
    int lanes, inner;          /* columns of the last vector of the last group, and of its other vectors, 1..V */
} Tile;

/* The columns of vector n of group p that are read from init and written to out. */
#define TILE_LANES(p, n) ((p) < P - 1 ? V : (n) == N - 1 ? lanes : inner)

/* Statements for each row r, group p or vector n of a tile, by the preprocessor. */
#define FOR_ROWS(...) REPEAT_8(r, R, __VA_ARGS__)
#define FOR_GROUPS(...) REPEAT_4(p, P, __VA_ARGS__)
#define FOR_VECTORS(...) REPEAT_4(n, N, __VA_ARGS__)

/* A vector of weights for R rows, read once, because short tiles wait for loads. */
static ALWAYS_INLINE operand_vec v_load_for(const int R, const operand *w)
{
    operand_vec x = v_load_operand(w);
    if (R > 1) IN_REGISTER(x);
    return x;
}

static ALWAYS_INLINE void tile_product(const Tile *t, const int R, const int N, const int P)
{
    sum_vec acc[TILE_GROUPS][TILE_ROWS][TILE_WIDTH];
    const operand *a[TILE_ROWS], *w[TILE_GROUPS], *ahead = t->ahead;
    const ptrdiff_t a_step = TRAINS ? t->a_step : 1; /* gradients alone read columns */
    int lanes = t->lanes, inner = t->inner;

    REQUIRE(t->K >= 0 && lanes >= 1 && lanes <= V && inner >= 1 && inner <= V);
    FOR_GROUPS(
        w[p] = t->w + p * t->w_group;
        IN_OWN_REGISTER(w[p]);
        FOR_ROWS(FOR_VECTORS(
            const real *init = t->init[r] + t->init_skip + p * t->init_p + n * t->init_n;
            acc[p][r][n] = v_sum_begin(init, TILE_LANES(p, n), w[p] + (t->K * N + N + n) * V);
        ))
    )
    FOR_ROWS(a[r] = t->a[r] + t->a_skip;)
    for (ptrdiff_t left = t->K, k = 0; left > 0; left--, k += a_step) {
        if (R >= TILE_AHEAD) PREFETCH(ahead), ahead += V;
        if (R < N) { /* hold the smaller operand in registers and stream the other */
            operand_vec a_k[TILE_ROWS];
            FOR_ROWS(a_k[r] = v_set1_operand(a[r] + k);)
            FOR_GROUPS(FOR_VECTORS(
                const operand_vec w_kn = v_load_for(R, w[p] + n * V);
                LOADS_IN_ORDER();
                FOR_ROWS(acc[p][r][n] = v_multiply_add(a_k[r], w_kn, acc[p][r][n]);)
            ))
        } else {
            FOR_GROUPS(
                operand_vec w_k[TILE_WIDTH];
                FOR_VECTORS(w_k[n] = v_load_for(R, w[p] + n * V);)
                FOR_ROWS(
                    const operand_vec a_rk = v_set1_operand(a[r] + k);
                    LOADS_IN_ORDER();
                    FOR_VECTORS(acc[p][r][n] = v_multiply_add(a_rk, w_k[n], acc[p][r][n]);)
                )
            )
        }
        FOR_GROUPS(w[p] += N * V;)
    }
    IN_OWN_REGISTER(t); /* what follows is read from *t again, so that the loop has its registers */
    const Tile end = *t; /* a copy, because the compiler must assume that a store changes *t */
    lanes = end.lanes, inner = end.inner;
    FOR_ROWS(FOR_GROUPS(FOR_VECTORS(
        const real *init = end.init[r] + end.init_skip + p * end.init_p + n * end.init_n;
        real *out = end.out[r] + end.out_skip + p * end.out_p + n * end.out_n;
        v_store_n(out, v_sum_end(acc[p][r][n], init, TILE_LANES(p, n), w[p] + n * V, end.a[r]), TILE_LANES(p, n));
    )))
}

/* Rows of a tile N vectors wide that the registers hold. */
static inline int tile_rows(int N) { return TILE_ACCUMULATORS / N < TILE_ROWS ? TILE_ACCUMULATORS / N : TILE_ROWS; }

/* The number of groups to put side by side, for this number of rows of N vectors, if `left` whole groups remain. */
static inline int tile_groups(ptrdiff_t rows, int N, ptrdiff_t left)
{
    ptrdiff_t P = rows == 1 ? TILE_GROUPS : rows == 2 ? 2 : 1;
    if (left == TILE_GROUPS + 1) P = P < TILE_GROUPS ? P : TILE_GROUPS - 1; /* five are faster as 3 + 2 than as 4 + 1 */
    if (P > left) P = left;
    while (P > 1 && P * rows * N > TILE_ACCUMULATORS) P--;
    return (int)P;
}

#define TILE(R, N, P) \
    static void tile_##R##x##N##x##P(const Tile *t) \
    { \
        if (R * N * P <= TILE_ACCUMULATORS || (N == 1 && P == 1)) tile_product(t, R, N, P); \
    }
#define TILES_OF_WIDTH(N) \
    TILE(1, N, 1) TILE(2, N, 1) TILE(3, N, 1) TILE(4, N, 1) TILE(5, N, 1) TILE(6, N, 1) TILE(7, N, 1) TILE(8, N, 1) \
    TILE(1, N, 2) TILE(1, N, 3) TILE(1, N, 4) TILE(2, N, 2)
TILES_OF_WIDTH(1)
TILES_OF_WIDTH(2)
TILES_OF_WIDTH(3)
TILES_OF_WIDTH(4)

typedef void tile_function(const Tile *);
#define TILE_ROW(N) \
    {tile_1x##N##x1, tile_2x##N##x1, tile_3x##N##x1, tile_4x##N##x1, \
     tile_5x##N##x1, tile_6x##N##x1, tile_7x##N##x1, tile_8x##N##x1}
static tile_function *const tiles[TILE_WIDTH][TILE_ROWS] = {TILE_ROW(1), TILE_ROW(2), TILE_ROW(3), TILE_ROW(4)};
#define TILE_ROW_BESIDE(N) {tile_1x##N##x2, tile_1x##N##x3, tile_1x##N##x4, tile_2x##N##x2}
static tile_function *const tiles_beside[TILE_WIDTH][4] = {TILE_ROW_BESIDE(1), TILE_ROW_BESIDE(2), TILE_ROW_BESIDE(3),
                                                           TILE_ROW_BESIDE(4)};

static inline void tile_run(const Tile *t, int R, int N, int P)
{
    REQUIRE(R >= 1 && R <= TILE_ROWS && N >= 1 && N <= TILE_WIDTH && (P == 1 || P * R * N <= TILE_ACCUMULATORS));
    if (P == 1) tiles[N - 1][R - 1](t);
    else tiles_beside[N - 1][R == 2 ? 3 : P - 2](t);
}

#endif
