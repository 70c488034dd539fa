# Tensors of torch, read through the C functions of DLPack.

cdef extern from "dlpack.h":
    enum:
        DLPACK_MAJOR, DLPACK_CPU, DLPACK_FLOAT

    ctypedef struct DlpackTensor:
        void *data
        int32_t device_type, ndim
        uint8_t code, bits
        int lanes
        int64_t *shape
        int64_t *strides
        uint64_t byte_offset

    ctypedef struct DlpackVersion:
        uint32_t major

    ctypedef struct DlpackOwned:
        void (*deleter)(DlpackOwned *) noexcept
        DlpackTensor tensor

    ctypedef struct DlpackFunctions:
        DlpackVersion version
        DlpackFunctions *previous
        int (*own)(PyObject *, DlpackOwned **) except -1
        int (*look)(PyObject *, DlpackTensor *) except -1

cdef enum:
    MAX_AXES = 4

ctypedef struct TensorForm:  # the axes beyond ndim are zero
    void *data
    int64_t ndim, code, bits
    int64_t shape[MAX_AXES]
    int64_t strides[MAX_AXES]


@cython.auto_pickle(False)
cdef class TensorOwner:
    """The base of an array in a tensor's memory."""

    cdef DlpackOwned *owned

    def __dealloc__(self):
        if self.owned != NULL and self.owned.deleter != NULL:
            self.owned.deleter(self.owned)


@cython.auto_pickle(False)
cdef class TensorReader:
    """Reads tensors of float32 and float64 on the CPU, of up to four axes.

    `capsule` is torch's ``__dlpack_c_exchange_api__``; `kinds` are the classes that are nothing but their memory. `others` gives the
    arrays of tensors that are not of these.
    """

    cdef const DlpackFunctions *functions
    cdef object capsule, others
    cdef frozenset kinds

    def __init__(self, capsule, frozenset kinds, others):
        cdef const DlpackFunctions *functions = <const DlpackFunctions *>PyCapsule_GetPointer(capsule, "dlpack_exchange_api")
        while functions != NULL and functions.version.major != DLPACK_MAJOR:
            functions = functions.previous
        if functions == NULL or functions.look == NULL:
            raise BufferError(f"expected the functions of DLPack {DLPACK_MAJOR}, got others")
        self.functions, self.capsule, self.kinds, self.others = functions, capsule, kinds, others

    def array(self, tensor):
        """The memory of a tensor as an array, not to be written; None stays None."""
        cdef TensorForm form
        cdef TensorOwner owner
        cdef cnp.npy_intp shape[MAX_AXES]
        cdef cnp.npy_intp strides[MAX_AXES]
        if tensor is None:
            return None
        if not self.describe(tensor, &form):
            return self.others(tensor)
        owner = TensorOwner()
        self.functions.own(<PyObject *>tensor, &owner.owned)
        for axis in range(form.ndim):
            shape[axis], strides[axis] = form.shape[axis], form.strides[axis] * (form.bits // 8)
        array = cnp.PyArray_New(cnp.ndarray, <int>form.ndim, shape, cnp.NPY_FLOAT32 if form.bits == 32 else cnp.NPY_FLOAT64,
                                strides, form.data, 0, 0, None)
        cnp.set_array_base(array, owner)
        return array

    def forms(self, tensors):
        """The places, dtypes, shapes and strides of tensors, some of them None; None if one is not of those that are read."""
        return self.compared(tensors, True)

    def shapes(self, tensors):
        """The dtypes and shapes of tensors, some of them None; None if one is not of those that are read."""
        return self.compared(tensors, False)

    cdef object compared(self, tensors, bint memory):
        """Bytes to compare with others: a TensorForm for each tensor, zeros for None; without `memory`, of dtypes and shapes."""
        cdef Py_ssize_t number = 0
        cdef bytes forms = PyBytes_FromStringAndSize(NULL, len(tensors) * sizeof(TensorForm))
        cdef TensorForm *form = <TensorForm *>(<char *>forms)
        for tensor in tensors:
            if tensor is None:
                memset(&form[number], 0, sizeof(TensorForm))
            elif not self.describe(tensor, &form[number]):
                return None
            elif not memory:
                form[number].data = NULL
                memset(form[number].strides, 0, sizeof(form.strides))
            number += 1
        return forms

    cdef bint describe(self, tensor, TensorForm *form) except -1:
        """Whether the tensor is of those that are read; form OUT, if it is."""
        cdef DlpackTensor found
        cdef bint empty = False
        if type(tensor) not in self.kinds or tensor.is_neg():  # torch negates later, of which DLPack says nothing
            return False
        try:
            self.functions.look(<PyObject *>tensor, &found)
        except Exception:  # a sparse tensor, say, has no strides
            return False
        if (found.device_type != DLPACK_CPU or found.code != DLPACK_FLOAT or found.bits not in (32, 64) or found.lanes != 1
                or found.ndim > MAX_AXES or found.strides == NULL):
            return False
        memset(form, 0, sizeof(TensorForm))
        form.data = <char *>found.data + found.byte_offset
        form.ndim, form.code, form.bits = found.ndim, found.code, found.bits
        for axis in range(found.ndim):
            form.shape[axis], form.strides[axis] = found.shape[axis], found.strides[axis]
            empty = empty or found.shape[axis] == 0
        return form.data != NULL or empty  # numpy would allocate memory for NULL
