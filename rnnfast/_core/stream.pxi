# One step at a time, of all layers of a stack: for streams and for the plans of the C API.

cdef struct Step:     # a layer of a stack
    Layer layer
    Packed packed
    void *vectors     # [MAX_VECTORS, H] copies of the vector weights, to which layer.p points; NULL: none
    Pass p            # T = 1
    Phases phases
    Product project   # [B, I] to that layer's gates

cdef struct Stack:    # layers above one another, with copies of their weights
    const Kernels *k
    Step *step        # [layers]
    int layers
    int threads       # the most workers
    Py_ssize_t B
    void *block       # the packed weights of all layers, one layer's gates and m, and scratch memory
    void *scratch     # [workers][scratch_size] operands: copies of the rows that a product reads
    Py_ssize_t scratch_size
    int workers       # the most, as there is scratch memory for so many


# ---- building a stack ------------------------------------------------------------------------------------------------

cdef enum:  # the buffers of a layer; three more follow those of all layers
    STEP_VECTORS = FORWARD_PACKS + BACKWARD_PACKS, STEP_BUFFERS

cdef void step_sizes(const Kernels *k, const Layer *layer, bint back, size_t *sizes) noexcept nogil:
    """sizes [STEP_BUFFERS] OUT, in bytes; `back`: for backward passes too."""
    forward_pack_sizes(k, layer, sizes)
    if back:
        backward_pack_sizes(k, layer, sizes + FORWARD_PACKS)
    if has_vectors(&layer.p):
        sizes[STEP_VECTORS] = MAX_VECTORS * layer.p.H * k.real_size

cdef void wire_step(Step *step, const Kernels *k, Py_ssize_t B, bint back, void **own, void *gates, void *m) noexcept nogil:
    """The buffers of a layer, own [STEP_BUFFERS], and those that all layers share."""
    cdef Pass *p = &step.p
    step.packed = forward_packed(own)
    if back:
        step.packed.dx, step.packed.back = own[FORWARD_PACKS], own[FORWARD_PACKS + 1]
        step.packed.second_back = own[FORWARD_PACKS + 2]
    if has_vectors(&step.layer.p):
        step.vectors = own[STEP_VECTORS]
    p[0] = step.layer.p
    p.T, p.B, p.w_step, p.norm = 1, B, step.packed.step, step.packed.norm
    step.phases = forward_phases(k, p)
    p.gates = packed_rows(gates, B, p.S * p.H, NULL)
    if has_second_product(p):
        p.w_m, p.m = step.packed.second, packed_rows(m, B, p.H, NULL)
    step.project = Product(step.layer.input_size, p.X * p.H, (p.S - p.X) * p.H, p.gates, step.packed.project,
                           step.packed.bias, p.gates, 0)

cdef int build_stack(Stack *stack, const Kernels *k, Py_ssize_t B, bint back) noexcept nogil:
    """Allocates memory for the weights of the layers in `step` [layers], which calloc made; `back`: for backward passes too.
    -1: there is no memory; the caller must call free_stack also then."""
    cdef int layers = stack.layers, count = STEP_BUFFERS * layers + 3, n
    cdef Py_ssize_t B_H = B * stack.step.layer.p.H * k.real_size
    cdef size_t *sizes = <size_t *>calloc(count, sizeof(size_t))
    cdef void **buffers = <void **>malloc(count * sizeof(void *))
    stack.k, stack.B, stack.workers = k, B, max(shared_int(&threads), cores)
    for n in range(layers):
        stack.scratch_size = max(stack.scratch_size, forward_scratch(k, &stack.step[n].layer, B))
    if sizes != NULL and buffers != NULL:
        for n in range(layers):
            step_sizes(k, &stack.step[n].layer, back, sizes + STEP_BUFFERS * n)
        sizes[count - 3], sizes[count - 2] = MAX_SLOTS * B_H, B_H
        sizes[count - 1] = stack.workers * stack.scratch_size * k.operand_size
        stack.block = workspace_take(NULL, count, sizes, buffers)
    if stack.block != NULL:
        for n in range(layers):
            wire_step(&stack.step[n], k, B, back, buffers + STEP_BUFFERS * n, buffers[count - 3], buffers[count - 2])
        stack.scratch = buffers[count - 1]
    free(sizes)
    free(buffers)
    return 0 if stack.block != NULL else -1

cdef void free_stack(Stack *stack) noexcept nogil:
    workspace_give(NULL, stack.block)
    free(stack.step)

