# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The time loops, forward and backpropagation through time, over the C kernels, without the GIL.

Everything here takes arrays that the Python above has checked. A call lays out its scratch memory, packs the weights,
and hands one job to a team of workers; a worker runs its share of every chunk of time. Work is split over the rows of
the batch (no worker waits for another) or over the hidden units (a barrier at each step, and each worker's slice of the
weights stays in its own cache). No split changes a bit of any result.

A pass is described by a job in the caller's terms: rows of its arrays, pointers to its states. `run_forward` and
`run_backward` know nothing of Python; what calls them is `forward` and `backward` with NumPy arrays, and the plans of the C
API with pointers.

One compiled module in ten files: settings.pxi, layout.pxi, plan.pxi, cell.pxi, sequences.pxi, embedded.pxi and linear.pxi
come first, stepper.pxi and capi.pxi last.
"""
import os

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from rnnfast._core.kernels cimport *
from rnnfast.capi cimport *

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
include "sequences.pxi"
include "embedded.pxi"
include "linear.pxi"


# ---- forward -----------------------------------------------------------------------------------------------------

cdef struct ForwardJob:  # in the caller's terms until `run_forward` puts x, y and c into the order of the pass
    const Kernels *k
    const Layer *layer
    int threads          # that may work
    Pass p
    Rows x               # [T, B, I]
    Lookup embedded      # or rows of the table, by token; then those of its projections [V, S*H]
    Rows table           # [V, I]
    void *h              # [B, P] OUT the final state; may be p.h0
    void *c              # [B, H] OUT; may be p.c0
    void *c_kept         # [T*B, H] OUT the c of every step in the order of the pass; NULL: in p.c, or the last alone
    const Packed *given  # weights that are packed; NULL: this job packs them
    Packed packed
    Ragged ragged
    Product project      # all rows of x and of gates, a worker takes parts; if x is embedded, the V rows of both tables
    Py_ssize_t *starts   # [workers, T + 1] if the batch is ragged
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
        k.add_bias(&window_hh, at(bias, (p.S - p.X) * p.H, k))

cdef inline Py_ssize_t hidden_groups(const Kernels *k, const Pass *p) noexcept nogil:
    """Groups of hidden units in the forward step (csrc/kernels/step.h)."""
    return k.groups_of(p.H) if p.G == 1 else padded(p.H, k) // k.lanes

cdef void forward_pack_sizes(const Kernels *k, const Layer *layer, size_t *sizes) noexcept nogil:
    """sizes [FORWARD_PACKS] OUT."""
    cdef const Pass *p = &layer.p
    sizes[0] = layer.input_size * padded(p.X * p.H, k) * k.real_size
    sizes[1] = p.G * padded(p.H, k) * p.P * k.real_size
    sizes[2] = p.S * p.H * k.real_size
    sizes[3] = padded(p.P, k) * p.H * k.real_size if p.phases == 2 else 0

cdef void pack_for_forward(const Kernels *k, const Layer *layer, const Packed *packed, int worker, int workers) noexcept nogil:
    """A worker's share of all weights."""
    cdef const Pass *p = &layer.p
    cdef const rnnfast_weights *weights = &layer.weights
    cdef Py_ssize_t columns = k.groups_of(p.X * p.H), units = hidden_groups(k, p), second = k.groups_of(p.P)
    cdef Blocks w_ih = window(p, False, weights.weight_ih, layer.input_size), w_hh = step_window(p, weights.weight_hh), w_m
    k.pack_by_rows(&w_ih, packed.project, share(columns, worker, workers), share(columns, worker + 1, workers))
    k.pack_by_gates(&w_hh, packed.step, share(units, worker, workers), share(units, worker + 1, workers))
    if p.phases == 2:
        w_m = second_window(p, second_weight(p, weights))
        k.pack_by_rows(&w_m, packed.second, share(second, worker, workers), share(second, worker + 1, workers))
    if worker == 0:
        add_biases(k, p, weights.bias_ih, weights.bias_hh, packed.bias)

cdef void pack_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef ForwardJob *job = <ForwardJob *>argument
    pack_for_forward(job.k, job.layer, &job.packed, worker, workers)

