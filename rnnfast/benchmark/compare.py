"""One shape: all contenders checked against the reference, then timed in rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rnnfast.benchmark.contenders import contenders, limited_threads
from rnnfast.benchmark.machine import fma_peak
from rnnfast.benchmark.problems import (
    Arrays,
    Contender,
    Problem,
    check_equal,
    check_steps,
    exact_results,
    make_problem,
)
from rnnfast.benchmark.timing import interleave, median_ratio

__all__ = ["WORKS", "Row", "compare", "race", "race_steps"]

WORKS = {"evaluation": 1, "training": 3}  # kinds of work, and their products over the forward pass's


class Row(NamedTuple):
    """The time of one contender for one kind of work."""

    work: str  # "evaluation" | "training" | "step"
    contender: str
    threads: int
    seconds: float  # median
    ratio: float  # its time in multiples of rnnfast's in the same round; median
    gflops: float  # 1e9 floating-point operations a second, matrix products only
    share: float  # share of the peak of all threads, from `fma_peak` in the same round; median


def compare(
    cell: str,
    T: int,
    B: int,
    I: int,
    H: int,
    *,
    threads: int = 1,
    dtype: str = "float32",
    seconds: float = 2.0,
) -> list[Row]:
    """Time a layer of one direction, forward and forward+backward, beside the reference and installed peers.

    All contenders' results are compared with the reference's in float64 before anything is timed.

    Parameters
    ----------
    cell : {"rnn", "gru", "lstm"}
        The recurrent cell (rnn: tanh).
    T, B, I, H : int
        Steps, sequences, inputs, hidden units.
    threads : int, default 1
        For every contender.
    dtype : {"float32", "float64"}
        Of everything.
    seconds : float, default 2.0
        How long each of the two kinds of work is timed, roughly.

    Returns
    -------
    list of Row
        "evaluation" first, then "training"; rnnfast first in each.

    Raises
    ------
    AssertionError
        If a contender's results differ from the reference's.

    Examples
    --------
    >>> from rnnfast.benchmark.compare import compare
    >>> rows = compare("gru", T=20, B=2, I=8, H=16, seconds=0.1)
    >>> [(row.work, row.contender) for row in rows if row.contender == "rnnfast"]
    [('evaluation', 'rnnfast'), ('training', 'rnnfast')]
    """
    problem = make_problem(cell, T, B, I, H, dtype)
    expected = exact_results(problem)
    with limited_threads(threads):
        competing = contenders(problem, threads)
        return [row for work in WORKS for row in race(work, problem, expected, competing, threads, seconds)]


def race(
    work: str,
    problem: Problem,
    expected: Arrays,
    competing: Sequence[Contender],
    threads: int,
    seconds: float,
) -> list[Row]:
    """Time one kind of work, in the order of `competing`; rnnfast is among them."""
    calls: dict[str, Callable[[], Any]] = {}
    for contender in competing:
        if work == "evaluation" or contender.trains:
            call = contender.evaluate if work == "evaluation" else contender.train
            check_equal(contender.arrays(call()), expected, contender.name)
            calls[contender.name] = call
    return _timed(work, calls, WORKS[work] * problem.products, problem.x.dtype.name, threads, seconds)


def race_steps(problem: Problem, competing: Sequence[Contender], threads: int, seconds: float) -> list[Row]:
    """Time one step a call, the state carried from call to call."""
    calls = {}
    for contender in competing:
        if contender.steps:
            check_steps(problem, contender)
            calls[contender.name] = contender.stepper()
    return _timed("step", calls, problem.products, problem.x.dtype.name, threads, seconds)


def _timed(
    work: str, calls: dict[str, Callable[[], Any]], flops: float, dtype: str, threads: int, seconds: float
) -> list[Row]:
    peak_flops = fma_peak(dtype)
    times = interleave(calls | {"peak": lambda: fma_peak(dtype)}, seconds, alone=threads == 1)
    peak = times.pop("peak")
    rows = []
    for name, taken in times.items():
        median = statistics.median(taken)
        share = flops / peak_flops / threads / median_ratio(taken, peak)
        ratio = median_ratio(taken, times["rnnfast"])
        rows.append(Row(work, name, threads, median, ratio, flops / median / 1e9, share))
    return rows
