# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The time loops: forward, backpropagation through time and dense layers, over the C kernels, without the GIL.

Everything here takes arrays that the Python above has checked. A call lays out its scratch memory, packs the weights,
and hands one job to a team of workers; a worker runs its share of every chunk of time. Work is split over the rows of
the batch (no worker waits for another) or over the hidden units (a barrier at each step, and each worker's slice of the
weights stays in its own cache). No split changes a bit of any result.
"""
import os

import numpy as np

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


# ---- configuration: which kernels, how many threads --------------------------------------------------------------

cdef const Implementation *chosen = NULL
cdef int threads = 1
cdef int cores = threads_available()
cdef double l2 = l2_bytes()
cdef int forced_split = -1  # -1: the cost model decides; BY_UNITS, BY_ROWS
cdef enum:
    BY_UNITS, BY_ROWS
    BARRIER_NS = 600
    START_NS = 8000

cdef const Implementation *find(name) except NULL:
    """The implementation of that name, or the best one that runs here if name is None."""
    cdef int n = 0
    while implementations[n].name != NULL:
        if name is None and implementations[n].runs_here():
            return &implementations[n]
        if name is not None and implementations[n].name == name.encode():
            if not implementations[n].runs_here():
                raise ValueError(f"RNNFAST_ISA: {name!r} ({implementations[n].description.decode()}) "
                                 f"does not run on this machine, which has {', '.join(available_isas())}")
            return &implementations[n]
        n += 1
    raise ValueError(f"RNNFAST_ISA: expected one of {', '.join(compiled_isas())}, got {name!r}")


def compiled_isas():
    """Names of the instruction sets that this build has kernels for, best first."""
    names = []
    cdef int n = 0
    while implementations[n].name != NULL:
        names.append(implementations[n].name.decode())
        n += 1
    return names


def available_isas():
    """Names of the compiled instruction sets that this machine can run, best first."""
    return [name for n, name in enumerate(compiled_isas()) if implementations[<int>n].runs_here()]


def force_isa(name):
    """Makes every later call use these kernels. For tests: users set RNNFAST_ISA before they import."""
    global chosen
    chosen = find(name)


def get_isa():
    """The name of the kernels in use."""
    return chosen.name.decode()


def force_split(split):
    """Makes every later call split its work "rows" or "units", whatever the cost model says; None frees it. For tests."""
    global forced_split
    forced_split = {None: -1, "units": BY_UNITS, "rows": BY_ROWS}[split]


def set_num_threads(n):
    """Sets how many threads every later call may use.

    Parameters
    ----------
    n : int
        At least 1. Small work runs on one thread whatever `n` is; results never depend on it.

    Raises
    ------
    TypeError, ValueError
        If `n` is no integer, or not in 1..256.

    Examples
    --------
    >>> import rnnfast as rf
    >>> before = rf.get_num_threads()
    >>> rf.set_num_threads(1)
    >>> rf.get_num_threads()
    1
    >>> rf.set_num_threads(before)
    """
    global threads
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n: expected an integer, got {type(n).__name__}")
    if not 1 <= n.__index__() <= 256:
        raise ValueError(f"n: expected a number of threads from 1 to 256, got {n}")
    threads = n.__index__()


def get_num_threads():
    """How many threads a call may use: the cores of this process, RNNFAST_NUM_THREADS, or what `set_num_threads` set.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rf.get_num_threads() >= 1
    True
    """
    return threads


def configure(environment):
    """Reads RNNFAST_ISA and RNNFAST_NUM_THREADS; called once, at import."""
    force_isa(environment.get("RNNFAST_ISA") or None)
    given = environment.get("RNNFAST_NUM_THREADS")
    if not given:
        set_num_threads(cores)
    elif not given.isdecimal() or not 1 <= int(given) <= 256:
        raise ValueError(f"RNNFAST_NUM_THREADS: expected a number of threads from 1 to 256, got {given!r}")
    else:
        set_num_threads(int(given))


configure(os.environ)


# ---- memory and pointers -----------------------------------------------------------------------------------------

cdef inline Py_ssize_t padded(Py_ssize_t n, const Kernels *k) noexcept nogil:
    return (n + k.lanes - 1) // k.lanes * k.lanes

cdef inline void *at(const void *data, Py_ssize_t n, const Kernels *k) noexcept nogil:
    """The n-th number behind data."""
    return <char *>data + n * k.real_size

cdef inline void *data(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline Rows rows_of(array) noexcept:
    """The rows of a [T, B, N] array whose last axis is contiguous."""
    cdef cnp.ndarray a = <cnp.ndarray>array
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    return Rows(cnp.PyArray_DATA(a), cnp.PyArray_DIM(a, 1), cnp.PyArray_STRIDE(a, 0) // size, cnp.PyArray_STRIDE(a, 1) // size)

cdef inline Rows packed_rows(void *data, Py_ssize_t B, Py_ssize_t N) noexcept nogil:
    """Rows of N numbers without gaps."""
    return Rows(data, B, B * N, N)

cdef inline Rows part(Rows rows, Py_ssize_t s, Py_ssize_t b0, Py_ssize_t b1, const Kernels *k) noexcept nogil:
    """The rows b0..b1 of the steps from s on."""
    return Rows(at(rows.data, s * rows.s_stride + b0 * rows.b_stride, k), b1 - b0, rows.s_stride, rows.b_stride)

cdef inline Rows last_first(Rows rows, Py_ssize_t steps, const Kernels *k) noexcept nogil:
    """The rows of these steps, the last step first."""
    return Rows(at(rows.data, (steps - 1) * rows.s_stride, k), rows.B, -rows.s_stride, rows.b_stride)

cdef inline Py_ssize_t share(Py_ssize_t n, int worker, int workers) noexcept nogil:
    """Where this worker's share of n things starts."""
    return n * worker // workers

