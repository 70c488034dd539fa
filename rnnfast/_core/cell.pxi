# What a pass runs: a cell of the table, its weights, its direction.

NONLINEARITIES = {"tanh": TANH, "relu": RELU, "sigmoid": SIGMOID, "identity": IDENTITY}
CANDIDATES = {"identity": IDENTITY, "positive": POSITIVE, "tanh": TANH}
_WEIGHTS = tuple([weight_names[n].decode() for n in range(WEIGHTS)])

cdef tuple named(int weights):
    """The names of a set of weights."""
    return tuple([name for n, name in enumerate(_WEIGHTS) if weights >> n & 1])


cdef tuple axes_of(const CellInfo *info, int weight):
    """A pair for each axis of a weight: a factor, and the size that it multiplies: "I", "H", "P" or "D"."""
    cdef Axis axes[2]
    cdef int count = weight_axes(info, weight, axes), n
    sizes = {PER_INPUT: "I", PER_HIDDEN: "H", PER_OUTPUT: "P", PER_HEAD_UNIT: "D"}
    return tuple([(axes[n].times, sizes[axes[n].per]) for n in range(count)])


def cell_rows():
    """The table of cells: the arguments of a `CellInfo` for each row."""
    rows = []
    cdef const CellInfo *info
    cdef int n
    for n in range(CELLS):
        info = &cell_table[n]
        rows.append((
            n, info.name.decode(), info.layer.decode(), None if info.option == NULL else info.option.decode(),
            bool(info.option_value), info.plain != n, info.gates.decode(), info.parts.decode(),
            tuple([info.gates[info.x_block[slot]:info.x_block[slot] + 1].decode() for slot in range(info.X)]),
            info.S, bool(info.heads), named(info.required), named(info.optional),
            tuple([_WEIGHTS[weight] for weight in range(WEIGHTS) if is_vector(info, weight)]),
            {name: axes_of(info, weight) for weight, name in enumerate(_WEIGHTS)},
        ))
    return rows


cpdef int find_row(str layer, dict options) except -1:
    """The number of the row of a layer with these options; one that is left out has the value of the layer's first row, and
    `layer_norm` is False."""
    cdef bytes name = layer.encode()
    cdef bint layer_norm = options.get("layer_norm", False)
    cdef int n = find_cell(name, -1, False), row
    if n < 0:
        layers = dict.fromkeys([cell_table[row].layer.decode() for row in range(CELLS)])
        raise ValueError(f"layer: expected one of {', '.join(layers)}, got {layer!r}")
    if cell_table[n].option != NULL and (option := cell_table[n].option.decode()) in options:
        n = find_cell(name, bool(options[option]), layer_norm)
    elif layer_norm:
        n = find_cell(name, -1, True)
    if n < 0:
        raise ValueError(f"layer_norm: expected False for a layer {layer!r} with {options}")
    return n


cdef struct Layer:
    Pass p                    # what all its passes have in common: the cell, its sizes and options, its vector weights
    Py_ssize_t input_size
    bint reverse
    void *weights[WEIGHTS]    # in the order of the table; NULL: not given
    void *scales[WEIGHTS]     # of int8 weights, one for each row; NULL: the largest number of a row gives it

cdef struct Packed:      # weights as the passes read them; NULL: not there
    void *project        # [X*H/(4V)][I][4][V]: W_ih packed flat over its rows
    void *step           # [H/V][P][G][V]: W_hh packed by gates (flat if G = 1); of each head in turn
    void *bias           # [S*H]
    void *second         # [P/(4V)][H][4][V]: W_m packed flat over its rows
    void *norm           # the parameters of layer normalization (NormLayout)
    void *dx             # [I/(4V)][X*H][4][V]: W_ih packed flat over its I columns
    void *back           # [P/(4V)][G*H][4][V]: W_hh packed flat over its P columns; of each head in turn
    void *second_back    # [H/(4V)][P][4][V]: W_m packed flat over its H columns

cdef enum:
    FORWARD_PACKS = 5    # the first of these
    BACKWARD_PACKS = 4   # the others, and the parameters of layer normalization again

cdef inline Packed forward_packed(void *const *buffers) noexcept nogil:
    """The weights of a forward pass in their buffers [FORWARD_PACKS]."""
    return Packed(buffers[0], buffers[1], buffers[2], buffers[3], buffers[4], NULL, NULL, NULL)

cdef struct Kept:        # weights that were packed for the kernels k
    const Kernels *k
    Packed packed
    void *block          # their memory
    Kept *next


