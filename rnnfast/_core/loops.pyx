# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The time loops, forward and backpropagation through time, over the C kernels, without the GIL.

Everything here takes arrays that the Python above has checked. A call lays out its scratch memory, packs the weights,
and hands one job to a team of workers; a worker runs its share of every chunk of time. Work is split over the rows of
the batch (no worker waits for another) or over the hidden units (a barrier at each step, and each worker's slice of the
weights stays in its own cache). No split changes a bit of any result.

One compiled module in nine files: settings.pxi, layout.pxi, plan.pxi, cell.pxi, sequences.pxi, embedded.pxi and linear.pxi
come first, stepper.pxi last.
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
include "sequences.pxi"
include "embedded.pxi"
include "linear.pxi"


# ---- forward -----------------------------------------------------------------------------------------------------

cdef struct ForwardJob:
    const Kernels *k
    Pass p
    Product project      # all rows of x and of gates, a worker takes parts; if x is embedded, the V rows of both tables
    Lookup embedded      # table [V, S*H]: the projection of each token
    Py_ssize_t V         # tokens of an embedded x
    Blocks w_ih, w_hh, w_m
    const void *b_ih
    const void *b_hh
    void *w_project      # [X*H/(4V)][I][4][V]: W_ih packed flat over its rows
    void *w_step         # [H/V][P][G][V]: W_hh packed by gates (flat if G = 1)
    void *w_second       # [P/(4V)][H][4][V]: W_m packed flat over its rows
    void *bias           # [S*H]
    Ragged ragged
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

cdef void pack_for_forward(const Kernels *k, const Pass *p, const Blocks *w_ih, void *w_project, const Blocks *w_hh,
                           void *w_step, const Blocks *w_m, void *w_second, int worker, int workers) noexcept nogil:
    """A worker's share of all weights."""
    cdef Py_ssize_t columns = k.groups_of(p.X * p.H), units = hidden_groups(k, p), second = k.groups_of(p.P)
    k.pack_by_rows(w_ih, w_project, share(columns, worker, workers), share(columns, worker + 1, workers))
    k.pack_by_gates(w_hh, w_step, share(units, worker, workers), share(units, worker + 1, workers))
    if p.phases == 2:
        k.pack_by_rows(w_m, w_second, share(second, worker, workers), share(second, worker + 1, workers))

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
    pack_for_forward(k, &p, &job.w_ih, job.w_project, &job.w_hh, job.w_step, &job.w_m, job.w_second, worker, workers)
    if worker == 0:
        add_biases(k, &p, job.b_ih, job.b_hh, job.bias)
    threads_barrier(team)
    if embedded:
        product_share(k, &job.project, 0, job.V, worker, workers)
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


