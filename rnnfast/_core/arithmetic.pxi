# The kernels' floating-point environment for what NumPy computes beside them.

@cython.auto_pickle(False)
cdef class Arithmetic:
    """A `with` block in the floating-point environment of the kernels (csrc/fpenv.h); behind it stands the caller's again.

    One object for each block: it keeps what the caller had.
    """

    cdef uint64_t before

    def __enter__(self):
        self.before = fp_enter()

    def __exit__(self, *exception):
        fp_leave(self.before)
