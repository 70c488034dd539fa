"""How an rnnfast layer is called with torch's tensors, whatever form its sequences come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnfast.torch.memory import View, array_of
from rnnfast.torch.naming import Named

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
        results = [None if dx is None else self._leave(dx), *self._leave_state(dinitial)]
        results += [torch.from_numpy(gradient) for gradient in grads.values()]
        return [result if want else None for result, want in zip(results, wanted, strict=True)]

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

    def _leave(self, array: np.ndarray) -> torch.Tensor:
        """A y, or the gradient of an x, in the caller's form."""
        if self.step:
            array = array[0]
        elif self.places is not None:
            array = (array.swapaxes(0, 1) if self.batch_first else array)[self.places]
        return torch.from_numpy(array)

    def _enter_state(self, parts: Sequence[torch.Tensor | None]) -> Any:
        """A state, or its gradient, as the layer takes it."""
        arrays = [None if part is None else array_of(part) for part in parts]
        if self.step:
            arrays = [None if array is None else array[np.newaxis] for array in arrays]
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    def _leave_state(self, state: Any) -> list[torch.Tensor]:
        """The parts of a state, or of its gradient, in the caller's form."""
        parts = state if isinstance(state, tuple) else (state,)
        return [torch.from_numpy(part[0] if self.step else part) for part in parts]

    def _results(self, y: np.ndarray, state: Any) -> tuple[torch.Tensor, ...]:
        """What the layer gave: y, but for a cell, whose y is its h, and the parts of the final state."""
        parts = self._leave_state(state)
        return tuple(parts) if self.step else (self._leave(y), *parts)