cdef void pack_stack(Stack *stack) noexcept nogil:
    """Copies the weights that the layers point to."""
    cdef const Kernels *k = stack.k
    cdef const CellInfo *info
    cdef Step *step
    cdef Py_ssize_t H
    cdef void *copy
    cdef int n, v
    cdef uint64_t before = fp_enter()  # biases are added up
    for n in range(stack.layers):
        step = &stack.step[n]
        info, H = &cell_table[step.layer.p.cell], step.layer.p.H
        pack_for_forward(k, &step.layer, &step.packed, 0, 1)
        if step.packed.dx != NULL:
            pack_for_backward(k, &step.layer, &step.packed, True, 0, 1)
        for v in range(info.vectors):
            if step.layer.weights[info.vector[v].weight] != NULL:
                copy = at(step.vectors, v * H, k)
                memcpy(copy, step.layer.weights[info.vector[v].weight], H * k.real_size)
                step.layer.p.vector[v] = step.p.vector[v] = copy
    fp_leave(before)


# ---- one step of all layers --------------------------------------------------------------------------------------------

cdef void step_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef Stack *stack = <Stack *>argument
    cdef const Kernels *k = stack.k
    cdef Step *step
    cdef const Phases *phases
    cdef int n, phase
    cdef void *scratch = operand_at(stack.scratch, worker * stack.scratch_size, k)
    for n in range(stack.layers):
        step = &stack.step[n]
        product_share(k, &step.project, 0, step.p.B, worker, workers, scratch)
        threads_barrier(team)
        phases = &step.phases
        for phase in range(phases.count):
            phases.run[phase](&step.p, 0, 0, step.p.B, share(phases.groups[phase], worker, workers),
                              share(phases.groups[phase], worker + 1, workers), scratch)
            threads_barrier(team)

cdef void take_step(Stack *stack, const void *x, const void *before, void *after, void *const *further,
                    void *y) noexcept nogil:
    """One step from x [B, I] to y [B, P]: h [layers, B, P] from `before` to `after`, the further parts of the state,
    further[part] [layers, B, H], in place."""
    cdef const Kernels *k = stack.k
    cdef Step *step
    cdef const Phases *phases
    cdef Pass *p
    cdef Py_ssize_t B = stack.B, nbytes = B * stack.step.p.P * k.real_size, n
    cdef const void *below = x
    cdef Schedule planned
    cdef int part
    for n in range(stack.layers):
        step = &stack.step[n]
        p = &step.p
        step.project.turn = p.turn = not p.turn
        step.project.a = packed_rows(<void *>below, B, step.project.K, NULL)
        p.initial[PART_H], below = <const char *>before + n * nbytes, <char *>after + n * nbytes
        p.state[PART_H] = packed_rows(<void *>below, B, p.P, NULL)
        for part in range(PART_H + 1, p.parts):
            p.initial[part] = at(further[part], n * B * p.H, k)
            p.state[part] = packed_rows(<void *>p.initial[part], B, p.H, NULL)
    p, phases = &stack.step.p, &stack.step.phases
    planned = schedule(k, min(stack.threads, stack.workers), stack.layers, 2.0 * B * (p.P + head_width(p)) * p.X * p.H, 1,
                       phases.groups[0], <double>p.X * (packed_size(k, p.P, p.H) + packed_size(k, head_width(p), p.H)),
                       phases.count, STEP_START_NS)
    threads_run(step_worker, stack, planned.workers)
    memcpy(y, below, nbytes)


cdef void clear_rows(const Stack *stack, void *const *state, const uint8_t *mask) noexcept nogil:
    """Zeros in the state of the sequences in mask [B], or of all if it is NULL."""
    cdef const Pass *p = &stack.step.layer.p
    cdef Py_ssize_t row, width
    cdef int part
    for part in range(p.parts):
        width = part_width(p, part)
        for row in range(stack.layers * stack.B):
            if mask == NULL or mask[row % stack.B]:
                memset(at(state[part], row * width, stack.k), 0, width * stack.k.real_size)


# ---- from Python -------------------------------------------------------------------------------------------------------

