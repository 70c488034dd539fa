"""The gradients of all parameters of a model in one array for each dtype, and weighted sums of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.arithmetic import to_nearest
from rnnfast.nn.module import Module

__all__ = ["FlatGradients", "Term"]


class Term(NamedTuple):
    """Gradients in a sum: their factor, the parameters that have none, and flat arrays."""

    share: float
    missing: Sequence[str]
    arrays: Sequence[NDArray]


class FlatGradients:
    """The places of a model's parameters in flat arrays, one for each dtype.

    Attributes
    ----------
    arrays : int
        The number of flat arrays.
    """

    def __init__(self, model: Module) -> None:
        self._parameters = dict(model.named_parameters())
        self._sizes: dict[np.dtype, int] = {}
        self._places: dict[str, tuple[np.dtype, slice]] = {}
        for name, parameter in self._parameters.items():
            start = self._sizes.get(parameter.dtype, 0)
            self._sizes[parameter.dtype] = stop = start + parameter.size
            self._places[name] = parameter.dtype, slice(start, stop)
        self.arrays = len(self._sizes)

    def packed(self, grads: Mapping[str, NDArray]) -> tuple[list[NDArray], list[str]]:
        """Flat arrays of gradients by name, and the names of the parameters that have none."""
        flat = {dtype: np.zeros(size, dtype) for dtype, size in self._sizes.items()}
        for name, grad in grads.items():
            dtype, place = self._places[name]
            flat[dtype][place] = grad.reshape(-1)
        return list(flat.values()), [name for name in self._places if name not in grads]

    @to_nearest
    def set_sum(self, terms: Sequence[Term]) -> None:
        """Set the parameters' `.grad` to the sum of all terms, in their order, where any of them has one."""
        if not terms:
            return
        sums = {dtype: _weighted_sum(terms, place) for place, dtype in enumerate(self._sizes)}
        without = set(terms[0].missing).intersection(*(term.missing for term in terms))
        for name, (dtype, place) in self._places.items():
            if name not in without:
                parameter = self._parameters[name]
                parameter.grad = sums[dtype][place].reshape(parameter.shape)


def _weighted_sum(terms: Sequence[Term], place: int) -> NDArray:
    """The sum of the terms' arrays at a place; one whose share is 0 may hold anything, NaN too."""
    counting = [term for term in terms if term.share]
    if not counting:
        return np.zeros_like(terms[0].arrays[place])
    total = counting[0].share * counting[0].arrays[place]
    scratch = np.empty_like(total)
    for term in counting[1:]:
        total += np.multiply(term.arrays[place], term.share, out=scratch)
    return total
