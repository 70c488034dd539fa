"""An rnnfast layer over the memory of a module's weights: nothing is copied; what torch writes, it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.dlpack import to_dlpack

from rnnfast.checks import block
from rnnfast.nn.parameter import Parameter
from rnnfast.recurrent import Recurrent

__all__ = ["Borrowed", "Places", "View", "array_of", "layer_over"]


class _Lent:
    """A tensor for `numpy.from_dlpack`, which would ask torch's own method at more length."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **_: Any) -> Any:
        return to_dlpack(self._tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a tensor on the CPU as an array, not to be written; also if it wants a gradient.

    ``tensor.numpy()`` would keep torch from ever resizing the tensor.
    """
    if tensor.requires_grad:
        tensor = tensor.detach()
    return np.from_dlpack(_Lent(tensor.resolve_neg() if tensor.is_neg() else tensor))


class Borrowed(Parameter):
    """A parameter in memory that is another's; its gradient goes another way."""

    __slots__ = ()

    def __init__(self, data: np.ndarray) -> None:
        self._hold(data, None)


def layer_over(layer: Recurrent, arrays: Iterable[np.ndarray]) -> Recurrent:
    """A layer with the options of `layer` over these arrays, in the order of its parameters."""
    names = [name for name, _ in layer.named_parameters()]
    parameters = dict(zip(names, map(Borrowed, arrays), strict=True))
    new = object.__new__(type(layer))
    new.__setstate__(layer.__getstate__() | {"_parameters": parameters})
    return new


class Places:
    """Where the memory of some tensors is, kept alive; torch may still move it, into shared memory."""

    __slots__ = ("__weakref__", "_pointers", "_tensors")

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = [tensor.detach() for tensor in tensors]
        self._pointers = [tensor.data_ptr() for tensor in tensors]

    def are_of(self, *tensors: torch.Tensor) -> bool:
        """Whether these tensors are there."""
        return self._pointers == [tensor.data_ptr() for tensor in tensors]

    def hold(self) -> bool:
        """Whether it is still there."""
        for tensor, pointer in zip(self._tensors, self._pointers, strict=True):
            if tensor.data_ptr() != pointer:
                return False
        return True


class View:
    """A layer that reads weights in place, for as long as they stay there.

    Parameters
    ----------
    layer : Recurrent
        Whose options and names of parameters it has.
    weights : sequence of torch.Tensor
        One for each parameter of `layer`, in their order.
    options : dict
        Those of the module that `layer` was made with.
    precision : str
        Of the products, whichever `layer` has.

    Attributes
    ----------
    layer : Recurrent
        Over the weights' memory; over a copy of a weight in another layout.
    options : dict
    precision : str
        As given.
    places : Places
        Where the weights are.
    """

    __slots__ = ("_copied", "_forms", "layer", "options", "places", "precision")

    def __init__(
        self, layer: Recurrent, weights: Sequence[torch.Tensor], options: dict[str, Any], precision: str
    ) -> None:
        arrays = [block(array_of(weight)) for weight in weights]
        self.layer = layer_over(layer, arrays)
        self.layer.__dict__["_precision"] = precision
        self.options, self.precision = options, precision
        self.places = Places(*weights)
        self._forms = [(weight.data_ptr(), weight.dtype, weight.shape) for weight in weights]
        places = [array.__array_interface__["data"][0] for array in arrays]
        self._copied = places != [weight.data_ptr() for weight in weights]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy of a module has weights, and then a view, of its own

    def shows(self, weights: Sequence[torch.Tensor]) -> bool:
        """Whether it reads these very weights."""
        if self._copied:
            return False
        for weight, (pointer, dtype, shape) in zip(weights, self._forms, strict=True):
            if (
                weight.data_ptr() != pointer
                or weight.dtype is not dtype
                or weight.shape != shape
                or not weight.is_contiguous()
                or weight.is_neg()
            ):
                return False
        return True
