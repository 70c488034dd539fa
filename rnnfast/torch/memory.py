"""An rnnfast layer over the memory of a module's weights: nothing is copied; what torch writes, it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rnnfast.nn.parameter import Parameter
from rnnfast.recurrent import Recurrent


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The memory of a tensor on the CPU as an array, whether or not it wants a gradient."""
    return tensor.numpy(force=True)


class Borrowed(Parameter):
    """A parameter in memory that is another's; its gradient goes another way."""

    __slots__ = ()

    def __init__(self, data: np.ndarray) -> None:
        self._data = data
        self._grad = None


class Places:
    """Where the memory of some tensors is, kept alive; torch may still move it, into shared memory."""

    __slots__ = ("__weakref__", "_pointers", "_tensors")

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = [tensor.detach() for tensor in tensors]
        self._pointers = [tensor.data_ptr() for tensor in tensors]

    def hold(self) -> bool:
        """Whether it is still there."""
        return self.are_of(self._tensors)

    def are_of(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the memory of these is the same."""
        for tensor, pointer in zip(tensors, self._pointers, strict=True):
            if tensor.data_ptr() != pointer:
                return False
        return True


class View:
    """A layer that reads weights where they lie, for as long as they stay there.

    Parameters
    ----------
    layer : Recurrent
        Whose options and names of parameters it has.
    weights : sequence of torch.Tensor
        One for each parameter of `layer`, in their order.

    Attributes
    ----------
    layer : Recurrent
        Over the weights' memory; of a weight that is not contiguous, over a copy.
    places : Places
        Where the weights are.
    """

    __slots__ = ("_dtype", "layer", "places")

    def __init__(self, layer: Recurrent, weights: Sequence[torch.Tensor]) -> None:
        names = [name for name, _ in layer.named_parameters()]
        borrowed = [Borrowed(np.ascontiguousarray(array_of(weight))) for weight in weights]
        parameters = dict(zip(names, borrowed, strict=True))
        self.layer = object.__new__(type(layer))
        self.layer.__setstate__(layer.__getstate__() | {"_parameters": parameters})
        self.places = Places(*weights)
        self._dtype = weights[0].dtype

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy of a module has weights, and then a view, of its own

    def shows(self, weights: Sequence[torch.Tensor]) -> bool:
        """Whether it reads these very weights."""
        if weights[0].dtype is not self._dtype or not self.places.are_of(weights):
            return False
        return all([weight.is_contiguous() for weight in weights])


def view_of(weights: Sequence[torch.Tensor], last: View | None, new_layer: Callable[[], Recurrent]) -> View:
    """A view of these weights: the last one if it is, else one with its options, at first a new layer's."""
    if last is None:
        return View(new_layer(), weights)
    return last if last.shows(weights) else View(last.layer, weights)
