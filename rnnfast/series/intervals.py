"""Forecasts with their intervals, and the residuals of the validation part that intervals come from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_RESIDUALS", "Forecast", "Residuals"]

LEAST_RESIDUALS = 5  # of each step


class Forecast(NamedTuple):
    """The forecasts and the bounds of their intervals: arrays of one shape.

    Attributes
    ----------
    mean, lower, upper : ndarray
        ``[horizon]``, or ``[horizon, S]`` for S series; :meth:`Forecaster.roll` puts an axis of origins in
        front.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.tile([1.0, 2.0, 3.0], 40)
    >>> mean, lower, upper = rf.series.SeasonalLastValue(3).fit(series, horizon=2).predict(series)
    >>> mean.tolist()
    [1.0, 2.0]
    """

    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


class Residuals(NamedTuple):
    """Outcome minus forecast, for each step ahead and each series by itself.

    Attributes
    ----------
    values : ndarray [R, horizon, S]
        Ascending along the first axis, in the series' own unit.
    rounding : ndarray [S]
        How far apart two computations of one value may be.
    """

    values: NDArray[np.float64]
    rounding: NDArray[np.float64]

    def quantile(self, probability: float, horizon: int) -> NDArray[np.float64]:
        """A quantile of the residuals: [horizon, S].

        Among R residuals and a future one, the future one has each rank with probability 1 / (R + 1). So the
        quantile is the residual of rank (R + 1) p, rounded outwards, at most the first or the last.
        """
        R = len(self.values)
        above = math.ceil(round((R + 1) * max(probability, 0.5), 6))  # 38.0000000001 counts as 38
        below = math.ceil(round((R + 1) * max(1 - probability, 0.5), 6))
        high, low = self.values[min(above, R) - 1, :horizon], self.values[R - min(below, R), :horizon]
        if probability == 0.5:
            return (low + high) / 2
        return high if probability > 0.5 else low

    @property
    def bounded(self) -> float:
        """The highest level of an interval that R residuals can give: (R - 1) / (R + 1)."""
        R = len(self.values)
        return (R - 1) / (R + 1)

    @property
    def one_sided(self) -> NDArray[np.bool_]:
        """Where nine tenths of the outcomes were on one side of the forecasts: [horizon, S]."""
        low, high = np.quantile(self.values, [0.1, 0.9], axis=0)
        return (low > self.rounding) | (high < -self.rounding)

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which series have, for each step, residuals that are all the same to rounding: [S]."""
        return (np.ptp(self.values, axis=0) <= self.rounding).all(axis=0)
