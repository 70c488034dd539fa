"""Gradient clipping, by joint norm or by element; it writes `.grad` of the given parameters alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rnnfast.arithmetic import to_nearest
from rnnfast.nn.parameter import Parameter

__all__ = ["clip_grad_norm", "clip_grad_value"]

_BLOCK = 8192  # elements per dot product: below the size at which a BLAS splits it over threads


@to_nearest
def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint Euclidean norm is at most `max_norm`.

    The factor is PyTorch's, ``min(1, max_norm / (norm + 1e-6))``. Where the norm is not finite (a gradient
    holds NaN or infinity) no factor would help: the gradients are left as they are, for the caller to see and
    skip.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those whose `grad` is None count as zero.
    max_norm : float
        The bound, at least 0.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    ValueError
        `max_norm` is negative or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, clip
    >>> weight = Parameter(np.zeros(2))
    >>> weight.grad = np.array([3.0, 4.0])
    >>> clip.clip_grad_norm([weight], 1.0)
    5.0
    >>> weight.grad.round(4).tolist()
    [0.6, 0.8]
    """
    if np.ndim(max_norm) or not max_norm >= 0:
        raise ValueError(f"max_norm: expected a number of at least 0, got {max_norm!r}")
    grads = _grads(parameters)
    norm = math.sqrt(sum(_sum_of_squares(grad) for grad in grads))
    if not math.isfinite(norm):  # float32 squares overflow long before float32 does
        with np.errstate(over="ignore", invalid="ignore"):
            norm = math.sqrt(sum(float(np.square(grad, dtype=np.float64).sum()) for grad in grads))
    factor = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1.0:
        for grad in grads:
            grad *= factor
    return norm


@to_nearest
def clip_grad_value(parameters: Iterable[Parameter], value: float) -> None:
    """Limit every element of every gradient to -value..value (NaN stays NaN).

    Parameters
    ----------
    parameters : iterable of Parameter
        Those whose `grad` is None are skipped.
    value : float
        The bound, at least 0.

    Raises
    ------
    ValueError
        `value` is negative or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, clip
    >>> weight = Parameter(np.zeros(3))
    >>> weight.grad = np.array([-3.0, 0.5, 4.0])
    >>> clip.clip_grad_value([weight], 1.0)
    >>> weight.grad.tolist()
    [-1.0, 0.5, 1.0]
    """
    if np.ndim(value) or not value >= 0:
        raise ValueError(f"value: expected a number of at least 0, got {value!r}")
    for grad in _grads(parameters):
        np.clip(grad, -value, value, out=grad)


def _grads(parameters: Iterable[Parameter]) -> list[NDArray]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _sum_of_squares(grad: NDArray) -> float:
    flat = grad.reshape(-1)
    blocks = (flat[low : low + _BLOCK] for low in range(0, flat.size, _BLOCK))
    with np.errstate(over="ignore"):
        return sum((float(np.dot(block, block)) for block in blocks), 0.0)
