"""Timing of several contenders in one run, interleaved, so that a busy machine slows all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["interleave", "median_ratio"]

SAMPLE = 1e-3  # least seconds of a sample; shorter calls are repeated
PAUSE = 5e-3  # seconds before each sample: idle workers of the contender before it may still be spinning
WARM = 3e-3  # seconds of untimed calls after the pause, at least one call: sleeping workers wake up
FEWEST, MOST = 5, 51  # rounds


def interleave(
    contenders: Mapping[str, Callable[[], Any]], seconds: float = 2.0, *, alone: bool = False
) -> dict[str, list[float]]:
    """Time each contender once per round.

    Before each sample come a pause and untimed calls; a sample repeats the call to last a millisecond.

    Parameters
    ----------
    contenders : mapping of str to callable
        What to time, called without arguments.
    seconds : float, default 2.0
        How long the whole may take, roughly: it sets the number of rounds, which is odd and at least 5.
    alone : bool, default False
        Whether each works on one thread. A sample is then the processor time of this process where that is
        less than the time on the clock, so that what else the machine does counts less.

    Returns
    -------
    dict of str to list of float
        Seconds per call, one figure per round; figures with the same index belong to the same round.

    Examples
    --------
    >>> from rnnfast.benchmark.timing import interleave
    >>> times = interleave({"short": lambda: sum(range(100)), "long": lambda: sum(range(10_000))}, 0.2)
    >>> len(times["long"]) == len(times["short"]) >= 5
    True
    """
    repeats = {}
    round_seconds = 0.0
    for name, call in contenders.items():
        call()
        once = _seconds(call, 1, alone)
        repeats[name] = max(1, math.ceil(SAMPLE / max(once, 1e-9)))
        round_seconds += PAUSE + WARM + once * (1 + repeats[name])
    rounds = min(max(int(seconds / round_seconds), FEWEST), MOST) | 1  # odd: the median is one of the times
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            time.sleep(PAUSE)
            ready = time.perf_counter() + WARM
            call()
            while time.perf_counter() < ready:
                call()
            times[name].append(_seconds(call, repeats[name], alone))
    return times


def median_ratio(times: list[float], base: list[float]) -> float:
    """The median over the rounds of times / base."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


def _seconds(call: Callable[[], Any], repeats: int, alone: bool) -> float:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    cpu, wall = time.process_time() - begin_cpu, time.perf_counter() - begin
    return (min(cpu, wall) if alone else wall) / repeats
