# Plans of the C API: their options, their memory.

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
    MOST = 0x7fffffff   # the most that any size may be, so that doubles can hold their products

cdef struct Network:    # what a rnnfast_plan points to
    rnnfast_options options
    Stack stack              # its passes
    int directions
    Workspace workspace      # the scratch memory of `run`, `forward` and `backward`
    void *block              # what the pointers below point to
    void *state[MAX_PARTS]   # [L*D, B, width] of each part; NULL: the cell does not have it
    void *next_h             # [L*D, B, P]: a step writes h here, and then the two change places
    void *y[2]               # evaluation: [T, B, D*P] of two layers in turn
    Py_ssize_t *places       # of the last call's ragged batch
    unsigned char *resets
    void *first[MAX_PARTS]   # training, of the last `forward`: the state before it
    void *ys                 # [L-1][T, B, D*P]
    void *gates              # [L*D][T, B, S*H]
    void *steps[MAX_PARTS]   # [L*D][T, B, H] the further parts after every step; NULL for h, which is in ys
    void *d_first[MAX_PARTS] # the gradient of the state before it where the caller does not want it
    void *dys[3]             # [T, B, max(D*P, I)]: dy of a layer; dx of each direction
    Ragged ragged
    Py_ssize_t T             # of that `forward`; -1: no forward that `backward` could follow
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


# ---- the options of a plan ----------------------------------------------------------------------------------------

cdef int precision_kind[RNNFAST_INT8 + 1]  # the kind of kernels, by matmul_precision
precision_kind[RNNFAST_FLOAT32] = FLOAT32
precision_kind[RNNFAST_BFLOAT16], precision_kind[RNNFAST_INT8] = BFLOAT16, INT8

cdef int check_precision(const rnnfast_options *o) noexcept nogil:
    """Whether a plan of this dtype and training may have this matmul_precision."""
    cdef int precision = o.matmul_precision
    if not RNNFAST_FLOAT32 <= precision <= RNNFAST_INT8 or precision == RNNFAST_FLOAT64:
        return refuse_number(b"options.matmul_precision", b"RNNFAST_FLOAT32, RNNFAST_BFLOAT16 or RNNFAST_INT8", precision)
    if o.dtype == RNNFAST_FLOAT64 and precision != RNNFAST_FLOAT32:
        return refuse_number(b"options.matmul_precision", b"RNNFAST_FLOAT32 (the default) with dtype RNNFAST_FLOAT64", precision)
    if precision == RNNFAST_INT8 and o.training:
        return refuse(RNNFAST_INVALID, b"options.training: expected 0 with RNNFAST_INT8, which has no gradient")
    return RNNFAST_OK

cdef inline bint is_struct_size(size_t given, size_t known) noexcept nogil:
    """Whether a struct may have that size in this version or an older one: it ends with a whole field, not within a pointer."""
    return sizeof(size_t) <= given <= known and given % sizeof(size_t) == 0

cdef int read_options(const rnnfast_options *given, rnnfast_options *o) noexcept nogil:
    """o OUT: the options with their defaults filled in."""
    if given == NULL:
        return refuse_pointer(b"options", b"a pointer", given)
    if not is_struct_size(given.struct_size, sizeof(o[0])):
        return refuse_number(b"options.struct_size", b"sizeof(rnnfast_options) as this rnnfast knows it, or less",
                             given.struct_size)
    memset(o, 0, sizeof(o[0]))
    memcpy(o, given, given.struct_size)
    if not RNNFAST_RNN <= o.cell <= RNNFAST_GRU:
        return refuse_number(b"options.cell", b"RNNFAST_RNN, RNNFAST_LSTM or RNNFAST_GRU", o.cell)
    if not RNNFAST_FLOAT32 <= o.dtype <= RNNFAST_FLOAT64:
        return refuse_number(b"options.dtype", b"RNNFAST_FLOAT32 or RNNFAST_FLOAT64", o.dtype)
    if check_precision(o) < 0:
        return RNNFAST_INVALID
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

cdef int cell_of_options(const rnnfast_options *o) noexcept nogil:
    """The row of the table of cells."""
    return find_cell(cell_table[o.cell].layer, o.reset_before == 0 if o.cell == RNNFAST_GRU else o.coupled_gates != 0, False)

cdef enum:
    NAMED_WEIGHTS = WEIGHT_CO + 1  # those of rnnfast_weights, the first of the table's

