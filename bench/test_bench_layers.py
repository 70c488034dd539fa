"""The layers against the installed peers: `pytest bench -k layers -s` prints ratios.

Peers are timed by `rnnfast.cli.measure.compare`, which interleaves them in rounds: on a busy machine, figures
taken one after the other mean little. The benchmark's own table has rnnfast's times alone, to compare runs.
"""

from __future__ import annotations

import pytest

from rnnfast.cli.bench import table
from rnnfast.cli.measure.compare import compare
from rnnfast.cli.measure.contenders import Rnnfast, limited_threads
from rnnfast.cli.measure.problems import make_problem

from .cases import CASES, CELLS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_layers(benchmark, cell, case, threads):
    rows = compare(cell, *CASES[case], threads=threads, seconds=0.5)
    print(f"\n{cell} {case} {tuple(CASES[case])}, threads: {threads}\n{table(rows)}")
    benchmark.group = f"{cell} training"
    with limited_threads(threads):
        benchmark(Rnnfast(make_problem(cell, *CASES[case])).train)
