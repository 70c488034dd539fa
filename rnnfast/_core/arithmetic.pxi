# The floating-point environment of arithmetic in NumPy.

cdef enum:
    ADDED_AT_ONCE = 1 << 16  # the most numbers; NumPy adds larger arrays as fast, and releases the GIL

@cython.auto_pickle(False)
cdef class Arithmetic:
    """A `with` block that rounds to nearest and has subnormal numbers, whatever the caller's floating-point environment is.
    On exit the caller's is restored.

    Each block needs an object of its own, which keeps the caller's environment.
    """

    cdef uint64_t before

    def __enter__(self):
        self.before = fp_enter_default()

    def __exit__(self, *exception):
        fp_leave(self.before)


def first_unfit(list arrays, list likes):
    """The number of the first array that cannot be written, or differs from its like in shape or type. -1: there is none. An
    entry None is skipped."""
    cdef Py_ssize_t n
    cdef int axis
    cdef cnp.ndarray array, like
    for n in range(len(arrays)):
        if arrays[n] is None:
            continue
        array, like = arrays[n], likes[n]
        if (not cnp.PyArray_ISWRITEABLE(array) or cnp.PyArray_TYPE(array) != cnp.PyArray_TYPE(like)
                or cnp.PyArray_NDIM(array) != cnp.PyArray_NDIM(like)):
            return n
        for axis in range(cnp.PyArray_NDIM(array)):
            if cnp.PyArray_DIM(array, axis) != cnp.PyArray_DIM(like, axis):
                return n
    return -1


def add_arrays(list sums, list arrays):
    """sums[n] += arrays[n], in the environment of `Arithmetic`; both are float32 or float64, of one shape. The kernels add small
    arrays that are C-contiguous and aligned, NumPy adds the others."""
    cdef Py_ssize_t n
    cdef cnp.ndarray total, array
    cdef uint64_t before = fp_enter_default()
    try:
        for n in range(len(sums)):
            total, array = sums[n], arrays[n]
            if cnp.PyArray_ISCARRAY(total) and cnp.PyArray_ISCARRAY_RO(array) and cnp.PyArray_SIZE(total) < ADDED_AT_ONCE:
                kernels_for(total).add(cnp.PyArray_SIZE(total), data(array), data(total))
            else:
                np.add(total, array, out=total)
    finally:
        fp_leave(before)
