# The seam between Cython and C: what csrc/ declares, and nothing of Python.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "rows.h" nogil:
    enum:
        MAX_SLOTS

    ctypedef struct Rows:
        void *data
        Py_ssize_t B, s_stride, b_stride
        const Py_ssize_t *place
        const Py_ssize_t *start

    Py_ssize_t row_offset(const Rows *, Py_ssize_t s, Py_ssize_t b)
    Py_ssize_t rows_in_step(const Rows *, Py_ssize_t s)
    Py_ssize_t rows_before(const Rows *, Py_ssize_t s)

    ctypedef struct Blocks:
        const void *data
        Py_ssize_t height, width, stride
        int heads, count
        int order[MAX_SLOTS]
        const void *scales

    Py_ssize_t padded_to(Py_ssize_t n, Py_ssize_t lanes)
    Py_ssize_t share(Py_ssize_t n, Py_ssize_t i, Py_ssize_t parts)

cdef extern from "cells/table.h" nogil:
    enum:
        MAX_PARTS, MAX_PHASES, MAX_VECTORS, PART_H, PART_C, WEIGHTS, WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, WEIGHT_HR, WEIGHT_CO, CELLS
        LN_IH_WEIGHT, LN_IH_BIAS, LN_HH_WEIGHT, LN_HH_BIAS, LN_C_WEIGHT, LN_C_BIAS
        STEP_UNITS, NO_SLOT, PER_INPUT, PER_HIDDEN, PER_OUTPUT, PER_HEAD_UNIT

    ctypedef struct VectorWeight:
        int weight, slot, operand

    ctypedef struct CellInfo:
        const char *name
        const char *layer
        const char *option
        int option_value
        int plain
        const char *gates
        const char *parts
        int S, X, G
        int heads
        int x_block[MAX_SLOTS]
        int h_block[MAX_SLOTS]
        int required, optional
        int m_weight, m_block, m_slot
        int vectors
        VectorWeight vector[MAX_VECTORS]

    const CellInfo cell_table[]
    const char *const weight_names[]
    bint is_vector(const CellInfo *, int weight)
    int find_cell(const char *layer, int option_value, bint layer_norm)

    ctypedef struct Axis:
        int times, per

    int weight_axes(const CellInfo *, int weight, Axis *axes)
    Py_ssize_t weight_size(const CellInfo *, int weight, Py_ssize_t I, Py_ssize_t H, Py_ssize_t P, Py_ssize_t D)

cdef extern from "pass.h" nogil:
    enum:
        TANH, RELU, SIGMOID, IDENTITY, POSITIVE

    ctypedef struct Product:
        Py_ssize_t K, C, extra
        Rows a
        const void *w
        const void *bias
        Rows out
        int turn

    enum:
        SCRATCH_ROWS

    ctypedef struct Lookup:
        const Py_ssize_t *token
        Py_ssize_t s_stride, b_stride
        const Py_ssize_t *place
        Py_ssize_t C
        void *table

    ctypedef struct GradientProduct:
        Py_ssize_t K, C, c0, c1
        void *sum
        Blocks dw

    ctypedef struct Pass:
        int cell, nonlinearity, save, given, parts, heads, turn
        Py_ssize_t T, B, H, P, D, S, X, G
        double cell_clip
        const Py_ssize_t *order
        const unsigned char *reset
        const void *zeros
        Rows gates
        Py_ssize_t first
        const void *w_step
        const void *w_back
        const void *w_m
        const void *w_m_back
        Rows m
        Rows d_m
        const void *norm
        void *d_norm
        Rows d_out
        const void *vector[MAX_VECTORS]
        void *d_vector[MAX_VECTORS]
        Rows state[MAX_PARTS]
        const void *initial[MAX_PARTS]
        Rows d_steps[MAX_PARTS]
        void *d_state[MAX_PARTS]
        Rows dh_steps
        bint masked
        Rows zone[MAX_PARTS]
        const void *drop
        const void *fed_initial
        Rows fed

    ctypedef struct NormLayout:
        Py_ssize_t slots, gain_x, gain_h, shift, gain_c, shift_c, vectors, count

    NormLayout norm_layout(const Pass *)
    bint is_normed(const Pass *)
    bint has_second_product(const Pass *)
    Py_ssize_t head_width(const Pass *)
    Py_ssize_t part_width(const Pass *, int part)

cdef extern from "layernorm.h" nogil:
    ctypedef struct Norm:
        const void *x
        const void *weight
        const void *bias
        const void *dy
        void *out
        double *moments
        double *dweight
        double *dbias
        Py_ssize_t M, N
        double eps

