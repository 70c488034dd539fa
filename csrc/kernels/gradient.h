/* The gradients of the weights: d^T a over many rows. A piece of d is packed as a weight would be, and a is copied. The tile
 * sums over the rows. The sums stay packed until the last piece. */
#ifndef RNNFAST_KERNELS_GRADIENT_H
#define RNNFAST_KERNELS_GRADIENT_H

#include "pack.h"
#include "product.h"
#include "vectors.h"

#define CACHED_DEPTH (24576 / (TILE_WIDTH * V * (int)sizeof(operand))) /* operands of a column that the L1 cache holds */

/* Packs one group, N vectors wide, of rows q0..q1 of d: out [depth][N][V] OUT; adds the rows up, db [N][V] INOUT. */
static ALWAYS_INLINE void pack_group(const Rows *d, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t c, const int N, int lanes, operand *out,
                                     real *db)
{
    vec sum[TILE_WIDTH];
    UNROLL for (int n = 0; n < N; n++) sum[n] = v_load(db + n * V);
    for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
        const int count = at_most(q1 - q, PANEL_ROWS);
        const real *rows[PANEL_ROWS];
        rows_at(d, q, count, rows);
        for (int r = 0; r < count; r += TOGETHER, out += PLACES * N * V)
            UNROLL for (int n = 0; n < N; n++) {
                vec x[TOGETHER];
                for (int e = 0; e < TOGETHER; e++) {
                    x[e] = r + e < count ? v_load_n(rows[r + e] + c + n * V, n == N - 1 ? lanes : V) : v_zero();
                    if (r + e < count) sum[n] = v_add(sum[n], x[e]);
                }
                v_store_operands(out + n * V, N * V, x);
            }
    }
    UNROLL for (int n = 0; n < N; n++) v_store(db + n * V, sum[n]);
}

/* Packs rows q0..q1 of groups g0..g1 of d [.., C] as the tile's streamed operand, out [g1-g0][depth][4][V] OUT, and adds the rows
 * up, db [C] INOUT. */
static void pack_gradient(const Rows *d, ptrdiff_t C, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *out_,
                          void *db_)
{
    for (ptrdiff_t group = g0; group < g1; group++) {
        const ptrdiff_t c = group * TILE_WIDTH * V;
        const int N = group_width(group, C), lanes = lanes_at(c + (N - 1) * V, C);
        operand *out = (operand *)out_ + (c - g0 * TILE_WIDTH * V) * depth_of(q1 - q0);
        real *db = (real *)db_ + c;
        if (N == 4) pack_group(d, q0, q1, c, 4, lanes, out, db);
        else if (N == 3) pack_group(d, q0, q1, c, 3, lanes, out, db);
        else if (N == 2) pack_group(d, q0, q1, c, 2, lanes, out, db);
        else pack_group(d, q0, q1, c, 1, lanes, out, db);
    }
}

/* Operands from one copied row of them to the next: an odd number of vectors, so that rows do not share cache sets. */
static inline ptrdiff_t operand_stride(ptrdiff_t K) { return (vectors(K) | 1) * V; }

/* Copies rows q0..q1, which are those of a before `inner` and then those of `rest`, out [depth][operand_stride(K)] OUT. Returns
 * whether all of them are finite. */
static int pack_operand(const Rows *a, ptrdiff_t inner, const Rows *rest, ptrdiff_t K, ptrdiff_t q0, ptrdiff_t q1, void *out_)
{
    vec seen = v_zero(); /* the bits of 0 times each number: zero, or NaN if any number is not finite */
    operand *out = out_;
    for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
        const int count = at_most(q1 - q, PANEL_ROWS), of_a = q < inner ? at_most(inner - q, count) : 0;
        const real *rows[PANEL_ROWS];
        if (of_a) rows_at(a, q, of_a, rows);
        if (of_a < count) rows_at(rest, q + of_a - inner, count - of_a, rows + of_a);
        for (int r = 0; r < count; r += TOGETHER, out += PLACES * operand_stride(K))
            for (ptrdiff_t k = 0; k < K; k += V) {
                vec x[TOGETHER];
                for (int e = 0; e < TOGETHER; e++) {
                    x[e] = r + e < count ? v_load_n(rows[r + e] + k, lanes_at(k, K)) : v_zero();
                    seen = v_or(seen, v_mul(x[e], v_zero()));
                }
                v_store_operands(out + k, operand_stride(K), x);
            }
    }
    return v_all_finite(seen);
}

/* Sets row q of the packed operand, a [depth][operand_stride(K)] INOUT, to zero. */
static void clear_operand(ptrdiff_t K, ptrdiff_t q, void *a)
{
    for (ptrdiff_t k = 0; k < K; k++) clear_number((operand *)a + k, operand_stride(K), q);
}

/* Sets rows of the packed operand to zero where the row of d (q0..q1) is zero in all columns of this weight. So a value there
 * that is not finite does not reach the sum. */
