"""rnnfast.h for Cython: `from rnnfast.capi cimport *`. Compile with rnnfast.get_include() among the include_dirs.

    cdef const rnnfast_api *rnnfast = rnnfast_import()      # with the GIL, once; NULL raises

rnnfast.h documents meanings, shapes, threads and lifetimes.
"""
from libc.stdint cimport int32_t, uint8_t

cdef extern from "rnnfast.h" nogil:
    enum:
        RNNFAST_API_VERSION
        RNNFAST_OK, RNNFAST_INVALID, RNNFAST_NO_MEMORY, RNNFAST_ORDER
        RNNFAST_RNN, RNNFAST_LSTM, RNNFAST_GRU
        RNNFAST_FLOAT32, RNNFAST_FLOAT64, RNNFAST_BFLOAT16, RNNFAST_INT8
        RNNFAST_TANH, RNNFAST_RELU, RNNFAST_SIGMOID, RNNFAST_IDENTITY

    ctypedef struct rnnfast_options:
        size_t struct_size
        int32_t cell, dtype, nonlinearity, bidirectional, coupled_gates, reset_before, training, threads
        Py_ssize_t input_size, hidden_size, proj_size, num_layers, batch, max_steps
        double cell_clip
        int32_t matmul_precision

    rnnfast_options rnnfast_default_options()

    ctypedef struct rnnfast_weights:
        void *weight_ih
        void *weight_hh
        void *bias_ih
        void *bias_hh
        void *weight_hr
        void *weight_ci
        void *weight_cf
        void *weight_co

    ctypedef struct rnnfast_gradients:
        size_t struct_size
        const void *dy
        const void *dh
        const void *dc
        void *dx
        void *dh_initial
        void *dc_initial
        const rnnfast_weights *weights

    rnnfast_gradients rnnfast_no_gradients()

    ctypedef struct rnnfast_plan:
        pass

    ctypedef struct rnnfast_api:
        size_t struct_size
        int32_t version
        const char *(*last_error)() noexcept nogil
        rnnfast_plan *(*create)(const rnnfast_options *, const rnnfast_weights *) noexcept nogil
        void (*destroy)(rnnfast_plan *) noexcept nogil
        int (*refresh)(rnnfast_plan *, const rnnfast_weights *) noexcept nogil
        int (*step)(rnnfast_plan *, const void *x, void *y) noexcept nogil
        int (*run)(rnnfast_plan *, Py_ssize_t T, const void *x, void *y, const Py_ssize_t *lengths,
                   const uint8_t *reset) noexcept nogil
        int (*forward)(rnnfast_plan *, Py_ssize_t T, const void *x, void *y, const Py_ssize_t *lengths,
                       const uint8_t *reset) noexcept nogil
        int (*backward)(rnnfast_plan *, const rnnfast_gradients *) noexcept nogil
        int (*get_state)(const rnnfast_plan *, void *h, void *c) noexcept nogil
        int (*set_state)(rnnfast_plan *, const void *h, const void *c) noexcept nogil
        int (*reset)(rnnfast_plan *, const uint8_t *mask) noexcept nogil

cdef extern from "rnnfast.h":
    const rnnfast_api *rnnfast_import() except NULL