cdef void forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef ForwardJob *job = <ForwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass p = job.p
    cdef Product project = job.project
    cdef Rows out = project.out
    cdef Py_ssize_t groups = hidden_groups(k, &p), s0 = 0, s1, s, b0 = 0, b1 = p.B, b, g0 = 0, g1 = groups
    cdef Py_ssize_t c0 = 0, c1 = p.S * p.H, m0 = 0, m1 = k.groups_of(p.P)
    cdef const Py_ssize_t *start
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef int chunk = 0, mates = workers if together else 1  # who share a flat product

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
        c0, c1 = share(p.S * p.H, worker, workers), share(p.S * p.H, worker + 1, workers)
        m0, m1 = share(m1, worker, workers), share(m1, worker + 1, workers)
    elif workers > 1:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
        start = starts_of(&job.ragged, b0, b1, job.starts + worker * (p.T + 1))
        project.a, out = part(project.a, b0, b1, start, k), part(out, b0, b1, start, k)
    if job.given == NULL:
        pack_for_forward(k, job.layer, &job.packed, worker, workers)
        threads_barrier(team)
    if embedded:
        product_share(k, &job.project, 0, job.table.B, worker, workers)
        threads_barrier(team)
    while s0 < p.T:
        s1 = min(s0 + job.chunk, p.T)
        chunk += 1
        if not p.save:
            p.first = s0
        if embedded:
            k.gather(&job.embedded, &p, s0, s1, b0, b1, c0, c1)
        else:
            project.out = later(out, -p.first, k)
            product_share(k, &project, flat(&project.a, s0), flat(&project.a, s1), worker % mates, mates)
        if together:
            threads_barrier(team)
        for s in range(s0, s1):
            b = min(b1, rows_in_step(&p.y, s))
            if b0 < b:
                k.step_forward[p.cell][0](&p, s, b0, b, g0, g1)
            if p.phases == 2:
                if together:
                    threads_barrier(team)
                if b0 < b:
                    k.step_forward[p.cell][1](&p, s, b0, b, m0, m1)
            if together and s < s1 - 1:
                threads_barrier(team)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        if together:
            threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        s0 = s1


cdef enum:  # the parts of its scratch memory: the packed weights, then
    FORWARD_ZEROS = FORWARD_PACKS, FORWARD_GATES, FORWARD_PLACES, FORWARD_STARTS, FORWARD_TABLE, FORWARD_M, FORWARD_PARTS

cdef void forward_sizes(const ForwardJob *job, Py_ssize_t T, int workers, size_t *sizes) noexcept nogil:
    """sizes [FORWARD_PARTS] OUT: of a pass's scratch memory, no less for more steps or workers."""
    cdef const Kernels *k = job.k
    cdef const Pass *p = &job.p
    cdef Py_ssize_t B = p.B, row = p.S * p.H * k.real_size
    cdef bint ragged = job.ragged.order != NULL
    if job.given == NULL:
        forward_pack_sizes(k, job.layer, sizes)
    else:
        memset(sizes, 0, FORWARD_PACKS * sizeof(size_t))
    sizes[FORWARD_ZEROS] = max(p.H, p.P) * k.real_size
    sizes[FORWARD_GATES] = 0 if p.save else chunk_steps(k, p.S * p.H, B, T, GATES_BYTES, LEAST_ROWS) * B * row
    sizes[FORWARD_PLACES] = 3 * B * sizeof(Py_ssize_t) if ragged else 0
    sizes[FORWARD_STARTS] = workers * (T + 1) * sizeof(Py_ssize_t) if ragged else 0
    sizes[FORWARD_TABLE] = job.table.B * row
    sizes[FORWARD_M] = B * p.H * k.real_size if p.phases == 2 else 0

cdef void set_forward(ForwardJob *job, const Kernels *k, const Layer *layer, Py_ssize_t T, Py_ssize_t B) noexcept nogil:
    """A job of a layer on nothing yet."""
    memset(job, 0, sizeof(job[0]))
    job.k, job.layer, job.p = k, layer, layer.p
    job.p.T, job.p.B = T, B

cdef int run_forward(ForwardJob *job, Workspace *workspace) noexcept nogil:
    """One layer in one direction; -1: there is no memory."""
    cdef const Kernels *k = job.k
    cdef const Layer *layer = job.layer
    cdef Pass *p = &job.p
    cdef const Ragged *ragged = &job.ragged
    cdef Py_ssize_t B = p.B, H = p.H, P = p.P, T
    cdef bint embedded = job.embedded.token != NULL, keeps_c = job.c_kept != NULL or p.c.data != NULL
    cdef size_t sizes[FORWARD_PARTS]
    cdef void *parts[FORWARD_PARTS]
    cdef Py_ssize_t *place
    cdef void *block
    cdef double rows, projected  # of the state's and the input's products in each step, on average
    cdef Plan planned

    if ragged.order != NULL or ragged.rows == 0:  # sequences without a step keep their state
        begin(job.h, p.h0, B * P * k.real_size)
        if job.c != NULL:
            begin(job.c, p.c0, B * H * k.real_size)
        clear_ended(p.y, ragged, p.T, P, k)
        if ragged.rows == 0:
            return 0
    p.T = T = ragged.T
    p.order, p.cut = ragged.order, ragged.cut[1 if layer.reverse else 0]
    rows = <double>ragged.rows / T
    projected = <double>job.table.B / T if embedded else rows
    planned = plan(k, job.threads, T, 2.0 * (projected * layer.input_size + rows * P) * p.X * H, max(1, ragged.rows // T),
                   hidden_groups(k, p), <double>P * H * p.X * k.real_size, p.phases, START_NS)
    job.split = planned.split
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, LEAST_ROWS)
    forward_sizes(job, T, planned.workers, sizes)
    block = workspace_take(workspace, FORWARD_PARTS, sizes, parts)
    if block == NULL:
        return -1
    job.packed = Packed(parts[0], parts[1], parts[2], parts[3], NULL, NULL, NULL) if job.given == NULL else job.given[0]
    p.zeros, place, job.starts = parts[FORWARD_ZEROS], <Py_ssize_t *>parts[FORWARD_PLACES], <Py_ssize_t *>parts[FORWARD_STARTS]
    memset(parts[FORWARD_ZEROS], 0, sizes[FORWARD_ZEROS])
    p.w_step, p.w_m = job.packed.step, job.packed.second
    if p.phases == 2:
        p.m = Rows(parts[FORWARD_M], B, 0, H, NULL, NULL)
    p.y = in_order(p.y, ragged, layer.reverse, place, k)
    p.gates = packed_rows(p.gates.data if p.save else parts[FORWARD_GATES], B, p.S * H, ragged.start)
    if job.c_kept != NULL:
        p.c = packed_rows(job.c_kept, B, H, ragged.start)
    elif keeps_c:
        p.c = in_order(p.c, ragged, layer.reverse, place + B, k)
    elif job.c != NULL:  # each step's in the place of the final one
        p.c = in_order(Rows(job.c, B, 0, H, NULL, NULL), ragged, False, place + B, k)
    job.project = Product(layer.input_size, p.X * H, (p.S - p.X) * H, job.table, job.packed.project, job.packed.bias, p.gates)
    if embedded:
        job.project.out = packed_rows(parts[FORWARD_TABLE], job.table.B, p.S * H, NULL)
        job.embedded = lookup_in_order(job.embedded, ragged, B, layer.reverse, place + 2 * B, parts[FORWARD_TABLE],
                                       p.S * H)
    else:
        job.project.a = in_order(job.x, ragged, layer.reverse, place + 2 * B, k)
    threads_run(forward_worker, job, planned.workers)
    copy_last(&p.y, ragged, P, job.h, k)
    if keeps_c:
        copy_last(&p.c, ragged, H, job.c, k)
    workspace_give(workspace, block)
    return 0


