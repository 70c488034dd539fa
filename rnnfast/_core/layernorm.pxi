# Layer normalization over the last axis (Ba, Kiros and Hinton 2016):
#
#     n[k] = (x[k] - mean) r,   r = 1 / sqrt(variance + eps),   y[k] = n[k] weight[k] + bias[k]
#     g[k] = dy[k] weight[k],   dx[k] = r (g[k] - mean of g - n[k] (mean of g n)),   dweight = Σ dy n,   dbias = Σ dy
#
# Sums over a row are in double, in LANES partial sums that are added in pairs. Those over rows are in double, first row first.
# All of them are the same on every instruction set, in any batch and for any number of threads.

ctypedef fused real:
    float
    double

cdef enum:
    LANES = 16
    NORM_NS = 2               # of one number; backward takes twice as long

cdef struct NormJob:
    const void *x             # [M, N]
    const void *weight        # [N]
    const void *bias          # [N] or NULL
    const void *dy            # [M, N]
    void *out                 # [M, N] y or dx; NULL: no dx is wanted
    double *moments           # [M, 2] mean and r of each row: written forward, read backward
    double *dweight           # [N]
    double *dbias             # [N]
    Py_ssize_t M, N
    double eps
    bint is_float

cdef inline double lanes_sum(double *lane) noexcept nogil:
    """The sum of LANES partial sums, which it overwrites."""
    cdef int step = LANES // 2, n
    while step:
        for n in range(step):
            lane[n] += lane[n + step]
        step //= 2
    return lane[0]