cdef inline void product_share(const Kernels *k, const Product *p, Py_ssize_t q, int worker, int workers) noexcept nogil:
    """A worker's share of q rows; of the columns where the rows are few."""
    cdef Py_ssize_t groups = k.groups_of(p.C)
    if q >= 8 * workers:
        k.product(p, share(q, worker, workers), share(q, worker + 1, workers), 0, groups)
    else:
        k.product(p, 0, q, share(groups, worker, workers), share(groups, worker + 1, workers))

cdef const Kernels *kernels_for(array) noexcept:
    return chosen.float32 if cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 4 else chosen.float64


# ---- the cells' slots (csrc/pass.h) ------------------------------------------------------------------------------

cdef void set_cell(Pass *p, int cell) noexcept nogil:
    p.cell = cell
    p.S = 1 if cell == RNN else 4
    p.X = 3 if cell == GRU else p.S
    p.G = p.X

cdef Blocks window(const Pass *p, bint state_side, const void *data, Py_ssize_t width) noexcept nogil:
    """The blocks of a weight or bias in the order of the slots: the GRU's r, z, n stand in slots n, r, z | q."""
    cdef Blocks w
    cdef int n
    memset(&w, 0, sizeof(w))
    w.data = data
    w.height = p.H
    w.width = width
    w.count = <int>p.G
    for n in range(p.G):
        w.order[n] = n
        if p.cell == GRU:
            w.order[n] = n if state_side else (n + 2) % 3
    return w


# ---- the split ---------------------------------------------------------------------------------------------------

cdef struct Plan:
    int workers, split

cdef double efficiency(Py_ssize_t rows) noexcept nogil:
    """The share of the peak that a tile of so many rows reaches, measured: few rows wait for their weights."""
    return 0.5 if rows <= 1 else 0.7 if rows == 2 else 0.8 if rows == 3 else 0.9