cpdef forward(Cell cell, Py_ssize_t number, Sequences sequences, x, h0, c0, cnp.ndarray y, cnp.ndarray h, c,
              gates, c_steps):
    """One layer in one direction; shapes as in `passes.pass_forward`.

    The states are those of all passes, of which this one reads and writes entry `number`; y is that of all directions.
    gates [T*B*S*H or more] are kept for `backward`; None keeps nothing. c_steps (lstm) gets the c of every step, as
    [T*B*H or more] in the pass's own order or [T, B, H] in the caller's; None keeps the last alone.
    """
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Ragged *ragged = &job.ragged
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size, P = cell.output_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef void *h_final = entry(h, number)
    cdef void *c_final = entry(c, number)
    cdef size_t sizes[10]
    cdef void *parts[10]
    cdef Py_ssize_t *place
    cdef void *block
    cdef Embedded embedded = x if isinstance(x, Embedded) else None
    cdef double rows, projected  # of the state's and the input's products in each step, on average
    cdef Plan planned
    global runs

    runs += 1
    memset(&job, 0, sizeof(job))
    ragged[0] = shape_of(sequences, T, B)
    if ragged.order != NULL or ragged.rows == 0:  # sequences without a step keep their state
        begin(h_final, entry(h0, number), B * P * size)
        if c is not None:
            begin(c_final, entry(c0, number), B * H * size)
        clear_ended(cell.own_columns(y, number), ragged, T, P, k)
        if ragged.rows == 0:
            return
    T = ragged.T
    cell.describe(p)
    p.save, p.T, p.B = gates is not None, T, B
    p.order, p.cut = ragged.order, ragged.cut[1 if cell.reverse else 0]
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, LEAST_ROWS)
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), step_window(p, data(cell.weight_hh))
    if p.phases == 2:
        job.w_m = second_window(p, data(getattr(cell, cell.name_m)))
    job.b_ih, job.b_hh = data(cell.bias_ih), data(cell.bias_hh)
    rows = projected = <double>ragged.rows / T
    if embedded is not None:
        job.V = cnp.PyArray_DIM(embedded.table, 0)
        projected = <double>job.V / T
    planned = plan(k, T, 2.0 * (projected * I + rows * P) * p.X * H, max(1, ragged.rows // T), hidden_groups(k, p),
                   <double>P * H * p.X * size, p.phases, START_NS)
    job.split = planned.split

    sizes = [I * padded(p.X * H, k) * size, p.G * padded(H, k) * P * size, p.S * H * size, max(H, P) * size,
             0 if p.save else job.chunk * B * p.S * H * size, 0, 0, job.V * p.S * H * size, 0, 0]
    if ragged.order != NULL:
        sizes[5], sizes[6] = 3 * B * sizeof(Py_ssize_t), planned.workers * (T + 1) * sizeof(Py_ssize_t)
    if p.phases == 2:
        sizes[8], sizes[9] = padded(P, k) * H * size, B * H * size
    block = workspace_take(10, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights, the gates of one chunk of time and the tokens' projections")
    memset(parts[3], 0, sizes[3])
    job.w_project, job.w_step, job.bias, p.zeros, place = parts[0], parts[1], parts[2], parts[3], <Py_ssize_t *>parts[5]
    job.starts = <Py_ssize_t *>parts[6]
    p.w_step, p.w_m = job.w_step, parts[8]
    job.w_second = parts[8]
    if p.phases == 2:
        p.m = Rows(parts[9], B, 0, H, NULL, NULL)
    p.y = in_order(cell.own_columns(y, number), ragged, cell.reverse, place, k)
    p.h0, p.c0 = entry(h0, number), entry(c0, number)
    p.gates = packed_rows(data(gates) if p.save else parts[4], B, p.S * H, ragged.start)
    if c_steps is not None:
        p.c = c_rows(c_steps, B, H, ragged, cell.reverse, place + B, k)
    elif c is not None:  # each step's in the place of the final one
        p.c = in_order(Rows(c_final, B, 0, H, NULL, NULL), ragged, False, place + B, k)
    if embedded is None:
        job.project = Product(I, p.X * H, (p.S - p.X) * H, in_order(rows_of(x), ragged, cell.reverse, place + 2 * B, k),
                              job.w_project, job.bias, p.gates)
    else:
        job.project = Product(I, p.X * H, (p.S - p.X) * H, embedded.rows(), job.w_project, job.bias,
                              packed_rows(parts[7], job.V, p.S * H, NULL))
        job.embedded = embedded.lookup(ragged, cell.reverse, place + 2 * B, parts[7], p.S * H)
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(forward_worker, &job, planned.workers)
        copy_last(&p.y, ragged, P, h_final, k)
        if c_steps is not None:
            copy_last(&p.c, ragged, H, c_final, k)
        workspace_give(block)
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()


def evaluate(list cells, int directions, Sequences sequences, x, h0, c0, bint batch_first):
    """All passes of a stack, keeping nothing: y, h and c (None but for the LSTM). What a layer does when it is called; here,
    because for a single step of a small layer the way through Python takes longer than the work."""
    cdef cnp.ndarray rows = (<Embedded>x).tokens if isinstance(x, Embedded) else x
    cdef Py_ssize_t T = cnp.PyArray_DIM(rows, 0), B = cnp.PyArray_DIM(rows, 1), passes = len(cells), number
    cdef Cell cell = cells[0]
    cdef Py_ssize_t P = cell.output_size
    cdef cnp.dtype dtype = cell.weight_ih.dtype
    h = blank(passes, B, P, dtype)
    c = blank(passes, B, cell.hidden_size, dtype) if cell.has_c() else None
    y = x
    for number in range(passes):
        if number % directions == 0:
            x, y = y, blank(T, B, directions * P, dtype, batch_first and number == passes - directions)
        forward(cells[number], number, sequences, x, h0, c0, y, h, c, None, None)
    return y, h, c


# ---- backward ----------------------------------------------------------------------------------------------------

cdef struct BackwardJob:
    const Kernels *k
    Pass p
    Product dx           # all rows of gates and of dx; a worker takes parts
    GradientProduct dw_ih, dw_hh, dw_m
    Ragged ragged
    Rows d, x, h_prev    # the rows of the gradient products, last step first: [T*B, S*H], [T*B, I], [(T-1)*B, P]
    Lookup embedded      # table [V, X*H]: the sum of d over the rows of each token, in place of x
    LinearJob tokens     # from those sums, the gradients of W_ih and of the embedded table
    Rows h0              # [B, P]
    Blocks w_ih, w_hh, w_m, w_ih_grad, w_hh_grad, w_m_grad
    void *w_dx           # [I/(4V)][X*H][4][V]: W_ih packed flat over its I columns
    void *w_back         # [P/(4V)][G*H][4][V]: W_hh packed flat over its P columns
    void *w_second       # [H/(4V)][P][4][V]: W_m packed flat over its H columns
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
    cdef int chunk = 0

    if together:
        g0, g1, u0, u1 = m0, m1, share(units, worker, workers), share(units, worker + 1, workers)
    else:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
    k.pack_by_columns(&job.w_hh, job.w_back, m0, m1)
    if p.phases == 2:
        k.pack_by_columns(&job.w_m, job.w_second, share(units, worker, workers), share(units, worker + 1, workers))
    if job.dx.out.data != NULL:
        q = k.groups_of(job.dx.C)
        k.pack_by_columns(&job.w_ih, job.w_dx, share(q, worker, workers), share(q, worker + 1, workers))
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
        add_weight_gradients(job, flat(&job.d, p.T - s1), flat(&job.d, p.T - s0), w0, w1, packed_d, operand)
        if p.phases == 2:
            add_second_gradient(job, p, flat(&job.d, p.T - s1), flat(&job.d, p.T - s0), m0, m1,
                                at(job.packed_d_m, m0 * k.columns * GRADIENT_ROWS, k), operand)
        if p.w_co != NULL:
            k.peephole_gradient(p, s0, s1, j0, j1)
        if embedded:
            k.scatter(&job.embedded, p, s0, s1, share(p.X * p.H, worker, workers), share(p.X * p.H, worker + 1, workers))
        elif job.dx.out.data != NULL:
            product_share(k, &job.dx, flat(&p.y, s0), flat(&p.y, s1), worker, workers)
        s1 = s0
    step_back(k, p, -1, 0, b0, b1, g0, g1)
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

cdef void token_gradients(BackwardJob *job, Py_ssize_t V, void *dtable, Rows table, void *db) noexcept nogil:
    """Sets out what follows the last chunk if x is embedded: a dense layer's way back over the V tokens, where the sum of d
    over a token's rows stands for dy."""
    cdef LinearJob *tokens = &job.tokens
    cdef Pass *p = &job.p
    cdef Py_ssize_t C = p.X * p.H, I = job.w_ih.width
    tokens.k, tokens.M, tokens.w, tokens.w_grad = job.k, V, job.w_ih, job.w_ih_grad
    tokens.d, tokens.x = packed_rows(job.embedded.table, V, C, NULL), table
    tokens.dw = GradientProduct(I, C, 0, C, job.dw_ih.dw)
    tokens.packed_d, tokens.operand, tokens.operand_size, tokens.db = job.packed_d, job.operand, job.operand_size, db
    if dtable != NULL:
        tokens.packed_w = job.w_dx
        tokens.product = Product(C, I, 0, tokens.d, job.w_dx, NULL, packed_rows(dtable, V, I, NULL))

def backward(Cell cell, Py_ssize_t number, Sequences sequences, x, h0, c0, cnp.ndarray y, gates, c_steps, dy,
             dc_steps, dh_steps, dh_final, dc_final, dx, cnp.ndarray dh, dc, dict grads):
    """The way back of `forward` with gates. Writes gates (the gradients of the pre-activations), dx (None: not wanted), dh and
    dc, if not None dh_steps (the gradients of every h), and `grads`, the gradients of all weights by name. The finals, dy and
    dc_steps may be None: zero. If x is `Embedded`, dx [V, I] is the gradient of its table."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Ragged *ragged = &job.ragged
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size, P = cell.output_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef Blocks db_ih, db_hh
    cdef size_t sizes[18]
    cdef void *parts[18]
    cdef Py_ssize_t *place
    cdef void *block
    cdef Embedded embedded = x if isinstance(x, Embedded) else None
    cdef Py_ssize_t V = 0 if embedded is None else cnp.PyArray_DIM(embedded.table, 0)
    cdef double rows, projected
    cdef Plan planned
    global runs

    runs += 1
    memset(&job, 0, sizeof(job))
    ragged[0] = shape_of(sequences, T, B)
    begin(entry(dh, number), entry(dh_final, number), B * P * size)
    if dc is not None:
        begin(entry(dc, number), entry(dc_final, number), B * H * size)
    if dx is not None and embedded is None:
        clear_ended(rows_of(dx), ragged, T, I, k)
    if ragged.rows == 0:
        for gradient in grads.values():
            gradient[...] = 0
        if embedded is not None and dx is not None:
            dx[...] = 0
        return
    T = ragged.T
    cell.describe(p)
    p.T, p.B = T, B
    p.order, p.cut = ragged.order, ragged.cut[1 if cell.reverse else 0]
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    rows = projected = <double>ragged.rows / T
    if embedded is not None:
        projected = <double>V / T
    planned = plan(k, 2 * T, 2.0 * (projected * I + rows * P) * p.X * H, max(1, ragged.rows // T), k.groups_of(P),
                   <double>P * H * p.X * size, p.phases, START_NS)
    job.split = planned.split
    job.operand_size = GRADIENT_ROWS * max(k.operand_stride(I), k.operand_stride(H), k.operand_stride(P))

    sizes = [0 if dx is None else p.X * H * padded(I, k) * size, p.G * H * padded(P, k) * size,
             GRADIENT_ROWS * padded(p.S * H, k) * size, planned.workers * job.operand_size * size,
             padded(p.S * H, k) * size, padded(p.S * H, k) * I * size, padded(p.S * H, k) * P * size, max(H, P) * size,
             V * p.X * H * size, 0 if embedded is None else padded(p.X * H, k) * size, 0, 0, V * I * size,
             8 * B * sizeof(Py_ssize_t) if ragged.order != NULL else 0, 0, 0, 0, 0]
    if p.phases == 2:
        sizes[10], sizes[11], sizes[14] = padded(P, k) * size, padded(P, k) * H * size, P * padded(H, k) * size
        sizes[15], sizes[16] = GRADIENT_ROWS * padded(P, k) * size, 2 * job.chunk * B * H * size
        sizes[17] = 0 if cell.weight_hr is None else 2 * job.chunk * B * P * size
    block = workspace_take(18, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    for n in range(4, 12):
        memset(parts[n], 0, sizes[n])
    job.w_dx, job.w_back, job.packed_d, job.operand, job.db = parts[0], parts[1], parts[2], parts[3], parts[4]
    p.zeros, place = parts[7], <Py_ssize_t *>parts[13]
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), step_window(p, data(cell.weight_hh))
    job.w_ih_grad, job.w_hh_grad = window(p, False, data(grads["weight_ih"]), I), step_window(p, data(grads["weight_hh"]))
    if p.phases == 2:
        job.db_m, job.w_second, job.packed_d_m, job.m = parts[10], parts[14], parts[15], parts[16]
        job.d_m = NULL if cell.weight_hr is None else parts[17]
        job.dw_m = GradientProduct(H, P, 0, P, parts[11])
        job.w_m = second_window(p, data(getattr(cell, cell.name_m)))
        job.w_m_grad = second_window(p, data(grads[cell.name_m]))
        p.w_m_back = job.w_second
    if p.w_co != NULL:
        p.dw_ci, p.dw_cf, p.dw_co = data(grads["weight_ci"]), data(grads.get("weight_cf")), data(grads["weight_co"])
        for name in grads:
            if name.startswith("weight_c"):
                grads[name][...] = 0
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, parts[5])
    job.dw_hh = GradientProduct(P, p.S * H, (p.S - p.G) * H, p.S * H, parts[6])
    p.w_back = job.w_back
    p.y = in_order(cell.own_columns(y, number), ragged, cell.reverse, place, k)
    p.gates = packed_rows(data(gates), B, p.S * H, ragged.start)
    p.h0, p.c0, p.dh, p.dc = entry(h0, number), entry(c0, number), entry(dh, number), entry(dc, number)
    if dc is not None:
        p.c = c_rows(c_steps, B, H, ragged, cell.reverse, place + B, k)
    if dy is not None:
        p.dy = in_order(cell.own_columns(dy, number), ragged, cell.reverse, place + 2 * B, k)
    if dh_steps is not None:
        p.dh_steps = in_order(rows_of(dh_steps), ragged, cell.reverse, place + 7 * B, k)
    if dc_steps is not None:
        p.dc_steps = in_order(rows_of(dc_steps), ragged, cell.reverse, place + 3 * B, k)
    job.d = last_first(p.gates, T, ragged.start_back, k)
    job.h_prev = last_first(p.y, max(1, T - 1), ragged.start_back, k)
    job.h0 = Rows(<void *>p.zeros, B, 0, 0, NULL, NULL)
    if h0 is not None:
        job.h0 = in_order(Rows(<void *>p.h0, B, 0, P, NULL, NULL), ragged, False, place + 5 * B, k)
    if embedded is not None:
        job.embedded = embedded.lookup(ragged, cell.reverse, place + 4 * B, parts[8], p.X * H)
        token_gradients(&job, V, data(dx), embedded.named_rows(ragged, parts[12], k), parts[9])
    else:
        job.x = last_first(in_order(rows_of(x), ragged, cell.reverse, place + 4 * B, k), T, ragged.start_back, k)
        if dx is not None:
            job.dx = Product(p.X * H, I, 0, p.gates, job.w_dx, NULL,
                             in_order(rows_of(dx), ragged, cell.reverse, place + 6 * B, k))
    interrupts_begin(&job.interrupts)
    with nogil:
        threads_run(backward_worker, &job, planned.workers)
    db_ih, db_hh = window(p, False, data(grads.get("bias_ih")), 1), window(p, True, data(grads.get("bias_hh")), 1)
    if db_ih.data != NULL:
        k.unpack_bias(&db_ih, job.db)
    if db_hh.data != NULL:
        k.unpack_bias(&db_hh, at(job.db, (p.S - p.X) * H, k))
    workspace_give(block)
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
    cdef Plan planned = plan(job.k, job.T, 20.0 * job.B * job.N, job.T, 1, 0, 1, START_NS)
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
