# The backward pass of one layer in one direction.

cdef struct BackwardJob: # in the caller's terms until `run_backward` puts x, y, the states and gradients into the order of the pass
    const Kernels *k
    const Layer *layer
    int threads          # the most workers
    Pass p
    Phases phases
    Rows x               # [T, B, I]; then last step first
    Lookup embedded      # or, instead of x, rows of the table; in a pass, table [V, X*H]: the sum of d of each token
    Rows table           # [V, I]
    void *kept[MAX_PARTS]          # [T*B, width] as in ForwardJob
    const void *d_final[MAX_PARTS] # [B, width] the gradient of the final state; NULL: zero
    Product dx           # over all rows of gates and dx, a worker takes a part; `out` is the caller's dx until `run_backward`;
                         # data NULL: not wanted
    void *dtable         # [V, I] OUT for an embedded x, in place of dx; NULL: not wanted
    void *grads[WEIGHTS] # OUT in the order of the table; all NULL: not wanted (only without an embedded x)
    const Packed *given  # weights that are packed; NULL: this job packs them
    Packed packed
    Ragged ragged
    GradientProduct dw_ih, dw_hh, dw_m
    Rows d, h_prev       # the rows of the gradient products, last step first, with x: [T*B, S*H], [(T-1)*B, P]
    LinearJob tokens     # from the sums over each token's rows, the gradients of W_ih and of the embedded table
    Rows h0              # [B, P]
    void *m              # [2 chunks, B, H]: a worker may start the next chunk while another sums the gradients of this one
    void *d_m            # [2 chunks, B, P] as m; NULL: d_m is a slot of gates, or there is no second product
    void *packed_d_m     # [GRADIENT_ROWS, P] packed, each worker in its groups
    void *db_m           # [P] a sum that is not used
    void *packed_d       # [GRADIENT_ROWS, S*H] packed, each worker in its groups
    void *operand        # [workers][GRADIENT_ROWS][operand_stride]
    Py_ssize_t operand_size
    void *scratch        # [workers][backward_scratch] operands: copies of the rows that a product reads
    void *db             # [S*H] sum of d
    Py_ssize_t chunk
    int split
    Interrupts interrupts


# ---- packed weights ------------------------------------------------------------------------------------------------

cdef void backward_pack_sizes(const Kernels *k, const Layer *layer, size_t *sizes) noexcept nogil:
    """sizes [BACKWARD_PACKS] OUT, in bytes."""
    cdef const Pass *p = &layer.p
    sizes[0] = packed_size(k, p.X * p.H, layer.input_size)
    sizes[1] = p.heads * packed_size(k, p.G * p.D, head_width(p))
    sizes[2] = packed_size(k, p.P, p.H) if has_second_product(p) else 0
    sizes[3] = norm_size(k, p)

cdef void pack_for_backward(const Kernels *k, const Layer *layer, const Packed *packed, bint dx, int worker,
                            int workers) noexcept nogil:
    """A worker's share of all weights, of W_ih only if dx is wanted."""
    cdef const Pass *p = &layer.p
    cdef Py_ssize_t columns = k.groups_of(layer.input_size), groups = k.groups_of(head_width(p)), units = k.groups_of(p.H)
    cdef size_t size = packed_size(k, p.G * p.D, head_width(p))
    cdef int head
    cdef Blocks w_ih = input_window(p, layer.weights[WEIGHT_IH], layer.input_size), w_hh, w_m
    for head in range(p.heads if p.G else 0):
        w_hh = head_window(p, layer.weights[WEIGHT_HH], NULL, head, k)
        k.pack_by_columns(&w_hh, <char *>packed.back + head * size, share(groups, worker, workers),
                          share(groups, worker + 1, workers))
    if has_second_product(p):
        w_m = second_window(p, second_weight(p, layer.weights))
        k.pack_by_columns(&w_m, packed.second_back, share(units, worker, workers), share(units, worker + 1, workers))
    if dx:
        k.pack_by_columns(&w_ih, packed.dx, share(columns, worker, workers), share(columns, worker + 1, workers))
    if worker == 0 and is_normed(p):
        pack_norm(k, layer, packed.norm)


