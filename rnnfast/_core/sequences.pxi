# Which steps of which rows there are where a batch's sequences are of several lengths, and where episodes begin.

cdef struct Ragged:
    Py_ssize_t T               # steps of the longest sequence
    Py_ssize_t rows            # how many (step, row) pairs there are
    Py_ssize_t *order          # [B] row b of a pass is sequence order[b]; NULL: all have T steps, and row b is sequence b
    Py_ssize_t *steps          # [B] of each row, longest first
    Py_ssize_t *start          # [T + 1] flat rows before each step
    Py_ssize_t *start_back     # [T + 1] the same, counted from the last step
    unsigned char *cut[2]      # [T, B] forward, reversed: the state is set to zero before step s; NULL: nowhere

cdef inline Py_ssize_t steps_of(const Ragged *ragged, Py_ssize_t b) noexcept nogil:
    return ragged.steps[b] if ragged.steps != NULL else ragged.T


@cython.auto_pickle(False)
cdef class Sequences:
    """The shape of a batch: how long its sequences are, and the places where their states are set to zero.

    A pass runs the longest sequences first, so that the rows of a step are always the first ones and those that have ended
    cost nothing. The steps of a reversed pass count from each sequence's own end.
    """

    cdef Ragged ragged
    cdef readonly Py_ssize_t T, B
    cdef readonly object lengths, reset

    def __init__(self, Py_ssize_t T, Py_ssize_t B, lengths=None, reset=None, behind=None):
        """lengths [B] of intp or None, reset [T, B] of bool or None; checked. behind [B] of bool or None: a reset at step T,
        which a reversed pass comes from."""
        cdef Ragged *r = &self.ragged
        cdef Py_ssize_t b = B, s
        cdef cnp.ndarray order, steps
        self.T, self.B, self.lengths, self.reset = T, B, lengths, reset
        r.T, r.rows = T, T * B
        if lengths is not None:
            order = np.argsort(-lengths, kind="stable")
            steps = lengths[order]
            r.T = steps[0] if B else 0
            r.order = <Py_ssize_t *>calloc(2 * B + 2 * (r.T + 1), sizeof(Py_ssize_t))
            if r.order == NULL:
                raise MemoryError("no memory for the order of the sequences")
            r.steps = r.order + B
            r.start = r.steps + B
            r.start_back = r.start + r.T + 1
            memcpy(r.order, data(order), B * sizeof(Py_ssize_t))
            memcpy(r.steps, data(steps), B * sizeof(Py_ssize_t))
            for s in range(r.T):
                while r.steps[b - 1] <= s:
                    b -= 1
                r.start[s + 1] = r.start[s] + b
            r.rows = r.start[r.T]
            for s in range(r.T):
                r.start_back[s + 1] = r.rows - r.start[r.T - 1 - s]
        if reset is not None:
            r.cut[0], r.cut[1] = <unsigned char *>calloc(r.T * B + 1, 1), <unsigned char *>calloc(r.T * B + 1, 1)
            if r.cut[0] == NULL or r.cut[1] == NULL:
                raise MemoryError("no memory for the resets")
            self.find_cuts(reset, behind)

    def __dealloc__(self):
        free(self.ragged.order)
        free(self.ragged.cut[0])
        free(self.ragged.cut[1])

    def part(self, Py_ssize_t s0, Py_ssize_t s1):
        """Those of the steps s0..s1 alone."""
        lengths = None if self.lengths is None else np.clip(self.lengths - s0, 0, s1 - s0)
        if self.reset is None:
            return Sequences(s1 - s0, self.B, lengths)
        behind = None
        if s1 < self.T:
            behind = self.reset[s1] if lengths is None else self.reset[s1] & (self.lengths > s1)
        return Sequences(s1 - s0, self.B, lengths, self.reset[s0:s1], behind)

    cdef void find_cuts(self, cnp.ndarray reset, behind):
        """A reset at t lies between the steps t - 1 and t of its sequence, whichever of them a pass takes first."""
        cdef Ragged *r = &self.ragged
        cdef const char *resets = <const char *>cnp.PyArray_DATA(reset)
        cdef Py_ssize_t t_stride = cnp.PyArray_STRIDE(reset, 0), b_stride = cnp.PyArray_STRIDE(reset, 1), b, t, column
        for b in range(self.B):
            column = (r.order[b] if r.order != NULL else b) * b_stride
            for t in range(steps_of(r, b)):
                if resets[t * t_stride + column]:
                    r.cut[0][t * self.B + b] = 1
                    if t > 0:
                        r.cut[1][(steps_of(r, b) - t) * self.B + b] = 1
            if behind is not None and behind[r.order[b] if r.order != NULL else b]:
                r.cut[1][b] = 1


