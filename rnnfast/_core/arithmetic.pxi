# The kernels' floating-point environment, for arithmetic in NumPy.

@cython.auto_pickle(False)
cdef class Arithmetic:
    """A `with` block in the floating-point environment of the kernels (csrc/fpenv.h). On exit the caller's is restored.

    Each block needs an object of its own, which keeps the caller's environment.
    """

    cdef uint64_t before

    def __enter__(self):
        self.before = fp_enter()

    def __exit__(self, *exception):
        fp_leave(self.before)
