"""The speed of the machine: multiply-adds on registers, and reading of arrays of several sizes."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata

import numpy as np

import rnnfast as rf
from rnnfast import _core

__all__ = ["describe", "fma_peak", "read_bandwidths"]

TURNS = 200_000  # rounds of the loop whose speed is the peak: a fraction of a millisecond
READ = {"256 KB": 2**18, "8 MB": 2**23, "128 MB": 2**27}
ENOUGH = 0.2  # seconds to read memory of one size


def fma_peak(dtype: str = "float32") -> float:
    """Run multiply-adds on registers alone, on one thread, and return the number of flops.

    Their speed is the peak. The number of threads is restored.
    """
    threads = rf.get_num_threads()
    rf.set_num_threads(1)
    flops: float = _core.fma_chains(dtype, TURNS)
    rf.set_num_threads(threads)
    return flops


def read_bandwidths() -> dict[str, float]:
    """GB/s at which a dot product reads two float32 arrays of each total size, on one thread."""
    found = {}
    for name, size in READ.items():
        a, b = np.ones((2, size // 8), np.float32)
        repeats = max(1, 2**24 // size)
        best, end = np.inf, time.perf_counter() + ENOUGH
        while time.perf_counter() < end:
            begin = time.perf_counter()
            for _ in range(repeats):
                np.dot(a, b)
            best = min(best, (time.perf_counter() - begin) / repeats)
        found[name] = size / best / 1e9
    return found


def describe(packages: tuple[str, ...]) -> dict[str, str]:
    """The machine, the kernels and the installed versions, in words."""
    facts = {
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "kernels": _core.get_isa(),
        "python": platform.python_version(),
        "rnnfast": rf.__version__,
        "numpy": np.__version__,
    }
    for package in packages:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts
