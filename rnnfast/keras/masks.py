"""Masks of Keras as lengths: the steps that are kept come first, in their order.

A masked step keeps the state, so a sequence without its masked steps has the same states, and the same final
state. That holds for any mask, with gaps or not.
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
        T = mask.shape[1]
        steps = ops.arange(T, dtype="int32")
        self._mask = mask
        self._counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)  # how many up to each step, [B, T]
        self._order = ops.argsort(backend.where(mask, steps, steps + T), axis=1)
        self.lengths = self._counts[:, -1]

    def packed(self, x: Any) -> Any:
        """x [B, T, I] with the kept steps of each sequence first."""
        return ops.take_along_axis(x, self._order[:, :, None], axis=1)

    def outputs(self, y: Any, first: Any) -> Any:
        """Keras's outputs [B, T, H] from those of the packed steps.

        A masked step repeats the output before. `first` [B, H] is that before the first kept step; None has
        zeros at all masked steps.
        """
        held = ops.take_along_axis(y, ops.maximum(self._counts - 1, 0)[:, :, None], axis=1)
        if first is None:
            return backend.where(self._mask[:, :, None], held, ops.zeros_like(held))
        return backend.where(self._counts[:, :, None] > 0, held, first[:, None])

    def last_output(self, h: Any, first: Any) -> Any:
        """Keras's output at the last step, from the h of the final state; `first` as in `outputs`."""
        if first is None:
            return backend.where(self._mask[:, -1:], h, ops.zeros_like(h))
        return backend.where(self.lengths[:, None] > 0, h, first)
