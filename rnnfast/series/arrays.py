"""The arrays of forecasters: checks, and the values before and after an origin."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks

__all__ = [
    "SMALLEST",
    "History",
    "checked_covariates",
    "checked_series",
    "flat_columns",
    "futures",
    "rounding",
    "spaced",
]

LARGEST = 1e100  # the largest size of a value, so that sums of squares are finite
SMALLEST = 1e-100  # the smallest range of a series, so that squares do not become zero
CELLS = 2**24  # about the most values of forecasts and windows in memory at once
FEWEST = 20  # the least number of origins, for any number of series


class History(NamedTuple):
    """Several series, and the covariates of each step.

    Attributes
    ----------
    values : ndarray [N, S]
    known : ndarray [N or more, S, K]
    """

    values: NDArray[np.float64]
    known: NDArray[np.float64]


def checked_series(name: str, series: ArrayLike) -> NDArray[np.float64]:
    """`series` as finite float64 [N, S]."""
    values = checks.as_array(name, series)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"{name}: expected shape [N] or [N, S], got {values.shape}")
    return _finite(name, values).reshape(len(values), -1)


def checked_covariates(covariates: ArrayLike | None, rows: int, S: int) -> NDArray[np.float64]:
    """`covariates` as finite float64 [rows or more, S, K]; without any, K is 0.

    ``[N]`` is one covariate and ``[N, K]`` are several, which all series share; ``[N, S, K]`` are each
    series' own.
    """
    if covariates is None:
        return np.zeros((rows, S, 0))
    values = checks.as_array("covariates", covariates)
    fits = 1 <= values.ndim <= 3 and 0 not in values.shape[1:]
    if not fits or (values.ndim == 3 and values.shape[1] != S):
        raise ValueError(f"covariates: expected shape [N], [N, K] or [N, {S}, K], got {values.shape}")
    if len(values) < rows:
        raise ValueError(f"covariates: expected at least {rows} rows, got {len(values)}")
    values = _finite("covariates", values)
    if values.ndim < 3:
        values = values.reshape(len(values), 1, -1)
    return np.broadcast_to(values, (len(values), S, values.shape[2]))


def _finite(name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {values.dtype}")
    small = np.abs(values.astype(np.float64)) <= LARGEST
    if not small.all():
        row = int(np.argwhere(~small)[0, 0])
        raise ValueError(
            f"{name}: expected finite numbers of at most {LARGEST:g} in size, got row {row}: {values[row]}"
        )
    return values.astype(np.float64)


def flat_columns(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns have one value in all rows: [S]."""
    return (values == values[:1]).all(axis=0)


def rounding(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart two computations of the same value of each column may be: [S]."""
    return 1e-9 * values.std(axis=0) + 8 * np.finfo(np.float64).eps * np.abs(values).max(axis=0)


def futures(series: NDArray[Any], origins: NDArray[np.integer], horizon: int) -> NDArray[Any]:
    """The values after each origin: [O, horizon, S]."""
    return series[origins[:, np.newaxis] + np.arange(horizon)]


def spaced(first: int, last: int, most: int, cells: int) -> NDArray[np.int64]:
    """The rows from `first` to `last`, both included; at most `most` of them, evenly spaced.

    Each row takes `cells` values in memory; if that makes too many values, there are fewer rows.
    """
    count = min(most, last - first + 1, max(FEWEST, CELLS // cells))
    return np.linspace(first, last, count).round().astype(np.int64)
