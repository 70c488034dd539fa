# The floating-point environment of arithmetic in NumPy.

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
