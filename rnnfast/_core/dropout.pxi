# Random masks, the same for any number of threads (csrc/kernels/mask.h).

cdef struct MaskJob:
    const Kernels *k
    uint64_t seed
    uint32_t call, layer
    Py_ssize_t t0, T, B, N
    Py_ssize_t split     # units from here on have the probability q
    double p, q, chosen, other
    void *mask

cdef void mask_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef MaskJob *job = <MaskJob *>argument
    job.k.random_mask(job.seed, job.call, job.layer, job.t0 + share(job.T, worker, workers),
                      job.t0 + share(job.T, worker + 1, workers), job.B, job.N, job.p, job.split, job.q,
                      job.chosen, job.other, at(job.mask, -job.t0 * job.B * job.N, job.k))

cdef new_mask(seed, call, layer, shape, double p, Py_ssize_t split, double q, double chosen, double other, dtype, Py_ssize_t t0):
    """A mask [T, B, N] of `chosen`, with probability p in the first `split` units and q in the others, and `other`. It is keyed
    by (seed, call, layer, t, row, unit); t from t0 on."""
    mask = np.empty(shape, dtype)
    cdef MaskJob job = MaskJob(kernels_for(mask), seed & 0xFFFFFFFFFFFFFFFF, call & 0xFFFFFFFF, layer & 0xFFFFFFFF, t0,
                               shape[0], shape[1], shape[2], split, p, q, chosen, other, data(mask))
    cdef Schedule planned = schedule(job.k, shared_int(&threads), job.T, 20.0 * job.B * job.N, job.T, 1, 0, 1, START_NS)
    with nogil:
        threads_run(mask_worker, &job, planned.workers)
    return mask


def dropout_mask(seed, call, layer, shape, double p, dtype, Py_ssize_t t0=0):
    """A mask [T, B, N] of 0 (with probability p) and 1 / (1 - p), keyed by (seed, call, layer, t, row, unit); t from t0 on."""
    return new_mask(seed, call, layer, shape, p, shape[2], p, 0, 1 / (1 - p), dtype, t0)


def zoneout_mask(seed, call, layer, shape, double p, dtype, Py_ssize_t t0=0, split=None, double q=0):
    """A mask [T, B, N] of 1 (with probability p) and 0, keyed as `dropout_mask`. From unit `split` on, the probability is q."""
    return new_mask(seed, call, layer, shape, p, shape[2] if split is None else split, q, 1, 0, dtype, t0)
