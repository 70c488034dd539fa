"""The ladder: all forecasters on one split of a series, from the last value to the LSTM, and their scores."""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.series.arrays import (
    checked_covariates,
    checked_series,
    flat_columns,
    futures,
    rounding,
    spaced,
)
from rnnfast.series.autoregression import AutoRegression
from rnnfast.series.convolution import Convolution
from rnnfast.series.forecaster import Forecaster
from rnnfast.series.intervals import LEAST_RESIDUALS
from rnnfast.series.latent import CELLS, LatentAutoregression
from rnnfast.series.learner import TooShort
from rnnfast.series.markov import Markov
from rnnfast.series.perceptron import Perceptron
from rnnfast.series.windowed import LastValue, SeasonalLastValue

__all__ = [
    "TEST",
    "Score",
    "backtest",
    "best_score",
    "climb",
    "default_lags",
    "ladder",
    "longest_horizon",
    "score_table",
    "simplest_score",
]

TEST = 0.2  # the test part's share of a series
ORIGINS = 2000  # the most rows of the test part that are origins, evenly spaced
HELD_OUT = 0.2  # the validation part's share of the values before the test part
CLOSE = 1.05  # an error below this times the lowest counts as about as good
LAGS = 24  # the least default window
BEYOND = 8  # lags of a default window beside a season
LONGEST_SEASON = 400  # the longest season of a default window: least squares on more lags is slow
MOST_ROWS = 2**50  # the most values that an error asks for
LEAST_TRAINING = LastValue.reads + LastValue.examples  # values that the simplest rung needs


class Score(NamedTuple):
    """The cost of one forecaster, and its errors on the test part.

    Attributes
    ----------
    forecaster : Forecaster
        Fitted on the values before the test part.
    parameters : int
        Numbers learnt.
    seconds : float
        Wall clock of learning.
    one_step : float
        Root mean squared error of the first step.
    all_steps : float
        Root mean squared error over all steps of the horizon.
    by_step : tuple of float
        Root mean squared error of each step.
    coverage : float
        The share of outcomes, over all steps, within the intervals.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> (score,) = rf.series.backtest(np.arange(100.0), [rf.series.LastValue()], horizon=2)
    >>> score.forecaster, score.parameters, score.one_step, score.by_step, score.coverage
    (LastValue(), 0, 1.0, (1.0, 2.0), 1.0)
    """

    forecaster: Forecaster
    parameters: int
    seconds: float
    one_step: float
    all_steps: float
    by_step: tuple[float, ...]
    coverage: float


