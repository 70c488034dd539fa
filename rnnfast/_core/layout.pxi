# From NumPy arrays to what the kernels read: pointers, rows, shares; the slots of the cells (csrc/pass.h).

cdef inline Py_ssize_t padded(Py_ssize_t n, const Kernels *k) noexcept nogil:
    return (n + k.lanes - 1) // k.lanes * k.lanes

cdef inline void *at(const void *data, Py_ssize_t n, const Kernels *k) noexcept nogil:
    """The n-th number behind data."""
    return <char *>data + n * k.real_size

cdef inline void *data(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline void *entry(array, Py_ssize_t n) noexcept:
    """Entry n of an array's first axis; NULL for None."""
    return NULL if array is None else <char *>data(array) + n * cnp.PyArray_STRIDE(<cnp.ndarray>array, 0)

cdef inline Rows rows_of(array) noexcept:
    """The rows of a [T, B, N] array whose last axis is contiguous."""
    cdef cnp.ndarray a = <cnp.ndarray>array
    cdef Py_ssize_t size = cnp.PyArray_ITEMSIZE(a)
    return Rows(cnp.PyArray_DATA(a), cnp.PyArray_DIM(a, 1), cnp.PyArray_STRIDE(a, 0) // size,
                cnp.PyArray_STRIDE(a, 1) // size, NULL, NULL)

cdef inline Rows packed_rows(void *data, Py_ssize_t B, Py_ssize_t N, const Py_ssize_t *start) noexcept nogil:
    """Rows of N numbers without gaps."""
    return Rows(data, B, B * N, N, NULL, start)

cdef inline Rows part(Rows rows, Py_ssize_t b0, Py_ssize_t b1, const Py_ssize_t *start, const Kernels *k) noexcept nogil:
    """The rows b0..b1 of each step, of which there are as many as `start` says."""
    if rows.place == NULL:
        rows.data = at(rows.data, b0 * rows.b_stride, k)
    else:
        rows.place += b0
    rows.B, rows.start = b1 - b0, start
    return rows

cdef inline Rows later(Rows rows, Py_ssize_t steps, const Kernels *k) noexcept nogil:
    """The same rows, counting steps from another one on."""
    rows.data = at(rows.data, steps * rows.s_stride, k)
    return rows

cdef inline Rows last_first(Rows rows, Py_ssize_t steps, const Py_ssize_t *start, const Kernels *k) noexcept nogil:
    """The rows of these steps, the last step first."""
    rows = later(rows, steps - 1, k)
    rows.s_stride, rows.start = -rows.s_stride, start
    return rows

cdef inline Py_ssize_t flat(const Rows *rows, Py_ssize_t s) noexcept nogil:
    """Flat rows before step s."""
    return rows.start[s] if rows.start != NULL else s * rows.B

cdef inline Py_ssize_t rows_in_step(const Rows *rows, Py_ssize_t s) noexcept nogil:
    return rows.start[s + 1] - rows.start[s] if rows.start != NULL else rows.B

cdef inline void *row_at(const Rows *rows, Py_ssize_t s, Py_ssize_t b, const Kernels *k) noexcept nogil:
    return at(rows.data, s * rows.s_stride + (rows.place[b] if rows.place != NULL else b * rows.b_stride), k)

cdef inline Py_ssize_t share(Py_ssize_t n, int worker, int workers) noexcept nogil:
    """Where this worker's share of n things starts."""
    return n * worker // workers

cdef inline void product_share(const Kernels *k, const Product *p, Py_ssize_t q0, Py_ssize_t q1, int worker,
                               int workers) noexcept nogil:
    """A worker's share of flat rows q0..q1; of the columns where the rows are few."""
    cdef Py_ssize_t groups = k.groups_of(p.C), q = q1 - q0
    if q >= ROWS_WORTH_SHARING * workers:
        k.product(p, q0 + share(q, worker, workers), q0 + share(q, worker + 1, workers), 0, groups)
    else:
        k.product(p, q0, q1, share(groups, worker, workers), share(groups, worker + 1, workers))

cdef const Kernels *kernels_for(array) noexcept:
    return chosen.float32 if cnp.PyArray_ITEMSIZE(<cnp.ndarray>array) == 4 else chosen.float64

# ---- the cells' slots (csrc/pass.h) ------------------------------------------------------------------------------

cdef void set_cell(Pass *p, int cell) noexcept nogil:
    p.cell = cell
    p.S = 1 if cell == RNN else 4 if cell == LSTM or cell == GRU else 3
    p.X = 3 if cell == GRU else p.S
    p.G = 2 if cell == GRU_BEFORE else p.X

cdef Blocks window(const Pass *p, bint state_side, const void *data, Py_ssize_t width) noexcept nogil:
    """The blocks of a weight or bias in the order of the slots: the GRU's r, z, n stand in slots n, r, z | q. Those of the
    state's side end with the last slot."""
    cdef Blocks w
    cdef int n
    memset(&w, 0, sizeof(w))
    w.data = data
    w.height = p.H
    w.width = width
    w.count = <int>p.X
    for n in range(p.X):
        w.order[n] = (n + 2) % 3 if p.cell == GRU_BEFORE or p.cell == GRU and not state_side else n
    return w

cdef Blocks step_window(const Pass *p, const void *data) noexcept nogil:
    """The blocks of W_hh that the state's product of a step has: those of the last G slots."""
    cdef Blocks w = window(p, True, data, p.P)
    cdef int n
    w.count = <int>p.G
    for n in range(p.G):
        w.order[n] = w.order[p.X - p.G + n]
    return w

cdef Blocks second_window(const Pass *p, const void *data) noexcept nogil:
    """W_m, that of the second product: all of W_hr, or of the GRU's W_hh the block n."""
    cdef Blocks w
    memset(&w, 0, sizeof(w))
    w.data, w.height, w.width, w.count = data, p.P, p.H, 1
    w.order[0] = 2 if p.cell == GRU_BEFORE else 0
    return w

cdef void begin(void *state, const void *given, size_t nbytes) noexcept nogil:
    """state = what is given, or zero."""
    if given == NULL:
        memset(state, 0, nbytes)
    elif given != state:
        memcpy(state, given, nbytes)