cdef Ragged shape_of(Sequences sequences, Py_ssize_t T, Py_ssize_t B) noexcept:
    """That of a whole batch where no `sequences` are given."""
    cdef Ragged ragged
    if sequences is not None:
        return sequences.ragged
    memset(&ragged, 0, sizeof(ragged))
    ragged.T, ragged.rows = T, T * B
    return ragged

cdef void find_places(const Ragged *ragged, Py_ssize_t B, Py_ssize_t s_stride, Py_ssize_t b_stride, bint reverse,
                      Py_ssize_t *place) noexcept nogil:
    """place [B] OUT: where each row of a ragged pass has its first step."""
    cdef Py_ssize_t b
    for b in range(B):
        place[b] = ragged.order[b] * b_stride + ((ragged.steps[b] - 1) * s_stride if reverse else 0)

cdef Rows in_order(Rows rows, const Ragged *ragged, bint reverse, Py_ssize_t *place, const Kernels *k) noexcept nogil:
    """The rows of a [T, B, N] array as a pass takes them; place [B] OUT, if the batch is ragged."""
    if ragged.order == NULL:
        return last_first(rows, ragged.T, NULL, k) if reverse else rows
    find_places(ragged, rows.B, rows.s_stride, rows.b_stride, reverse, place)
    if reverse:
        rows.s_stride = -rows.s_stride
    rows.place, rows.start = place, ragged.start
    return rows

cdef Rows c_rows(cnp.ndarray c_steps, Py_ssize_t B, Py_ssize_t H, const Ragged *ragged, bint reverse, Py_ssize_t *place,
                 const Kernels *k):
    """The c of every step: a flat buffer in the pass's own order, or a [T, B, H] array in the caller's."""
    if cnp.PyArray_NDIM(c_steps) == 1:
        return packed_rows(data(c_steps), B, H, ragged.start)
    return in_order(rows_of(c_steps), ragged, reverse, place, k)

cdef void copy_last(const Rows *rows, const Ragged *ragged, Py_ssize_t N, void *out, const Kernels *k) noexcept nogil:
    """out [B, N] = the row of each sequence's last step; those without a step stay as they are."""
    cdef Py_ssize_t b, steps
    for b in range(rows.B):
        steps = steps_of(ragged, b)
        if steps:
            memcpy(at(out, (ragged.order[b] if ragged.order != NULL else b) * N, k), row_at(rows, steps - 1, b, k), N * k.real_size)

cdef void clear_ended(Rows rows, const Ragged *ragged, Py_ssize_t T, Py_ssize_t N, const Kernels *k) noexcept nogil:
    """Zeros behind the end of each sequence of a [T, B, N] array, given as the caller has it."""
    cdef Py_ssize_t b, t
    if ragged.order != NULL:
        for b in range(rows.B):
            for t in range(ragged.steps[b], T):
                memset(row_at(&rows, t, ragged.order[b], k), 0, N * k.real_size)

cdef Py_ssize_t row_share(const Ragged *ragged, Py_ssize_t B, int worker, int workers) noexcept nogil:
    """The first row of a worker's share, which has about as many steps as the others'."""
    cdef Py_ssize_t b = 0, steps = 0
    if ragged.order == NULL:
        return share(B, worker, workers)
    while b < B and steps < share(ragged.rows, worker, workers):
        steps += ragged.steps[b]
        b += 1
    return b if worker < workers else B

cdef const Py_ssize_t *starts_of(const Ragged *ragged, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t *start) noexcept nogil:
    """start [T + 1] OUT: flat rows before each step, of the rows b0..b1 alone; NULL if every step has all."""
    cdef Py_ssize_t s
    if ragged.order == NULL:
        return NULL
    start[0] = 0
    for s in range(ragged.T):
        start[s + 1] = start[s] + max(0, min(b1, ragged.start[s + 1] - ragged.start[s]) - b0)
    return start
