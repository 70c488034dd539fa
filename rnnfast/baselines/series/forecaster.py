"""What every rung of the ladder shares: split, scale, forecasts from many origins, intervals, its file."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast.baselines.series.packages import package
from rnnfast.nn import checks
from rnnfast.training.checkpoint import write_checkpoint

__all__ = ["KIND", "Forecast", "Forecaster", "checked_series", "futures", "spaced"]

KIND = "forecaster"  # metadata["kind"] of the files that `save` writes
RESIDUALS = 1000  # origins of the validation part whose residuals are kept, at most
LEAST_RESIDUALS = 5  # and at least
LARGEST = 1e100  # what a value may be: sums of squares have to be numbers

Self = TypeVar("Self", bound="Forecaster")


class Forecast(NamedTuple):
    """What is expected, and between what bounds: arrays of one shape.

    Their shape is ``[horizon]``, or ``[horizon, S]`` for S series; :meth:`Forecaster.roll` puts an axis of
    origins in front.
    """

    mean: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


class Forecaster:
    """A model of one series, or of several, that forecasts from any point of it.

    Several series stand side by side, ``[N, S]``. Each is scaled by its own mean and standard deviation, and
    forecast from its own past alone. Models with a handful of numbers have these for each series; the
    networks have one set of weights that all series share.

    A subclass gives its name, `memory`, `_learn`, `_means`, `_numbers` and `_take`.

    Parameters
    ----------
    **settings
        What the subclass was made with, as JSON can hold it.

    Attributes
    ----------
    name : str
        As tables show it.
    needs : str or None
        The module that `fit` imports from another package, which ``rnnfast[forecast]`` brings.
    memory : int
        How many values a forecast needs in front of it.
    examples : int
        How many of the training part's values must have so many in front of them.
    settings : dict
        The constructor's arguments.
    seconds : float
        What learning took.
    horizon : int
        Up to which step `fit` has measured the intervals; 0 before it.
    flat : bool
        The series of `fit` was [N], not [N, S].
    """

    needs: ClassVar[str | None] = None
    name: str
    memory: int = 1
    examples: int = 10

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.seconds = 0.0
        self.horizon = 0
        self.flat = True
        self._mean = np.zeros(1)  # [S]
        self._std = np.ones(1)  # [S]
        self._residuals = np.zeros((0, 0, 1))  # [R, horizon, S] scaled, ascending along the first axis

    def fit(
        self: Self, series: ArrayLike, *, horizon: int = 1, held_out: float = 0.2, rng: checks.Rng = None
    ) -> Self:
        """Learn from a series, twice.

        First from its first part alone: on its last part, the validation part, networks find how many updates
        they need, and each model leaves the residuals that its intervals are made of. Then from the whole
        series, scale included: networks go on from the weights of the lowest validation error, and make as
        many updates again as had led there.

        Parameters
        ----------
        series : array_like of real numbers
            ``[N]``, or ``[N, S]`` for S series; oldest first.
        horizon : int, default 1
            The furthest step ahead that will be asked for.
        held_out : float, default 0.2
            The validation part's share of the series.
        rng : int, numpy.random.Generator or None
            Seeds what is random: first weights and the order of examples.

        Returns
        -------
        Forecaster
            This one.

        Raises
        ------
        TypeError, ValueError
            A series that is no array of finite numbers, is constant in its training part, or is too short.
        ImportError
            A package of the extra ``forecast`` is not installed.
        """
        values = checked_series("series", series)
        horizon = checks.positive("horizon", horizon)
        held_out = checks.probability("held_out", held_out)
        generator = checks.generator(rng)
        N = len(values)
        start = N - round(held_out * N)
        self._check_length(N, start, horizon)
        mean, std = values[:start].mean(axis=0), values[:start].std(axis=0)
        if not (std > 1e-12 * np.abs(values[:start]).max(axis=0)).all():
            raise ValueError(
                f"series: expected values that vary, got a constant in its first {start} "
                f"(column {int(std.argmin())})"
            )
        scaled = (values - mean) / std

        self.horizon = 0  # until all is learnt
        if self.needs is not None:
            package(self.needs, self.name)  # before the clock runs
        seed = int(generator.integers(2**63))
        began = time.perf_counter()
        updates = self._learn(scaled, start, np.random.default_rng(seed))
        self.seconds = time.perf_counter() - began

        origins = spaced(start, N - horizon, RESIDUALS)
        residuals = std * (futures(scaled, origins, horizon) - self._means(scaled, origins, horizon))

        self._mean, self._std = values.mean(axis=0), values.std(axis=0)
        self._residuals = np.sort(residuals / self._std, axis=0)
        began = time.perf_counter()
        self._learn((values - self._mean) / self._std, N, np.random.default_rng(seed), updates)
        self.seconds += time.perf_counter() - began
        self.flat, self.horizon = np.ndim(series) == 1, horizon
        return self

    def predict(self, history: ArrayLike, horizon: int | None = None, *, level: float = 0.9) -> Forecast:
        """Forecast what follows a history.

        Parameters
        ----------
        history : array_like of real numbers
            The series so far, shaped as that of `fit`; at least `memory` values, and better all there are.
        horizon : int, optional
            How many steps, at most that of `fit`, which it is by default.
        level : float, default 0.9
            The share of outcomes that the intervals are to hold, for each step by itself; no more than
            `bounded` is to be had.

        Returns
        -------
        Forecast
            mean, lower, upper: ``[horizon]``, or ``[horizon, S]``; a mean lies within its bounds.

        Raises
        ------
        TypeError, ValueError
            Before `fit`, or an argument that does not fit it.
        """
        return Forecast(
            *(part[0] for part in self.roll(history, [len(np.atleast_1d(history))], horizon, level=level))
        )

    def roll(
        self, series: ArrayLike, origins: ArrayLike, horizon: int | None = None, *, level: float = 0.9
    ) -> Forecast:
        """Forecast from many points of a series, from each with what stands before it alone.

        Parameters
        ----------
        series : array_like of real numbers
            Shaped as that of `fit`.
        origins : array_like of int, shape [O]
            An origin n stands between ``series[:n]``, which is known, and ``series[n:]``, which is not.
        horizon, level
            As for :meth:`predict`.

        Returns
        -------
        Forecast
            mean, lower, upper: ``[O, horizon]``, or ``[O, horizon, S]``; entry ``[k, j]`` is about
            ``series[origins[k] + j]``.

        Raises
        ------
        TypeError, ValueError
            As :meth:`predict`, or an origin with fewer than `memory` values in front of it.
        """
        if not self.horizon:
            raise ValueError(f"{self.name}: expected a fitted forecaster, got one before its fit")
        values = checked_series("history", series)
        if values.shape[1] != len(self._std) or (np.ndim(series) == 1) != self.flat:
            expected = "[N]" if self.flat else f"[N, {len(self._std)}]"
            raise ValueError(f"history: expected shape {expected}, as in fit, got {np.shape(series)}")
        horizon = self.horizon if horizon is None else checks.positive("horizon", horizon)
        if horizon > self.horizon:
            raise ValueError(f"horizon: expected at most that of fit, {self.horizon}, got {horizon}")
        if not 0.0 < checks.real("level", level) < 1.0:
            raise ValueError(f"level: expected a share between 0 and 1, got {level!r}")
        places = np.asarray(origins)
        if places.ndim != 1 or places.dtype.kind not in "iu":
            raise TypeError(f"origins: expected integers of shape [O], got {places.dtype} {places.shape}")
        if len(places) and (places.min() < self.memory or places.max() > len(values)):
            raise ValueError(
                f"history: expected at least {self.memory} values before each forecast, and origins up to "
                f"{len(values)}; got origins {places.min()}..{places.max()}"
            )
        scaled = (values - self._mean) / self._std
        means = self._means(scaled, places, horizon)
        lower, upper = self._bounds(scaled, places, means, level)
        lower, upper = np.minimum(lower, means), np.maximum(upper, means)
        parts = (self._mean + self._std * part for part in (means, lower, upper))
        return Forecast(*(part[..., 0] if self.flat else part for part in parts))

    @property
    def parameters(self) -> int:
        """How many numbers were learnt, scale and residuals not counted."""
        raise NotImplementedError

    def unfitted(self: Self) -> Self:
        """Another one with the same settings, before its fit."""
        return type(self)(**self.settings)

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
            `metadata` holds what JSON cannot.
        ValueError
            Before `fit`.
        """
        if not self.horizon:
            raise ValueError(f"{self.name}: expected a fitted forecaster, got one before its fit")
        arrays = {f"own.{name}": array for name, array in self._numbers().items()}
        arrays |= {"mean": self._mean, "std": self._std, "residuals": self._residuals}
        own = {"class": type(self).__name__, "settings": self.settings, "flat": self.flat}
        write_checkpoint(path, arrays, {**(metadata or {}), "kind": KIND, "forecaster": own})

    def restore(self, arrays: Mapping[str, NDArray], flat: Any) -> None:
        """Take over the arrays that :meth:`save` wrote; a ValueError or KeyError where they do not fit."""
        mean, std, residuals = arrays["mean"], arrays["std"], arrays["residuals"]
        for name, array in arrays.items():
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite floats")
        S = len(std)
        if mean.shape != (S,) or residuals.ndim != 3 or residuals.shape[2] != S or not residuals.size:
            raise ValueError(f"scale {mean.shape}, {std.shape} and residuals {residuals.shape} do not match")
        if not (std > 0.0).all():
            raise ValueError("std: expected numbers above 0")
        if not (np.diff(residuals, axis=0) >= 0.0).all():
            raise ValueError("residuals: expected them in order")
        if not isinstance(flat, bool) or (flat and S > 1):
            raise ValueError(f"flat: expected a bool that fits {S} series, got {flat!r}")
        own = {n.removeprefix("own."): a for n, a in arrays.items() if n.startswith("own.")}
        self._take(own, S)
        strange = arrays.keys() - {"mean", "std", "residuals"} - {f"own.{name}" for name in self._numbers()}
        if strange:
            raise ValueError(f"unexpected entries {', '.join(sorted(strange))}")
        self._mean, self._std, self._residuals = mean, std, residuals
        self.flat, self.horizon = flat, residuals.shape[1]

    @property
    def bounded(self) -> float:
        """The highest level that the residuals of `fit` are enough for: (R - 1) / (R + 1) with R of them.

        Intervals of a higher level are no wider than those of this one.
        """
        R = len(self._residuals)
        return (R - 1) / (R + 1)

    @property
    def series(self) -> int:
        """How many series it was fitted on."""
        return len(self._std)

    def _check_length(self, N: int, start: int, horizon: int) -> None:
        if start < self.memory + self.examples:
            raise ValueError(
                f"series: too short for {self.name}: expected at least {self.memory + self.examples} "
                f"values in its training part, got {start} of {N}"
            )
        longest = max(0, N - start - LEAST_RESIDUALS + 1)
        if horizon > longest:
            raise ValueError(
                f"horizon: expected at most {longest}, as the intervals come from the {N - start} values of "
                f"the validation part, got {horizon}"
            )

    # What a subclass gives. Values are scaled; S is there for a single series too.

    def _learn(
        self, series: NDArray[np.float64], start: int, rng: np.random.Generator, stop: int | None = None
    ) -> int:
        """Find the parameters on ``series[:start]``, [N, S], and how many updates that took (0: in one go).

        What follows may only say when to stop. Where nothing follows, `stop` says it, and networks go on from
        the weights they have.
        """
        raise NotImplementedError

    def _means(
        self, series: NDArray[np.float64], origins: NDArray[np.integer], horizon: int
    ) -> NDArray[np.float64]:
        """The forecasts [O, horizon, S]."""
        raise NotImplementedError

    def _bounds(
        self,
        series: NDArray[np.float64],
        origins: NDArray[np.integer],
        means: NDArray[np.float64],
        level: float,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds [O, horizon, S]: the means with the quantiles of their step's residuals.

        Of R residuals and one to come, each is the k-th smallest with probability 1 / (R + 1): so the bounds
        are those of rank (R + 1)(1 ± level) / 2, rounded outwards, as far as there are so many. (`roll` moves
        a bound that this leaves on the wrong side of the mean.)
        """
        R = len(self._residuals)
        rank = math.ceil(round((R + 1) * (1 + level) / 2, 6))  # 38.0000000001 is meant to be 38
        high = self._residuals[min(rank, R) - 1, : means.shape[1]]
        low = self._residuals[max(R + 1 - rank, 1) - 1, : means.shape[1]]
        return means + low, means + high

    def _numbers(self) -> dict[str, NDArray]:
        """The parameters, by name."""
        raise NotImplementedError

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        """Take over what `_numbers` gave, for S series; a ValueError or KeyError where it does not fit."""
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"


def checked_series(name: str, series: ArrayLike) -> NDArray[np.float64]:
    """`series` as finite float64 [N, S]."""
    values = checks.as_array(name, series)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {values.dtype}")
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"{name}: expected shape [N] or [N, S], got {values.shape}")
    small = np.abs(values.astype(np.float64)) <= LARGEST
    if not small.all():
        row = int(np.argwhere(~small)[0, 0])
        raise ValueError(
            f"{name}: expected finite numbers of at most {LARGEST:g} in size, got row {row}: {values[row]}"
        )
    return values.astype(np.float64).reshape(len(values), -1)


def futures(series: NDArray[Any], origins: NDArray[np.integer], horizon: int) -> NDArray[Any]:
    """What came after each origin: [O, horizon, S]."""
    return series[origins[:, np.newaxis] + np.arange(horizon)]


def spaced(first: int, last: int, most: int) -> NDArray[np.int64]:
    """The rows from `first` to `last`, both included; of more than `most`, so many, evenly spaced."""
    count = min(most, last - first + 1)
    return np.linspace(first, last, count).round().astype(np.int64)
