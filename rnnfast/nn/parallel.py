"""Modules side by side: each reads the same x."""

from __future__ import annotations

from functools import reduce
from itertools import accumulate
from typing import Any

import numpy as np

from rnnfast import arithmetic, checks
from rnnfast.nn.composite import CallBack, Calls, Composite
from rnnfast.nn.module import Module

__all__ = ["Parallel"]


class Parallel(Composite):
    """Modules side by side: each reads x, and y has their outputs one after the other along the last axis.

    Parameters
    ----------
    *modules : Module
        At least one; no two may share a parameter. Their outputs differ in the last axis alone.

    Raises
    ------
    TypeError, ValueError
        If there is none, one is no module, or a parameter comes twice.

    Notes
    -----
    Names, states and keywords are those of :class:`Sequential`: parameters are named by their module's place,
    the state is a tuple with one entry per module. The gradient of x is the sum of the modules' gradients, in
    their order.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> model = rf.Parallel(rf.GRU(3, 8, rng=0), rf.Linear(3, 2, rng=1))
    >>> x = np.ones((5, 4, 3), np.float32)
    >>> y, state, tape = model.forward(x)
    >>> y.shape, len(state), state[0].shape, state[1]
    ((5, 4, 10), 2, (1, 4, 8), None)
    >>> dx, dstate = model.backward(tape, np.ones_like(y))
    >>> dx.shape
    (5, 4, 3)
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def _compose(self, x: Any, calls: Calls) -> tuple[np.ndarray, Any]:
        parts = [call(x) for call in calls]
        shapes = [np.shape(part) for part in parts]
        for place, shape in enumerate(shapes):
            if not shape or shape[:-1] != shapes[0][:-1]:
                expected = ", ".join(map(str, (*shapes[0][:-1], "...")))
                raise ValueError(
                    f"module {place} ({type(self[place]).__name__}): expected y of shape [{expected}], as "
                    f"module 0 gives it, got {shape}"
                )
        y = np.concatenate(parts, axis=-1)
        ends = list(accumulate(shape[-1] for shape in shapes))
        return y, (y.shape, y.dtype, ends[:-1])

    def _shares(self, rest: Any, dy: Any) -> list[Any]:
        shape, dtype, borders = rest
        if dy is None:
            return [None] * len(self)
        return np.split(checks.shaped("dy", dy, dtype, shape), borders, axis=-1)

    def _compose_backward(self, shares: list[Any], call: CallBack, input_grad: bool) -> Any:
        parts = [call(place, share, input_grad) for place, share in enumerate(shares)]
        given = [part for part in parts if part is not None]
        return reduce(arithmetic.add, given) if given else None
