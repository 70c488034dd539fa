# The forward pass: one layer in one direction, over all steps of a batch; and a stack of layers.

cdef struct ForwardJob:  # in the caller's terms until `run_forward` puts x, y and the states into the order of the pass
    const Kernels *k
    const Layer *layer
    int threads          # the most workers
    Pass p
    Phases phases
    Rows x               # [T, B, I]
    Lookup embedded      # or, instead of x, rows of the table; in a pass, rows of its projections [V, S*H]
    Rows table           # [V, I]
    void *final[MAX_PARTS]  # [B, width] OUT the final state; may be p.initial
    void *kept[MAX_PARTS]   # [T*B, width] OUT a further part of every step in the order of the pass; NULL: in p.state, or
                            # the last step alone
    const Packed *given  # weights that are packed; NULL: this job packs them
    Packed packed
    Ragged ragged
    Product project      # over all rows of x and gates, a worker takes a part; if x is embedded, over the V rows of both tables
    Py_ssize_t *starts   # [workers, T + 1] if the batch is ragged
    void *scratch        # [workers][forward_scratch] operands: copies of the rows that a product reads
    Py_ssize_t chunk     # steps projected at once
    int split
    Interrupts interrupts


# ---- packed weights ------------------------------------------------------------------------------------------------

cdef void forward_pack_sizes(const Kernels *k, const Layer *layer, size_t *sizes) noexcept nogil:
    """sizes [FORWARD_PACKS] OUT, in bytes."""
    cdef const Pass *p = &layer.p
    sizes[0] = packed_size(k, layer.input_size, p.X * p.H)
    sizes[1] = p.heads * p.G * packed_size(k, head_width(p), p.D)
    sizes[2] = p.S * p.H * k.real_size
    sizes[3] = packed_size(k, p.H, p.P) if has_second_product(p) else 0
    sizes[4] = norm_size(k, p)

cdef inline Py_ssize_t forward_scratch(const Kernels *k, const Layer *layer, Py_ssize_t B) noexcept nogil:
    """Operands of a worker's scratch memory: for a step of B rows, and for flat products."""
    cdef const Pass *p = &layer.p
    return max(B * k.copy_size(max(p.P, p.H)), SCRATCH_ROWS * k.copy_size(max(layer.input_size, p.H)), k.norm_scratch(p))

cdef void pack_for_forward(const Kernels *k, const Layer *layer, const Packed *packed, int worker, int workers) noexcept nogil:
    """A worker's share of all weights."""
    cdef const Pass *p = &layer.p
    cdef Py_ssize_t columns = k.groups_of(p.X * p.H), second = k.groups_of(p.P)
    cdef Py_ssize_t units = groups_of_units(k, p, STEP_UNITS) // p.heads, size = p.G * packed_size(k, head_width(p), p.D)
    cdef int head
    cdef Blocks w_ih = input_window(p, layer.weights[WEIGHT_IH], layer.input_size), w_hh, w_m
    w_ih.scales = layer.scales[WEIGHT_IH]
    k.pack_by_rows(&w_ih, packed.project, share(columns, worker, workers), share(columns, worker + 1, workers))
    for head in range(p.heads if p.G else 0):
        w_hh = head_window(p, layer.weights[WEIGHT_HH], layer.scales[WEIGHT_HH], head, k)
        k.pack_by_gates(&w_hh, <char *>packed.step + head * size, share(units, worker, workers),
                        share(units, worker + 1, workers))
    if has_second_product(p):
        w_m = second_window(p, second_weight(p, layer.weights))
        w_m.scales = second_weight(p, layer.scales)
        k.pack_by_rows(&w_m, packed.second, share(second, worker, workers), share(second, worker + 1, workers))
    if worker == 0:
        add_biases(k, layer, packed.bias)
        if is_normed(p):
            pack_norm(k, layer, packed.norm)


# ---- the loop over time --------------------------------------------------------------------------------------------

