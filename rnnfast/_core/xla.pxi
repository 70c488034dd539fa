# Custom calls of XLA: one pass over the buffers of a compiled JAX program, without Python. rnnfast.jax makes these calls.
#
# All memory that outlives a call is XLA's: the tape of a forward pass is among its results, and the backward pass overwrites it.

cdef extern from "xla.h" nogil:
    enum:
        XLA_MAJOR, XLA_MINOR, XLA_METADATA, XLA_SCALAR
        XLA_BOOL, XLA_S32, XLA_S64, XLA_F32, XLA_F64
        XLA_INVALID_ARGUMENT, XLA_OUT_OF_MEMORY, XLA_UNIMPLEMENTED

    ctypedef struct XlaExtension:
        int type
        XlaExtension *next

    ctypedef struct XlaVersion:
        size_t size
        XlaExtension *extension
        int major, minor

    ctypedef struct XlaMetadata:
        XlaVersion version
        uint32_t traits

    ctypedef struct XlaMetadataRequest:
        XlaMetadata *metadata

    ctypedef struct XlaErrorArguments:
        size_t size
        XlaExtension *extension
        const char *message
        int code

    ctypedef struct XlaFunctions:
        XlaVersion version
        void *(*create_error)(XlaErrorArguments *) noexcept nogil

    ctypedef struct XlaBuffer:
        int dtype
        void *data
        int64_t rank
        int64_t *dims

    ctypedef struct XlaBuffers:
        int64_t count
        XlaBuffer **buffers

    ctypedef struct XlaName:
        const char *text
        size_t length

    ctypedef struct XlaScalar:
        int dtype
        void *value

    ctypedef struct XlaAttributes:
        int64_t count
        int *types
        XlaName **names
        XlaScalar **values

    ctypedef struct XlaCall:
        size_t size
        XlaExtension *extension
        const XlaFunctions *functions
        XlaBuffers arguments, results
        XlaAttributes attributes

cdef SharedInt xla_minor     # the minor version that handlers tell XLA

cdef struct PassCall:        # a call while it is read
    const XlaCall *call
    const XlaBuffers *list   # its arguments, then its results
    int64_t next             # the buffer of `list` to be read next
    bint failed              # last_message says why
    int dtype                # of all floats
    const Kernels *k
    Layer layer
    Py_ssize_t T, B
    bint batch_first
    Rows x
    const void *initial[MAX_PARTS]  # [B, width] of each part; NULL: zero
    Ragged ragged
    void *block              # what `ragged` points to; NULL: nothing


# ---- attributes and buffers ----------------------------------------------------------------------------------------

cdef const void *attribute(PassCall *c, const char *name, int dtype) noexcept nogil:
    """The value of a scalar attribute; NULL where there is none of this dtype."""
    cdef const XlaAttributes *all = &c.call.attributes
    cdef int64_t n
    for n in range(all.count):
        if all.names[n].length == strlen(name) and memcmp(all.names[n].text, name, strlen(name)) == 0:
            if all.types[n] == XLA_SCALAR and all.values[n].dtype == dtype:
                return all.values[n].value
    if not c.failed:
        c.failed = True
        snprintf(last_message, sizeof(last_message), b"attribute %s: expected a scalar of XLA's dtype %d, got none", name, dtype)
    return NULL

cdef Py_ssize_t option(PassCall *c, const char *name, Py_ssize_t least, Py_ssize_t most) noexcept nogil:
    """The value of an integer attribute in least..most; `least` after a failure."""
    cdef const int64_t *value = <const int64_t *>attribute(c, name, XLA_S64)
    if value != NULL and least <= value[0] <= most:
        return value[0]
    if not c.failed:
        c.failed = True
        snprintf(last_message, sizeof(last_message), b"attribute %s: expected %zd to %zd, got %lld", name, least, most,
                 <long long>value[0])
    return least

cdef const XlaBuffer *next_buffer(PassCall *c, const char *name) noexcept nogil:
    """The next buffer of the list; NULL after a failure."""
    if not c.failed and c.next >= c.list.count:
        c.failed = True
        snprintf(last_message, sizeof(last_message), b"%s: expected a buffer, got only %lld of them", name,
                 <long long>c.list.count)
    if c.failed:
        return NULL
    c.next += 1
    return c.list.buffers[c.next - 1]

