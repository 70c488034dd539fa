# How many workers a call gets and how they share it; when a long call looks for signals.

cdef enum:
    FLOPS_PER_NS = 14           # of one lane of a core at its best
    L3_BYTES_PER_NS = 60        # to one core
    BARRIER_NS = 600
    START_NS = 40000            # what several threads must save: their start, and the times when a core is taken
    STEP_START_NS = 8000        # the same for a stream, whose calls follow each other
    ROWS_WORTH_SHARING = 8      # a worker's least share of a flat product's rows: with fewer it takes columns
    LEAST_ROWS = 128            # projected at once, so that large weights are not read for a few rows
    GATES_BYTES = 1 << 19       # gates of one chunk of time: half of a common L2
    GRADIENT_ROWS = 256         # rows packed at once for the weights' gradients
    LAST_CHUNK = 0x7fffffff     # no chunk of time has a higher number

cdef struct Plan:
    int workers, split

cdef double efficiency(Py_ssize_t rows) noexcept nogil:
    """The share of the peak that a tile of so many rows reaches, measured: few rows wait for their weights."""
    return 0.5 if rows <= 1 else 0.7 if rows == 2 else 0.8 if rows == 3 else 0.9

cdef Plan plan(const Kernels *k, int most, double steps, double step_flops, Py_ssize_t B, Py_ssize_t groups,
               double weight_bytes, int phases, double start) noexcept nogil:
    """How many workers, `most` at most, a call gets, and how they split it: the shortest of three estimates, in nanoseconds
    per step.

    A step costs its flops at the tile's efficiency, or the weights' way from the L3 cache where they exceed the L2,
    whichever is longer. Split by rows, every worker reads all weights, for fewer rows; split by units, each reads its
    part and waits at a barrier after each phase. More workers than cores never help; what would save no more than a start
    costs stays on one thread."""
    cdef double rate = FLOPS_PER_NS * k.lanes
    cdef double slow = weight_bytes / L3_BYTES_PER_NS if weight_bytes > l2 else 0
    cdef double alone = max(step_flops / (rate * efficiency(B)), slow), by_rows, by_units, best
    cdef int n = min(most, cores) if forced_split < 0 else most
    cdef int n_rows = <int>max(1, min(n, B)), n_units = <int>max(1, min(n, groups))
    cdef Py_ssize_t rows = max(1, (B + n_rows - 1) // n_rows), units = (groups + n_units - 1) // n_units
    if forced_split >= 0:
        return Plan(n_rows if forced_split == BY_ROWS else n_units, forced_split)
    by_rows = max(step_flops * rows / max(1, B) / (rate * efficiency(rows)), slow) if n_rows > 1 else alone
    by_units = (max(step_flops * units / groups / (rate * efficiency(B)), slow * units / groups) + phases * BARRIER_NS
                if n_units > 1 else alone)
    best = min(by_rows, by_units)
    if (alone - best) * steps < start or alone < 1.05 * best:
        return Plan(1, BY_ROWS)
    return Plan(n_rows, BY_ROWS) if by_rows <= by_units else Plan(n_units, BY_UNITS)

cdef Py_ssize_t chunk_steps(const Kernels *k, Py_ssize_t row_numbers, Py_ssize_t B, Py_ssize_t T, Py_ssize_t nbytes,
                            Py_ssize_t least) noexcept nogil:
    """Steps whose rows of so many numbers fill about nbytes, and no fewer than `least` rows."""
    cdef Py_ssize_t steps = max(nbytes // (B * row_numbers * k.real_size), least // B)
    return max(1, min(steps, T))

cdef void look_for_signals(Interrupts *interrupts, int chunk) noexcept nogil:
    """Called by worker 0, the thread that holds the caller's Python state, before the barrier of this chunk, if it has
    one; handlers run in the caller's environment."""
    cdef uint64_t ours
    if interrupts_due(interrupts):
        ours = fp_enter()
        fp_leave(interrupts.environment)
        with gil:
            if signals_raise() < 0:
                interrupts_stop(interrupts, chunk)
        fp_leave(ours)
