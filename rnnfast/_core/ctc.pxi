# Connectionist temporal classification (Graves et al. 2006): losses of sequences of logits, and their gradients.
#
# A sequence of L labels has S = 2L + 1 states: its labels, with a blank before, between and after them. A path visits one
# state a step. It stays, moves to the next state, or skips a blank between two different labels. With p[t][s] the probability
# of the state's class at step t, all in logarithms:
#
#     alpha[t][s] = p[t][s] Σ alpha[t-1][s'], s' = s, s-1 and perhaps s-2     all paths to state s at step t
#     beta[t][s]  = Σ p[t+1][s'] beta[t+1][s'], s' = s, s+1 and perhaps s+2   all paths from there to the end
#
# The sequence's probability is P = Σ alpha of the two last states at the last step. A state's share of it at step t is
# alpha beta / P, and the gradient of -log P by a logit is softmax(y) less the shares of the states of its class.
# A sequence is one worker's, in double, so its results depend on nothing else. The states of a step go through the vector
# function exp together.

cdef enum:
    CTC_NS = 20               # of one state at one step, both recursions
    CTC_STEPS = 64            # between two looks for signals
    PAD = 2                   # states without a path on both sides of a row of states
    EXP = 0                   # of the vector functions of Kernels

cdef struct CtcJob:
    const Kernels *k          # of float64
    const double *y           # [T, B, V] logits: any strides of the first two axes
    double *dy                # [T, B, V] of the same strides; zero where the mask drops a step
    Py_ssize_t T, B, V, t_stride, b_stride
    const uint8_t *mask       # [T, B]: 0 where a step is skipped; NULL: none is
    const Py_ssize_t *labels  # of all sequences, one after the other
    const Py_ssize_t *start   # [B + 1] where each sequence's labels begin
    Py_ssize_t blank
    double scale              # of the gradients
    double impossible         # the gradient where no path exists
    double *losses            # [B] OUT
    void *scratch             # [workers][scratch_size] doubles
    Py_ssize_t scratch_size, states
    Interrupts interrupts

cdef struct CtcPaths:         # of one sequence, in a worker's part of the scratch memory; logarithms
    Py_ssize_t N, S, width    # steps, states, numbers of a row of states with its pads
    double *alpha             # [T, width] first row, without its pad
    double *beta              # [width] with p, without its pad
    double *p                 # [S] of a step
    double *skip              # [S + PAD] 0 where a path may come from two states before, else -infinity
    double *norm              # [T] of the softmax
    double *most              # [S]
    double *terms             # [2 S]
    double *of_class          # [V] the shares of each class
    double *exponentials      # [V]
    Py_ssize_t *kept          # [T] the steps that are not skipped
    Py_ssize_t *classes       # [S]

cdef Py_ssize_t ctc_scratch(const CtcJob *job) noexcept nogil:
    """Numbers of one worker's scratch memory."""
    cdef Py_ssize_t width = job.states + 2 * PAD
    return (job.T + 7) * width + 2 * job.T + 2 * job.V

cdef CtcPaths ctc_paths(const CtcJob *job, Py_ssize_t b, int worker) noexcept nogil:
    """The states of sequence b, and its steps."""
    cdef CtcPaths w
    cdef const Py_ssize_t *label = job.labels + job.start[b]
    cdef Py_ssize_t s, t
    w.width = job.states + 2 * PAD
    w.N, w.S = 0, 2 * (job.start[b + 1] - job.start[b]) + 1
    w.alpha = <double *>job.scratch + worker * job.scratch_size + PAD
    w.beta = w.alpha + job.T * w.width
    w.p = w.beta + w.width - PAD
    w.skip = w.p + w.width
    w.most = w.skip + w.width
    w.terms = w.most + w.width
    w.classes = <Py_ssize_t *>(w.terms + 2 * w.width - 2 * PAD)
    w.kept = w.classes + job.states
    w.norm = <double *>(w.kept + job.T)
    w.of_class = w.norm + job.T
    w.exponentials = w.of_class + job.V
    for s in range(w.S):
        w.classes[s] = label[s >> 1] if s & 1 else job.blank
        w.skip[s] = 0 if s & 1 and s > 1 and w.classes[s] != w.classes[s - 2] else -INFINITY
    w.skip[w.S] = w.skip[w.S + 1] = -INFINITY
    for t in range(job.T):
        if job.mask == NULL or job.mask[t * job.B + b]:
            w.kept[w.N] = t
            w.N += 1
    return w

