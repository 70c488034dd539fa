/* Drives the kernels of one instruction set over inputs that are the same on every machine, and prints one checksum of
 * the bits of each result: lines "name hash", which bits.txt keeps. Usage: bits ISA [plain] [short].
 * plain: without the instructions that some processors of this instruction set lack. short: without the largest shapes, which
 * take nine tenths of the time; a line of them is not printed.
 *
 * Every buffer has the documented size to the byte, so that a sanitizer sees any access beyond it; every result is made
 * twice, in one go and in pieces, and a line says so if the two differ. */
#include "dispatch.h"
#include "fpenv.h"
#include "numbers.h"
#include "phases.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { T = 4, I = 5 };

enum { LARGE = 100 }; /* units; from here on a shape is not in a short run */
static int is_short;

/* ---- exp, tanh, sigmoid, log sigmoid ------------------------------------------------------------------------------------------ */

static void check_vmath(const Kernels *k)
{
    static const char *const names[VMATHS] = {"exp", "tanh", "sigmoid", "log_sigmoid"};
    enum { N = 40003 };

    /* All exponents, both signs, infinities and NaNs; no subnormals, whose only promise is to count as zero. */
    unsigned char *everywhere = zeros(N);
    uint64_t bits = 0;
    for (ptrdiff_t n = 0; n < N; bits += 0xFFFFFFFFFFFFFFFFu / N) {
        const uint32_t word = (uint32_t)(bits >> 32);
        if (size == 4 ? word & 0x7F800000u : bits & 0x7FF0000000000000u) {
            memcpy(at(everywhere, n++), size == 4 ? (const void *)&word : &bits, (size_t)size);
        } else {
            memset(at(everywhere, n++), 0, (size_t)size);
        }
    }
    const void *inputs[] = {everywhere, numbers(N, 128), numbers(N, 1), numbers(N, 0x1p-10)};
    void *out = zeros(N);
    for (int f = 0; f < VMATHS; f++) {
        uint64_t hash[2] = {EMPTY, EMPTY};
        for (int in_pieces = 0; in_pieces < 2; in_pieces++)
            for (int sweep = 0; sweep < 4; sweep++) {
                for (ptrdiff_t n = 0, end, turn = 1; n < N; n = end, turn = turn % 37 + 1) {
                    end = piece_end(n, N, in_pieces, (int)turn);
                    k->vmath[f](end - n, at(inputs[sweep], n), at(out, n));
                }
                hash[in_pieces] = checksum(hash[in_pieces], out, N);
            }
        report(names[f], hash);
    }
    free_buffers();
}

/* ---- random masks ------------------------------------------------------------------------------------------------ */

static void check_dropout(const Kernels *k)
{
    static const ptrdiff_t units[] = {1, 64, 131};
    uint64_t hash[2] = {EMPTY, EMPTY};

    for (int in_pieces = 0; in_pieces < 2; in_pieces++)
        for (int n = 0; n < 3; n++) {
            void *mask = zeros(T * 3 * units[n]);
            for (ptrdiff_t t = 0, end; t < T; t = end) {
                end = piece_end(t, T, in_pieces, 1);
                k->random_mask(0x0123456789ABCDEFu, 7, 2, t, end, 3, units[n], 0.3, units[n], 0.3, 0, 1 / (1 - 0.3), mask);
            }
            hash[in_pieces] = checksum(hash[in_pieces], mask, T * 3 * units[n]);
            free_buffers();
        }
    report("dropout", hash);
}

/* ---- dense products ---------------------------------------------------------------------------------------------- */

/* Rows q0..q1, in pieces the first groups of columns before the others. */
static void run_product(const Kernels *k, const Product *p, ptrdiff_t q0, ptrdiff_t q1, int in_pieces)
{
    const ptrdiff_t groups = k->groups_of(p->C), middle = in_pieces ? groups / 2 : 0;
    void *scratch = copies(k, at_most(q1 - q0, SCRATCH_ROWS), p->K);
    k->product(p, q0, q1, 0, middle, scratch);
    k->product(p, q0, q1, middle, groups, scratch);
    free(buffers[--buffer_count]);
}

