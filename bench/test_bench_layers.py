"""The layers against the installed ones of torch and onnxruntime: `pytest bench -k layers -s` prints ratios.

Peers are timed by `rnnfast.cli.bench.compare`, which interleaves them in rounds: on a busy machine, figures
taken one after the other mean little. The benchmark's own table has rnnfast's times alone, to compare runs.
"""

from __future__ import annotations

import pytest

from rnnfast.cli.bench import compare, table
from rnnfast.cli.contenders import contenders, limited_threads, make_problem

from .cases import CASES, CELLS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cell", CELLS)
def test_bench_layers(benchmark, cell, case, threads):
    rows = compare(cell, *CASES[case], threads=threads, seconds=0.5)
    print(f"\n{cell} {case} {tuple(CASES[case])}, threads: {threads}\n{table(rows)}")
    benchmark.group = f"{cell} training"
    with limited_threads(threads):
        ours = contenders(make_problem(cell, *CASES[case]), threads)[0]
        benchmark(ours.train)
