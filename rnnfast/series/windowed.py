"""Forecasters that read a window of the last values; the two naive ones among them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.arrays import History, futures
from rnnfast.series.forecaster import Forecaster

__all__ = ["LastValue", "SeasonalLastValue", "Windowed", "examples_of"]


class Windowed(Forecaster):
    """A forecaster of the next value from the last `reads` ones: x̂_t = f(x_{t-W}, …, x_{t-1}, u_t).

    Further steps come from the same function, with forecasts in place of values not yet known. `reads` is W,
    u_t are the covariates of step t.
    """

    def _means(self, history: History, origins: NDArray[np.integer], horizon: int) -> NDArray[np.float64]:
        W, S = self.reads, history.values.shape[1]
        values = np.empty((len(origins), S, W + horizon))  # the window, then the forecasts
        values[:, :, :W] = sliding_window_view(history.values, W, axis=0)[origins - W]
        then = futures(history.known, origins, horizon)
        for j in range(horizon):
            values[:, :, W + j] = self._next(values[:, :, j : W + j], then[:, j])
        return values[:, :, W:].transpose(0, 2, 1)

    def _next(self, windows: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value [O, S] after windows [O, S, W], the oldest value first, at covariates [O, S, K]."""
        raise NotImplementedError


class _Naive(Windowed):
    """A forecaster that repeats a value of its window, and learns nothing."""

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        return 0

    def _next(self, windows: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        return windows[:, :, 0]

    @property
    def parameters(self) -> int:
        return 0

    def _numbers(self) -> dict[str, NDArray]:
        return {}

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        pass


class LastValue(_Naive):
    """The last value again: x̂_t = x_{t-1}. A model that does not beat it has learnt nothing.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.cumsum(np.random.default_rng(0).standard_normal(200))
    >>> model = rf.series.LastValue().fit(series, horizon=3)
    >>> forecast = model.predict(series)
    >>> bool((forecast.mean == series[-1]).all()), model.parameters
    (True, 0)
    >>> bool((forecast.lower < forecast.mean).all() and (forecast.mean < forecast.upper).all())
    True
    """

    name = "last value"

    def __init__(self) -> None:
        super().__init__()


class SeasonalLastValue(_Naive):
    """The value of one season ago: x̂_t = x_{t-season}.

    Parameters
    ----------
    season : int
        Steps of a season: 24 for the hours of a day, 12 for the months of a year.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.tile([1.0, 5.0, 2.0], 40)
    >>> rf.series.SeasonalLastValue(3).fit(series, horizon=4).predict(series).mean.round(6).tolist()
    [1.0, 5.0, 2.0, 1.0]
    """

    def __init__(self, season: int) -> None:
        season = checks.positive("season", season)
        super().__init__(season=season)
        self.reads = season
        self.name = f"last season({season})"


def examples_of(
    history: History, window: int, start: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each value of rows `start` to `stop` of all series, and what it is forecast from.

    Parameters
    ----------
    history : History
    window : int
    start, stop : int
        At least `window` values come before `start`.

    Returns
    -------
    inputs : ndarray [(stop - start) * S, window + K]
        The window in front of the value, oldest first, then the covariates of its own step.
    targets : ndarray [(stop - start) * S]
    """
    series, known = history
    windows = sliding_window_view(series[start - window : stop - 1], window, axis=0)  # [n, S, window]
    inputs = np.concatenate([windows, known[start:stop]], axis=2)
    return inputs.reshape(-1, inputs.shape[2]), series[start:stop].reshape(-1)