cdef int check_weights(const rnnfast_weights *weights, Py_ssize_t passes, const rnnfast_options *o,
                       const rnnfast_weights *there, const char *name) noexcept nogil:
    """Whether each pass has the weights that the options and `there`, the first pass's weights, ask for. Biases are optional in
    each pass."""
    cdef const CellInfo *info = &cell_table[cell_of_options(o)]
    cdef Py_ssize_t n
    cdef void *const *own
    cdef const char *expected
    cdef bint peepholes = False
    cdef int w
    if weights == NULL:
        return refuse_pointer(name, b"a pointer", weights)
    for w in range(NAMED_WEIGHTS):
        if info.optional >> w & 1 and is_vector(info, w) and (<void *const *><void *>there)[w] != NULL:
            peepholes = True
    for n in range(passes):
        own = <void *const *><void *>&weights[n]
        for w in range(NAMED_WEIGHTS):
            expected = NULL
            if info.required >> w & 1:
                if own[w] == NULL:
                    expected = b"a pointer"
            elif not info.optional >> w & 1:
                if own[w] != NULL:
                    expected = b"NULL, as the cell does not have it"
            elif w == WEIGHT_HR:
                if (own[w] != NULL) != (o.proj_size > 0):
                    expected = b"a pointer if there is a proj_size, else NULL"
            elif is_vector(info, w) and (own[w] != NULL) != peepholes:
                expected = b"all peepholes in all passes, or none"
            if expected != NULL:
                return refuse_entry(name, n, weight_names[w], expected, own[w])
    return RNNFAST_OK

cdef int check_biases(const Network *net, const rnnfast_weights *weights, const char *name) noexcept nogil:
    """Whether each pass has the biases that the plan was made with."""
    cdef Py_ssize_t n
    cdef const rnnfast_weights *there
    for n in range(net.stack.layers):
        there = weights_of(&net.stack.step[n].layer)
        if (weights[n].bias_ih == NULL) != (there.bias_ih == NULL):
            return refuse_entry(name, n, b"bias_ih", b"as the plan was made", weights[n].bias_ih)
        if (weights[n].bias_hh == NULL) != (there.bias_hh == NULL):
            return refuse_entry(name, n, b"bias_hh", b"as the plan was made", weights[n].bias_hh)
    return RNNFAST_OK


# ---- making and freeing ------------------------------------------------------------------------------------------

cdef enum:  # the buffers in a plan's memory block, one for each part of a state; those from the second line on are for training
    NETWORK_STATE, NETWORK_NEXT_H = NETWORK_STATE + MAX_PARTS, NETWORK_Y, NETWORK_NEXT_Y, NETWORK_PLACES, NETWORK_RESETS
    NETWORK_YS, NETWORK_GATES, NETWORK_FIRST, NETWORK_STEPS = NETWORK_FIRST + MAX_PARTS
    NETWORK_D_FIRST = NETWORK_STEPS + MAX_PARTS, NETWORK_DYS = NETWORK_D_FIRST + MAX_PARTS
    NETWORK_BUFFERS = NETWORK_DYS + 3

cdef inline const rnnfast_weights *weights_of(const Layer *layer) noexcept nogil:
    """The weights of a layer under the names of rnnfast.h, which has them in the order of the table of cells."""
    return <const rnnfast_weights *>layer.weights

cdef double plan_bytes(const rnnfast_options *o, const Pass *p, int directions, Py_ssize_t size) noexcept nogil:
    """An upper bound of the total size of a plan's buffers."""
    cdef double passes = o.num_layers * directions, rows = (o.max_steps + 1.0) * o.batch
    cdef double width = max(directions * p.P, o.input_size) + 64.0, H = p.H + 64.0
    return size * (passes * 8 * p.S * H * (width + H) + rows * (passes * (p.S + 1) * H + (o.num_layers + 6) * width * 2))

cdef int make_network(Network *net, const rnnfast_weights *weights) noexcept nogil:
    """Allocates the memory of a plan whose options are set, and packs its weights. The caller calls free_network, also after an
    error."""
    cdef const rnnfast_options *o = &net.options
    cdef const Kernels *k = shared_kernels(&in_use[FLOAT64 if o.dtype == RNNFAST_FLOAT64 else precision_kind[o.matmul_precision]])
    cdef Py_ssize_t H = o.hidden_size, P = o.proj_size if o.proj_size else H, n, I
    cdef int D = 2 if o.bidirectional else 1, passes = <int>o.num_layers * D
    cdef Stack *stack = &net.stack
    cdef void *pointers[WEIGHTS]
    memset(pointers, 0, sizeof(pointers))
    net.directions, net.T = D, -1
    stack.threads = o.threads if o.threads else shared_int(&threads)
    stack.step = <Step *>calloc(passes, sizeof(Step))
    if stack.step == NULL:
        return -1
    stack.layers = passes
    for n in range(passes):
        I = o.input_size if n < D else D * P
        memcpy(pointers, &weights[n], sizeof(weights[n]))
        set_layer(&stack.step[n].layer, cell_of_options(o), o.nonlinearity, o.cell_clip or INFINITY, n % D == 1, I, H, P, 1,
                  pointers)
    if plan_bytes(o, &stack.step.layer.p, D, k.real_size) > 2.0 ** 61 or build_stack(stack, k, o.batch, o.training) < 0:
        return -1
    pack_stack(stack)
    if allocate(net) < 0:
        return -1
    return reserve(net) if o.max_steps else 0