# ---- the gradients of the weights ----------------------------------------------------------------------------------

cdef void add_weight_gradients(BackwardJob *job, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                               void *packed_d, void *operand) noexcept nogil:
    """The rows q0..q1 (last step first) into groups g0..g1 of both weights' gradients (of W_hh's alone if x is embedded) and
    of the biases'."""
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef Py_ssize_t q, end, n
    cdef GradientProduct dw_hh
    cdef Rows h_prev, h0
    cdef bint finite
    cdef int head
    # The rows whose previous state is in y come first, then those whose previous state is the initial one.
    cdef Py_ssize_t inner = job.ragged.rows - rows_in_step(&p.state[PART_H], 0)
    q = q0
    while q < q1:
        end = min(q + GRADIENT_ROWS, q1)
        n = end - q
        k.pack_gradient(&job.d, p.S * p.H, q, end, g0, g1, packed_d, job.db)
        if job.embedded.token == NULL:
            if not k.pack_operand(&job.x, job.ragged.rows, NULL, job.dw_ih.K, q, end, operand):
                k.drop_operand(&job.dw_ih, &job.d, q, end, operand)
            k.gradient_product(&job.dw_ih, n, q == 0, end == job.ragged.rows, g0, g1, packed_d, operand)
        for head in range(p.heads if p.G else 0):
            dw_hh = head_gradient(job, head)
            h_prev, h0 = job.h_prev, job.h0
            h_prev.data, h0.data = at(h_prev.data, head * dw_hh.K, k), at(h0.data, head * dw_hh.K, k)
            finite = k.pack_operand(&h_prev, inner, &h0, dw_hh.K, q, end, operand)
            if p.reset != NULL:
                clear_reset(job, q, end, operand)
            if not finite:
                k.drop_operand(&dw_hh, &job.d, q, end, operand)
            k.gradient_product(&dw_hh, n, q == 0, end == job.ragged.rows, g0, g1, packed_d, operand)
        q = end

cdef GradientProduct head_gradient(const BackwardJob *job, int head) noexcept nogil:
    """The gradient of W_hh in the rows of one head, from that of all heads."""
    cdef const Pass *p = &job.p
    cdef GradientProduct dw = job.dw_hh
    cdef Py_ssize_t rows = padded_to(p.S * p.H, job.k.lanes)
    dw.c0 = head * p.S * p.D + (p.S - p.G) * p.D
    dw.c1 = (head + 1) * p.S * p.D
    dw.sum = at(dw.sum, head * rows * dw.K, job.k)
    dw.dw = head_window(p, dw.dw.data, NULL, head, job.k)
    return dw

cdef void clear_reset(BackwardJob *job, Py_ssize_t q, Py_ssize_t end, void *operand) noexcept nogil:
    """Zeros in the operand's rows q..end (last step first) whose previous state a reset set to zero."""
    cdef Pass *p = &job.p
    cdef Py_ssize_t s = p.T - 1, b, row = 0
    while rows_before(&job.d, p.T - s) <= q:
        s -= 1
    b = q - rows_before(&job.d, p.T - 1 - s)
    while q < end:
        while b == rows_in_step(&p.state[PART_H], s):
            b, s = 0, s - 1
        if p.reset[s * p.B + b]:
            job.k.clear_operand(head_width(p), row, operand)
        b, q, row = b + 1, q + 1, row + 1

