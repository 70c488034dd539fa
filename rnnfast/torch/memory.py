"""An rnnfast layer over the memory of a module's weights: nothing is copied; what torch writes, it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from rnnfast.checks import block
from rnnfast.nn.parameter import Parameter
from rnnfast.recurrent import Recurrent
from rnnfast.torch.tensors import array_of, forms_of

__all__ = ["Borrowed", "Places", "View", "layer_over"]


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
        self._tensors = list(map(torch.Tensor.detach, tensors))
        self._pointers = list(map(torch.Tensor.data_ptr, tensors))

    def are_of(self, *tensors: torch.Tensor) -> bool:
        """Whether these tensors are there."""
        return self._pointers == list(map(torch.Tensor.data_ptr, tensors))

    def arrays(self) -> list[np.ndarray]:
        """The memory as arrays.

        They hold these tensors, and not the given ones: an array of a weight would keep its graph, and keep
        torch from swapping it.
        """
        return list(map(array_of, self._tensors))

    def hold(self) -> bool:
        """Whether it is still there."""
        return self.are_of(*self._tensors)


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
    form : object
        That of the last call whose arguments were found to be right; None before.
    places : Places
        Where the weights are.
    """

    __slots__ = ("_forms", "form", "layer", "options", "places", "precision")

    def __init__(
        self, layer: Recurrent, weights: Sequence[torch.Tensor], options: dict[str, Any], precision: str
    ) -> None:
        self.places = Places(*weights)
        arrays = list(map(block, self.places.arrays()))
        self.layer = layer_over(layer, arrays)
        self.layer.__dict__["_precision"] = precision
        self.options, self.precision = options, precision
        self.form: Any = None
        places = [array.__array_interface__["data"][0] for array in arrays]
        copied = places != [weight.data_ptr() for weight in weights]
        self._forms = None if copied else forms_of(weights)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # a copy of a module has weights, and then a view, of its own

    def shows(self, weights: Sequence[torch.Tensor]) -> bool:
        """Whether it reads these very weights."""
        return self._forms is not None and forms_of(weights) == self._forms