def ladder(
    lags: int | None = None,
    season: int | None = None,
    *,
    hidden: int = 32,
    updates: int = 1500,
    difference: str | int | Sequence[int] = "auto",
    shared: bool = False,
) -> dict[str, Forecaster]:
    """One of each forecaster, the simplest first.

    Parameters
    ----------
    lags : int, optional
        The window of AR, MLP and convolution; by default :func:`default_lags` of the season.
    season : int, optional
        Steps of a season; without it there is no seasonal last value.
    hidden : int, default 32
        Units of the networks; a convolution has a quarter of them as channels.
    updates : int, default 1500
        Of the networks' weights, at most.
    difference : "auto", int or sequence of int, default "auto"
        What all but the last values learn from, see :class:`Forecaster`. "auto": each compares 0, 1 and the
        season on the validation part.
    shared : bool, default False
        AR and Markov have one set of parameters for several series, as the networks always do.

    Returns
    -------
    dict of str to Forecaster
        By the names that ``rnnfast forecast --rung`` knows.

    Raises
    ------
    TypeError, ValueError
        An argument that cannot be.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rungs = rf.series.ladder(season=52)
    >>> list(rungs)
    ['last', 'season', 'markov', 'ar', 'mlp', 'convolution', 'linear', 'sigmoid', 'tanh', 'gru', 'lstm']
    >>> rungs["ar"]
    AutoRegression(lags=60, shared=False, difference=[0, 1, 52])
    """
    channels = max(1, checks.positive("hidden", hidden) // 4)
    seasonal: dict[str, Forecaster] = {} if season is None else {"season": SeasonalLastValue(season)}
    if isinstance(difference, str):
        if difference != "auto":
            raise ValueError(f"difference: expected 'auto', an integer or several, got {difference!r}")
        difference = sorted({0, 1, season or 0})
    lags = default_lags(season) if lags is None else lags
    recurrent: dict[str, Forecaster] = {
        cell: LatentAutoregression(cell, hidden, updates=updates, difference=difference) for cell in CELLS
    }
    return {
        "last": LastValue(),
        **seasonal,
        "markov": Markov(shared=shared, difference=difference),
        "ar": AutoRegression(lags, shared=shared, difference=difference),
        "mlp": Perceptron(lags, hidden, updates=updates, difference=difference),
        "convolution": Convolution(lags, channels, updates=updates, difference=difference),
        **recurrent,
    }


def default_lags(season: int | None = None, rows: int | None = None) -> int:
    """The window of AR, MLP and convolution where none is given: a season and 8 more, at least 24.

    Parameters
    ----------
    season : int, optional
        Steps of a season. A window does not cover a season of more than 400 steps.
    rows : int, optional
        Values of the series: the window is at most a third of the training part, or a season if AR can learn
        from that many lags.

    Returns
    -------
    int

    Examples
    --------
    >>> import rnnfast as rf
    >>> [rf.series.default_lags(season) for season in (None, 12, 52, 1440)]
    [24, 24, 60, 24]
    >>> rf.series.default_lags(rows=40), rf.series.default_lags(12, rows=40)
    (8, 12)
    """
    covered = season if season is not None and checks.positive("season", season) <= LONGEST_SEASON else 0
    lags = max(LAGS, covered + BEYOND)
    if rows is None:
        return lags
    rows = checks.integer("rows", rows, 0)
    before = rows - round(TEST * rows)
    training = before - round(HELD_OUT * before)
    least = covered if AutoRegression(max(1, covered)).least <= training else 0
    return min(lags, max(1, training // 3, least))


def longest_horizon(rows: int, test: float = TEST) -> int:
    """The longest horizon that :func:`backtest` can measure on a series of `rows` values.

    Parameters
    ----------
    rows : int
    test : float, default 0.2

    Returns
    -------
    int
        0 if there are too few values for a training, a validation and a test part.

    Examples
    --------
    >>> import rnnfast as rf
    >>> [rf.series.longest_horizon(rows) for rows in (10, 40, 120)]
    [0, 2, 15]
    """
    rows = checks.integer("rows", rows, 0)
    start = rows - round(checks.probability("test", test) * rows)
    held_out = round(HELD_OUT * start)
    if start - held_out < LEAST_TRAINING:
        return 0
    return max(0, min(rows - start, held_out - LEAST_RESIDUALS + 1))


def backtest(
    series: ArrayLike,
    forecasters: Iterable[Forecaster],
    *,
    horizon: int = 1,
    test: float = TEST,
    level: float = 0.9,
    observed: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    non_negative: bool = False,
    rng: int | None = 0,
) -> Iterator[Score]:
    """Fit forecasters on the first part of a series, and score each by rolling its origin through the rest.

    All have the same training, validation and test part. A forecast from an origin of the test part reads the
    values before that origin. Nothing is learnt there.

    Parameters
    ----------
    series : array_like of real numbers
        ``[N]`` or ``[N, S]``.
    forecasters : iterable of Forecaster
        They are fitted when their score is yielded. A forecaster that needs a longer series is left out with
        a warning, unless it is the only one.
    horizon : int, default 1
        Steps to forecast from each origin.
    test : float, default 0.2
        The test part's share of the series. Of the rest, each forecaster holds out a fifth.
    level : float, default 0.9
        The intended share of outcomes within the intervals.
    observed : array_like of bool, optional
        In the shape of `series`: the values that count as outcomes, by default all. Leave out values that
        were filled in, because they are easy to forecast.
    covariates : array_like of real numbers, optional
        As for :meth:`Forecaster.fit`.
    non_negative : bool, default False
        As for :meth:`Forecaster.fit`.
    rng : int or None, default 0
        The seed of each forecaster's training.

    Yields
    ------
    Score
        One by one. The errors are in the unit of the series; of several series, each in units of its own
        standard deviation. A forecast within rounding of the outcome has the error 0, and an outcome within
        rounding of an interval is covered.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Forecaster.fit`, or if the series is too short for the horizon.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(500)) + 0.1 * np.random.default_rng(0).standard_normal(500)
    >>> rungs = [rf.series.LastValue(), rf.series.LatentAutoregression("gru", updates=300)]
    >>> last, gru = rf.series.backtest(series, rungs, horizon=5)
    >>> gru.one_step < 0.8 * last.one_step
    True
    """
    values = checked_series("series", series)
    level = checks.share("level", level)
    checks.check_rng(rng)
    horizon = checks.positive("horizon", horizon)
    N, S = values.shape
    start = N - round(checks.probability("test", test) * N)
    _check_rows(N, horizon, test)
    known = None if covariates is None else checked_covariates(covariates, N, S)
    origins = spaced(start, N - horizon, ORIGINS, S * (2 * LAGS + horizon))
    counts = futures(_checked_observed(observed, values, np.shape(series)), origins, horizon)
    if not counts.any(axis=(0, 2)).all():
        raise ValueError("observed: expected an outcome for each step of the horizon in the test part")
    shaped = values[:, 0] if np.ndim(series) == 1 else values
    actual = futures(values, origins, horizon)
    std, slack = values[:start].std(axis=0), rounding(values)
    unit = np.where(std > 0.0, std, 1.0) if S > 1 else np.ones(1)
    keywords: dict[str, Any] = {
        "horizon": horizon,
        "held_out": HELD_OUT,
        "non_negative": non_negative,
        "rng": rng,
    }
    keywords |= {"covariates": known, "constant": not flat_columns(values).all()}
    for forecaster in _those_that_fit(shaped[:start], forecasters, keywords):
        forecast = forecaster.roll(shaped, origins, level=level, covariates=known)
        mean, lower, upper = (part.reshape(actual.shape) for part in forecast)
        misses = np.where(np.abs(mean - actual) <= slack, 0.0, (mean - actual) / unit) ** 2
        squares = misses.mean(axis=(0, 2), where=counts)  # [horizon]
        yield Score(
            forecaster,
            forecaster.parameters,
            forecaster.seconds,
            float(np.sqrt(squares[0])),
            float(np.sqrt(misses.mean(where=counts))),
            tuple(np.sqrt(squares).tolist()),
            float(np.mean((lower - slack <= actual) & (actual <= upper + slack), where=counts)),
        )


climb = backtest  # its former name


def _those_that_fit(
    series: NDArray[np.float64], forecasters: Iterable[Forecaster], keywords: dict[str, Any]
) -> Iterator[Forecaster]:
    """The forecasters, fitted; those that need a longer series are left out, but not all."""
    any_fit, left_out = False, None
    for forecaster in checks.iterated("forecasters", forecasters, "an iterable of Forecaster"):
        checks.instance("forecasters", forecaster, Forecaster)
        try:
            forecaster.fit(series, **keywords)
        except TooShort as error:
            if left_out is not None:
                warnings.warn(f"left out: {left_out}", stacklevel=3)
            left_out = error
            continue
        any_fit = True
        yield forecaster
    if left_out is not None and not any_fit:
        raise left_out
    if left_out is not None:
        warnings.warn(f"left out: {left_out}", stacklevel=3)


def _check_rows(N: int, horizon: int, test: float) -> None:
    longest = longest_horizon(N, test)
    if horizon <= longest:
        return
    least = bisect_left(range(MOST_ROWS), horizon, key=lambda rows: longest_horizon(rows, test))
    if longest < 1:
        raise ValueError(
            f"series: expected at least {least} values (a training, a validation and a test part for horizon "
            f"{horizon}), got {N}"
        )
    raise ValueError(
        f"horizon: expected at most {longest} for a series of {N} values, got {horizon}: horizon "
        f"{horizon} needs at least {least}"
    )


def _checked_observed(
    observed: ArrayLike | None, values: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    if observed is None:
        return np.ones_like(values, bool)
    seen = checks.as_array("observed", observed)
    if seen.dtype != np.bool_ or seen.shape != shape:
        raise ValueError(f"observed: expected bool {shape}, as the series, got {seen.dtype} {seen.shape}")
    return seen.reshape(values.shape)


def _checked_scores(scores: Iterable[Score]) -> list[Score]:
    each = [
        checks.instance("scores", score, Score)
        for score in checks.iterated("scores", scores, "a list of Score")
    ]
    if not each:
        raise ValueError("scores: expected at least one, got none")
    return each


def best_score(scores: Sequence[Score]) -> Score:
    """The score with the lowest error over all steps; among equal errors, the one with the fewest parameters.

    An error that is no number counts as the highest: it is of forecasts that grow beyond all numbers.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`backtest`.

    Returns
    -------
    Score

    Raises
    ------
    TypeError, ValueError
        Scores of another kind, or none.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rungs = [rf.series.LastValue(), rf.series.SeasonalLastValue(4)]
    >>> scores = list(rf.series.backtest(np.tile([0.0, 2.0, 2.0, 0.0], 50), rungs))
    >>> rf.series.best_score(scores).forecaster.name
    'last season(4)'
    """
    each = _checked_scores(scores)
    return min(each, key=lambda s: (np.inf if np.isnan(s.all_steps) else s.all_steps, s.parameters))


def simplest_score(scores: Sequence[Score]) -> Score:
    """The score with the fewest parameters of those whose error is within 5% of the lowest.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`backtest`.

    Returns
    -------
    Score
        Of those with as few parameters, the one with the lowest error over all steps.

    Raises
    ------
    TypeError, ValueError
        Scores of another kind, or none.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.random.default_rng(0).standard_normal(400)    # noise: nothing to learn but its mean
    >>> scores = list(rf.series.backtest(series, [rf.series.Markov(20), rf.series.Markov(2)]))
    >>> rf.series.simplest_score(scores).forecaster.name
    'Markov(2)'
    """
    each = _checked_scores(scores)
    best = best_score(each)
    close = [s for s in each if s.all_steps <= CLOSE * best.all_steps]
    return min(close or [best], key=lambda s: (s.parameters, s.all_steps))


def score_table(scores: Sequence[Score]) -> str:
    """The scores as lines of text; ``*`` marks the lowest error over all steps.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`backtest`.

    Returns
    -------
    str
        Lines without a line end after the last.

    Raises
    ------
    TypeError, ValueError
        Scores of another kind, or none.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rungs = [rf.series.LastValue(), rf.series.SeasonalLastValue(4)]
    >>> series = np.tile([0.0, 2.0, 2.0, 0.0], 50)
    >>> for line in rf.series.score_table(list(rf.series.backtest(series, rungs))).splitlines():
    ...     print(line[:38])
                                parameters
      last value                         0
    * last season(4)                     0
    """
    each = _checked_scores(scores)
    best, horizon = best_score(each), len(each[0].by_step)
    columns = ["1 step", f"{horizon} steps"] if horizon > 1 else ["1 step"]
    heads = "".join(f"{column:>11}" for column in columns)
    width = max(20, *(len(score.forecaster.label) for score in each))
    lines = [f"  {'':<{width}}  {'parameters':>14}  {'seconds':>8}{heads}  {'covered':>8}"]
    for score in each:
        mark = "*" if score is best else " "
        errors = [score.one_step, score.all_steps][: len(columns)]
        cells = "".join(f"{error:>11.4g}" for error in errors)
        lines.append(
            f"{mark} {score.forecaster.label:<{width}}  {score.parameters:>14,}  {score.seconds:>8.2f}"
            f"{cells}  {score.coverage:>8.0%}"
        )
    return "\n".join(lines)