cdef void add_second_gradient(BackwardJob *job, const Pass *p, Py_ssize_t q0, Py_ssize_t q1, Py_ssize_t g0, Py_ssize_t g1,
                              void *packed_d, void *operand) noexcept nogil:
    """The rows q0..q1 (last step first) into groups g0..g1 of the gradient of W_m."""
    cdef const Kernels *k = job.k
    cdef Rows d = last_first(p.d_m, p.T, job.ragged.start_back, k), m = last_first(p.m, p.T, job.ragged.start_back, k)
    cdef Py_ssize_t q = q0, end
    while q < q1:
        end = min(q + GRADIENT_ROWS, q1)
        k.pack_gradient(&d, p.P, q, end, g0, g1, packed_d, job.db_m)
        if not k.pack_operand(&m, job.ragged.rows, NULL, p.H, q, end, operand):
            k.drop_operand(&job.dw_m, &d, q, end, operand)
        k.gradient_product(&job.dw_m, end - q, q == 0, end == job.ragged.rows, g0, g1, packed_d, operand)
        q = end

cdef inline Py_ssize_t gradient_operand(const BackwardJob *job) noexcept nogil:
    """Operands of a worker's copied rows."""
    cdef const Kernels *k = job.k
    return k.depth_of(GRADIENT_ROWS) * max(k.operand_stride(job.layer.input_size), k.operand_stride(job.p.H),
                                           k.operand_stride(job.p.P))

cdef inline Py_ssize_t backward_scratch(const Kernels *k, const Layer *layer, Py_ssize_t B) noexcept nogil:
    """Operands of a worker's scratch memory: for a step of B rows, and for flat products."""
    cdef const Pass *p = &layer.p
    return max(B * k.copy_size(max(p.G * p.H, p.P)), SCRATCH_ROWS * k.copy_size(p.X * p.H), k.norm_scratch(p))

cdef void clear_gradients(const BackwardJob *job) noexcept nogil:
    """Zeros in the gradients of all weights."""
    cdef const Pass *p = &job.p
    cdef int n
    for n in range(WEIGHTS):
        if job.grads[n] != NULL:
            memset(job.grads[n], 0, weight_size(&cell_table[p.cell], n, job.layer.input_size, p.H, p.P, p.D) * job.k.real_size)

cdef void token_gradients(BackwardJob *job, Rows table, void *db) noexcept nogil:
    """Prepares what follows the last chunk if x is embedded: the backward pass of a dense layer over the V tokens, with the
    sum of d over a token's rows as its dy. `table` has the tokens' rows, zeros for those that do not occur."""
    cdef LinearJob *tokens = &job.tokens
    cdef Pass *p = &job.p
    cdef Py_ssize_t C = p.X * p.H, I = job.layer.input_size, V = table.B
    tokens.k, tokens.M = job.k, V
    tokens.w = input_window(p, job.layer.weights[WEIGHT_IH], I)
    tokens.d, tokens.x = packed_rows(job.embedded.table, V, C, NULL), table
    tokens.dw = GradientProduct(I, C, 0, C, job.dw_ih.sum, job.dw_ih.dw)
    tokens.packed_d, tokens.operand, tokens.operand_size, tokens.db = job.packed_d, job.operand, job.operand_size, db
    tokens.scratch, tokens.scratch_size = job.scratch, backward_scratch(job.k, job.layer, p.B)
    if job.dtable != NULL:
        tokens.packed_w = job.packed.dx
        tokens.product = Product(C, I, 0, tokens.d, job.packed.dx, NULL, packed_rows(job.dtable, V, I, NULL), 0)


# ---- the loop over time --------------------------------------------------------------------------------------------

cdef void step_back(step_function *run, const Pass *p, Py_ssize_t s, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t g0,
                    Py_ssize_t g1, void *scratch) noexcept nogil:
    """A phase of step s for a worker's rows: first the rows that have a step s+1, then those whose last step this is."""
    cdef Py_ssize_t rows = rows_in_step(&p.state[PART_H], max(s, 0))
    cdef Py_ssize_t on = rows_in_step(&p.state[PART_H], s + 1) if s < p.T - 1 else 0
    if b0 < min(b1, on):
        run(p, s, b0, min(b1, on), g0, g1, scratch)
    if max(b0, on) < min(b1, rows):
        run(p, s, max(b0, on), min(b1, rows), g0, g1, scratch)