static void check_product(const Kernels *k, ptrdiff_t K, ptrdiff_t C)
{
    static const ptrdiff_t row_counts[] = {1, 2, 3, 7, 8, 29, 101};
    uint64_t hash[2] = {EMPTY, EMPTY};
    char name[64];

    for (size_t n = 0; n < sizeof row_counts / sizeof *row_counts; n++) {
        const ptrdiff_t M = row_counts[n];
        const Blocks w = {.data = numbers(C * K, 1), .height = C, .width = K, .stride = C, .heads = 1, .count = 1};
        void *packed = zeros(padded(k, C) * k->packed_depth(K)), *bias = numbers(C, 1), *a = numbers(M * K, 2);
        k->pack_by_rows(&w, packed, 0, k->groups_of(C));
        for (int with_bias = 0; with_bias < 2; with_bias++)
            for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
                void *out = zeros(M * C);
                const Product p = {.K = K, .C = C, .a = rows(a, 3, 3 * K, K), .w = packed,
                                   .bias = with_bias ? bias : NULL, .out = rows(out, M, M * C, C)};
                int turn = 1;
                for (ptrdiff_t q = 0, end; q < M; q = end) {
                    end = piece_end(q, M, in_pieces, turn++);
                    run_product(k, &p, q, end, in_pieces);
                }
                hash[in_pieces] = checksum(hash[in_pieces], out, M * C);
            }
        free_buffers();
    }
    snprintf(name, sizeof name, "product K=%d C=%d", (int)K, (int)C);
    report(name, hash);
}

/* Products of subnormal numbers, which count as zero, and products that end on both sides of the least normal number. */
static void check_tiny_product(const Kernels *k)
{
    enum { M = 29, K = 33, C = 19 };
    const double least = size == 4 ? 0x1p-126 : 0x1p-1022, root = size == 4 ? 0x1p-62 : 0x1p-510;
    const double scales[][2] = {{least, 1}, {1, least}, {root, root}};
    uint64_t hash[2] = {EMPTY, EMPTY};

    random_state = 1; /* the same numbers in a short run */
    for (int n = 0; n < 3; n++) {
        const Blocks w = {.data = numbers(C * K, scales[n][0]), .height = C, .width = K, .stride = C, .heads = 1, .count = 1};
        void *packed = zeros(padded(k, C) * k->packed_depth(K)), *a = numbers(M * K, scales[n][1]);
        k->pack_by_rows(&w, packed, 0, k->groups_of(C));
        for (int in_pieces = 0; in_pieces < 2; in_pieces++) {
            void *out = zeros(M * C);
            const Product p = {.K = K, .C = C, .a = rows(a, M, M * K, K), .w = packed, .out = rows(out, M, M * C, C)};
            run_product(k, &p, 0, M, in_pieces);
            hash[in_pieces] = checksum(hash[in_pieces], out, M * C);
        }
        free_buffers();
    }
    report("product tiny", hash);
}

/* ---- whole passes ------------------------------------------------------------------------------------------------ */

/* The slots of the input in W_ih or b_ih. */
static Blocks input_window(const Pass *p, const void *data, ptrdiff_t width)
{
    Blocks w = {.data = data, .height = p->D, .width = width, .stride = p->H, .heads = p->heads, .count = (int)p->X};
    memcpy(w.order, cell_table[p->cell].x_block, sizeof w.order);
    return w;
}

/* The last `count` slots in W_hh or b_hh. */
static Blocks state_window(const Pass *p, const void *data, ptrdiff_t width, ptrdiff_t count)
{
    Blocks w = {.data = data, .height = p->D, .width = width, .stride = p->H, .heads = p->heads, .count = (int)count};
    memcpy(w.order, cell_table[p->cell].h_block + p->X - count, (size_t)count * sizeof *w.order);
    return w;
}

