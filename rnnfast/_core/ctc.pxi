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
# A sequence is one worker's, in double, so its results depend on nothing else.

cdef enum:
    CTC_NS = 40               # of one state at one step, both recursions
    CTC_STEPS = 64            # between two looks for signals

cdef struct CtcJob:
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

cdef inline double sum_of_two(double a, double b) noexcept nogil:
    """log(e^a + e^b)."""
    cdef double most = max(a, b)
    return most if most == -INFINITY else most + log(1 + exp(min(a, b) - most))

cdef inline double sum_of_three(double a, double b, double c) noexcept nogil:
    """log(e^a + e^b + e^c)."""
    cdef double more = max(a, b), most = max(more, c)
    return most if most == -INFINITY else most + log(1 + exp(min(a, b) - most) + exp(min(more, c) - most))

cdef inline double log_sum_of_exponentials(const double *row, Py_ssize_t V) noexcept nogil:
    cdef double most = -INFINITY, total = 0
    cdef Py_ssize_t v
    for v in range(V):
        most = max(most, row[v])
    for v in range(V):
        total += exp(row[v] - most)
    return most + log(total)

cdef inline bint ctc_stops(CtcJob *job, Py_ssize_t n, int worker) noexcept nogil:
    """Whether a signal handler has stopped the call. Worker 0 looks, now and then."""
    if n % CTC_STEPS:
        return False
    if worker == 0:
        look_for_signals(&job.interrupts, 1)
    return interrupts_stopped(&job.interrupts, LAST_CHUNK)

cdef void ctc_sequence(CtcJob *job, Py_ssize_t b, int worker) noexcept nogil:
    """The loss and the gradient of sequence b."""
    cdef const Py_ssize_t *label = job.labels + job.start[b]
    cdef Py_ssize_t V = job.V, S = 2 * (job.start[b + 1] - job.start[b]) + 1, width = job.states + 2
    cdef Py_ssize_t N = 0, n, t, s, v, low, high
    cdef double *alpha = <double *>job.scratch + worker * job.scratch_size    # [T, width]: two more states, of probability 0
    cdef double *norm = alpha + job.T * width                                 # [T] of the softmax, in logarithms
    cdef Py_ssize_t *kept = <Py_ssize_t *>(norm + job.T)                      # [T] the steps that are not skipped
    cdef double *beta = <double *>(kept + job.T)                              # [width], times the probabilities of the step
    cdef double *of_class = beta + width                                      # [V] the shares of the states of each class
    cdef double *now
    cdef const double *before
    cdef const double *y
    cdef double *dy
    cdef double total, a
    cdef double fill = 0
    for t in range(job.T):
        if job.mask == NULL or job.mask[t * job.B + b]:
            kept[N] = t
            N += 1
    job.losses[b] = 0
    if N == 0:
        return
    y, dy = job.y + b * job.b_stride, job.dy + b * job.b_stride

    total = 0
    for n in range(N):
        norm[n] = log_sum_of_exponentials(y + kept[n] * job.t_stride, V)
        total += norm[n]
    if total - total != 0:                           # a logit is NaN, or no softmax exists
        total = NAN
    elif S > 2 * N + 1:                              # fewer steps than labels
        total = -INFINITY
    else:
        for n in range(N):
            if ctc_stops(job, n, worker):
                return
            now, before = alpha + n * width, alpha + (n - 1) * width
            low, high = max(0, S - 2 * (N - n)), min(S, 2 * (n + 1))         # states on a path from begin to end
            for s in range(low, high):
                v = label[s >> 1] if s & 1 else job.blank
                if n == 0:
                    a = 0
                elif s & 1 and s > 1 and v != label[(s >> 1) - 1]:
                    a = sum_of_three(before[s], before[s - 1], before[s - 2])
                else:
                    a = sum_of_two(before[s], before[s - 1]) if s > 0 else before[s]
                now[s] = a + y[kept[n] * job.t_stride + v] - norm[n]
            now[high] = now[high + 1] = -INFINITY
        now = alpha + (N - 1) * width
        total = sum_of_two(now[S - 1], now[S - 2]) if S > 1 else now[S - 1]
    job.losses[b] = -total
    if total - total != 0:
        fill = NAN if total != total else job.impossible
        for n in range(N):
            for v in range(V):
                dy[kept[n] * job.t_stride + v] = fill
        return

    for n in range(N - 1, -1, -1):
        if ctc_stops(job, n, worker):
            return
        now = alpha + n * width
        low, high = max(0, S - 2 * (N - n)), min(S, 2 * (n + 1))
        memset(of_class, 0, V * sizeof(double))
        if n == N - 1:
            for s in range(S + 2):
                beta[s] = -INFINITY
        for s in range(low, high):                   # ascending: beta[s] of step n is made of beta[s..s+2] of step n + 1
            v = label[s >> 1] if s & 1 else job.blank
            if n == N - 1:
                a = 0
            elif s & 1 and s + 2 < S and v != label[(s >> 1) + 1]:
                a = sum_of_three(beta[s], beta[s + 1], beta[s + 2])
            else:
                a = sum_of_two(beta[s], beta[s + 1])
            of_class[v] += exp(now[s] + a - total)
            beta[s] = a + y[kept[n] * job.t_stride + v] - norm[n]
        t = kept[n] * job.t_stride
        for v in range(V):
            dy[t + v] = (exp(y[t + v] - norm[n]) - of_class[v]) * job.scale

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
    job.scratch_size = job.T * (job.states + 2) + 2 * job.T + job.states + 2 + job.V
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