cdef void forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    """A worker's share of every step: rows of the batch or, `together` with the others, hidden units.

        for each chunk of steps:
            gates = bias + x . W_ih^T          all steps of the chunk at once
            for each step s of the chunk:
                gates[s] += h[s-1] . W_hh^T    and the cell: h[s], c[s]
    """
    cdef ForwardJob *job = <ForwardJob *>argument
    cdef const Kernels *k = job.k
    cdef const Phases *phases = &job.phases
    cdef Pass p = job.p
    cdef Product project = job.project
    cdef Rows out = project.out
    cdef Py_ssize_t s0 = 0, s1, s, b0 = 0, b1 = p.B, b, c0 = 0, c1 = p.S * p.H
    cdef Py_ssize_t g0[MAX_PHASES]
    cdef Py_ssize_t g1[MAX_PHASES]
    cdef const Py_ssize_t *start
    cdef void *scratch = operand_at(job.scratch, worker * forward_scratch(k, job.layer, p.B), k)
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef bint meet = together and (p.G > 0 or phases.count > 1)  # before each phase, which reads units of other workers
    cdef int chunk = 0, phase, mates = workers if together else 1  # how many share a flat product

    for phase in range(phases.count):
        g0[phase], g1[phase] = 0, phases.groups[phase]
        if together:
            g0[phase], g1[phase] = share(g1[phase], worker, workers), share(g1[phase], worker + 1, workers)
    if together:
        c0, c1 = share(p.S * p.H, worker, workers), share(p.S * p.H, worker + 1, workers)
    elif workers > 1:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
        start = starts_of(&job.ragged, b0, b1, job.starts + worker * (p.T + 1))
        project.a, out = batch_part(project.a, b0, b1, start, k), batch_part(out, b0, b1, start, k)
    if job.given == NULL:
        pack_for_forward(k, job.layer, &job.packed, worker, workers)
        threads_barrier(team)
    if embedded:
        product_share(k, &job.project, 0, job.table.B, worker, workers, scratch)
        threads_barrier(team)
    while s0 < p.T:
        s1 = min(s0 + job.chunk, p.T)
        chunk += 1
        if not p.save:
            p.first = s0
        if embedded:
            k.gather(&job.embedded, &p, s0, s1, b0, b1, c0, c1)
        else:
            project.out = from_step(out, -p.first, k)
            product_share(k, &project, rows_before(&project.a, s0), rows_before(&project.a, s1), worker % mates, mates,
                          scratch)
        if together:
            threads_barrier(team)
        if phases.scan != NULL:
            s = s0
            while s < s1:
                phases.scan(&p, s, min(SCAN_STEPS, s1 - s), b0, b1, g0[0], g1[0])
                s += SCAN_STEPS
        else:
            for s in range(s0, s1):
                b = min(b1, rows_in_step(&p.state[PART_H], s))
                for phase in range(phases.count):
                    if meet and (phase or s > s0):
                        threads_barrier(team)
                    if b0 < b:
                        phases.run[phase](&p, s, b0, b, g0[phase], g1[phase], scratch)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        if together:
            threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        s0 = s1


# ---- one pass: its scratch memory, its job ---------------------------------------------------------------------------

cdef enum:  # the scratch memory of a pass: the packed weights, then
    FORWARD_ZEROS = FORWARD_PACKS, FORWARD_GATES, FORWARD_PLACES, FORWARD_STARTS, FORWARD_TABLE, FORWARD_M
    FORWARD_SCRATCH, FORWARD_BUFFERS
    PLACES = 2 * MAX_PARTS + 1  # arrays of places: of each part of the state and of its zoneout, and of x

cdef void forward_sizes(const ForwardJob *job, Py_ssize_t T, int workers, size_t *sizes) noexcept nogil:
    """sizes [FORWARD_BUFFERS] OUT, in bytes: no less for more steps or workers."""
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
    sizes[FORWARD_PLACES] = PLACES * B * sizeof(Py_ssize_t) if ragged else 0
    sizes[FORWARD_STARTS] = workers * (T + 1) * sizeof(Py_ssize_t) if ragged else 0
    sizes[FORWARD_TABLE] = job.table.B * row
    sizes[FORWARD_M] = B * p.H * k.real_size if has_second_product(p) else 0
    sizes[FORWARD_SCRATCH] = workers * forward_scratch(k, job.layer, B) * k.operand_size