/* W_m, the weight of the second product. */
static Blocks second_window(const Pass *p, const void *data)
{
    return (Blocks){.data = data, .height = p->P, .width = p->H, .stride = p->P, .heads = 1, .count = 1,
                    .order = {cell_table[p->cell].m_block}};
}

/* The rows of one head in W_hh. */
static Blocks head_window(const Pass *p, const void *data, ptrdiff_t head)
{
    Blocks w = state_window(p, data, head_width(p), p->G);
    w.data = at(data, head * p->D * w.width);
    w.heads = 1;
    return w;
}

typedef struct {
    const char *name;
    int cell, nonlinearity, peephole;
    ptrdiff_t P; /* 0: no projection */
    double cell_clip; /* 0: none */
    int headed;       /* divided into as few heads as possible, but two at least */
} Layer;

typedef struct {
    uint64_t forward[2], backward[2], gradients[2];
} PassHashes;

/* A phase of a step over all rows and units: in one go, or in pieces. */
static void run_phase(const Kernels *k, const Phases *phases, int phase, const Pass *p, ptrdiff_t s, int in_pieces)
{
    const ptrdiff_t groups = phases->groups[phase];
    int row_turn = 1;
    for (ptrdiff_t b = 0, b_end; b < p->B; b = b_end) {
        int turn = 1;
        b_end = piece_end(b, p->B, in_pieces, row_turn++);
        for (ptrdiff_t g = 0, g_end; g < groups; g = g_end) {
            g_end = piece_end(g, groups, in_pieces, turn++);
            const ptrdiff_t K = p->G * p->H > p->P ? p->G * p->H : p->P > p->H ? p->P : p->H;
            void *scratch = zeros((b_end - b) * k->copy_size(K) + k->norm_scratch(p));
            phases->run[phase](p, s, b, b_end, g, g_end, scratch);
            free(buffers[--buffer_count]);
        }
    }
}

/* All steps of rows without gaps or of a part of them, the last step first. */
static Rows last_first(Rows all)
{
    return rows(at(all.data, (T - 1) * all.s_stride), all.B, -all.s_stride, all.b_stride);
}

/* The sum over all T*B rows, last step first, of d^T a, added up some rows at a time: d [T*B, C] and a [T*B, K], the latter
 * in two parts: the first `inner` rows, and the rest. */
static void weight_gradient(const Kernels *k, const Rows *all_d, ptrdiff_t C, ptrdiff_t K, ptrdiff_t c0, ptrdiff_t c1,
                            const Rows *a, ptrdiff_t inner, const Rows *rest, const Blocks *dw, void *db, int in_pieces)
{
    const ptrdiff_t count = T * all_d->B, groups = k->groups_of(C), stride = k->operand_stride(K);
    const GradientProduct product = {K, C, c0, c1, zeros(padded(k, C) * K), *dw};
    const Rows d = last_first(*all_d);
    int turn = 1;

    for (ptrdiff_t q = 0, end; q < count; q = end) {
        end = piece_end(q, count, in_pieces, turn++ * k->together);
        void *operand = zeros(k->depth_of(end - q) * stride);
        k->pack_operand(a, inner, rest, K, q, end, operand);
        for (ptrdiff_t g = 0, g_end; g < groups; g = g_end) {
            g_end = piece_end(g, groups, in_pieces, 1);
            const ptrdiff_t columns = (g_end * k->columns < C ? g_end * k->columns : C) - g * k->columns;
            void *packed = zeros(k->depth_of(end - q) * padded(k, columns));
            k->pack_gradient(&d, C, q, end, g, g_end, packed, db);
            k->gradient_product(&product, end - q, q == 0, end == count, g, g_end, packed, operand);
            free(buffers[--buffer_count]);
        }
        free(buffers[--buffer_count]);
    }
}

