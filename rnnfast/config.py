"""What this installation is: version, kernels compiled and chosen, threads, BLAS; the header for C."""

from __future__ import annotations

import os

import numpy as np

from rnnfast import _core

__all__ = ["__version__", "config", "get_include", "show_config"]

__version__ = "0.1.0"

_INT8 = {"avx512": "VPDPBUSD", "avx2": "VPDPBUSD", "neon": "SDOT"}  # the instruction of each set's kernels


def get_include() -> str:
    """The folder of ``rnnfast.h``, for compilers: what a C extension or a Cython module is built with.

    Returns
    -------
    str
        An include path. The functions behind the header are reached by ``rnnfast_import()`` in C, and by
        ``from rnnfast.capi cimport *`` in Cython.

    Examples
    --------
    >>> import os, rnnfast as rf
    >>> os.listdir(rf.get_include())
    ['rnnfast.h']
    """
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "include")


def config() -> dict[str, object]:
    """The facts that `show_config` prints, as a dict."""
    own = _core.product_instructions()
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {
        "version": __version__,
        "kernels": _core.get_isa(),
        "bfloat16 products": "VDPBF16PS" if "bfloat16" in own else "float32 multiply-adds",
        "int8 products": "integer multiply-adds" if "int8" not in own else _INT8[_core.get_isa()],
        "kernels compiled": _core.compiled_isas(),
        "kernels this machine runs": _core.available_isas(),
        "threads": _core.get_num_threads(),
        "numpy": np.__version__,
        "numpy's BLAS": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def show_config() -> None:
    """Print the version, the kernels compiled and chosen, the threads, and NumPy's version and BLAS.

    RNNFAST_ISA=scalar|avx2|avx512|neon chooses the kernels, RNNFAST_NUM_THREADS the threads; both are read at
    import.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rf.show_config()  # doctest: +ELLIPSIS
    rnnfast ...
    """
    facts = config()
    print(f"rnnfast {facts.pop('version')}")
    for name, fact in facts.items():
        print(f"  {name}: {', '.join(fact) if isinstance(fact, list) else fact}")
