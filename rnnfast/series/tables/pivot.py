"""Long tables, which have a row for each date and name, as series side by side."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks

__all__ = ["Wide", "pivot"]


class Wide(NamedTuple):
    """Series side by side.

    Attributes
    ----------
    times : ndarray [N]
        In ascending order.
    names : list, S of them
        In the order of their first rows.
    series : ndarray [N, S]
        NaN where a name has no row at a time.

    Examples
    --------
    >>> import rnnfast as rf
    >>> wide = rf.series.pivot([1, 2, 2], ["a", "a", "b"], [5.0, 6.0, 7.0])
    >>> isinstance(wide, rf.series.Wide), wide.series.tolist()
    (True, [[5.0, nan], [6.0, 7.0]])
    """

    times: NDArray[Any]
    names: list[Any]
    series: NDArray[np.float64]


def pivot(times: ArrayLike, names: ArrayLike, values: ArrayLike) -> Wide:
    """A long table as series side by side: one column for each name, one row for each time.

    Parameters
    ----------
    times : array_like, shape [R]
        Of each row: dates, numbers or text that sorts.
    names : array_like, shape [R]
        Which series each row is of.
    values : array_like of real numbers, shape [R]

    Returns
    -------
    Wide
        times, names, series.

    Raises
    ------
    TypeError, ValueError
        Arrays that do not fit each other, or two rows of one name and time.

    Examples
    --------
    >>> import rnnfast as rf
    >>> wide = rf.series.pivot([1, 1, 2, 2], ["b", "a", "a", "b"], [5.0, 6.0, 7.0, 8.0])
    >>> wide.times.tolist(), wide.names, wide.series.tolist()
    ([1, 2], ['b', 'a'], [[5.0, 6.0], [8.0, 7.0]])
    """
    at, who = checks.as_array("times", times), checks.as_array("names", names)
    numbers = checks.as_array("values", values)
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"values: expected real numbers, got {numbers.dtype}")
    if numbers.ndim != 1 or not at.shape == who.shape == numbers.shape:
        raise ValueError(
            f"values: expected three arrays of one shape [R], got {at.shape}, {who.shape} and {numbers.shape}"
        )
    rows, row = np.unique(at, return_inverse=True)
    found, first, column = np.unique(who, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[column]
    cells = row * len(found) + place
    _, begins, counts = np.unique(cells, return_index=True, return_counts=True)
    if (counts > 1).any():
        k = int(begins[counts > 1].min())
        raise ValueError(f"times: expected each time once for a name, got {at[k]} twice for {who[k]}")
    series = np.full((len(rows), len(found)), np.nan)
    series[row, place] = numbers
    return Wide(rows, found[order].tolist(), series)
