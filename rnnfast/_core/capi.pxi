# The functions of rnnfast.h: plans, over pointers, without Python.

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) char last_message[256];
    #else
    static _Thread_local char last_message[256];
    #endif
    """
    char last_message[256]

cdef extern from "<stdio.h>" nogil:
    int snprintf(char *, size_t, const char *, ...)

cdef enum:
    MOST = 0x7fffffff   # of any size, so that their products can be judged as doubles

cdef struct Network:    # what stands behind a rnnfast_plan
    rnnfast_options options
    Stack stack              # its passes
    int directions
    Workspace workspace      # the scratch memory of `run`, `forward` and `backward`
    void *block              # what the pointers below point to
    void *h[2]               # [L*D, B, P]: the state, and after a step the next one, in turn
    int now                  # which of the two is the state
    void *c                  # [L*D, B, H]; NULL: the cell has none
    void *y[2]               # evaluation: [T, B, D*P] of two layers in turn
    Py_ssize_t *places       # of the last call's ragged batch
    unsigned char *cuts
    void *first_h            # training, of the last `forward`: [L*D, B, P] the state before it
    void *first_c            # [L*D, B, H]
    void *ys                 # [L-1][T, B, D*P]
    void *gates              # [L*D][T, B, S*H]
    void *c_steps            # [L*D][T, B, H]
    void *dh                 # [L*D, B, P] the gradient of the initial state where the caller does not want it
    void *dc                 # [L*D, B, H]
    void *dys[3]             # [T, B, max(D*P, I)]: dy of a layer; dx of each direction
    Ragged ragged
    Py_ssize_t T             # of that `forward`; -1: none to go back through
    const void *x
    void *y_last

cdef inline Network *network_of(const rnnfast_plan *plan) noexcept nogil:
    return <Network *>plan

cdef int refuse(int code, const char *message) noexcept nogil:
    snprintf(last_message, sizeof(last_message), b"%s", message)
    return code

cdef int refuse_number(const char *name, const char *expected, Py_ssize_t got) noexcept nogil:
    snprintf(last_message, sizeof(last_message), b"%s: expected %s, got %zd", name, expected, got)
    return RNNFAST_INVALID

cdef int refuse_pointer(const char *name, const char *expected, const void *got) noexcept nogil:
    snprintf(last_message, sizeof(last_message), b"%s: expected %s, got %s", name, expected,
             b"NULL" if got == NULL else b"a pointer")
    return RNNFAST_INVALID

cdef int refuse_entry(const char *name, Py_ssize_t n, const char *part, const char *expected, const void *got) noexcept nogil:
    snprintf(last_message, sizeof(last_message), b"%s[%zd].%s: expected %s, got %s", name, n, part, expected,
             b"NULL" if got == NULL else b"a pointer")
    return RNNFAST_INVALID

cdef const char *capi_last_error() noexcept nogil:
    return last_message


# ---- what a plan may be ------------------------------------------------------------------------------------------

cdef int read_options(const rnnfast_options *given, rnnfast_options *o) noexcept nogil:
    """o OUT: the options with their defaults filled in."""
    if given == NULL:
        return refuse_pointer(b"options", b"a pointer", given)
    if given.struct_size < sizeof(size_t) or given.struct_size > sizeof(o[0]):
        return refuse_number(b"options.struct_size", b"sizeof(rnnfast_options) as this rnnfast knows it, or less",
                             given.struct_size)
    memset(o, 0, sizeof(o[0]))
    memcpy(o, given, given.struct_size)
    if not RNNFAST_RNN <= o.cell <= RNNFAST_GRU:
        return refuse_number(b"options.cell", b"RNNFAST_RNN, RNNFAST_LSTM or RNNFAST_GRU", o.cell)
    if not RNNFAST_FLOAT32 <= o.dtype <= RNNFAST_FLOAT64:
        return refuse_number(b"options.dtype", b"RNNFAST_FLOAT32 or RNNFAST_FLOAT64", o.dtype)
    if not RNNFAST_TANH <= o.nonlinearity <= (RNNFAST_IDENTITY if o.cell == RNNFAST_RNN else RNNFAST_TANH):
        return refuse_number(b"options.nonlinearity", b"RNNFAST_TANH or, for the RNN, RELU, SIGMOID or IDENTITY",
                             o.nonlinearity)
    if o.cell != RNNFAST_LSTM and (o.coupled_gates or o.proj_size or o.cell_clip != 0):
        return refuse(RNNFAST_INVALID, b"options: coupled_gates, proj_size and cell_clip belong to RNNFAST_LSTM")
    if o.cell != RNNFAST_GRU and o.reset_before:
        return refuse(RNNFAST_INVALID, b"options: reset_before belongs to RNNFAST_GRU")
    if not o.cell_clip >= 0:
        return refuse(RNNFAST_INVALID, b"options.cell_clip: expected a bound above 0, or 0 for none")
    if not 1 <= o.input_size <= MOST:
        return refuse_number(b"options.input_size", b"1 to 2147483647", o.input_size)
    if not 1 <= o.hidden_size <= MOST:
        return refuse_number(b"options.hidden_size", b"1 to 2147483647", o.hidden_size)
    if not 0 <= o.proj_size < o.hidden_size:
        return refuse_number(b"options.proj_size", b"0 to hidden_size - 1", o.proj_size)
    if not 0 <= o.num_layers <= 1 << 16:
        return refuse_number(b"options.num_layers", b"0 (which is 1) to 65536", o.num_layers)
    if not 0 <= o.batch <= MOST:
        return refuse_number(b"options.batch", b"0 (which is 1) to 2147483647", o.batch)
    if not 0 <= o.max_steps <= MOST:
        return refuse_number(b"options.max_steps", b"0 to 2147483647", o.max_steps)
    if not 0 <= o.threads <= 256:
        return refuse_number(b"options.threads", b"0 to 256", o.threads)
    o.num_layers, o.batch = max(1, o.num_layers), max(1, o.batch)
    return RNNFAST_OK

cdef int check_weights(const rnnfast_weights *weights, Py_ssize_t passes, const rnnfast_options *o,
                       const rnnfast_weights *there, const char *name) noexcept nogil:
    """Whether a pointer is where a weight is: in `there`, the first pass's; the biases as each pass has them in create."""
    cdef Py_ssize_t n
    cdef const rnnfast_weights *w
    cdef bint peephole, forget
    if weights == NULL:
        return refuse_pointer(name, b"a pointer", weights)
    peephole = there.weight_co != NULL
    forget = peephole and not o.coupled_gates
    if peephole and o.cell != RNNFAST_LSTM:
        return refuse_entry(name, 0, b"weight_co", b"NULL without RNNFAST_LSTM", there.weight_co)
    for n in range(passes):
        w = &weights[n]
        if w.weight_ih == NULL:
            return refuse_entry(name, n, b"weight_ih", b"a pointer", NULL)
        if w.weight_hh == NULL:
            return refuse_entry(name, n, b"weight_hh", b"a pointer", NULL)
        if (w.weight_hr != NULL) != (o.proj_size > 0):
            return refuse_entry(name, n, b"weight_hr", b"a pointer if there is a proj_size, else NULL", w.weight_hr)
        if (w.weight_co != NULL) != peephole:
            return refuse_entry(name, n, b"weight_co", b"peepholes in all passes or in none", w.weight_co)
        if (w.weight_ci != NULL) != peephole:
            return refuse_entry(name, n, b"weight_ci", b"all peepholes or none", w.weight_ci)
        if (w.weight_cf != NULL) != forget:
            return refuse_entry(name, n, b"weight_cf", b"a pointer if there are peepholes and no coupled gates, else NULL",
                                w.weight_cf)
    return RNNFAST_OK

