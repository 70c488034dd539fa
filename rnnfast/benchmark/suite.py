"""All named shapes, cells and kinds of work beside the installed peers; it writes its files after each."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import rnnfast as rf
from rnnfast import checks
from rnnfast.benchmark import report
from rnnfast.benchmark.cases import CASES, CELLS, STEPS, works
from rnnfast.benchmark.compare import Row, checked_precisions, race, race_steps
from rnnfast.benchmark.contenders import Note, Rnnfast, absent_peers, contenders, ignored, limited_threads
from rnnfast.benchmark.machine import describe, fma_peak, read_bandwidths
from rnnfast.benchmark.peers import PEERS
from rnnfast.benchmark.problems import exact_results, make_problem
from rnnfast.benchmark.timing import interleave, median_ratio

__all__ = ["run_suite"]


def run_suite(
    output: Path,
    *,
    cases: Sequence[str] = tuple(CASES),
    cells: Sequence[str] = CELLS,
    threads: Sequence[int] = (1, 2),
    precisions: Sequence[str] = ("float32",),
    seconds: float = 3.0,
    note: Note = ignored,
) -> dict[str, Any]:
    """Run the suite and write `results.json`, `results.md` and, with matplotlib, the figures into a folder.

    Parameters
    ----------
    output : Path
        The folder; it is made if it is not there. What it holds is complete after each shape.
    cases : sequence of str
        Names of `CASES`; all by default.
    cells : sequence of {"rnn", "gru", "lstm"}
        All by default.
    threads : sequence of int, default (1, 2)
        Numbers of threads, for every contender, one after the other.
    precisions : sequence of str, default ("float32",)
        Of matrix products, as `matmul_precision`. Each peer runs in those that it has. Ratios are over
        rnnfast in float32, or in the first of them where float32 is not among them.
    seconds : float, default 3.0
        For each kind of work at each shape, cell and number of threads, roughly.
    note : callable
        Is called with a line of text after each shape, and for what is left out.

    Returns
    -------
    dict
        What `results.json` holds.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, before anything is written.
    AssertionError
        If a result of rnnfast differs from the reference's by more than the precision's tolerance. A peer
        whose results do is left out, with a note.
    """
    for name in checks.iterated("cases", cases, "a list of names"):
        checks.one_of("cases", name, CASES)
    for cell in checks.iterated("cells", cells, "a list of names"):
        checks.one_of("cells", cell, CELLS)
    for n in checks.iterated("threads", threads, "a list of integers"):
        checks.positive("threads", n)
    precisions = checked_precisions(precisions)
    seconds = checks.above_zero("seconds", seconds)
    output.mkdir(parents=True, exist_ok=True)
    results = _beginning(precisions)

    def noted(text: str) -> None:
        if text not in results["notes"]:
            results["notes"].append(text)
            note(text)

    for peer, needs in absent_peers().items():
        noted(f"{peer}: left out, it needs {needs}")
    counts = sorted({1, *threads, 2 * max(threads)})
    for name in cases:
        for cell in cells:
            results["rows"] += _shape_rows(cell, name, threads, precisions, seconds, noted)
            results["scaling"] += _scaling(cell, name, precisions[0], counts, seconds)
            _write(results, output)
            note(f"{cell} {name}: done")
    for name in STEPS:
        for cell in cells:
            results["steps"] += _step_rows(cell, name, threads, precisions, seconds, noted)
        _write(results, output)
    if find_spec("matplotlib") is None:
        note('no figures: they need matplotlib, pip install "rnnfast[cli]"')
    else:
        report.draw(results, output)
    return results


def _beginning(precisions: Sequence[str]) -> dict[str, Any]:
    """The results of a suite that has timed nothing but the machine."""
    peak_seconds = statistics.median(interleave({"peak": fma_peak}, 0.5, alone=True)["peak"])
    return {
        "machine": describe(tuple(dict.fromkeys(name for Peer in PEERS for name in Peer.needs))),
        "precisions": list(precisions),
        "peak": fma_peak() / peak_seconds / 1e9,  # GFLOP/s, one thread
        "read": read_bandwidths(),  # GB/s by size, one thread
        "notes": [],
        "rows": [],
        "steps": [],
        "scaling": [],
    }


def _shape_rows(
    cell: str, name: str, threads: Sequence[int], precisions: Sequence[str], seconds: float, noted: Note
) -> list[dict[str, Any]]:
    """The rows of one cell at one named shape, for all kinds of work and numbers of threads."""
    problem = make_problem(cell, *CASES[name])
    expected = exact_results(problem)
    rows: list[Row] = []
    for n in threads:
        with limited_threads(n):
            competing = contenders(problem, n, precisions=precisions, with_numpy=False, note=noted)
            for work in works(name):
                at = _located(noted, f"{cell} {name}, {work}")
                rows += race(work, problem, expected, competing, n, seconds, at)
    return _named(rows, cell, name)


def _step_rows(
    cell: str, name: str, threads: Sequence[int], precisions: Sequence[str], seconds: float, noted: Note
) -> list[dict[str, Any]]:
    """The rows of one cell at one named shape of a step, for all numbers of threads."""
    problem = make_problem(cell, *STEPS[name])
    rows: list[Row] = []
    for n in threads:
        with limited_threads(n):
            competing = contenders(problem, n, precisions=precisions, with_numpy=False, note=noted)
            rows += race_steps(problem, competing, n, seconds, _located(noted, f"{cell} {name}, a step"))
    return _named(rows, cell, name)


def _located(noted: Note, where: str) -> Note:
    """Notes that begin with the place that they are about."""
    return lambda text: noted(f"{where}: {text}")


def _scaling(
    cell: str, name: str, precision: str, counts: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Time rnnfast in one precision with several numbers of threads in the same rounds."""
    layer = Rnnfast(make_problem(cell, *CASES[name]).at(precision))
    calls = {"evaluation": layer.evaluate} | ({"training": layer.train} if layer.trains else {})
    before = rf.get_num_threads()

    def with_threads(n: int, call: Callable[[], Any]) -> None:
        rf.set_num_threads(n)
        call()

    found = []
    try:
        for work in (work for work in works(name) if work in calls):
            timed = {str(n): partial(with_threads, n, calls[work]) for n in counts}
            times = interleave(timed, seconds / 2)
            speedups = {
                f"{b} over {a}": median_ratio(times[str(a)], times[str(b)]) for a, b in pairwise(counts)
            }
            found.append({"cell": cell, "case": name, "work": work, "speedups": speedups})
    finally:
        rf.set_num_threads(before)
    return found


def _named(rows: Iterable[Row], cell: str, case: str) -> list[dict[str, Any]]:
    return [{"cell": cell, "case": case, **row._asdict()} for row in rows]


def _write(results: dict[str, Any], output: Path) -> None:
    """Write both files, each whole or not at all."""
    texts = {
        "results.json": json.dumps(results, indent=1) + "\n",
        "results.md": report.markdown(results),
    }
    for name, text in texts.items():
        fresh = output / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(output / name)