cdef void *take(PassCall *c, const char *name, int dtype, Py_ssize_t count) noexcept nogil:
    """The data of the next buffer, which has `count` entries of this dtype; NULL after a failure."""
    cdef const XlaBuffer *buffer = next_buffer(c, name)
    cdef Py_ssize_t got = 1
    cdef int64_t n
    if buffer == NULL:
        return NULL
    for n in range(buffer.rank):
        got *= buffer.dims[n]
    if got == count and buffer.dtype == dtype:
        return buffer.data
    c.failed = True
    snprintf(last_message, sizeof(last_message), b"%s: expected %zd entries of XLA's dtype %d, got %zd of %d", name, count,
             dtype, got, buffer.dtype)
    return NULL

cdef inline void *take_floats(PassCall *c, const char *name, Py_ssize_t count) noexcept nogil:
    return take(c, name, c.dtype, count)

cdef void take_parts(PassCall *c, const char *name, void **parts) noexcept nogil:
    """parts [MAX_PARTS] OUT: [B, width] of each part of a state."""
    cdef const Pass *p = &c.layer.p
    cdef int part
    for part in range(p.parts):
        parts[part] = take_floats(c, name, c.B * part_width(p, part))

cdef void take_kept(PassCall *c, void **kept) noexcept nogil:
    """kept [MAX_PARTS] OUT: [T*B, width] of each further part of the state after every step, in the order of the pass."""
    cdef const Pass *p = &c.layer.p
    cdef int part
    for part in range(PART_H + 1, p.parts):
        kept[part] = take_floats(c, b"states", c.T * c.B * part_width(p, part))

cdef inline void *take_gates(PassCall *c) noexcept nogil:
    """What the kernels keep of a forward pass, [T*B, S*H]."""
    return take_floats(c, b"gates", c.T * c.B * c.layer.p.S * c.layer.p.H)

cdef inline Rows sequence_rows(const PassCall *c, void *data, Py_ssize_t N) noexcept nogil:
    """The rows of a [T, B, N] array, or a [B, T, N] one with `batch_first`."""
    return Rows(data, c.B, N, c.T * N, NULL, NULL) if c.batch_first else packed_rows(data, c.B, N, NULL)

cdef Rows take_sequences(PassCall *c, const char *name, Py_ssize_t N) noexcept nogil:
    return sequence_rows(c, take_floats(c, name, c.T * c.B * N), N)

cdef void read_results(PassCall *c) noexcept nogil:
    """After the last argument: what follows are results."""
    end_of_list(c, b"arguments")
    c.list, c.next = &c.call.results, 0

cdef void end_of_list(PassCall *c, const char *name) noexcept nogil:
    """Refuses buffers that nobody has read."""
    if not c.failed and c.next != c.list.count:
        c.failed = True
        snprintf(last_message, sizeof(last_message), b"%s: expected %lld, got %lld", name, <long long>c.next,
                 <long long>c.list.count)


# ---- what both calls have in common: x, weights, the initial state, lengths, resets --------------------------------

cdef void take_x(PassCall *c) noexcept nogil:
    """x, whose shape says T, B and I, and whose dtype is that of all floats."""
    cdef const XlaBuffer *x = next_buffer(c, b"x")
    if x == NULL:
        return
    if x.rank != 3 or (x.dtype != XLA_F32 and x.dtype != XLA_F64) or not 1 <= x.dims[2] <= MOST:
        c.failed = True
        refuse(RNNFAST_INVALID, b"x: expected a float32 or float64 array with three axes, the last not empty")
        return
    c.T, c.B = x.dims[1 if c.batch_first else 0], x.dims[0 if c.batch_first else 1]
    c.dtype, c.layer.input_size = x.dtype, x.dims[2]
    c.x = sequence_rows(c, x.data, x.dims[2])

cdef void take_layer(PassCall *c) noexcept nogil:
    """The layer, by the attributes that describe it, and its weights in the order of the table of cells."""
    cdef int cell = <int>option(c, b"cell", 0, CELLS - 1), weight
    cdef const CellInfo *info = &cell_table[cell]
    cdef Py_ssize_t H = option(c, b"hidden_size", 1, MOST), P = option(c, b"output_size", 1, MOST)
    cdef Py_ssize_t given = option(c, b"weights", 0, (1 << WEIGHTS) - 1), I = c.layer.input_size
    cdef int nonlinearity = <int>option(c, b"nonlinearity", TANH, POSITIVE)
    cdef bint reverse = option(c, b"reverse", 0, 1)
    cdef const double *cell_clip = <const double *>attribute(c, b"cell_clip", XLA_F64)
    cdef void *weights[WEIGHTS]
    memset(weights, 0, sizeof(weights))
    if not c.failed and (info.heads or info.required & ~given or given & ~(info.required | info.optional)):
        c.failed = True
        refuse_number(b"attribute weights", b"those of the cell", given)
    for weight in range(WEIGHTS):
        if given >> weight & 1:
            weights[weight] = take_floats(c, weight_names[weight], weight_size(info, weight, I, H, P, H))
    if not c.failed:
        set_layer(&c.layer, cell, nonlinearity, cell_clip[0], reverse, I, H, P, 1, weights)

