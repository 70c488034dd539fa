/* What the programs over the C API share: Python, which loads its table, and plans with all the arrays that their calls need. Each
 * array has the documented size to the byte, so that AddressSanitizer sees any access beyond it. */
#ifndef PLANS_H
#define PLANS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <rnnfast.h>
#include <stdlib.h>

static const rnnfast_api *rnnfast;

/* Starts Python and reads the table; `program` is Python that runs before. The calling thread gives up the GIL: from here on nothing
 * needs Python. */
static void load_table(const char *program)
{
    Py_InitializeEx(0);
    if (PyRun_SimpleString(program) || !(rnnfast = rnnfast_import())) {
        PyErr_Print();
        exit(2);
    }
    PyEval_SaveThread();
}

enum { WEIGHTS = sizeof(rnnfast_weights) / sizeof(void *) };

typedef struct {
    rnnfast_options options; /* with the defaults filled in */
    ptrdiff_t D, G, P, size; /* directions, gates, width of h, bytes of a number */
} Sizes;

static Sizes sizes_of(const rnnfast_options *given)
{
    Sizes s;
    memset(&s, 0, sizeof s);
    memcpy(&s.options, given, given->struct_size < sizeof s.options ? given->struct_size : sizeof s.options);
    rnnfast_options *o = &s.options;
    if (o->num_layers == 0) o->num_layers = 1;
    if (o->batch == 0) o->batch = 1;
    s.D = o->bidirectional ? 2 : 1;
    s.G = o->cell == RNNFAST_RNN ? 1 : o->cell == RNNFAST_GRU || o->coupled_gates ? 3 : 4;
    s.P = o->proj_size ? o->proj_size : o->hidden_size;
    s.size = o->dtype == RNNFAST_FLOAT64 ? 8 : 4;
    return s;
}

/* Numbers between -1 and 1 that follow from their place. */
static void *numbers(ptrdiff_t count, ptrdiff_t size)
{
    void *array = malloc((size_t)(count * size));
    if (!array) abort();
    uint32_t word = 12345;
    for (ptrdiff_t n = 0; n < count; n++) {
        word = word * 1664525u + 1013904223u;
        const double value = (double)(int32_t)word * 0x1p-31;
        if (size == 8) ((double *)array)[n] = value;
        else ((float *)array)[n] = (float)value;
    }
    return array;
}

/* How many numbers weight w (by its place in rnnfast_weights) of a pass has. */
static ptrdiff_t weight_numbers(const Sizes *s, ptrdiff_t pass, int w)
{
    const ptrdiff_t H = s->options.hidden_size, I = pass < s->D ? s->options.input_size : s->D * s->P;
    const ptrdiff_t counts[WEIGHTS] = {s->G * H * I, s->G * H * s->P, s->G * H, s->G * H, s->P * H, H, H, H};
    return counts[w];
}

/* The weights of all passes; `wanted` has a bit for each weight that is not NULL. */
static rnnfast_weights *make_weights(const Sizes *s, unsigned wanted)
{
    const ptrdiff_t passes = s->options.num_layers * s->D;
    rnnfast_weights *weights = calloc((size_t)passes, sizeof *weights);
    if (!weights) abort();
    for (ptrdiff_t n = 0; n < passes; n++)
        for (int w = 0; w < WEIGHTS; w++)
            if (wanted >> w & 1) ((void **)&weights[n])[w] = numbers(weight_numbers(s, n, w), s->size);
    return weights;
}

static void free_weights(const Sizes *s, rnnfast_weights *weights)
{
    for (ptrdiff_t n = 0; weights && n < s->options.num_layers * s->D; n++)
        for (int w = 0; w < WEIGHTS; w++) free(((void **)&weights[n])[w]);
    free(weights);
}

#endif
