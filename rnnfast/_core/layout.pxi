# From NumPy arrays to what the kernels read: pointers, rows, blocks of weights.

cdef inline void *at(const void *data, Py_ssize_t n, const Kernels *k) noexcept nogil:
    """The n-th number after data."""
    return <char *>data + n * k.real_size

cdef inline void *operand_at(const void *data, Py_ssize_t n, const Kernels *k) noexcept nogil:
    """The n-th packed operand after data."""
    return <char *>data + n * k.operand_size

cdef inline size_t packed_size(const Kernels *k, Py_ssize_t K, Py_ssize_t C) noexcept nogil:
    """Bytes of a packed weight of C columns, K numbers each."""
    return k.packed_depth(K) * padded_to(C, k.lanes) * k.operand_size

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

cdef inline Rows columns_of(Rows rows, Py_ssize_t number, Py_ssize_t D, Py_ssize_t P, const Kernels *k) noexcept nogil:
    """The columns of pass `number` in rows [.., D*P], which have those of all D directions side by side."""
    rows.data = at(rows.data, number % D * P, k)
    return rows

cdef inline Rows batch_part(Rows rows, Py_ssize_t b0, Py_ssize_t b1, const Py_ssize_t *start, const Kernels *k) noexcept nogil:
    """Rows b0..b1 of each step; `start` counts them as in Rows."""
    if rows.place == NULL:
        rows.data = at(rows.data, b0 * rows.b_stride, k)
    else:
        rows.place += b0
    rows.B, rows.start = b1 - b0, start
    return rows

cdef inline Rows from_step(Rows rows, Py_ssize_t steps, const Kernels *k) noexcept nogil:
    """The same rows, with step 0 moved to this step."""
    rows.data = at(rows.data, steps * rows.s_stride, k)
    return rows

cdef inline Rows chunk_rows(void *data, int chunk, Py_ssize_t steps, Py_ssize_t s0, Py_ssize_t B, Py_ssize_t N,
                            const Kernels *k) noexcept nogil:
    """Rows of N numbers for the steps from s0 on: two buffers of so many steps take turns."""
    return from_step(packed_rows(at(data, chunk % 2 * steps * B * N, k), B, N, NULL), -s0, k)

cdef inline Rows last_first(Rows rows, Py_ssize_t steps, const Py_ssize_t *start, const Kernels *k) noexcept nogil:
    """The rows of these steps, the last step first."""
    rows = from_step(rows, steps - 1, k)
    rows.s_stride, rows.start = -rows.s_stride, start
    return rows

cdef inline void *row_at(const Rows *rows, Py_ssize_t s, Py_ssize_t b, const Kernels *k) noexcept nogil:
    return at(rows.data, row_offset(rows, s, b), k)

cdef inline void begin(void *state, const void *given, size_t nbytes) noexcept nogil:
    """state = `given`, or zero if it is NULL."""
    if given == NULL:
        memset(state, 0, nbytes)
    elif given != state:
        memcpy(state, given, nbytes)

cdef inline int kind_for(array, int precision) noexcept:
    """The kind of kernels for the array's dtype, in this precision if that is float32."""
    return precision if cnp.PyArray_TYPE(<cnp.ndarray>array) == cnp.NPY_FLOAT32 else FLOAT64

cdef inline const Kernels *kernels_for(array, int precision=FLOAT32) noexcept:
    return shared_kernels(&in_use[kind_for(array, precision)])


# ---- the blocks of weights, in the order of the slots (csrc/cells/table.h) -----------------------------------------

cdef Blocks blocks(const void *data, Py_ssize_t height, Py_ssize_t width, int count, const int *order) noexcept nogil:
    cdef Blocks w
    memset(&w, 0, sizeof(w))
    w.data, w.height, w.width, w.stride, w.heads, w.count = data, height, width, height, 1, count
    memcpy(w.order, order, count * sizeof(int))
    return w

cdef Blocks input_window(const Pass *p, const void *data, Py_ssize_t width) noexcept nogil:
    """W_ih or b_ih: its blocks in the order of the first X slots."""
    return of_heads(p, blocks(data, p.H, width, <int>p.X, cell_table[p.cell].x_block))

cdef Blocks state_window(const Pass *p, const void *data, Py_ssize_t width, Py_ssize_t count) noexcept nogil:
    """W_hh or b_hh: the blocks of the last `count` slots, G for the product of a step, X for a bias."""
    return of_heads(p, blocks(data, p.H, width, <int>count, cell_table[p.cell].h_block + p.X - count))

cdef inline Blocks of_heads(const Pass *p, Blocks w) noexcept nogil:
    """The same window in the order of the gates: the slots of each head in turn."""
    w.height, w.heads = p.D, p.heads
    return w

cdef Blocks head_window(const Pass *p, const void *data, const void *scales, int head, const Kernels *k) noexcept nogil:
    """W_hh: the rows of one head in the slots of the product of a step."""
    cdef Py_ssize_t row = head * p.D
    cdef Blocks w = state_window(p, data, head_width(p), p.G)
    w.data, w.heads = at(data, row * w.width, k), 1
    w.scales = NULL if scales == NULL else at(scales, row, k)
    return w

cdef Blocks second_window(const Pass *p, const void *data) noexcept nogil:
    """W_m: one block, of the weight that the table names."""
    return blocks(data, p.P, p.H, 1, &cell_table[p.cell].m_block)