cdef int check_biases(const Network *net, const rnnfast_weights *weights, const char *name) noexcept nogil:
    """Whether the biases are those that the plan was made with."""
    cdef Py_ssize_t n
    cdef const rnnfast_weights *there
    for n in range(net.stack.layers):
        there = &net.stack.step[n].layer.weights
        if (weights[n].bias_ih == NULL) != (there.bias_ih == NULL):
            return refuse_entry(name, n, b"bias_ih", b"as the plan was made", weights[n].bias_ih)
        if (weights[n].bias_hh == NULL) != (there.bias_hh == NULL):
            return refuse_entry(name, n, b"bias_hh", b"as the plan was made", weights[n].bias_hh)
    return RNNFAST_OK


# ---- making and freeing ------------------------------------------------------------------------------------------

cdef enum:  # the parts of its block; the second line is there for training alone
    NETWORK_H, NETWORK_NEXT_H, NETWORK_C, NETWORK_Y, NETWORK_NEXT_Y, NETWORK_PLACES, NETWORK_CUTS
    NETWORK_FIRST_H, NETWORK_FIRST_C, NETWORK_YS, NETWORK_GATES, NETWORK_C_STEPS, NETWORK_DH, NETWORK_DC, NETWORK_DYS
    NETWORK_PARTS = NETWORK_DYS + 3

