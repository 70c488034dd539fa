# What a pass runs: a cell, its weights, its direction.

_KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
_NONLINEARITIES = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY}

@cython.auto_pickle(False)
cdef class Cell:
    """One layer in one direction: which cell it is, its weights, and the way it runs through time.

    The weights are C-contiguous arrays that the caller has checked and may go on writing into: weight_ih [G*H, I],
    weight_hh [G*H, P] and, each of them or None, the biases [G*H], weight_hr [P, H] (without it P is H) and the peepholes
    weight_ci, weight_cf, weight_co [H].
    """

    cdef int kind, nonlinearity
    cdef double cell_clip
    cdef readonly bint reverse
    cdef readonly Py_ssize_t input_size, hidden_size, output_size
    cdef readonly object name, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, weight_ci, weight_cf, weight_co
    cdef list weights       # (name, weight) of those that there are
    cdef object name_m      # the name of the weight that W_m, of the second product, is in; None: no second product

    def __init__(self, name, cnp.ndarray weight_ih, cnp.ndarray weight_hh, bias_ih, bias_hh, reverse=False,
                 nonlinearity="tanh", *, weight_hr=None, weight_ci=None, weight_cf=None, weight_co=None, coupled_gates=False,
                 cell_clip=None, reset_after=True):
        self.kind = COUPLED if coupled_gates else _KINDS[name] if reset_after else GRU_BEFORE
        self.nonlinearity, self.reverse = _NONLINEARITIES[nonlinearity], reverse
        self.cell_clip = 0 if cell_clip is None else cell_clip
        self.input_size, self.output_size = weight_ih.shape[1], weight_hh.shape[1]
        self.hidden_size = self.output_size if weight_hr is None else weight_hr.shape[1]
        self.name, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = name, weight_ih, weight_hh, bias_ih, bias_hh
        self.weight_hr, self.weight_ci, self.weight_cf, self.weight_co = weight_hr, weight_ci, weight_cf, weight_co
        weights = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh,
                   "weight_hr": weight_hr, "weight_ci": weight_ci, "weight_cf": weight_cf, "weight_co": weight_co}
        self.weights = [(name, weight) for name, weight in weights.items() if weight is not None]
        self.name_m = "weight_hh" if self.kind == GRU_BEFORE else None if weight_hr is None else "weight_hr"

    cdef void describe(self, Pass *p) noexcept:
        """What a pass of this cell is, whatever it runs on."""
        set_cell(p, self.kind)
        p.nonlinearity, p.cell_clip = self.nonlinearity, self.cell_clip
        p.H, p.P, p.phases = self.hidden_size, self.output_size, 1 if self.name_m is None else 2
        p.w_ci, p.w_cf, p.w_co = data(self.weight_ci), data(self.weight_cf), data(self.weight_co)

    cdef inline bint has_c(self) noexcept:
        """Whether the state has a part c."""
        return self.kind == LSTM or self.kind == COUPLED

    @property
    def slots(self):
        """S, how many times H numbers a pass saves for each step and row."""
        cdef Pass p
        set_cell(&p, self.kind)
        return p.S

    def new_gradients(self):
        """Uninitialised gradients of the weights, by name."""
        return {name: like(weight) for name, weight in self.weights}

    cdef Rows own_columns(self, cnp.ndarray array, Py_ssize_t number):
        """The rows of this pass's columns in the [T, B, D*P] array of all directions."""
        cdef Rows rows = rows_of(array)
        rows.data = <char *>rows.data + (number % (cnp.PyArray_DIM(array, 2) // self.output_size) * self.output_size
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
