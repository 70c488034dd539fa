# Dense layers: the flat products without a recurrence.

cdef struct LinearJob:
    const Kernels *k
    Product product      # y from x, or dx from dy
    GradientProduct dw
    Rows d, x            # [M, N], [M, K]
    Blocks w             # [N, K]
    Py_ssize_t M
    void *packed_w       # flat over its N rows forward, over its K columns backward; NULL: no dx is wanted
    bint packs           # forward: whether this job packs w
    void *packed_d       # [GRADIENT_ROWS, N] packed, each worker in its groups
    void *operand        # [workers][GRADIENT_ROWS][operand_stride]
    Py_ssize_t operand_size
    void *scratch        # [workers][scratch_size] operands
    Py_ssize_t scratch_size
    void *db             # [N] sum of dy

cdef void linear_forward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef LinearJob *job = <LinearJob *>argument
    cdef Py_ssize_t groups = job.k.groups_of(job.product.C)
    if job.packs:
        job.k.pack_by_rows(&job.w, job.packed_w, share(groups, worker, workers), share(groups, worker + 1, workers))
        threads_barrier(team)
    product_share(job.k, &job.product, 0, job.M, worker, workers, operand_at(job.scratch, worker * job.scratch_size, job.k))

cdef void linear_backward_worker(void *argument, const Team *team, int worker, int workers) noexcept nogil:
    cdef LinearJob *job = <LinearJob *>argument
    cdef const Kernels *k = job.k
    cdef Py_ssize_t groups = k.groups_of(job.dw.C), g0 = share(groups, worker, workers), g1 = share(groups, worker + 1, workers)
    cdef Py_ssize_t q, end
    cdef void *operand = operand_at(job.operand, worker * job.operand_size, k)
    cdef void *packed_d = operand_at(job.packed_d, g0 * k.columns * k.depth_of(GRADIENT_ROWS), k)

    if job.packed_w != NULL:
        q = k.groups_of(job.product.C)
        k.pack_by_columns(&job.w, job.packed_w, share(q, worker, workers), share(q, worker + 1, workers))
        threads_barrier(team)
        product_share(k, &job.product, 0, job.M, worker, workers, operand_at(job.scratch, worker * job.scratch_size, k))
    q = 0
    while q < job.M:
        end = min(q + GRADIENT_ROWS, job.M)
        k.pack_gradient(&job.d, job.dw.C, q, end, g0, g1, packed_d, job.db)
        if not k.pack_operand(&job.x, job.M, NULL, job.dw.K, q, end, operand):
            k.drop_operand(&job.dw, &job.d, q, end, operand)
        k.gradient_product(&job.dw, end - q, q == 0, end == job.M, g0, g1, packed_d, operand)
        q = end

cdef Blocks one_block(cnp.ndarray array) noexcept:
    """A matrix as one block of rows; a vector as rows of width 1."""
    cdef Blocks w
    memset(&w, 0, sizeof(w))
    w.data, w.heads, w.count = cnp.PyArray_DATA(array), 1, 1
    w.height, w.width = cnp.PyArray_DIM(array, 0), cnp.PyArray_DIM(array, 1) if cnp.PyArray_NDIM(array) > 1 else 1
    w.stride = w.height
    return w


@cython.critical_section
cdef const Packed *packed_linear(Packs packs, const Kernels *k, weight, bias) except NULL:
    """Constant weights, packed for k: `project`, and `bias` where there is one."""
    cdef const Packed *packed = packs.find(k)
    cdef Blocks w
    cdef size_t sizes[FORWARD_PACKS]
    cdef uint64_t before
    if packed == NULL:
        w = one_block(weight)
        sizes = [packed_size(k, w.width, w.height), 0, w.height * k.real_size, 0, 0]
        packed = packs.add(k, sizes)
        before = fp_enter()  # int8 and bfloat16 round
        k.pack_by_rows(&w, packed.project, 0, k.groups_of(w.height))
        fp_leave(before)
        if bias is not None:
            memcpy(packed.bias, data(bias), sizes[2])
    return packed


