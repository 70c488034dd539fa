/* Operands in int8: four numbers of the inner axis in a word. A row, or a column of weights, has one scale:
 *
 *     scale = most / 127,  q[k] = x[k] * (127 / most), rounded to nearest even        most = max |x[k]|
 *     out = float(sum over k of q_row[k] q_column[k]) * (scale_row * scale_column) + init      a fused multiply-add
 *
 * Each operation is rounded to float. The sums are integers, so their order does not matter; one has at most 4096 numbers, so it
 * cannot overflow. A longer inner axis adds one sum after the other. A row of a bounded state takes most = max(1, max |x[k]|). A
 * row below 2^-100 counts as zero. A row with NaN or infinity makes all its results NaN.
 *
 * ROW_OFFSET: where the instruction multiplies unsigned by signed numbers, rows are stored with this offset, and each sum starts
 * at -offset * (the sum of its column). */
#ifndef RNNFAST_SIMD_INT8_H
#define RNNFAST_SIMD_INT8_H

#include <math.h>
#include "rows.h"
#include "simd/transpose.h"
#include "simd/vec_bits.h"

typedef word_vec sum_vec;
typedef word_vec operand_vec;

typedef struct {
    vec scale;
    real multiplier[V]; /* 127 / most */
    sum_vec sum;        /* ROW_OFFSET times the sum of the numbers since the last foot */
} Columns;

static inline operand_vec v_load_operand(const operand *p)
{
    operand_vec x;
    memcpy(&x, p, sizeof x);
    return x;
}
static inline operand_vec v_set1_operand(const operand *p) { return v_set1_word(*p); }
static ALWAYS_INLINE sum_vec v_multiply_add(operand_vec a, operand_vec w, sum_vec sum) { return v_dot(a, w, sum); }

static ALWAYS_INLINE sum_vec v_sum_begin(const real *init, int lanes, const operand *start)
{
    (void)init, (void)lanes;
    return v_load_operand(start);
}
static ALWAYS_INLINE vec v_sum_end(sum_vec sum, const real *init, int lanes, const operand *scale, const operand *row)
{
    real row_scale;
    vec column_scale;
    memcpy(&row_scale, row - HEAD, sizeof row_scale);
    memcpy(&column_scale, scale, sizeof column_scale);
    return v_fma(v_float(sum), v_mul(v_set1(row_scale), column_scale), v_load_n(init, lanes));
}

/* The numbers -|x[k]| of a row, the least of each lane; *finite: whether all of them are finite. */
static ALWAYS_INLINE vec v_least(const real *x, ptrdiff_t K, int *finite)
{
    enum { CHAINS_OF_LEAST = 4 };
    vec least[CHAINS_OF_LEAST], read[CHAINS_OF_LEAST];
    ptrdiff_t k = 0;

    UNROLL for (int n = 0; n < CHAINS_OF_LEAST; n++) least[n] = read[n] = v_zero();
    for (; k + CHAINS_OF_LEAST * V <= K; k += CHAINS_OF_LEAST * V)
        UNROLL for (int n = 0; n < CHAINS_OF_LEAST; n++) {
            const vec x_k = v_load(x + k + n * V);
            least[n] = v_min(least[n], v_negative(x_k));
            read[n] = v_fma(x_k, v_zero(), read[n]); /* NaN for NaN and infinity */
        }
    for (; k < K; k += V) {
        const vec x_k = v_load_n(x + k, at_most(K - k, V));
        least[0] = v_min(least[0], v_negative(x_k));
        read[0] = v_fma(x_k, v_zero(), read[0]);
    }
    *finite = v_all_finite(v_add(v_add(read[0], read[1]), v_add(read[2], read[3])));
    return v_min(v_min(least[0], least[1]), v_min(least[2], least[3]));
}

/* max |x[k]| of a row; NaN if a number is not finite. */
static inline real largest(const real *x, ptrdiff_t K)
{
    int finite;
    real lanes[V];
    v_store(lanes, v_least(x, K, &finite));
    for (int n = V / 2; n > 0; n /= 2)
        for (int l = 0; l < n; l++) lanes[l] = lanes[l] < lanes[l + n] ? lanes[l] : lanes[l + n];
    return finite ? -lanes[0] : (real)NAN;
}

/* A row below this counts as zero. */
#define TINY ((real)0x1p-100)

/* a / b; 0 where `most` counts as zero. */
static inline vec v_ratio(vec a, vec b, vec most) { return v_where_less(most, v_set1(TINY), v_zero(), v_div(a, b)); }

/* x * inverse, rounded to integers: the sum with 1.5 * 2^23, which is INTEGERS_AT, has them in its lowest bits. */
#define INTEGERS_AT 0x4b400000u
static inline vec_bits v_integers(vec x, vec inverse) { return v_bits(v_add(v_mul(x, inverse), v_set1(12582912))); }

