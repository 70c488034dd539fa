"""Standardization: numbers minus their mean, over their standard deviation, both weighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Scaling"]


class Scaling(NamedTuple):
    """A mean and a scale for each column, in float64."""

    mean: NDArray
    scale: NDArray

    @classmethod
    def of(cls, rows: NDArray, weights: NDArray | None) -> Scaling:
        """That of rows [R, K], with a weight for each. A constant column has the scale 1."""
        rows = rows.astype(np.float64, copy=False)
        mean = np.average(rows, axis=0, weights=weights)
        scale = np.sqrt(np.average(np.square(rows - mean), axis=0, weights=weights))
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)  # up to the rounding of the mean
        return cls(mean, np.where(constant, 1.0, scale))

    @classmethod
    def none(cls, columns: int) -> Scaling:
        """That which leaves numbers as they are."""
        return cls(np.zeros(columns), np.ones(columns))

    def standardized(self, values: NDArray) -> NDArray:
        """Values [..., K] in float64."""
        return (values - self.mean) / self.scale

    def restored(self, values: NDArray) -> NDArray:
        """What `standardized` gave these values for, in float64."""
        return values * self.scale + self.mean
