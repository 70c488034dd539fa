# Ragged batches: which steps each row has, and where episodes begin.

cdef struct Ragged:
    Py_ssize_t T               # steps of the longest sequence
    Py_ssize_t rows            # how many (step, row) pairs there are
    Py_ssize_t *order          # [B] row b of a pass is sequence order[b]; NULL: all have T steps, and row b is sequence b
    Py_ssize_t *steps          # [B] of each row, longest first
    Py_ssize_t *start          # [T + 1] flat rows before each step
    Py_ssize_t *start_back     # [T + 1] the same, counted from the last step
    unsigned char *reset[2]      # [T, B] forward, reversed: the state is set to zero before step s; NULL: nowhere

cdef inline Py_ssize_t steps_of(const Ragged *ragged, Py_ssize_t b) noexcept nogil:
    return ragged.steps[b] if ragged.steps != NULL else ragged.T

cdef Ragged whole(Py_ssize_t T, Py_ssize_t B) noexcept nogil:
    """A batch whose sequences all have T steps."""
    cdef Ragged ragged
    memset(&ragged, 0, sizeof(ragged))
    ragged.T, ragged.rows = T, T * B
    return ragged

cdef void set_lengths(Ragged *r, const Py_ssize_t *lengths, Py_ssize_t B, Py_ssize_t *memory) noexcept nogil:
    """The sequences of a batch, longest first and otherwise in their order; memory [2 * B + 2 * (T + 1)], T the longest."""
    cdef Py_ssize_t b, s, place, before = 0
    r.T = 0
    for b in range(B):
        r.T = max(r.T, lengths[b])
    r.order, r.steps, r.start = memory, memory + B, memory + 2 * B
    r.start_back = r.start + r.T + 1
    memset(r.start, 0, (r.T + 1) * sizeof(Py_ssize_t))
    for b in range(B):  # first, start counts the sequences of each length, then those that are longer
        r.start[lengths[b]] += 1
    for s in range(r.T, -1, -1):
        place = r.start[s]
        r.start[s], before = before, before + place
    for b in range(B):
        place = r.start[lengths[b]]
        r.order[place], r.steps[place] = b, lengths[b]
        r.start[lengths[b]] += 1
    r.start[0], b = 0, B
    for s in range(r.T):
        while r.steps[b - 1] <= s:
            b -= 1
        r.start[s + 1] = r.start[s] + b
    r.rows = r.start[r.T]
    r.start_back[0] = 0
    for s in range(r.T):
        r.start_back[s + 1] = r.rows - r.start[r.T - 1 - s]

cdef void set_resets(Ragged *r, Py_ssize_t B, const unsigned char *resets, Py_ssize_t t_stride, Py_ssize_t b_stride,
                   const unsigned char *behind, unsigned char *memory) noexcept nogil:
    """A reset at t is a border between the steps t - 1 and t of its sequence, whichever of them a pass takes first.

    resets: [t, b] at t * t_stride + b * b_stride; behind [B]: the resets at step T, or NULL: none; memory [2 * T * B]."""
    cdef Py_ssize_t b, t, sequence
    r.reset[0], r.reset[1] = memory, memory + r.T * B
    memset(memory, 0, 2 * r.T * B)
    if r.T == 0:
        return
    for b in range(B):
        sequence = r.order[b] if r.order != NULL else b
        for t in range(steps_of(r, b)):
            if resets[t * t_stride + sequence * b_stride]:
                r.reset[0][t * B + b] = 1
                if t > 0:
                    r.reset[1][(steps_of(r, b) - t) * B + b] = 1
        if behind != NULL and behind[sequence]:
            r.reset[1][b] = 1


@cython.auto_pickle(False)
cdef class Sequences:
    """The shape of a batch: how long its sequences are, and the places where their states are set to zero.

    A pass takes the longest sequences first, so that the rows of a step are always the first ones, and sequences that have
    ended cost nothing. The steps of a reversed pass count from each sequence's own end.
    """

    cdef Ragged ragged
    cdef Py_ssize_t *places     # what ragged points to
    cdef unsigned char *resets
    cdef readonly Py_ssize_t T, B
    cdef readonly object lengths, reset

    def __init__(self, Py_ssize_t T, Py_ssize_t B, lengths=None, reset=None, behind=None):
        """lengths [B] of intp or None, reset [T, B] of bool or None; checked. behind [B] of bool or None: a reset at step T,
        where a reversed pass comes from."""
        cdef cnp.ndarray behinds
        self.T, self.B, self.lengths, self.reset = T, B, lengths, reset
        self.ragged = whole(T, B)
        if lengths is not None:
            lengths = np.ascontiguousarray(lengths)
            self.places = <Py_ssize_t *>malloc((2 * B + 2 * (T + 1)) * sizeof(Py_ssize_t))
            if self.places == NULL:
                raise MemoryError("no memory for the order of the sequences")
            set_lengths(&self.ragged, <const Py_ssize_t *>data(lengths), B, self.places)
        if reset is not None:
            self.resets = <unsigned char *>malloc(2 * T * B + 1)
            if self.resets == NULL:
                raise MemoryError("no memory for the resets")
            behinds = None if behind is None else np.ascontiguousarray(behind)
            set_resets(&self.ragged, B, <const unsigned char *>data(reset), cnp.PyArray_STRIDE(reset, 0),
                     cnp.PyArray_STRIDE(reset, 1), <const unsigned char *>data(behinds), self.resets)

    def __dealloc__(self):
        free(self.places)
        free(self.resets)

    def part(self, Py_ssize_t s0, Py_ssize_t s1):
        """The lengths and resets of the steps s0..s1 alone."""
        lengths = None if self.lengths is None else np.clip(self.lengths - s0, 0, s1 - s0)
        if self.reset is None:
            return Sequences(s1 - s0, self.B, lengths)
        behind = None
        if s1 < self.T:
            behind = self.reset[s1] if lengths is None else self.reset[s1] & (self.lengths > s1)
        return Sequences(s1 - s0, self.B, lengths, self.reset[s0:s1], behind)


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

cdef void copy_last(const Rows *rows, const Ragged *ragged, Py_ssize_t N, void *out, const Kernels *k) noexcept nogil:
    """out [B, N] = the row of each sequence's last step; those without a step stay as they are."""
    cdef Py_ssize_t b, steps
    for b in range(rows.B):
        steps = steps_of(ragged, b)
        if steps:
            memcpy(at(out, (ragged.order[b] if ragged.order != NULL else b) * N, k), row_at(rows, steps - 1, b, k), N * k.real_size)

cdef void clear_ended(Rows rows, const Ragged *ragged, Py_ssize_t T, Py_ssize_t N, const Kernels *k) noexcept nogil:
    """Writes zeros past the end of each sequence of a [T, B, N] array in the caller's order."""
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
