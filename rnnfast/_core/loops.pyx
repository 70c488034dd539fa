# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The time loops, forward and backpropagation through time, over the C kernels, without the GIL.

Python callers have checked all arrays that come here. A call lays out its scratch memory, packs the weights, and
hands one job to a team of workers; a worker runs its share of every chunk of time. Work is split over the rows of the batch
(no worker waits for another) or over the hidden units (a barrier at each step, and each worker's slice of the weights stays
in its own cache). No split changes a bit of any result.

A job describes one pass in the caller's terms: rows of its arrays, pointers to its states. `run_forward` and `run_backward`
know nothing of Python; `forward` and `backward` fill their jobs from NumPy arrays, the plans of the C API from pointers.

In free-threaded Python, a critical section does what the GIL does elsewhere: nobody else enters the object meanwhile. With the GIL
it compiles to nothing. Both hold only as long as the code inside calls nothing of Python.

It is one compiled module. Its files, each of which uses only those above it:

    settings    kernels and threads in use        forward    the forward pass, and stacks of passes
    layout      arrays as rows, weights as blocks  backward   the backward pass
    arithmetic  sums of gradients, as NumPy's      dropout    random masks
    sequences   lengths and resets                 measure    vector functions and FMA peak, for tests and benchmarks
    cell        a cell, its weights, its tape      stream     one step at a time
    schedule    workers and their shares           plan       plans of the C API: options and memory
    embedded    inputs that are rows of a table    capi       the functions of rnnfast.h
    linear      dense layers                       xla         custom calls of compiled JAX programs
    layernorm   layer normalization
    ctc         the CTC loss                       dlpack     tensors of torch as arrays
    turn        what one thread uses at a time
"""
import os
import threading

import numpy as np

from rnnfast._core import quota

cimport cython
cimport numpy as cnp
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport INFINITY, NAN, log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strcmp, strlen
from rnnfast._core.kernels cimport *
from rnnfast.capi cimport *

cnp.import_array()

cdef extern from *:
    """
    /* Runs pending signal handlers; -1 leaves the exception set for raise_pending. Needs the GIL. */
    static int signals_raise(void) { return PyErr_CheckSignals(); }
    static int raise_pending(void) { return PyErr_Occurred() ? -1 : 0; }
    """
    int signals_raise() noexcept
    int raise_pending() except -1
    unsigned long PyThread_get_thread_ident()

include "settings.pxi"
include "layout.pxi"
include "arithmetic.pxi"
include "turn.pxi"
include "sequences.pxi"
include "cell.pxi"
include "schedule.pxi"
include "embedded.pxi"
include "linear.pxi"
include "biases.pxi"
include "layernorm.pxi"
include "ctc.pxi"
include "forward.pxi"
include "backward.pxi"
include "dropout.pxi"
include "measure.pxi"
include "stream.pxi"
include "plan.pxi"
include "capi.pxi"
include "xla.pxi"
include "dlpack.pxi"
