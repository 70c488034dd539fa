# Biases and the parameters of layer normalization: from the caller's blocks to the order of the slots, and their gradients back.

cdef void add_biases(const Kernels *k, const Layer *layer, void *bias) noexcept nogil:
    """bias [S*H] = b_ih in the slots of the input + b_hh in those of the state; NULL is zero."""
    cdef const Pass *p = &layer.p
    memset(bias, 0, p.S * p.H * k.real_size)
    if is_normed(p):  # they follow the normalization
        return
    add_input_bias(k, layer, BIAS_IH, bias)
    add_state_bias(k, layer, BIAS_HH, p.X, at(bias, (p.S - p.X) * p.H, k))

cdef void add_input_bias(const Kernels *k, const Layer *layer, int weight, void *slots) noexcept nogil:
    """slots [X*H] += a bias in the slots of the input; NULL is zero."""
    cdef Blocks bias = input_window(&layer.p, layer.weights[weight], 1)
    if bias.data != NULL:
        k.add_bias(&bias, slots)

cdef void add_state_bias(const Kernels *k, const Layer *layer, int weight, Py_ssize_t count, void *slots) noexcept nogil:
    """slots [count*H] += a bias in the last slots; NULL is zero."""
    cdef Blocks bias = state_window(&layer.p, layer.weights[weight], 1, count)
    if bias.data != NULL:
        k.add_bias(&bias, slots)

cdef void pack_norm(const Kernels *k, const Layer *layer, void *norm) noexcept nogil:
    """The parameters of layer normalization, as NormLayout says."""
    cdef const Pass *p = &layer.p
    cdef NormLayout n = norm_layout(p)
    cdef void *shift = at(norm, n.shift, k)
    cdef void *state_shift = at(norm, n.shift + (n.slots - p.X) * p.H, k)
    memset(norm, 0, n.vectors * k.real_size)
    add_input_bias(k, layer, LN_IH_WEIGHT, at(norm, n.gain_x, k))
    add_state_bias(k, layer, LN_HH_WEIGHT, p.G, at(norm, n.gain_h, k))
    add_input_bias(k, layer, LN_IH_BIAS, shift)
    add_input_bias(k, layer, BIAS_IH, shift)
    add_state_bias(k, layer, LN_HH_BIAS, p.X, state_shift)
    add_state_bias(k, layer, BIAS_HH, p.X, state_shift)
    if layer.weights[LN_C_WEIGHT] != NULL:
        memcpy(at(norm, n.gain_c, k), layer.weights[LN_C_WEIGHT], p.H * k.real_size)
        memcpy(at(norm, n.shift_c, k), layer.weights[LN_C_BIAS], p.H * k.real_size)

cdef inline size_t norm_size(const Kernels *k, const Pass *p) noexcept nogil:
    """Bytes of the packed parameters of layer normalization, which passes in both directions read."""
    return norm_layout(p).vectors * k.real_size if is_normed(p) else 0


# ---- gradients -----------------------------------------------------------------------------------------------------

cdef void input_bias_gradient(const Kernels *k, const Pass *p, void *const *grads, int weight, const void *slots) noexcept nogil:
    """The gradient of a bias from the sum of d in the slots of the input, [X*H]."""
    cdef Blocks bias = input_window(p, grads[weight], 1)
    if bias.data != NULL:
        k.unpack_bias(&bias, slots)

cdef void state_bias_gradient(const Kernels *k, const Pass *p, void *const *grads, int weight, Py_ssize_t count,
                              const void *slots) noexcept nogil:
    """The gradient of a bias from the sum of d in the last slots, [count*H]."""
    cdef Blocks bias = state_window(p, grads[weight], 1, count)
    if bias.data != NULL:
        k.unpack_bias(&bias, slots)

cdef void norm_gradients(const Kernels *k, const Pass *p, void *const *grads) noexcept nogil:
    """The gradients of layer normalization, of the biases and of the vector weights: the sums of the rows of the batch, b
    ascending."""
    cdef const CellInfo *info = &cell_table[p.cell]
    cdef NormLayout n = norm_layout(p)
    cdef void *sum = p.d_norm
    cdef void *shift = at(sum, n.shift, k)
    cdef void *state_shift = at(sum, n.shift + (n.slots - p.X) * p.H, k)
    cdef Py_ssize_t b
    cdef int v
    if sum == NULL:
        return
    for b in range(1, p.B):
        k.add(n.count, at(sum, b * n.count, k), sum)
    input_bias_gradient(k, p, grads, LN_IH_WEIGHT, at(sum, n.gain_x, k))
    state_bias_gradient(k, p, grads, LN_HH_WEIGHT, p.G, at(sum, n.gain_h, k))
    input_bias_gradient(k, p, grads, LN_IH_BIAS, shift)
    input_bias_gradient(k, p, grads, BIAS_IH, shift)
    state_bias_gradient(k, p, grads, LN_HH_BIAS, p.X, state_shift)
    state_bias_gradient(k, p, grads, BIAS_HH, p.X, state_shift)
    if grads[LN_C_WEIGHT] != NULL:
        memcpy(grads[LN_C_WEIGHT], at(sum, n.gain_c, k), p.H * k.real_size)
        memcpy(grads[LN_C_BIAS], at(sum, n.shift_c, k), p.H * k.real_size)
    for v in range(info.vectors):
        if p.d_vector[v] != NULL:
            memcpy(p.d_vector[v], at(sum, n.vectors + v * p.H, k), p.H * k.real_size)
