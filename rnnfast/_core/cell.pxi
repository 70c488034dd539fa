# What a pass runs: a cell, its weights, its direction.

_KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
_NONLINEARITIES = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY}

@cython.auto_pickle(False)
cdef class Cell:
    """One layer in one direction: which cell it is, its weights, and the way it runs through time.

    The weights are C-contiguous arrays that the caller has checked and may go on writing into: weight_ih [G*H, I],
    weight_hh [G*H, H], and the biases [G*H] or None.
    """

    cdef int kind, nonlinearity
    cdef readonly bint reverse
    cdef readonly Py_ssize_t input_size, hidden_size
    cdef readonly object name, weight_ih, weight_hh, bias_ih, bias_hh

    def __init__(self, name, cnp.ndarray weight_ih, cnp.ndarray weight_hh, bias_ih, bias_hh, reverse=False, nonlinearity="tanh"):
        self.kind, self.nonlinearity, self.reverse = _KINDS[name], _NONLINEARITIES[nonlinearity], reverse
        self.input_size, self.hidden_size = weight_ih.shape[1], weight_hh.shape[1]
        self.name, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = name, weight_ih, weight_hh, bias_ih, bias_hh

    @property
    def slots(self):
        """S, how many times H numbers a pass saves for each step and row."""
        cdef Pass p
        set_cell(&p, self.kind)
        return p.S

    def new_gradients(self):
        """Uninitialised gradients of the weights, by name."""
        grads = {"weight_ih": like(self.weight_ih), "weight_hh": like(self.weight_hh)}
        if self.bias_ih is not None:
            grads["bias_ih"] = like(self.bias_ih)
        if self.bias_hh is not None:
            grads["bias_hh"] = like(self.bias_hh)
        return grads

    cdef Rows own_columns(self, cnp.ndarray array, Py_ssize_t number):
        """The rows of this pass's columns in the [T, B, D*H] array of all directions."""
        cdef Rows rows = rows_of(array)
        rows.data = <char *>rows.data + (number % (cnp.PyArray_DIM(array, 2) // self.hidden_size) * self.hidden_size
                                         * cnp.PyArray_ITEMSIZE(array))
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
