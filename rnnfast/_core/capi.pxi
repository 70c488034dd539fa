# The functions of rnnfast.h: plans, over pointers, without Python.

cdef rnnfast_plan *capi_create(const rnnfast_options *options, const rnnfast_weights *weights) noexcept nogil:
    cdef rnnfast_options o
    cdef Network *net
    if read_options(options, &o) < 0:
        return NULL
    if check_weights(weights, o.num_layers * (2 if o.bidirectional else 1), &o, weights, b"weights") < 0:
        return NULL
    net = <Network *>calloc(1, sizeof(Network))
    if net != NULL:
        net.options = o
        if make_network(net, weights) < 0:
            free_network(net)
            net = NULL
    if net == NULL:
        refuse(RNNFAST_NO_MEMORY, b"create: no memory for a plan of these sizes")
    return <rnnfast_plan *>net

cdef void capi_destroy(rnnfast_plan *plan) noexcept nogil:
    if plan != NULL:
        free_network(network_of(plan))

cdef int capi_refresh(rnnfast_plan *plan, const rnnfast_weights *weights) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef int n
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if check_weights(weights, net.stack.layers, &net.options, weights_of(&net.stack.step.layer), b"weights") < 0:
        return RNNFAST_INVALID
    if check_biases(net, weights, b"weights") < 0:
        return RNNFAST_INVALID
    for n in range(net.stack.layers):
        memcpy(net.stack.step[n].layer.weights, &weights[n], sizeof(weights[n]))
    pack_stack(&net.stack)
    net.T = -1
    return RNNFAST_OK


# ---- running -----------------------------------------------------------------------------------------------------

cdef int capi_step(rnnfast_plan *plan, const void *x, void *y) noexcept nogil:
    cdef Network *net = network_of(plan)
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if net.directions == 2:
        return refuse(RNNFAST_INVALID, b"step: expected a plan in one direction, got bidirectional")
    if x == NULL:
        return refuse_pointer(b"x", b"a pointer", x)
    if y == NULL:
        return refuse_pointer(b"y", b"a pointer", y)
    take_step(&net.stack, x, net.state[PART_H], net.next_h, net.state, y)
    net.state[PART_H], net.next_h = net.next_h, net.state[PART_H]
    return RNNFAST_OK

cdef int set_batch(Network *net, Py_ssize_t T, const void *x, const void *y, const Py_ssize_t *lengths,
                   const uint8_t *reset) noexcept nogil:
    """Checks the arguments of `run` and `forward`, and sets the batch of the call."""
    cdef Py_ssize_t B = net.options.batch, b
    if T > 0 and net.options.max_steps == 0:
        snprintf(last_message, sizeof(last_message),
                 b"T: expected 0, got %zd: the plan was made with options.max_steps 0, for `step` alone; "
                 b"set options.max_steps to the largest T before `create`", T)
        return RNNFAST_INVALID
    if not 0 <= T <= net.options.max_steps:
        snprintf(last_message, sizeof(last_message), b"T: expected 0 to %zd (max_steps), got %zd", net.options.max_steps, T)
        return RNNFAST_INVALID
    if T and x == NULL:
        return refuse_pointer(b"x", b"a pointer", x)
    if T and y == NULL:
        return refuse_pointer(b"y", b"a pointer", y)
    if lengths != NULL:
        for b in range(B):
            if not 0 <= lengths[b] <= T:
                snprintf(last_message, sizeof(last_message), b"lengths[%zd]: expected 0 to %zd (T), got %zd", b, T, lengths[b])
                return RNNFAST_INVALID
    net.ragged = whole(T, B)
    if lengths != NULL:
        set_lengths(&net.ragged, lengths, B, net.places)
    if reset != NULL:
        set_resets(&net.ragged, B, reset, B, 1, NULL, net.resets)
    return RNNFAST_OK

cdef inline Rows output_of(const Network *net, const void *data, Py_ssize_t n) noexcept nogil:
    """The rows of pass n's columns in a [T, B, D*P] array."""
    cdef Py_ssize_t P = net.stack.step.layer.p.P, D = net.directions
    return columns_of(packed_rows(<void *>data, net.options.batch, D * P, NULL), n, D, P, net.stack.k)

cdef inline void *entry_of(const Network *net, const void *data, Py_ssize_t n, Py_ssize_t width) noexcept nogil:
    """Entry n of a [.., B, width] array; NULL if data is NULL."""
    return NULL if data == NULL else at(data, n * net.options.batch * width, net.stack.k)