cdef double plan_bytes(const rnnfast_options *o, const Pass *p, int directions, Py_ssize_t size) noexcept nogil:
    """An upper bound of what the sizes of a plan's buffers add up to."""
    cdef double passes = o.num_layers * directions, rows = (o.max_steps + 1.0) * o.batch
    cdef double width = max(directions * p.P, o.input_size) + 64.0, H = p.H + 64.0
    return size * (passes * 8 * p.S * H * (width + H) + rows * (passes * (p.S + 1) * H + (o.num_layers + 6) * width * 2))

cdef int make_network(Network *net, const rnnfast_weights *weights) noexcept nogil:
    """All the memory of a plan whose options are set, and its weights; free_network is due whatever comes back."""
    cdef const rnnfast_options *o = &net.options
    cdef const Kernels *k = chosen.float32 if o.dtype == RNNFAST_FLOAT32 else chosen.float64
    cdef Py_ssize_t B = o.batch, H = o.hidden_size, P = o.proj_size if o.proj_size else H, T = o.max_steps, n, I
    cdef int kind = LSTM if o.cell == RNNFAST_LSTM else GRU if o.cell == RNNFAST_GRU else RNN
    cdef int nonlinearity = (RELU if o.nonlinearity == RNNFAST_RELU else SIGMOID if o.nonlinearity == RNNFAST_SIGMOID
                             else IDENTITY if o.nonlinearity == RNNFAST_IDENTITY else TANH)
    cdef int D = 2 if o.bidirectional else 1, passes = <int>o.num_layers * D
    cdef size_t sizes[NETWORK_PARTS]
    cdef void *parts[NETWORK_PARTS]
    cdef size_t h, c, y
    cdef Stack *stack = &net.stack
    cdef const Pass *p
    if o.coupled_gates:
        kind = COUPLED
    if o.reset_before:
        kind = GRU_BEFORE
    net.directions, net.T = D, -1
    stack.threads = o.threads if o.threads else threads
    stack.step = <Step *>calloc(passes, sizeof(Step))
    if stack.step == NULL:
        return -1
    stack.layers = passes
    for n in range(passes):
        I = o.input_size if n < D else D * P
        set_layer(&stack.step[n].layer, kind, nonlinearity, o.cell_clip, n % D == 1, I, H, P, &weights[n])
    p = &stack.step.layer.p
    if plan_bytes(o, p, D, k.real_size) > 2.0 ** 61 or build_stack(stack, k, B, o.training) < 0:
        return -1
    pack_stack(stack)

    h, c, y = passes * B * P * k.real_size, passes * B * H * k.real_size, T * B * D * P * k.real_size
    memset(sizes, 0, sizeof(sizes))
    sizes[NETWORK_H] = sizes[NETWORK_NEXT_H] = h
    sizes[NETWORK_C] = c if has_c(&stack.step.layer) else 0
    sizes[NETWORK_Y], sizes[NETWORK_NEXT_Y] = y if o.num_layers > 1 else 0, y if o.num_layers > 2 else 0
    sizes[NETWORK_PLACES], sizes[NETWORK_CUTS] = (2 * B + 2 * (T + 1)) * sizeof(Py_ssize_t), 2 * T * B
    if o.training:
        sizes[NETWORK_FIRST_H] = sizes[NETWORK_DH] = h
        sizes[NETWORK_FIRST_C] = sizes[NETWORK_DC] = sizes[NETWORK_C]
        sizes[NETWORK_YS] = (o.num_layers - 1) * y
        sizes[NETWORK_GATES], sizes[NETWORK_C_STEPS] = T * p.S * c, T * sizes[NETWORK_C]
        for n in range(NETWORK_DYS, NETWORK_PARTS):
            sizes[n] = T * B * max(D * P, o.input_size) * k.real_size
    net.block = workspace_take(NULL, NETWORK_PARTS, sizes, parts)
    if net.block == NULL:
        return -1
    memset(parts[NETWORK_H], 0, h)
    memset(parts[NETWORK_C], 0, sizes[NETWORK_C])
    net.h, net.y = [parts[NETWORK_H], parts[NETWORK_NEXT_H]], [parts[NETWORK_Y], parts[NETWORK_NEXT_Y]]
    net.places, net.cuts = <Py_ssize_t *>parts[NETWORK_PLACES], <unsigned char *>parts[NETWORK_CUTS]
    net.first_h, net.ys, net.gates, net.dh = parts[NETWORK_FIRST_H], parts[NETWORK_YS], parts[NETWORK_GATES], parts[NETWORK_DH]
    net.dys = [parts[NETWORK_DYS], parts[NETWORK_DYS + 1], parts[NETWORK_DYS + 2]]
    if sizes[NETWORK_C]:
        net.c, net.first_c = parts[NETWORK_C], parts[NETWORK_FIRST_C]
        net.c_steps, net.dc = parts[NETWORK_C_STEPS], parts[NETWORK_DC]
    return reserve(net) if T else 0

