# An embedded input: rows of a table, named by tokens and never laid out.

@cython.auto_pickle(False)
cdef class Embedded:
    """The input x[t, b] = table[tokens[t, b]] of a layer that reads it without making it.

    table [V, I] is C-contiguous, of floats; tokens are intp in 0..V-1, of any shape (that of [T, B] for a pass). The caller
    has checked both, and owns tokens alone: nobody writes into them any more.
    """

    cdef readonly cnp.ndarray table, tokens

    def __init__(self, cnp.ndarray table, cnp.ndarray tokens):
        self.table, self.tokens = table, tokens

    @property
    def shape(self):
        """Of x: that of the tokens, and I."""
        return (*(<object>self.tokens).shape, cnp.PyArray_DIM(self.table, 1))

    cdef Rows rows(self):
        """The V rows of the table."""
        return packed_rows(data(self.table), cnp.PyArray_DIM(self.table, 0), cnp.PyArray_DIM(self.table, 1), NULL)

    cdef Lookup lookup(self, const Ragged *ragged, bint reverse, Py_ssize_t *place, void *table, Py_ssize_t C):
        """Where in another table, [V, C], the rows of a pass stand; place [B] OUT, if the batch is ragged."""
        cdef Py_ssize_t size = sizeof(Py_ssize_t), B = cnp.PyArray_DIM(self.tokens, 1)
        cdef Py_ssize_t s_stride = cnp.PyArray_STRIDE(self.tokens, 0) // size
        cdef Py_ssize_t b_stride = cnp.PyArray_STRIDE(self.tokens, 1) // size
        cdef const Py_ssize_t *token = <const Py_ssize_t *>cnp.PyArray_DATA(self.tokens)
        if ragged.order != NULL:
            find_places(ragged, B, s_stride, b_stride, reverse, place)
            return Lookup(token, -s_stride if reverse else s_stride, 0, place, C, table)
        if reverse:
            return Lookup(token + (ragged.T - 1) * s_stride, -s_stride, b_stride, NULL, C, table)
        return Lookup(token, s_stride, b_stride, NULL, C, table)

    cdef Rows named_rows(self, const Ragged *ragged, void *rows, const Kernels *k):
        """The rows of the table that tokens name, in `rows` [V, I]; what stands in the others, NaN perhaps, stays out."""
        cdef Py_ssize_t B = cnp.PyArray_DIM(self.tokens, 1), s, b, token, sequence
        cdef Py_ssize_t V = cnp.PyArray_DIM(self.table, 0), I = cnp.PyArray_DIM(self.table, 1)
        cdef const Py_ssize_t[:, :] tokens = self.tokens
        memset(rows, 0, V * I * k.real_size)
        for b in range(B):
            sequence = ragged.order[b] if ragged.order != NULL else b
            for s in range(steps_of(ragged, b)):
                token = tokens[s, sequence]
                memcpy(at(rows, token * I, k), at(data(self.table), token * I, k), I * k.real_size)
        return packed_rows(rows, V, I, NULL)