@cython.auto_pickle(False)
cdef class Packs:
    """Packed weights that never change: for each set of kernels, what its first forward pass has packed.

    `find` and `add` need a critical section of this object.
    """

    cdef Kept *first

    def __dealloc__(self):
        cdef Kept *kept
        while self.first != NULL:
            kept = self.first
            self.first = kept.next
            workspace_give(NULL, kept.block)
            free(kept)

    def __reduce__(self):
        return Packs, ()  # a copy packs its own

    cdef const Packed *find(self, const Kernels *k) noexcept:
        """What was packed for k, or NULL."""
        cdef Kept *kept = self.first
        while kept != NULL and kept.k != k:
            kept = kept.next
        return NULL if kept == NULL else &kept.packed

    cdef const Packed *add(self, const Kernels *k, const size_t *sizes) except NULL:
        """Memory of these sizes [FORWARD_PACKS], in bytes, into which the caller packs for k before it leaves the critical section."""
        cdef void *buffers[FORWARD_PACKS]
        cdef Kept *kept = <Kept *>calloc(1, sizeof(Kept))
        if kept != NULL:
            kept.block = workspace_take(NULL, FORWARD_PACKS, sizes, buffers)
        if kept == NULL or kept.block == NULL:
            free(kept)
            raise MemoryError("no memory for the packed weights")
        kept.k, kept.next = k, self.first
        kept.packed = forward_packed(buffers)
        self.first = kept
        return &kept.packed


cdef void set_layer(Layer *layer, int cell, int nonlinearity, double cell_clip, bint reverse, Py_ssize_t I, Py_ssize_t H,
                    Py_ssize_t P, int heads, void *const *weights) noexcept nogil:
    """One layer in one direction; a cell_clip of infinity is none."""
    cdef Pass *p = &layer.p
    cdef const CellInfo *info = &cell_table[cell]
    cdef int n
    memset(layer, 0, sizeof(layer[0]))
    memcpy(layer.weights, weights, sizeof(layer.weights))
    layer.input_size, layer.reverse = I, reverse
    p.cell, p.nonlinearity, p.cell_clip = cell, nonlinearity, cell_clip
    p.S, p.X, p.G, p.H, p.P, p.heads, p.D = info.S, info.X, info.G, H, P, heads, H // heads
    p.parts = <int>strlen(info.parts)
    for n in range(WEIGHTS):
        if weights[n] != NULL:
            p.given |= 1 << n
    for n in range(info.vectors):
        p.vector[n] = weights[info.vector[n].weight]

cdef const Kernels *pass_kernels(const Layer *layer, int kind, Py_ssize_t B) noexcept nogil:
    """Those of a forward pass over B sequences. A step of one or two rows waits for weights that the L2 cache does not hold,
    so narrow operands win then, even if the processor multiplies them slowly."""
    cdef const Pass *p = &layer.p
    if kind == BFLOAT16 and B <= 2 and p.X * p.H * p.P * sizeof(float) > l2:
        return shared_kernels(&narrow[kind])
    return shared_kernels(&in_use[kind])

cdef inline void *second_weight(const Pass *p, void *const *weights) noexcept nogil:
    """The weight (or gradient) that contains W_m, of the second product."""
    return weights[cell_table[p.cell].m_weight]

cdef inline bint has_vectors(const Pass *p) noexcept nogil:
    """Whether any vector weight is given."""
    cdef int n
    for n in range(MAX_VECTORS):
        if p.vector[n] != NULL:
            return True
    return False

cdef void set_pointers(void **pointers, dict arrays) noexcept:
    """pointers [WEIGHTS] OUT: the data of weights or gradients, by name."""
    cdef int n
    for n in range(WEIGHTS):
        pointers[n] = data(arrays.get(_WEIGHTS[n]))