cdef int reserve(Network *net) noexcept nogil:
    """Makes the workspace as large as any pass will want it; -1: there is no memory."""
    cdef const Kernels *k = net.stack.k
    cdef Py_ssize_t T = net.options.max_steps, B = net.options.batch
    cdef ForwardJob forward_job
    cdef BackwardJob backward_job
    cdef size_t sizes[FORWARD_PARTS + BACKWARD_PARTS]
    cdef void *parts[FORWARD_PARTS + BACKWARD_PARTS]
    cdef void *block
    cdef Step *step
    cdef int n
    for n in range(net.stack.layers):
        step = &net.stack.step[n]
        memset(sizes, 0, sizeof(sizes))
        set_forward(&forward_job, k, &step.layer, T, B)
        forward_job.given, forward_job.ragged.order = &step.packed, net.places
        forward_sizes(&forward_job, T, net.stack.threads, sizes)
        if net.options.training:
            set_backward(&backward_job, k, &step.layer, T, B)
            backward_job.given, backward_job.ragged.order = &step.packed, net.places
            backward_sizes(&backward_job, T, net.stack.threads, sizes + FORWARD_PARTS)
        block = workspace_take(&net.workspace, FORWARD_PARTS + BACKWARD_PARTS, sizes, parts)
        if block == NULL:
            return -1
        workspace_give(&net.workspace, block)
    return 0

cdef void free_network(Network *net) noexcept nogil:
    cdef size_t size = 0
    cdef void *part
    free_stack(&net.stack)
    workspace_give(NULL, net.block)
    workspace_give(NULL, workspace_take(&net.workspace, 1, &size, &part))
    free(net)

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
    if check_weights(weights, net.stack.layers, &net.options, &net.stack.step.layer.weights, b"weights") < 0:
        return RNNFAST_INVALID
    if check_biases(net, weights, b"weights") < 0:
        return RNNFAST_INVALID
    for n in range(net.stack.layers):
        net.stack.step[n].layer.weights = weights[n]
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
    take_step(&net.stack, x, net.h[net.now], net.h[1 - net.now], net.c, y)
    net.now = 1 - net.now
    return RNNFAST_OK

cdef int set_batch(Network *net, Py_ssize_t T, const void *x, const void *y, const Py_ssize_t *lengths,
                   const uint8_t *reset) noexcept nogil:
    """The checked arguments of `run` and `forward`; then their batch."""
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
        set_cuts(&net.ragged, B, reset, B, 1, NULL, net.cuts)
    return RNNFAST_OK

cdef inline Rows columns_of(Network *net, const void *data, Py_ssize_t n) noexcept nogil:
    """The rows of pass n's columns in a [T, B, D*P] array."""
    cdef Py_ssize_t B = net.options.batch, P = net.stack.step.layer.p.P, D = net.directions
    return Rows(at(data, n % D * P, net.stack.k), B, B * D * P, D * P, NULL, NULL)

cdef inline void *part_of(const Network *net, void *data, Py_ssize_t n, Py_ssize_t width) noexcept nogil:
    """Entry n of a [.., B, width] array; NULL of NULL."""
    return NULL if data == NULL else at(data, n * net.options.batch * width, net.stack.k)

