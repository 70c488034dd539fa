"""rnnfast's layers, its reference, a NumPy loop and the installed peers: `pytest bench --benchmark-only`.

A group is one shape and kind of work, its rows are all who run it, on the same numbers and as many threads.
What each gives is compared with the reference in float64 before it is timed. Rows are timed one after the
other; `rnnfast bench` takes turns, which a busy machine disturbs less. To choose: `-k "lstm and large"`.
"""

from __future__ import annotations

import functools

import pytest

from rnnfast.benchmark.cases import CASES, CELLS, STEPS
from rnnfast.benchmark.contenders import installed, limited_threads
from rnnfast.benchmark.problems import (
    Arrays,
    Problem,
    check_equal,
    check_steps,
    exact_results,
    make_problem,
)

CONTENDERS = {Known.name: Known for Known in installed("float32")}
RUNS = [("evaluation", who) for who in CONTENDERS]
RUNS += [("training", who) for who, Known in CONTENDERS.items() if Known.trains]


@functools.lru_cache(maxsize=1)  # the rows of a shape come one after the other
def problem_of(cell: str, case: str) -> tuple[Problem, Arrays]:
    problem = make_problem(cell, *CASES[case])
    return problem, exact_results(problem)


@pytest.mark.parametrize(("work", "who"), RUNS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_layers(timed, threads, cell, case, work, who):
    problem, expected = problem_of(cell, case)
    with limited_threads(threads):
        contender = CONTENDERS[who](problem, threads)
        call = contender.train if work == "training" else contender.evaluate
        check_equal(contender.arrays(call()), expected, contender.name)
        timed(f"{cell} {work} {case} {tuple(CASES[case])}, threads: {threads}", who, call)


@pytest.mark.parametrize("who", [who for who, Known in CONTENDERS.items() if Known.steps])
@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_steps(timed, threads, cell, case, who):
    """One step a call, the state carried from call to call."""
    problem = make_problem(cell, *STEPS[case])
    with limited_threads(threads):
        contender = CONTENDERS[who](problem, threads)
        check_steps(problem, contender)
        timed(f"{cell} a step of {case}, threads: {threads}", who, contender.stepper())