cdef class Stepper:
    """A stack of layers that takes one step a call: weights packed once, the state kept between calls.

    The base of `rnnfast.recurrent.stream.Stream`, whose `_check` converts an x that the kernels cannot read directly,
    or raises.
    """

    cdef Stack stack
    cdef object layer           # whose weights it takes
    cdef list cells             # those it had of each layer: they hold the weights
    cdef list buffers           # those of the state, and of the h after a step
    cdef void *state[MAX_PARTS] # its parts, [L, B, P] and [L, B, H]
    cdef void *next_h           # [L, B, P]
    cdef int typenum

    def __dealloc__(self):
        free_stack(&self.stack)

    def __init__(self, layer, Py_ssize_t B):
        """A zero state, and the weights of `layer.cells`, the Cell of each layer of the stack."""
        cdef list cells = layer.cells
        cdef Cell cell = cells[0]
        cdef const Pass *p = &cell.layer.p
        cdef int n
        if self.stack.step != NULL:
            raise RuntimeError("this stream was set up before")
        self.layer, self.cells = layer, cells
        self.stack.layers = len(cells)
        self.buffers = [np.zeros((self.stack.layers, B, width), cell.weights["weight_ih"].dtype) for width in (*cell.widths, p.P)]
        for n in range(p.parts):
            self.state[n] = data(self.buffers[n])
        self.next_h, self.typenum = data(self.buffers[p.parts]), cnp.PyArray_TYPE(self.buffers[0])
        self.stack.step = <Step *>calloc(self.stack.layers, sizeof(Step))
        if self.stack.step != NULL:
            for n in range(self.stack.layers):
                self.stack.step[n].layer = (<Cell>cells[n]).layer
        if self.stack.step == NULL or build_stack(
                &self.stack, pass_kernels(&cell.layer, kind_for(self.buffers[0], cell.precision), B), B, False) < 0:
            raise MemoryError("no memory for the packed weights")
        pack_stack(&self.stack)

    def refresh(self):
        """Take over the layer's present weights; the state stays."""
        self.check_set_up()
        self.pack(self.layer.cells)

    def __call__(self, x):
        """y [B, P] of the next step, the caller's own, from x [B, I]; [I] to [P] where B is 1."""
        cdef Step *step
        cdef cnp.npy_intp sizes[2]
        cdef int ndim
        self.check_set_up()
        step = self.stack.step
        if not is_plain(x, self.typenum, self.stack.B, step.layer.input_size):
            x = self._check(x)
        ndim = cnp.PyArray_NDIM(x)
        sizes[0], sizes[ndim - 1] = self.stack.B, step.p.P
        y = cnp.PyArray_EMPTY(ndim, sizes, self.typenum, 0)
        shared_add(&runs, 1)
        self.take(data(x), data(y))
        return y

    def read_state(self):
        """Copies of the parts of the state: [L, B, P] of h, [L, B, H] of the others."""
        cdef list parts
        cdef int part
        self.check_set_up()
        parts = [like(self.buffers[part]) for part in range(self.stack.step.p.parts)]
        self.copy(parts, False)
        return tuple(parts)

    def write_state(self, list parts):
        """Sets the parts of the state, each C-contiguous as `read_state` gives it; None is zero."""
        self.check_set_up()
        self.copy(parts, True)

    @cython.critical_section
    def clear_state(self, mask):
        """Sets the state to zero: of the sequences in `mask`, C-contiguous bool [B], or of all if it is None."""
        self.check_set_up()
        clear_rows(&self.stack, self.state, <const uint8_t *>data(mask))

    cdef inline int check_set_up(self) except -1:
        if self.stack.block == NULL:
            raise RuntimeError("this stream was never set up: its __init__ has not run")
        return 0

    @cython.critical_section
    cdef void take(self, const void *x, void *y) noexcept:
        """One step from x to y."""
        self.stack.threads = shared_int(&threads)
        take_step(&self.stack, x, self.state[PART_H], self.next_h, self.state, y)
        self.state[PART_H], self.next_h = self.next_h, self.state[PART_H]

    @cython.critical_section
    cdef void copy(self, list parts, bint into) noexcept:
        """Copies the state into the arrays `parts`, or from there `into` the state."""
        cdef Py_ssize_t nbytes
        cdef int part
        for part in range(self.stack.step.p.parts):
            nbytes = cnp.PyArray_NBYTES(self.buffers[part])
            if into:
                begin(self.state[part], data(parts[part]), nbytes)
            else:
                memcpy(data(parts[part]), self.state[part], nbytes)

    @cython.critical_section
    cdef void pack(self, list cells) noexcept:
        """Packs the weights of `cells`."""
        cdef list before = self.cells  # kept until the end: what it frees may call Python
        cdef int n
        for n in range(self.stack.layers):
            memcpy(self.stack.step[n].layer.weights, (<Cell>cells[n]).layer.weights, WEIGHTS * sizeof(void *))
        self.cells = cells
        pack_stack(&self.stack)

cdef inline bint is_plain(x, int typenum, Py_ssize_t B, Py_ssize_t I):
    """Whether x is an aligned C-contiguous array [B, I], or [I] where B is 1, of this type."""
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != typenum or not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if cnp.PyArray_NDIM(x) == 2:
        return cnp.PyArray_DIM(x, 0) == B and cnp.PyArray_DIM(x, 1) == I
    return cnp.PyArray_NDIM(x) == 1 and B == 1 and cnp.PyArray_DIM(x, 0) == I