cdef int run_network(Network *net, Py_ssize_t T, const void *x, void *y, bint save) noexcept nogil:
    """All passes over the batch that is set, from the state to the next one."""
    cdef const Kernels *k = net.stack.k
    cdef Py_ssize_t B = net.options.batch, L = net.options.num_layers, D = net.directions, n, level
    cdef Py_ssize_t state = net.stack.layers * B * k.real_size
    cdef const Pass *p = &net.stack.step.layer.p
    cdef const void *below = x
    cdef void *out = y
    cdef void *h = net.h[net.now]
    cdef void *first_h = net.first_h if save else h
    cdef void *first_c = net.first_c if save else net.c
    cdef ForwardJob job
    cdef Step *step
    if save:
        memcpy(first_h, h, state * p.P)
        if first_c != NULL:
            memcpy(first_c, net.c, state * p.H)
    for n in range(net.stack.layers):
        step, level = &net.stack.step[n], n // D
        if n % D == 0:
            below = x if level == 0 else out
            out = y if level == L - 1 else layer_output(net, T, level) if save else net.y[level % 2]
        set_forward(&job, k, &step.layer, T, B)
        job.threads, job.ragged, job.given = net.stack.threads, net.ragged, &step.packed
        job.x = packed_rows(<void *>below, B, step.layer.input_size, NULL)
        job.p.y = columns_of(net, out, n)
        job.p.h0, job.p.c0 = part_of(net, first_h, n, p.P), part_of(net, first_c, n, p.H)
        job.h, job.c = part_of(net, h, n, p.P), part_of(net, net.c, n, p.H)
        if save:
            job.p.save, job.p.gates.data = 1, part_of(net, net.gates, n * T, p.S * p.H)
            job.c_kept = part_of(net, net.c_steps, n * T, p.H)
        if run_forward(&job, &net.workspace) < 0:
            return refuse(RNNFAST_NO_MEMORY, b"no memory for the gates of one chunk of time")
    return RNNFAST_OK

cdef inline void *layer_output(const Network *net, Py_ssize_t T, Py_ssize_t level) noexcept nogil:
    """The kept y [T, B, D*P] of a layer below the last."""
    return part_of(net, net.ys, level * T, net.directions * net.stack.step.layer.p.P)

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

cdef void add_rows(const void *b, void *a, Py_ssize_t n, const Kernels *k) noexcept nogil:
    """a += b, n numbers."""
    cdef Py_ssize_t q
    if k.real_size == 4:
        for q in range(n):
            (<float *>a)[q] += (<const float *>b)[q]
    else:
        for q in range(n):
            (<double *>a)[q] += (<const double *>b)[q]

cdef int capi_backward(rnnfast_plan *plan, const rnnfast_gradients *gradients) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef const Kernels *k
    cdef rnnfast_gradients g
    cdef BackwardJob job
    cdef Step *step
    cdef const Pass *p
    cdef Py_ssize_t B, T, D, I, n, level, direction
    cdef const void *dy
    cdef void *dx[2]
    cdef bint wanted
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if gradients == NULL:
        return refuse_pointer(b"gradients", b"a pointer", gradients)
    if gradients.struct_size < sizeof(size_t) or gradients.struct_size > sizeof(g):
        return refuse_number(b"gradients.struct_size", b"sizeof(rnnfast_gradients) as this rnnfast knows it, or less",
                             gradients.struct_size)
    memset(&g, 0, sizeof(g))
    memcpy(&g, gradients, gradients.struct_size)
    if not net.options.training:
        return refuse(RNNFAST_INVALID, b"backward: expected a plan made with options.training")
    if g.weights != NULL:
        if check_weights(g.weights, net.stack.layers, &net.options, &net.stack.step.layer.weights, b"gradients.weights") < 0:
            return RNNFAST_INVALID
        if check_biases(net, g.weights, b"gradients.weights") < 0:
            return RNNFAST_INVALID
    if net.c == NULL and g.dc != NULL:
        return refuse_pointer(b"gradients.dc", b"NULL, as the cell has no c", g.dc)
    if net.c == NULL and g.dc_initial != NULL:
        return refuse_pointer(b"gradients.dc_initial", b"NULL, as the cell has no c", g.dc_initial)
    if net.T < 0:
        return refuse(RNNFAST_ORDER, b"backward: expected a forward before it, and no run, refresh or backward between them")

    k, p, B, T, D = net.stack.k, &net.stack.step.layer.p, net.options.batch, net.T, net.directions
    net.T = -1
    dy = g.dy
    for level in range(net.options.num_layers - 1, -1, -1):
        I = net.stack.step[level * D].layer.input_size
        wanted = level > 0 or g.dx != NULL
        # dy may stand in dys[0]; it is read until both directions are done.
        dx[0], dx[1] = net.dys[1], net.dys[2]
        if level == 0:
            dx[0] = g.dx
        for direction in range(D):
            n = level * D + direction
            step = &net.stack.step[n]
            set_backward(&job, k, &step.layer, T, B)
            job.threads, job.ragged, job.given = net.stack.threads, net.ragged, &step.packed
            if g.weights != NULL:
                job.grads = g.weights[n]
            job.x = packed_rows(<void *>net.x if level == 0 else layer_output(net, T, level - 1), B, I, NULL)
            job.p.y = columns_of(net, net.y_last if level == net.options.num_layers - 1 else layer_output(net, T, level), n)
            job.p.gates.data, job.c_kept = part_of(net, net.gates, n * T, p.S * p.H), part_of(net, net.c_steps, n * T, p.H)
            job.p.h0, job.p.c0 = part_of(net, net.first_h, n, p.P), part_of(net, net.first_c, n, p.H)
            job.p.dh = part_of(net, g.dh_initial if g.dh_initial != NULL else net.dh, n, p.P)
            job.p.dc = part_of(net, g.dc_initial if g.dc_initial != NULL else net.dc, n, p.H)
            job.dh_final, job.dc_final = part_of(net, <void *>g.dh, n, p.P), part_of(net, <void *>g.dc, n, p.H)
            if dy != NULL:
                job.p.dy = columns_of(net, dy, n)
            if wanted:
                job.dx.out = packed_rows(dx[direction], B, I, NULL)
            if run_backward(&job, &net.workspace) < 0:
                return refuse(RNNFAST_NO_MEMORY, b"no memory for the sums of the weights' gradients")
        if wanted and D == 2:
            add_rows(dx[1], dx[0], T * B * I, k)
        net.dys[0], net.dys[1] = net.dys[1], net.dys[0]
        dy = dx[0]
    return RNNFAST_OK


