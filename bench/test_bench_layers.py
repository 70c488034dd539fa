"""rnnfast's layers, its reference, a NumPy loop and the installed peers: `pytest bench --benchmark-only`.

A group is one shape and kind of work, its rows are all who run it, on the same numbers and as many threads.
Rows without a precision have float32, so `-k "not bfloat16 and not int8"` chooses those.
What each gives is compared with the reference in float64 before it is timed. Rows are timed one after the
other; `rnnfast bench` takes turns, which a busy machine disturbs less. To choose: `-k "lstm and large"`.
"""

from __future__ import annotations

import functools

import pytest

from rnnfast.benchmark.cases import CASES, CELLS, STEPS, works
from rnnfast.benchmark.contenders import installed, limited_threads
from rnnfast.benchmark.problems import (
    PRECISIONS,
    Arrays,
    Contender,
    NotOffered,
    Problem,
    check_equal,
    check_steps,
    exact_results,
    make_problem,
)

CONTENDERS = {
    Known.name if precision == "float32" else f"{Known.name}-{precision}": (Known, precision)
    for precision in PRECISIONS
    for Known in installed(precision)
}
STEPPING = [who for who, (Known, _) in CONTENDERS.items() if Known.steps]
RUNS = [
    (case, work, who)
    for case in CASES
    for work in works(case)
    for who, (Known, precision) in CONTENDERS.items()
    if work == "evaluation" or precision in Known.trains_in
]


@functools.lru_cache(maxsize=1)  # the rows of a shape come one after the other
def problem_of(cell: str, case: str) -> tuple[Problem, Arrays]:
    problem = make_problem(cell, *CASES[case])
    return problem, exact_results(problem)


def contender_of(who: str, problem: Problem, threads: int) -> Contender:
    Known, precision = CONTENDERS[who]
    try:
        return Known(problem.at(precision), threads)
    except NotOffered as reason:
        pytest.skip(f"{who}: {reason}")


@pytest.mark.parametrize(("case", "work", "who"), RUNS)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_layers(timed, threads, cell, case, work, who):
    problem, expected = problem_of(cell, case)
    with limited_threads(threads):
        contender = contender_of(who, problem, threads)
        call = contender.train if work == "training" else contender.evaluate
        check_equal(contender.arrays(call()), expected, contender)
        timed(f"{cell} {work} {case} {tuple(CASES[case])}, threads: {threads}", who, call)


@pytest.mark.parametrize("who", STEPPING)
@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_steps(timed, threads, cell, case, who):
    """One step a call, the state carried from call to call."""
    problem = make_problem(cell, *STEPS[case])
    with limited_threads(threads):
        contender = contender_of(who, problem, threads)
        check_steps(problem, contender)
        timed(f"{cell} a step of {case}, threads: {threads}", who, contender.stepper())
