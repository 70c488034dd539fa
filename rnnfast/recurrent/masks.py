"""The random masks of one call of a stack: dropout, zoneout, recurrent dropout and weight dropout.

A number of a mask is fixed by (seed, call, layer, t, row, unit), so masks are drawn again where they are
needed again. t counts from the call's first step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from rnnfast import _core
from rnnfast.arithmetic import to_nearest
from rnnfast.functional.passes import PassMasks

__all__ = ["KINDS", "RECURRENT", "WEIGHT", "ZONEOUT", "Masks"]

MASK_NUMBERS = 2**20  # about how many numbers of a mask between layers are in memory at a time
KINDS = 2**28  # the key's layer: that of dropout between layers; of other kinds, k * KINDS + the pass
ZONEOUT, RECURRENT, WEIGHT = 1, 2, 3


class Masks(NamedTuple):
    """The masks of one call.

    Attributes
    ----------
    key : tuple of int
        The seed and the number of the call.
    dropout : float
        Between layers: the probability of a zero.
    zoneout : tuple of float
        For each part of the state, the probability that a unit keeps its value.
    recurrent_dropout, weight_dropout : float
        The probabilities of a zero in h as products of the state read it, and in ``weight_hh``.
    """

    key: tuple[int, int]
    dropout: float = 0.0
    zoneout: tuple[float, ...] = ()
    recurrent_dropout: float = 0.0
    weight_dropout: float = 0.0

    @to_nearest
    def between_layers(self, array: np.ndarray, layer: int, out: np.ndarray) -> np.ndarray:
        """out = the output [T, B, N] of a layer times its mask, which is computed some steps at a time."""
        T, B, N = array.shape
        steps = max(1, MASK_NUMBERS // max(1, B * N))
        for t in range(0, T, steps):
            part = array[t : t + steps]
            mask = _core.dropout_mask(*self.key, layer, part.shape, self.dropout, array.dtype, t)
            np.multiply(part, mask, out=out[t : t + steps])
        return out

    def of_pass(self, number: int, B: int, widths: tuple[int, ...], dtype: np.dtype) -> PassMasks | None:
        """The masks of a pass over B rows, whose state has parts of these widths; None: it has none."""
        zone = partial(self._zoneout, number, B, widths, dtype) if any(self.zoneout) else None
        drop = None
        if self.recurrent_dropout:
            shape = (1, B, widths[0])
            layer = RECURRENT * KINDS + number
            drop = _core.dropout_mask(*self.key, layer, shape, self.recurrent_dropout, dtype)[0]
        return None if zone is None and drop is None else PassMasks(zone, drop)

    def _zoneout(
        self, number: int, B: int, widths: tuple[int, ...], dtype: np.dtype, start: int, stop: int
    ) -> tuple[np.ndarray | None, ...]:
        """1 where a unit keeps its value, else 0, at the steps start..stop: [steps, B, width] each."""
        p, q = self.zoneout[0], self.zoneout[-1]
        first = widths[0] if p else 0  # the units of h and c are side by side
        rest = widths[-1] if q and len(widths) > 1 else 0
        layer, shape = ZONEOUT * KINDS + number, (stop - start, B, first + rest)
        mask = _core.zoneout_mask(*self.key, layer, shape, p, dtype, start, first, q)
        parts = (mask[:, :, :first] if first else None, mask[:, :, first:] if rest else None)
        return parts[: len(widths)]

    def on_cells(self, cells: list[_core.Cell], made: Callable[[int, dict], _core.Cell]) -> list[_core.Cell]:
        """The cells of all passes, with weight dropout; ``made(number, weights)`` makes that of a pass."""
        if not self.weight_dropout:
            return cells
        masked = [self.on_weight(number, cell.weights["weight_hh"]) for number, cell in enumerate(cells)]
        return [
            made(number, {**cells[number].weights, "weight_hh": own}) for number, own in enumerate(masked)
        ]

    @to_nearest
    def on_weight(self, number: int, weight: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """``weight_hh`` of a pass, or its gradient, times its mask."""
        layer, shape = WEIGHT * KINDS + number, (1, *weight.shape)
        mask = _core.dropout_mask(*self.key, layer, shape, self.weight_dropout, weight.dtype)[0]
        return np.multiply(weight, mask, out=out)
