# The thread schedule: how many workers a call gets, how they share it, and when a long call looks for signals.

cdef enum:
    FLOPS_PER_NS = 14           # of one lane of a core, at most
    L3_BYTES_PER_NS = 60        # to one core
    BARRIER_NS = 600
    START_NS = 40000            # what several threads must save at least: the cost of their start, and of waiting for a core
    STEP_START_NS = 8000        # the same for a stream, whose calls follow each other
    ROWS_WORTH_SHARING = 8      # a worker's least share of a flat product's rows; with fewer, workers share its columns
    LEAST_ROWS = 128            # rows projected at once, so that large weights are not read for few rows
    GATES_BYTES = 1 << 19       # gates of one chunk of time: half of a common L2
    GRADIENT_ROWS = 256         # rows packed at once for the weights' gradients
    SCAN_STEPS = 16             # of one call, in a cell whose steps wait for no product: so that the call costs little
    LAST_CHUNK = 0x7fffffff     # no chunk of time has a higher number

cdef struct Schedule:
    int workers, split

cdef double efficiency(Py_ssize_t rows) noexcept nogil:
    """The share of the peak that a tile of this number of rows reaches, as measured. With few rows it waits for weights."""
    return 0.5 if rows <= 1 else 0.7 if rows == 2 else 0.8 if rows == 3 else 0.9

cdef Schedule schedule(const Kernels *k, int most, double steps, double step_flops, Py_ssize_t B, Py_ssize_t groups,
                       double weight_bytes, int phases, double start) noexcept nogil:
    """The number of workers, at most `most`, and their split: the shortest of three estimates, in nanoseconds per step.

    A step costs its flops at the efficiency of the tile, or the time to read the weights from the L3 cache where they exceed
    the L2, whichever is longer. Split by rows, every worker reads all weights, for fewer rows. Split by units, each reads its
    part and waits at a barrier after each phase. More workers than cores never help. A call stays on one thread if several
    would save no more than their start costs."""
    cdef double rate = FLOPS_PER_NS * k.lanes * k.speed
    cdef double slow = weight_bytes / L3_BYTES_PER_NS if weight_bytes > l2 else 0
    cdef double alone = max(step_flops / (rate * efficiency(B)), slow), by_rows, by_units, best
    cdef int forced = shared_int(&forced_split)
    cdef int n = min(most, cores) if forced == COST_MODEL else most
    cdef int n_rows = <int>max(1, min(n, B)), n_units = <int>max(1, min(n, groups))
    cdef Py_ssize_t rows = max(1, (B + n_rows - 1) // n_rows), units = (groups + n_units - 1) // n_units
    if forced != COST_MODEL:
        return Schedule(n_rows if forced == BY_ROWS else n_units, forced)
    by_rows = max(step_flops * rows / max(1, B) / (rate * efficiency(rows)), slow) if n_rows > 1 else alone
    by_units = (max(step_flops * units / groups / (rate * efficiency(B)), slow * units / groups) + phases * BARRIER_NS
                if n_units > 1 else alone)
    best = min(by_rows, by_units)
    if (alone - best) * steps < start or alone < 1.05 * best:
        return Schedule(1, BY_ROWS)
    return Schedule(n_rows, BY_ROWS) if by_rows <= by_units else Schedule(n_units, BY_UNITS)

cdef int workers_for(double ns, Py_ssize_t shares) noexcept nogil:
    """The number of workers for so many nanoseconds of work in independent shares, without products."""
    cdef bint forced = shared_int(&forced_split) != COST_MODEL
    cdef int most = shared_int(&threads), n = <int>max(1, min(most if forced else min(most, cores), shares))
    return n if forced or ns - ns / n >= START_NS else 1

cdef Schedule schedule_pass(const Kernels *k, int threads, const Layer *layer, const Ragged *ragged, Py_ssize_t V,
                            int passes, const Phases *phases) noexcept nogil:
    """The schedule of a forward (`passes` 1) or backward (2) pass. V is the rows of an embedded input's table, else 0."""
    cdef const Pass *p = &layer.p
    cdef Py_ssize_t T = ragged.T
    cdef double rows = <double>ragged.rows / T                 # in the product of the state of a step, on average
    cdef double projected = <double>V / T if V else rows       # in the product of the input of a step
    cdef Py_ssize_t state = head_width(p) if p.G else 0        # the length of the state's product
    return schedule(k, threads, passes * T, 2.0 * (projected * layer.input_size + rows * state) * p.X * p.H,
                    max(1, ragged.rows // T), phases.groups[0], <double>p.X * packed_size(k, head_width(p), p.H), phases.count,
                    START_NS)

cdef Py_ssize_t chunk_steps(const Kernels *k, Py_ssize_t row_numbers, Py_ssize_t B, Py_ssize_t T, Py_ssize_t nbytes,
                            Py_ssize_t least) noexcept nogil:
    """The number of steps whose rows of `row_numbers` numbers fill about nbytes, but at least `least` rows."""
    cdef Py_ssize_t steps = max(nbytes // (B * row_numbers * k.real_size), least // B)
    return max(1, min(steps, T))

cdef inline void product_share(const Kernels *k, const Product *p, Py_ssize_t q0, Py_ssize_t q1, int worker,
                               int workers, void *scratch) noexcept nogil:
    """A worker's share of flat rows q0..q1; of the columns where the rows are few. scratch: of this worker alone."""
    cdef Py_ssize_t groups = k.groups_of(p.C), q = q1 - q0
    if q >= ROWS_WORTH_SHARING * workers:
        k.product(p, q0 + share(q, worker, workers), q0 + share(q, worker + 1, workers), 0, groups, scratch)
    else:
        k.product(p, q0, q1, share(groups, worker, workers), share(groups, worker + 1, workers), scratch)

cdef void look_for_signals(Interrupts *interrupts, int chunk) noexcept nogil:
    """Worker 0, the thread that holds the caller's Python state, calls this before the barrier at the end of a chunk. Signal
    handlers run in the caller's floating-point environment."""
    cdef uint64_t ours
    if interrupts_due(interrupts):
        ours = fp_enter()
        fp_leave(interrupts.environment)
        with gil:
            if signals_raise() < 0:
                interrupts_stop(interrupts, chunk)
        fp_leave(ours)