cdef void backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    """A worker's share of every step, and of the gradients of the weights.

        for each chunk of steps, the last first:
            for each step s of the chunk, the last first:
                dh = d_gates[s+1] . W_hh + dy[s]       and the cell: d_gates[s] over gates[s]
            dW_ih += d_gates^T . x    dW_hh += d_gates^T . h[s-1]    dx = d_gates . W_ih      all steps of the chunk at once
    """
    cdef BackwardJob *job = <BackwardJob *>argument
    cdef const Kernels *k = job.k
    cdef const Phases *phases = &job.phases
    cdef Pass own = job.p
    cdef Pass *p = &own
    cdef Py_ssize_t groups = k.groups_of(p.P), columns = k.groups_of(p.S * p.H), units = padded_to(p.H, k.lanes) // k.lanes
    cdef Py_ssize_t j0 = min(share(units, worker, workers) * k.lanes, p.H)
    cdef Py_ssize_t j1 = min(share(units, worker + 1, workers) * k.lanes, p.H)
    cdef Py_ssize_t m0 = share(groups, worker, workers), m1 = share(groups, worker + 1, workers)
    cdef Py_ssize_t w0 = share(columns, worker, workers), w1 = share(columns, worker + 1, workers)
    cdef Py_ssize_t b0 = 0, b1 = p.B, s0, s1 = p.T, s, q0, q1
    cdef Py_ssize_t g0[MAX_PHASES]
    cdef Py_ssize_t g1[MAX_PHASES]
    cdef void *packed_d = operand_at(job.packed_d, w0 * k.columns * k.depth_of(GRADIENT_ROWS), k)
    cdef void *packed_d_m = operand_at(job.packed_d_m, m0 * k.columns * k.depth_of(GRADIENT_ROWS), k)
    cdef void *operand = operand_at(job.operand, worker * job.operand_size, k)
    cdef void *scratch = operand_at(job.scratch, worker * backward_scratch(k, job.layer, p.B), k)
    cdef bint together = workers > 1 and job.split == BY_UNITS, embedded = job.embedded.token != NULL
    cdef bint meet = together and (p.G > 0 or phases.count > 1)  # before each phase, which reads units of other workers
    cdef bint wanted = job.grads[WEIGHT_IH] != NULL, second = has_second_product(p)
    cdef int chunk = 0, phase

    for phase in range(phases.count):
        g0[phase], g1[phase] = 0, phases.groups[phase]
        if together:
            g0[phase], g1[phase] = share(g1[phase], worker, workers), share(g1[phase], worker + 1, workers)
    if not together:
        b0, b1 = row_share(&job.ragged, p.B, worker, workers), row_share(&job.ragged, p.B, worker + 1, workers)
    if job.given == NULL:
        pack_for_backward(k, job.layer, &job.packed, job.dx.out.data != NULL, worker, workers)
        threads_barrier(team)
    while s1 > 0:
        s0 = max(s1 - job.chunk, 0)
        chunk += 1
        if second:
            p.m = chunk_rows(job.m, chunk, job.chunk, s0, p.B, p.H, k)
        if job.d_m != NULL:
            p.d_m = chunk_rows(job.d_m, chunk, job.chunk, s0, p.B, p.P, k)
        if phases.scan != NULL:
            s = s1 - 1
            while s >= s0:
                phases.scan(p, s, min(SCAN_STEPS, s - s0 + 1), b0, b1, g0[0], g1[0])
                s -= SCAN_STEPS
        else:
            for s in range(s1 - 1, s0 - 1, -1):
                for phase in range(phases.count):
                    if meet and (phase or s < s1 - 1):
                        threads_barrier(team)
                    step_back(phases.run[phase], p, s, b0, b1, g0[phase], g1[phase], scratch)
        if worker == 0:
            look_for_signals(&job.interrupts, chunk)
        threads_barrier(team)
        if interrupts_stopped(&job.interrupts, chunk):
            return
        # Another worker may start the steps before this chunk: it only reads the rows of the chunk.
        q0, q1 = rows_before(&job.d, p.T - s1), rows_before(&job.d, p.T - s0)
        if wanted:
            add_weight_gradients(job, q0, q1, w0, w1, packed_d, operand)
        if wanted and second:
            add_second_gradient(job, p, q0, q1, m0, m1, packed_d_m, operand)
        if wanted and has_vectors(p) and not is_normed(p):  # layer normalization sums them where it has the gradients of gates
            k.vector_gradients(p, s0, s1, j0, j1)
        if embedded:
            k.scatter(&job.embedded, p, s0, s1, share(p.X * p.H, worker, workers), share(p.X * p.H, worker + 1, workers))
        elif job.dx.out.data != NULL:
            product_share(k, &job.dx, rows_before(&p.state[PART_H], s0), rows_before(&p.state[PART_H], s1), worker, workers,
                          scratch)
        s1 = s0
    step_back(phases.run[0], p, -1, b0, b1, g0[0], g1[0], scratch)
    if wanted and embedded:
        threads_barrier(team)
        linear_backward_worker(&job.tokens, team, worker, workers)


