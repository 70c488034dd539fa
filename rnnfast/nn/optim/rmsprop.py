"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rnnfast.nn.optim.base import Optimizer
from rnnfast.nn.optim.blocks import root_of_average, with_decay
from rnnfast.nn.optim.orthonormal import Orthonormal
from rnnfast.nn.parameter import Parameter

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Steps scaled by a running average of the gradient's square.

    With g = grad + weight_decay p::

        v = alpha v + (1 - alpha) g²
        m = momentum m + g / (sqrt(v) + eps)
        p = p - lr m

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-2
    alpha : float, default 0.99
        In 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0.0
        At least 0.
    momentum : float, default 0.0
        At least 0.
    constraints : iterable of Orthonormal, default ()
        What holds after every step.

    References
    ----------
    Hinton, lecture 6 of "Neural networks for machine learning", 2012, in the form of ``torch.optim.RMSprop``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.RMSprop([weight], lr=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.0]
    """

    settings = ("lr", "alpha", "eps", "weight_decay", "momentum")
    averages = ("square_avg",)
    squares = ("square_avg",)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        constraints: Iterable[Orthonormal] = (),
    ) -> None:
        super().__init__(params, lr, constraints=constraints)
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay
        self.momentum = momentum

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        v, *momentum_buffer = averages
        g = with_decay(g, p, self.weight_decay, b)
        root_of_average(v, g, self.alpha, a)
        a += self.eps
        np.divide(g, a, out=a)
        for m in momentum_buffer:
            m *= self.momentum
            m += a
            np.copyto(a, m)
        a *= self.lr
        p -= a