cpdef forward(Cell cell, Py_ssize_t number, Sequences sequences, x, h0, c0, cnp.ndarray y, cnp.ndarray h, c,
              gates, c_steps):
    """One layer in one direction; shapes as in `passes.pass_forward`.

    The states are those of all passes, of which this one reads and writes entry `number`; y is that of all directions.
    gates [T*B*S*H or more] are kept for `backward`; None keeps nothing. c_steps (lstm) gets the c of every step, as
    [T*B*H or more] in the pass's own order or [T, B, H] in the caller's; None keeps the last alone.
    """
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1)
    cdef int status
    global runs

    runs += 1
    set_forward(&job, kernels_for(y) if cell.block == NULL else cell.k, &cell.layer, T, B)
    job.threads = threads
    if cell.block != NULL:
        job.given = &cell.packed
    job.ragged = whole(T, B) if sequences is None else sequences.ragged
    if isinstance(x, Embedded):
        job.embedded, job.table = (<Embedded>x).lookup(), table_rows((<Embedded>x).table)
    else:
        job.x = rows_of(x)
    p.y, p.save, p.gates.data = cell.own_columns(y, number), gates is not None, data(gates)
    p.h0, p.c0 = entry(h0, number), entry(c0, number)
    job.h, job.c = entry(h, number), entry(c, number)
    set_c_steps(c_steps, &p.c, &job.c_kept)
    interrupts_begin(&job.interrupts)
    with nogil:
        status = run_forward(&job, &shared_workspace)
    if status < 0:
        raise MemoryError("no memory for the packed weights, the gates of one chunk of time and the tokens' projections")
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()

cdef void set_c_steps(c_steps, Rows *rows, void **kept) noexcept:
    """The c of every step: a flat buffer in the pass's own order, or a [T, B, H] array in the caller's."""
    if c_steps is not None and cnp.PyArray_NDIM(<cnp.ndarray>c_steps) == 1:
        kept[0] = data(c_steps)
    elif c_steps is not None:
        rows[0] = rows_of(c_steps)


def evaluate(list cells, int directions, Sequences sequences, x, h0, c0, bint batch_first):
    """All passes of a stack, keeping nothing: y, h and c (None but for the LSTM). What a layer does when it is called; here,
    because for a single step of a small layer the way through Python takes longer than the work."""
    cdef cnp.ndarray rows = (<Embedded>x).tokens if isinstance(x, Embedded) else x
    cdef Py_ssize_t T = cnp.PyArray_DIM(rows, 0), B = cnp.PyArray_DIM(rows, 1), passes = len(cells), number
    cdef Cell cell = cells[0]
    cdef Py_ssize_t P = cell.layer.p.P
    cdef cnp.dtype dtype = cell.weight_ih.dtype
    h = blank(passes, B, P, dtype)
    c = blank(passes, B, cell.layer.p.H, dtype) if has_c(&cell.layer) else None
    y = x
    for number in range(passes):
        if number % directions == 0:
            x, y = y, blank(T, B, directions * P, dtype, batch_first and number == passes - directions)
        forward(cells[number], number, sequences, x, h0, c0, y, h, c, None, None)
    return y, h, c


# ---- backward ----------------------------------------------------------------------------------------------------

