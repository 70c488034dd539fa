"""Masks of Keras as lengths: the steps that are kept come first, in their order.

A masked step keeps the state, so a sequence without its masked steps has the same states, and the same
final state. That holds for any mask, with gaps or not. Where all kept steps come first anyway, as with
padding at the end, nothing is moved.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from rnnfast.keras.backend import backend

__all__ = ["KeptSteps"]


class KeptSteps:
    """The steps of a batch of sequences that a mask keeps.

    Parameters
    ----------
    mask : tensor of bool [B, T]
        True where a step is kept, in the order in which the steps are run.

    Attributes
    ----------
    lengths : tensor of int32 [B]
        How many steps of each sequence are kept.
    """

    def __init__(self, mask: Any) -> None:
        self._mask = mask
        self._counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)  # how many up to each step, [B, T]
        self._come_first = ops.all(ops.logical_or(mask[:, :-1], ops.logical_not(mask[:, 1:])))
        self.lengths = self._counts[:, -1]

    def packed(self, x: Any) -> Any:
        """x [B, T, I] with the kept steps of each sequence first."""

        def moved(x: Any) -> Any:
            T = self._mask.shape[1]
            steps = ops.arange(T, dtype="int32")
            order = ops.argsort(backend.where(self._mask, steps, steps + T), axis=1)
            return ops.take_along_axis(x, order[:, :, None], axis=1)

        return backend.choose(self._come_first, lambda x: x, moved, x)

    def outputs(self, y: Any, h: Any, first: Any) -> Any:
        """Keras's outputs [B, T, H] from those of the packed steps.

        A masked step repeats the output before. `h` [B, H] is the last one, and `first` [B, H] that before
        the first kept step; None has zeros at all masked steps.
        """

        def moved(y: Any, h: Any) -> Any:
            return ops.take_along_axis(y, ops.maximum(self._counts - 1, 0)[:, :, None], axis=1)

        def repeated(y: Any, h: Any) -> Any:
            return backend.where(self._mask[:, :, None], y, h[:, None])

        outputs = backend.choose(self._come_first, repeated, moved, y, h)
        if first is None:
            return backend.where(self._mask[:, :, None], outputs, ops.zeros_like(outputs))
        return backend.where(self._counts[:, :, None] > 0, outputs, first[:, None])

    def last_output(self, h: Any, first: Any) -> Any:
        """Keras's output at the last step, from the h of the final state; `first` as in `outputs`."""
        if first is None:
            return backend.where(self._mask[:, -1:], h, ops.zeros_like(h))
        return backend.where(self.lengths[:, None] > 0, h, first)
