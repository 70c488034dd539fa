/* The gradients of the weights: d^T a over many rows. A chunk of d is packed as a weight would be, and a is copied. The
 * tile sums over the rows. The sums stay packed until the last chunk is done. */
#ifndef RNNFAST_KERNELS_GRADIENT_H
#define RNNFAST_KERNELS_GRADIENT_H

#include "pack.h"
#include "product.h"

/* Packs one group, N vectors wide, of rows q0..q1 of d: out [rows][N][V] OUT; adds the rows up, db [N][V] INOUT. */
static ALWAYS_INLINE void pack_group(const Rows *d, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t c, const int N, int lanes, operand *out,
                                     real *db)
{
    vec sum[TILE_WIDTH];
    UNROLL for (int n = 0; n < N; n++) sum[n] = v_load(db + n * V);
    for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
        const int count = at_most(q1 - q, PANEL_ROWS);
        const real *rows[PANEL_ROWS];
        rows_at(d, q, count, rows);
        for (int r = 0; r < count; r++, out += N * V)
            UNROLL for (int n = 0; n < N; n++) {
                const vec x = v_load_n(rows[r] + c + n * V, n == N - 1 ? lanes : V);
                sum[n] = v_add(sum[n], x);
                v_store_operand(out + n * V, x);
            }
    }
    UNROLL for (int n = 0; n < N; n++) v_store(db + n * V, sum[n]);
}

/* Packs rows q0..q1 of groups g0..g1 of d [.., C] as the tile's streamed operand, out [g1-g0][rows][4][V] OUT, and adds
 * the rows up, db [C] INOUT. */
static void pack_gradient(const Rows *d, ptrdiff_t C, ptrdiff_t q0, ptrdiff_t q1, ptrdiff_t g0, ptrdiff_t g1, void *out_,
                          void *db_)
{
    for (ptrdiff_t group = g0; group < g1; group++) {
        const ptrdiff_t c = group * TILE_WIDTH * V;
        const int N = group_width(group, C), lanes = lanes_at(c + (N - 1) * V, C);
        operand *out = (operand *)out_ + (c - g0 * TILE_WIDTH * V) * (q1 - q0);
        real *db = (real *)db_ + c;
        if (N == 4) pack_group(d, q0, q1, c, 4, lanes, out, db);
        else if (N == 3) pack_group(d, q0, q1, c, 3, lanes, out, db);
        else if (N == 2) pack_group(d, q0, q1, c, 2, lanes, out, db);
        else pack_group(d, q0, q1, c, 1, lanes, out, db);
    }
}

/* Numbers from one copied operand row to the next: an odd number of vectors, so that rows do not share cache sets. */
static inline ptrdiff_t operand_stride(ptrdiff_t K) { return (vectors(K) | 1) * V; }

/* Copies rows q0..q1 of a, out [rows][operand_stride(K)] OUT. Returns whether all of them are finite. */
static int pack_operand(const Rows *a, ptrdiff_t K, ptrdiff_t q0, ptrdiff_t q1, void *out_)
{
    vec seen = v_zero(); /* the bits of 0 times each number: zero, or NaN if any number is not finite */
    operand *out = out_;
    for (ptrdiff_t q = q0; q < q1; q += PANEL_ROWS) {
        const int count = at_most(q1 - q, PANEL_ROWS);
        const real *rows[PANEL_ROWS];
        rows_at(a, q, count, rows);
        for (int r = 0; r < count; r++, out += operand_stride(K))
            for (ptrdiff_t k = 0; k < K; k += V) {
                const vec x = v_load_n(rows[r] + k, lanes_at(k, K));
                seen = v_or(seen, v_mul(x, v_zero()));
                v_store_operand(out + k, x);
            }
    }
    return v_all_finite(seen);
}

static inline int row_is_zero(const real *d, ptrdiff_t C)
{
    while (C > 0 && *d == 0) C--, d++;
    return C == 0;
}

/* Sets rows of the packed operand, a [rows][operand_stride(K)] INOUT, to zero where the row of d (q0..q1) is zero in all columns
 * of this weight. So a value there that is not finite does not reach the sum. */