# ---- one pass: its scratch memory, its job ---------------------------------------------------------------------------

cdef enum:  # the scratch memory of a pass: the packed weights, then; the second line starts as zeros
    BACKWARD_PACKED_D = BACKWARD_PACKS, BACKWARD_OPERAND, BACKWARD_SCRATCH
    BACKWARD_DB, BACKWARD_ZEROS, BACKWARD_SUMS, BACKWARD_TOKENS_DB, BACKWARD_DB_M, BACKWARD_D_NORM
    BACKWARD_DW_IH, BACKWARD_DW_HH, BACKWARD_DW_M, BACKWARD_TABLE, BACKWARD_PLACES, BACKWARD_PACKED_D_M, BACKWARD_M
    BACKWARD_D_M, BACKWARD_D_OUT, BACKWARD_BUFFERS
    BACKWARD_CLEARED = BACKWARD_DB, BACKWARD_KEPT = BACKWARD_DW_IH
    BACKWARD_PLACE_ARRAYS = 3 * MAX_PARTS + 4  # of states, their gradients and zoneout, x, h0, dx, dh_steps

cdef void backward_sizes(const BackwardJob *job, Py_ssize_t T, int workers, size_t *sizes) noexcept nogil:
    """sizes [BACKWARD_BUFFERS] OUT, in bytes: no less for more steps or workers."""
    cdef const Kernels *k = job.k
    cdef const Pass *p = &job.p
    cdef Py_ssize_t size = k.real_size, operand = k.operand_size, B = p.B, H = p.H, P = p.P, I = job.layer.input_size
    cdef Py_ssize_t V = job.table.B, columns = padded_to(p.S * H, k.lanes), units = padded_to(P, k.lanes)
    cdef Py_ssize_t chunk = chunk_steps(k, p.S * H, B, T, GATES_BYTES, GRADIENT_ROWS)
    memset(sizes, 0, BACKWARD_BUFFERS * sizeof(size_t))
    if job.given == NULL:
        backward_pack_sizes(k, job.layer, sizes)
    sizes[BACKWARD_PACKED_D] = k.depth_of(GRADIENT_ROWS) * columns * operand
    sizes[BACKWARD_SCRATCH] = workers * backward_scratch(k, job.layer, B) * operand
    sizes[BACKWARD_OPERAND] = workers * gradient_operand(job) * operand
    sizes[BACKWARD_DB], sizes[BACKWARD_ZEROS] = columns * size, max(H, P) * size
    sizes[BACKWARD_DW_IH], sizes[BACKWARD_DW_HH] = columns * I * size, columns * P * size if p.G else 0
    if job.embedded.token != NULL:
        sizes[BACKWARD_SUMS], sizes[BACKWARD_TOKENS_DB] = V * p.X * H * size, padded_to(p.X * H, k.lanes) * size
        sizes[BACKWARD_TABLE] = V * I * size
    if job.ragged.order != NULL:
        sizes[BACKWARD_PLACES] = BACKWARD_PLACE_ARRAYS * B * sizeof(Py_ssize_t)
    if has_second_product(p):
        sizes[BACKWARD_DB_M], sizes[BACKWARD_DW_M] = units * size, units * H * size
        sizes[BACKWARD_PACKED_D_M], sizes[BACKWARD_M] = k.depth_of(GRADIENT_ROWS) * units * operand, 2 * chunk * B * H * size
        sizes[BACKWARD_D_M] = 2 * chunk * B * P * size if cell_table[p.cell].m_slot == NO_SLOT else 0
    if is_normed(p):
        sizes[BACKWARD_D_NORM], sizes[BACKWARD_D_OUT] = B * norm_layout(p).count * size, B * H * size

