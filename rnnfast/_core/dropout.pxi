# Random masks, the same for any number of threads (csrc/kernels/mask.h).

cdef struct MaskJob:
    const Kernels *k
    uint64_t seed
    uint32_t call, layer
    Py_ssize_t t0, T, B, N
    double p, chosen, other
    void *mask

cdef void mask_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef MaskJob *job = <MaskJob *>argument
    job.k.random_mask(job.seed, job.call, job.layer, job.t0 + share(job.T, worker, workers),
                      job.t0 + share(job.T, worker + 1, workers), job.B, job.N, job.p, job.chosen, job.other,
                      at(job.mask, -job.t0 * job.B * job.N, job.k))

cdef fill_mask(cnp.ndarray mask, seed, call, layer, double p, double chosen, double other, Py_ssize_t t0):
    """mask [T, B, N] OUT: `chosen` with probability p, else `other`, keyed by (seed, call, layer, t, row, unit); t from t0 on."""
    cdef MaskJob job = MaskJob(kernels_for(mask), seed & 0xFFFFFFFFFFFFFFFF, call & 0xFFFFFFFF, layer & 0xFFFFFFFF, t0,
                               cnp.PyArray_DIM(mask, 0), cnp.PyArray_DIM(mask, 1), cnp.PyArray_DIM(mask, 2), p, chosen, other,
                               data(mask))
    cdef Schedule planned = schedule(job.k, threads, job.T, 20.0 * job.B * job.N, job.T, 1, 0, 1, START_NS)
    with nogil:
        threads_run(mask_worker, &job, planned.workers)
    return mask


def dropout_mask(seed, call, layer, shape, double p, dtype, Py_ssize_t t0=0):
    """A mask [T, B, N] of 0 (with probability p) and 1 / (1 - p), keyed by (seed, call, layer, t, row, unit); t from t0 on."""
    return fill_mask(np.empty(shape, dtype), seed, call, layer, p, 0, 1 / (1 - p), t0)


def zoneout_mask(seed, call, layer, shape, double p, dtype, Py_ssize_t t0=0):
    """A mask [T, B, N] of 1 (with probability p) and 0, keyed as `dropout_mask`."""
    return fill_mask(np.empty(shape, dtype), seed, call, layer, p, 1, 0, t0)