cdef void ctc_sums(const CtcPaths *w, const Kernels *k, const double *a, const double *b, const double *c, const double *skip,
                   Py_ssize_t S, double *out) noexcept nogil:
    """out[s] = log(e^a[s] + e^b[s] + e^(c[s] + skip[s])) of S states. out may be a."""
    cdef double more, top, third
    cdef Py_ssize_t s
    for s in range(S):
        third = c[s] + skip[s]
        more = max(a[s], b[s])
        top = max(more, third)
        w.most[s] = top
        w.terms[s] = 0 if top == -INFINITY else min(a[s], b[s]) - top
        w.terms[S + s] = 0 if top == -INFINITY else min(more, third) - top
    k.vmath[EXP](2 * S, w.terms, w.terms)
    for s in range(S):
        out[s] = w.most[s] + log(1 + w.terms[s] + w.terms[S + s])

cdef inline void ctc_emissions(const CtcPaths *w, const double *y, double norm, Py_ssize_t low, Py_ssize_t high) noexcept nogil:
    """p of states low..high, from the logits of a step."""
    cdef Py_ssize_t s
    for s in range(low, high):
        w.p[s] = y[w.classes[s]] - norm

cdef inline double ctc_exponentials(const CtcPaths *w, const Kernels *k, const double *y, double less, Py_ssize_t V) noexcept nogil:
    """e^(y - less) of the classes, and their sum."""
    cdef double total = 0
    cdef Py_ssize_t v
    for v in range(V):
        w.exponentials[v] = y[v] - less
    k.vmath[EXP](V, w.exponentials, w.exponentials)
    for v in range(V):
        total += w.exponentials[v]
    return total

cdef bint ctc_normalizes(const CtcPaths *w, const CtcJob *job, const double *y) noexcept nogil:
    """Computes `norm`; 0 if a logit is NaN or no softmax exists."""
    cdef double most, total = 0
    cdef const double *row
    cdef Py_ssize_t n, v
    for n in range(w.N):
        row, most = y + w.kept[n] * job.t_stride, -INFINITY
        for v in range(job.V):
            most = max(most, row[v])
        w.norm[n] = most + log(ctc_exponentials(w, job.k, row, most, job.V))
        total += w.norm[n] - w.norm[n]
    return total == 0

cdef inline bint ctc_stops(CtcJob *job, Py_ssize_t n, int worker) noexcept nogil:
    """Whether a signal handler has stopped the call. Worker 0 looks, now and then."""
    if n % CTC_STEPS:
        return False
    if worker == 0:
        look_for_signals(&job.interrupts, 1)
    return interrupts_stopped(&job.interrupts, LAST_CHUNK)

cdef inline Py_ssize_t ctc_low(const CtcPaths *w, Py_ssize_t n) noexcept nogil:
    """The first state from which a path reaches the end after step n."""
    return max(0, w.S - 2 * (w.N - n))

cdef inline Py_ssize_t ctc_high(const CtcPaths *w, Py_ssize_t n) noexcept nogil:
    """The number of states that a path from the beginning may have reached at step n."""
    return min(w.S, 2 * (n + 1))

cdef double ctc_forward(const CtcPaths *w, CtcJob *job, const double *y, int worker) noexcept nogil:
    """All alpha; log P."""
    cdef double *now = NULL
    cdef const double *before
    cdef Py_ssize_t n, s, low, high
    for n in range(w.N):
        if ctc_stops(job, n, worker):
            return 0
        now, before = w.alpha + n * w.width, w.alpha + (n - 1) * w.width
        low, high = ctc_low(w, n), ctc_high(w, n)
        ctc_emissions(w, y + w.kept[n] * job.t_stride, w.norm[n], low, high)
        if n == 0:
            memset(now, 0, high * sizeof(double))
        else:
            ctc_sums(w, job.k, before + low, before + low - 1, before + low - 2, w.skip + low, high - low, now + low)
        for s in range(low, high):
            now[s] += w.p[s]
        (now - 2)[0] = (now - 1)[0] = now[high] = now[high + 1] = -INFINITY
    ctc_sums(w, job.k, now + w.S - 1, now + w.S - 2, now + w.S - 2, w.skip + w.S, 1, w.beta)
    return w.beta[0]

