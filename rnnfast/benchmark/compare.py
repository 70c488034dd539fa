"""One shape: all contenders checked against the reference, then timed in rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rnnfast import checks
from rnnfast.benchmark.contenders import OURS, Note, contenders, ignored, limited_threads
from rnnfast.benchmark.machine import fma_peak
from rnnfast.benchmark.problems import (
    PRECISIONS,
    Arrays,
    Contender,
    Problem,
    check_equal,
    check_steps,
    exact_results,
    main_error,
    make_problem,
)
from rnnfast.benchmark.timing import interleave, median_ratio

__all__ = ["WORKS", "Row", "checked_precisions", "compare", "race", "race_steps"]

WORKS = {"evaluation": 1, "training": 3}  # kinds of work, and their products over the forward pass's


class Row(NamedTuple):
    """The time of one contender for one kind of work."""

    work: str  # "evaluation" | "training" | "step"
    contender: str
    precision: str  # of its products
    threads: int
    seconds: float  # median
    ratio: float  # its time in multiples of rnnfast's, in the first precision and the same round; median
    gflops: float  # 1e9 operations a second, matrix products only
    share: float  # share of the peak of all threads, from `fma_peak` in the same round; median
    error: float  # `main_error` of its results

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.contender} {self.precision}"


class Entrant(NamedTuple):
    """A contender whose results are right, with their error."""

    contender: Contender
    error: float
    call: Callable[[], Any]


def checked_precisions(precisions: Any) -> tuple[str, ...]:
    """The named precisions, each once, in the order of `PRECISIONS`; at least one."""
    if isinstance(precisions, str):
        raise TypeError(f"precisions: expected a list of names, got {precisions!r}")
    named = list(checks.iterated("precisions", precisions, "a list of names"))
    for precision in named:
        checks.one_of("precisions", precision, PRECISIONS)
    if not named:
        raise ValueError(f"precisions: expected at least one of {', '.join(PRECISIONS)}, got none")
    return tuple(precision for precision in PRECISIONS if precision in named)


def compare(
    cell: str,
    T: int,
    B: int,
    I: int,
    H: int,
    *,
    threads: int = 1,
    dtype: str = "float32",
    precisions: Sequence[str] = ("float32",),
    seconds: float = 2.0,
    note: Note = ignored,
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
        Of all arrays.
    precisions : sequence of str, default ("float32",)
        Of matrix products in float32 layers, as `matmul_precision`. Each peer runs in those that it has.
        With dtype float64, only the default is allowed, and the products have float64.
    seconds : float, default 2.0
        How long each of the two kinds of work is timed, roughly.
    note : callable
        Is called with a line of text for each peer that is left out.

    Returns
    -------
    list of Row
        "evaluation" first, then "training". In each, precisions have the order of `matmul_precision`'s names,
        and rnnfast is the first of a precision. Work that no contender does in these precisions has no row.

    Raises
    ------
    TypeError, ValueError
        If the precisions are no list of names, or a name is unknown or not allowed.
    AssertionError
        If results of rnnfast or of the NumPy loop differ from the reference's by more than the tolerance of
        their precision. A peer whose results do is left out, with a note.

    Examples
    --------
    >>> from rnnfast.benchmark.compare import compare
    >>> rows = compare("gru", T=20, B=2, I=8, H=16, seconds=0.1)
    >>> [(row.work, row.label) for row in rows if row.contender == "rnnfast"]
    [('evaluation', 'rnnfast float32'), ('training', 'rnnfast float32')]
    """
    named = checked_precisions(precisions)
    problem = make_problem(cell, T, B, I, H, dtype)
    for precision in named:
        checks.precision("precisions", precision, problem.x.dtype)
    expected = exact_results(problem)
    with limited_threads(threads):
        competing = contenders(problem, threads, precisions=named if dtype == "float32" else None, note=note)
        rows = [race(work, problem, expected, competing, threads, seconds, note) for work in WORKS]
    return [row for each in rows for row in each]


def race(
    work: str,
    problem: Problem,
    expected: Arrays,
    competing: Sequence[Contender],
    threads: int,
    seconds: float,
    note: Note = ignored,
) -> list[Row]:
    """Time one kind of work, in the order of `competing`; rnnfast is the first.

    A peer whose results differ from what is expected is left out, with a note; for others it is an error.
    """

    def verified(contender: Contender) -> Entrant:
        call = contender.evaluate if work == "evaluation" else contender.train
        errors = check_equal(contender.arrays(call()), expected, contender)
        return Entrant(contender, main_error(errors), call)

    able = [contender for contender in competing if work == "evaluation" or contender.trains]
    entrants = _agreeing(able, verified, note)
    return _timed(work, entrants, WORKS[work] * problem.products, problem, threads, seconds)


def race_steps(
    problem: Problem, competing: Sequence[Contender], threads: int, seconds: float, note: Note = ignored
) -> list[Row]:
    """Time one step a call, the state carried from call to call; else as `race`."""

    def verified(contender: Contender) -> Entrant:
        return Entrant(contender, main_error(check_steps(problem, contender)), contender.stepper())

    able = [contender for contender in competing if contender.steps]
    return _timed("step", _agreeing(able, verified, note), problem.products, problem, threads, seconds)


def _agreeing(
    able: Sequence[Contender], verified: Callable[[Contender], Entrant], note: Note
) -> list[Entrant]:
    """The contenders whose results agree with the reference. Peers that do not are noted; others raise."""
    entrants = []
    for contender in able:
        try:
            entrants.append(verified(contender))
        except AssertionError as error:
            if isinstance(contender, OURS):
                raise
            note(f"left out, {error}")
    return entrants


def _timed(
    work: str, entrants: Sequence[Entrant], flops: float, problem: Problem, threads: int, seconds: float
) -> list[Row]:
    if not entrants:
        return []
    dtype = problem.x.dtype.name
    peak_flops = fma_peak(dtype)
    calls = {entrant.contender.label: entrant.call for entrant in entrants}
    times = interleave(calls | {"peak": lambda: fma_peak(dtype)}, seconds, alone=threads == 1)
    peak, base = times["peak"], times[entrants[0].contender.label]
    rows = []
    for contender, error, _ in entrants:
        taken, precision = times[contender.label], contender.problem.precision
        median, ratio = statistics.median(taken), median_ratio(taken, base)
        share = flops / peak_flops / threads / median_ratio(taken, peak)
        speed = flops / median / 1e9
        rows.append(Row(work, contender.name, precision, threads, median, ratio, speed, share, error))
    return rows
