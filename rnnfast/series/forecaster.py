"""The base class of all rungs: fit, forecasts from many origins, intervals, the file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.series.arrays import (
    SMALLEST,
    History,
    checked_covariates,
    checked_series,
    flat_columns,
    rounding,
)
from rnnfast.series.intervals import Forecast, Residuals
from rnnfast.series.learner import Learner
from rnnfast.series.scale import Scale
from rnnfast.training.checkpoint import write_checkpoint

__all__ = ["KIND", "Forecaster"]

KIND = "forecaster"  # metadata["kind"] of the files that `save` writes

Self = TypeVar("Self", bound="Forecaster")


class Forecaster(Learner):
    """A model of one series, or of several, that forecasts from any point of it.

    Several series are an array ``[N, S]``. Each is scaled by its own mean and standard deviation, and
    forecast from its own past alone. Small models have parameters for each series, or with ``shared=True``
    one set for all. A network has one set of weights for all series.

    Parameters
    ----------
    difference : int or sequence of int, optional
        The model learns the differences ``x[t] - x[t-d]`` and its forecasts add them up: 1 for a series with
        a trend, the steps of a season for a series with one, 0 for the values themselves. Of several, `fit`
        keeps the one with the lowest error on the validation part. A later one must be 15% better than those
        before it, because validation parts are short.
    **settings
        The arguments of the subclass, as JSON can hold them.

    Attributes
    ----------
    name : str
        The name of the model.
    reads_covariates : bool
        Whether the model reads covariates; the others ignore them.
    reads : int
        The least number of values, or differences, that a forecast reads.
    examples : int
        The least number of values of the training part that have `reads` values before them.
    settings : dict
        The constructor's arguments.
    seconds : float
        Time of learning.
    horizon : int
        The furthest step whose intervals `fit` has measured; 0 before it.
    difference : int
        The difference that `fit` kept.
    covariates : int
        The number of covariates that it learnt from.
    non_negative : bool
        The argument of `fit`.
    flat : bool
        Whether the series of `fit` was [N], not [N, S].

    Examples
    --------
    All forecasters have the same methods:

    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(300))
    >>> model = rf.series.AutoRegression(2)
    >>> isinstance(model, rf.series.Forecaster), model.memory, model.horizon
    (True, 2, 0)
    >>> forecast = model.fit(series, horizon=5).predict(series, level=0.8)
    >>> forecast.mean.shape, model.horizon
    ((5,), 5)
    >>> model.clone(lags=3)
    AutoRegression(lags=3, shared=False, difference=0)
    """

    def __init__(self, *, difference: Any = None, **settings: Any) -> None:
        super().__init__(difference=difference, **settings)
        self.seconds = 0.0
        self.horizon = 0
        self.flat = True
        self._residuals = Residuals(np.zeros((0, 0, 1)), np.zeros(1))

    def fit(
        self: Self,
        series: ArrayLike,
        *,
        horizon: int = 1,
        held_out: float = 0.2,
        covariates: ArrayLike | None = None,
        non_negative: bool = False,
        constant: bool = False,
        rng: checks.Rng = None,
    ) -> Self:
        """Learn from the training part of a series, then refit on all of it.

        The last part of the series is the validation part. It decides how many updates networks make, and
        which of several differences is taken. Its residuals give the intervals. The refit learns from the
        whole series, its scale included. Networks start from the weights of the lowest validation error, and
        make as many updates again as led to them.

        Parameters
        ----------
        series : array_like of real numbers
            ``[N]``, or ``[N, S]`` for S series; oldest first.
        horizon : int, default 1
            The furthest step ahead that will be forecast.
        held_out : float, default 0.2
            The validation part's share of the series.
        covariates : array_like of real numbers, optional
            Values of each step that are known in advance, such as a calendar or a planned price: ``[N]``,
            ``[N, K]``, or ``[N, S, K]`` if each series has its own. Row t belongs to ``series[t]``. Further
            rows are ignored. A model that does not read covariates ignores them.
        non_negative : bool, default False
            Forecasts and intervals below 0 become 0.
        constant : bool, default False
            Accept series of which none varies. Forecasts then repeat their values.
        rng : int, numpy.random.Generator or None
            The seed of initial weights and of the order of examples.

        Returns
        -------
        Forecaster
            The same object.

        Raises
        ------
        TypeError, ValueError
            If the series is no array of finite numbers, does not vary, or has values below 0 with
            `non_negative`, or an argument does not fit it.
        TooShort
            A ValueError: the training part has fewer values than the model needs.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> price = np.random.default_rng(0).uniform(1.0, 2.0, 105)    # of 100 days, and of 5 to come
        >>> sold = 50.0 - 10.0 * price[:100]
        >>> model = rf.series.AutoRegression(1).fit(sold, horizon=5, covariates=price)
        >>> forecast = model.predict(sold, covariates=price)
        >>> bool(np.allclose(forecast.mean, 50.0 - 10.0 * price[100:]))
        True
        """
        values = checked_series("series", series)
        N, S = values.shape
        known = checked_covariates(covariates, N, S)[:N]
        horizon = checks.positive("horizon", horizon)
        held_out = checks.probability("held_out", held_out)
        generator = checks.generator(rng)
        start = N - round(held_out * N)
        if checks.flag("non_negative", non_negative) and values.min() < 0.0:
            raise ValueError(f"non_negative: expected a series from 0 on, got {values.min():g} in it")
        differences = self.differences_for(N, start, horizon)
        flat, ranges = flat_columns(values), np.ptp(values, axis=0)
        if not checks.flag("constant", constant) and flat.all():
            raise ValueError(f"series: expected values that vary, got a constant in all {N} rows")
        if (~flat & (ranges < SMALLEST)).any():
            raise ValueError(f"series: expected ranges of at least {SMALLEST:g}, got {ranges.min():g}")

        self.horizon = 0  # until everything is learnt
        self.non_negative = bool(non_negative)
        self.covariates = known.shape[2] if self.reads_covariates else 0
        history = History(values, known[:, :, : self.covariates])
        seed = int(generator.integers(2**63))
        began = time.perf_counter()
        trial = self.best_trial(history, start, horizon, differences, seed)
        self.difference = trial.difference
        self.learn_from(history, N, seed, trial.updates)
        self.seconds = time.perf_counter() - began
        self._residuals = Residuals(np.sort(trial.residuals, axis=0), rounding(values))
        self.flat, self.horizon = np.ndim(series) == 1, horizon
        return self

    def predict(
        self,
        history: ArrayLike,
        horizon: int | None = None,
        *,
        level: float = 0.9,
        covariates: ArrayLike | None = None,
    ) -> Forecast:
        """Forecast what follows a history.

        Parameters
        ----------
        history : array_like of real numbers
            The series so far, shaped as that of `fit`; at least `memory` values, and better all there are.
        horizon : int, optional
            How many steps, at most that of `fit`, which is the default.
        level : float, default 0.9
            The share of outcomes that the intervals are to hold, for each step by itself; at most `bounded`
            can be held.
        covariates : array_like of real numbers, optional
            Those of the history and, behind them, of the steps to forecast: shaped as in `fit`, with at least
            ``len(history) + horizon`` rows. Needed where `fit` had some.

        Returns
        -------
        Forecast
            mean, lower, upper: ``[horizon]``, or ``[horizon, S]``; a mean is within its bounds.

        Raises
        ------
        TypeError, ValueError
            Before `fit`, or an argument that does not fit it.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> series = np.tile([1.0, 5.0, 2.0], 40)
        >>> model = rf.series.SeasonalLastValue(3).fit(series, horizon=4)
        >>> model.predict(series[:-1], 2).mean.tolist()    # what comes after 1 and 5
        [2.0, 1.0]
        """
        here = [len(np.atleast_1d(checks.as_array("history", history)))]
        rolled = self.roll(history, here, horizon, level=level, covariates=covariates)
        return Forecast(*(part[0] for part in rolled))

    def quantiles(
        self,
        history: ArrayLike,
        probabilities: ArrayLike,
        horizon: int | None = None,
        *,
        covariates: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Quantiles of what follows a history, for each step by itself.

        They are the forecasts plus quantiles of the validation part's residuals. So that of 0.5 corrects the
        forecast by `bias`.

        Parameters
        ----------
        history, horizon, covariates
            As for :meth:`predict`.
        probabilities : array_like of float, shape [Q]
            Between 0 and 1.

        Returns
        -------
        ndarray
            ``[Q, horizon]``, or ``[Q, horizon, S]``.

        Raises
        ------
        TypeError, ValueError
            As :meth:`predict`.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> series = np.arange(100.0)    # the last value is 1 too low after one step, 2 after two
        >>> model = rf.series.LastValue().fit(series, horizon=2)
        >>> model.quantiles(series, [0.5]).tolist(), model.bias.tolist()
        ([[100.0, 101.0]], [1.0, 2.0])
        """
        asked = np.atleast_1d(checks.as_array("probabilities", probabilities))
        if not asked.size:
            raise ValueError("probabilities: expected at least one, got none")
        shares = [checks.share("probabilities", value) for value in asked.tolist()]
        here = [len(np.atleast_1d(checks.as_array("history", history)))]
        past, origins, horizon = self._checked(history, here, horizon, covariates)
        means = self._forecasts(past, origins, horizon)
        found = np.stack([self._quantile(past.values, origins, means, share)[0] for share in shares])
        return self._shaped(found)

    def roll(
        self,
        series: ArrayLike,
        origins: ArrayLike,
        horizon: int | None = None,
        *,
        level: float = 0.9,
        covariates: ArrayLike | None = None,
    ) -> Forecast:
        """Forecast from many points of a series, from each with the values before it alone.

        Parameters
        ----------
        series : array_like of real numbers
            Shaped as that of `fit`.
        origins : array_like of int, shape [O]
            An origin n is a border: ``series[:n]`` is known, and ``series[n:]`` is not.
        horizon, level
            As for :meth:`predict`.
        covariates : array_like of real numbers, optional
            As for :meth:`predict`, up to `horizon` rows behind the last origin.

        Returns
        -------
        Forecast
            mean, lower, upper: ``[O, horizon]``, or ``[O, horizon, S]``; entry ``[k, j]`` is about
            ``series[origins[k] + j]``.

        Raises
        ------
        TypeError, ValueError
            As :meth:`predict`, or an origin with fewer than `memory` values in front of it.

        Examples
        --------
        >>> import numpy as np, rnnfast as rf
        >>> series = np.arange(100.0)
        >>> model = rf.series.LastValue().fit(series, horizon=2)
        >>> model.roll(series, [50, 100]).mean.tolist()
        [[49.0, 49.0], [99.0, 99.0]]
        """
        level = checks.share("level", level)
        history, places, horizon = self._checked(series, origins, horizon, covariates)
        means = self._forecasts(history, places, horizon)
        lower = np.minimum(self._quantile(history.values, places, means, (1 - level) / 2), means)
        upper = np.maximum(self._quantile(history.values, places, means, (1 + level) / 2), means)
        return Forecast(*(self._shaped(part) for part in (means, lower, upper)))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
        """Write a fitted forecaster to a file, whole or not at all; `load_forecaster` reads it.

        Parameters
        ----------
        path : str or path-like
            The file, by convention ``*.npz``. It holds arrays and JSON, nothing pickled.
        metadata : mapping, optional
            Anything JSON can hold, for the reader.

        Raises
        ------
        OSError
            The file cannot be written.
        TypeError
            `metadata` is no mapping, or holds what JSON cannot.
        ValueError
            Before `fit`.

        Examples
        --------
        >>> import os, tempfile, numpy as np, rnnfast as rf
        >>> series = np.sin(0.3 * np.arange(100))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.npz")
        ...     rf.series.AutoRegression(2).fit(series).save(path)
        ...     model, _ = rf.series.load_forecaster(path)
        >>> model.name
        'AR(2)'
        """
        self._check_fitted()
        kept = {} if metadata is None else checks.instance("metadata", metadata, Mapping)  # type: ignore[type-abstract]
        arrays = {f"own.{name}": array for name, array in self._numbers().items()}
        arrays |= {"mean": self._scale.mean, "std": self._scale.std}
        arrays |= {"residuals": self._residuals.values, "rounding": self._residuals.rounding}
        if self.covariates:
            arrays |= {"covariates.mean": self._known_scale.mean, "covariates.std": self._known_scale.std}
        own = {"class": type(self).__name__, "settings": self.settings, "flat": self.flat}
        own |= {"difference": self.difference, "non_negative": self.non_negative}
        if self.matmul_precision is not None:
            own["matmul_precision"] = self.matmul_precision
        write_checkpoint(path, arrays, {**kept, "kind": KIND, "forecaster": own})

    def restore(self, arrays: Mapping[str, NDArray], own: Mapping[str, Any]) -> None:
        """Take over what :meth:`save` wrote; a ValueError or KeyError if it does not fit this model.

        `load_forecaster` has checked the contents that all models share.
        """
        std, residuals, difference = arrays["std"], arrays["residuals"], own["difference"]
        if difference not in self.differences or isinstance(difference, bool):
            raise ValueError(f"difference: expected one of {self.differences}, got {difference!r}")
        S = len(std)
        known = [arrays.get(f"covariates.{name}", np.zeros(0)) for name in ("mean", "std")]
        self.covariates = len(known[0]) // S
        self._take({n.removeprefix("own."): a for n, a in arrays.items() if n.startswith("own.")}, S)
        about = ("covariates.mean", "covariates.std") if self.covariates else ()
        named = {"mean", "std", "residuals", "rounding", *about, *(f"own.{name}" for name in self._numbers())}
        if arrays.keys() - named:
            raise ValueError(f"unexpected entries {', '.join(sorted(arrays.keys() - named))}")
        rounded = checks.shaped("rounding", arrays["rounding"], np.dtype(np.float64), (S,))
        self._scale, self._known_scale = Scale(difference, arrays["mean"], std), Scale(difference, *known)
        self._residuals = Residuals(residuals, rounded)
        self.difference, self.non_negative = difference, checks.flag("non_negative", own["non_negative"])
        self.flat, self.horizon = own["flat"], residuals.shape[1]

    @property
    def matmul_precision(self) -> str | None:
        """The precision of a network's products, as of modules; None for a model without a network.

        `fit` learns in float32. After it, a network may be given another precision to forecast with. The
        intervals are still those of float32.
        """
        return None

    @property
    def bounded(self) -> float:
        """The highest level of an interval that R residuals of `fit` can give: (R - 1) / (R + 1).

        Intervals of a higher level are no wider than those of this one.
        """
        return self._residuals.bounded

    @property
    def bias(self) -> NDArray[np.float64]:
        """The median of outcome minus forecast in the validation part: ``[horizon]``, or ``[horizon, S]``.

        The intervals allow for it; the forecasts do not.
        """
        self._check_fitted()
        return self._shaped(np.median(self._residuals.values, axis=0))

    @property
    def one_sided(self) -> NDArray[np.bool_]:
        """Of which series nine tenths of the outcomes were on one side, for some step: [S]."""
        self._check_fitted()
        return np.asarray(self._residuals.one_sided.any(axis=0))

    @property
    def exact(self) -> NDArray[np.bool_]:
        """Which series have intervals of width 0: [S].

        The residuals of each step were equal to rounding, as those of a model on a straight line. Such
        intervals promise nothing.
        """
        self._check_fitted()
        return self._residuals.exact

    @property
    def series(self) -> int:
        """The number of series that it was fitted on."""
        return len(self._scale.std)

    # ---- the parts of predict and roll

    def _checked(
        self, series: ArrayLike, origins: ArrayLike, horizon: int | None, covariates: ArrayLike | None
    ) -> tuple[History, NDArray[np.integer], int]:
        """The arguments of `roll`: the history with covariates of `horizon` steps more, origins, horizon."""
        self._check_fitted()
        values = checked_series("history", series)
        if values.shape[1] != self.series or (np.ndim(series) == 1) != self.flat:
            expected = "[N]" if self.flat else f"[N, {self.series}]"
            raise ValueError(f"history: expected shape {expected}, as in fit, got {np.shape(series)}")
        horizon = self.horizon if horizon is None else checks.positive("horizon", horizon)
        if horizon > self.horizon:
            raise ValueError(f"horizon: expected at most that of fit, {self.horizon}, got {horizon}")
        places = checks.as_array("origins", origins)
        if places.ndim != 1 or places.dtype.kind not in "iu":
            raise TypeError(f"origins: expected integers of shape [O], got {places.dtype} {places.shape}")
        if len(places) and (places.min() < self.memory or places.max() > len(values)):
            raise ValueError(
                f"history: expected at least {self.memory} values before each forecast, and origins up to "
                f"{len(values)}; got origins {places.min()}..{places.max()}"
            )
        rows = int(places.max(initial=0)) + horizon
        if not self.covariates:
            return History(values, np.zeros((max(rows, len(values)), self.series, 0))), places, horizon
        if covariates is None:
            raise ValueError(f"covariates: expected those of {rows} rows, as fit had some, got none")
        known = checked_covariates(covariates, rows, self.series)
        if known.shape[2] != self.covariates:
            raise ValueError(
                f"covariates: expected {self.covariates} of them, as in fit, got {known.shape[2]}"
            )
        return History(values, known), places, horizon

    def _shaped(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[…, S]`` in the shape of the caller's series."""
        return values[..., 0] if self.flat else values

    def _quantile(
        self,
        series: NDArray[np.float64],
        origins: NDArray[np.integer],
        means: NDArray[np.float64],
        probability: float,
    ) -> NDArray[np.float64]:
        """A quantile [O, horizon, S] in the series' own unit: the means, and that of their step's residuals.

        (It may put a bound on the wrong side of the mean; `roll` moves that to the mean.)
        """
        residuals = self._residuals.quantile(probability, means.shape[1])
        return self._bounded_below(means + residuals)

    def _check_fitted(self) -> None:
        if not self.horizon:
            raise ValueError(f"{self.name}: expected a fitted forecaster, got one before its fit")