static void drop_operand(const GradientProduct *p, const Rows *d, ptrdiff_t q0, ptrdiff_t q1, void *a)
{
    const real *row;
    for (ptrdiff_t q = q0; q < q1; q++) {
        rows_at(d, q, 1, &row);
        if (is_zero(row + p->c0, p->c1 - p->c0)) clear_operand(p->K, q - q0, a);
    }
}

/* The finished sum of one group, N vectors wide, in the user's order: in [K][N][V] IN, p->dw OUT. */
static void unpack_group(const GradientProduct *p, ptrdiff_t group, const real *in)
{
    const ptrdiff_t K = p->K, c_group = group * TILE_WIDTH * V;
    const int N = group_width(group, p->C);

    for (ptrdiff_t c = c_group; c < c_group + N * V && c < p->c1; c += V, in += V) {
        const int from = c < p->c0 ? at_most(p->c0 - c, V) : 0, to = lanes_at(c, p->c1);
        real *rows[V] = {NULL};
        for (int l = from; l < to; l++) rows[l] = (real *)block_row(&p->dw, c + l - p->c0);
        for (ptrdiff_t k = 0; k < K; k += V) {
            const int length = at_most(K - k, V);
            vec square[V];
            for (int i = 0; i < V; i++) square[i] = i < length ? v_load(in + (k + i) * N * V) : v_zero();
            v_transpose(square);
            for (int l = from; l < to; l++) v_store_n(rows[l] + k, square[l], length);
        }
    }
}

/* One group, or P of N vectors side by side, over packed rows: sum += d^T a, from zero if `first`. Some rows at a time, whose d
 * stays in the L1 cache for all columns of a.
 * d [P][depth][N][V] IN, a [depth][operand_stride(K)] IN, sum [P][K][N][V] INOUT. */
static void group_product(ptrdiff_t K, ptrdiff_t depth, int N, int P, int first, const operand *d, const operand *a, real *sum)
{
    static const real zeros[V];
    const ptrdiff_t blocks = (K + tile_rows(N) - 1) / tile_rows(N), row = operand_stride(K);
    const operand *columns[TILE_ROWS];
    const real *init[TILE_ROWS];
    real *sums[TILE_ROWS];
    Tile t = {.a = columns, .a_step = row, .w_group = depth * TILE_WIDTH * V, .lanes = V, .inner = V,
              .init = init, .init_p = first ? 0 : K * TILE_WIDTH * V, .init_n = first ? 0 : V,
              .out = sums, .out_p = K * TILE_WIDTH * V, .out_n = V};

    for (int r = 0; r < at_most(K, TILE_ROWS); r++) {
        sums[r] = sum + r * N * V;
        init[r] = first ? zeros : sums[r];
    }
    for (ptrdiff_t q = 0; q < depth; q += t.K, first = 0) {
        t.K = at_most(depth - q, CACHED_DEPTH);
        t.w = t.ahead = d + q * N * V;
        for (int r = 0; r < at_most(K, TILE_ROWS); r++) columns[r] = a + q * row + r;
        for (ptrdiff_t block = 0; block < blocks; block++) {
            t.a_skip = share(K, block, blocks);
            t.out_skip = t.a_skip * N * V;
            t.init_skip = first ? 0 : t.out_skip;
            tile_run(&t, (int)(share(K, block + 1, blocks) - t.a_skip), N, P);
        }
        t.init = (const real *const *)sums;
        t.init_p = t.out_p;
        t.init_n = V;
    }
}

/* Adds d^T a over packed rows to the sum, for those of the groups g0..g1 that the weight has. The first piece starts from zero.
 * With the last piece, each group goes to the user while its sum is in the cache; a sum of one piece leaves nothing in p->sum.
 * d [g1-g0][depth][4][V] IN, a [depth][operand_stride(K)] IN. */
static void gradient_product(const GradientProduct *p, ptrdiff_t rows, int first, int last, ptrdiff_t g0, ptrdiff_t g1,
                             const void *d, const void *a)
{
    const ptrdiff_t K = p->K, C = p->C, depth = depth_of(rows), begin = p->c0 / (TILE_WIDTH * V), end = groups_of(p->c1);
    const ptrdiff_t group0 = g0 > begin ? g0 : begin, group1 = g1 < end ? g1 : end, whole = whole_groups(C, group1);

    for (ptrdiff_t group = group0, P; group < group1; group += P) {
        const int N = group_width(group, C);
        real *sum = (real *)p->sum + (first && last ? group0 : group) * TILE_WIDTH * V * K;
        P = group < whole ? tile_groups(K, N, whole - group) : 1;
        group_product(K, depth, N, (int)P, first, (const operand *)d + (group - g0) * TILE_WIDTH * V * depth, a, sum);
        for (ptrdiff_t n = 0; last && n < P; n++) unpack_group(p, group + n, sum + n * K * TILE_WIDTH * V);
    }
}

#endif