cdef int run_network(Network *net, Py_ssize_t T, const void *x, void *y, bint save) noexcept nogil:
    """Runs all passes over the batch that `set_batch` has set, from the present state to the next."""
    cdef const Kernels *k = net.stack.k
    cdef Py_ssize_t B = net.options.batch, L = net.options.num_layers, D = net.directions, n, level
    cdef const Pass *p = &net.stack.step.layer.p
    cdef const void *below = x
    cdef void *out = y
    cdef void **first = net.state
    cdef ForwardJob job
    cdef Step *step
    cdef int part
    if save:
        first = net.first
        for part in range(p.parts):
            memcpy(net.first[part], net.state[part], state_bytes(net, part))
    for n in range(net.stack.layers):
        step, level = &net.stack.step[n], n // D
        if n % D == 0:
            below = x if level == 0 else out
            out = y if level == L - 1 else layer_output(net, T, level) if save else net.y[level % 2]
        set_forward(&job, k, &step.layer, T, B)
        job.threads, job.ragged, job.given = net.stack.threads, net.ragged, &step.packed
        job.x = packed_rows(<void *>below, B, step.layer.input_size, NULL)
        job.p.state[PART_H] = output_of(net, out, n)
        if save:
            job.p.save, job.p.gates.data = 1, entry_of(net, net.gates, n * T, p.S * p.H)
        for part in range(p.parts):
            job.p.initial[part] = entry_of(net, first[part], n, part_width(p, part))
            job.final[part] = entry_of(net, net.state[part], n, part_width(p, part))
            if save:
                job.kept[part] = entry_of(net, net.steps[part], n * T, part_width(p, part))
        if run_forward(&job, &net.workspace) < 0:
            return refuse(RNNFAST_NO_MEMORY, b"no memory for the gates of one chunk of time")
    return RNNFAST_OK

cdef inline void *layer_output(const Network *net, Py_ssize_t T, Py_ssize_t level) noexcept nogil:
    """The kept y [T, B, D*P] of a layer below the last."""
    return entry_of(net, net.ys, level * T, net.directions * net.stack.step.layer.p.P)

cdef int capi_run(rnnfast_plan *plan, Py_ssize_t T, const void *x, void *y, const Py_ssize_t *lengths,
                  const uint8_t *reset) noexcept nogil:
    cdef Network *net = network_of(plan)
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if set_batch(net, T, x, y, lengths, reset) < 0:
        return RNNFAST_INVALID
    net.T = -1
    return run_network(net, T, x, y, False)

cdef int capi_forward(rnnfast_plan *plan, Py_ssize_t T, const void *x, void *y, const Py_ssize_t *lengths,
                      const uint8_t *reset) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef int status
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if not net.options.training:
        return refuse(RNNFAST_INVALID, b"forward: expected a plan made with options.training")
    if set_batch(net, T, x, y, lengths, reset) < 0:
        return RNNFAST_INVALID
    net.T = -1
    status = run_network(net, T, x, y, True)
    if status == RNNFAST_OK:
        net.T, net.x, net.y_last = T, x, y
    return status

cdef inline void name_parts(const void **parts, const void *h, const void *c) noexcept nogil:
    """parts [MAX_PARTS] OUT: those that rnnfast.h names."""
    memset(parts, 0, MAX_PARTS * sizeof(void *))
    parts[PART_H], parts[PART_C] = h, c

cdef int check_c(const Network *net, const char *name, const void *c) noexcept nogil:
    return refuse_pointer(name, b"NULL, as the cell has no c", c) if net.state[PART_C] == NULL and c != NULL else RNNFAST_OK

cdef int read_gradients(Network *net, const rnnfast_gradients *given, rnnfast_gradients *g) noexcept nogil:
    """g OUT: the checked arguments of `backward`, with their defaults filled in."""
    if given == NULL:
        return refuse_pointer(b"gradients", b"a pointer", given)
    if not is_struct_size(given.struct_size, sizeof(g[0])):
        return refuse_number(b"gradients.struct_size", b"sizeof(rnnfast_gradients) as this rnnfast knows it, or less",
                             given.struct_size)
    memset(g, 0, sizeof(g[0]))
    memcpy(g, given, given.struct_size)
    if not net.options.training:
        return refuse(RNNFAST_INVALID, b"backward: expected a plan made with options.training")
    if g.weights != NULL:
        if check_weights(g.weights, net.stack.layers, &net.options, weights_of(&net.stack.step.layer), b"gradients.weights") < 0:
            return RNNFAST_INVALID
        if check_biases(net, g.weights, b"gradients.weights") < 0:
            return RNNFAST_INVALID
    if check_c(net, b"gradients.dc", g.dc) < 0 or check_c(net, b"gradients.dc_initial", g.dc_initial) < 0:
        return RNNFAST_INVALID
    if net.T < 0:
        return refuse(RNNFAST_ORDER, b"backward: expected a forward before it, and no run, refresh or backward between them")
    return RNNFAST_OK

