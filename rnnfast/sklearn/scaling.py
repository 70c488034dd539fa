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
    def of(cls, name: str, rows: NDArray, weights: NDArray | None) -> Scaling:
        """The scaling of rows [R, K], with a weight for each. A constant column has the scale 1.

        `name` is what errors call the rows.
        """
        rows = rows.astype(np.float64, copy=False)
        if weights is not None:  # so that no row of weight 0 is looked at
            rows, weights = rows[weights > 0], weights[weights > 0]
            weights = np.ldexp(weights, -np.frexp(weights.max())[1])  # at most 1, without rounding
        with np.errstate(over="ignore", invalid="ignore"):
            # The differences of a constant column are exactly 0, and so is the rounding error of its mean.
            mean = rows[0] + np.average(rows - rows[0], axis=0, weights=weights)
            scale = np.sqrt(np.average(np.square(rows - mean), axis=0, weights=weights))
        if not np.isfinite(scale).all():
            raise ValueError(
                f"{name}: expected numbers whose standard deviation float64 holds, got larger ones; "
                "standardize=False leaves them as they are"
            )
        constant = scale <= 10 * np.finfo(np.float64).eps * np.abs(mean)  # up to the rounding of the mean
        return cls(mean, np.where(constant, 1.0, scale))

    @classmethod
    def none(cls, columns: int) -> Scaling:
        """The scaling that leaves numbers as they are."""
        return cls(np.zeros(columns), np.ones(columns))

    def standardized(self, values: NDArray) -> NDArray:
        """Values [..., K] in float64."""
        return (values - self.mean) / self.scale

    def restored(self, values: NDArray) -> NDArray:
        """What `standardized` gave these values for, in float64."""
        return values * self.scale + self.mean