cdef struct BackwardJob: # in the caller's terms until `run_backward` puts x, y, c and the gradients into the order of the pass
    const Kernels *k
    const Layer *layer
    int threads          # that may work
    Pass p
    Rows x               # [T, B, I]; then last step first
    Lookup embedded      # or rows of the table, by token; then table [V, X*H]: the sum of d over the rows of each token
    Rows table           # [V, I]
    void *c_kept         # [T*B, H] as in ForwardJob
    const void *dh_final # [B, P]; NULL: zero
    const void *dc_final # [B, H]
    Product dx           # all rows of gates and of dx, a worker takes parts; out, until then the caller's: data NULL: not wanted
    void *dtable         # [V, I] OUT for an embedded x, in place of dx; NULL: not wanted
    rnnfast_weights grads # all NULL: not wanted (of an x that is not embedded)
    const Packed *given  # weights that are packed; NULL: this job packs them
    Packed packed
    Ragged ragged
    GradientProduct dw_ih, dw_hh, dw_m
    Rows d, h_prev       # the rows of the gradient products, last step first, with x: [T*B, S*H], [(T-1)*B, P]
    LinearJob tokens     # from the sums over each token's rows, the gradients of W_ih and of the embedded table
    Rows h0              # [B, P]
    Blocks w_ih_grad, w_hh_grad, w_m_grad
    void *m              # [2 chunks, B, H]: while one chunk's gradients are summed, another worker may be in the next one
    void *d_m            # [2 chunks, B, P] (with a projection)
    void *packed_d_m     # [GRADIENT_ROWS, P] packed, each worker in its groups
    void *db_m           # [P] a sum that nobody reads
    void *packed_d       # [GRADIENT_ROWS, S*H] packed, each worker in its groups
    void *operand        # [workers][GRADIENT_ROWS][operand_stride]
    Py_ssize_t operand_size
    void *db             # [S*H] sum of d
    Py_ssize_t chunk
    int split
    Interrupts interrupts

cdef void backward_pack_sizes(const Kernels *k, const Layer *layer, size_t *sizes) noexcept nogil:
    """sizes [BACKWARD_PACKS] OUT."""
    cdef const Pass *p = &layer.p
    sizes[0] = p.X * p.H * padded(layer.input_size, k) * k.real_size
    sizes[1] = p.G * p.H * padded(p.P, k) * k.real_size
    sizes[2] = p.P * padded(p.H, k) * k.real_size if p.phases == 2 else 0

cdef void pack_for_backward(const Kernels *k, const Layer *layer, const Packed *packed, bint dx, int worker,
                            int workers) noexcept nogil:
    """A worker's share of all weights, of W_ih only if dx is wanted."""
    cdef const Pass *p = &layer.p
    cdef const rnnfast_weights *weights = &layer.weights
    cdef Py_ssize_t columns = k.groups_of(layer.input_size), groups = k.groups_of(p.P), units = k.groups_of(p.H)
    cdef Blocks w_ih = window(p, False, weights.weight_ih, layer.input_size), w_hh = step_window(p, weights.weight_hh), w_m
    k.pack_by_columns(&w_hh, packed.back, share(groups, worker, workers), share(groups, worker + 1, workers))
    if p.phases == 2:
        w_m = second_window(p, second_weight(p, weights))
        k.pack_by_columns(&w_m, packed.second_back, share(units, worker, workers), share(units, worker + 1, workers))
    if dx:
        k.pack_by_columns(&w_ih, packed.dx, share(columns, worker, workers), share(columns, worker + 1, workers))

cdef void add_weight_gradients(BackwardJob *job, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                               void *packed_d, void *operand) noexcept nogil:
    """The rows q0..q1 (last step first) into groups g0..g1 of both weights' gradients (of W_hh's alone if x is embedded) and
    of the biases'."""
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef Py_ssize_t q, end, steps, n
    cdef Py_ssize_t inner = job.ragged.rows - rows_in_step(&p.y, 0)  # rows whose previous state is in y; then the initial
    q = q0
    while q < q1:
        end = min(q + GRADIENT_ROWS, q1)
        n = end - q
        k.pack_gradient(&job.d, p.S * p.H, q, end, g0, g1, packed_d, job.db)
        if job.embedded.token == NULL:
            k.pack_operand(&job.x, job.dw_ih.K, q, end, operand)
            k.gradient_product(&job.dw_ih, n, g0, g1, packed_d, operand)
        steps = max(0, min(end, inner) - q)
        if steps:
            k.pack_operand(&job.h_prev, p.P, q, q + steps, operand)
        if steps < n:
            k.pack_operand(&job.h0, p.P, q + steps - inner, end - inner, at(operand, steps * k.operand_stride(p.P), k))
        if p.cut != NULL:
            clear_cut(job, q, end, operand)
        k.gradient_product(&job.dw_hh, n, g0, g1, packed_d, operand)
        q = end

cdef void clear_cut(BackwardJob *job, Py_ssize_t q, Py_ssize_t end, void *operand) noexcept nogil:
    """Zeros in the operand's rows q..end (last step first) for previous states that were cut off."""
    cdef Pass *p = &job.p
    cdef Py_ssize_t s = p.T - 1, b, row = job.k.operand_stride(p.P)
    while flat(&job.d, p.T - s) <= q:
        s -= 1
    b = q - flat(&job.d, p.T - 1 - s)
    while q < end:
        while b == rows_in_step(&p.y, s):
            b, s = 0, s - 1
        if p.cut[s * p.B + b]:
            memset(operand, 0, row * job.k.real_size)
        operand = at(operand, row, job.k)
        b, q = b + 1, q + 1