cdef extern from "kernels.h" nogil:
    enum:
        CHAINS, VMATHS
    ctypedef void scan_function(const Pass *, Py_ssize_t s, Py_ssize_t count, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t g0,
                                Py_ssize_t g1) noexcept nogil
    ctypedef void step_function(const Pass *, Py_ssize_t s, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t g0,
                                Py_ssize_t g1, void *scratch) noexcept nogil
    ctypedef struct Kernels:
        int lanes
        int columns
        int real_size
        int operand_size
        int speed
        int trains
        Py_ssize_t (*depth_of)(Py_ssize_t K) noexcept nogil
        Py_ssize_t (*packed_depth)(Py_ssize_t K) noexcept nogil
        Py_ssize_t (*copy_size)(Py_ssize_t K) noexcept nogil
        Py_ssize_t (*norm_scratch)(const Pass *) noexcept nogil
        void (*pack_by_rows)(const Blocks *, void *, Py_ssize_t g0, Py_ssize_t g1) noexcept nogil
        void (*pack_by_gates)(const Blocks *, void *, Py_ssize_t g0, Py_ssize_t g1) noexcept nogil
        void (*pack_by_columns)(const Blocks *, void *, Py_ssize_t g0, Py_ssize_t g1) noexcept nogil
        void (*add_bias)(const Blocks *, void *) noexcept nogil
        void (*unpack_bias)(const Blocks *, const void *) noexcept nogil
        void (*product)(const Product *, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                        void *scratch) noexcept nogil
        Py_ssize_t (*groups_of)(Py_ssize_t C) noexcept nogil
        Py_ssize_t (*operand_stride)(Py_ssize_t K) noexcept nogil
        void (*pack_gradient)(const Rows *d, Py_ssize_t C, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                              void *out, void *db) noexcept nogil
        bint (*pack_operand)(const Rows *a, Py_ssize_t inner, const Rows *rest, Py_ssize_t K, Py_ssize_t q0, Py_ssize_t q1,
                             void *out) noexcept nogil
        void (*clear_operand)(Py_ssize_t K, Py_ssize_t q, void *a) noexcept nogil
        void (*drop_operand)(const GradientProduct *, const Rows *d, Py_ssize_t q0, Py_ssize_t q1, void *a) noexcept nogil
        void (*gradient_product)(const GradientProduct *, Py_ssize_t rows, bint first, bint last, Py_ssize_t g0,
                                 Py_ssize_t g1, const void *d, const void *a) noexcept nogil
        void (*gather)(const Lookup *, const Pass *, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t b0, Py_ssize_t b1,
                       Py_ssize_t c0, Py_ssize_t c1) noexcept nogil
        void (*scatter)(const Lookup *, const Pass *, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t c0,
                        Py_ssize_t c1) noexcept nogil
        void (*vector_gradients)(const Pass *, Py_ssize_t s0, Py_ssize_t s1, Py_ssize_t j0, Py_ssize_t j1) noexcept nogil
        void (*random_mask)(uint64_t seed, uint32_t call, uint32_t layer, Py_ssize_t t0, Py_ssize_t t1, Py_ssize_t B,
                            Py_ssize_t N, double p, Py_ssize_t split, double q, double chosen, double other, void *mask) noexcept nogil
        void (*rownorm_forward)(const Norm *, Py_ssize_t m0, Py_ssize_t m1) noexcept nogil
        void (*rownorm_backward)(const Norm *, Py_ssize_t m0, Py_ssize_t m1) noexcept nogil
        void (*rownorm_gradients)(const Norm *, Py_ssize_t k0, Py_ssize_t k1) noexcept nogil
        void (*add)(Py_ssize_t n, const void *x, void *y) noexcept nogil
        void (*vmath[VMATHS])(Py_ssize_t n, const void *x, void *y) noexcept nogil
        void (*fma_chains)(Py_ssize_t turns) noexcept nogil

cdef extern from "phases.h" nogil:
    ctypedef struct Phases:
        int count
        step_function *run[MAX_PHASES]
        Py_ssize_t groups[MAX_PHASES]
        scan_function *scan

    Py_ssize_t groups_of_units(const Kernels *, const Pass *, int units)
    Phases forward_phases(const Kernels *, const Pass *)
    Phases backward_phases(const Kernels *, const Pass *)

cdef extern from "dispatch.h" nogil:
    enum:
        FLOAT32, FLOAT64, BFLOAT16, INT8, KINDS
    ctypedef struct Instruction:
        const Kernels *kernels
        bint (*runs_here)() noexcept nogil
        bint (*pays)() noexcept nogil
    ctypedef struct Implementation:
        const char *name
        const char *description
        const Kernels *kernels[4]
        bint (*runs_here)() noexcept nogil
        Instruction instruction[4]
    const Implementation implementations[]
    const Implementation *find_implementation(const char *name)
    long l2_bytes()

cdef extern from "shared.h" nogil:
    ctypedef struct SharedInt:
        pass
    ctypedef struct SharedCount:
        pass
    ctypedef struct SharedKernels:
        pass
    int shared_int "shared_read"(SharedInt *)
    unsigned long long shared_count "shared_read"(SharedCount *)
    const Kernels *shared_kernels "shared_read"(SharedKernels *)
    void shared_set_int "shared_set"(SharedInt *, int)
    void shared_set_kernels "shared_set"(SharedKernels *, const Kernels *)
    void shared_add(SharedCount *, unsigned long long)

cdef extern from "threads.h" nogil:
    ctypedef struct Team
    ctypedef void (*job_function)(void *job, const Team *team, int worker, int workers) noexcept nogil
    int threads_available()
    void threads_run(job_function function, void *job, int workers)
    void threads_barrier(const Team *team)
    void threads_insist(int always)
    ctypedef void (*OpenMPParallel)(void (*function)(void *), void *data, unsigned threads, unsigned flags)
    ctypedef int (*OpenMPCount)()
    ctypedef struct OpenMP:
        OpenMPParallel parallel
        OpenMPCount most, size, number
    void threads_borrow(const OpenMP *runtime)
    void threads_notice_forks()

cdef extern from "interrupts.h" nogil:
    ctypedef struct Interrupts:
        uint64_t environment
    uint64_t fp_enter()
    uint64_t fp_enter_default()
    void fp_leave(uint64_t before)
    void interrupts_begin(Interrupts *, bint main)
    bint interrupts_due(Interrupts *)
    void interrupts_stop(Interrupts *, int chunk)
    bint interrupts_stopped(Interrupts *, int chunk)

cdef extern from "workspace.h" nogil:
    ctypedef struct Workspace:
        pass
    Workspace shared_workspace
    void *workspace_take(Workspace *, int count, const size_t *sizes, void **parts)
    void workspace_give(Workspace *, void *block)