/* The gradients of the vector weights, over all steps and units at once or in pieces. */
static void sum_vectors(const Kernels *k, const Pass *p, int in_pieces)
{
    for (ptrdiff_t s = T, s0; s > 0; s = s0) {
        s0 = in_pieces ? s - 1 : 0;
        for (ptrdiff_t j = 0, end; j < p->H; j = end) {
            end = in_pieces && j + k->lanes < p->H ? j + k->lanes : p->H;
            k->vector_gradients(p, s0, s, j, end);
        }
    }
}

/* The least divisor of n above 1; 1 for 1. */
static int least_divisor(ptrdiff_t n)
{
    int divisor = 2;
    while (n > 1 && n % divisor) divisor++;
    return n > 1 ? divisor : 1;
}

/* One layer forward and backward, over inputs from `seed`. */
static void run_pass(const Kernels *k, const Layer *layer, ptrdiff_t B, ptrdiff_t H, int in_pieces, uint64_t seed,
                     PassHashes *hashes)
{
    const CellInfo *cell = &cell_table[layer->cell];
    const int parts = (int)strlen(cell->parts), heads = layer->headed ? least_divisor(H) : 1;
    const ptrdiff_t S = cell->S, X = cell->X, G = cell->G, P = layer->P ? layer->P : H;
    Pass p = {.cell = layer->cell, .nonlinearity = layer->nonlinearity, .save = 1,
              .given = cell->required | (layer->P ? BIT(WEIGHT_HR) : 0), .parts = parts, .heads = heads, .D = H / heads,
              .T = T, .B = B, .H = H, .P = P, .S = S, .X = X, .G = G,
              .cell_clip = layer->cell_clip > 0 ? layer->cell_clip : INFINITY};
    const Phases forward = forward_phases(k, &p);
    const int second = has_second_product(&p), normed = is_normed(&p);

    random_state = seed;
    const ptrdiff_t ih_size = weight_size(cell, WEIGHT_IH, I, H, P, p.D), hh_size = weight_size(cell, WEIGHT_HH, I, H, P, p.D);
    const ptrdiff_t K = head_width(&p); /* of W_hh */
    void *x = numbers(T * B * I, 2), *w_ih = numbers(ih_size, 1), *w_hh = numbers(hh_size, 0.5);
    void *b_ih = numbers(X * H, 1), *b_hh = numbers(X * H, 1), *dy = numbers(T * B * P, 1);
    const Blocks ih = input_window(&p, w_ih, I);
    const Blocks bias_ih = input_window(&p, b_ih, 1), bias_hh = state_window(&p, b_hh, 1, X);
    void *w_project = zeros(padded(k, X * H) * k->packed_depth(I)), *bias = zeros(S * H);
    const ptrdiff_t step_size = G * padded(k, p.D) * k->packed_depth(K);
    void *w_step = zeros(heads * step_size), *gates = zeros(T * B * S * H), *y = zeros(T * B * P);
    p.initial[PART_H] = numbers(B * P, k->trains ? 1 : 2); /* int8: beyond the bound of h */
    p.initial[PART_C] = numbers(B * H, 1);
    for (int part = PART_N; part < parts; part++) p.initial[part] = part == PART_N ? positive(B * H) : numbers(B * H, 1);
    p.zeros = zeros(H > P ? H : P);
    for (int part = PART_C; part < parts; part++) p.state[part] = rows(zeros(T * B * H), B, B * H, H);
    p.gates = rows(gates, B, B * S * H, S * H);
    p.state[PART_H] = rows(y, B, B * P, P);
    p.w_step = w_step;
    void *w_second = layer->P ? numbers(P * H, 0.5) : w_hh;
    const Blocks m = second_window(&p, w_second);
    if (second) {
        void *w_m = zeros(padded(k, P) * k->packed_depth(H));
        p.w_m = w_m;
        p.m = rows(zeros(T * B * H), B, B * H, H);
        k->pack_by_rows(&m, w_m, 0, k->groups_of(P));
    }
    for (int weight = 0; weight < WEIGHTS; weight++) /* peepholes in the order of the names: ci, cf, co */
        for (int n = 0; n < cell->vectors; n++)
            if (cell->vector[n].weight == weight && weight == WEIGHT_HH) p.vector[n] = w_hh;
            else if (cell->vector[n].weight == weight && layer->peephole) p.vector[n] = numbers(H, 1);

    k->pack_by_rows(&ih, w_project, 0, k->groups_of(X * H));
    for (int head = 0; head < heads && G; head++) {
        const Blocks hh = head_window(&p, w_hh, head);
        k->pack_by_gates(&hh, at(w_step, head * step_size), 0, groups_of_units(k, &p, STEP_UNITS) / heads);
    }
    if (normed) p.norm = numbers(norm_layout(&p).vectors, 1);
    else {
        k->add_bias(&bias_ih, bias);
        k->add_bias(&bias_hh, at(bias, (S - X) * H));
    }
    const Product project = {I, X * H, (S - X) * H, rows(x, B, B * I, I), w_project, bias, p.gates, in_pieces};
    for (ptrdiff_t q = 0, end; q < T * B; q = end) {
        end = piece_end(q, T * B, in_pieces, 3);
        run_product(k, &project, q, end, in_pieces);
    }
    if (forward.scan && !in_pieces) forward.scan(&p, 0, T, 0, B, 0, forward.groups[0]);
    else for (ptrdiff_t s = 0; s < T; s++)
        for (int phase = 0; phase < forward.count; phase++) run_phase(k, &forward, phase, &p, s, in_pieces);
    uint64_t *hash = &hashes->forward[in_pieces];
    *hash = checksum(*hash, y, T * B * P);
    *hash = checksum(*hash, gates, T * B * S * H);
    for (int part = PART_C; part < parts; part++) *hash = checksum(*hash, p.state[part].data, T * B * H);
    if (!k->trains) {
        free_buffers();
        return;
    }
    const Phases backward = backward_phases(k, &p);
    const ptrdiff_t back_size = k->depth_of(G * p.D) * padded(k, K);
    void *w_back = zeros(heads * back_size), *w_dx = zeros(k->depth_of(X * H) * padded(k, I));
    p.d_state[PART_H] = numbers(B * P, 1);
    void *dx = zeros(T * B * I), *dc = numbers(B * H, 1);
    if (parts > PART_C) p.d_state[PART_C] = dc;
    for (int part = PART_N; part < parts; part++) p.d_state[part] = numbers(B * H, 1);
    p.d_steps[PART_H] = rows(dy, B, B * P, P);
    p.w_back = w_back;
    if (second) {
        void *w_m_back = zeros(k->depth_of(P) * padded(k, H));
        p.w_m_back = w_m_back;
        p.d_m = cell->m_slot == NO_SLOT ? rows(zeros(T * B * P), B, B * P, P)
                                        : rows(at(gates, cell->m_slot * H), B, B * S * H, S * H);
        k->pack_by_columns(&m, w_m_back, 0, k->groups_of(H));
    }
    if (normed) {
        p.d_out = rows(zeros(B * H), B, 0, H);
        p.d_norm = zeros(B * norm_layout(&p).count);
    }
    for (int head = 0; head < heads && G; head++) {
        const Blocks hh = head_window(&p, w_hh, head);
        k->pack_by_columns(&hh, at(w_back, head * back_size), 0, k->groups_of(K));
    }
    k->pack_by_columns(&ih, w_dx, 0, k->groups_of(I));
    if (forward.scan && !in_pieces) backward.scan(&p, T - 1, T, 0, B, 0, backward.groups[0]);
    else for (ptrdiff_t s = T - 1; s >= 0; s--)
        for (int phase = 0; phase < backward.count; phase++) run_phase(k, &backward, phase, &p, s, in_pieces);
    run_phase(k, &backward, 0, &p, -1, in_pieces);
    const Product back = {X * H, I, 0, p.gates, w_dx, NULL, rows(dx, B, B * I, I), in_pieces};
    run_product(k, &back, 0, T * B, in_pieces);
    hash = &hashes->backward[in_pieces];
    *hash = checksum(*hash, gates, T * B * S * H);
    *hash = checksum(*hash, dx, T * B * I);
    *hash = checksum(*hash, p.d_state[PART_H], B * P);
    for (int part = PART_C; part < parts; part++) *hash = checksum(*hash, p.d_state[part], B * H);

    void *dw_ih = zeros(ih_size), *dw_hh = zeros(hh_size), *db = zeros(padded(k, S * H)), *db_hh = zeros(X * H);
    void *db_again = zeros(padded(k, S * H)), *dw_hr = layer->P ? zeros(P * H) : dw_hh;
    const Blocks dih = input_window(&p, dw_ih, I), dbias = state_window(&p, db_hh, 1, X);
    const Rows x_back = rows(at(x, (T - 1) * B * I), B, -B * I, I), h_prev = rows(at(y, (T - 2) * B * P), B, -B * P, P);
    const Rows h0 = rows((void *)p.initial[PART_H], B, B * P, P);
    weight_gradient(k, &p.gates, S * H, I, 0, X * H, &x_back, T * B, NULL, &dih, db, in_pieces);
    for (int head = 0; head < heads && G; head++) {
        const ptrdiff_t end = (head + 1) * S * p.D;
        const Rows own = rows(at(h_prev.data, head * K), B, -B * P, P), own_h0 = rows(at(h0.data, head * K), B, B * P, P);
        const Blocks dhh = head_window(&p, dw_hh, head);
        weight_gradient(k, &p.gates, S * H, K, end - G * p.D, end, &own, (T - 1) * B, &own_h0, &dhh, db_again, in_pieces);
    }
    if (second) {
        const Rows m_back = last_first(p.m);
        const Blocks dm = second_window(&p, dw_hr);
        weight_gradient(k, &p.d_m, P, H, 0, P, &m_back, T * B, NULL, &dm, zeros(padded(k, P)), in_pieces);
    }
    k->unpack_bias(&dbias, at(db, (S - X) * H));
    hash = &hashes->gradients[in_pieces];
    *hash = checksum(*hash, dw_ih, ih_size);
    if (is_vector(cell, WEIGHT_HH)) {
        p.d_vector[0] = dw_hh;
        sum_vectors(k, &p, in_pieces);
    }
    *hash = checksum(*hash, dw_hh, hh_size);
    *hash = checksum(*hash, db, S * H);
    *hash = checksum(*hash, db_hh, X * H);
    if (layer->P) *hash = checksum(*hash, dw_hr, P * H);
    if (normed) *hash = checksum(*hash, p.d_norm, B * norm_layout(&p).count);
    else if (layer->peephole) {
        void *sums[WEIGHTS];
        for (int weight = WEIGHT_CI; weight <= WEIGHT_CO; weight++) sums[weight] = zeros(H);
        for (int n = 0; n < cell->vectors; n++) p.d_vector[n] = sums[cell->vector[n].weight];
        sum_vectors(k, &p, in_pieces);
        for (int weight = WEIGHT_CI; weight <= WEIGHT_CO; weight++) *hash = checksum(*hash, sums[weight], H);
    }
    free_buffers();
}