cdef void add_second_gradient(BackwardJob *job, const Pass *p, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                              void *packed_d, void *operand) noexcept nogil:
    """The rows q0..q1 (last step first) into groups g0..g1 of the gradient of W_m."""
    cdef const Kernels *k = job.k
    cdef Rows d = last_first(p.d_m, p.T, job.ragged.start_back, k), m = last_first(p.m, p.T, job.ragged.start_back, k)
    cdef Py_ssize_t q = q0, end
    while q < q1:
        end = min(q + GRADIENT_ROWS, q1)
        k.pack_gradient(&d, p.P, q, end, g0, g1, packed_d, job.db_m)
        k.pack_operand(&m, p.H, q, end, operand)
        k.gradient_product(&job.dw_m, end - q, g0, g1, packed_d, operand)
        q = end

cdef void step_back(const Kernels *k, const Pass *p, Py_ssize_t s, int phase, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t g0,
                    Py_ssize_t g1) noexcept nogil:
    """A phase of step s of a worker's rows: first those that go on behind it, then those for which it is the last."""
    cdef Py_ssize_t rows = rows_in_step(&p.y, max(s, 0)), on = rows_in_step(&p.y, s + 1) if s < p.T - 1 else 0
    if b0 < min(b1, on):
        k.step_backward[p.cell][phase](p, s, b0, min(b1, on), g0, g1)
    if max(b0, on) < min(b1, rows):
        k.step_backward[p.cell][phase](p, s, max(b0, on), min(b1, rows), g0, g1)

