"""The learning part of a forecaster: settings, differences, scale, and the methods of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.arrays import History, futures, spaced
from rnnfast.series.intervals import LEAST_RESIDUALS
from rnnfast.series.scale import Scale

__all__ = ["Learner", "TooShort", "Trial"]

RESIDUALS = 1000  # the most origins of the validation part whose residuals are kept
BETTER = 0.85  # a later difference is taken if its error is below this times the best one's before it

Self = TypeVar("Self", bound="Learner")


class TooShort(ValueError):
    """The training part of a series has fewer values than a forecaster needs.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> try:
    ...     rf.series.AutoRegression(24).fit(np.arange(40.0))
    ... except rf.series.TooShort as error:
    ...     print(error)
    series: too short for AR(24): expected at least 50 values in its training part, got 32 of 40
    """


class Trial(NamedTuple):
    """The result of learning from the training part with one difference."""

    difference: int
    updates: int
    numbers: dict[str, NDArray]
    residuals: NDArray[np.float64]  # [R, horizon, S]
    error: float


class Learner:
    """The part of a forecaster that `fit` repeats: learning, with or without differences.

    A subclass has a name, `reads`, `_learn`, `_means`, `_numbers` and `_take`. What each attribute is:
    :class:`Forecaster`.

    Parameters
    ----------
    difference : int or sequence of int, optional
        None: a model that takes no differences.
    **settings
        What the subclass was made with, as JSON can hold it.
    """

    reads_covariates: ClassVar[bool] = False
    name: str
    reads: int = 1
    examples: int = 10

    def __init__(self, *, difference: Any = None, **settings: Any) -> None:
        if isinstance(difference, np.ndarray):
            difference = difference.tolist()
        several = isinstance(difference, Sequence) and not isinstance(difference, str)
        asked = difference if several else [0 if difference is None else difference]
        self.differences = [checks.integer("difference", d, 0) for d in asked]
        if not self.differences or len(set(self.differences)) < len(self.differences):
            raise ValueError(f"difference: expected different integers, got {difference!r}")
        self.settings = settings
        if difference is not None:
            self.settings = {**settings, "difference": self.differences if several else self.differences[0]}
        self.difference = self.differences[0]
        self.covariates = 0
        self.non_negative = False
        self._scale = Scale(0, np.zeros(1), np.ones(1))  # of the series
        self._known_scale = Scale(0, np.zeros(0), np.ones(0))  # of the covariates, [S * K]

    @property
    def memory(self) -> int:
        """The number of values that a forecast needs before it."""
        return self.reads + self.difference

    @property
    def least(self) -> int:
        """The least number of values, or differences, of the training part."""
        return self.reads + self.examples

    @property
    def label(self) -> str:
        """The name, with the difference that is taken, if any."""
        return f"{self.name}, difference {self.difference}" if self.difference else self.name

    @property
    def parameters(self) -> int:
        """The number of learnt numbers, without scale and residuals."""
        raise NotImplementedError

    def clone(self: Self, **changes: Any) -> Self:
        """Another one with the same settings, before its fit.

        Parameters
        ----------
        **changes
            Settings that differ, such as ``difference=model.difference``.

        Examples
        --------
        >>> import rnnfast as rf
        >>> rf.series.Markov(5).clone(smoothing=0.5)
        Markov(levels=5, smoothing=0.5, shared=False, difference=0)
        """
        return type(self)(**{**self.settings, **changes})

    def differences_for(self, N: int, start: int, horizon: int) -> list[int]:
        """The differences for which the series is long enough; an error without any."""
        needed = {d: self.least + d for d in self.differences}
        if start < min(needed.values()):
            raise TooShort(
                f"series: too short for {self.name}: expected at least {min(needed.values())} values in its "
                f"training part, got {start} of {N}"
            )
        longest = max(0, N - start - LEAST_RESIDUALS + 1)
        if horizon > longest:
            raise ValueError(
                f"horizon: expected at most {longest}, as the intervals come from the {N - start} values of "
                f"the validation part, got {horizon}"
            )
        return [d for d, least in needed.items() if start >= least]

    def best_trial(
        self,
        history: History,
        start: int,
        horizon: int,
        differences: list[int],
        seed: int,
    ) -> Trial:
        """Learn from the training part with each difference, and keep the one of the lowest error."""
        values = history.values
        cells = values.shape[1] * (self.reads + horizon)
        origins = spaced(start, len(values) - horizon, RESIDUALS, cells)
        outcomes = futures(values, origins, horizon)
        std = values.std(axis=0)
        unit = np.where(std > 0.0, std, 1.0)
        best: Trial | None = None
        for difference in differences:
            self.difference = difference
            updates = self.learn_from(history, start, seed)
            residuals = outcomes - self._forecasts(history, origins, horizon)
            error = float(np.sqrt(np.mean((residuals / unit) ** 2)))
            if best is None or error < BETTER * best.error or not np.isfinite(best.error):
                best = Trial(difference, updates, self._numbers(), residuals, error)
        assert best is not None
        if best.difference != self.difference:
            self._take(best.numbers, values.shape[1])
        return best

    def learn_from(self, history: History, start: int, seed: int, stop: int | None = None) -> int:
        """Set the scale by the first `start` rows and learn from them, with the present difference."""
        known = history.known
        self._scale = Scale.of(history.values, start, self.difference)
        self._known_scale = Scale.of(known.reshape(len(known), -1), start, self.difference)
        return self._learn(self._scaled(history), start - self.difference, np.random.default_rng(seed), stop)

    def _forecasts(self, history: History, origins: NDArray[np.integer], horizon: int) -> NDArray[np.float64]:
        """The forecasts [O, horizon, S], in the series' own unit."""
        scaled = self._means(self._scaled(history), origins - self._scale.difference, horizon)
        return self._bounded_below(self._scale.undo(history.values, origins, scaled))

    def _scaled(self, history: History) -> History:
        values, known = history
        scaled = self._known_scale.apply(known.reshape(len(known), -1))
        return History(self._scale.apply(values), scaled.reshape(len(scaled), *known.shape[1:]))

    def _bounded_below(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(values, 0.0) if self.non_negative else values

    # ---- the methods of a subclass: values are scaled; a single series has the axis S too

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        """Fit the parameters to the first `start` rows; return the number of updates (0: there are none).

        Later rows may only decide when to stop. If there are none, `stop` decides, and networks start from
        their present weights.
        """
        raise NotImplementedError

    def _means(self, history: History, origins: NDArray[np.integer], horizon: int) -> NDArray[np.float64]:
        """The forecasts [O, horizon, S]."""
        raise NotImplementedError

    def _numbers(self) -> dict[str, NDArray]:
        """The parameters, by name."""
        raise NotImplementedError

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        """Take over parameters from `_numbers`, for S series; a ValueError or KeyError if they do not fit."""
        raise NotImplementedError

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({settings})"
