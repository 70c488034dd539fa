# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The time loops, forward and backpropagation through time, over the C kernels, without the GIL.

Everything here takes arrays that the Python above has checked. A call lays out its scratch memory, packs the weights,
and hands one job to a team of workers; a worker runs its share of every chunk of time. Work is split over the rows of
the batch (no worker waits for another) or over the hidden units (a barrier at each step, and each worker's slice of the
weights stays in its own cache). No split changes a bit of any result.

One compiled module in seven files: settings.pxi, layout.pxi, plan.pxi and cell.pxi come first, stepper.pxi and linear.pxi
last.
"""
import os

import numpy as np

cimport cython
cimport numpy as cnp
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from rnnfast._core.kernels cimport *

cnp.import_array()

cdef extern from *:
    """
    /* Runs pending signal handlers; -1 leaves the exception set for raise_pending. Needs the GIL. */
    static int signals_raise(void) { return PyErr_CheckSignals(); }
    static int raise_pending(void) { return PyErr_Occurred() ? -1 : 0; }
    """
    int signals_raise() noexcept
    int raise_pending() except -1

include "settings.pxi"
include "layout.pxi"
include "plan.pxi"
include "cell.pxi"


# ---- forward -----------------------------------------------------------------------------------------------------

cdef struct ForwardJob:
    const Kernels *k
    Pass p
    Product project      # all rows of x and of gates; a worker takes parts
    Blocks w_ih, w_hh
    const void *b_ih
    const void *b_hh
    void *w_project      # [X*H/(4V)][I][4][V]: W_ih packed flat over its rows
    void *w_step         # [H/V][H][G][V]: W_hh packed by gates (flat if G = 1)
    void *bias           # [S*H]
    Py_ssize_t chunk     # steps projected at once
    int split
    Interrupts interrupts

cdef void add_biases(const Kernels *k, const Pass *p, const void *b_ih, const void *b_hh, void *bias) noexcept nogil:
    """bias [S*H] = b_ih in the slots of the input's window + b_hh in those of the state's; NULL is zero."""
    cdef Blocks window_ih = window(p, False, b_ih, 1), window_hh = window(p, True, b_hh, 1)
    memset(bias, 0, p.S * p.H * k.real_size)
    if b_ih != NULL:
        k.add_bias(&window_ih, bias)
    if b_hh != NULL:
        k.add_bias(&window_hh, at(bias, (p.S - p.G) * p.H, k))

cdef inline Py_ssize_t hidden_groups(const Kernels *k, const Pass *p) noexcept nogil:
    """Groups of hidden units in the forward step (csrc/kernels/step.h)."""
    return k.groups_of(p.H) if p.G == 1 else padded(p.H, k) // k.lanes

cdef void pack_for_forward(const Kernels *k, const Pass *p, const Blocks *w_ih, void *w_project, const Blocks *w_hh,
                           void *w_step, int worker, int workers) noexcept nogil:
    """A worker's share of both weights."""
    cdef Py_ssize_t columns = k.groups_of(p.X * p.H), units = hidden_groups(k, p)
    k.pack_by_rows(w_ih, w_project, share(columns, worker, workers), share(columns, worker + 1, workers))
    k.pack_by_gates(w_hh, w_step, share(units, worker, workers), share(units, worker + 1, workers))

cdef void forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef ForwardJob *job = <ForwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass p = job.p
    cdef Product project
    cdef Py_ssize_t groups = hidden_groups(k, &p), s0 = 0, s1, s, q, b0 = 0, b1 = p.B, g0 = 0, g1 = groups
    cdef bint together = workers > 1 and job.split == BY_UNITS
    cdef int chunk = 0

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
    else:
        b0, b1 = share(p.B, worker, workers), share(p.B, worker + 1, workers)
    pack_for_forward(k, &p, &job.w_ih, job.w_project, &job.w_hh, job.w_step, worker, workers)
    if worker == 0:
        add_biases(k, &p, job.b_ih, job.b_hh, job.bias)
    threads_barrier(team)
    while s0 < p.T:
        s1 = min(s0 + job.chunk, p.T)
        chunk += 1
        if not p.save:
            p.first = s0
        project = job.project
        project.a = part(project.a, s0, b0, b1, k)
        project.out = part(project.out, s0 - p.first, b0, b1, k)
        q = (s1 - s0) * (b1 - b0)
        if together:
            product_share(k, &project, q, worker, workers)
            threads_barrier(team)
        else:
            product_share(k, &project, q, 0, 1)
        for s in range(s0, s1):
            k.step_forward[p.cell](&p, s, b0, b1, g0, g1)
            if together and s < s1 - 1:
                threads_barrier(team)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        if together:
            threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        s0 = s1