cdef void take_kernels(PassCall *c) noexcept nogil:
    cdef int kind = <int>option(c, b"precision", 0, KINDS - 1)
    if c.failed:
        return
    if kind == FLOAT64 or (c.dtype == XLA_F64 and kind != FLOAT32):
        c.failed = True
        refuse_number(b"attribute precision", b"one that the dtype has", kind)
        return
    c.k = pass_kernels(&c.layer, FLOAT64 if c.dtype == XLA_F64 else kind, c.B)

cdef void take_ragged(PassCall *c) noexcept nogil:
    """lengths [B] and reset, as x's first two axes, where they are given."""
    cdef Py_ssize_t T = c.T, B = c.B, b
    cdef const int32_t *lengths = NULL
    cdef const unsigned char *reset = NULL
    cdef size_t sizes[3]
    cdef void *parts[3]
    cdef Py_ssize_t *steps
    c.ragged = whole(T, B)
    if option(c, b"lengths", 0, 1):
        lengths = <const int32_t *>take(c, b"lengths", XLA_S32, B)
    if option(c, b"reset", 0, 1):
        reset = <const unsigned char *>take(c, b"reset", XLA_BOOL, T * B)
    if c.failed or (lengths == NULL and reset == NULL):
        return
    sizes[0], sizes[1], sizes[2] = B * sizeof(Py_ssize_t), (2 * B + 2 * (T + 1)) * sizeof(Py_ssize_t), 2 * T * B
    c.block = workspace_take(NULL, 3, sizes, parts)
    if c.block == NULL:
        c.failed = True
        refuse(RNNFAST_NO_MEMORY, b"no memory for the lengths and resets")
        return
    steps = <Py_ssize_t *>parts[0]
    if lengths != NULL:
        for b in range(B):
            if not 0 <= lengths[b] <= T:
                c.failed = True
                snprintf(last_message, sizeof(last_message), b"lengths[%zd]: expected 0 to %zd (T), got %d", b, T, lengths[b])
                return
            steps[b] = lengths[b]
        set_lengths(&c.ragged, steps, B, <Py_ssize_t *>parts[1])
    if reset != NULL:
        set_resets(&c.ragged, B, reset, 1 if c.batch_first else B, T if c.batch_first else 1, NULL,
                   <unsigned char *>parts[2])

cdef void read_call(PassCall *c, const XlaCall *call) noexcept nogil:
    """Reads the arguments that both calls begin with. A caller gives c.block back, also after a failure."""
    memset(c, 0, sizeof(c[0]))
    c.call, c.list = call, &call.arguments
    c.batch_first = option(c, b"batch_first", 0, 1)
    take_x(c)
    take_layer(c)
    take_kernels(c)
    if option(c, b"state", 0, 1):
        take_parts(c, b"state", <void **>c.initial)
    take_ragged(c)


# ---- the calls -----------------------------------------------------------------------------------------------------

cdef int call_forward(PassCall *c) noexcept nogil:
    """Results: y, the parts of the final state; with `save` also the gates and the further parts after every step."""
    cdef ForwardJob job
    cdef Pass *p = &job.p
    cdef bint save = option(c, b"save", 0, 1)
    cdef int status
    read_results(c)
    if c.failed:
        return RNNFAST_INVALID
    set_forward(&job, c.k, &c.layer, c.T, c.B)
    p.state[PART_H] = take_sequences(c, b"y", p.P)
    take_parts(c, b"final state", job.final)
    p.save = save
    if save:
        p.gates.data = take_gates(c)
        take_kept(c, job.kept)
    end_of_list(c, b"results")
    if c.failed or save and not c.k.trains:
        return RNNFAST_INVALID if c.failed else refuse(RNNFAST_INVALID, b"precision: products in int8 have no gradient")
    job.threads, job.ragged, job.x = shared_int(&threads), c.ragged, c.x
    memcpy(p.initial, c.initial, sizeof(c.initial))
    shared_add(&runs, 1)
    status = run_forward(&job, &shared_workspace)
    return status if status == 0 else refuse(RNNFAST_NO_MEMORY, b"no memory for the packed weights and one chunk of gates")