# ---- the state ---------------------------------------------------------------------------------------------------

cdef int check_c(const Network *net, const void *c) noexcept nogil:
    return refuse_pointer(b"c", b"NULL, as the cell has no c", c) if net.c == NULL and c != NULL else RNNFAST_OK

cdef int capi_get_state(const rnnfast_plan *plan, void *h, void *c) noexcept nogil:
    cdef Network *net = network_of(plan)
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if check_c(net, c) < 0:
        return RNNFAST_INVALID
    if h != NULL:
        memcpy(h, net.h[net.now], state_bytes(net, net.stack.step.layer.p.P))
    if c != NULL:
        memcpy(c, net.c, state_bytes(net, net.stack.step.layer.p.H))
    return RNNFAST_OK

cdef int capi_set_state(rnnfast_plan *plan, const void *h, const void *c) noexcept nogil:
    cdef Network *net = network_of(plan)
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    if check_c(net, c) < 0:
        return RNNFAST_INVALID
    begin(net.h[net.now], h, state_bytes(net, net.stack.step.layer.p.P))
    if net.c != NULL:
        begin(net.c, c, state_bytes(net, net.stack.step.layer.p.H))
    return RNNFAST_OK

cdef inline size_t state_bytes(const Network *net, Py_ssize_t width) noexcept nogil:
    return net.stack.layers * net.options.batch * width * net.stack.k.real_size

cdef int capi_reset(rnnfast_plan *plan, const uint8_t *mask) noexcept nogil:
    cdef Network *net = network_of(plan)
    cdef Py_ssize_t B, P, H, row
    if plan == NULL:
        return refuse_pointer(b"plan", b"a pointer", plan)
    B, P, H = net.options.batch, net.stack.step.layer.p.P, net.stack.step.layer.p.H
    for row in range(net.stack.layers * B):
        if mask == NULL or mask[row % B]:
            memset(at(net.h[net.now], row * P, net.stack.k), 0, P * net.stack.k.real_size)
            if net.c != NULL:
                memset(at(net.c, row * H, net.stack.k), 0, H * net.stack.k.real_size)
    return RNNFAST_OK


cdef rnnfast_api table
table.struct_size, table.version, table.last_error = sizeof(rnnfast_api), RNNFAST_API_VERSION, capi_last_error
table.create, table.destroy, table.refresh = capi_create, capi_destroy, capi_refresh
table.step, table.run, table.forward, table.backward = capi_step, capi_run, capi_forward, capi_backward
table.get_state, table.set_state, table.reset = capi_get_state, capi_set_state, capi_reset
_C_API = PyCapsule_New(&table, "rnnfast._core._C_API", NULL)
