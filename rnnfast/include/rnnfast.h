/* rnnfast from C and C++: a table of functions that run recurrent networks without Python.
 *
 *     const rnnfast_api *rnnfast = rnnfast_import();      Python loads the table: with the GIL, once
 *     rnnfast_plan *plan = rnnfast->create(&options, weights);
 *     rnnfast->step(plan, x_t, y_t);                      no Python from here on: any thread, with or without the GIL
 *     rnnfast->destroy(plan);
 *
 * A plan is a stack of recurrent layers with its weights packed, its state, and all the memory that its calls need. No
 * function but `create` and `destroy` allocates memory or takes a lock of Python's. (Two things are allocated later, once: the
 * workers, by the first call that needs them, and a few bytes of the C library for each thread.) Results have the
 * bits of rnnfast.RNN, LSTM and GRU with the same weights and the same matmul_precision, for any number of threads.
 *
 * Dims: T steps, B sequences (batch), I input_size, H hidden_size, P proj_size or H, L num_layers, D 2 if bidirectional else
 * 1, G gates (RNN 1, GRU 3, LSTM 4, with coupled gates 3). Arrays are row-major without gaps, of the plan's dtype, aligned
 * as their numbers, and belong to the caller. Names, shapes and the order of gates are PyTorch's: LSTM i, f, g, o (coupled
 * i, g, o), GRU r, z, n. Pass n is layer n / D in direction n % D, forward before reverse.
 *
 * Errors: a function that returns int gives RNNFAST_OK or a negative code, `create` gives NULL; `last_error` then says what
 * is wrong. A call that fails has written nothing.
 *
 * Threads: a plan serves one caller at a time. Different plans are independent of each other: any threads may call them at
 * once; one of them gets the pool of workers, the others run on their own threads.
 *
 * Include Python.h first for `rnnfast_import`; files that only call the table need no Python. rnnfast.get_include() says
 * where this file is; Cython finds the same names in rnnfast.capi.
 */
#ifndef RNNFAST_H
#define RNNFAST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when a program must be compiled again. The table and the structs grow at their ends without such a change: what a
 * struct_size leaves out counts as zero. */
#define RNNFAST_API_VERSION 1

/* Codes. */
enum {
    RNNFAST_OK = 0,
    RNNFAST_INVALID = -1,   /* an argument is not what is expected */
    RNNFAST_NO_MEMORY = -2,
    RNNFAST_ORDER = -3      /* a call that must come first has not: `backward` without `forward` */
};

/* The default comes first: it is zero. */
enum { RNNFAST_RNN, RNNFAST_LSTM, RNNFAST_GRU };                           /* rnnfast_options.cell */
enum { RNNFAST_FLOAT32, RNNFAST_FLOAT64, RNNFAST_BFLOAT16, RNNFAST_INT8 }; /* .dtype, .matmul_precision: see there */
enum { RNNFAST_TANH, RNNFAST_RELU, RNNFAST_SIGMOID, RNNFAST_IDENTITY };    /* .nonlinearity */

/* What a plan is for. Begin with rnnfast_default_options(); all that a plan needs beside are the sizes. */
typedef struct {
    size_t struct_size;     /* sizeof(rnnfast_options) */
    int32_t cell;
    int32_t dtype;          /* of all arrays: RNNFAST_FLOAT32 or RNNFAST_FLOAT64 */
    int32_t nonlinearity;   /* of the RNN */
    int32_t bidirectional;  /* nonzero: D is 2 */
    int32_t coupled_gates;  /* nonzero: f = 1 - i (LSTM) */
    int32_t reset_before;   /* nonzero: r acts before the product with W_hn (GRU), as reset_after=False */
    int32_t training;       /* nonzero: `forward` and `backward`, and the memory for max_steps of gates */
    int32_t threads;        /* the most threads of a call, the caller's included; 0: as many as a layer now uses */
    ptrdiff_t input_size;   /* I, at least 1 */
    ptrdiff_t hidden_size;  /* H, at least 1 */
    ptrdiff_t proj_size;    /* P < H, or 0 for none (LSTM) */
    ptrdiff_t num_layers;   /* L; 0 is 1 */
    ptrdiff_t batch;        /* B; 0 is 1 */
    ptrdiff_t max_steps;    /* T of `run` and `forward` at most, to be set for them; 0: `step` alone */
    double cell_clip;       /* the bound of the LSTM's c; 0: none */
    int32_t matmul_precision; /* what products round their operands to: RNNFAST_FLOAT32, or where dtype is RNNFAST_FLOAT32
                                 also RNNFAST_BFLOAT16 or, without training, RNNFAST_INT8. All arrays keep their dtype */
} rnnfast_options;