cdef void set_backward(BackwardJob *job, const Kernels *k, const Layer *layer, Py_ssize_t T, Py_ssize_t B) noexcept nogil:
    """A job of a layer, without any arrays yet."""
    memset(job, 0, sizeof(job[0]))
    job.k, job.layer, job.p = k, layer, layer.p
    job.p.T, job.p.B, job.p.save = T, B, True  # layer normalization runs the cell forward again
    job.phases = backward_phases(k, &job.p)

cdef void wire_weight_gradients(BackwardJob *job, void **buffers) noexcept nogil:
    """The buffers in which the gradients of the weights are summed, and where they go."""
    cdef Pass *p = &job.p
    cdef const CellInfo *info = &cell_table[p.cell]
    cdef Py_ssize_t H = p.H, P = p.P, I = job.layer.input_size
    cdef int n
    job.packed_d, job.operand, job.db = buffers[BACKWARD_PACKED_D], buffers[BACKWARD_OPERAND], buffers[BACKWARD_DB]
    job.scratch = buffers[BACKWARD_SCRATCH]
    job.dw_ih = GradientProduct(I, p.S * H, 0, p.X * H, buffers[BACKWARD_DW_IH], input_window(p, job.grads[WEIGHT_IH], I))
    if p.G:
        job.dw_hh = GradientProduct(head_width(p), p.S * H, (p.S - p.G) * H, p.S * H, buffers[BACKWARD_DW_HH],
                                    state_window(p, job.grads[WEIGHT_HH], head_width(p), p.G))
    if has_second_product(p):
        job.db_m, job.packed_d_m, job.m = buffers[BACKWARD_DB_M], buffers[BACKWARD_PACKED_D_M], buffers[BACKWARD_M]
        job.d_m = buffers[BACKWARD_D_M] if info.m_slot == NO_SLOT else NULL
        job.dw_m = GradientProduct(H, P, 0, P, buffers[BACKWARD_DW_M], second_window(p, second_weight(p, job.grads)))
    if is_normed(p):
        p.d_out = Rows(buffers[BACKWARD_D_OUT], p.B, 0, H, NULL, NULL)
        p.d_norm = buffers[BACKWARD_D_NORM] if job.grads[WEIGHT_IH] != NULL else NULL
    for n in range(info.vectors):
        if p.vector[n] != NULL and job.grads[info.vector[n].weight] != NULL:
            p.d_vector[n] = job.grads[info.vector[n].weight]
            memset(p.d_vector[n], 0, H * job.k.real_size)

