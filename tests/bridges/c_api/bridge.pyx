# cython: language_level=3
"""The C API as a Cython module uses it, for tests: every function of the table, over NumPy arrays that are not checked."""

from rnnfast.capi cimport *

cdef const rnnfast_api *rnnfast = rnnfast_import()

INVALID, ORDER = RNNFAST_INVALID, RNNFAST_ORDER
CELLS = {"rnn": RNNFAST_RNN, "lstm": RNNFAST_LSTM, "gru": RNNFAST_GRU}
DTYPES = {"float32": RNNFAST_FLOAT32, "float64": RNNFAST_FLOAT64}
PRECISIONS = {"float32": RNNFAST_FLOAT32, "bfloat16": RNNFAST_BFLOAT16, "int8": RNNFAST_INT8}
NONLINEARITIES = {"tanh": RNNFAST_TANH, "relu": RNNFAST_RELU, "sigmoid": RNNFAST_SIGMOID, "identity": RNNFAST_IDENTITY}
SIZES = {"table": sizeof(rnnfast_api), "options": sizeof(rnnfast_options)}
BEFORE_PRECISION = <size_t>&(<rnnfast_options *>NULL).matmul_precision  # sizeof(rnnfast_options) when it had no such field


class Refused(Exception):
    """(code, message)"""


cdef void *pointer(array):
    return NULL if array is None else <void *><size_t>array.ctypes.data

cdef rnnfast_weights pointers(dict arrays):
    cdef rnnfast_weights w
    w.weight_ih, w.weight_hh = pointer(arrays.get("weight_ih")), pointer(arrays.get("weight_hh"))
    w.bias_ih, w.bias_hh = pointer(arrays.get("bias_ih")), pointer(arrays.get("bias_hh"))
    w.weight_hr, w.weight_ci = pointer(arrays.get("weight_hr")), pointer(arrays.get("weight_ci"))
    w.weight_cf, w.weight_co = pointer(arrays.get("weight_cf")), pointer(arrays.get("weight_co"))
    return w

cdef checked(int status):
    if status < 0:
        raise Refused(status, rnnfast.last_error().decode())


cdef class Plan:
    cdef rnnfast_plan *plan

    def __init__(self, list weights, options):
        """weights: for each pass a dict of arrays; options: fields of rnnfast_options."""
        cdef rnnfast_options o = rnnfast_default_options()
        cdef rnnfast_weights w[16]
        for n, arrays in enumerate(weights):
            w[n] = pointers(arrays)
        for name, value in options.items():
            if name == "struct_size": o.struct_size = value
            elif name == "cell": o.cell = value
            elif name == "dtype": o.dtype = value
            elif name == "nonlinearity": o.nonlinearity = value
            elif name == "bidirectional": o.bidirectional = value
            elif name == "coupled_gates": o.coupled_gates = value
            elif name == "reset_before": o.reset_before = value
            elif name == "training": o.training = value
            elif name == "threads": o.threads = value
            elif name == "input_size": o.input_size = value
            elif name == "hidden_size": o.hidden_size = value
            elif name == "proj_size": o.proj_size = value
            elif name == "num_layers": o.num_layers = value
            elif name == "batch": o.batch = value
            elif name == "max_steps": o.max_steps = value
            elif name == "cell_clip": o.cell_clip = value
            elif name == "matmul_precision": o.matmul_precision = value
            else: raise TypeError(name)
        self.plan = rnnfast.create(&o, w if weights else NULL)
        if self.plan == NULL:
            raise Refused(0, rnnfast.last_error().decode())

    def __dealloc__(self):
        rnnfast.destroy(self.plan)

    def refresh(self, list weights):
        cdef rnnfast_weights w[16]
        for n, arrays in enumerate(weights):
            w[n] = pointers(arrays)
        checked(rnnfast.refresh(self.plan, w))

    def step(self, x, y):
        checked(rnnfast.step(self.plan, pointer(x), pointer(y)))

    def run(self, Py_ssize_t T, x, y, lengths=None, reset=None):
        cdef const void *xs = pointer(x)
        cdef void *ys = pointer(y)
        cdef const Py_ssize_t *length = <const Py_ssize_t *>pointer(lengths)
        cdef const uint8_t *resets = <const uint8_t *>pointer(reset)
        cdef int status
        with nogil:
            status = rnnfast.run(self.plan, T, xs, ys, length, resets)
        checked(status)

    def forward(self, Py_ssize_t T, x, y, lengths=None, reset=None):
        checked(rnnfast.forward(self.plan, T, pointer(x), pointer(y), <const Py_ssize_t *>pointer(lengths),
                                <const uint8_t *>pointer(reset)))

    def backward(self, list grads=None, dy=None, dh=None, dc=None, dx=None, dh_initial=None, dc_initial=None):
        cdef rnnfast_gradients g = rnnfast_no_gradients()
        cdef rnnfast_weights w[16]
        for n, arrays in enumerate(grads or []):
            w[n] = pointers(arrays)
        g.dy, g.dh, g.dc, g.dx = pointer(dy), pointer(dh), pointer(dc), pointer(dx)
        g.dh_initial, g.dc_initial, g.weights = pointer(dh_initial), pointer(dc_initial), NULL if grads is None else w
        checked(rnnfast.backward(self.plan, &g))

    def get_state(self, h, c=None):
        checked(rnnfast.get_state(self.plan, pointer(h), pointer(c)))

    def set_state(self, h, c=None):
        checked(rnnfast.set_state(self.plan, pointer(h), pointer(c)))

    def reset(self, mask=None):
        checked(rnnfast.reset(self.plan, <const uint8_t *>pointer(mask)))


def without_a_plan():
    """What each function says of NULL: its status and message."""
    cdef rnnfast_plan *none = NULL
    answers = []
    for status in (rnnfast.refresh(none, NULL), rnnfast.step(none, NULL, NULL), rnnfast.run(none, 0, NULL, NULL, NULL, NULL),
                   rnnfast.forward(none, 0, NULL, NULL, NULL, NULL), rnnfast.backward(none, NULL),
                   rnnfast.get_state(none, NULL, NULL), rnnfast.set_state(none, NULL, NULL), rnnfast.reset(none, NULL)):
        answers.append((status, rnnfast.last_error().decode()))
    rnnfast.destroy(none)
    return answers