cdef int allocate(Network *net) noexcept nogil:
    """A zero state, and the buffers that are kept from call to call; -1: there is no memory."""
    cdef const rnnfast_options *o = &net.options
    cdef const Pass *p = &net.stack.step.layer.p
    cdef Py_ssize_t B = o.batch, T = o.max_steps, D = net.directions, size = net.stack.k.real_size, n
    cdef size_t y = T * B * D * p.P * size, part_size
    cdef size_t sizes[NETWORK_BUFFERS]
    cdef void *buffers[NETWORK_BUFFERS]
    cdef int part
    memset(sizes, 0, sizeof(sizes))
    for part in range(p.parts):
        part_size = state_bytes(net, part)
        sizes[NETWORK_STATE + part] = part_size
        if o.training:
            sizes[NETWORK_FIRST + part] = sizes[NETWORK_D_FIRST + part] = part_size
            sizes[NETWORK_STEPS + part] = T * part_size if part > PART_H else 0
    sizes[NETWORK_NEXT_H] = sizes[NETWORK_STATE]
    sizes[NETWORK_Y], sizes[NETWORK_NEXT_Y] = y if o.num_layers > 1 else 0, y if o.num_layers > 2 else 0
    sizes[NETWORK_PLACES], sizes[NETWORK_RESETS] = (2 * B + 2 * (T + 1)) * sizeof(Py_ssize_t), 2 * T * B
    if o.training:
        sizes[NETWORK_YS], sizes[NETWORK_GATES] = (o.num_layers - 1) * y, net.stack.layers * T * B * p.S * p.H * size
        for n in range(NETWORK_DYS, NETWORK_BUFFERS):
            sizes[n] = T * B * max(D * p.P, o.input_size) * size
    net.block = workspace_take(NULL, NETWORK_BUFFERS, sizes, buffers)
    if net.block == NULL:
        return -1
    for part in range(p.parts):
        net.state[part], net.first[part] = buffers[NETWORK_STATE + part], buffers[NETWORK_FIRST + part]
        net.d_first[part] = buffers[NETWORK_D_FIRST + part]
        net.steps[part] = buffers[NETWORK_STEPS + part] if part > PART_H else NULL
        memset(net.state[part], 0, sizes[NETWORK_STATE + part])
    net.next_h, net.y = buffers[NETWORK_NEXT_H], [buffers[NETWORK_Y], buffers[NETWORK_NEXT_Y]]
    net.places, net.resets = <Py_ssize_t *>buffers[NETWORK_PLACES], <unsigned char *>buffers[NETWORK_RESETS]
    net.ys, net.gates = buffers[NETWORK_YS], buffers[NETWORK_GATES]
    net.dys = [buffers[NETWORK_DYS], buffers[NETWORK_DYS + 1], buffers[NETWORK_DYS + 2]]
    return 0

cdef inline size_t state_bytes(const Network *net, int part) noexcept nogil:
    """The size of a part of the state of all passes."""
    return net.stack.layers * net.options.batch * part_width(&net.stack.step.layer.p, part) * net.stack.k.real_size

cdef int reserve(Network *net) noexcept nogil:
    """Makes the workspace as large as any pass will want it; -1: there is no memory."""
    cdef const Kernels *k = net.stack.k
    cdef Py_ssize_t T = net.options.max_steps, B = net.options.batch
    cdef ForwardJob forward_job
    cdef BackwardJob backward_job
    cdef size_t sizes[FORWARD_BUFFERS + BACKWARD_BUFFERS]
    cdef void *parts[FORWARD_BUFFERS + BACKWARD_BUFFERS]
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
            backward_sizes(&backward_job, T, net.stack.threads, sizes + FORWARD_BUFFERS)
        block = workspace_take(&net.workspace, FORWARD_BUFFERS + BACKWARD_BUFFERS, sizes, parts)
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