cpdef forward(Cell cell, Py_ssize_t number, cnp.ndarray x, h0, c0, cnp.ndarray y, cnp.ndarray h, c, gates, c_steps):
    """One layer in one direction; shapes as in `functional.pass_forward`.

    The states are those of all passes, of which this one reads and writes entry `number`; y is that of all directions.
    gates [T*B*S*H or more] and c_steps [T*B*H or more] (lstm) are kept for `backward`; None evaluates and keeps nothing.
    """
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef void *h_final = entry(h, number)
    cdef void *c_final = entry(c, number)
    cdef size_t sizes[5]
    cdef void *parts[5]
    cdef void *block
    cdef Plan planned

    if T == 0 or B == 0:
        begin(h_final, entry(h0, number), B * H * size)
        if c is not None:
            begin(c_final, entry(c0, number), B * H * size)
        return
    memset(&job, 0, sizeof(job))
    set_cell(p, cell.kind)
    p.nonlinearity, p.save, p.T, p.B, p.H = cell.nonlinearity, gates is not None, T, B, H
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, LEAST_ROWS)
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), window(p, True, data(cell.weight_hh), H)
    job.b_ih, job.b_hh = data(cell.bias_ih), data(cell.bias_hh)

    sizes = [I * padded(p.X * H, k) * size, p.G * padded(H, k) * H * size, p.S * H * size,
             B * H * size if h0 is None or (c is not None and c0 is None) else 0,
             0 if p.save else job.chunk * B * p.S * H * size]
    block = workspace_take(5, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the gates of one chunk of time")
    memset(parts[3], 0, sizes[3])
    job.w_project, job.w_step, job.bias = parts[0], parts[1], parts[2]
    p.w_step = job.w_step
    p.y = cell.part_of(y, number, k)
    p.h0 = parts[3] if h0 is None else entry(h0, number)
    p.gates = packed_rows(data(gates) if p.save else parts[4], B, p.S * H)
    if c is not None:
        p.c0 = parts[3] if c0 is None else entry(c0, number)
        p.c = data(c_steps) if p.save else c_final
        p.c_stride = B * H if p.save else 0
    job.project = Product(I, p.X * H, (p.S - p.X) * H, cell.rows(x, k), job.w_project, job.bias, p.gates)
    planned = plan(k, T, 2.0 * B * (I + H) * p.G * H, B, hidden_groups(k, p), <double>H * H * p.G * size, START_NS)
    job.split = planned.split
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(forward_worker, &job, planned.workers)
        workspace_give(block)
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()
    copy_step(p.y, T - 1, H, h_final, k)
    if c is not None and p.save:
        copy_step(packed_rows(p.c, B, H), T - 1, H, c_final, k)


def evaluate(list cells, int directions, cnp.ndarray x, h0, c0, bint batch_first):
    """All passes of a stack, keeping nothing: y, h and c (None but for the LSTM). What a layer does when it is called; here,
    because for a single step of a small layer the way through Python takes longer than the work."""
    cdef Py_ssize_t T = cnp.PyArray_DIM(x, 0), B = cnp.PyArray_DIM(x, 1), passes = len(cells), number
    cdef Cell cell = cells[0]
    cdef Py_ssize_t H = cell.hidden_size
    cdef cnp.dtype dtype = x.dtype
    h = blank(passes, B, H, dtype)
    c = blank(passes, B, H, dtype) if cell.kind == LSTM else None
    y = x
    for number in range(passes):
        if number % directions == 0:
            x, y = y, blank(T, B, directions * H, dtype, batch_first and number == passes - directions)
        forward(cells[number], number, x, h0, c0, y, h, c, None, None)
    return y, h, c


# ---- backward ----------------------------------------------------------------------------------------------------

cdef struct BackwardJob:
    const Kernels *k
    Pass p
    Product dx           # all rows of gates and of dx; a worker takes parts
    GradientProduct dw_ih, dw_hh
    Rows d, x, h_prev    # the rows of the gradient products, last step first: [T*B, S*H], [T*B, I], [(T-1)*B, H]
    Rows h0              # [B, H]
    Blocks w_ih, w_hh, w_ih_grad, w_hh_grad
    void *w_dx           # [I/(4V)][X*H][4][V]: W_ih packed flat over its I columns
    void *w_back         # [H/(4V)][G*H][4][V]: W_hh packed flat over its H columns
    void *packed_d       # [GRADIENT_ROWS, S*H] packed, each worker in its groups
    void *operand        # [workers][GRADIENT_ROWS][operand_stride]
    Py_ssize_t operand_size
    void *db             # [S*H] sum of d
    Py_ssize_t chunk
    int split
    Interrupts interrupts

cdef void add_weight_gradients(BackwardJob *job, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                               void *packed_d, void *operand) noexcept nogil:
    """The rows q0..q1 (last step first) into groups g0..g1 of both weights' gradients and of the biases'."""
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef Py_ssize_t q, end, steps, n
    cdef Py_ssize_t inner = (p.T - 1) * p.B   # rows whose previous state is in y; the last B have the initial state
    q = q0
    while q < q1:
        end = min(q + GRADIENT_ROWS, q1)
        n = end - q
        k.pack_gradient(&job.d, p.S * p.H, q, end, g0, g1, packed_d, job.db)
        k.pack_operand(&job.x, job.dw_ih.K, q, end, operand)
        k.gradient_product(&job.dw_ih, n, g0, g1, packed_d, operand)
        steps = max(0, min(end, inner) - q)
        if steps:
            k.pack_operand(&job.h_prev, p.H, q, q + steps, operand)
        if steps < n:
            k.pack_operand(&job.h0, p.H, q + steps - inner, end - inner, at(operand, steps * k.operand_stride(p.H), k))
        k.gradient_product(&job.dw_hh, n, g0, g1, packed_d, operand)
        q = end

cdef void backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef BackwardJob *job = <BackwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef Py_ssize_t groups = k.groups_of(p.H), columns = k.groups_of(p.S * p.H)
    cdef Py_ssize_t w0 = share(columns, worker, workers), w1 = share(columns, worker + 1, workers)
    cdef Py_ssize_t b0 = 0, b1 = p.B, g0 = 0, g1 = groups, s0, s1 = p.T, s, q
    cdef bint together = workers > 1 and job.split == BY_UNITS
    cdef int chunk = 0

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
    else:
        b0, b1 = share(p.B, worker, workers), share(p.B, worker + 1, workers)
    k.pack_by_columns(&job.w_hh, job.w_back, share(groups, worker, workers), share(groups, worker + 1, workers))
    if job.dx.out.data != NULL:
        q = k.groups_of(job.dx.C)
        k.pack_by_columns(&job.w_ih, job.w_dx, share(q, worker, workers), share(q, worker + 1, workers))
    threads_barrier(team)
    while s1 > 0:
        s0 = max(s1 - job.chunk, 0)
        chunk += 1
        for s in range(s1 - 1, s0 - 1, -1):
            k.step_backward[p.cell](p, s, b0, b1, g0, g1)
            if together and s > s0:
                threads_barrier(team)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        # Flat over the chunk's rows, while another worker may be in the steps before them, which only read these rows.
        add_weight_gradients(job, (p.T - s1) * p.B, (p.T - s0) * p.B, w0, w1,
                             at(job.packed_d, w0 * k.columns * GRADIENT_ROWS, k), at(job.operand, worker * job.operand_size, k))
        if job.dx.out.data != NULL:
            q = s1 * p.B - s0 * p.B
            k.product(&job.dx, s0 * p.B + share(q, worker, workers), s0 * p.B + share(q, worker + 1, workers),
                      0, k.groups_of(job.dx.C))
        s1 = s0
    k.step_backward[p.cell](p, -1, b0, b1, g0, g1)
    k.unpack_gradient(&job.dw_ih, w0, w1, &job.w_ih_grad)
    k.unpack_gradient(&job.dw_hh, w0, w1, &job.w_hh_grad)


def backward(Cell cell, Py_ssize_t number, cnp.ndarray x, h0, c0, cnp.ndarray y, gates, c_steps, dy, dh_final, dc_final, dx,
             cnp.ndarray dh, dc, dweight_ih, dweight_hh, dbias_ih, dbias_hh):
    """The way back of `forward` with gates. Writes gates (the gradients of the pre-activations), dx (None: not wanted),
    dh and dc, the weights' and, if not None, the biases' gradients. The finals and dy may be None: zero."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef Blocks db_ih, db_hh
    cdef size_t sizes[8]
    cdef void *parts[8]
    cdef void *block
    cdef Plan planned

    begin(entry(dh, number), entry(dh_final, number), B * H * size)
    if dc is not None:
        begin(entry(dc, number), entry(dc_final, number), B * H * size)
    if T == 0 or B == 0:
        for gradient in (dweight_ih, dweight_hh, dbias_ih, dbias_hh):
            if gradient is not None:
                gradient[...] = 0
        return
    memset(&job, 0, sizeof(job))
    set_cell(p, cell.kind)
    p.nonlinearity, p.T, p.B, p.H = cell.nonlinearity, T, B, H
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    planned = plan(k, 2 * T, 2.0 * B * (I + H) * p.G * H, B, k.groups_of(H), <double>H * H * p.G * size, START_NS)
    job.split = planned.split
    job.operand_size = GRADIENT_ROWS * max(k.operand_stride(I), k.operand_stride(H))

    sizes = [0 if dx is None else p.X * H * padded(I, k) * size, p.G * H * padded(H, k) * size,
             GRADIENT_ROWS * padded(p.S * H, k) * size, planned.workers * job.operand_size * size,
             padded(p.S * H, k) * size, padded(p.S * H, k) * I * size, padded(p.S * H, k) * H * size,
             B * H * size if h0 is None or (dc is not None and c0 is None) else 0]
    block = workspace_take(8, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    for n in range(4, 8):
        memset(parts[n], 0, sizes[n])
    job.w_dx, job.w_back, job.packed_d, job.operand, job.db = parts[0], parts[1], parts[2], parts[3], parts[4]
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), window(p, True, data(cell.weight_hh), H)
    job.w_ih_grad, job.w_hh_grad = window(p, False, data(dweight_ih), I), window(p, True, data(dweight_hh), H)
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, parts[5])
    job.dw_hh = GradientProduct(H, p.S * H, (p.S - p.G) * H, p.S * H, parts[6])
    p.w_back = job.w_back
    p.y = cell.part_of(y, number, k)
    p.gates = packed_rows(data(gates), B, p.S * H)
    p.h0 = parts[7] if h0 is None else entry(h0, number)
    p.dh = entry(dh, number)
    if dc is not None:
        p.c0 = parts[7] if c0 is None else entry(c0, number)
        p.c, p.c_stride, p.dc = data(c_steps), B * H, entry(dc, number)
    if dy is not None:
        p.dy = cell.part_of(dy, number, k)
    job.d, job.x = last_first(p.gates, T, k), last_first(cell.rows(x, k), T, k)
    job.h_prev, job.h0 = last_first(p.y, max(1, T - 1), k), packed_rows(<void *>p.h0, B, H)
    if dx is not None:
        job.dx = Product(p.X * H, I, 0, p.gates, job.w_dx, NULL, cell.rows(dx, k))
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(backward_worker, &job, planned.workers)
    db_ih, db_hh = window(p, False, data(dbias_ih), 1), window(p, True, data(dbias_hh), 1)
    if dbias_ih is not None:
        k.unpack_bias(&db_ih, job.db)
    if dbias_hh is not None:
        k.unpack_bias(&db_hh, at(job.db, (p.S - p.G) * H, k))
    workspace_give(block)
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()


# ---- random masks, vector functions ------------------------------------------------------------------------------

cdef struct MaskJob:
    const Kernels *k
    uint64_t seed
    uint32_t call, layer
    Py_ssize_t T, B, N
    double p
    void *mask

cdef void mask_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef MaskJob *job = <MaskJob *>argument
    job.k.dropout(job.seed, job.call, job.layer, share(job.T, worker, workers), share(job.T, worker + 1, workers), job.B, job.N,
                  job.p, job.mask)


def dropout_mask(seed, call, layer, shape, double p, dtype):
    """A mask [T, B, N] of 0 (with probability p) and 1 / (1 - p), keyed by (seed, call, layer, t, row, unit)."""
    mask = np.empty(shape, dtype)
    cdef MaskJob job = MaskJob(kernels_for(mask), seed & 0xFFFFFFFFFFFFFFFF, call & 0xFFFFFFFF, layer & 0xFFFFFFFF,
                               shape[0], shape[1], shape[2], p, data(mask))
    cdef Plan planned = plan(job.k, job.T, 20.0 * job.B * job.N, job.T, 1, 0, START_NS)
    with nogil:
        threads_run(mask_worker, &job, planned.workers)
    return mask


cdef struct VmathJob:
    const Kernels *k
    int function
    Py_ssize_t n
    const void *x
    void *y

cdef void vmath_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef VmathJob *job = <VmathJob *>argument
    job.k.vmath[job.function](job.n, job.x, job.y)


def vmath(name, x):
    """The vector function "exp", "tanh" or "sigmoid" of the kernels in use, on a contiguous float array. For tests."""
    y = np.empty_like(x)
    cdef VmathJob job = VmathJob(kernels_for(x), ("exp", "tanh", "sigmoid").index(name), x.size, data(x), data(y))
    threads_run(vmath_worker, &job, 1)
    return y


cdef struct PeakJob:
    const Kernels *k
    Py_ssize_t turns
    int workers

cdef void peak_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef PeakJob *job = <PeakJob *>argument
    job.k.fma_chains(job.turns)
    if worker == 0:
        job.workers = workers


def fma_chains(dtype, turns):
    """Nothing but `turns` rounds of FMAs on every thread: how many flops that were. For benchmarks."""
    cdef PeakJob job = PeakJob(kernels_for(np.empty(0, dtype)), turns, 0)
    with nogil:
        threads_run(peak_worker, &job, threads)
    return 2.0 * CHAINS * job.k.lanes * turns * job.workers


include "stepper.pxi"
include "linear.pxi"
