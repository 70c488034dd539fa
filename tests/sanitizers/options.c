/* A target of libFuzzer over the structs of the C API: any options, weights and arguments get an error code, or compute without a
 * report of a sanitizer. An input is read as a sequence of choices; an empty one gives the smallest plan. */
#include "plans.h"

enum { MOST_NUMBERS = 1 << 14 }; /* of one array: larger ones are left to the checks of sizes and memory */

typedef struct {
    const uint8_t *next;
    size_t left;
} Input;

static unsigned byte(Input *in)
{
    if (!in->left) return 0;
    in->left--;
    return *in->next++;
}

/* Mostly a number below `range`, sometimes any of 64 bits. */
static int64_t number(Input *in, unsigned range)
{
    const unsigned kind = byte(in);
    if (kind < 240) return kind % range;
    uint64_t value = 0;
    for (int n = 0; n < 8; n++) value = value << 8 | byte(in);
    return (int64_t)(kind < 248 ? value >> 24 : value);
}

static rnnfast_options read_options(Input *in)
{
    rnnfast_options o = rnnfast_default_options();
    o.cell = (int32_t)number(in, 3), o.dtype = (int32_t)number(in, 2);
    o.training = (int32_t)number(in, 2), o.bidirectional = (int32_t)number(in, 2);
    o.nonlinearity = o.cell == RNNFAST_RNN ? (int32_t)number(in, 4) : 0;
    o.coupled_gates = o.cell == RNNFAST_LSTM ? (int32_t)number(in, 2) : 0;
    o.reset_before = o.cell == RNNFAST_GRU ? (int32_t)number(in, 2) : 0;
    o.threads = (int32_t)number(in, 4);
    o.input_size = 1 + (ptrdiff_t)number(in, 40), o.hidden_size = 1 + (ptrdiff_t)number(in, 40);
    o.num_layers = (ptrdiff_t)number(in, 4), o.batch = (ptrdiff_t)number(in, 20), o.max_steps = (ptrdiff_t)number(in, 6);
    o.matmul_precision = o.dtype ? 0 : (int32_t)number(in, 4);
    if (o.cell == RNNFAST_LSTM && byte(in) & 1) o.proj_size = (ptrdiff_t)number(in, 8), o.cell_clip = (double)byte(in) / 64;
    const unsigned odd = byte(in);
    if (odd >= 248) o.struct_size = (size_t)number(in, sizeof o + 9);
    if (odd == 247) memcpy(&o.cell_clip, (uint64_t[]){(uint64_t)number(in, 2) << 32 | 0x7ff0000000000000u}, sizeof(double));
    if (odd == 246) o.proj_size = (ptrdiff_t)number(in, 50), o.cell = (int32_t)number(in, 4);
    return o;
}

static int is_small(ptrdiff_t a, ptrdiff_t b, ptrdiff_t c)
{
    return a >= 0 && b >= 0 && c >= 0 && a <= MOST_NUMBERS && b <= MOST_NUMBERS && c <= MOST_NUMBERS &&
           a * b <= MOST_NUMBERS && a * b * c <= MOST_NUMBERS;
}

/* Whether all arrays of a plan are small enough to make; the sizes themselves may be wrong. */
static int can_make(const Sizes *s)
{
    const rnnfast_options *o = &s->options;
    return is_small(o->num_layers, s->D, MOST_NUMBERS / 8) && is_small(o->hidden_size, o->input_size, 4) &&
           is_small(o->hidden_size, o->hidden_size, 8) && is_small(s->P, o->hidden_size, 8);
}

static int can_run(const Sizes *s, ptrdiff_t T)
{
    const rnnfast_options *o = &s->options;
    return is_small(T < 0 ? 0 : T, o->batch, o->input_size) && is_small(T < 0 ? 0 : T, o->batch, 2 * s->P) &&
           is_small(o->num_layers * s->D, o->batch, o->hidden_size) && is_small(o->batch, o->input_size, 1);
}

static void check(int status)
{
    if (status > RNNFAST_OK || status < RNNFAST_ORDER) abort();
    if (status < RNNFAST_OK && !*rnnfast->last_error()) abort();
}

