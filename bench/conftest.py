"""What benchmarks share: the number of threads, a group for all who do the same, times over rnnfast's."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

for package in ("rnnfast", "pytest_benchmark", "threadpoolctl"):  # the last sets the threads of NumPy's BLAS
    if find_spec(package) is None:
        raise SystemExit(f'bench/ needs {package}: pip install ".[bench]" in this clone brings it')

FIRST = "rnnfast"  # whose time is 1
MEDIANS = pytest.StashKey[dict[str, dict[str, float]]]()  # seconds, by group and row


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bench-threads", type=int, default=1, metavar="N", help="threads of each row (1)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEDIANS] = {}
    os.environ["NPROC"] = str(config.getoption("--bench-threads"))  # JAX reads it once, when it is loaded


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> int:
    """How many threads each row gets."""
    return int(request.config.getoption("--bench-threads"))


@pytest.fixture
def timed(benchmark: Any, request: pytest.FixtureRequest) -> Callable[[str, str, Callable[[], Any]], None]:
    """``timed(group, row, call)``: time a call whose results are verified, as a row of a group."""

    def time(group: str, row: str, call: Callable[[], Any]) -> None:
        benchmark.group = group
        benchmark(call)
        if benchmark.stats is None:  # --benchmark-disable
            return
        medians = request.config.stash[MEDIANS].setdefault(group, {})
        medians[row] = benchmark.stats.stats.median
        if FIRST in medians:
            benchmark.extra_info[f"over {FIRST}"] = medians[row] / medians[FIRST]

    return time


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    groups = {name: rows for name, rows in config.stash[MEDIANS].items() if FIRST in rows and len(rows) > 1}
    if not groups:
        return
    terminalreporter.section(f"medians over {FIRST}'s")
    for name, rows in groups.items():
        ratios = [f"{row} {median / rows[FIRST]:.2f}" for row, median in rows.items() if row != FIRST]
        terminalreporter.write_line(f"{name}: {'  '.join(ratios)}")
