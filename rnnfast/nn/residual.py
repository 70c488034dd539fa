"""A module beside a connection that leaves x as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast import arithmetic, checks
from rnnfast.nn.composite import CallBack, Calls, Composite
from rnnfast.nn.module import Module

__all__ = ["Residual"]


class Residual(Composite):
    """y = x + module(x).

    Parameters
    ----------
    module : Module
        Its y has the shape of x. To scale or to normalize one of the two, make it a `Sequential`.

    Raises
    ------
    TypeError
        If it is no module.

    Notes
    -----
    Parameters are named ``module.weight_ih_l0``. The state (and its gradient) is the module's own, and so are
    the keywords: ``lengths``, ``reset``, ``training``, ``rng`` and ``checkpoint`` are handed on if it takes
    them. Past a sequence's length a recurrent layer gives zero, so y is x there.

    References
    ----------
    K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR (2016).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> block = rf.Residual(rf.Sequential(rf.LayerNorm(8), rf.GRU(8, 8, rng=0)))
    >>> x = np.ones((5, 4, 8), np.float32)
    >>> y, state, tape = block.forward(x)
    >>> bool((y == x + block.module(x)[0]).all()), state[1].shape
    (True, (1, 4, 8))
    >>> dx, dstate = block.backward(tape, np.ones_like(y))
    >>> block.named_parameters()[0][0]
    'module.0.weight'
    """

    def __init__(self, module: Module) -> None:
        super().__init__([module], ["module"])

    def _compose(self, x: Any, calls: Calls) -> tuple[np.ndarray, Any]:
        y = calls[0](x)
        x = checks.floats("x", x, y.dtype)
        if y.shape != x.shape:
            raise ValueError(
                f"module ({type(self[0]).__name__}): expected y of x's shape {x.shape}, got {y.shape}"
            )
        return arithmetic.add(x, y), (y.shape, y.dtype)

    def _shares(self, rest: Any, dy: Any) -> list[Any]:
        shape, dtype = rest
        return [None if dy is None else checks.shaped("dy", dy, dtype, shape)]

    def _compose_backward(self, shares: list[Any], call: CallBack, input_grad: bool) -> Any:
        dx = call(0, shares[0], input_grad)
        return dx if dx is None or shares[0] is None else arithmetic.add(shares[0], dx)

    def _entries(self, name: str, value: Any) -> list[Any]:
        return [value]

    def _joined(self, entries: list[Any]) -> Any:
        return entries[0]

    def _label(self, place: int) -> str:
        return "module"
