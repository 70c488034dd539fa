# What keeps threads out of an object that one of them uses.

@cython.auto_pickle(False)
cdef class Turn:
    """A `with` block for one thread at a time: another one gets a RuntimeError. The thread inside may enter again, as its signal
    handlers do.

    Parameters
    ----------
    name : str
        What the error calls the object.
    """

    cdef str name
    cdef unsigned long thread  # the one inside
    cdef int depth             # how often it has entered

    def __init__(self, str name):
        self.name = name

    def __enter__(self):
        if not self.enter(PyThread_get_thread_ident()):
            raise RuntimeError(f"{self.name}: expected one thread at a time, got a second one while the first is inside; "
                               "give each thread an object of its own, or share a lock")

    @cython.critical_section
    def __exit__(self, *exception):
        self.depth -= 1

    @cython.critical_section
    cdef bint enter(self, unsigned long thread) noexcept:
        """Whether this thread is inside now."""
        if self.depth and self.thread != thread:
            return False
        self.thread = thread
        self.depth += 1
        return True
