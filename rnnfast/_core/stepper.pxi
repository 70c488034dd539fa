# One step at a time: what rnnfast.stream and the plans of the C API stand on.

cdef struct Step:     # a layer of a stack
    Layer layer
    Packed packed
    void *peepholes   # [3, H] copies, to which layer.p points; NULL: none
    Pass p            # T = 1
    Product project   # [B, I] to that layer's gates

cdef struct Stack:    # layers above one another, with copies of their weights
    const Kernels *k
    Step *step        # [layers]
    int layers
    int threads       # that may work
    Py_ssize_t B
    void *block       # the packed weights of all layers, and one layer's gates and m

cdef void step_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef Stack *stack = <Stack *>argument
    cdef const Kernels *k = stack.k
    cdef Step *step
    cdef Py_ssize_t groups, second
    cdef int n
    for n in range(stack.layers):
        step = &stack.step[n]
        groups, second = hidden_groups(k, &step.p), k.groups_of(step.p.P)
        product_share(k, &step.project, 0, step.p.B, worker, workers)
        threads_barrier(team)
        k.step_forward[step.p.cell][0](&step.p, 0, 0, step.p.B, share(groups, worker, workers),
                                       share(groups, worker + 1, workers))
        threads_barrier(team)
        if step.p.phases == 2:
            k.step_forward[step.p.cell][1](&step.p, 0, 0, step.p.B, share(second, worker, workers),
                                           share(second, worker + 1, workers))
            threads_barrier(team)

cdef enum:
    STEP_PARTS = FORWARD_PACKS + BACKWARD_PACKS + 1

cdef int build_stack(Stack *stack, const Kernels *k, Py_ssize_t B, bint back) noexcept nogil:
    """Room for the weights of the layers that stand in `step` [layers], made by calloc; `back`: for backward passes too.
    -1: there is no memory; free_stack is due all the same."""
    cdef int layers = stack.layers, count = STEP_PARTS * layers + 2, n
    cdef Py_ssize_t B_H = B * stack.step.layer.p.H * k.real_size
    cdef size_t *sizes = <size_t *>calloc(count, sizeof(size_t))
    cdef void **parts = <void **>malloc(count * sizeof(void *))
    cdef void **own
    cdef size_t *own_sizes
    cdef Step *step
    cdef Pass *p
    stack.k, stack.B = k, B
    if sizes != NULL and parts != NULL:
        for n in range(layers):
            step, own_sizes = &stack.step[n], sizes + STEP_PARTS * n
            forward_pack_sizes(k, &step.layer, own_sizes)
            if back:
                backward_pack_sizes(k, &step.layer, own_sizes + FORWARD_PACKS)
            if step.layer.p.w_co != NULL:
                own_sizes[STEP_PARTS - 1] = 3 * step.layer.p.H * k.real_size
        sizes[count - 2], sizes[count - 1] = MAX_SLOTS * B_H, B_H
        stack.block = workspace_take(NULL, count, sizes, parts)
    if stack.block != NULL:
        for n in range(layers):
            step, own = &stack.step[n], parts + STEP_PARTS * n
            step.packed = Packed(own[0], own[1], own[2], own[3], NULL, NULL, NULL)
            if back:
                step.packed.dx, step.packed.back, step.packed.second_back = own[4], own[5], own[6]
            if step.layer.p.w_co != NULL:
                step.peepholes = own[STEP_PARTS - 1]
            step.p = step.layer.p
            p = &step.p
            p.T, p.B, p.w_step = 1, B, step.packed.step
            p.gates = packed_rows(parts[count - 2], B, p.S * p.H, NULL)
            if p.phases == 2:
                p.w_m, p.m = step.packed.second, packed_rows(parts[count - 1], B, p.H, NULL)
            step.project = Product(step.layer.input_size, p.X * p.H, (p.S - p.X) * p.H, p.gates, step.packed.project, step.packed.bias,
                                   p.gates)
    free(sizes)
    free(parts)
    return 0 if stack.block != NULL else -1

cdef void free_stack(Stack *stack) noexcept nogil:
    workspace_give(NULL, stack.block)
    free(stack.step)

cdef void pack_stack(Stack *stack) noexcept nogil:
    """Copies the weights that the layers point to."""
    cdef const Kernels *k = stack.k
    cdef Step *step
    cdef Pass *p
    cdef const rnnfast_weights *weights
    cdef Py_ssize_t H
    cdef int n
    cdef uint64_t before = fp_enter()  # biases are added up
    for n in range(stack.layers):
        step = &stack.step[n]
        p, weights, H = &step.layer.p, &step.layer.weights, step.layer.p.H
        pack_for_forward(k, &step.layer, &step.packed, 0, 1)
        if step.packed.back != NULL:
            pack_for_backward(k, &step.layer, &step.packed, True, 0, 1)
        if step.peepholes != NULL:
            p.w_ci, p.w_co = step.peepholes, at(step.peepholes, H, k)
            memcpy(<void *>p.w_ci, weights.weight_ci, H * k.real_size)
            memcpy(<void *>p.w_co, weights.weight_co, H * k.real_size)
            if p.w_cf != NULL:
                p.w_cf = at(step.peepholes, 2 * H, k)
                memcpy(<void *>p.w_cf, weights.weight_cf, H * k.real_size)
            step.p.w_ci, step.p.w_cf, step.p.w_co = p.w_ci, p.w_cf, p.w_co
    fp_leave(before)

