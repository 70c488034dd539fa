# The kernels and the number of threads of every call, the thread that looks for signals, and a count of calls. No other state
# outlives a call. Free-threaded Python has no GIL, so what may change after the import is atomic or has a lock.

cdef object choosing = threading.Lock()  # for `chosen`
cdef const Implementation *chosen = NULL
cdef SharedKernels in_use[KINDS]
cdef SharedKernels narrow[KINDS]  # those with the smallest operands, also where others are faster
cdef SharedInt threads
cdef int cores = min(threads_available(), quota.cores(1 << 16))
cdef double l2 = l2_bytes()
cdef SharedInt forced_split  # COST_MODEL decides unless tests force one of the others
cdef enum:
    COST_MODEL, BY_UNITS, BY_ROWS
cdef SharedCount runs        # passes and single steps so far

cdef unsigned long main_thread = threading.main_thread().ident  # Python's, which runs the signal handlers; set after a fork, when
                                                                # the child has no other thread

def adopt_main_thread():
    """Makes the calling thread the main one, as it is in a forked child."""
    global main_thread
    main_thread = PyThread_get_thread_ident()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=adopt_main_thread)

PRECISIONS = {"float32": FLOAT32, "bfloat16": BFLOAT16, "int8": INT8}  # of the operands of products, where arrays are float32


cdef inline bint is_main_thread() noexcept:
    return PyThread_get_thread_ident() == main_thread


def runs_so_far():
    """The number of passes and single steps that the kernels have run. It shows whether a call reached them."""
    return shared_count(&runs)


cdef const Implementation *find(name) except NULL:
    """The implementation of that name, or the best one that runs here if name is None."""
    cdef const char *wanted = NULL
    if name is not None:
        encoded = name.encode()
        wanted = encoded
    cdef const Implementation *found = find_implementation(wanted)
    if found == NULL:
        raise ValueError(f"RNNFAST_ISA: expected one of {', '.join(compiled_isas())}, got {name!r}")
    if not found.runs_here():
        raise ValueError(f"RNNFAST_ISA: {name!r} ({found.description.decode()}) "
                         f"does not run on this machine, which has {', '.join(available_isas())}")
    return found


def compiled_isas():
    """Names of the instruction sets that this build has kernels for, best first."""
    names = []
    cdef int n = 0
    while implementations[n].name != NULL:
        names.append(implementations[n].name.decode())
        n += 1
    return names


def available_isas():
    """Names of the compiled instruction sets that this machine can run, best first."""
    return [name for n, name in enumerate(compiled_isas()) if implementations[<int>n].runs_here()]


def force_isa(name, instructions=None):
    """Makes every later call use these kernels. For tests: users set RNNFAST_ISA before they import.

    `instructions`: whether products use instructions that some processors of this instruction set lack. None: where such an
    instruction is faster.
    """
    global chosen
    cdef int kind
    cdef const Kernels *usual
    cdef const Kernels *narrowest
    cdef const Instruction *own
    with choosing:
        chosen = find(name)
        for kind in range(KINDS):
            own = &chosen.instruction[kind]
            usual = narrowest = chosen.kernels[kind]
            if instructions is not False and own.kernels != NULL and own.runs_here():
                narrowest = own.kernels
                if instructions or own.pays():
                    usual = own.kernels
            shared_set_kernels(&in_use[kind], usual)
            shared_set_kernels(&narrow[kind], narrowest)


def product_instructions():
    """The precisions whose products have an instruction of their own here, of those that some processors lack."""
    with choosing:
        return [name for name, kind in PRECISIONS.items()
                if shared_kernels(&in_use[<int>kind]) != chosen.kernels[<int>kind]]


def get_isa():
    """The name of the kernels in use."""
    with choosing:
        return chosen.name.decode()


def force_split(split):
    """Makes every later call split its work "rows" or "units". None: the cost model decides. For tests."""
    cdef int forced = {None: COST_MODEL, "units": BY_UNITS, "rows": BY_ROWS}[split]
    shared_set_int(&forced_split, forced)
    threads_insist(forced != COST_MODEL)


cdef dict lenders = {}  # the OpenMP, as bytes, of all functions borrowed so far: a job may call them at any time


def borrow_threads(functions):
    """Makes every later job run on the threads of an OpenMP runtime, if that has as many as the job wants.

    `functions` are the addresses of GOMP_parallel, omp_get_max_threads, omp_get_num_threads and omp_get_thread_num, and stay valid.
    None: on rnnfast's own threads, as in a forked child always.
    """
    cdef OpenMP runtime
    cdef bytes kept
    if functions is None:
        threads_borrow(NULL)
        return
    parallel, most, size, number = functions
    runtime.parallel = <OpenMPParallel><size_t>parallel
    runtime.most = <OpenMPCount><size_t>most
    runtime.size = <OpenMPCount><size_t>size
    runtime.number = <OpenMPCount><size_t>number
    kept = lenders.setdefault((parallel, most, size, number), (<char *>&runtime)[:sizeof(runtime)])
    threads_borrow(<const OpenMP *><const char *>kept)


threads_notice_forks()


def set_num_threads(n):
    """Sets how many threads every later call may use.

    Parameters
    ----------
    n : int
        At least 1. Small work runs on one thread whatever `n` is; results never depend on it.

    Raises
    ------
    TypeError, ValueError
        If `n` is no integer, or not in 1..256.

    Examples
    --------
    >>> import rnnfast as rf
    >>> before = rf.get_num_threads()
    >>> rf.set_num_threads(1)
    >>> rf.get_num_threads()
    1
    >>> rf.set_num_threads(before)
    """
    if isinstance(n, bool) or not hasattr(n, "__index__") or np.ndim(n):
        raise TypeError(f"n: expected an integer, got {type(n).__name__}")
    if not 1 <= n.__index__() <= 256:
        raise ValueError(f"n: expected a number of threads from 1 to 256, got {n}")
    shared_set_int(&threads, n.__index__())


def get_num_threads():
    """How many threads a call may use: the cores of this process, RNNFAST_NUM_THREADS, or what `set_num_threads` set.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rf.get_num_threads() >= 1
    True
    """
    return shared_int(&threads)


def configure(environment):
    """Reads RNNFAST_ISA and RNNFAST_NUM_THREADS; called once, at import."""
    force_isa(environment.get("RNNFAST_ISA") or None)
    given = environment.get("RNNFAST_NUM_THREADS")
    if not given:
        set_num_threads(cores)
    elif not given.isdecimal() or len(given) > 640 or not 1 <= int(given) <= 256:  # `int` may refuse more digits than 640
        raise ValueError(f"RNNFAST_NUM_THREADS: expected a number of threads from 1 to 256, got {given[:80]!r}")
    else:
        set_num_threads(int(given))


configure(os.environ)
TRAINABLE = tuple([name for name, kind in PRECISIONS.items() if shared_kernels(&in_use[<int>kind]).trains])  # those that have gradients
