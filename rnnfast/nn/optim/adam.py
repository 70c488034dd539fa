"""Adam, and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rnnfast.nn.optim.base import Optimizer
from rnnfast.nn.optim.blocks import root_of_average, with_decay
from rnnfast.nn.optim.orthonormal import Orthonormal
from rnnfast.nn.parameter import Parameter

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    With g = grad + weight_decay p, at the t-th update::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g²
        p = p - lr / (1 - beta1^t) · m / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
        Each in 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0.0
        At least 0.
    constraints : iterable of Orthonormal, default ()
        What holds after every step.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, in the form of ``torch.optim.Adam``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.Adam([weight], lr=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.9]
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    averages = ("exp_avg", "exp_avg_sq")
    squares = ("exp_avg_sq",)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        constraints: Iterable[Orthonormal] = (),
    ) -> None:
        super().__init__(params, lr, constraints=constraints)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        self._move(step, p, with_decay(g, p, self.weight_decay, b), averages, a)

    def _move(self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray) -> None:
        """The update without weight decay, which g already holds; `a` is scratch, and may not be g."""
        m, v = averages
        beta1, beta2 = self.betas
        np.subtract(g, m, out=a)
        a *= 1.0 - beta1
        m += a
        root_of_average(v, g, beta2, a)
        a /= math.sqrt(1.0 - beta2**step)
        a += self.eps
        np.divide(m, a, out=a)
        a *= self.lr / (1.0 - beta1**step)
        p -= a


class AdamW(Adam):
    """Adam with weight decay apart from the averages: ``p = p (1 - lr weight_decay)``, then Adam's step.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
        Each in 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 1e-2
        At least 0.
    constraints : iterable of Orthonormal, default ()
        What holds after every step.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, in the form of
    ``torch.optim.AdamW``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.AdamW([weight], lr=0.1, weight_decay=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.89]
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        constraints: Iterable[Orthonormal] = (),
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, constraints=constraints)

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        if self.weight_decay:
            p *= 1.0 - self.lr * self.weight_decay
        self._move(step, p, g, averages, a)
