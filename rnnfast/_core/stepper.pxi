# One step at a time: what rnnfast.stream stands on.

cdef struct Step:
    Pass p            # of one layer, T = 1
    Product project   # [B, I] to that layer's gates

cdef struct StepJob:
    const Kernels *k
    Step *layer       # [layers]
    int layers

cdef void step_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef StepJob *job = <StepJob *>argument
    cdef const Kernels *k = job.k
    cdef Step *layer
    cdef Py_ssize_t groups, second
    cdef int n
    for n in range(job.layers):
        layer = &job.layer[n]
        groups, second = hidden_groups(k, &layer.p), k.groups_of(layer.p.P)
        product_share(k, &layer.project, 0, layer.p.B, worker, workers)
        threads_barrier(team)
        k.step_forward[layer.p.cell][0](&layer.p, 0, 0, layer.p.B, share(groups, worker, workers),
                                        share(groups, worker + 1, workers))
        threads_barrier(team)
        if layer.p.phases == 2:
            k.step_forward[layer.p.cell][1](&layer.p, 0, 0, layer.p.B, share(second, worker, workers),
                                            share(second, worker + 1, workers))
            threads_barrier(team)


cdef class Stepper:
    """A stack of layers that takes one step a call: weights packed once, the state kept between calls.

    The base of `rnnfast.stream.Stream`, whose `_check` turns an x that the kernels cannot read as it is into one that
    they can, or raises. c [L, B, H] is the LSTM's, None for other cells.
    """

    cdef StepJob job
    cdef void *block            # the packed weights of all layers, and one layer's gates and m
    cdef list cells             # of each layer
    cdef object hs              # [2, L, B, P]: the h before a step and after it, in turn
    cdef int now                # which of the two is the state
    cdef int typenum
    cdef readonly object c

    def __cinit__(self):
        self.block = NULL
        self.job.layer = NULL

    def __dealloc__(self):
        workspace_give(self.block)
        free(self.job.layer)

    def __init__(self, cells, Py_ssize_t B):
        """A zero state and room for the weights of `cells`, the Cell of each layer."""
        cdef Cell cell = cells[0]
        cdef int layers = len(cells), n
        cdef Py_ssize_t H = cell.hidden_size, P = cell.output_size, size = cell.weight_ih.itemsize, I
        cdef Step *layer
        cdef size_t *sizes = NULL
        cdef void **parts = NULL
        cdef const Kernels *k

        self.cells = cells
        self.hs = np.zeros((2, layers, B, P), cell.weight_ih.dtype)
        self.c = np.zeros((layers, B, H), cell.weight_ih.dtype) if cell.has_c() else None
        self.typenum = cnp.PyArray_TYPE(self.hs)
        self.job.k = k = kernels_for(self.hs)
        self.job.layers = layers
        self.job.layer = <Step *>calloc(layers, sizeof(Step))
        sizes = <size_t *>malloc((4 * layers + 2) * sizeof(size_t))
        parts = <void **>malloc((4 * layers + 2) * sizeof(void *))
        if self.job.layer != NULL and sizes != NULL and parts != NULL:
            for n in range(layers):
                layer = &self.job.layer[n]
                I = (<Cell>cells[n]).input_size
                (<Cell>cells[n]).describe(&layer.p)
                layer.p.T, layer.p.B = 1, B
                layer.project.K, layer.project.C, layer.project.extra = I, layer.p.X * H, (layer.p.S - layer.p.X) * H
                sizes[4 * n] = I * padded(layer.p.X * H, k) * size
                sizes[4 * n + 1] = layer.p.G * padded(H, k) * P * size
                sizes[4 * n + 2] = layer.p.S * H * size
                sizes[4 * n + 3] = padded(P, k) * H * size if layer.p.phases == 2 else 0
            sizes[4 * layers], sizes[4 * layers + 1] = B * MAX_SLOTS * H * size, B * H * size
            self.block = workspace_take(4 * layers + 2, sizes, parts)
        if self.block != NULL:
            for n in range(layers):
                layer = &self.job.layer[n]
                layer.project.w, layer.p.w_step, layer.project.bias = parts[4 * n], parts[4 * n + 1], parts[4 * n + 2]
                layer.project.out = layer.p.gates = packed_rows(parts[4 * layers], B, layer.p.S * H, NULL)
                if layer.p.phases == 2:
                    layer.p.w_m, layer.p.m = parts[4 * n + 3], packed_rows(parts[4 * layers + 1], B, H, NULL)
        free(sizes)
        free(parts)
        if self.block == NULL:
            raise MemoryError("no memory for the packed weights")
        self.refresh()

    def refresh(self):
        """Take over the layer's present weights; the state stays."""
        cdef Blocks w_ih, w_hh, w_m
        cdef Step *layer
        cdef Cell cell
        cdef int n
        if self.block == NULL:
            raise RuntimeError("this stream was never set up: its __init__ has not run")
        for n in range(self.job.layers):
            cell = self.cells[n]
            layer = &self.job.layer[n]
            w_ih = window(&layer.p, False, data(cell.weight_ih), layer.project.K)
            w_hh = step_window(&layer.p, data(cell.weight_hh))
            if layer.p.phases == 2:
                w_m = second_window(&layer.p, data(getattr(cell, cell.name_m)))
            pack_for_forward(self.job.k, &layer.p, &w_ih, <void *>layer.project.w, &w_hh, <void *>layer.p.w_step, &w_m,
                             <void *>layer.p.w_m, 0, 1)
            add_biases(self.job.k, &layer.p, data(cell.bias_ih), data(cell.bias_hh), <void *>layer.project.bias)

    @property
    def h(self):
        """The state h [L, B, P], which may be written into."""
        return self.hs[self.now]

    cdef void run(self, cnp.ndarray x, cnp.ndarray y):
        """One step from x [B, I] to y [B, P], rows without gaps."""
        cdef Step *layer
        cdef Py_ssize_t B = self.job.layer.p.B, H = self.job.layer.p.H, P = self.job.layer.p.P, n
        cdef Py_ssize_t size = self.job.k.real_size, nbytes = B * P * size
        cdef char *before = <char *>data(self.hs) + self.now * self.job.layers * nbytes
        cdef char *after = <char *>data(self.hs) + (1 - self.now) * self.job.layers * nbytes
        cdef char *c = <char *>data(self.c)
        cdef Plan planned
        global runs

        runs += 1
        for n in range(self.job.layers):
            layer = &self.job.layer[n]
            layer.project.a = packed_rows(data(x) if n == 0 else after + (n - 1) * nbytes, B, layer.project.K, NULL)
            layer.p.h0 = before + n * nbytes
            layer.p.y = packed_rows(after + n * nbytes, B, P, NULL)
            if c != NULL:
                layer.p.c0 = c + n * B * H * size
                layer.p.c = packed_rows(c + n * B * H * size, B, H, NULL)
        layer = self.job.layer
        planned = plan(self.job.k, self.job.layers, 2.0 * B * 2 * P * layer.p.X * H, 1, hidden_groups(self.job.k, &layer.p),
                       2.0 * P * H * layer.p.X * size, layer.p.phases, STEP_START_NS)
        threads_run(step_worker, &self.job, planned.workers)
        memcpy(data(y), after + (self.job.layers - 1) * nbytes, nbytes)
        self.now = 1 - self.now

    def __call__(self, x):
        """y [B, P] of the next step, the caller's own, from x [B, I]; [I] to [P] where B is 1."""
        cdef Step *layer = self.job.layer
        cdef cnp.npy_intp sizes[2]
        cdef int ndim
        if self.block == NULL:
            raise RuntimeError("this stream was never set up: its __init__ has not run")
        if not is_plain(x, self.typenum, layer.p.B, layer.project.K):
            x = self._check(x)
        ndim = cnp.PyArray_NDIM(x)
        sizes[0], sizes[ndim - 1] = layer.p.B, layer.p.P
        y = cnp.PyArray_EMPTY(ndim, sizes, self.typenum, 0)
        self.run(x, y)
        return y

cdef inline bint is_plain(x, int typenum, Py_ssize_t B, Py_ssize_t I):
    """Whether x is an aligned C-contiguous array [B, I], or [I] where B is 1, of this type."""
    if not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != typenum or not cnp.PyArray_ISCARRAY_RO(x):
        return False
    if cnp.PyArray_NDIM(x) == 2:
        return cnp.PyArray_DIM(x, 0) == B and cnp.PyArray_DIM(x, 1) == I
    return cnp.PyArray_NDIM(x) == 1 and B == 1 and cnp.PyArray_DIM(x, 0) == I
