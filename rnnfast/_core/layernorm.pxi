# Layer normalization (csrc/kernels/rownorm.h): its rows shared among workers, its columns in the sums over rows.

cdef enum:
    NORM_NS = 1               # of one number; backward takes twice as long

cdef struct NormJob:
    const Kernels *k
    Norm norm

cdef void norm_forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef NormJob *job = <NormJob *>argument
    job.k.rownorm_forward(&job.norm, share(job.norm.M, worker, workers), share(job.norm.M, worker + 1, workers))

cdef void norm_backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef NormJob *job = <NormJob *>argument
    if job.norm.out != NULL:
        job.k.rownorm_backward(&job.norm, share(job.norm.M, worker, workers), share(job.norm.M, worker + 1, workers))
    job.k.rownorm_gradients(&job.norm, share(job.norm.N, worker, workers), share(job.norm.N, worker + 1, workers))


def layer_norm_forward(x, weight, bias, double eps, y, moments):
    """y [M, N] and moments [M, 2] float64, both OUT. x [M, N], weight [N], bias [N] or None; C-contiguous, one dtype."""
    cdef Norm norm = Norm(data(x), data(weight), data(bias), NULL, data(y), <double *>data(moments), NULL, NULL,
                          x.shape[0], x.shape[1], eps)
    cdef NormJob job = NormJob(kernels_for(x), norm)
    cdef int workers = workers_for(<double>NORM_NS * norm.M * norm.N, norm.M)
    with nogil:
        threads_run(norm_forward_worker, &job, workers)


def layer_norm_backward(x, weight, moments, dy, dx, dweight, dbias):
    """The gradients of layer_norm_forward. dy [M, N]; dx [M, N] OUT or None; dweight and dbias [N] float64, INOUT: added to."""
    cdef Norm norm = Norm(data(x), data(weight), NULL, data(dy), data(dx), <double *>data(moments), <double *>data(dweight),
                          <double *>data(dbias), x.shape[0], x.shape[1], 0)
    cdef NormJob job = NormJob(kernels_for(x), norm)
    cdef int workers = workers_for(2.0 * NORM_NS * norm.M * norm.N, norm.M)
    with nogil:
        threads_run(norm_backward_worker, &job, workers)