cdef void backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef BackwardJob *job = <BackwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass own = job.p
    cdef Pass *p = &own
    cdef Py_ssize_t groups = k.groups_of(p.P), units = k.groups_of(p.H), columns = k.groups_of(p.S * p.H)
    cdef Py_ssize_t j0 = min(share(padded(p.H, k) // k.lanes, worker, workers) * k.lanes, p.H)
    cdef Py_ssize_t j1 = min(share(padded(p.H, k) // k.lanes, worker + 1, workers) * k.lanes, p.H)
    cdef Py_ssize_t m0 = share(groups, worker, workers), m1 = share(groups, worker + 1, workers)
    cdef Py_ssize_t w0 = share(columns, worker, workers), w1 = share(columns, worker + 1, workers)
    cdef Py_ssize_t b0 = 0, b1 = p.B, g0 = 0, g1 = groups, u0 = 0, u1 = units, s0, s1 = p.T, s, q
    cdef void *packed_d = at(job.packed_d, w0 * k.columns * GRADIENT_ROWS, k)
    cdef void *operand = at(job.operand, worker * job.operand_size, k)
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef bint wanted = job.grads.weight_ih != NULL
    cdef int chunk = 0

    if together:
        g0, g1, u0, u1 = m0, m1, share(units, worker, workers), share(units, worker + 1, workers)
    else:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
    if job.given == NULL:
        pack_for_backward(k, job.layer, &job.packed, job.dx.out.data != NULL, worker, workers)
        threads_barrier(team)
    while s1 > 0:
        s0 = max(s1 - job.chunk, 0)
        chunk += 1
        if p.phases == 2:
            p.m = chunk_rows(job.m, chunk, job.chunk, s0, p.B, p.H, k)
            p.d_m = p.gates if job.d_m == NULL else chunk_rows(job.d_m, chunk, job.chunk, s0, p.B, p.P, k)
        for s in range(s1 - 1, s0 - 1, -1):
            step_back(k, p, s, 0, b0, b1, g0, g1)
            if p.phases == 2:
                if together:
                    threads_barrier(team)
                step_back(k, p, s, 1, b0, b1, u0, u1)
            if together and s > s0:
                threads_barrier(team)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        # Flat over the chunk's rows, while another worker may be in the steps before them, which only read these rows.
        if wanted:
            add_weight_gradients(job, flat(&job.d, p.T - s1), flat(&job.d, p.T - s0), w0, w1, packed_d, operand)
        if wanted and p.phases == 2:
            add_second_gradient(job, p, flat(&job.d, p.T - s1), flat(&job.d, p.T - s0), m0, m1,
                                at(job.packed_d_m, m0 * k.columns * GRADIENT_ROWS, k), operand)
        if wanted and p.w_co != NULL:
            k.peephole_gradient(p, s0, s1, j0, j1)
        if embedded:
            k.scatter(&job.embedded, p, s0, s1, share(p.X * p.H, worker, workers), share(p.X * p.H, worker + 1, workers))
        elif job.dx.out.data != NULL:
            product_share(k, &job.dx, flat(&p.y, s0), flat(&p.y, s1), worker, workers)
        s1 = s0
    step_back(k, p, -1, 0, b0, b1, g0, g1)
    if not wanted:
        return
    if embedded:
        threads_barrier(team)
        linear_backward_worker(&job.tokens, team, worker, workers)
    else:
        k.unpack_gradient(&job.dw_ih, w0, w1, &job.w_ih_grad)
    k.unpack_gradient(&job.dw_hh, w0, w1, &job.w_hh_grad)
    if p.phases == 2:
        k.unpack_gradient(&job.dw_m, m0, m1, &job.w_m_grad)

cdef inline Rows chunk_rows(void *data, int chunk, Py_ssize_t steps, Py_ssize_t s0, Py_ssize_t B, Py_ssize_t N,
                            const Kernels *k) noexcept nogil:
    """Rows of N numbers for the steps from s0 on: of two chunks of so many steps in turn."""
    return later(packed_rows(at(data, chunk % 2 * steps * B * N, k), B, N, NULL), -s0, k)

cdef void token_gradients(BackwardJob *job, Rows table, void *db) noexcept nogil:
    """Sets out what follows the last chunk if x is embedded: a dense layer's way back over the V tokens, where the sum of d
    over a token's rows stands for dy. `table` holds the tokens' rows, zeros for those not named."""
    cdef LinearJob *tokens = &job.tokens
    cdef Pass *p = &job.p
    cdef Py_ssize_t C = p.X * p.H, I = job.layer.input_size, V = table.B
    tokens.k, tokens.M, tokens.w_grad = job.k, V, job.w_ih_grad
    tokens.w = window(p, False, job.layer.weights.weight_ih, I)
    tokens.d, tokens.x = packed_rows(job.embedded.table, V, C, NULL), table
    tokens.dw = GradientProduct(I, C, 0, C, job.dw_ih.dw)
    tokens.packed_d, tokens.operand, tokens.operand_size, tokens.db = job.packed_d, job.operand, job.operand_size, db
    if job.dtable != NULL:
        tokens.packed_w = job.packed.dx
        tokens.product = Product(C, I, 0, tokens.d, job.packed.dx, NULL, packed_rows(job.dtable, V, I, NULL))

cdef enum:
    WEIGHTS = 8  # of rnnfast_weights

cdef enum:  # the parts of its scratch memory: the packed weights, then
    BACKWARD_PACKED_D = BACKWARD_PACKS, BACKWARD_OPERAND
    BACKWARD_DB, BACKWARD_DW_IH, BACKWARD_DW_HH, BACKWARD_ZEROS, BACKWARD_SUMS, BACKWARD_TOKENS_DB, BACKWARD_DB_M, BACKWARD_DW_M
    BACKWARD_TABLE, BACKWARD_PLACES, BACKWARD_PACKED_D_M, BACKWARD_M, BACKWARD_D_M, BACKWARD_PARTS
    BACKWARD_CLEARED = BACKWARD_DB, BACKWARD_KEPT = BACKWARD_TABLE  # zeros to begin with: the second line

cdef void clear_gradients(const BackwardJob *job) noexcept nogil:
    """Zeros in the gradients of all weights."""
    cdef const Pass *p = &job.p
    cdef Py_ssize_t rows = p.X * p.H, n
    cdef Py_ssize_t sizes[WEIGHTS]
    cdef void **grads = <void **>&job.grads
    sizes = [rows * job.layer.input_size, rows * p.P, rows, rows, p.P * p.H, p.H, p.H, p.H]
    for n in range(WEIGHTS):
        if grads[n] != NULL:
            memset(grads[n], 0, sizes[n] * job.k.real_size)

cdef void backward_sizes(const BackwardJob *job, Py_ssize_t T, int workers, size_t *sizes) noexcept nogil:
    """sizes [BACKWARD_PARTS] OUT: of a pass's scratch memory, no less for more steps or workers."""
    cdef const Kernels *k = job.k
    cdef const Pass *p = &job.p
    cdef Py_ssize_t size = k.real_size, B = p.B, H = p.H, P = p.P, I = job.layer.input_size, V = job.table.B
    cdef Py_ssize_t columns = padded(p.S * H, k), chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    memset(sizes, 0, BACKWARD_PARTS * sizeof(size_t))
    if job.given == NULL:
        backward_pack_sizes(k, job.layer, sizes)
    sizes[BACKWARD_PACKED_D] = GRADIENT_ROWS * columns * size
    sizes[BACKWARD_OPERAND] = workers * gradient_operand(job) * size
    sizes[BACKWARD_DB], sizes[BACKWARD_ZEROS] = columns * size, max(H, P) * size
    sizes[BACKWARD_DW_IH], sizes[BACKWARD_DW_HH] = columns * I * size, columns * P * size
    if job.embedded.token != NULL:
        sizes[BACKWARD_SUMS], sizes[BACKWARD_TOKENS_DB] = V * p.X * H * size, padded(p.X * H, k) * size
        sizes[BACKWARD_TABLE] = V * I * size
    if job.ragged.order != NULL:
        sizes[BACKWARD_PLACES] = 8 * B * sizeof(Py_ssize_t)
    if p.phases == 2:
        sizes[BACKWARD_DB_M], sizes[BACKWARD_DW_M] = padded(P, k) * size, padded(P, k) * H * size
        sizes[BACKWARD_PACKED_D_M], sizes[BACKWARD_M] = GRADIENT_ROWS * padded(P, k) * size, 2 * chunk * B * H * size
        sizes[BACKWARD_D_M] = 0 if p.cell == GRU_BEFORE else 2 * chunk * B * P * size

cdef inline Py_ssize_t gradient_operand(const BackwardJob *job) noexcept nogil:
    """Numbers of a worker's operand."""
    cdef const Kernels *k = job.k
    return GRADIENT_ROWS * max(k.operand_stride(job.layer.input_size), k.operand_stride(job.p.H), k.operand_stride(job.p.P))

cdef void set_backward(BackwardJob *job, const Kernels *k, const Layer *layer, Py_ssize_t T, Py_ssize_t B) noexcept nogil:
    """A job of a layer on nothing yet."""
    memset(job, 0, sizeof(job[0]))
    job.k, job.layer, job.p = k, layer, layer.p
    job.p.T, job.p.B = T, B

cdef int run_backward(BackwardJob *job, Workspace *workspace) noexcept nogil:
    """The way back of `run_forward` with gates; -1: there is no memory."""
    cdef const Kernels *k = job.k
    cdef const Layer *layer = job.layer
    cdef const rnnfast_weights *grads = &job.grads
    cdef Pass *p = &job.p
    cdef const Ragged *ragged = &job.ragged
    cdef bint reverse = layer.reverse, embedded = job.embedded.token != NULL
    cdef Py_ssize_t B = p.B, H = p.H, P = p.P, I = layer.input_size, V = job.table.B, T, n
    cdef Lookup tokens = job.embedded
    cdef Blocks db_ih, db_hh
    cdef size_t sizes[BACKWARD_PARTS]
    cdef void *parts[BACKWARD_PARTS]
    cdef Py_ssize_t *place
    cdef void *block
    cdef double rows, projected
    cdef Plan planned

    begin(p.dh, job.dh_final, B * P * k.real_size)
    if p.dc != NULL:
        begin(p.dc, job.dc_final, B * H * k.real_size)
    if job.dx.out.data != NULL:
        clear_ended(job.dx.out, ragged, p.T, I, k)
    if ragged.rows == 0:
        clear_gradients(job)
        if job.dtable != NULL:
            memset(job.dtable, 0, V * I * k.real_size)
        return 0
    p.T = T = ragged.T
    p.order, p.cut = ragged.order, ragged.cut[1 if reverse else 0]
    rows = <double>ragged.rows / T
    projected = <double>V / T if embedded else rows
    planned = plan(k, job.threads, 2 * T, 2.0 * (projected * I + rows * P) * p.X * H, max(1, ragged.rows // T), k.groups_of(P),
                   <double>P * H * p.X * k.real_size, p.phases, START_NS)
    job.split = planned.split
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    job.operand_size = gradient_operand(job)
    backward_sizes(job, T, planned.workers, sizes)
    block = workspace_take(workspace, BACKWARD_PARTS, sizes, parts)
    if block == NULL:
        return -1
    for n in range(BACKWARD_CLEARED, BACKWARD_KEPT):
        memset(parts[n], 0, sizes[n])
    job.packed = Packed(NULL, NULL, NULL, NULL, parts[0], parts[1], parts[2]) if job.given == NULL else job.given[0]
    job.packed_d, job.operand, job.db = parts[BACKWARD_PACKED_D], parts[BACKWARD_OPERAND], parts[BACKWARD_DB]
    p.zeros, place = parts[BACKWARD_ZEROS], <Py_ssize_t *>parts[BACKWARD_PLACES]
    job.w_ih_grad, job.w_hh_grad = window(p, False, grads.weight_ih, I), step_window(p, grads.weight_hh)
    p.w_back = job.packed.back
    if p.phases == 2:
        job.db_m, job.packed_d_m, job.m = parts[BACKWARD_DB_M], parts[BACKWARD_PACKED_D_M], parts[BACKWARD_M]
        job.d_m = NULL if p.cell == GRU_BEFORE else parts[BACKWARD_D_M]
        job.dw_m = GradientProduct(H, P, 0, P, parts[BACKWARD_DW_M])
        job.w_m_grad = second_window(p, second_weight(p, grads))
        p.w_m_back = job.packed.second_back
    if p.w_co != NULL and grads.weight_co != NULL:
        p.dw_ci, p.dw_cf, p.dw_co = grads.weight_ci, grads.weight_cf, grads.weight_co
        memset(p.dw_ci, 0, H * k.real_size)
        memset(p.dw_co, 0, H * k.real_size)
        if p.dw_cf != NULL:
            memset(p.dw_cf, 0, H * k.real_size)
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, parts[BACKWARD_DW_IH])
    job.dw_hh = GradientProduct(P, p.S * H, (p.S - p.G) * H, p.S * H, parts[BACKWARD_DW_HH])
    p.y = in_order(p.y, ragged, reverse, place, k)
    p.gates = packed_rows(p.gates.data, B, p.S * H, ragged.start)
    if job.c_kept != NULL:
        p.c = packed_rows(job.c_kept, B, H, ragged.start)
    elif p.c.data != NULL:
        p.c = in_order(p.c, ragged, reverse, place + B, k)
    if p.dy.data != NULL:
        p.dy = in_order(p.dy, ragged, reverse, place + 2 * B, k)
    if p.dh_steps.data != NULL:
        p.dh_steps = in_order(p.dh_steps, ragged, reverse, place + 7 * B, k)
    if p.dc_steps.data != NULL:
        p.dc_steps = in_order(p.dc_steps, ragged, reverse, place + 3 * B, k)
    job.d = last_first(p.gates, T, ragged.start_back, k)
    job.h_prev = last_first(p.y, max(1, T - 1), ragged.start_back, k)
    job.h0 = Rows(<void *>p.zeros, B, 0, 0, NULL, NULL)
    if p.h0 != NULL:
        job.h0 = in_order(Rows(<void *>p.h0, B, 0, P, NULL, NULL), ragged, False, place + 5 * B, k)
    if embedded:
        job.embedded = lookup_in_order(tokens, ragged, B, reverse, place + 4 * B, parts[BACKWARD_SUMS], p.X * H)
        token_gradients(job, named_rows(&tokens, ragged, B, job.table.data, V, I, parts[BACKWARD_TABLE], k),
                        parts[BACKWARD_TOKENS_DB])
    else:
        job.x = last_first(in_order(job.x, ragged, reverse, place + 4 * B, k), T, ragged.start_back, k)
        if job.dx.out.data != NULL:
            job.dx = Product(p.X * H, I, 0, p.gates, job.packed.dx, NULL,
                             in_order(job.dx.out, ragged, reverse, place + 6 * B, k))
    threads_run(backward_worker, job, planned.workers)
    db_ih, db_hh = window(p, False, grads.bias_ih, 1), window(p, True, grads.bias_hh, 1)
    if db_ih.data != NULL:
        k.unpack_bias(&db_ih, job.db)
    if db_hh.data != NULL:
        k.unpack_bias(&db_hh, at(job.db, (p.S - p.X) * H, k))
    workspace_give(workspace, block)
    return 0


def backward(Cell cell, Py_ssize_t number, Sequences sequences, x, h0, c0, cnp.ndarray y, gates, c_steps, dy,
             dc_steps, dh_steps, dh_final, dc_final, dx, cnp.ndarray dh, dc, dict grads):
    """The way back of `forward` with gates. Writes gates (the gradients of the pre-activations), dx (None: not wanted), dh and
    dc, if not None dh_steps (the gradients of every h), and `grads`, the gradients of all weights by name. The finals, dy and
    dc_steps may be None: zero. If x is `Embedded`, dx [V, I] is the gradient of its table."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1)
    cdef int status
    global runs

    runs += 1
    set_backward(&job, kernels_for(y), &cell.layer, T, B)
    job.threads, job.grads = threads, pointers(grads)
    job.ragged = whole(T, B) if sequences is None else sequences.ragged
    if isinstance(x, Embedded):
        job.embedded, job.table = (<Embedded>x).lookup(), table_rows((<Embedded>x).table)
        job.dtable = data(dx)
    else:
        job.x = rows_of(x)
        if dx is not None:
            job.dx.out = rows_of(dx)
    p.y, p.gates.data = cell.own_columns(y, number), data(gates)
    p.h0, p.c0, p.dh, p.dc = entry(h0, number), entry(c0, number), entry(dh, number), entry(dc, number)
    job.dh_final, job.dc_final = entry(dh_final, number), entry(dc_final, number)
    set_c_steps(c_steps, &p.c, &job.c_kept)
    if dy is not None:
        p.dy = cell.own_columns(dy, number)
    if dh_steps is not None:
        p.dh_steps = rows_of(dh_steps)
    if dc_steps is not None:
        p.dc_steps = rows_of(dc_steps)
    interrupts_begin(&job.interrupts)
    with nogil:
        status = run_backward(&job, &shared_workspace)
    if status < 0:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()


# ---- random masks, vector functions ------------------------------------------------------------------------------

cdef struct MaskJob:
    const Kernels *k
    uint64_t seed
    uint32_t call, layer
    Py_ssize_t t0, T, B, N
    double p
    void *mask

cdef void mask_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef MaskJob *job = <MaskJob *>argument
    job.k.dropout(job.seed, job.call, job.layer, job.t0 + share(job.T, worker, workers),
                  job.t0 + share(job.T, worker + 1, workers), job.B, job.N, job.p, at(job.mask, -job.t0 * job.B * job.N, job.k))


def dropout_mask(seed, call, layer, shape, double p, dtype, Py_ssize_t t0=0):
    """A mask [T, B, N] of 0 (with probability p) and 1 / (1 - p), keyed by (seed, call, layer, t, row, unit); t from t0 on."""
    mask = np.empty(shape, dtype)
    cdef MaskJob job = MaskJob(kernels_for(mask), seed & 0xFFFFFFFFFFFFFFFF, call & 0xFFFFFFFF, layer & 0xFFFFFFFF,
                               t0, shape[0], shape[1], shape[2], p, data(mask))
    cdef Plan planned = plan(job.k, threads, job.T, 20.0 * job.B * job.N, job.T, 1, 0, 1, START_NS)
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
include "capi.pxi"
