"""One set of threads for torch and rnnfast: jobs of rnnfast run on those of torch's OpenMP runtime.

After a parallel operation of torch, its threads wait for the next one, and keep their cores busy for some
milliseconds meanwhile. Threads of rnnfast's own would have to share these cores with them.
"""

from __future__ import annotations

import ctypes

import torch

from rnnfast import _core

__all__ = ["openmp_functions", "share_threads"]

_NAMES = "GOMP_parallel", "omp_get_max_threads", "omp_get_num_threads", "omp_get_thread_num"


def openmp_functions() -> tuple[int, int, int, int] | None:
    """The addresses of these functions in the runtime that torch uses; None where torch uses another kind."""
    if not torch.backends.openmp.is_available():
        return None
    try:
        library = ctypes.CDLL(torch._C.__file__)  # loaded already; its symbols and those of what it needs
        parallel, most, size, number = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _NAMES
        )
    except (AttributeError, OSError):  # not on Linux
        return None
    return (parallel, most, size, number) if parallel and most and size and number else None


def share_threads() -> None:
    """Let every job run on torch's threads, if torch has as many as the job wants."""
    functions = openmp_functions()
    if functions is not None:
        _core.borrow_threads(functions)
