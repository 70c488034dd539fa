"""Learning-rate schedules: callables from the number of steps done to a factor of the base learning rate.

One of them, :func:`plateau`, also reads scores: its factor falls when they stop improving.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from rnnfast import checks

__all__ = ["Plateau", "Schedule", "cosine", "in_minutes", "plateau", "step", "warmup"]

Schedule = Callable[[float], float]


def cosine(steps: float, floor: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to `floor` over `steps` steps, then level.

    Parameters
    ----------
    steps : float
        Length of the fall, more than 0.
    floor : float, default 0.0
        The factor at its end, in 0..1.

    Returns
    -------
    callable
        step -> factor.

    Examples
    --------
    >>> from rnnfast.nn import schedules
    >>> [round(schedules.cosine(4)(n), 3) for n in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    steps = checks.above_zero("steps", steps)
    floor = checks.fraction("floor", floor)

    def factor(at: float) -> float:
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(at / steps, 1.0)))

    return factor


def step(every: float, factor: float = 0.1) -> Schedule:
    """Multiply by `factor` each `every` steps.

    Parameters
    ----------
    every : float
        Steps between two falls, more than 0.
    factor : float, default 0.1
        What each fall multiplies by, more than 0.

    Returns
    -------
    callable
        step -> factor.

    Examples
    --------
    >>> from rnnfast.nn import schedules
    >>> [schedules.step(2, 0.5)(n) for n in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """
    every = checks.above_zero("every", every)
    factor = checks.above_zero("factor", factor)
    return lambda at: factor ** (at // every)


def warmup(steps: float, then: Schedule | None = None, start: float = 0.1) -> Schedule:
    """A straight rise from `start` to 1 over `steps` steps, followed by `then`, which counts from there.

    Parameters
    ----------
    steps : float
        Length of the rise, more than 0.
    then : callable, optional
        The schedule that follows, called with the steps done since the rise ended. None stays at 1.
    start : float, default 0.1
        The factor at step 0, in 0..1.

    Returns
    -------
    callable
        step -> factor.

    Examples
    --------
    >>> from rnnfast.nn import schedules
    >>> schedule = schedules.warmup(2, then=schedules.cosine(2), start=0.0)
    >>> [round(schedule(n), 3) for n in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    steps = checks.above_zero("steps", steps)
    start = checks.fraction("start", start)
    if then is not None:
        _of_steps("then", then)

    def factor(at: float) -> float:
        if at < steps:
            return start + (1.0 - start) * at / steps
        return 1.0 if then is None else then(at - steps)

    return factor


def in_minutes(schedule: Schedule) -> Schedule:
    """`schedule` read over minutes of wall clock since its first call, for runs that end by time.

    Parameters
    ----------
    schedule : callable
        Any schedule; what it takes for steps are minutes.

    Returns
    -------
    callable
        step -> factor; the step itself is not used.

    Examples
    --------
    >>> from rnnfast.nn import schedules
    >>> schedule = schedules.in_minutes(schedules.cosine(2.5))    # down to 0 in two and a half minutes
    >>> schedule(0)
    1.0
    """
    _of_steps("schedule", schedule)
    started: list[float] = []

    def factor(at: float) -> float:
        now = time.monotonic()
        if not started:
            started.append(now)
        return schedule((now - started[0]) / 60.0)

    return factor


def plateau(
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
    *,
    schedule: Schedule | None = None,
) -> Plateau:
    """Multiply by `factor` when a score, of which lower is better, stops improving.

    :func:`rnnfast.fit` gives it the validation loss of each epoch, and keeps its state in checkpoints. In a
    loop of your own, call ``observe(score, lr)`` after each epoch. The decisions are those of PyTorch's
    ``ReduceLROnPlateau`` with ``eps=0``.

    Parameters
    ----------
    factor : float, default 0.1
        What each reduction multiplies by, strictly between 0 and 1.
    patience : int, default 10
        Scores in a row without an improvement that are tolerated. The next one reduces.
    threshold : float, default 1e-4
        A score improves if it is lower than the best one by more than this share of it, in 0..1, 1 excluded.
    cooldown : int, default 0
        Scores after a reduction that do not count as misses.
    min_lr : float, default 0.0
        Reductions lead to no lower learning rate.
    schedule : callable, optional
        Another schedule, such as a warm-up, whose factor is multiplied with the reductions. It does not
        change when they come, nor `min_lr`.

    Returns
    -------
    Plateau
        step -> factor; the step is used by `schedule` alone.

    Notes
    -----
    The best score may be negative, as a negative log likelihood can be. An improvement is then a score lower
    by the share of its magnitude; PyTorch's rule takes every score near it for an improvement.

    Examples
    --------
    >>> import rnnfast as rf
    >>> schedule = rf.schedules.plateau(factor=0.5, patience=1)
    >>> factors = []
    >>> for score in (1.0, 0.8, 0.8, 0.9, 0.7):    # the second miss in a row is one too many
    ...     schedule.observe(score, lr=0.01)
    ...     factors.append(schedule(0))
    >>> factors
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """
    if schedule is not None:
        _of_steps("schedule", schedule)
    return Plateau(
        checks.share("factor", factor),
        checks.integer("patience", patience, 0),
        checks.below_one("threshold", threshold),
        checks.integer("cooldown", cooldown, 0),
        checks.at_least_zero("min_lr", min_lr),
        schedule,
    )


class Plateau:
    """What :func:`plateau` returns: a schedule with a state.

    Attributes
    ----------
    reduction : float
        The product of the reductions so far.
    """

    def __init__(
        self,
        factor: float,
        patience: int,
        threshold: float,
        cooldown: int,
        min_lr: float,
        schedule: Schedule | None,
    ) -> None:
        self._factor = factor
        self._patience = patience
        self._threshold = threshold
        self._cooldown = cooldown
        self._min_lr = min_lr
        self._schedule = schedule
        self.reset()

    def __call__(self, at: float) -> float:
        return self.reduction * (1.0 if self._schedule is None else self._schedule(at))

    def reset(self) -> None:
        """Start again: no score seen, nothing reduced."""
        self.reduction = 1.0
        self._best = math.inf
        self._misses = 0  # scores in a row without an improvement
        self._cooling = 0  # scores to come that do not count as misses

    def observe(self, score: float, lr: float) -> None:
        """Take note of a score, and reduce if it is one miss too many.

        Parameters
        ----------
        score : float
            Lower is better; NaN is no improvement.
        lr : float
            The learning rate that the schedule's factor multiplies.
        """
        if score < self._best * (1.0 - math.copysign(self._threshold, self._best)):
            self._best = score
            self._misses = 0
        else:
            self._misses += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._misses = 0
        if self._misses > self._patience:
            self._misses = 0
            self._cooling = self._cooldown
            if self.reduction * lr > self._min_lr:
                self.reduction = max(self.reduction * self._factor, self._min_lr / lr)

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to continue; JSON can hold it.

        Returns
        -------
        dict
        """
        return {
            "reduction": self.reduction,
            "best": self._best,
            "misses": self._misses,
            "cooling": self._cooling,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Parameters
        ----------
        state : mapping

        Raises
        ------
        TypeError, ValueError
            As :meth:`check_state_dict`; nothing has been written then.
        """
        self.check_state_dict(state)
        self.reduction, self._best = float(state["reduction"]), float(state["best"])
        self._misses, self._cooling = state["misses"], state["cooling"]

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise a TypeError or ValueError for what is no state, and change nothing."""
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping, got {checks.shown(state)}")
        expected = self.state_dict()
        if set(state) != set(expected):
            raise ValueError(f"state: expected the entries {', '.join(expected)}, got {', '.join(state)}")
        checks.fraction("state reduction", state["reduction"])
        checks.number("state best", state["best"])
        for name in ("misses", "cooling"):
            checks.integer(f"state {name}", state[name], 0)


def _of_steps(name: str, schedule: Schedule) -> None:
    """Refuse what is no function, or a schedule that would not be given its scores."""
    if isinstance(schedule, Plateau):
        raise TypeError(
            f"{name}: expected a schedule of steps, got a plateau, which would be given no scores; "
            "plateau(schedule=…) takes other schedules"
        )
    checks.function(name, schedule)
