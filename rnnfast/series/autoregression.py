"""The linear autoregression, AR(tau)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.arrays import History
from rnnfast.series.windowed import Windowed, examples_of

__all__ = ["AutoRegression"]


class AutoRegression(Windowed):
    """AR(τ) by least squares, with covariates u_t if there are any:

        x̂_t = c + φ_1 x_{t-1} + … + φ_τ x_{t-τ} + β · u_t.

    Parameters
    ----------
    lags : int
        τ.
    shared : bool, default False
        Several series, each scaled by itself, have one set of coefficients; False: each has its own.
    difference : int or sequence of int, default 0
        As for :class:`Forecaster`.

    Notes
    -----
    A set has τ + 1 + K parameters with K covariates, by one call of ``numpy.linalg.lstsq``. It takes the
    smallest coefficients where lags say the same twice.

    References
    ----------
    G. U. Yule, "On a method of investigating periodicities in disturbed series", 1927: it is on sunspots.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(300))    # x_t = 2 cos(0.3) x_{t-1} - x_{t-2}
    >>> model = rf.series.AutoRegression(2).fit(series, horizon=5)
    >>> bool(np.allclose(model.predict(series).mean, np.sin(0.3 * np.arange(300, 305)))), model.parameters
    (True, 3)
    """

    reads_covariates: ClassVar[bool] = True

    def __init__(self, lags: int, *, shared: bool = False, difference: Any = 0) -> None:
        lags = checks.positive("lags", lags)
        self.shared = checks.flag("shared", shared)
        super().__init__(lags=lags, shared=shared, difference=difference)
        self.reads = lags
        self.name = f"AR({lags})"
        self.examples = lags + 2  # one more than the unknowns
        self._constant = np.zeros(1)  # [S], or [1] where it is shared
        self._coefficients = np.zeros((1, lags))  # [S or 1, τ + K], the oldest value's first

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        inputs, targets = examples_of(history, self.reads, self.reads, start)
        S = 1 if self.shared else history.values.shape[1]  # examples of the series in turn
        found = []
        for s in range(S):
            rows = np.column_stack([np.ones(len(targets[s::S])), inputs[s::S]])
            found.append(np.linalg.lstsq(rows, targets[s::S], rcond=None)[0])
        self._constant, self._coefficients = np.array(found)[:, 0], np.array(found)[:, 1:]
        return 0

    def _next(self, windows: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        W = self.reads
        values = np.einsum("osw,sw->os", windows, self._coefficients_of(windows.shape[1], slice(W)))
        return (
            self._constant
            + values
            + np.einsum("osk,sk->os", known, self._coefficients_of(windows.shape[1], slice(W, None)))
        )

    def _coefficients_of(self, S: int, part: slice) -> NDArray[np.float64]:
        own = self._coefficients[:, part]
        return np.broadcast_to(own, (S, own.shape[1]))

    @property
    def parameters(self) -> int:
        return self._constant.size + self._coefficients.size

    def _numbers(self) -> dict[str, NDArray]:
        return {"constant": self._constant, "coefficients": self._coefficients}

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        kind, sets = np.dtype(np.float64), 1 if self.shared else S
        constant = checks.shaped("constant", numbers["constant"], kind, (sets,))
        shape = (sets, self.reads + self.covariates)
        self._coefficients = checks.shaped("coefficients", numbers["coefficients"], kind, shape)
        self._constant = constant