static void check_passes(const Kernels *k, const Layer *layer)
{
    static const struct {
        ptrdiff_t B, H;
    } shapes[] = {{1, 1}, {5, 3}, {7, 17}, {2, 33}, {50, 20}, {1, 70}, {1, 300}, {3, 300}};

    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        PassHashes hashes = {{EMPTY, EMPTY}, {EMPTY, EMPTY}, {EMPTY, EMPTY}};
        char name[64];
        if (is_short && shapes[n].H > LARGE) continue;
        for (int in_pieces = 0; in_pieces < 2; in_pieces++)
            run_pass(k, layer, shapes[n].B, shapes[n].H, in_pieces, n + 1, &hashes);
        const int end = snprintf(name, sizeof name, "%s B=%d H=%d ", layer->name, (int)shapes[n].B, (int)shapes[n].H);
        snprintf(name + end, sizeof name - end, "forward");
        report(name, hashes.forward);
        if (!k->trains) continue;
        snprintf(name + end, sizeof name - end, "backward");
        report(name, hashes.backward);
        snprintf(name + end, sizeof name - end, "gradients");
        report(name, hashes.gradients);
    }
}

static void check(const Kernels *k)
{
    static const Layer layers[] = {
        {"rnn tanh", RNN, TANH, 0, 0, 0, 0},
        {"rnn relu", RNN, RELU, 0, 0, 0, 0},
        {"rnn sigmoid", RNN, SIGMOID, 0, 0, 0, 0},
        {"rnn identity", RNN, IDENTITY, 0, 0, 0, 0},
        {"lstm", LSTM, TANH, 0, 0, 0, 0},
        {"gru", GRU, TANH, 0, 0, 0, 0},
        {"lstm peephole clip", LSTM, TANH, 1, 0, 0.5, 0},
        {"lstm projected", LSTM, TANH, 0, 19, 0, 0},
        {"coupled", LSTM_COUPLED, TANH, 0, 0, 0, 0},
        {"coupled peephole projected", LSTM_COUPLED, TANH, 1, 2, 0, 0},
        {"gru before", GRU_BEFORE, TANH, 0, 0, 0, 0},
        {"indrnn relu", INDRNN, RELU, 0, 0, 0, 0},
        {"mingru positive", MINGRU, POSITIVE, 0, 0, 0, 0},
        {"minlstm", MINLSTM, IDENTITY, 0, 0, 0, 0},
        {"slstm", SLSTM, TANH, 0, 0, 0, 0},
        {"slstm heads", SLSTM, TANH, 0, 0, 0, 1},
        {"rnn norm", RNN_NORM, TANH, 0, 0, 0, 0},
        {"lstm norm", LSTM_NORM, TANH, 0, 0, 0, 0},
        {"gru norm", GRU_NORM, TANH, 0, 0, 0, 0},
        {"coupled norm peephole projected", LSTM_COUPLED_NORM, TANH, 1, 2, 0.5, 0},
    };

    size = k->real_size;
    random_state = 1;
    if (k->together == 1) {
        check_vmath(k);
        check_dropout(k);
    }
    check_product(k, 1, 1);
    check_product(k, 3, 17);
    check_product(k, 16, 64);
    check_product(k, 33, 195);
    if (!is_short) check_product(k, 17000, 5); /* a long k, which is cut on every instruction set */
    check_tiny_product(k);
    for (size_t n = 0; n < sizeof layers / sizeof *layers; n++) check_passes(k, &layers[n]);
}

/* 0: done; 2: no such instruction set in this build; 3: this machine does not run it. */
int main(int count, char **arguments)
{
    static const char *const names[KINDS] = {"float32", "float64", "bfloat16", "int8"};
    const Implementation *chosen = implementations;
    const int plain = count > 2 && !strcmp(arguments[2], "plain");
    is_short = count > 2 + plain && !strcmp(arguments[2 + plain], "short");
    while (chosen->name && (count != 2 + plain + is_short || strcmp(chosen->name, arguments[1]))) chosen++;
    if (!chosen->name) {
        fprintf(stderr, "usage: bits ISA [plain] [short], with one of");
        for (chosen = implementations; chosen->name; chosen++) fprintf(stderr, " %s", chosen->name);
        fprintf(stderr, "\n");
        return 2;
    }
    if (!chosen->runs_here()) {
        fprintf(stderr, "this machine does not run %s\n", chosen->name);
        return 3;
    }
    fp_enter();
    for (int kind = 0; kind < KINDS; kind++) {
        const Instruction *own = &chosen->instruction[kind];
        kind_name = names[kind];
        check(!plain && own->kernels && own->runs_here() ? own->kernels : chosen->kernels[kind]);
    }
    return 0;
}
