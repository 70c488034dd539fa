"""Gradient clipping, by joint norm or by element; it writes `.grad` of the given parameters alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.parameter import Parameter, named_grad

__all__ = ["clip_grad_norm", "clip_grad_value"]

_BLOCK = 8192  # elements per dot product: below the size at which a BLAS splits it over threads


@to_nearest
def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint Euclidean norm is at most `max_norm`.

    The factor is PyTorch's, ``min(1, max_norm / (norm + 1e-6))``. Where a gradient holds NaN or infinity no
    factor would help: the gradients are left as they are, for the caller to see and skip. Finite gradients
    are clipped, also where their norm is beyond the largest float; infinity is returned then.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those whose `grad` is None count as zero.
    max_norm : float
        The bound, at least 0; infinity clips nothing.

    Returns
    -------
    float
        The norm before clipping.

    Raises
    ------
    TypeError
        `max_norm` is no number, or `parameters` holds anything else.
    ValueError
        `max_norm` is negative or NaN, or a gradient is read-only; no gradient has been changed then.

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
    bound = checks.limit("max_norm", max_norm)
    grads = _grads(parameters)
    with np.errstate(over="ignore"):
        norm = math.sqrt(sum([_sum_of_squares(grad) for grad in grads]))
    if not math.isfinite(norm):  # float32 squares overflow long before float32 does
        with np.errstate(over="ignore", invalid="ignore"):
            norm = math.sqrt(sum(float(np.square(grad, dtype=np.float64).sum()) for grad in grads))
    if math.isfinite(norm):
        factor = bound / (norm + 1e-6)
        if factor < 1.0:
            for grad in grads:
                grad *= factor
        return norm
    # Squares of float64 overflow too, so they are summed in units of the largest number.
    unit = max(float(np.abs(grad).max(initial=0.0)) for grad in grads)
    if not math.isfinite(unit):
        return math.inf if unit == math.inf else math.nan
    units = math.sqrt(sum(float(np.square(grad / unit, dtype=np.float64).sum()) for grad in grads))
    if bound / unit < units:
        for grad in grads:
            grad /= unit
            grad *= bound / units
    return unit * units


@to_nearest
def clip_grad_value(parameters: Iterable[Parameter], value: float) -> None:
    """Limit every element of every gradient to -value..value (NaN stays NaN).

    Parameters
    ----------
    parameters : iterable of Parameter
        Those whose `grad` is None are skipped.
    value : float
        The bound, at least 0; infinity clips nothing.

    Raises
    ------
    TypeError
        `value` is no number, or `parameters` holds anything else.
    ValueError
        `value` is negative or NaN, or a gradient is read-only; no gradient has been changed then.

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
    bound = checks.limit("value", value)
    for grad in _grads(parameters):
        np.clip(grad, -bound, bound, out=grad)


def _grads(parameters: Iterable[Parameter]) -> list[NDArray]:
    """The gradients that are not None; a ValueError if one cannot be written."""
    if not isinstance(parameters, Iterable):
        raise TypeError(
            f"parameters: expected Parameters such as model.parameters(), got {type(parameters).__name__}"
        )
    grads = []
    for index, parameter in enumerate(parameters):
        if not isinstance(parameter, Parameter):
            raise TypeError(f"parameters: expected Parameter objects, got {type(parameter).__name__}")
        grad = named_grad(f"parameters[{index}]", parameter)
        if grad is not None:
            if not grad.flags.writeable:
                raise ValueError(
                    f"parameters[{index}]: expected a gradient that can be written, got a read-only one of "
                    f"shape {parameter.shape}"
                )
            grads.append(grad)
    return grads


def _sum_of_squares(grad: NDArray) -> float:
    flat = grad.reshape(-1)
    blocks = [flat[low : low + _BLOCK] for low in range(0, flat.size, _BLOCK)]
    return sum([float(np.dot(block, block)) for block in blocks], 0.0)