/* Up to 4 V numbers that follow each other as V words, each with the offset; zeros follow the last. */
static ALWAYS_INLINE void store_words(const real *x, int count, vec multiplier, int offset, operand *words)
{
#if V > 1
    UNROLL for (int d = 0; d < 4; d++) {
        const int rest = count - d * V;
        const vec x_d = rest >= V ? v_load(x + d * V) : v_load_n(x + d * V, rest > 0 ? rest : 0);
        const vec_bits integers = v_integers(x_d, multiplier);
#if defined(VECTOR_OPERATORS)
        typedef uint8_t bytes __attribute__((vector_size(V)));
        const bytes q = __builtin_convertvector(integers - INTEGERS_AT + (unsigned)offset, bytes);
        memcpy((char *)words + d * V, &q, sizeof q);
#else
        for (int l = 0; l < V; l++) ((uint8_t *)words)[d * V + l] = (uint8_t)(integers.lane[l] - INTEGERS_AT + (unsigned)offset);
#endif
    }
#else
    *words = 0;
    for (int d = 0; d < count; d++) *words |= ((v_integers(x[d], multiplier) - INTEGERS_AT + (unsigned)offset) & 0xff) << 8 * d;
#endif
}

static inline void quantize_row(const real *row, ptrdiff_t K, operand *copy, int bounded)
{
    const real most = largest(row, K);
    real scale = (real)1 / 127, multiplier = 127;

    if (!bounded || !(most <= 1)) {
        scale = most < TINY ? 0 : most / 127;
        multiplier = most < TINY ? 0 : 127 / most;
    }
    memcpy(copy - HEAD, &scale, sizeof *copy);
    ptrdiff_t k = 0;
    for (; k + 4 * V <= K; k += 4 * V) store_words(row + k, 4 * V, v_set1(multiplier), ROW_OFFSET, copy + k / 4);
    if (k < K) {
        operand rest[V];
        store_words(row + k, (int)(K - k), v_set1(multiplier), ROW_OFFSET, rest);
        memcpy(copy + k / 4, rest, (size_t)depth_of(K - k) * sizeof(operand));
    }
}

/* As in simd/operand.h. */
static inline const operand *row_operands(const real *row, ptrdiff_t K, operand *copies, ptrdiff_t n, int make, int bounded)
{
    operand *copy = copies + n * copy_size(K) + HEAD;
    if (make) quantize_row(row, K, copy, bounded);
    return copy;
}

/* The scales of V columns from rows [lanes][K] of the weight, or the given ones. */
static inline Columns columns_of(const real *const *rows, const real *given, int lanes, ptrdiff_t K)
{
    Columns columns;
    vec least[V], most = v_zero();
    real sizes[V];
    int finite[V];

    if (given) {
        most = columns.scale = v_load(given);
        v_store(columns.multiplier, v_ratio(v_set1(1), most, most));
    } else {
        for (int l = 0; l < V; l++) least[l] = v_least(rows[l], l < lanes ? K : 0, &finite[l]);
        v_transpose(least);
        for (int l = 0; l < V; l++) most = v_max(most, v_sub(v_zero(), least[l]));
        v_store(sizes, most);
        for (int l = 0; l < V; l++)
            if (!finite[l]) sizes[l] = (real)NAN;
        most = v_load(sizes);
        columns.scale = v_ratio(most, v_set1(127), most);
        v_store(columns.multiplier, v_ratio(v_set1(127), most, most));
    }
    columns.sum = v_set1_word(0);
    return columns;
}

/* As in kernels/pack.h. */
static void pack_block(const real *const *rows, ptrdiff_t k, int length, int lanes, operand *out, ptrdiff_t stride, Columns *columns)
{
    ALIGNED operand words[V][V]; /* of all rows, before the first is loaded: a load waits for the short stores that made it */
    vec x[V];
    if (lanes < V) memset(words, 0, sizeof words);
    for (int l = 0; l < lanes; l++) store_words(rows[l] + k, length, v_set1(columns->multiplier[l]), 0, words[l]);
    memcpy(x, words, sizeof x);
    v_transpose(x);
    for (int i = 0; i < depth_of(length); i++, out += stride) {
        const vec_bits arranged = v_arranged(v_bits(x[i]));
        operand_vec w;
        memcpy(&w, &arranged, sizeof w);
        memcpy(out, &arranged, sizeof arranged);
        if (ROW_OFFSET) columns->sum = v_dot(v_set1_word(0x01010101u * ROW_OFFSET), w, columns->sum);
    }
}

/* What follows the operands of a sum. */
static inline void v_store_foot(operand *p, ptrdiff_t step, Columns *columns)
{
    vec_bits start;
    memcpy(&start, &columns->sum, sizeof start);
    start = v_minus(start);
    memcpy(p, &columns->scale, sizeof columns->scale);
    memcpy(p + step, &start, sizeof start);
    columns->sum = v_set1_word(0);
}

#endif
