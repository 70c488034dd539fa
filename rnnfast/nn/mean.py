"""The mean over what counts of an array: what a mask keeps, each element with its weight."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks

__all__ = ["Mean", "checked_sum", "checked_weights"]


class Mean:
    """The mean over the elements of an array that count, and the gradient of that mean.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    mask : array_like of bool, optional
        Of this shape or leading axes of it: True where an element counts. None: everywhere.
    weights : array_like of numbers of at least 0, optional
        Of this shape or leading axes of it. An element of weight 0 does not count. None: all are equal.

    Attributes
    ----------
    dropped : ndarray of bool or None
        Where an element does not count; None: nowhere.
    count : int
        The number of elements that count.
    """

    def __init__(self, shape: tuple[int, ...], mask: ArrayLike | None, weights: ArrayLike | None) -> None:
        kept = None if mask is None else checks.full_mask(mask, shape)
        spread = None if weights is None else _spread(weights, shape)
        if spread is not None:
            kept = spread > 0 if kept is None else kept & (spread > 0)
        self.dropped = None if kept is None else ~kept
        self.count = math.prod(shape) if kept is None else int(np.count_nonzero(kept))
        self._weights: NDArray | None = None  # 0 where nothing counts; their mean over what counts is 1
        if spread is not None and self.count:
            relative = spread if kept is None else np.where(kept, spread, 0.0)
            relative = relative / relative.max()  # so that no sum overflows
            self._weights = relative * (self.count / relative.sum())

    def weighted(self, values: NDArray) -> NDArray:
        """The values, each times its weight."""
        return values if self._weights is None else values * self._weights

    def total(self, values: NDArray) -> float:
        """The sum of the values, each times its weight; those that do not count are 0."""
        return float(self.weighted(values).sum(dtype=np.float64))

    def weigh(self, dy: NDArray) -> None:
        """Give each element of a gradient, or each row of it, its weight."""
        if self._weights is not None:
            dy *= self._weights.reshape(self._weights.shape + (1,) * (dy.ndim - self._weights.ndim))


def checked_weights(name: str, weights: ArrayLike) -> NDArray:
    """The weights as an array; an error unless they are finite numbers of at least 0."""
    array = checks.as_array(name, weights)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    wrong = array[~((array >= 0) & (array < np.inf))]
    if wrong.size:
        raise ValueError(f"{name}: expected finite numbers of at least 0, got {wrong[0]}")
    return array


def checked_sum(name: str, weights: NDArray, times: int = 1) -> float:
    """The sum of the weights, each so many times; an error if float64 does not hold it."""
    with np.errstate(over="ignore"):
        total = float(weights.sum(dtype=np.float64)) * times
    if not math.isfinite(total):
        raise ValueError(f"{name}: expected weights whose sum is finite, got larger ones; divide them all")
    return total


def _spread(weights: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    """The weights in float64 for each element of this shape, of which they have all or some leading axes."""
    weights = checked_weights("weights", weights)
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"weights: expected shape {shape} or leading axes of it, got {weights.shape}")
    weights = weights.astype(np.float64).reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.broadcast_to(weights, shape)
