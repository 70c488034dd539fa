"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.nn.optim.base import Optimizer
from rnnfast.nn.optim.blocks import with_decay
from rnnfast.nn.optim.orthonormal import Orthonormal
from rnnfast.nn.parameter import Parameter

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

    With g = grad + weight_decay p::

        m = momentum m + g
        p = p - lr (g + momentum m if nesterov else m)

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    momentum : float, default 0.0
        At least 0.
    nesterov : bool, default False
        Needs a momentum.
    weight_decay : float, default 0.0
        At least 0.
    constraints : iterable of Orthonormal, default ()
        What holds after every step.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, in the form
    of ``torch.optim.SGD``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.8]
    """

    settings = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        constraints: Iterable[Orthonormal] = (),
    ) -> None:
        super().__init__(params, lr, constraints=constraints)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self.check_settings({"momentum": self.momentum, "nesterov": self.nesterov})

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and settings["momentum"] == 0:
            raise ValueError("nesterov: expected a momentum above 0 with it, got momentum=0")

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        g = with_decay(g, p, self.weight_decay, b)
        if averages:
            (m,) = averages
            m *= self.momentum
            m += g
            if self.nesterov:
                np.multiply(m, self.momentum, out=a)
                a += g
                g = a
            else:
                g = m
        np.multiply(g, self.lr, out=a)
        p -= a
