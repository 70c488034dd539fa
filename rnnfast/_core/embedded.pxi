# An embedded input: rows of a table, chosen by tokens and never copied.

@cython.auto_pickle(False)
cdef class Embedded:
    """The input x[t, b] = table[tokens[t, b]] of a layer that reads it without making it.

    table [V, I] is C-contiguous, of floats; tokens are intp in 0..V-1, of any shape (that of [T, B] for a pass). The caller
    has checked both. Nobody writes into tokens after this.
    """

    cdef readonly cnp.ndarray table, tokens

    def __init__(self, cnp.ndarray table, cnp.ndarray tokens):
        self.table, self.tokens = table.view(), tokens.view()  # own views: the caller may set its arrays' shapes in place

    @property
    def shape(self):
        """Of x: that of the tokens, and I."""
        return (*(<object>self.tokens).shape, cnp.PyArray_DIM(self.table, 1))

    cdef Lookup lookup(self):
        """Which row of a table each row of x is, in the caller's order."""
        cdef Py_ssize_t size = sizeof(Py_ssize_t)
        return Lookup(<const Py_ssize_t *>cnp.PyArray_DATA(self.tokens), cnp.PyArray_STRIDE(self.tokens, 0) // size,
                      cnp.PyArray_STRIDE(self.tokens, 1) // size, NULL, 0, NULL)


cdef inline Rows table_rows(cnp.ndarray table) noexcept:
    """The V rows of a table."""
    return packed_rows(data(table), cnp.PyArray_DIM(table, 0), cnp.PyArray_DIM(table, 1), NULL)

cdef Lookup lookup_in_order(Lookup lookup, const Ragged *ragged, Py_ssize_t B, bint reverse, Py_ssize_t *place, void *table,
                            Py_ssize_t C) noexcept nogil:
    """The same lookup in the order of a pass, and in another table [V, C]; place [B] OUT, if the batch is ragged."""
    if ragged.order != NULL:
        find_places(ragged, B, lookup.s_stride, lookup.b_stride, reverse, place)
        lookup.place = place
    elif reverse:
        lookup.token += (ragged.T - 1) * lookup.s_stride
    if reverse:
        lookup.s_stride = -lookup.s_stride
    lookup.table, lookup.C = table, C
    return lookup

cdef Rows named_rows(const Lookup *lookup, const Ragged *ragged, Py_ssize_t B, const void *table, Py_ssize_t V, Py_ssize_t I,
                     void *rows, const Kernels *k) noexcept nogil:
    """Copies the rows of the table [V, I] that occur among the tokens, in the caller's order, to `rows` [V, I]; the others become
    zero, whatever they hold."""
    cdef Py_ssize_t s, b, token, sequence
    memset(rows, 0, V * I * k.real_size)
    for b in range(B):
        sequence = ragged.order[b] if ragged.order != NULL else b
        for s in range(steps_of(ragged, b)):
            token = lookup.token[s * lookup.s_stride + sequence * lookup.b_stride]
            memcpy(at(rows, token * I, k), at(table, token * I, k), I * k.real_size)
    return packed_rows(rows, V, I, NULL)
