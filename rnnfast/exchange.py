"""Arrays of other libraries: how they are told from other objects, and read without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["is_array", "place", "read"]

_HOST = {1, 3, 11, 13}  # kinds of device in DLPack: the CPU, and memory that it shares with CUDA or ROCm
_NAMES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI", 15: "WebGPU"}


def is_array(value: Any) -> bool:
    """Whether `value` is one array, NumPy's or another library's, and not a list of them."""
    return any(hasattr(value, name) for name in ("__array__", "__dlpack__")) and not isinstance(value, type)


def read(value: Any) -> np.ndarray:
    """`value` as a plain array: by ``__array__``, without it by DLPack, and a list by its entries."""
    exported = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    return np.from_dlpack(value) if exported else np.asarray(value)


def place(value: Any) -> str:
    """The device that holds an array which the CPU does not read, for messages; else an empty string."""
    try:
        kind, number = value.__dlpack_device__()
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError):
        return ""
    return "" if kind in _HOST else f"{_NAMES.get(kind, f'DLPack device {kind:d}')}:{number}"
