/* Packing: weights copied once per call into the order in which the tile reads them (columns.h). depth =
 * packed_depth(K), the operands of a column. */
#ifndef RNNFAST_KERNELS_PACK_H
#define RNNFAST_KERNELS_PACK_H

#include "compiler.h"
#include "columns.h"
#include "simd/operand.h"
#include "simd/transpose.h"

/* Row c of the weight window `w` is row number block_number(w, c) of the weight. */
static inline ptrdiff_t block_number(const Blocks *w, ptrdiff_t c)
{
    const ptrdiff_t slot = c / w->height, row = c % w->height;
    if (w->heads == 1) return w->order[slot] * w->stride + row; /* without two divisions */
    return w->order[slot % w->count] * w->stride + slot / w->count * w->height + row;
}
static inline const real *block_row(const Blocks *w, ptrdiff_t c)
{
    return (const real *)w->data + block_number(w, c) * w->width;
}

#if !defined(OPERANDS_INT8)
/* Numbers k..k+length of each row, at most V * TOGETHER, as operands of V columns. rows [lanes] IN, out [..][stride] OUT. */
static void pack_block(const real *const *rows, ptrdiff_t k, int length, int lanes, operand *out, ptrdiff_t stride, Columns *columns)
{
    vec x[V * TOGETHER];
    for (int d = 0; d < TOGETHER; d++) {
        const int part = length < d * V ? 0 : at_most(length - d * V, V);
        for (int l = 0; l < V; l++) x[d * V + l] = l < lanes ? v_load_n(rows[l] + k + d * V, part) : v_zero();
        v_transpose(x + d * V);
    }
    for (int i = 0; i < length; i += TOGETHER, out += PLACES * stride) v_store_operands(out, stride, x + i);
    (void)columns;
}
#endif

/* Rows c..c+lanes of the weight window as one packed vector column: out[k * stride + l] = operand k of row c + l; zero from
 * `lanes` on. */
static void pack_vector(const Blocks *w, ptrdiff_t c, int lanes, operand *out, ptrdiff_t stride)
{
    const ptrdiff_t K = w->width;
    const real *rows[V] = {NULL};
    real scales[V] = {0};
    for (int l = 0; l < lanes; l++) rows[l] = block_row(w, c + l);
    if (w->scales)
        for (int l = 0; l < lanes; l++) scales[l] = ((const real *)w->scales)[block_number(w, c + l)];
    Columns columns = columns_of(rows, w->scales ? scales : NULL, lanes, K);

    for (ptrdiff_t k = 0, sum = 0; k < K || k == 0; k += V * TOGETHER) {
        const int length = at_most(K - k, V * TOGETHER);
        pack_block(rows, k, length, lanes, out, stride, &columns);
        out += depth_of(length) * stride;
        sum += depth_of(length);
        if (FOOT && (sum == SUM_LENGTH || k + V * TOGETHER >= K)) {
            v_store_foot(out, stride, &columns);
            out += FOOT * stride;
            sum = 0;
        }
    }
}

/* Groups g0..g1, flat over the window's rows, K = width. w [.., K] IN, out [C/(4V)][depth][4][V] OUT. */
static void pack_by_rows(const Blocks *w, void *out_, ptrdiff_t g0, ptrdiff_t g1)
{
    operand *out = out_;
    const ptrdiff_t C = window_rows(w), depth = packed_depth(w->width), end = g1 * TILE_WIDTH * V;

    for (ptrdiff_t c = g0 * TILE_WIDTH * V; c < end && c < C; c += V) {
        const ptrdiff_t group = c / (TILE_WIDTH * V), n = c / V % TILE_WIDTH;
        const int N = group_width(group, C);
        pack_vector(w, c, lanes_at(c, C), out + group * TILE_WIDTH * V * depth + n * V, N * V);
    }
}

/* Groups g0..g1 of one head, one vector of each gate a group. w [.., H] IN, out [H/V][depth][G][V] OUT. */
static void pack_by_gates(const Blocks *w, void *out_, ptrdiff_t g0, ptrdiff_t g1)
{
    operand *out = out_;
    const ptrdiff_t H = w->height, depth = packed_depth(w->width), G = w->count;

    if (G == 1) {
        pack_by_rows(w, out, g0, g1);
        return;
    }
    for (ptrdiff_t j = g0 * V; j < g1 * V; j += V)
        for (ptrdiff_t g = 0; g < G; g++) pack_vector(w, g * H + j, lanes_at(j, H), out + (j * depth * G + g * V), G * V);
}

#if TRAINS
/* Groups g0..g1, flat over the columns, K = the window's rows. w [.., C] IN, out [C/(4V)][depth][4][V] OUT. */
static void pack_by_columns(const Blocks *w, void *out_, ptrdiff_t g0, ptrdiff_t g1)
{
    const ptrdiff_t C = w->width, K = window_rows(w);

    for (ptrdiff_t group = g0; group < g1; group++) {
        const int N = group_width(group, C);
        operand *out = (operand *)out_ + group * TILE_WIDTH * V * depth_of(K);
        for (ptrdiff_t k = 0; k < K; k += TOGETHER, out += PLACES * N * V)
            for (int n = 0; n < N; n++) {
                const ptrdiff_t c = (group * TILE_WIDTH + n) * V;
                vec x[TOGETHER];
                for (int d = 0; d < TOGETHER; d++) x[d] = k + d < K ? v_load_n(block_row(w, k + d) + c, lanes_at(c, C)) : v_zero();
                v_store_operands(out + n * V, N * V, x);
            }
    }
}
#endif

/* out[c] += bias of window row c. bias [blocks * H] IN (width 1), out [C] INOUT. */
static void add_bias(const Blocks *bias, void *out_)
{
    real *out = out_;
    for (ptrdiff_t c = 0; c < window_rows(bias); c++) out[c] += *block_row(bias, c);
}

#if TRAINS
/* bias of window row c = in[c]. in [C] IN, bias [blocks * H] OUT (width 1). */
static void unpack_bias(const Blocks *bias, const void *in)
{
    for (ptrdiff_t c = 0; c < window_rows(bias); c++) *(real *)block_row(bias, c) = ((const real *)in)[c];
}
#endif

#endif