cdef void set_forward(ForwardJob *job, const Kernels *k, const Layer *layer, Py_ssize_t T, Py_ssize_t B) noexcept nogil:
    """A job of a layer, without any arrays yet."""
    memset(job, 0, sizeof(job[0]))
    job.k, job.layer, job.p = k, layer, layer.p
    job.p.T, job.p.B = T, B
    job.phases = forward_phases(k, &job.p)

cdef void wire_forward(ForwardJob *job, void **buffers) noexcept nogil:
    """Puts y, the states and x into the order of the pass, in scratch memory where the caller does not want them."""
    cdef const Kernels *k = job.k
    cdef const Ragged *ragged = &job.ragged
    cdef Pass *p = &job.p
    cdef Py_ssize_t B = p.B, I = job.layer.input_size
    cdef bint reverse = job.layer.reverse
    cdef Py_ssize_t *place = <Py_ssize_t *>buffers[FORWARD_PLACES]
    cdef int part
    p.zeros, p.w_step, p.w_m, p.norm = buffers[FORWARD_ZEROS], job.packed.step, job.packed.second, job.packed.norm
    if has_second_product(p):
        p.m = Rows(buffers[FORWARD_M], B, 0, p.H, NULL, NULL)
    p.gates = packed_rows(p.gates.data if p.save else buffers[FORWARD_GATES], B, p.S * p.H, ragged.start)
    for part in range(p.parts):
        if job.kept[part] != NULL:
            p.state[part] = packed_rows(job.kept[part], B, part_width(p, part), ragged.start)
        elif p.state[part].data != NULL:
            p.state[part] = in_order(p.state[part], ragged, reverse, place + part * B, k)
        else:  # every step writes to the place of the final state
            p.state[part] = in_order(Rows(job.final[part], B, 0, part_width(p, part), NULL, NULL), ragged, False,
                                     place + part * B, k)
    order_noise(p, ragged, reverse, place + MAX_PARTS * B, k)
    place += 2 * MAX_PARTS * B
    job.starts, job.scratch = <Py_ssize_t *>buffers[FORWARD_STARTS], buffers[FORWARD_SCRATCH]
    job.project = Product(I, p.X * p.H, (p.S - p.X) * p.H, job.table, job.packed.project, job.packed.bias, p.gates,
                          0)
    if job.embedded.token != NULL:
        job.project.out = packed_rows(buffers[FORWARD_TABLE], job.table.B, p.S * p.H, NULL)
        job.embedded = lookup_in_order(job.embedded, ragged, B, reverse, place, buffers[FORWARD_TABLE], p.S * p.H)
    else:
        job.project.a = in_order(job.x, ragged, reverse, place, k)

cdef int run_forward(ForwardJob *job, Workspace *workspace) noexcept nogil:
    """One layer in one direction; -1: there is no memory."""
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef const Ragged *ragged = &job.ragged
    cdef size_t sizes[FORWARD_BUFFERS]
    cdef void *buffers[FORWARD_BUFFERS]
    cdef void *block
    cdef Schedule planned
    cdef bint written[MAX_PARTS]  # into rows of its own, not to the place of the final state
    cdef int part

    for part in range(p.parts):
        written[part] = job.kept[part] != NULL or p.state[part].data != NULL
        if ragged.order != NULL or ragged.rows == 0:  # sequences without a step keep their state
            begin(job.final[part], p.initial[part], p.B * part_width(p, part) * k.real_size)
    if ragged.order != NULL or ragged.rows == 0:
        clear_ended(p.state[PART_H], ragged, p.T, p.P, k)
    if ragged.rows == 0:
        return 0
    p.T, p.order, p.reset = ragged.T, ragged.order, ragged.reset[1 if job.layer.reverse else 0]
    planned = schedule_pass(k, job.threads, job.layer, ragged, job.table.B, 1, &job.phases)
    job.split = planned.split
    job.chunk = chunk_steps(k, p.S * p.H, p.B, p.T, GATES_BYTES, LEAST_ROWS)
    forward_sizes(job, p.T, planned.workers, sizes)
    block = workspace_take(workspace, FORWARD_BUFFERS, sizes, buffers)
    if block == NULL:
        return -1
    memset(buffers[FORWARD_ZEROS], 0, sizes[FORWARD_ZEROS])
    job.packed = forward_packed(buffers) if job.given == NULL else job.given[0]
    wire_forward(job, buffers)
    threads_run(forward_worker, job, planned.workers)
    for part in range(p.parts):
        if written[part]:
            copy_last(&p.state[part], ragged, part_width(p, part), job.final[part], k)
    workspace_give(workspace, block)
    return 0


