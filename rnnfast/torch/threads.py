"""One set of threads for torch and rnnfast: jobs of rnnfast run on those of torch's OpenMP runtime.

After a parallel operation of torch, its threads wait for the next one, and keep their cores busy for some
milliseconds meanwhile. Threads of rnnfast's own would have to share these cores with them.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

from rnnfast import _core

__all__ = ["openmp_functions", "share_threads"]

_NAMES = "GOMP_parallel", "omp_get_max_threads", "omp_get_num_threads", "omp_get_thread_num"
_PF_FORKNOEXEC = 0x40  # of Linux's include/linux/sched.h: forked, and no program started since


def openmp_functions() -> tuple[int, int, int, int] | None:
    """The addresses of these functions in the runtime that torch uses; None where torch uses another kind."""
    if not torch.backends.openmp.is_available():
        return None
    try:
        # As the loader bound torch's calls: first to what all libraries see, such as a preloaded runtime.
        library = ctypes.CDLL(None)
        if not all(hasattr(library, name) for name in _NAMES):
            library = ctypes.CDLL(torch._C.__file__)  # loaded already; its symbols and those of what it needs
        parallel, most, size, number = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in _NAMES
        )
    except (AttributeError, OSError, TypeError):  # not on Linux
        return None
    return (parallel, most, size, number) if parallel and most and size and number else None


def forked() -> bool:
    """Whether this process is a fork of another program's, as far as Linux tells.

    The parent may have used torch's threads before rnnfast was imported. The child's runtime would wait for
    them for ever.
    """
    try:
        flags = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6]
    except OSError:
        return False
    return bool(int(flags) & _PF_FORKNOEXEC)


def share_threads() -> None:
    """Let every job run on torch's threads, if torch has as many as it wants. Not in a forked process."""
    functions = None if forked() else openmp_functions()
    if functions is not None:
        _core.borrow_threads(functions)