/* Zeros, with struct_size set. */
static inline rnnfast_options rnnfast_default_options(void)
{
    rnnfast_options options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

/* The weights of one pass, or their gradients. `create` and `refresh` only read them, `backward` only writes. Either all or
 * none of the peepholes; the same of them in every pass. */
typedef struct {
    void *weight_ih; /* [G*H, I], in the layers above the first [G*H, D*P] */
    void *weight_hh; /* [G*H, P] */
    void *bias_ih;   /* [G*H], or NULL: zero */
    void *bias_hh;   /* [G*H], or NULL: zero */
    void *weight_hr; /* [P, H] with proj_size, else NULL */
    void *weight_ci; /* [H] peepholes of the LSTM, or NULL */
    void *weight_cf; /* [H]; NULL with coupled gates */
    void *weight_co; /* [H] */
} rnnfast_weights;

/* The arguments of `backward`. NULL IN is zero; NULL OUT is not wanted. Begin with rnnfast_no_gradients(). */
typedef struct {
    size_t struct_size;             /* sizeof(rnnfast_gradients) */
    const void *dy;                 /* IN  [T, B, D*P] of y; not read past the lengths */
    const void *dh;                 /* IN  [L*D, B, P] of the final state */
    const void *dc;                 /* IN  [L*D, B, H] of the final state (LSTM) */
    void *dx;                       /* OUT [T, B, I] */
    void *dh_initial;               /* OUT [L*D, B, P] */
    void *dc_initial;               /* OUT [L*D, B, H] (LSTM) */
    const rnnfast_weights *weights; /* OUT [L*D]: each written, not added to; a pointer for every weight of the plan, and
                                       none for others. NULL: no weight's gradient is made, which saves its time */
} rnnfast_gradients;

/* Zeros, with struct_size set. */
static inline rnnfast_gradients rnnfast_no_gradients(void)
{
    rnnfast_gradients gradients;
    memset(&gradients, 0, sizeof gradients);
    gradients.struct_size = sizeof gradients;
    return gradients;
}

typedef struct rnnfast_plan rnnfast_plan;

typedef struct {
    size_t struct_size; /* of the table that is there: functions are added at its end */
    int32_t version;    /* its RNNFAST_API_VERSION */

    /* What was wrong with the last call of this thread that failed: "name: expected ..., got ...". Valid until the next. */
    const char *(*last_error)(void);

    /* A plan with a zero state and a copy of these weights. NULL: see last_error.
     *   options IN; weights IN [L*D]. Neither is referred to afterwards. */
    rnnfast_plan *(*create)(const rnnfast_options *options, const rnnfast_weights *weights);

    /* Frees a plan; NULL is allowed. */
    void (*destroy)(rnnfast_plan *plan);

    /* Takes over new weights, there being the same ones as in `create`; the state stays. A `forward` before it can no longer
     * go back.
     *   weights IN [L*D] */
    int (*refresh)(rnnfast_plan *plan, const rnnfast_weights *weights);

    /* One step of all layers, from the plan's state to its next: what rnnfast's streams do. Not if bidirectional.
     *   x IN [B, I]; y OUT [B, P] */
    int (*step)(rnnfast_plan *plan, const void *x, void *y);

    /* T steps, from the plan's state to its next, T in 0..max_steps. x and y do not overlap.
     *   x       IN  [T, B, I], not read past the lengths
     *   y       OUT [T, B, D*P], zero past the lengths
     *   lengths IN  [B] steps of each sequence, 0..T; NULL: all have T
     *   reset   IN  [T, B] nonzero: the state is set to zero before x[t, b] is read; NULL: nowhere */
    int (*run)(rnnfast_plan *plan, ptrdiff_t T, const void *x, void *y, const ptrdiff_t *lengths, const uint8_t *reset);

    /* The same with what `backward` needs, for a plan made for training. Until then leave x and y where they are, unwritten. */
    int (*forward)(rnnfast_plan *plan, ptrdiff_t T, const void *x, void *y, const ptrdiff_t *lengths,
                   const uint8_t *reset);

    /* Back through the last `forward`, once. A `run`, a `refresh` or another `forward` in between gives it up; a call that gave
     * RNNFAST_INVALID does not, nor do steps and changes of the state. The state stays. */
    int (*backward)(rnnfast_plan *plan, const rnnfast_gradients *gradients);

    /* Copies the state. A part that is NULL is left out.
     *   h OUT [L*D, B, P]; c OUT [L*D, B, H] (LSTM, else NULL) */
    int (*get_state)(const rnnfast_plan *plan, void *h, void *c);

    /* Sets the state. A part that is NULL is set to zero.
     *   h IN [L*D, B, P]; c IN [L*D, B, H] (LSTM, else NULL) */
    int (*set_state)(rnnfast_plan *plan, const void *h, const void *c);

    /* Sets the state of the chosen sequences to zero.
     *   mask IN [B] nonzero: these; NULL: all */
    int (*reset)(rnnfast_plan *plan, const uint8_t *mask);
} rnnfast_api;

#ifdef Py_PYTHON_H
/* The table, or NULL with a Python exception set: ImportError where the installed rnnfast has another version of the table, or
 * an older one with fewer functions. It stays valid until the process ends. Needs the GIL. */
static inline const rnnfast_api *rnnfast_import(void)
{
    const rnnfast_api *api = (const rnnfast_api *)PyCapsule_Import("rnnfast._core._C_API", 0);
    if (api && (api->version != RNNFAST_API_VERSION || api->struct_size < sizeof(rnnfast_api))) {
        PyErr_Format(PyExc_ImportError,
                     "rnnfast: this module was compiled for version %d of its C API (a table of %zu bytes), but the installed "
                     "rnnfast has version %d (%zu bytes): %s",
                     RNNFAST_API_VERSION, sizeof(rnnfast_api), (int)api->version, api->struct_size,
                     api->version > RNNFAST_API_VERSION ? "compile the module again" : "install a newer rnnfast");
        return NULL;
    }
    return api;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