# ---- from Python ---------------------------------------------------------------------------------------------------

cdef int run_pass(Cell cell, Py_ssize_t number, Sequences sequences, x, tuple initial, cnp.ndarray y, tuple final,
                  gates, tuple steps, Noise noise) except -1:
    """One pass over arrays, as a Tape describes them; final [passes, B, width] of each part OUT."""
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1)
    cdef int status, part

    shared_add(&runs, 1)
    set_forward(&job, pass_kernels(&cell.layer, kind_for(y, cell.precision), B), &cell.layer, T, B)
    job.threads = shared_int(&threads)
    if cell.packs is not None:
        job.given = cell.packed_for(job.k)
    job.ragged = whole(T, B) if sequences is None else sequences.ragged
    if isinstance(x, Embedded):
        job.embedded, job.table = (<Embedded>x).lookup(), table_rows((<Embedded>x).table)
    else:
        job.x = rows_of(x)
    p.save, p.gates.data = gates is not None, data(gates)
    set_noise(noise, p)
    p.state[PART_H] = columns_of(rows_of(y), number, cnp.PyArray_DIM(y, 2) // p.P, p.P, job.k)
    for part in range(p.parts):
        p.initial[part], job.final[part] = part_entry(initial, part, number), part_entry(final, part, number)
        if part > PART_H:
            set_steps(steps, part, &p.state[part], &job.kept[part])
    interrupts_begin(&job.interrupts, is_main_thread())
    with nogil:
        status = run_forward(&job, &shared_workspace)
    if status < 0:
        raise MemoryError("no memory for the packed weights, the gates of one chunk of time and the tokens' projections")
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()
    return 0


def forward(Tape tape, tuple final):
    """Run the pass that a tape describes: writes its y, gates and steps, and entry `number` of each part of `final`."""
    run_pass(tape.cell, tape.number, tape.sequences, tape.x, tape.initial, tape.y, final, tape.gates, tape.steps, tape.noise)


def run_stack(list cells, int directions, Sequences sequences, x, tuple initial, bint batch_first, recorder=None):
    """All passes of a stack of layers, over arrays that the caller has checked.

    Parameters
    ----------
    cells : list of Cell
        Those of all passes, the directions of a layer side by side.
    directions : int
        D, 1 or 2.
    sequences : Sequences or None
        Lengths and resets; None where every sequence has T steps and none is reset.
    x : ndarray [T, B, I] or Embedded
        Last axis contiguous, the others with any stride.
    initial : tuple of ndarray [passes, B, width] or None
        The parts of the initial state, C-contiguous; None, also for a part, is zero.
    batch_first : bool
        Lay y out in memory as [B, T, ·].
    recorder : optional
        Its ``run(cell, number, sequences, x, initial, y, final)`` runs each pass, and its ``above(layer, y)`` gives what
        the next layer reads. Without it nothing is kept.

    Returns
    -------
    y : ndarray [T, B, D*P]
    final : tuple of ndarray [passes, B, width]
    """
    cdef cnp.ndarray rows = (<Embedded>x).tokens if isinstance(x, Embedded) else x
    cdef Py_ssize_t T = cnp.PyArray_DIM(rows, 0), B = cnp.PyArray_DIM(rows, 1), passes = len(cells), number
    cdef Cell cell = cells[0]
    cdef const Pass *p = &cell.layer.p
    cdef cnp.dtype dtype = cell.weights["weight_ih"].dtype
    cdef tuple final = tuple([blank(passes, B, part_width(p, part), dtype) for part in range(p.parts)])
    y = x
    for number in range(passes):
        if number % directions == 0:
            x = y if recorder is None or number == 0 else recorder.above(number // directions - 1, y)
            y = blank(T, B, directions * p.P, dtype, batch_first and number == passes - directions)
        if recorder is None:
            run_pass(cells[number], number, sequences, x, initial, y, final, None, None, None)
        else:
            recorder.run(cells[number], number, sequences, x, initial, y, final)
    return y, final