cdef void wire_backward(BackwardJob *job, void **buffers) noexcept nogil:
    """Puts y, the states, x and all gradients into the order of the pass."""
    cdef const Kernels *k = job.k
    cdef const Ragged *ragged = &job.ragged
    cdef Pass *p = &job.p
    cdef bint reverse = job.layer.reverse
    cdef Py_ssize_t B = p.B, I = job.layer.input_size, V = job.table.B
    cdef Py_ssize_t *place = <Py_ssize_t *>buffers[BACKWARD_PLACES]
    cdef Lookup tokens = job.embedded
    cdef const void *h0 = p.fed_initial if p.drop != NULL else p.initial[PART_H]
    cdef int part
    p.zeros, p.w_back, p.w_m_back = buffers[BACKWARD_ZEROS], job.packed.back, job.packed.second_back
    p.norm = job.packed.norm
    p.gates = packed_rows(p.gates.data, B, p.S * p.H, ragged.start)
    if has_second_product(p) and job.d_m == NULL:
        p.d_m = p.gates
        p.d_m.data = at(p.gates.data, cell_table[p.cell].m_slot * p.H, k)
    for part in range(p.parts):
        if job.kept[part] != NULL:
            p.state[part] = packed_rows(job.kept[part], B, part_width(p, part), ragged.start)
        else:
            p.state[part] = in_order(p.state[part], ragged, reverse, place + 2 * part * B, k)
        if p.d_steps[part].data != NULL:
            p.d_steps[part] = in_order(p.d_steps[part], ragged, reverse, place + (2 * part + 1) * B, k)
    place += 2 * MAX_PARTS * B
    order_noise(p, ragged, reverse, place, k)
    place += MAX_PARTS * B
    if p.dh_steps.data != NULL:
        p.dh_steps = in_order(p.dh_steps, ragged, reverse, place, k)
    job.d = last_first(p.gates, p.T, ragged.start_back, k)
    job.h_prev = last_first(p.fed if p.drop != NULL else p.state[PART_H], max(1, p.T - 1), ragged.start_back, k)
    job.h0 = Rows(<void *>p.zeros, B, 0, 0, NULL, NULL)
    if h0 != NULL:
        job.h0 = in_order(Rows(<void *>h0, B, 0, p.P, NULL, NULL), ragged, False, place + B, k)
    if job.embedded.token != NULL:
        job.embedded = lookup_in_order(tokens, ragged, B, reverse, place + 2 * B, buffers[BACKWARD_SUMS], p.X * p.H)
        token_gradients(job, named_rows(&tokens, ragged, B, job.table.data, V, I, buffers[BACKWARD_TABLE], k),
                        buffers[BACKWARD_TOKENS_DB])
    else:
        job.x = last_first(in_order(job.x, ragged, reverse, place + 2 * B, k), p.T, ragged.start_back, k)
        if job.dx.out.data != NULL:
            job.dx = Product(p.X * p.H, I, 0, p.gates, job.packed.dx, NULL,
                             in_order(job.dx.out, ragged, reverse, place + 3 * B, k), 0)

cdef int run_backward(BackwardJob *job, Workspace *workspace) noexcept nogil:
    """The backward pass of a `run_forward` that kept its gates; -1: there is no memory."""
    cdef const Kernels *k = job.k
    cdef Pass *p = &job.p
    cdef const Ragged *ragged = &job.ragged
    cdef size_t sizes[BACKWARD_BUFFERS]
    cdef void *buffers[BACKWARD_BUFFERS]
    cdef void *block
    cdef Schedule planned
    cdef int part, n

    for part in range(p.parts):
        begin(p.d_state[part], job.d_final[part], p.B * part_width(p, part) * k.real_size)
    if job.dx.out.data != NULL:
        clear_ended(job.dx.out, ragged, p.T, job.layer.input_size, k)
    if ragged.rows == 0:
        clear_gradients(job)
        if job.dtable != NULL:
            memset(job.dtable, 0, job.table.B * job.layer.input_size * k.real_size)
        return 0
    p.T, p.order, p.reset = ragged.T, ragged.order, ragged.reset[1 if job.layer.reverse else 0]
    planned = schedule_pass(k, job.threads, job.layer, ragged, job.table.B, 2, &job.phases)
    job.split = planned.split
    job.chunk = chunk_steps(k, p.S * p.H, p.B, p.T, GATES_BYTES, GRADIENT_ROWS)
    job.operand_size = gradient_operand(job)
    backward_sizes(job, p.T, planned.workers, sizes)
    block = workspace_take(workspace, BACKWARD_BUFFERS, sizes, buffers)
    if block == NULL:
        return -1
    for n in range(BACKWARD_CLEARED, BACKWARD_KEPT):
        memset(buffers[n], 0, sizes[n])
    job.packed = (Packed(NULL, NULL, NULL, NULL, buffers[3], buffers[0], buffers[1], buffers[2]) if job.given == NULL
                  else job.given[0])
    wire_weight_gradients(job, buffers)
    wire_backward(job, buffers)
    threads_run(backward_worker, job, planned.workers)
    if is_normed(p):
        norm_gradients(k, p, job.grads)
    else:
        input_bias_gradient(k, p, job.grads, BIAS_IH, job.db)
        state_bias_gradient(k, p, job.grads, BIAS_HH, p.X, at(job.db, (p.S - p.X) * p.H, k))
    workspace_give(workspace, block)
    return 0