def linear_forward(x, weight, bias, y, matmul_precision="float32", Packs packs=None):
    """y = x weight^T + bias. x [M, K], weight [N, K], bias [N] or None, y [M, N] OUT; C-contiguous, one dtype.

    `packs` are those of a weight and a bias that never change; None: this call packs the weight."""
    cdef LinearJob job
    cdef const Kernels *k = kernels_for(y, PRECISIONS[matmul_precision])
    cdef Py_ssize_t M = x.shape[0], K = weight.shape[1], N = weight.shape[0], size = k.real_size
    cdef size_t sizes[3]
    cdef void *parts[3]
    cdef void *block
    cdef Schedule planned
    cdef const Packed *packed = NULL
    if M == 0:
        return
    if packs is not None:
        packed = packed_linear(packs, k, weight, bias)
    memset(&job, 0, sizeof(job))
    planned = schedule(k, shared_int(&threads), 1, 2.0 * M * K * N, M, 1, 0, 1, START_NS)
    job.scratch_size = min(M, SCRATCH_ROWS) * k.copy_size(K)
    sizes = [packed_size(k, K, N) if packed == NULL else 0, N * size if packed == NULL else 0,
             planned.workers * job.scratch_size * k.operand_size]
    block = workspace_take(&shared_workspace, 3, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weight")
    job.k, job.M, job.w, job.scratch, job.packs = k, M, one_block(weight), parts[2], packed == NULL
    job.packed_w = parts[0] if packed == NULL else packed.project
    job.product = Product(K, N, 0, packed_rows(data(x), M, K, NULL), job.packed_w, NULL,
                          packed_rows(data(y), M, N, NULL), 0)
    if bias is not None:
        if packed == NULL:
            memcpy(parts[1], data(bias), N * size)
        job.product.bias = parts[1] if packed == NULL else packed.bias
    with nogil:
        threads_run(linear_forward_worker, &job, planned.workers)
        workspace_give(&shared_workspace, block)


def linear_backward(x, weight, dy, dx, dweight, dbias, matmul_precision="float32"):
    """The gradients of linear_forward. dy [M, N] IN; dx [M, K] OUT or None, dweight [N, K] OUT, dbias [N] OUT or None."""
    cdef LinearJob job
    cdef const Kernels *k = kernels_for(dy, PRECISIONS[matmul_precision])
    cdef Py_ssize_t M = x.shape[0], K = weight.shape[1], N = weight.shape[0], size = k.real_size
    cdef Py_ssize_t operand = k.operand_size
    cdef Blocks db
    cdef size_t sizes[6]
    cdef void *parts[6]
    cdef void *block
    cdef Schedule planned
    if not k.trains:
        raise ValueError("matmul_precision: products in int8 have no gradient")
    if M == 0:
        dweight[...] = 0
        if dbias is not None:
            dbias[...] = 0
        return
    memset(&job, 0, sizeof(job))
    planned = schedule(k, shared_int(&threads), 2, 2.0 * M * K * N, M, 1, 0, 1, START_NS)
    job.operand_size = k.depth_of(GRADIENT_ROWS) * k.operand_stride(K)
    job.scratch_size = 0 if dx is None else min(M, SCRATCH_ROWS) * k.copy_size(N)
    sizes = [0 if dx is None else packed_size(k, N, K),
             k.depth_of(GRADIENT_ROWS) * padded_to(N, k.lanes) * operand, planned.workers * job.operand_size * operand,
             padded_to(N, k.lanes) * size, padded_to(N, k.lanes) * K * size, planned.workers * job.scratch_size * operand]
    block = workspace_take(&shared_workspace, 6, sizes, parts)
    if block == NULL:
        raise MemoryError("no memory for the packed weight and the sum of its gradient")
    memset(parts[3], 0, sizes[3])
    job.k, job.M, job.w = k, M, one_block(weight)
    job.packed_d, job.operand, job.db, job.scratch = parts[1], parts[2], parts[3], parts[5]
    job.dw = GradientProduct(K, N, 0, N, parts[4], one_block(dweight))
    job.d, job.x = packed_rows(data(dy), M, N, NULL), packed_rows(data(x), M, K, NULL)
    if dx is not None:
        job.packed_w = parts[0]
        job.product = Product(N, K, 0, job.d, job.packed_w, NULL, packed_rows(data(dx), M, K, NULL), 0)
    with nogil:
        threads_run(linear_backward_worker, &job, planned.workers)
    if dbias is not None:
        db = one_block(dbias)
        k.unpack_bias(&db, job.db)
    workspace_give(&shared_workspace, block)
