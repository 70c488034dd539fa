# What a pass runs: a cell, its weights, its direction.

_KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
_NONLINEARITIES = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY}

cdef struct Layer:
    Pass p                    # what all its passes have in common: the cell, its sizes and options, its peepholes
    Py_ssize_t input_size
    bint reverse
    rnnfast_weights weights   # as rnnfast.h lays them out; NULL: there is none

cdef struct Packed:      # weights as the passes read them; NULL: not there
    void *project        # [X*H/(4V)][I][4][V]: W_ih packed flat over its rows
    void *step           # [H/V][P][G][V]: W_hh packed by gates (flat if G = 1)
    void *bias           # [S*H]
    void *second         # [P/(4V)][H][4][V]: W_m packed flat over its rows
    void *dx             # [I/(4V)][X*H][4][V]: W_ih packed flat over its I columns
    void *back           # [P/(4V)][G*H][4][V]: W_hh packed flat over its P columns
    void *second_back    # [H/(4V)][P][4][V]: W_m packed flat over its H columns

cdef enum:
    FORWARD_PACKS = 4    # the first of these
    BACKWARD_PACKS = 3   # the others

cdef void set_layer(Layer *layer, int kind, int nonlinearity, double cell_clip, bint reverse, Py_ssize_t I, Py_ssize_t H,
                    Py_ssize_t P, const rnnfast_weights *weights) noexcept nogil:
    """One layer in one direction; cell_clip 0 is none."""
    cdef Pass *p = &layer.p
    memset(layer, 0, sizeof(layer[0]))
    layer.input_size, layer.reverse, layer.weights = I, reverse, weights[0]
    set_cell(p, kind)
    p.nonlinearity, p.cell_clip = nonlinearity, cell_clip
    p.H, p.P, p.phases = H, P, 2 if kind == GRU_BEFORE or weights.weight_hr != NULL else 1
    p.w_ci, p.w_cf, p.w_co = weights.weight_ci, weights.weight_cf, weights.weight_co

cdef inline bint has_c(const Layer *layer) noexcept nogil:
    """Whether the state has a part c."""
    return layer.p.cell == LSTM or layer.p.cell == COUPLED

cdef inline void *second_weight(const Pass *p, const rnnfast_weights *weights) noexcept nogil:
    """The weight (or gradient) that W_m, of the second product, is in."""
    return weights.weight_hh if p.cell == GRU_BEFORE else weights.weight_hr

cdef inline rnnfast_weights pointers(dict arrays) noexcept:
    """Weights or gradients, by name."""
    return rnnfast_weights(data(arrays.get("weight_ih")), data(arrays.get("weight_hh")), data(arrays.get("bias_ih")),
                           data(arrays.get("bias_hh")), data(arrays.get("weight_hr")), data(arrays.get("weight_ci")),
                           data(arrays.get("weight_cf")), data(arrays.get("weight_co")))


@cython.auto_pickle(False)
cdef class Cell:
    """One layer in one direction: which cell it is, its weights, and the way it runs through time.

    The weights are C-contiguous arrays that the caller has checked and may go on writing into: weight_ih [G*H, I],
    weight_hh [G*H, P] and, each of them or None, the biases [G*H], weight_hr [P, H] (without it P is H) and the peepholes
    weight_ci, weight_cf, weight_co [H].
    """

    cdef Layer layer
    cdef const Kernels *k   # those that packed the weights
    cdef Packed packed
    cdef void *block        # the memory of `packed`; NULL: each forward pass packs the weights
    cdef readonly object name, weight_ih, weight_hh, weight_hr
    cdef dict weights       # those that there are

    def __init__(self, name, cnp.ndarray weight_ih, cnp.ndarray weight_hh, bias_ih, bias_hh, reverse=False,
                 nonlinearity="tanh", *, weight_hr=None, weight_ci=None, weight_cf=None, weight_co=None, coupled_gates=False,
                 cell_clip=None, reset_after=True):
        cdef rnnfast_weights weights
        cdef Py_ssize_t P = weight_hh.shape[1]
        self.name, self.weight_ih, self.weight_hh, self.weight_hr = name, weight_ih, weight_hh, weight_hr
        given = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh,
                 "weight_hr": weight_hr, "weight_ci": weight_ci, "weight_cf": weight_cf, "weight_co": weight_co}
        self.weights = {name: weight for name, weight in given.items() if weight is not None}
        weights = pointers(self.weights)
        set_layer(&self.layer, COUPLED if coupled_gates else _KINDS[name] if reset_after else GRU_BEFORE,
                  _NONLINEARITIES[nonlinearity], 0 if cell_clip is None else cell_clip, reverse, weight_ih.shape[1],
                  P if weight_hr is None else weight_hr.shape[1], P, &weights)

    def __dealloc__(self):
        workspace_give(NULL, self.block)

    def pack(self):
        """Copy the weights for all later forward passes: what is written into the weights from now on does not reach them."""
        cdef size_t sizes[FORWARD_PACKS]
        cdef void *parts[FORWARD_PACKS]
        cdef ForwardJob job
        if self.block != NULL:
            return
        self.k = kernels_for(self.weight_ih)
        forward_pack_sizes(self.k, &self.layer, sizes)
        self.block = workspace_take(NULL, FORWARD_PACKS, sizes, parts)
        if self.block == NULL:
            raise MemoryError("no memory for the packed weights")
        self.packed = Packed(parts[0], parts[1], parts[2], parts[3], NULL, NULL, NULL)
        set_forward(&job, self.k, &self.layer, 0, 0)
        job.packed = self.packed
        threads_run(pack_worker, &job, 1)

    @property
    def reverse(self):
        """Whether it runs from the last step to the first."""
        return self.layer.reverse

    @property
    def input_size(self):
        """I."""
        return self.layer.input_size

    @property
    def hidden_size(self):
        """H."""
        return self.layer.p.H

    @property
    def output_size(self):
        """P."""
        return self.layer.p.P

    @property
    def slots(self):
        """S, how many times H numbers a pass saves for each step and row."""
        return self.layer.p.S

    def new_gradients(self):
        """Uninitialised gradients of the weights, by name."""
        return {name: like(weight) for name, weight in self.weights.items()}

    cdef Rows own_columns(self, cnp.ndarray array, Py_ssize_t number):
        """The rows of this pass's columns in the [T, B, D*P] array of all directions."""
        cdef Rows rows = rows_of(array)
        cdef Py_ssize_t P = self.layer.p.P
        rows.data = <char *>rows.data + number % (cnp.PyArray_DIM(array, 2) // P) * P * cnp.PyArray_ITEMSIZE(array)
        return rows


cdef like(cnp.ndarray array):
    """np.empty_like of a C-contiguous array, but quick where it is small."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array), 0)


cpdef blank(Py_ssize_t T, Py_ssize_t B, Py_ssize_t N, cnp.dtype dtype, bint batch_first=False):
    """An uninitialised array [T, B, N]; with `batch_first`, contiguous when seen as [B, T, N]. np.empty, but quick where
    arrays are small."""
    cdef cnp.npy_intp shape[3]
    shape[0], shape[1], shape[2] = (B, T, N) if batch_first else (T, B, N)
    array = cnp.PyArray_EMPTY(3, shape, dtype.type_num, 0)
    return cnp.PyArray_SwapAxes(array, 0, 1) if batch_first else array