static int back(Input *in, rnnfast_plan *plan, const Sizes *s, ptrdiff_t T, unsigned wanted)
{
    const rnnfast_options *o = &s->options;
    const ptrdiff_t steps = (T < 0 ? 0 : T) * o->batch, state = o->num_layers * s->D * o->batch;
    const unsigned given = byte(in);
    rnnfast_weights *sums = given & 1 ? make_weights(s, byte(in) & 1 ? byte(in) : wanted) : NULL;
    rnnfast_gradients g = rnnfast_no_gradients();
    void *arrays[] = {given & 2 ? numbers(steps * s->D * s->P, s->size) : NULL, given & 4 ? numbers(state * s->P, s->size) : NULL,
                      given & 8 ? numbers(state * o->hidden_size, s->size) : NULL,
                      given & 16 ? numbers(steps * o->input_size, s->size) : NULL,
                      given & 32 ? numbers(state * s->P, s->size) : NULL,
                      given & 64 ? numbers(state * o->hidden_size, s->size) : NULL};
    g.dy = arrays[0], g.dh = arrays[1], g.dc = arrays[2], g.dx = arrays[3], g.dh_initial = arrays[4], g.dc_initial = arrays[5];
    g.weights = sums;
    if (given & 128) g.struct_size = (size_t)number(in, sizeof g + 9);
    const int status = rnnfast->backward(plan, byte(in) == 255 ? NULL : &g);
    check(status);
    for (int n = 0; n < 6; n++) free(arrays[n]);
    free_weights(s, sums);
    return status;
}

/* One call of the plan, chosen by the input. */
static void call(Input *in, rnnfast_plan *plan, const Sizes *s, const rnnfast_weights *weights, unsigned wanted)
{
    const rnnfast_options *o = &s->options;
    const unsigned kind = byte(in) % 8, absent = byte(in);
    const ptrdiff_t B = o->batch, state = o->num_layers * s->D * B;
    ptrdiff_t T = kind < 4 ? (ptrdiff_t)number(in, (unsigned)(o->max_steps < 8 ? o->max_steps + 2 : 10)) : 1;
    if (T > o->max_steps && T > 8) T = o->max_steps + 1; /* refused before an array is read */
    if (!can_run(s, T)) return;
    void *x = numbers((T < 0 ? 0 : T) * B * o->input_size, s->size), *y = numbers((T < 0 ? 0 : T) * B * s->D * s->P, s->size);
    void *h = numbers(state * s->P, s->size), *c = numbers(state * o->hidden_size, s->size);
    ptrdiff_t *lengths = malloc((size_t)B * sizeof *lengths);
    uint8_t *reset = malloc((size_t)((T < 1 ? 1 : T) * B));
    for (ptrdiff_t b = 0; b < B; b++) lengths[b] = (ptrdiff_t)number(in, T > 0 ? (unsigned)T + 1 : 1);
    for (ptrdiff_t n = 0; n < (T < 1 ? 1 : T) * B; n++) reset[n] = byte(in) & 1;
    const ptrdiff_t *ragged = absent & 1 ? lengths : NULL;
    const uint8_t *resets = absent & 2 ? reset : NULL;
    const void *given_x = absent >= 250 ? NULL : x;
    if (kind < 2) check(rnnfast->run(plan, T, given_x, y, ragged, resets));
    if (kind == 2 || kind == 3) {
        const int status = rnnfast->forward(plan, T, given_x, y, ragged, resets);
        check(status);
        const int played = kind == 3 && back(in, plan, s, T, wanted) == RNNFAST_OK;
        if (status == RNNFAST_OK && kind == 2) check(rnnfast->reset(plan, NULL));
        if (!played) check(rnnfast->refresh(plan, weights)); /* which gives the forward up: x and y go */
    }
    if (kind == 4) check(rnnfast->step(plan, given_x, y));
    if (kind == 5) check(rnnfast->set_state(plan, absent & 1 ? h : NULL, absent & 2 ? c : NULL));
    if (kind == 6) check(rnnfast->get_state(plan, absent & 1 ? h : NULL, absent & 2 ? c : NULL));
    if (kind == 7) check(absent & 1 ? rnnfast->reset(plan, reset) : rnnfast->refresh(plan, absent & 2 ? weights : NULL));
    free(x), free(y), free(h), free(c), free(lengths), free(reset);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    load_table("from rnnfast import _core");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = {data, size};
    const rnnfast_options options = read_options(&in);
    const Sizes s = sizes_of(&options);
    unsigned wanted = 3; /* weight_ih, weight_hh */
    const unsigned more = byte(&in);
    wanted |= (more & 1) << 2 | (more & 2) << 2;
    if (s.options.cell == RNNFAST_LSTM) {
        if (s.options.proj_size) wanted |= 1 << 4;
        if (more & 4) wanted |= s.options.coupled_gates ? 5 << 5 : 7 << 5;
    }
    if (more >= 250) wanted = byte(&in);
    rnnfast_weights *weights = can_make(&s) ? make_weights(&s, wanted) : NULL;
    rnnfast_plan *plan = rnnfast->create(more == 249 ? NULL : &options, weights);
    if (!plan) check(RNNFAST_INVALID);
    for (int n = 0; plan && n < 6 && in.left; n++) call(&in, plan, &s, weights, wanted);
    rnnfast->destroy(plan);
    free_weights(&s, weights);
    return 0;
}
