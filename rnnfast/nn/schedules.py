"""Learning-rate schedules: callables from the number of steps done to a factor of the base learning rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from rnnfast import checks

__all__ = ["Schedule", "cosine", "in_minutes", "step", "warmup"]

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
        checks.function("then", then)

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
    checks.function("schedule", schedule)
    started: list[float] = []

    def factor(at: float) -> float:
        now = time.monotonic()
        if not started:
            started.append(now)
        return schedule((now - started[0]) / 60.0)

    return factor
