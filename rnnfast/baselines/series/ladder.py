"""The ladder: all forecasters on one split of a series, from the last value to the LSTM, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnnfast.baselines.series.autoregression import AutoRegression
from rnnfast.baselines.series.convolution import Convolution
from rnnfast.baselines.series.forecaster import (
    LEAST_RESIDUALS,
    Forecaster,
    checked_series,
    futures,
    spaced,
)
from rnnfast.baselines.series.latent import CELLS, LatentAutoregression
from rnnfast.baselines.series.markov import Markov
from rnnfast.baselines.series.perceptron import Perceptron
from rnnfast.baselines.series.windowed import LastValue, SeasonalLastValue
from rnnfast.nn import checks

__all__ = ["Score", "best_score", "climb", "ladder", "score_table", "simplest_score"]

ORIGINS = 2000  # of the test part, at most: evenly spaced
HELD_OUT = 0.2  # the validation part's share of what stands before the test part
CLOSE = 1.05  # an error this many times the lowest counts as about as good


class Score(NamedTuple):
    """What one forecaster costs, and what it does on the test part.

    Attributes
    ----------
    forecaster : Forecaster
        Fitted on what stands before the test part.
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
    """

    forecaster: Forecaster
    parameters: int
    seconds: float
    one_step: float
    all_steps: float
    by_step: tuple[float, ...]
    coverage: float


def ladder(
    lags: int = 24, season: int | None = None, *, hidden: int = 32, updates: int = 1500
) -> dict[str, Forecaster]:
    """One of each forecaster, the plainest first.

    Parameters
    ----------
    lags : int, default 24
        The window of AR, MLP and convolution.
    season : int, optional
        Steps of a season; without it there is no seasonal last value.
    hidden : int, default 32
        Units of the networks; a convolution has a quarter of them as channels.
    updates : int, default 1500
        Of the networks' weights, at most.

    Returns
    -------
    dict of str to Forecaster
        By the names that ``rnnfast forecast --rung`` knows.

    Raises
    ------
    TypeError, ValueError
        An argument that is no positive integer.

    Examples
    --------
    >>> import rnnfast as rf
    >>> list(rf.baselines.ladder(lags=12))
    ['last', 'markov', 'ar', 'mlp', 'convolution', 'linear', 'sigmoid', 'tanh', 'gru', 'lstm']
    """
    channels = max(1, checks.positive("hidden", hidden) // 4)
    seasonal: dict[str, Forecaster] = {} if season is None else {"season": SeasonalLastValue(season)}
    recurrent: dict[str, Forecaster] = {
        cell: LatentAutoregression(cell, hidden, updates=updates) for cell in CELLS
    }
    return {
        "last": LastValue(),
        **seasonal,
        "markov": Markov(),
        "ar": AutoRegression(lags),
        "mlp": Perceptron(lags, hidden, updates=updates),
        "convolution": Convolution(lags, channels, updates=updates),
        **recurrent,
    }


def climb(
    series: ArrayLike,
    forecasters: Iterable[Forecaster],
    *,
    horizon: int = 1,
    test: float = 0.2,
    level: float = 0.9,
    observed: ArrayLike | None = None,
    rng: int | None = 0,
) -> Iterator[Score]:
    """Fit forecasters on the first part of a series, and score each by rolling its origin through the rest.

    All have the same training, validation and test part. A forecast from an origin of the test part reads
    what stands before that origin; what was learnt stays as it is.

    Parameters
    ----------
    series : array_like of real numbers
        ``[N]`` or ``[N, S]``.
    forecasters : iterable of Forecaster
        Not yet fitted ones; they are when their score is there.
    horizon : int, default 1
        Steps to forecast from each origin.
    test : float, default 0.2
        The test part's share of the series. Of the rest, each forecaster holds out a fifth.
    level : float, default 0.9
        The share of outcomes that the intervals are to hold.
    observed : array_like of bool, optional
        Shaped as `series`: the values that count as outcomes; by default all. Values that were filled in
        are better left out: they lie where a forecast expects them.
    rng : int or None, default 0
        Seeds each forecaster's training anew.

    Yields
    ------
    Score
        One by one. The errors are in the series' unit; those of several series, each in units of its own
        standard deviation.

    Raises
    ------
    TypeError, ValueError
        As :meth:`Forecaster.fit`; or a series too short for the horizon.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(500)) + 0.1 * np.random.default_rng(0).standard_normal(500)
    >>> rungs = [rf.baselines.LastValue(), rf.baselines.LatentAutoregression("gru", updates=300)]
    >>> last, gru = rf.baselines.climb(series, rungs, horizon=5)
    >>> gru.one_step < 0.8 * last.one_step
    True
    """
    values = checked_series("series", series)
    horizon = checks.positive("horizon", horizon)
    N = len(values)
    start = N - round(checks.probability("test", test) * N)
    longest = min(N - start, round(HELD_OUT * start) - LEAST_RESIDUALS + 1)
    if longest < 1:
        raise ValueError(
            f"series: expected enough values for a training, a validation and a test part, got {N}"
        )
    if horizon > longest:
        raise ValueError(f"horizon: expected at most {longest} for a series of {N} values, got {horizon}")
    origins = spaced(start, N - horizon, ORIGINS)
    shaped = values[:, 0] if np.ndim(series) == 1 else values
    actual = futures(values, origins, horizon)
    seen = np.ones_like(values, bool)
    if observed is not None:
        seen = checks.as_array("observed", observed)
        if seen.dtype != np.bool_ or seen.shape != np.shape(series):
            raise ValueError(
                f"observed: expected bool {np.shape(series)}, as the series, got {seen.dtype} {seen.shape}"
            )
        seen = seen.reshape(values.shape)
    counts = futures(seen, origins, horizon)
    if not counts.any(axis=(0, 2)).all():
        raise ValueError("observed: expected an outcome for each step of the horizon in the test part")
    unit = values[:start].std(axis=0) if values.shape[1] > 1 else np.ones(1)
    for forecaster in forecasters:
        forecaster.fit(shaped[:start], horizon=horizon, held_out=HELD_OUT, rng=rng)
        forecast = forecaster.roll(shaped, origins, level=level)
        mean, lower, upper = (part.reshape(actual.shape) for part in forecast)
        misses = ((mean - actual) / unit) ** 2
        squares = misses.mean(axis=(0, 2), where=counts)  # [horizon]
        yield Score(
            forecaster,
            forecaster.parameters,
            forecaster.seconds,
            float(np.sqrt(squares[0])),
            float(np.sqrt(misses.mean(where=counts))),
            tuple(np.sqrt(squares).tolist()),
            float(np.mean((lower <= actual) & (actual <= upper), where=counts)),
        )


def best_score(scores: Sequence[Score]) -> Score:
    """The score with the lowest error over all steps; the first of those that are level.

    An error that is no number, of forecasts without bounds, counts as the highest.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`climb`.

    Returns
    -------
    Score

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rungs = [rf.baselines.LastValue(), rf.baselines.SeasonalLastValue(4)]
    >>> scores = list(rf.baselines.climb(np.tile([0.0, 2.0, 2.0, 0.0], 50), rungs))
    >>> rf.baselines.best_score(scores).forecaster.name
    'last season(4)'
    """
    return min(scores, key=lambda s: np.inf if np.isnan(s.all_steps) else s.all_steps)


def simplest_score(scores: Sequence[Score]) -> Score:
    """The score with the fewest parameters of those whose error is within 5% of the lowest.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`climb`.

    Returns
    -------
    Score
        Of those with as few parameters, the one with the lowest error over all steps.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.random.default_rng(0).standard_normal(400)    # noise: nothing to learn but its mean
    >>> scores = list(rf.baselines.climb(series, [rf.baselines.Markov(20), rf.baselines.Markov(2)]))
    >>> rf.baselines.simplest_score(scores).forecaster.name
    'Markov(2)'
    """
    best = best_score(scores)
    close = [s for s in scores if s.all_steps <= CLOSE * best.all_steps]
    return min(close or [best], key=lambda s: (s.parameters, s.all_steps))


def score_table(scores: Sequence[Score]) -> str:
    """The scores as lines of text; ``*`` marks the lowest error over all steps.

    Parameters
    ----------
    scores : sequence of Score
        At least one, all of one call of :func:`climb`.

    Returns
    -------
    str
        Lines without a line end after the last.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rungs = [rf.baselines.LastValue(), rf.baselines.SeasonalLastValue(4)]
    >>> series = np.tile([0.0, 2.0, 2.0, 0.0], 50)
    >>> for line in rf.baselines.score_table(list(rf.baselines.climb(series, rungs))).splitlines():
    ...     print(line[:38])
                                parameters
      last value                         0
    * last season(4)                     0
    """
    horizon = len(scores[0].by_step)
    columns = ["1 step", f"{horizon} steps"] if horizon > 1 else ["1 step"]
    heads = "".join(f"{column:>11}" for column in columns)
    width = max(20, *(len(score.forecaster.name) for score in scores))
    lines = [f"  {'':<{width}}  {'parameters':>14}  {'seconds':>8}{heads}  {'covered':>8}"]
    for score in scores:
        mark = "*" if score is best_score(scores) else " "
        errors = [score.one_step, score.all_steps][: len(columns)]
        cells = "".join(f"{error:>11.4g}" for error in errors)
        lines.append(
            f"{mark} {score.forecaster.name:<{width}}  {score.parameters:>14,}  {score.seconds:>8.2f}"
            f"{cells}  {score.coverage:>8.0%}"
        )
    return "\n".join(lines)