@cython.auto_pickle(False)
cdef class Cell:
    """One layer in one direction: its cell, its weights, its direction.

    Parameters
    ----------
    layer : str
        "rnn", "lstm", …: a layer of the table of cells.
    weights : dict of str to ndarray
        C-contiguous arrays of one dtype, which the caller has checked, with the shapes that `CellInfo.weight_shape`
        gives. The caller may change their values between passes, unless `constant`. A weight that is not given is None or
        missing.
    reverse : bool
        Whether it runs from the last step to the first.
    nonlinearity, candidate, cell_clip
        Of the cells that have them.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products; "float32" for float64 weights.
    zoneout : sequence of float
        p of each part of the state, for passes without masks: their expectation. Empty: none.
    scales : dict of str to ndarray [rows]
        Of weights that were quantized to int8 before: float32, one for each row. The weight is integers from -127 to 127
        times these.
    constant : bool
        Whether the weights never change. The first forward pass packs them for all later ones then.
    **options
        The options that select a row of the table: ``coupled_gates``, ``reset_after``. Layer normalization has no option
        here: its parameters are among the weights.
    """

    cdef Layer layer
    cdef readonly str name      # of the layer
    cdef readonly dict weights  # those that are given
    cdef dict scales            # those that are given
    cdef list constants         # [width] p of each part, or None
    cdef Packs packs            # None: each forward pass packs the weights
    cdef int precision          # the kind of kernels for float32 arrays

    def __init__(self, str layer, dict weights, *, reverse=False, nonlinearity="tanh", candidate=None, cell_clip=None,
                 matmul_precision="float32", scales=None, zoneout=(), constant=False, **options):
        cdef void *pointers[WEIGHTS]
        cdef cnp.ndarray weight_ih = weights["weight_ih"], weight_hr = weights.get("weight_hr")
        cdef int function = NONLINEARITIES[nonlinearity] if candidate is None else CANDIDATES[candidate], cell, heads
        cdef Py_ssize_t H
        cell = find_row(layer, {**options, "layer_norm": weights.get("ln_ih_weight") is not None})
        H = cnp.PyArray_DIM(weight_ih, 0) // cell_table[cell].X
        heads = <int>(H // cnp.PyArray_DIM(weights["weight_hh"], 1)) if cell_table[cell].heads else 1
        if cell_table[cell].option != NULL:
            options.pop(cell_table[cell].option.decode(), None)
        if options:
            raise TypeError(f"Cell: unexpected options {', '.join(options)}")
        self.name, self.precision = layer, PRECISIONS[matmul_precision]
        self.packs = Packs() if constant else None
        # Views of its own: the shape of the caller's array may be set in place.
        self.weights = {name: weight.view() for name, weight in weights.items() if weight is not None}
        set_pointers(pointers, self.weights)
        self.scales = dict(scales or {})
        set_layer(&self.layer, cell, function, INFINITY if cell_clip is None else cell_clip,
                  reverse, cnp.PyArray_DIM(weight_ih, 1), H, H if weight_hr is None else cnp.PyArray_DIM(weight_hr, 0), heads, pointers)
        set_pointers(self.layer.scales, self.scales)
        self.constants = [np.full(width, p, weight_ih.dtype) if p else None for width, p in zip(self.widths, zoneout)]
        for part, row in enumerate(self.constants):
            self.layer.p.zone[<int>part] = Rows(data(row), 0, 0, 0, NULL, NULL)
            self.layer.p.masked |= row is not None

    @property
    def kind(self):
        """The name of its row in the table of cells."""
        return cell_table[self.layer.p.cell].name.decode()

    cdef const Packed *packed_for(self, const Kernels *k) except NULL:
        """The constant weights, packed for k."""
        cdef const Packed *packed
        with cython.critical_section(self.packs):
            packed = self.packs.find(k)
            if packed == NULL:
                packed = self.pack(k)
        return packed

    cdef const Packed *pack(self, const Kernels *k) except NULL:
        """Packs the constant weights for k, in a critical section of `packs`."""
        cdef size_t sizes[FORWARD_PACKS]
        cdef const Packed *packed
        cdef uint64_t before
        forward_pack_sizes(k, &self.layer, sizes)
        packed = self.packs.add(k, sizes)
        before = fp_enter()  # biases are added up
        pack_for_forward(k, &self.layer, packed, 0, 1)
        fp_leave(before)
        return packed

    @property
    def reverse(self):
        """Whether it runs from the last step to the first."""
        return self.layer.reverse

    @property
    def input_size(self):
        """I."""
        return self.layer.input_size

    @property
    def hidden_size(self):
        """H."""
        return self.layer.p.H

    @property
    def widths(self):
        """The width of each part of the state: P for h, H for others."""
        return tuple([part_width(&self.layer.p, part) for part in range(self.layer.p.parts)])

    @property
    def slots(self):
        """S: a pass saves S * H numbers for each step and row."""
        return self.layer.p.S

    def new_gradients(self):
        """Uninitialised gradients of the weights, by name."""
        return {name: like(weight) for name, weight in self.weights.items()}


cdef like(cnp.ndarray array):
    """np.empty_like of a C-contiguous array, but faster for small arrays."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array), cnp.PyArray_TYPE(array), 0)


cpdef blank(Py_ssize_t T, Py_ssize_t B, Py_ssize_t N, cnp.dtype dtype, bint batch_first=False):
    """An uninitialised array [T, B, N]; with `batch_first`, contiguous when seen as [B, T, N]. np.empty, but faster for
    small arrays."""
    cdef cnp.npy_intp shape[3]
    shape[0], shape[1], shape[2] = (B, T, N) if batch_first else (T, B, N)
    array = cnp.PyArray_EMPTY(3, shape, dtype.type_num, 0)
    return cnp.PyArray_SwapAxes(array, 0, 1) if batch_first else array


@cython.auto_pickle(False)
cdef class Noise:
    """What zoneout and recurrent dropout do in one pass.

    Attributes
    ----------
    zone : tuple of ndarray [T, B, width] or None, or None
        How much of each part of the state stays as it was before the step; None for a part: zero. None: what the cell says.
    drop : ndarray [B, P] or None
        The factors of h as the products of the state read it.
    fed_initial : ndarray [B, P] or None
        The initial h times these factors; None is zero.
    fed : ndarray [T*B*P or more] or None
        h after every step times these factors, in the order of the pass. The forward pass writes it if there is `drop`.
    """

    cdef readonly tuple zone
    cdef readonly object drop, fed_initial, fed

    def __init__(self, zone=None, drop=None, fed_initial=None, fed=None):
        self.zone, self.drop, self.fed_initial, self.fed = zone, drop, fed_initial, fed

cdef void set_noise(Noise noise, Pass *p) noexcept:
    """Puts the arrays into a pass, in the caller's order."""
    cdef int part
    if noise is None:
        return
    if noise.zone is not None:
        for part in range(p.parts):
            memset(&p.zone[part], 0, sizeof(Rows))
            if noise.zone[part] is not None:
                p.zone[part] = rows_of(noise.zone[part])
    p.drop, p.fed_initial, p.fed.data = data(noise.drop), data(noise.fed_initial), data(noise.fed)
    p.masked = True

cdef void order_noise(Pass *p, const Ragged *ragged, bint reverse, Py_ssize_t *place, const Kernels *k) noexcept nogil:
    """Puts zoneout and the fed h into the order of the pass; place [MAX_PARTS * B] OUT, if the batch is ragged."""
    cdef int part
    for part in range(p.parts):
        if p.zone[part].data != NULL:
            p.zone[part].B = p.B
            p.zone[part] = in_order(p.zone[part], ragged, reverse, place + part * p.B, k)
    if p.fed.data != NULL:
        p.fed = packed_rows(p.fed.data, p.B, p.P, ragged.start)


@cython.auto_pickle(False)
cdef class Tape:
    """One pass: what it reads, what it keeps, and whether a backward pass has used it.

    It refers to x, the weights and y, so nobody may write into them until the backward pass.

    Attributes
    ----------
    cell : Cell
    number : int
        The number of this pass among those whose states are in one array [passes, B, width]. Its direction among the D side by
        side in y is ``number % D``.
    sequences : Sequences or None
        Lengths and resets; None where every sequence has T steps and none is reset.
    x : ndarray [T, B, I] or Embedded
    initial : tuple of ndarray [passes, B, width] or None
        The parts of the initial state; None, also for a part, is zero.
    y : ndarray [T, B, D*P]
        h after every step, of all directions.
    gates : ndarray [T*B*S*H or more] or None
        What the kernels keep for the backward pass; None keeps nothing.
    steps : tuple of ndarray or None
        The further parts of the state after every step, as [T*B*H or more] in the order of the pass or [T, B, H] in the
        caller's order; None keeps the last step alone.
    noise : Noise or None
        Of a pass with masks.
    dh_steps : ndarray [T, B, P] or None
        If it is set, a backward pass writes the gradient of every h there.
    spare : list or None
        Buffers for later passes. A backward pass adds the buffers of its tape.
    """

    cdef readonly Cell cell
    cdef readonly Py_ssize_t number
    cdef readonly Sequences sequences
    cdef readonly object x, initial, y, gates, steps, spare
    cdef readonly Noise noise
    cdef public object dh_steps
    cdef bint used

    def __init__(self, Cell cell, Py_ssize_t number, Sequences sequences, x, initial, y, gates=None, steps=None, spare=None,
                 Noise noise=None):
        self.cell, self.number, self.sequences = cell, number, sequences
        self.x, self.initial, self.y = x, initial, y
        self.gates, self.steps, self.spare, self.noise = gates, steps, spare, noise

    @cython.critical_section
    def use_up(self):
        """Whether this is the first call: only one backward pass may overwrite the gates."""
        cdef bint first = not self.used
        self.used = True
        return first

    def __reduce__(self):
        raise TypeError("a tape cannot be pickled or copied: it belongs to one forward pass")


cdef inline void *part_entry(tuple parts, int part, Py_ssize_t number) noexcept:
    """Entry `number` of a part of a state; NULL where it is None."""
    return NULL if parts is None else entry(parts[part], number)

cdef void set_steps(tuple steps, int part, Rows *rows, void **kept) noexcept:
    """The buffer of a further part of every step: a flat one in `kept`, an array in `rows`."""
    array = None if steps is None else steps[part - 1]
    if array is not None and cnp.PyArray_NDIM(<cnp.ndarray>array) == 1:
        kept[0] = data(array)
    elif array is not None:
        rows[0] = rows_of(array)