cdef int network_backward_pass(Network *net, const rnnfast_gradients *g, Py_ssize_t T, Py_ssize_t n, const void *dy,
                               void *dx) noexcept nogil:
    """Pass n of the last `forward`; dy of its layer, or NULL: zero; dx of the pass OUT, or NULL: not wanted."""
    cdef const Kernels *k = net.stack.k
    cdef Step *step = &net.stack.step[n]
    cdef const Pass *p = &step.layer.p
    cdef Py_ssize_t B = net.options.batch, I = step.layer.input_size, level = n // net.directions
    cdef bint last = level == net.options.num_layers - 1
    cdef const void *d_final[MAX_PARTS]
    cdef void *d_initial[MAX_PARTS]
    cdef BackwardJob job
    cdef int part
    name_parts(d_final, g.dh, g.dc)
    name_parts(<const void **>d_initial, g.dh_initial, g.dc_initial)
    set_backward(&job, k, &step.layer, T, B)
    job.threads, job.ragged, job.given = net.stack.threads, net.ragged, &step.packed
    if g.weights != NULL:
        memcpy(job.grads, &g.weights[n], sizeof(g.weights[n]))
    job.x = packed_rows(<void *>net.x if level == 0 else layer_output(net, T, level - 1), B, I, NULL)
    job.p.state[PART_H] = output_of(net, net.y_last if last else layer_output(net, T, level), n)
    job.p.gates.data = entry_of(net, net.gates, n * T, p.S * p.H)
    for part in range(p.parts):
        job.kept[part] = entry_of(net, net.steps[part], n * T, part_width(p, part))
        job.p.initial[part] = entry_of(net, net.first[part], n, part_width(p, part))
        job.d_final[part] = entry_of(net, d_final[part], n, part_width(p, part))
        job.p.d_state[part] = entry_of(net, d_initial[part] if d_initial[part] != NULL else net.d_first[part], n,
                                       part_width(p, part))
    if dy != NULL:
        job.p.d_steps[PART_H] = output_of(net, dy, n)
    if dx != NULL:
        job.dx.out = packed_rows(dx, B, I, NULL)
    return run_backward(&job, &net.workspace)

cdef int capi_backward(rnnfast_plan *plan, const rnnfast_gradients *gradients) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef rnnfast_gradients g
    cdef Py_ssize_t T, D, level, direction
    cdef const void *dy
    cdef void *dx[2]
    cdef uint64_t before
    cdef int status
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    status = read_gradients(net, gradients, &g)
    if status < 0:
        return status
    T, D = net.T, net.directions
    net.T = -1
    dy = g.dy
    for level in range(net.options.num_layers - 1, -1, -1):
        # dy may be in dys[0]; it is read until both directions are done.
        dx[0], dx[1] = net.dys[1], net.dys[2]
        if level == 0:
            dx[0] = g.dx
        for direction in range(D):
            if network_backward_pass(net, &g, T, level * D + direction, dy, dx[direction] if dx[0] != NULL else NULL) < 0:
                return refuse(RNNFAST_NO_MEMORY, b"no memory for the sums of the weights' gradients")
        if dx[0] != NULL and D == 2:
            before = fp_enter_default()  # as NumPy adds the two directions (arithmetic.pxi)
            net.stack.k.add(T * net.options.batch * net.stack.step[level * D].layer.input_size, dx[1], dx[0])
            fp_leave(before)
        net.dys[0], net.dys[1] = net.dys[1], net.dys[0]
        dy = dx[0]
    return RNNFAST_OK


# ---- the state ---------------------------------------------------------------------------------------------------

cdef int capi_get_state(const rnnfast_plan *plan, void *h, void *c) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef void *out[MAX_PARTS]
    cdef int part
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if check_c(net, b"c", c) < 0:
        return RNNFAST_INVALID
    name_parts(<const void **>out, h, c)
    for part in range(MAX_PARTS):
        if out[part] != NULL:
            memcpy(out[part], net.state[part], state_bytes(net, part))
    return RNNFAST_OK

cdef int capi_set_state(rnnfast_plan *plan, const void *h, const void *c) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef const void *given[MAX_PARTS]
    cdef int part
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if check_c(net, b"c", c) < 0:
        return RNNFAST_INVALID
    name_parts(given, h, c)
    for part in range(net.stack.step.layer.p.parts):
        begin(net.state[part], given[part], state_bytes(net, part))
    return RNNFAST_OK

cdef int capi_reset(rnnfast_plan *plan, const uint8_t *mask) noexcept nogil:
    cdef Network *net = network_of(plan)
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    clear_rows(&net.stack, net.state, mask)
    return RNNFAST_OK


cdef rnnfast_api table
table.struct_size, table.version, table.last_error = sizeof(rnnfast_api), RNNFAST_API_VERSION, capi_last_error
table.create, table.destroy, table.refresh = capi_create, capi_destroy, capi_refresh
table.step, table.run, table.forward, table.backward = capi_step, capi_run, capi_forward, capi_backward
table.get_state, table.set_state, table.reset = capi_get_state, capi_set_state, capi_reset
_C_API = PyCapsule_New(&table, "rnnfast._core._C_API", NULL)