cdef void take_step(Stack *stack, const void *x, const void *before, void *after, void *c, void *y) noexcept nogil:
    """One step from x [B, I] to y [B, P]: h [layers, B, P] from `before` to `after`, c [layers, B, H] in place (NULL: none)."""
    cdef const Kernels *k = stack.k
    cdef Step *step
    cdef Pass *p
    cdef Py_ssize_t B = stack.B, nbytes = B * stack.step.p.P * k.real_size, n
    cdef const void *below = x
    cdef Plan planned
    for n in range(stack.layers):
        step = &stack.step[n]
        p = &step.p
        step.project.a = packed_rows(<void *>below, B, step.project.K, NULL)
        p.h0, below = <const char *>before + n * nbytes, <char *>after + n * nbytes
        p.y = packed_rows(<void *>below, B, p.P, NULL)
        if c != NULL:
            p.c0 = at(c, n * B * p.H, k)
            p.c = packed_rows(<void *>p.c0, B, p.H, NULL)
    p = &stack.step.p
    planned = plan(k, stack.threads, stack.layers, 2.0 * B * 2 * p.P * p.X * p.H, 1, hidden_groups(k, p),
                   2.0 * p.P * p.H * p.X * k.real_size, p.phases, STEP_START_NS)
    threads_run(step_worker, stack, planned.workers)
    memcpy(y, below, nbytes)


cdef class Stepper:
    """A stack of layers that takes one step a call: weights packed once, the state kept between calls.

    The base of `rnnfast.stream.Stream`, whose `_check` turns an x that the kernels cannot read as it is into one that
    they can, or raises.
    """

    cdef Stack stack
    cdef list cells             # of each layer: they hold the weights
    cdef object hs              # [2, L, B, P]: the h before a step and after it, in turn
    cdef object cs              # [L, B, H] or None
    cdef int now                # which of the two is the state
    cdef int typenum

    def __dealloc__(self):
        free_stack(&self.stack)

    def __init__(self, cells, Py_ssize_t B):
        """A zero state and room for the weights of `cells`, the Cell of each layer."""
        cdef Cell cell = cells[0]
        cdef int n
        if self.stack.step != NULL:
            raise RuntimeError("this stream was set up before")
        self.cells = cells
        self.stack.layers = len(cells)
        self.hs = np.zeros((2, self.stack.layers, B, cell.layer.p.P), cell.weight_ih.dtype)
        self.cs = np.zeros((self.stack.layers, B, cell.layer.p.H), self.hs.dtype) if has_c(&cell.layer) else None
        self.typenum = cnp.PyArray_TYPE(self.hs)
        self.stack.step = <Step *>calloc(self.stack.layers, sizeof(Step))
        if self.stack.step != NULL:
            for n in range(self.stack.layers):
                self.stack.step[n].layer = (<Cell>cells[n]).layer
        if self.stack.step == NULL or build_stack(&self.stack, kernels_for(self.hs), B, False) < 0:
            raise MemoryError("no memory for the packed weights")
        pack_stack(&self.stack)

    def refresh(self):
        """Take over the layer's present weights; the state stays."""
        if self.stack.block == NULL:
            raise RuntimeError("this stream was never set up: its __init__ has not run")
        pack_stack(&self.stack)

    @property
    def h(self):
        """The state h [L, B, P], a view that may be written into."""
        return self.hs[self.now]

    @property
    def c(self):
        """The state c [L, B, H] likewise, None for cells without."""
        return None if self.cs is None else self.cs[:]

    def __call__(self, x):
        """y [B, P] of the next step, the caller's own, from x [B, I]; [I] to [P] where B is 1."""
        global runs
        cdef Step *step
        cdef Py_ssize_t B, nbytes
        cdef char *hs
        cdef cnp.npy_intp sizes[2]
        cdef int ndim
        if self.stack.block == NULL:
            raise RuntimeError("this stream was never set up: its __init__ has not run")
        step, B = self.stack.step, self.stack.B
        if not is_plain(x, self.typenum, B, step.layer.input_size):
            x = self._check(x)
        ndim = cnp.PyArray_NDIM(x)
        sizes[0], sizes[ndim - 1] = B, step.p.P
        y = cnp.PyArray_EMPTY(ndim, sizes, self.typenum, 0)
        hs, nbytes = <char *>data(self.hs), self.stack.layers * B * step.p.P * self.stack.k.real_size
        runs += 1
        self.stack.threads = threads
        take_step(&self.stack, data(x), hs + self.now * nbytes, hs + (1 - self.now) * nbytes, data(self.cs), data(y))
        self.now = 1 - self.now
        return y

cdef inline bint is_plain(x, int typenum, Py_ssize_t B, Py_ssize_t I):
    """Whether x is an aligned C-contiguous array [B, I], or [I] where B is 1, of this type."""
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != typenum or not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if cnp.PyArray_NDIM(x) == 2:
        return cnp.PyArray_DIM(x, 0) == B and cnp.PyArray_DIM(x, 1) == I
    return cnp.PyArray_NDIM(x) == 1 and B == 1 and cnp.PyArray_DIM(x, 0) == I
