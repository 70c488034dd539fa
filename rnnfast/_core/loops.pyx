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
    Blocks w_ih, w_hh
    const void *b_ih
    const void *b_hh
    void *w_project      # [X*H/(4V)][I][4][V]: W_ih packed flat over its rows
    void *w_step         # [H/V][H][G][V]: W_hh packed by gates (flat if G = 1)
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
    cdef Product project = job.project
    cdef Rows out = project.out
    cdef Py_ssize_t groups = hidden_groups(k, &p), s0 = 0, s1, s, b0 = 0, b1 = p.B, b, g0 = 0, g1 = groups
    cdef Py_ssize_t c0 = 0, c1 = p.S * p.H
    cdef const Py_ssize_t *start
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef int chunk = 0, mates = workers if together else 1  # who share a flat product

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
        c0, c1 = share(p.S * p.H, worker, workers), share(p.S * p.H, worker + 1, workers)
    elif workers > 1:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
        start = starts_of(&job.ragged, b0, b1, job.starts + worker * (p.T + 1))
        project.a, out = part(project.a, b0, b1, start, k), part(out, b0, b1, start, k)
    pack_for_forward(k, &p, &job.w_ih, job.w_project, &job.w_hh, job.w_step, worker, workers)
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
                k.step_forward[p.cell](&p, s, b0, b, g0, g1)
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
    """One layer in one direction; shapes as in `functional.pass_forward`.

    The states are those of all passes, of which this one reads and writes entry `number`; y is that of all directions.
    gates [T*B*S*H or more] are kept for `backward`; None keeps nothing. c_steps (lstm) gets the c of every step, as
    [T*B*H or more] in the pass's own order or [T, B, H] in the caller's; None keeps the last alone.
    """
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Ragged *ragged = &job.ragged
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef void *h_final = entry(h, number)
    cdef void *c_final = entry(c, number)
    cdef size_t sizes[8]
    cdef void *parts[8]
    cdef Py_ssize_t *place
    cdef void *block
    cdef Embedded embedded = x if isinstance(x, Embedded) else None
    cdef double rows, projected  # of the state's and the input's products in each step, on average
    cdef Plan planned

    memset(&job, 0, sizeof(job))
    ragged[0] = shape_of(sequences, T, B)
    if ragged.order != NULL or ragged.rows == 0:  # sequences without a step keep their state
        begin(h_final, entry(h0, number), B * H * size)
        if c is not None:
            begin(c_final, entry(c0, number), B * H * size)
        clear_ended(cell.own_columns(y, number), ragged, T, H, k)
        if ragged.rows == 0:
            return
    T = ragged.T
    set_cell(p, cell.kind)
    p.nonlinearity, p.save, p.T, p.B, p.H = cell.nonlinearity, gates is not None, T, B, H
    p.order, p.cut = ragged.order, ragged.cut[1 if cell.reverse else 0]
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, LEAST_ROWS)
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), window(p, True, data(cell.weight_hh), H)
    job.b_ih, job.b_hh = data(cell.bias_ih), data(cell.bias_hh)
    rows = projected = <double>ragged.rows / T
    if embedded is not None:
        job.V = cnp.PyArray_DIM(embedded.table, 0)
        projected = <double>job.V / T
    planned = plan(k, T, 2.0 * (projected * I + rows * H) * p.G * H, max(1, ragged.rows // T), hidden_groups(k, p),
                   <double>H * H * p.G * size, START_NS)
    job.split = planned.split

    sizes = [I * padded(p.X * H, k) * size, p.G * padded(H, k) * H * size, p.S * H * size, H * size,
             0 if p.save else job.chunk * B * p.S * H * size, 0, 0, job.V * p.S * H * size]
    if ragged.order != NULL:
        sizes[5], sizes[6] = 3 * B * sizeof(Py_ssize_t), planned.workers * (T + 1) * sizeof(Py_ssize_t)
    block = workspace_take(8, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights, the gates of one chunk of time and the tokens' projections")
    memset(parts[3], 0, sizes[3])
    job.w_project, job.w_step, job.bias, p.zeros, place = parts[0], parts[1], parts[2], parts[3], <Py_ssize_t *>parts[5]
    job.starts = <Py_ssize_t *>parts[6]
    p.w_step = job.w_step
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
        copy_last(&p.y, ragged, H, h_final, k)
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
    cdef Py_ssize_t H = cell.hidden_size
    cdef cnp.dtype dtype = cell.weight_ih.dtype
    h = blank(passes, B, H, dtype)
    c = blank(passes, B, H, dtype) if cell.kind == LSTM else None
    y = x
    for number in range(passes):
        if number % directions == 0:
            x, y = y, blank(T, B, directions * H, dtype, batch_first and number == passes - directions)
        forward(cells[number], number, sequences, x, h0, c0, y, h, c, None, None)
    return y, h, c


# ---- backward ----------------------------------------------------------------------------------------------------

cdef struct BackwardJob:
    const Kernels *k
    Pass p
    Product dx           # all rows of gates and of dx; a worker takes parts
    GradientProduct dw_ih, dw_hh
    Ragged ragged
    Rows d, x, h_prev    # the rows of the gradient products, last step first: [T*B, S*H], [T*B, I], [(T-1)*B, H]
    Lookup embedded      # table [V, X*H]: the sum of d over the rows of each token, in place of x
    LinearJob tokens     # from those sums, the gradients of W_ih and of the embedded table
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
            k.pack_operand(&job.h_prev, p.H, q, q + steps, operand)
        if steps < n:
            k.pack_operand(&job.h0, p.H, q + steps - inner, end - inner, at(operand, steps * k.operand_stride(p.H), k))
        if p.cut != NULL:
            clear_cut(job, q, end, operand)
        k.gradient_product(&job.dw_hh, n, g0, g1, packed_d, operand)
        q = end

cdef void clear_cut(BackwardJob *job, Py_ssize_t q, Py_ssize_t end, void *operand) noexcept nogil:
    """Zeros in the operand's rows q..end (last step first) for previous states that were cut off."""
    cdef Pass *p = &job.p
    cdef Py_ssize_t s = p.T - 1, b, row = job.k.operand_stride(p.H)
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

cdef void step_back(const Kernels *k, const Pass *p, Py_ssize_t s, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t g0,
                    Py_ssize_t g1) noexcept nogil:
    """Step s of a worker's rows: first those that go on behind it, then those for which it is the last."""
    cdef Py_ssize_t rows = rows_in_step(&p.y, max(s, 0)), on = rows_in_step(&p.y, s + 1) if s < p.T - 1 else 0
    if b0 < min(b1, on):
        k.step_backward[p.cell](p, s, b0, min(b1, on), g0, g1)
    if max(b0, on) < min(b1, rows):
        k.step_backward[p.cell](p, s, max(b0, on), min(b1, rows), g0, g1)

cdef void backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef BackwardJob *job = <BackwardJob *>argument
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef Py_ssize_t groups = k.groups_of(p.H), columns = k.groups_of(p.S * p.H)
    cdef Py_ssize_t w0 = share(columns, worker, workers), w1 = share(columns, worker + 1, workers)
    cdef Py_ssize_t b0 = 0, b1 = p.B, g0 = 0, g1 = groups, s0, s1 = p.T, s, q
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef int chunk = 0

    if together:
        g0, g1 = share(groups, worker, workers), share(groups, worker + 1, workers)
    else:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
    k.pack_by_columns(&job.w_hh, job.w_back, share(groups, worker, workers), share(groups, worker + 1, workers))
    if job.dx.out.data != NULL:
        q = k.groups_of(job.dx.C)
        k.pack_by_columns(&job.w_ih, job.w_dx, share(q, worker, workers), share(q, worker + 1, workers))
    threads_barrier(team)
    while s1 > 0:
        s0 = max(s1 - job.chunk, 0)
        chunk += 1
        for s in range(s1 - 1, s0 - 1, -1):
            step_back(k, p, s, b0, b1, g0, g1)
            if together and s > s0:
                threads_barrier(team)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        # Flat over the chunk's rows, while another worker may be in the steps before them, which only read these rows.
        add_weight_gradients(job, flat(&job.d, p.T - s1), flat(&job.d, p.T - s0), w0, w1,
                             at(job.packed_d, w0 * k.columns * GRADIENT_ROWS, k), at(job.operand, worker * job.operand_size, k))
        if embedded:
            k.scatter(&job.embedded, p, s0, s1, share(p.X * p.H, worker, workers), share(p.X * p.H, worker + 1, workers))
        elif job.dx.out.data != NULL:
            product_share(k, &job.dx, flat(&p.y, s0), flat(&p.y, s1), worker, workers)
        s1 = s0
    step_back(k, p, -1, b0, b1, g0, g1)
    if embedded:
        threads_barrier(team)
        linear_backward_worker(&job.tokens, team, worker, workers)
    else:
        k.unpack_gradient(&job.dw_ih, w0, w1, &job.w_ih_grad)
    k.unpack_gradient(&job.dw_hh, w0, w1, &job.w_hh_grad)

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
             dc_steps, dh_steps, dh_final, dc_final, dx, cnp.ndarray dh, dc, dweight_ih, dweight_hh, dbias_ih, dbias_hh):
    """The way back of `forward` with gates. Writes gates (the gradients of the pre-activations), dx (None: not wanted), dh and
    dc, if not None dh_steps (the gradients of every h), the weights' and, if not None, the biases' gradients. The finals, dy
    and dc_steps may be None: zero. If x is `Embedded`, dx [V, I] is the gradient of its table."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef const Kernels *k = kernels_for(y)
    cdef Ragged *ragged = &job.ragged
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), H = cell.hidden_size
    cdef Py_ssize_t I = cell.input_size, size = k.real_size
    cdef Blocks db_ih, db_hh
    cdef size_t sizes[12]
    cdef void *parts[12]
    cdef Py_ssize_t *place
    cdef void *block
    cdef Embedded embedded = x if isinstance(x, Embedded) else None
    cdef Py_ssize_t V = 0 if embedded is None else cnp.PyArray_DIM(embedded.table, 0)
    cdef double rows, projected
    cdef Plan planned

    memset(&job, 0, sizeof(job))
    ragged[0] = shape_of(sequences, T, B)
    begin(entry(dh, number), entry(dh_final, number), B * H * size)
    if dc is not None:
        begin(entry(dc, number), entry(dc_final, number), B * H * size)
    if dx is not None and embedded is None:
        clear_ended(rows_of(dx), ragged, T, I, k)
    if ragged.rows == 0:
        for gradient in (dweight_ih, dweight_hh, dbias_ih, dbias_hh):
            if gradient is not None:
                gradient[...] = 0
        return
    T = ragged.T
    set_cell(p, cell.kind)
    p.nonlinearity, p.T, p.B, p.H = cell.nonlinearity, T, B, H
    p.order, p.cut = ragged.order, ragged.cut[1 if cell.reverse else 0]
    job.k = k
    job.chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    rows = projected = <double>ragged.rows / T
    if embedded is not None:
        projected = <double>V / T
    planned = plan(k, 2 * T, 2.0 * (projected * I + rows * H) * p.G * H, max(1, ragged.rows // T), k.groups_of(H),
                   <double>H * H * p.G * size, START_NS)
    job.split = planned.split
    job.operand_size = GRADIENT_ROWS * max(k.operand_stride(I), k.operand_stride(H))

    sizes = [0 if dx is None else p.X * H * padded(I, k) * size, p.G * H * padded(H, k) * size,
             GRADIENT_ROWS * padded(p.S * H, k) * size, planned.workers * job.operand_size * size,
             padded(p.S * H, k) * size, padded(p.S * H, k) * I * size, padded(p.S * H, k) * H * size, H * size,
             V * p.X * H * size, 0 if embedded is None else padded(p.X * H, k) * size, V * I * size,
             8 * B * sizeof(Py_ssize_t) if ragged.order != NULL else 0]
    block = workspace_take(12, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    for n in range(4, 10):
        memset(parts[n], 0, sizes[n])
    job.w_dx, job.w_back, job.packed_d, job.operand, job.db = parts[0], parts[1], parts[2], parts[3], parts[4]
    p.zeros, place = parts[7], <Py_ssize_t *>parts[11]
    job.w_ih, job.w_hh = window(p, False, data(cell.weight_ih), I), window(p, True, data(cell.weight_hh), H)
    job.w_ih_grad, job.w_hh_grad = window(p, False, data(dweight_ih), I), window(p, True, data(dweight_hh), H)
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, parts[5])
    job.dw_hh = GradientProduct(H, p.S * H, (p.S - p.G) * H, p.S * H, parts[6])
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
        job.h0 = in_order(Rows(<void *>p.h0, B, 0, H, NULL, NULL), ragged, False, place + 5 * B, k)
    if embedded is not None:
        job.embedded = embedded.lookup(ragged, cell.reverse, place + 4 * B, parts[8], p.X * H)
        token_gradients(&job, V, data(dx), embedded.named_rows(ragged, parts[10], k), parts[9])
    else:
        job.x = last_first(in_order(rows_of(x), ragged, cell.reverse, place + 4 * B, k), T, ragged.start_back, k)
        if dx is not None:
            job.dx = Product(p.X * H, I, 0, p.gates, job.w_dx, NULL,
                             in_order(rows_of(dx), ragged, cell.reverse, place + 6 * B, k))
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