cdef Plan plan(const Kernels *k, double steps, double step_flops, Py_ssize_t B, Py_ssize_t groups, double weight_bytes) noexcept nogil:
    """How many workers a call gets, and how they split it: the shortest of three estimates, in nanoseconds per step.

    A step costs its flops at the tile's efficiency, or the weights' way from the L3 cache where they exceed the L2,
    whichever is longer. Split by rows, every worker reads all weights, for fewer rows; split by units, each reads its
    part and waits at a barrier. More workers than cores never help; what would save no more than a start costs stays
    on one thread."""
    cdef double rate = 14.0 * k.lanes, bandwidth = 60.0   # flops and bytes per nanosecond
    cdef double slow = weight_bytes / bandwidth if weight_bytes > l2 else 0
    cdef double alone = max(step_flops / (rate * efficiency(B)), slow), by_rows, by_units, best
    cdef int n = min(threads, cores) if forced_split < 0 else threads
    cdef int n_rows = <int>max(1, min(n, B)), n_units = <int>max(1, min(n, groups))
    cdef Py_ssize_t rows = max(1, (B + n_rows - 1) // n_rows), units = (groups + n_units - 1) // n_units
    if forced_split >= 0:
        return Plan(n_rows if forced_split == BY_ROWS else n_units, forced_split)
    by_rows = max(step_flops * rows / max(1, B) / (rate * efficiency(rows)), slow) if n_rows > 1 else alone
    by_units = (max(step_flops * units / groups / (rate * efficiency(B)), slow * units / groups) + BARRIER_NS
                if n_units > 1 else alone)
    best = min(by_rows, by_units)
    if (alone - best) * steps < START_NS or alone < 1.05 * best:
        return Plan(1, BY_ROWS)
    return Plan(n_rows, BY_ROWS) if by_rows <= by_units else Plan(n_units, BY_UNITS)

cdef Py_ssize_t chunk_steps(const Kernels *k, Py_ssize_t row_numbers, Py_ssize_t B, Py_ssize_t T, Py_ssize_t nbytes) noexcept nogil:
    """Steps whose rows of so many numbers fill about nbytes, and no fewer than LEAST_ROWS rows."""
    cdef Py_ssize_t steps = max(nbytes // (B * row_numbers * k.real_size), LEAST_ROWS // B)
    return max(1, min(steps, T))

cdef enum:
    LEAST_ROWS = 128        # projected at once, so that large weights are not read for a few rows
    GATES_BYTES = 1 << 19   # gates projected at once: half of a common L2
    GRADIENT_ROWS = 256     # rows of one sum into the weight gradients

cdef void look_for_signals(Interrupts *interrupts) noexcept nogil:
    """Called by worker 0, the thread that holds the caller's Python state; handlers run in the caller's environment."""
    cdef uint64_t ours
    if interrupts_due(interrupts):
        ours = fp_enter()
        fp_leave(interrupts.environment)
        with gil:
            if signals_raise() < 0:
                interrupts_stop(interrupts)
        fp_leave(ours)


# ---- forward -----------------------------------------------------------------------------------------------------

cdef struct ForwardJob:
    const Kernels *k
    Pass p
    Product project      # all rows of x and of gates; a worker takes parts
    Blocks w_ih, w_hh
    const void *b_ih
    const void *b_hh
    void *w_project      # [X*H, I] packed
    void *w_step         # [G, H, H] packed
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
    """Groups of hidden units in the forward step (csrc/step.h)."""
    return k.groups_of(p.H) if p.G == 1 else padded(p.H, k) // k.lanes

cdef void pack_for_forward(const Kernels *k, const Pass *p, const Blocks *w_ih, void *w_project, const Blocks *w_hh,
                           void *w_step, int worker, int workers) noexcept nogil:
    """A worker's share of both weights."""
    cdef Py_ssize_t columns = k.groups_of(p.X * p.H), units = hidden_groups(k, p)
    k.pack_forward(w_ih, w_project, share(columns, worker, workers), share(columns, worker + 1, workers))
    k.pack_step(w_hh, w_step, share(units, worker, workers), share(units, worker + 1, workers))

cdef void forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef ForwardJob *job = <ForwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass p = job.p
    cdef Product project
    cdef Py_ssize_t groups = hidden_groups(k, &p), s0 = 0, s1, s, q, b0 = 0, b1 = p.B, g0 = 0, g1 = groups
    cdef bint together = workers > 1 and job.split == BY_UNITS

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
            look_for_signals(&job.interrupts)
        if together:
            threads_barrier(team)
        if interrupts_stopped(&job.interrupts):
            return
        s0 = s1


def forward(int cell, int nonlinearity, x, weight_ih, weight_hh, bias_ih, bias_hh, h0, c0, y, h, c, gates, c_steps):
    """One layer in one direction; shapes as in `functional.pass_forward`, a reversed pass has reversed views.

    h and c get the final state. gates [T*B*S*H] and c_steps [T, B, H] (lstm) are kept for `backward`; None
    evaluates and keeps nothing.
    """
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Py_ssize_t T = y.shape[0], B = y.shape[1], H = y.shape[2], I = weight_ih.shape[1], size = k.real_size
    cdef size_t sizes[5]
    cdef void *parts[5]
    cdef void *block
    cdef Plan planned

    if T == 0 or B == 0:
        for given, final in ((h0, h), (c0, c)):
            if final is not None:
                final[...] = 0 if given is None else given
        return
    memset(&job, 0, sizeof(job))
    set_cell(p, cell)
    p.nonlinearity, p.save, p.T, p.B, p.H = nonlinearity, gates is not None, T, B, H
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES)
    job.w_ih, job.w_hh = window(p, False, data(weight_ih), I), window(p, True, data(weight_hh), H)
    job.b_ih, job.b_hh = data(bias_ih), data(bias_hh)

    sizes = [I * padded(p.X * H, k) * size, p.G * padded(H, k) * H * size, p.S * H * size,
             B * H * size if h0 is None or (cell == LSTM and c0 is None) else 0, 0 if p.save else job.chunk * B * p.S * H * size]
    block = workspace_take(5, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the gates of one chunk of time")
    memset(parts[3], 0, sizes[3])
    job.w_project, job.w_step, job.bias = parts[0], parts[1], parts[2]
    p.w_step = job.w_step
    p.y = rows_of(y)
    p.h0 = parts[3] if h0 is None else data(h0)
    p.gates = packed_rows(data(gates) if p.save else parts[4], B, p.S * H)
    if cell == LSTM:
        p.c0 = parts[3] if c0 is None else data(c0)
        p.c = data(c_steps if p.save else c)
        p.c_stride = B * H if p.save else 0
    job.project = Product(I, p.X * H, (p.S - p.X) * H, rows_of(x), job.w_project, job.bias, p.gates)
    planned = plan(k, T, 2.0 * B * (I + H) * p.G * H, B, hidden_groups(k, p), <double>H * H * p.G * size)
    job.split = planned.split
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(forward_worker, &job, planned.workers)
        workspace_give(block)
    if interrupts_stopped(&job.interrupts):
        raise_pending()
    h[...] = y[T - 1]
    if cell == LSTM and p.save:
        c[...] = c_steps[T - 1]


# ---- backward ----------------------------------------------------------------------------------------------------

cdef struct BackwardJob:
    const Kernels *k
    Pass p
    Product dx           # all rows of gates and of dx; a worker takes parts
    GradientProduct dw_ih, dw_hh
    Rows d, x, h_prev    # the rows of the gradient products, last step first: [T*B, S*H], [T*B, I], [(T-1)*B, H]
    Rows h0              # [B, H]
    Blocks w_ih, w_hh, w_ih_grad, w_hh_grad
    void *w_dx           # W_ih packed flat over its I columns
    void *w_back         # W_hh packed flat over its H columns
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

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
    else:
        b0, b1 = share(p.B, worker, workers), share(p.B, worker + 1, workers)
    k.pack_backward(&job.w_hh, job.w_back, share(groups, worker, workers), share(groups, worker + 1, workers))
    if job.dx.out.data != NULL:
        q = k.groups_of(job.dx.C)
        k.pack_backward(&job.w_ih, job.w_dx, share(q, worker, workers), share(q, worker + 1, workers))
    threads_barrier(team)
    while s1 > 0:
        s0 = max(s1 - job.chunk, 0)
        for s in range(s1 - 1, s0 - 1, -1):
            k.step_backward[p.cell](p, s, b0, b1, g0, g1)
            if together:
                threads_barrier(team)
        if not together:
            threads_barrier(team)
        add_weight_gradients(job, (p.T - s1) * p.B, (p.T - s0) * p.B, w0, w1,
                             at(job.packed_d, w0 * k.columns * GRADIENT_ROWS, k), at(job.operand, worker * job.operand_size, k))
        if job.dx.out.data != NULL:
            q = s1 * p.B - s0 * p.B
            k.product(&job.dx, s0 * p.B + share(q, worker, workers), s0 * p.B + share(q, worker + 1, workers),
                      0, k.groups_of(job.dx.C))
        if worker == 0:
            look_for_signals(&job.interrupts)
        threads_barrier(team)
        if interrupts_stopped(&job.interrupts):
            return
        s1 = s0
    k.step_backward[p.cell](p, -1, b0, b1, g0, g1)
    k.unpack_gradient(&job.dw_ih, w0, w1, &job.w_ih_grad)
    k.unpack_gradient(&job.dw_hh, w0, w1, &job.w_hh_grad)


def backward(int cell, int nonlinearity, x, weight_ih, weight_hh, h0, c0, y, gates, c_steps, dy, dh_final, dc_final,
             dx, dh, dc, dweight_ih, dweight_hh, dbias_ih, dbias_hh):
    """The way back of `forward` with gates. Writes gates (the gradients of the pre-activations), dx (None: not wanted),
    dh and dc, the weights' and, if not None, the biases' gradients. The finals and dy may be None: zero."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Py_ssize_t T = y.shape[0], B = y.shape[1], H = y.shape[2], I = weight_ih.shape[1], size = k.real_size
    cdef Blocks db_ih, db_hh
    cdef size_t sizes[8]
    cdef void *parts[8]
    cdef void *block
    cdef Plan planned

    for given, carried in ((dh_final, dh), (dc_final, dc)):
        if carried is not None:
            carried[...] = 0 if given is None else given
    if T == 0 or B == 0:
        for gradient in (dweight_ih, dweight_hh, dbias_ih, dbias_hh):
            if gradient is not None:
                gradient[...] = 0
        return
    memset(&job, 0, sizeof(job))
    set_cell(p, cell)
    p.nonlinearity, p.T, p.B, p.H = nonlinearity, T, B, H
    job.k = k
    job.chunk = max(1, GRADIENT_ROWS // B)
    planned = plan(k, 2 * T, 2.0 * B * (I + H) * p.G * H, B, k.groups_of(H), <double>H * H * p.G * size)
    job.split = planned.split
    job.operand_size = GRADIENT_ROWS * max(k.operand_stride(I), k.operand_stride(H))

    sizes = [0 if dx is None else p.X * H * padded(I, k) * size, p.G * H * padded(H, k) * size,
             GRADIENT_ROWS * padded(p.S * H, k) * size, planned.workers * job.operand_size * size,
             padded(p.S * H, k) * size, padded(p.S * H, k) * I * size, padded(p.S * H, k) * H * size,
             B * H * size if h0 is None or (cell == LSTM and c0 is None) else 0]
    block = workspace_take(8, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    for n in range(4, 8):
        memset(parts[n], 0, sizes[n])
    job.w_dx, job.w_back, job.packed_d, job.operand, job.db = parts[0], parts[1], parts[2], parts[3], parts[4]
    job.w_ih, job.w_hh = window(p, False, data(weight_ih), I), window(p, True, data(weight_hh), H)
    job.w_ih_grad, job.w_hh_grad = window(p, False, data(dweight_ih), I), window(p, True, data(dweight_hh), H)
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, parts[5])
    job.dw_hh = GradientProduct(H, p.S * H, (p.S - p.G) * H, p.S * H, parts[6])
    p.w_back = job.w_back
    p.y = rows_of(y)
    p.gates = packed_rows(data(gates), B, p.S * H)
    p.h0 = parts[7] if h0 is None else data(h0)
    p.dh = data(dh)
    if cell == LSTM:
        p.c0 = parts[7] if c0 is None else data(c0)
        p.c, p.c_stride, p.dc = data(c_steps), B * H, data(dc)
    if dy is not None:
        p.dy = rows_of(dy)
    job.d, job.x = last_first(p.gates, T, k), last_first(rows_of(x), T, k)
    job.h_prev, job.h0 = last_first(p.y, max(1, T - 1), k), packed_rows(<void *>p.h0, B, H)
    if dx is not None:
        job.dx = Product(p.X * H, I, 0, p.gates, job.w_dx, NULL, rows_of(dx))
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(backward_worker, &job, planned.workers)
    db_ih, db_hh = window(p, False, data(dbias_ih), 1), window(p, True, data(dbias_hh), 1)
    if dbias_ih is not None:
        k.unpack_bias(&db_ih, job.db)
    if dbias_hh is not None:
        k.unpack_bias(&db_hh, at(job.db, (p.S - p.G) * H, k))
    workspace_give(block)
    if interrupts_stopped(&job.interrupts):
        raise_pending()


# ---- one step at a time ------------------------------------------------------------------------------------------

cdef struct Step:
    Pass p
    Product project

cdef struct StepJob:
    const Kernels *k
    Step *layer       # [layers]
    int layers

cdef void step_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef StepJob *job = <StepJob *>argument
    cdef const Kernels *k = job.k
    cdef Step *layer
    cdef Py_ssize_t groups
    cdef int n
    for n in range(job.layers):
        layer = &job.layer[n]
        groups = hidden_groups(k, &layer.p)
        product_share(k, &layer.project, layer.p.B, worker, workers)
        threads_barrier(team)
        k.step_forward[layer.p.cell](&layer.p, 0, 0, layer.p.B, share(groups, worker, workers), share(groups, worker + 1, workers))
        threads_barrier(team)


cdef class Stepper:
    """A stack of layers that takes one step a call: weights packed once, the state kept between calls.

    The base of `rnnfast.stream.Stream`, whose `_check` turns an x that the kernels cannot read as it is into one that
    they can, or raises. c [L, B, H] is the LSTM's, None for other cells.
    """

    cdef StepJob job
    cdef void *block            # the packed weights of all layers, and one layer's gates
    cdef object hs              # [2, L, B, H]: the h before a step and after it, in turn
    cdef int now                # which of the two is the state
    cdef int typenum
    cdef readonly object c

    def __cinit__(self):
        self.block = NULL
        self.job.layer = NULL

    def __dealloc__(self):
        workspace_give(self.block)
        free(self.job.layer)

    def __init__(self, int cell, int nonlinearity, weights, Py_ssize_t B, dtype):
        """A zero state and room for `weights`, the (weight_ih, weight_hh, bias_ih, bias_hh) of each layer."""
        cdef int layers = len(weights), n
        cdef Py_ssize_t H = weights[0][1].shape[1], size = dtype.itemsize, I
        cdef Step *layer
        cdef size_t *sizes = NULL
        cdef void **parts = NULL
        cdef const Kernels *k

        self.hs = np.zeros((2, layers, B, H), dtype)
        self.c = np.zeros((layers, B, H), dtype) if cell == LSTM else None
        self.typenum = cnp.PyArray_TYPE(self.hs)
        self.job.k = k = kernels_for(self.hs)
        self.job.layers = layers
        self.job.layer = <Step *>calloc(layers, sizeof(Step))
        sizes = <size_t *>malloc((3 * layers + 1) * sizeof(size_t))
        parts = <void **>malloc((3 * layers + 1) * sizeof(void *))
        if self.job.layer != NULL and sizes != NULL and parts != NULL:
            for n in range(layers):
                layer = &self.job.layer[n]
                I = weights[n][0].shape[1]
                set_cell(&layer.p, cell)
                layer.p.nonlinearity, layer.p.T, layer.p.B, layer.p.H = nonlinearity, 1, B, H
                layer.project.K, layer.project.C, layer.project.extra = I, layer.p.X * H, (layer.p.S - layer.p.X) * H
                sizes[3 * n] = I * padded(layer.p.X * H, k) * size
                sizes[3 * n + 1] = layer.p.G * padded(H, k) * H * size
                sizes[3 * n + 2] = layer.p.S * H * size
            sizes[3 * layers] = B * MAX_SLOTS * H * size
            self.block = workspace_take(3 * layers + 1, sizes, parts)
        if self.block != NULL:
            for n in range(layers):
                layer = &self.job.layer[n]
                layer.project.w, layer.p.w_step, layer.project.bias = parts[3 * n], parts[3 * n + 1], parts[3 * n + 2]
                layer.project.out = layer.p.gates = packed_rows(parts[3 * layers], B, layer.p.S * H)
        free(sizes)
        free(parts)
        if self.block == NULL:
            raise MemoryError("no memory for the packed weights")
        self.pack(weights)

    def pack(self, weights):
        """Takes over these weights."""
        cdef Blocks w_ih, w_hh
        cdef Step *layer
        cdef int n
        for n, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
            layer = &self.job.layer[n]
            w_ih = window(&layer.p, False, data(weight_ih), layer.project.K)
            w_hh = window(&layer.p, True, data(weight_hh), layer.p.H)
            pack_for_forward(self.job.k, &layer.p, &w_ih, <void *>layer.project.w, &w_hh, <void *>layer.p.w_step, 0, 1)
            add_biases(self.job.k, &layer.p, data(bias_ih), data(bias_hh), <void *>layer.project.bias)

    @property
    def h(self):
        """The state h [L, B, H], which may be written into."""
        return self.hs[self.now]

    cdef void run(self, cnp.ndarray x, cnp.ndarray y):
        """One step from x [B, I] to y [B, H], rows without gaps."""
        cdef Step *layer
        cdef Py_ssize_t B = self.job.layer.p.B, H = self.job.layer.p.H, size = self.job.k.real_size, n, nbytes = B * H * size
        cdef char *before = <char *>data(self.hs) + self.now * self.job.layers * nbytes
        cdef char *after = <char *>data(self.hs) + (1 - self.now) * self.job.layers * nbytes
        cdef char *c = <char *>data(self.c)
        cdef Plan planned

        for n in range(self.job.layers):
            layer = &self.job.layer[n]
            layer.project.a = packed_rows(data(x) if n == 0 else after + (n - 1) * nbytes, B, layer.project.K)
            layer.p.h0 = before + n * nbytes
            layer.p.y = packed_rows(after + n * nbytes, B, H)
            if c != NULL:
                layer.p.c0 = layer.p.c = c + n * nbytes
        layer = self.job.layer
        planned = plan(self.job.k, self.job.layers, 2.0 * B * 2 * H * layer.p.G * H, 1, hidden_groups(self.job.k, &layer.p),
                       2.0 * H * H * layer.p.G * size)
        threads_run(step_worker, &self.job, planned.workers)
        memcpy(data(y), after + (self.job.layers - 1) * nbytes, nbytes)
        self.now = 1 - self.now

    def __call__(self, x):
        """y of the next step, the caller's own, from x [B, I]; [I] to [H] where B is 1."""
        cdef Step *layer = self.job.layer
        cdef cnp.npy_intp sizes[2]
        cdef int ndim
        if not is_plain(x, self.typenum, layer.p.B, layer.project.K):
            x = self._check(x)
        ndim = cnp.PyArray_NDIM(x)
        sizes[0], sizes[ndim - 1] = layer.p.B, layer.p.H
        y = cnp.PyArray_EMPTY(ndim, sizes, self.typenum, 0)
        self.run(x, y)
        return y

cdef inline bint is_plain(x, int typenum, Py_ssize_t B, Py_ssize_t I):
    """Whether x is an aligned C-contiguous array [B, I], or [I] where B is 1, of this type."""
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != typenum or not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if cnp.PyArray_NDIM(x) == 2:
        return cnp.PyArray_DIM(x, 0) == B and cnp.PyArray_DIM(x, 1) == I
    return cnp.PyArray_NDIM(x) == 1 and B == 1 and cnp.PyArray_DIM(x, 0) == I


# ---- dense layers ------------------------------------------------------------------------------------------------

cdef struct LinearJob:
    const Kernels *k
    Product product
    GradientProduct dw
    Rows d, x
    Blocks w, w_grad
    Py_ssize_t M
    void *packed_w
    void *packed_d
    void *operand
    Py_ssize_t operand_size
    void *db

cdef void linear_forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef LinearJob *job = <LinearJob *>argument
    cdef Py_ssize_t groups = job.k.groups_of(job.product.C)
    job.k.pack_forward(&job.w, job.packed_w, share(groups, worker, workers), share(groups, worker + 1, workers))
    threads_barrier(team)
    product_share(job.k, &job.product, job.M, worker, workers)

cdef void linear_backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef LinearJob *job = <LinearJob *>argument
    cdef const Kernels *k = job.k
    cdef Py_ssize_t groups = k.groups_of(job.dw.C), g0 = share(groups, worker, workers), g1 = share(groups, worker + 1, workers)
    cdef Py_ssize_t q, end
    cdef void *operand = at(job.operand, worker * job.operand_size, k)
    cdef void *packed_d = at(job.packed_d, g0 * k.columns * GRADIENT_ROWS, k)

    if job.packed_w != NULL:
        q = k.groups_of(job.product.C)
        k.pack_backward(&job.w, job.packed_w, share(q, worker, workers), share(q, worker + 1, workers))
        threads_barrier(team)
        product_share(k, &job.product, job.M, worker, workers)
    q = 0
    while q < job.M:
        end = min(q + GRADIENT_ROWS, job.M)
        k.pack_gradient(&job.d, job.dw.C, q, end, g0, g1, packed_d, job.db)
        k.pack_operand(&job.x, job.dw.K, q, end, operand)
        k.gradient_product(&job.dw, end - q, g0, g1, packed_d, operand)
        q = end
    k.unpack_gradient(&job.dw, g0, g1, &job.w_grad)

cdef Blocks whole(array) noexcept:
    """A matrix as one block of rows; a vector as rows of width 1."""
    cdef Blocks w
    memset(&w, 0, sizeof(w))
    w.data, w.count = data(array), 1
    w.height, w.width = array.shape[0], array.shape[1] if array.ndim > 1 else 1
    return w


def linear_forward(x, weight, bias, y):
    """y = x weight^T + bias. x [M, K], weight [N, K], bias [N] or None, y [M, N] OUT; C-contiguous, one dtype."""
    cdef LinearJob job
    cdef const Kernels *k = kernels_for(y)
    cdef Py_ssize_t M = x.shape[0], K = weight.shape[1], N = weight.shape[0], size = k.real_size
    cdef size_t sizes[2]
    cdef void *parts[2]
    cdef void *block
    cdef Plan planned
    if M == 0:
        return
    memset(&job, 0, sizeof(job))
    sizes = [K * padded(N, k) * size, N * size]
    block = workspace_take(2, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weight")
    job.k, job.M, job.w, job.packed_w = k, M, whole(weight), parts[0]
    job.product = Product(K, N, 0, packed_rows(data(x), M, K), job.packed_w, NULL,
                          packed_rows(data(y), M, N))
    if bias is not None:
        memcpy(parts[1], data(bias), N * size)
        job.product.bias = parts[1]
    planned = plan(k, 1, 2.0 * M * K * N, M, 1, 0)
    with nogil:
        threads_run(linear_forward_worker, &job, planned.workers)
        workspace_give(block)


def linear_backward(x, weight, dy, dx, dweight, dbias):
    """The gradients of linear_forward. dy [M, N] IN; dx [M, K] OUT or None, dweight [N, K] OUT, dbias [N] OUT or None."""
    cdef LinearJob job
    cdef const Kernels *k = kernels_for(dy)
    cdef Py_ssize_t M = x.shape[0], K = weight.shape[1], N = weight.shape[0], size = k.real_size
    cdef Blocks db
    cdef size_t sizes[5]
    cdef void *parts[5]
    cdef void *block
    cdef Plan planned
    if M == 0:
        dweight[...] = 0
        if dbias is not None:
            dbias[...] = 0
        return
    memset(&job, 0, sizeof(job))
    planned = plan(k, 2, 2.0 * M * K * N, M, 1, 0)
    job.operand_size = GRADIENT_ROWS * k.operand_stride(K)
    sizes = [0 if dx is None else N * padded(K, k) * size, GRADIENT_ROWS * padded(N, k) * size,
             planned.workers * job.operand_size * size, padded(N, k) * size, padded(N, k) * K * size]
    block = workspace_take(5, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weight and the sum of its gradient")
    memset(parts[3], 0, sizes[3])
    memset(parts[4], 0, sizes[4])
    job.k, job.M, job.w, job.w_grad = k, M, whole(weight), whole(dweight)
    job.packed_d, job.operand, job.db = parts[1], parts[2], parts[3]
    job.dw = GradientProduct(K, N, 0, N, parts[4])
    job.d, job.x = packed_rows(data(dy), M, N), packed_rows(data(x), M, K)
    if dx is not None:
        job.packed_w = parts[0]
        job.product = Product(N, K, 0, job.d, job.packed_w, NULL, packed_rows(data(dx), M, K))
    with nogil:
        threads_run(linear_backward_worker, &job, planned.workers)
    if dbias is not None:
        db = whole(dbias)
        k.unpack_bias(&db, job.db)
    workspace_give(block)


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
    cdef Plan planned = plan(job.k, job.T, 20.0 * job.B * job.N, job.T, 1, 0)
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