cdef int call_backward(PassCall *c) noexcept nogil:
    """Further arguments: gates, the further parts after every step, y, dy and the gradient of the final state where they are
    not zero. Results: the memory of gates, the gradient of the initial state; where they are wanted, dx and all weights'."""
    cdef BackwardJob job
    cdef Pass *p = &job.p
    cdef int status, weight
    if c.failed:
        return RNNFAST_INVALID
    set_backward(&job, c.k, &c.layer, c.T, c.B)
    p.gates.data = take_gates(c)
    take_kept(c, job.kept)
    p.state[PART_H] = take_sequences(c, b"y", p.P)
    if option(c, b"dy", 0, 1):
        p.d_steps[PART_H] = take_sequences(c, b"dy", p.P)
    if option(c, b"dstate", 0, 1):
        take_parts(c, b"dstate", <void **>job.d_final)
    read_results(c)
    if take_gates(c) != p.gates.data and not c.failed:
        return refuse(RNNFAST_INVALID, b"gates: expected an argument that shares the memory of the first result")
    take_parts(c, b"gradient of the state", p.d_state)
    if option(c, b"input_grad", 0, 1):
        job.dx.out = take_sequences(c, b"dx", c.layer.input_size)
    if option(c, b"weight_grads", 0, 1):
        for weight in range(WEIGHTS):
            if c.layer.weights[weight] != NULL:
                job.grads[weight] = take_floats(c, weight_names[weight], weight_size(
                    &cell_table[p.cell], weight, c.layer.input_size, p.H, p.P, p.D))
    end_of_list(c, b"results")
    if c.failed or not c.k.trains:
        return RNNFAST_INVALID if c.failed else refuse(RNNFAST_INVALID, b"precision: products in int8 have no gradient")
    job.threads, job.ragged, job.x = shared_int(&threads), c.ragged, c.x
    memcpy(p.initial, c.initial, sizeof(c.initial))
    shared_add(&runs, 1)
    status = run_backward(&job, &shared_workspace)
    return status if status == 0 else refuse(RNNFAST_NO_MEMORY, b"no memory for the packed weights and their gradients")

ctypedef int (*pass_function)(PassCall *) noexcept nogil

cdef void *xla_error(const XlaCall *call, int code, const char *message) noexcept nogil:
    cdef XlaErrorArguments arguments = XlaErrorArguments(sizeof(XlaErrorArguments), NULL, message, code)
    return call.functions.create_error(&arguments)

cdef bint tells_version(const XlaCall *call) noexcept nogil:
    """Whether XLA asked for the version of the handler alone, as it does when one is registered."""
    cdef XlaExtension *extension = call.extension
    cdef XlaMetadata *metadata
    while extension != NULL:
        if extension.type == XLA_METADATA:
            metadata = (<XlaMetadataRequest *>extension).metadata
            metadata.version.major, metadata.version.minor, metadata.traits = XLA_MAJOR, shared_int(&xla_minor), 0
            return True
        extension = extension.next
    return False

cdef void *handle(const XlaCall *call, pass_function run) noexcept nogil:
    """NULL, or XLA's error."""
    cdef PassCall c
    cdef int status
    if tells_version(call):
        return NULL
    if call.size < sizeof(call[0]) or call.functions.version.major != XLA_MAJOR:
        snprintf(last_message, sizeof(last_message), b"rnnfast: expected version %d.x of XLA's interface for custom calls and %zu "
                 b"bytes of a call or more, got version %d.%d and %zu bytes; install another jaxlib", XLA_MAJOR, sizeof(call[0]),
                 call.functions.version.major, call.functions.version.minor, call.size)
        return xla_error(call, XLA_UNIMPLEMENTED, last_message)
    read_call(&c, call)
    status = run(&c)
    workspace_give(NULL, c.block)
    if status == 0:
        return NULL
    return xla_error(call, XLA_OUT_OF_MEMORY if status == RNNFAST_NO_MEMORY else XLA_INVALID_ARGUMENT, last_message)

cdef void *xla_forward(const XlaCall *call) noexcept nogil:
    return handle(call, call_forward)

cdef void *xla_backward(const XlaCall *call) noexcept nogil:
    return handle(call, call_backward)

def xla_handlers(int minor):
    """Capsules of the handlers by name, for an XLA whose interface has this minor version. An older XLA takes no handler of a
    newer version, although the structs of xla.h are the same in all of them."""
    shared_set_int(&xla_minor, min(minor, XLA_MINOR))
    return {"forward": PyCapsule_New(<void *>xla_forward, NULL, NULL), "backward": PyCapsule_New(<void *>xla_backward, NULL, NULL)}