cdef void ctc_backward(const CtcPaths *w, CtcJob *job, const double *y, double *dy, double total, int worker) noexcept nogil:
    """The gradient, step by step from the last; `total` is log P."""
    cdef const double *now
    cdef Py_ssize_t n, s, v, t, low, high
    for s in range(w.S + PAD):
        w.beta[s] = -INFINITY
    for n in range(w.N - 1, -1, -1):
        if ctc_stops(job, n, worker):
            return
        now, t = w.alpha + n * w.width, w.kept[n] * job.t_stride
        low, high = ctc_low(w, n), ctc_high(w, n)
        if n == w.N - 1:
            for s in range(low, high):
                w.beta[s] = 0
        else:
            ctc_sums(w, job.k, w.beta + low, w.beta + low + 1, w.beta + low + 2, w.skip + low + 2, high - low, w.beta + low)
        for s in range(low, high):
            w.terms[s] = now[s] + w.beta[s] - total
        job.k.vmath[EXP](high - low, w.terms + low, w.terms + low)
        memset(w.of_class, 0, job.V * sizeof(double))
        for s in range(low, high):
            w.of_class[w.classes[s]] += w.terms[s]
        ctc_emissions(w, y + t, w.norm[n], low, high)
        for s in range(low, high):
            w.beta[s] += w.p[s]
        ctc_exponentials(w, job.k, y + t, w.norm[n], job.V)
        for v in range(job.V):
            dy[t + v] = (w.exponentials[v] - w.of_class[v]) * job.scale

cdef void ctc_sequence(CtcJob *job, Py_ssize_t b, int worker) noexcept nogil:
    """The loss and the gradient of sequence b."""
    cdef CtcPaths w = ctc_paths(job, b, worker)
    cdef const double *y = job.y + b * job.b_stride
    cdef double *dy = job.dy + b * job.b_stride
    cdef double total = NAN, fill
    cdef Py_ssize_t n, v
    if w.N == 0:
        job.losses[b] = 0
        return
    if ctc_normalizes(&w, job, y):
        total = ctc_forward(&w, job, y, worker) if w.S <= 2 * w.N + 1 else -INFINITY  # each label needs a step
    job.losses[b] = -total
    if total - total == 0:
        ctc_backward(&w, job, y, dy, total, worker)
        return
    fill = NAN if total != total else job.impossible
    for n in range(w.N):
        for v in range(job.V):
            dy[w.kept[n] * job.t_stride + v] = fill

cdef void ctc_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef CtcJob *job = <CtcJob *>argument
    cdef Py_ssize_t b = worker
    while b < job.B and not interrupts_stopped(&job.interrupts, LAST_CHUNK):
        ctc_sequence(job, b, worker)
        b += workers


def ctc(y, mask, labels, start, Py_ssize_t blank, double scale, double impossible, losses, dy):
    """losses[b] = -log P of each sequence, and dy = their gradients times `scale`. A sequence without a step has a loss of 0.

    y [T, B, V] float64, last axis contiguous; mask [T, B] bool, C-contiguous, or None; labels and start [B + 1] intp; losses [B]
    OUT; dy of y's strides, INOUT: only steps that the mask keeps are written. Where no path exists, the loss is infinite, and its
    gradient `impossible`.
    """
    cdef CtcJob job
    cdef Rows rows = rows_of(y)
    cdef Py_ssize_t most = int(np.diff(start).max(initial=0))
    cdef size_t sizes[1]
    cdef void *parts[1]
    cdef void *block
    cdef int workers
    memset(&job, 0, sizeof(job))
    job.T, job.B, job.V, job.t_stride, job.b_stride = y.shape[0], rows.B, y.shape[2], rows.s_stride, rows.b_stride
    job.y, job.dy, job.mask = <const double *>data(y), <double *>data(dy), <const uint8_t *>data(mask)
    job.labels, job.start, job.blank = <const Py_ssize_t *>data(labels), <const Py_ssize_t *>data(start), blank
    job.scale, job.impossible, job.losses, job.states = scale, impossible, <double *>data(losses), 2 * most + 1
    job.k, job.scratch_size = kernels_for(losses), ctc_scratch(&job)
    workers = workers_for(<double>CTC_NS * job.T * job.B * job.states, job.B)
    sizes[0] = workers * job.scratch_size * sizeof(double)
    block = workspace_take(&shared_workspace, 1, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the paths of the sequences")
    job.scratch = parts[0]
    interrupts_begin(&job.interrupts, is_main_thread())
    with nogil:
        threads_run(ctc_worker, &job, workers)
        workspace_give(&shared_workspace, block)
    if interrupts_stopped(&job.interrupts, LAST_CHUNK):
        raise_pending()