static void drop_operand(const GradientProduct *p, const Rows *d, ptrdiff_t q0, ptrdiff_t q1, void *a_)
{
    const size_t size = (size_t)operand_stride(p->K) * sizeof(operand);
    const real *row;
    char *a = a_;
    for (ptrdiff_t q = q0; q < q1; q++, a += size) {
        rows_at(d, q, 1, &row);
        if (row_is_zero(row + p->c0, p->c1 - p->c0)) memset(a, 0, size);
    }
}

/* dw += d^T a over packed rows, for those of the groups g0..g1 that the weight has; the sum runs in p->dw.
 * d [g1-g0][rows][4][V] IN, a [rows][operand_stride(K)] IN. */
static void gradient_product(const GradientProduct *p, ptrdiff_t rows, ptrdiff_t g0, ptrdiff_t g1, const void *d,
                             const void *a)
{
    const ptrdiff_t K = p->K, C = p->C, first = p->c0 / (TILE_WIDTH * V), end = groups_of(p->c1);
    const ptrdiff_t group0 = g0 > first ? g0 : first, group1 = g1 < end ? g1 : end, whole = whole_groups(C, group1);
    const operand *columns[TILE_ROWS];
    real *sums[TILE_ROWS];
    Tile t = {.K = rows, .a = columns, .a_step = operand_stride(K), .w_group = rows * TILE_WIDTH * V, .lanes = V, .inner = V,
              .init = (const real *const *)sums, .init_p = K * TILE_WIDTH * V, .init_n = V,
              .out = sums, .out_p = K * TILE_WIDTH * V, .out_n = V};

    for (int r = 0; r < at_most(K, TILE_ROWS); r++) columns[r] = (const operand *)a + r;
    for (ptrdiff_t group = group0, P; group < group1; group += P) {
        const ptrdiff_t c = group * TILE_WIDTH * V;
        const int N = group_width(group, C);
        const ptrdiff_t blocks = (K + tile_rows(N) - 1) / tile_rows(N);
        P = group < whole ? tile_groups(K, N, whole - group) : 1;
        t.w = t.ahead = (const operand *)d + (c - g0 * TILE_WIDTH * V) * rows;
        for (int r = 0; r < at_most(K, TILE_ROWS); r++) sums[r] = (real *)p->dw + c * K + r * N * V;
        for (ptrdiff_t block = 0; block < blocks; block++) {
            t.a_skip = share(K, block, blocks);
            t.init_skip = t.out_skip = t.a_skip * N * V;
            tile_run(&t, (int)(share(K, block + 1, blocks) - t.a_skip), N, (int)P);
        }
    }
}

/* The finished sum of groups g0..g1 in the user's order: dw [.., K] OUT from columns c0..c1 of p->dw. */
static void unpack_gradient(const GradientProduct *p, ptrdiff_t g0, ptrdiff_t g1, const Blocks *dw)
{
    const ptrdiff_t K = p->K, end = g1 * TILE_WIDTH * V;

    for (ptrdiff_t c = g0 * TILE_WIDTH * V; c < end && c < p->c1; c += V) {
        const ptrdiff_t group = c / (TILE_WIDTH * V);
        const ptrdiff_t stride = group_width(group, p->C) * V;
        const real *in = (const real *)p->dw + group * TILE_WIDTH * V * K + c % (TILE_WIDTH * V);
        const int from = c < p->c0 ? at_most(p->c0 - c, V) : 0, to = lanes_at(c, p->c1);
        real *rows[V] = {NULL};
        for (int l = from; l < to; l++) rows[l] = (real *)block_row(dw, c + l - p->c0);
        for (ptrdiff_t k = 0; k < K; k += V) {
            const int length = at_most(K - k, V);
            vec square[V];
            for (int i = 0; i < V; i++) square[i] = i < length ? v_load(in + (k + i) * stride) : v_zero();
            v_transpose(square);
            for (int l = from; l < to; l++) v_store_n(rows[l] + k, square[l], length);
        }
    }
}

#endif