cdef inline void norm_forward_row(const real *x, const real *weight, const real *bias, real *y, double *moments, Py_ssize_t N,
                                  double eps) noexcept nogil:
    cdef double lane[LANES]
    cdef double mean, r, difference
    cdef Py_ssize_t b, k, whole = N - N % LANES
    cdef int n
    memset(lane, 0, sizeof(lane))
    for b in range(N // LANES):
        k = b * LANES
        for n in range(LANES):
            lane[n] += x[k + n]
    for k in range(whole, N):
        lane[k - whole] += x[k]
    mean = lanes_sum(lane) / N
    memset(lane, 0, sizeof(lane))
    for b in range(N // LANES):
        k = b * LANES
        for n in range(LANES):
            difference = x[k + n] - mean
            lane[n] += difference * difference
    for k in range(whole, N):
        difference = x[k] - mean
        lane[k - whole] += difference * difference
    r = 1 / sqrt(lanes_sum(lane) / N + eps)
    moments[0], moments[1] = mean, r
    if bias == NULL:
        for k in range(N):
            y[k] = <real>((x[k] - mean) * r * weight[k])
    else:
        for k in range(N):
            y[k] = <real>((x[k] - mean) * r * weight[k] + bias[k])

cdef inline bint is_finite_row(const double *moments) noexcept nogil:
    """Whether all numbers of the row are finite."""
    return moments[0] - moments[0] == 0 and moments[1] - moments[1] == 0

cdef inline void norm_backward_row(const real *x, const real *weight, const real *dy, real *dx, const double *moments,
                                   Py_ssize_t N) noexcept nogil:
    """dx; of a row of NaN or infinity whose dy is zero it is zero."""
    cdef double sums[LANES]
    cdef double products[LANES]
    cdef double mean = moments[0], r = moments[1], g, of_g, of_product
    cdef Py_ssize_t b, k, whole = N - N % LANES
    cdef int n
    if not is_finite_row(moments):
        k = 0
        while k < N and dy[k] == 0:
            k += 1
        if k == N:
            memset(dx, 0, N * sizeof(real))
            return
    memset(sums, 0, sizeof(sums))
    memset(products, 0, sizeof(products))
    for b in range(N // LANES):
        k = b * LANES
        for n in range(LANES):
            g = <double>dy[k + n] * weight[k + n]
            sums[n] += g
            products[n] += g * (x[k + n] - mean)
    for k in range(whole, N):
        g = <double>dy[k] * weight[k]
        sums[k - whole] += g
        products[k - whole] += g * (x[k] - mean)
    of_g, of_product = lanes_sum(sums) / N, lanes_sum(products) / N * r * r
    for k in range(N):
        dx[k] = <real>(r * (<double>dy[k] * weight[k] - of_g - (x[k] - mean) * of_product))

cdef inline void norm_gradient_row(const real *x, const real *dy, const double *moments, double *dweight, double *dbias,
                                   Py_ssize_t k0, Py_ssize_t k1) noexcept nogil:
    """Adds a row's share of dweight and dbias in columns k0..k1. A dy of zero adds nothing, whatever x is."""
    cdef double mean = moments[0], r = moments[1]
    cdef Py_ssize_t k
    if is_finite_row(moments):
        for k in range(k0, k1):
            dweight[k] += dy[k] * ((x[k] - mean) * r)
            dbias[k] += dy[k]
        return
    for k in range(k0, k1):
        if dy[k] != 0:
            dweight[k] += dy[k] * ((x[k] - mean) * r)
            dbias[k] += dy[k]

cdef void norm_forward_share(NormJob *job, Py_ssize_t m0, Py_ssize_t m1, real *kind) noexcept nogil:
    """Rows m0..m1 forward; `kind` says the type of the numbers."""
    cdef Py_ssize_t m, N = job.N
    for m in range(m0, m1):
        norm_forward_row(<const real *>job.x + m * N, <const real *>job.weight, <const real *>job.bias, <real *>job.out + m * N,
                         job.moments + 2 * m, N, job.eps)

cdef void norm_backward_share(NormJob *job, Py_ssize_t m0, Py_ssize_t m1, Py_ssize_t k0, Py_ssize_t k1, real *kind) noexcept nogil:
    """dx of rows m0..m1, and the gradients of the parameters in columns k0..k1, of all rows."""
    cdef const real *x = <const real *>job.x
    cdef const real *dy = <const real *>job.dy
    cdef Py_ssize_t m, N = job.N
    if job.out != NULL:
        for m in range(m0, m1):
            norm_backward_row(x + m * N, <const real *>job.weight, dy + m * N, <real *>job.out + m * N, job.moments + 2 * m, N)
    for m in range(job.M):
        norm_gradient_row(x + m * N, dy + m * N, job.moments + 2 * m, job.dweight, job.dbias, k0, k1)

cdef void norm_forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef NormJob *job = <NormJob *>argument
    cdef Py_ssize_t m0 = share(job.M, worker, workers), m1 = share(job.M, worker + 1, workers)
    if job.is_float:
        norm_forward_share(job, m0, m1, <float *>NULL)
    else:
        norm_forward_share(job, m0, m1, <double *>NULL)

cdef void norm_backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef NormJob *job = <NormJob *>argument
    cdef Py_ssize_t m0 = share(job.M, worker, workers), m1 = share(job.M, worker + 1, workers)
    cdef Py_ssize_t k0 = share(job.N, worker, workers), k1 = share(job.N, worker + 1, workers)
    if job.is_float:
        norm_backward_share(job, m0, m1, k0, k1, <float *>NULL)
    else:
        norm_backward_share(job, m0, m1, k0, k1, <double *>NULL)

cdef NormJob norm_job(x, weight, moments) noexcept:
    cdef NormJob job
    memset(&job, 0, sizeof(job))
    job.x, job.weight, job.moments = data(x), data(weight), <double *>data(moments)
    job.M, job.N = cnp.PyArray_DIM(<cnp.ndarray>x, 0), cnp.PyArray_DIM(<cnp.ndarray>x, 1)
    job.is_float = cnp.PyArray_TYPE(<cnp.ndarray>x) == cnp.NPY_FLOAT
    return job


def layer_norm_forward(x, weight, bias, double eps, y, moments):
    """y [M, N] and moments [M, 2] float64, both OUT. x [M, N], weight [N], bias [N] or None; C-contiguous, one dtype."""
    cdef NormJob job = norm_job(x, weight, moments)
    job.bias, job.out, job.eps = data(bias), data(y), eps
    cdef int workers = workers_for(<double>NORM_NS * job.M * job.N, job.M)
    with nogil:
        threads_run(norm_forward_worker, &job, workers)


def layer_norm_backward(x, weight, moments, dy, dx, dweight, dbias):
    """The gradients of layer_norm_forward. dy [M, N]; dx [M, N] OUT or None; dweight and dbias [N] float64, INOUT: added to."""
    cdef NormJob job = norm_job(x, weight, moments)
    job.dy, job.out, job.dweight, job.dbias = data(dy), data(dx), <double *>data(dweight), <double *>data(dbias)
    cdef int workers = workers_for(2.0 * NORM_NS * job.M * job.N, job.M)
    with nogil:
        threads_run(norm_backward_worker, &job, workers)
