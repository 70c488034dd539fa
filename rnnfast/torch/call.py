"""How an rnnfast layer is called with torch's tensors, whatever form its sequences come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnfast.torch.memory import View
from rnnfast.torch.naming import Named
from rnnfast.torch.tensors import array_of

__all__ = ["Call"]


class Call(NamedTuple):
    """How a layer is called: all but the tensors.

    Attributes
    ----------
    view : View or Named
        The layer, over the weights of this call; a `Named` has no such weights, and runs `formulas` alone.
    keywords : dict
        The layer's keywords lengths and reset.
    training : dict
        Further keywords of its forward, rng and checkpoint; without an rng nothing is dropped.
    places : ndarray [T, B] of bool or None
        Of packed sequences, whose data x is: the steps of the padded ones that x's rows are, in their order.
    batch_first : bool
        Whether the layer takes sequences so.
    step : bool
        x and the state are a cell's: they have no axes of time and of layers.
    """

    view: View | Named
    keywords: dict[str, Any]
    training: dict[str, Any]
    places: np.ndarray | None = None
    batch_first: bool = False
    step: bool = False

    def evaluate(self, x: torch.Tensor, parts: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
        """y (but for a cell) and the parts of the final state; nothing is saved."""
        if "rng" in self.training:
            return self.record(x, parts)[0]
        y, state = self.view.layer(self._enter(x), self._enter_state(parts), **self.keywords)
        return self._results(y, state)

    def record(
        self, x: torch.Tensor, parts: Sequence[torch.Tensor | None]
    ) -> tuple[tuple[torch.Tensor, ...], Any]:
        """What `evaluate` gives, and a tape for `play`."""
        y, state, tape = self.view.layer.record(
            self._enter(x),
            self._enter_state(parts),
            **self.keywords,
            training="rng" in self.training,
            **self.training,
        )
        return self._results(y, state), tape

    def play(
        self,
        tape: Any,
        gradients: Sequence[torch.Tensor | None],
        wanted: Sequence[bool],
        *,
        retain: bool = False,
    ) -> list[torch.Tensor | None]:
        """The gradients of x, the parts of the state and the weights, None for those not wanted.

        `gradients` are those of the results; None is zero.
        """
        dy, dstate = (None, gradients) if self.step else (gradients[0], gradients[1:])
        grads: dict[str, np.ndarray] = {}
        dx, dinitial = self.view.layer.backward(
            tape,
            None if dy is None else self._enter(dy),
            self._enter_state(dstate),
            input_grad=wanted[0],
            retain=retain,
            grads=grads,
        )
        arrays = [None if dx is None else self._leave(dx), *self._leave_state(dinitial), *grads.values()]
        return [torch.from_numpy(array) if want else None for array, want in zip(arrays, wanted, strict=True)]

    def _enter(self, x: torch.Tensor) -> np.ndarray:
        """x, or the gradient of a y, as the layer takes it."""
        array = array_of(x)
        if self.step:
            return array[np.newaxis]
        if self.places is None:
            return array
        padded = np.empty((*self.places.shape, array.shape[-1]), array.dtype)  # nobody reads the padding
        padded[self.places] = array
        return padded.swapaxes(0, 1) if self.batch_first else padded

    def _leave(self, array: np.ndarray) -> np.ndarray:
        """A y, or the gradient of an x, in the caller's form."""
        if self.step:
            return array[0]
        if self.places is None:
            return array
        return (array.swapaxes(0, 1) if self.batch_first else array)[self.places]

    def _enter_state(self, parts: Sequence[torch.Tensor | None]) -> Any:
        """A state, or its gradient, as the layer takes it."""
        arrays = tuple(map(array_of, parts))
        if self.step:
            arrays = tuple([None if array is None else array[np.newaxis] for array in arrays])
        return arrays[0] if len(arrays) == 1 else arrays

    def _leave_state(self, state: Any) -> Sequence[np.ndarray]:
        """The parts of a state, or of its gradient, in the caller's form."""
        parts = state if isinstance(state, tuple) else (state,)
        return [part[0] for part in parts] if self.step else parts

    def _results(self, y: np.ndarray, state: Any) -> tuple[torch.Tensor, ...]:
        """What the layer gave: y, but for a cell, whose y is its h, and the parts of the final state."""
        parts = self._leave_state(state)
        return tuple(map(torch.from_numpy, parts if self.step else (self._leave(y), *parts)))
