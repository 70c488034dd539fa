# The floating-point environment of what NumPy computes beside the kernels.

@cython.auto_pickle(False)
cdef class Arithmetic:
    """A `with` block that rounds to nearest and has subnormal numbers, whatever the caller's floating-point environment is;
    behind it stands the caller's again.

    One object for each block: it keeps what the caller had.
    """

    cdef uint64_t before

    def __enter__(self):
        self.before = fp_enter_default()

    def __exit__(self, *exception):
        fp_leave(self.before)