# ---- from Python ---------------------------------------------------------------------------------------------------

def backward(Tape tape, gates, dy, tuple d_final, tuple d_steps, dx, tuple d_initial, dict grads):
    """The backward pass of a tape.

    Parameters
    ----------
    gates : ndarray
        The tape's gates or a copy of them; the gradients of the pre-activations overwrite it.
    dy : ndarray [T, B, D*P] or None
        The gradient of y; None is zero.
    d_final : tuple of ndarray [passes, B, width] or None
        The gradients of the final state; None, also for a part, is zero.
    d_steps : tuple of ndarray [T, B, H] or None
        The gradients of the further parts of the state after every step; None, also for a part, is zero.
    dx : ndarray [T, B, I] or None
        OUT; None: not wanted. If x is `Embedded`, the gradient of its table [V, I].
    d_initial : tuple of ndarray [passes, B, width]
        OUT: the gradients of the initial state, one entry of each.
    grads : dict of str to ndarray
        OUT: the gradients of all weights of the cell.
    """
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef Cell cell = tape.cell
    cdef cnp.ndarray y = tape.y
    cdef Py_ssize_t T = cnp.PyArray_DIM(y, 0), B = cnp.PyArray_DIM(y, 1), number = tape.number
    cdef int status, part

    if not kernels_for(y, cell.precision).trains:
        raise ValueError("matmul_precision: products in int8 have no gradient")
    shared_add(&runs, 1)
    set_backward(&job, kernels_for(y, cell.precision), &cell.layer, T, B)
    job.threads = shared_int(&threads)
    set_pointers(job.grads, grads)
    job.ragged = whole(T, B) if tape.sequences is None else tape.sequences.ragged
    if isinstance(tape.x, Embedded):
        job.embedded, job.table = (<Embedded>tape.x).lookup(), table_rows((<Embedded>tape.x).table)
        job.dtable = data(dx)
    else:
        job.x = rows_of(tape.x)
        if dx is not None:
            job.dx.out = rows_of(dx)
    p.gates.data = data(gates)
    set_noise(tape.noise, p)
    p.state[PART_H] = columns_of(rows_of(y), number, cnp.PyArray_DIM(y, 2) // p.P, p.P, job.k)
    for part in range(p.parts):
        p.initial[part], p.d_state[part] = part_entry(tape.initial, part, number), part_entry(d_initial, part, number)
        job.d_final[part] = part_entry(d_final, part, number)
        if part > PART_H:
            set_steps(tape.steps, part, &p.state[part], &job.kept[part])
            if d_steps is not None and d_steps[part - 1] is not None:
                p.d_steps[part] = rows_of(d_steps[part - 1])
    if dy is not None:
        p.d_steps[PART_H] = columns_of(rows_of(dy), number, cnp.PyArray_DIM(y, 2) // p.P, p.P, job.k)
    if tape.dh_steps is not None:
        p.dh_steps = rows_of(tape.dh_steps)
    interrupts_begin(&job.interrupts, is_main_thread())
    with nogil:
        status = run_backward(&job, &shared_workspace)
    if status < 0:
        raise MemoryError("no memory for the packed weights and the sums of their gradients")
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()
