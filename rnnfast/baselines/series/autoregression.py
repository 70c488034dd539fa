"""The linear autoregression, AR(tau)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.packages import package
from rnnfast.baselines.series.windowed import Windowed
from rnnfast.nn import checks

__all__ = ["AutoRegression"]


class AutoRegression(Windowed):
    """AR(τ) by least squares, as statsmodels' AutoReg fits it, for each series by itself:

        x̂_t = c + φ_1 x_{t-1} + … + φ_τ x_{t-τ}.

    Parameters
    ----------
    lags : int
        τ. Each series has τ + 1 parameters.

    References
    ----------
    G. U. Yule, "On a method of investigating periodicities in disturbed series", 1927: it is on sunspots.

    Examples
    --------
    >>> import numpy as np, pytest, rnnfast as rf
    >>> _ = pytest.importorskip("statsmodels")
    >>> series = np.sin(0.3 * np.arange(300))    # x_t = 2 cos(0.3) x_{t-1} - x_{t-2}
    >>> model = rf.baselines.AutoRegression(2).fit(series, horizon=5)
    >>> bool(np.allclose(model.predict(series).mean, np.sin(0.3 * np.arange(300, 305)))), model.parameters
    (True, 3)
    """

    needs = "statsmodels.tsa.ar_model"

    def __init__(self, lags: int) -> None:
        lags = checks.positive("lags", lags)
        super().__init__(lags=lags)
        self.memory = lags
        self.name = f"AR({lags})"
        self.examples = lags + 2  # one more than there are unknowns
        self._constant = np.zeros(1)  # [S]
        self._coefficients = np.zeros((1, lags))  # [S, τ] oldest value's first

    def _learn(
        self, series: NDArray[np.float64], start: int, rng: np.random.Generator, stop: int | None = None
    ) -> int:
        auto_reg = package(self.needs, self.name).AutoReg
        with warnings.catch_warnings():  # of lags that say the same twice: it takes the smallest coefficients
            warnings.simplefilter("ignore")
            found = np.array([auto_reg(column, lags=self.memory).fit().params for column in series[:start].T])
        self._constant, self._coefficients = found[:, 0], found[:, :0:-1].copy()
        return 0

    def _next(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._constant + np.einsum("osw,sw->os", windows, self._coefficients)

    @property
    def parameters(self) -> int:
        return self._constant.size + self._coefficients.size

    def _numbers(self) -> dict[str, NDArray]:
        return {"constant": self._constant, "coefficients": self._coefficients}

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        kind = np.dtype(np.float64)
        constant = checks.shaped("constant", numbers["constant"], kind, (S,))
        self._coefficients = checks.shaped("coefficients", numbers["coefficients"], kind, (S, self.memory))
        self._constant = constant
