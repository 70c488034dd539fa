"""The scale of a model's series: differences or not, then mean 0 and standard deviation 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.series.arrays import flat_columns

__all__ = ["Scale"]


class Scale(NamedTuple):
    """Differences over some steps, and each column's mean and standard deviation.

    Attributes
    ----------
    difference : int
        d: what is scaled is ``x[t] - x[t-d]``; with 0, x itself. Scaled rows are d fewer than rows.
    mean, std : ndarray [S]
        Of the differences. A column that does not vary has the standard deviation 0: it is scaled to zeros,
        and all its forecasts are its mean.
    """

    difference: int
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], rows: int, difference: int) -> Scale:
        """The scale of the first `rows` of `values` [N, S]; of a column that is flat there, that of all."""
        changes = _differences(values, difference)
        learnt = changes[: rows - difference]
        flat = flat_columns(learnt)
        std = np.where(flat, changes.std(axis=0), learnt.std(axis=0))
        mean = np.where(flat, learnt[0], learnt.mean(axis=0))
        return cls(difference, mean, np.where(flat_columns(changes), 0.0, std))

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows [N, S] as scaled rows [N - d, S]."""
        return (_differences(values, self.difference) - self.mean) / np.where(self.std > 0.0, self.std, 1.0)

    def undo(
        self, values: NDArray[np.float64], origins: NDArray[np.integer], means: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scaled forecasts [O, horizon, S] from origins in `values`, as forecasts of the values."""
        forecasts = self.mean + self.std * means
        d = self.difference
        if d:
            for j in range(means.shape[1]):
                forecasts[:, j] += values[origins + j - d] if j < d else forecasts[:, j - d]
        return forecasts


def _differences(values: NDArray[np.float64], difference: int) -> NDArray[np.float64]:
    return values[difference:] - values[:-difference] if difference else values
