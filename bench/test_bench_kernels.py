"""The kernels against the reference, at each named shape: `pytest bench` (needs pytest-benchmark).

Both run functions of the same names on the same numbers, on one thread; what they give is compared with the
reference in float64 before anything is timed. To choose: `pytest bench -k "lstm and large and training"`.
"""

from __future__ import annotations

import pytest

from rnnfast import functional, reference
from rnnfast.cli.measure.contenders import limited_threads
from rnnfast.cli.measure.problems import Functions, check_equal, exact_results, make_problem

from .cases import CASES, CELLS


@pytest.mark.parametrize("module", [functional, reference], ids=["kernels", "reference"])
@pytest.mark.parametrize("work", ["forward", "training"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_kernels(benchmark, cell, case, work, module):
    benchmark.group = f"{cell} {work} {case} {tuple(CASES[case])}"
    problem = make_problem(cell, *CASES[case])
    contender = Functions(problem, module)
    call = contender.train if work == "training" else contender.evaluate
    with limited_threads(1):
        check_equal(contender.arrays(call()), exact_results(problem), contender.name)
        benchmark(call)
