"""torch's tensors on the CPU as the kernels see them: arrays over their memory, and forms to compare.

`array_of` gives the memory of a tensor as an array, which nobody may write into. None stays None. A tensor
may want a gradient. (``tensor.numpy()`` would keep torch from ever resizing it.) The array may hold the
tensor itself, with its graph. A tensor whose memory was freed is a RuntimeError.

`forms_of` gives the places, dtypes, shapes and strides of tensors, `shapes_of` their dtypes and shapes. Both
are for comparing with others, and both are None if a tensor is not a plain one of float32 or float64 on the
CPU. A None among the tensors has a form too.

All three take a fraction of a microsecond, by the C functions of DLPack, which torch has since version 2.10.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import to_dlpack

from rnnfast import _core

__all__ = ["FLOATS", "PLAIN", "PythonReader", "array_of", "forms_of", "shapes_of"]

# The classes of tensors that are nothing but their memory, and the dtypes that the kernels read.
PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
FLOATS = frozenset({torch.float32, torch.float64})


class _Lent:
    """A tensor for `numpy.from_dlpack`, which would ask torch's own method at more length."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return to_dlpack(self._tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


class PythonReader:
    """What `_core.TensorReader` does, for a torch without these C functions."""

    def array(self, tensor: torch.Tensor | None) -> Any:
        """See `array_of`."""
        if tensor is None:
            return None
        if tensor.requires_grad:
            tensor = tensor.detach()
        if tensor.data_ptr() == 0 and tensor.numel():  # numpy would allocate memory
            raise RuntimeError(
                "rnnfast.torch: expected a tensor with memory, got one whose storage was resized to 0 bytes, "
                "or torch's zeros without memory"
            )
        return np.from_dlpack(_Lent(tensor.resolve_neg() if tensor.is_neg() else tensor))

    def forms(self, tensors: Iterable[torch.Tensor | None]) -> Any:
        """See `forms_of`."""
        return _compared(tensors, memory=True)

    def shapes(self, tensors: Iterable[torch.Tensor | None]) -> Any:
        """See `shapes_of`."""
        return _compared(tensors, memory=False)


def _compared(tensors: Iterable[torch.Tensor | None], memory: bool) -> list[Any] | None:
    compared: list[Any] = []
    for tensor in tensors:
        if tensor is None:
            compared.append(None)
        elif type(tensor) not in PLAIN or not tensor.is_cpu or tensor.dtype not in FLOATS:
            return None
        elif tensor.layout is not torch.strided or tensor.is_neg():
            return None
        else:
            try:
                place = tensor.data_ptr(), tensor.stride()
            except RuntimeError:  # within a transform of torch.func, it has no memory
                return None
            if place[0] == 0 and tensor.numel():
                return None
            compared.append((tensor.dtype, tensor.shape, place if memory else None))
    return compared


def _reader() -> _core.TensorReader | PythonReader:
    slow = PythonReader()
    functions = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if type(functions).__name__ != "PyCapsule":  # also where Sphinx stands in for torch
        return slow
    try:
        return _core.TensorReader(functions, PLAIN, slow.array)
    except BufferError:  # a DLPack to come
        return slow


_READER = _reader()
array_of = _READER.array
forms_of = _READER.forms
shapes_of = _READER.shapes
