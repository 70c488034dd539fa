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
from rnnfast.benchmark.cases import CASES, CELLS, STEPS
from rnnfast.benchmark.compare import WORKS, Row, race, race_steps
from rnnfast.benchmark.contenders import Rnnfast, absent_peers, contenders, limited_threads
from rnnfast.benchmark.machine import describe, fma_peak, read_bandwidths
from rnnfast.benchmark.peers import PEERS
from rnnfast.benchmark.problems import Contender, Problem, check_equal, exact_results, make_problem
from rnnfast.benchmark.timing import interleave, median_ratio

__all__ = ["run_suite"]


def run_suite(
    output: Path,
    *,
    cases: Sequence[str] = tuple(CASES),
    cells: Sequence[str] = CELLS,
    threads: Sequence[int] = (1, 2),
    seconds: float = 3.0,
    note: Callable[[str], None] = lambda text: None,
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
        If a result of rnnfast differs from the reference's. A peer whose results do is left out, with a note.
    """
    for name in checks.iterated("cases", cases, "a list of names"):
        checks.one_of("cases", name, CASES)
    for cell in checks.iterated("cells", cells, "a list of names"):
        checks.one_of("cells", cell, CELLS)
    for n in checks.iterated("threads", threads, "a list of integers"):
        checks.positive("threads", n)
    seconds = checks.above_zero("seconds", seconds)
    output.mkdir(parents=True, exist_ok=True)
    peak_seconds = statistics.median(interleave({"peak": fma_peak}, 0.5, alone=True)["peak"])
    results: dict[str, Any] = {
        "machine": describe(tuple(dict.fromkeys(name for Peer in PEERS for name in Peer.needs))),
        "peak": fma_peak() / peak_seconds / 1e9,  # GFLOP/s, one thread
        "read": read_bandwidths(),  # GB/s by size, one thread
        "notes": [f"{peer}: left out, it needs {needs}" for peer, needs in absent_peers().items()],
        "rows": [],
        "steps": [],
        "scaling": [],
    }
    for line in results["notes"]:
        note(line)

    for name in cases:
        for cell in cells:
            problem = make_problem(cell, *CASES[name])
            expected = exact_results(problem)
            for n in threads:
                with limited_threads(n):
                    competing = contenders(problem, n, with_numpy=False)
                    right = _agreeing(
                        competing, partial(_check, expected=expected), results, f"{cell} {name}"
                    )
                    for work in WORKS:
                        rows = race(work, problem, expected, right, n, seconds)
                        results["rows"] += _named(rows, cell, name)
            results["scaling"] += _scaling(
                problem, cell, name, sorted({1, *threads, 2 * max(threads)}), seconds
            )
            _write(results, output)
            note(f"{cell} {name}: done")

    for name, shape in STEPS.items():
        for cell in cells:
            problem = make_problem(cell, *shape)
            for n in threads:
                with limited_threads(n):
                    competing = [c for c in contenders(problem, n, with_numpy=False) if c.steps]
                    results["steps"] += _named(race_steps(problem, competing, n, seconds), cell, name)
        _write(results, output)
    if find_spec("matplotlib") is None:
        note('no figures: they need matplotlib, pip install "rnnfast[cli]"')
    else:
        report.draw(results, output)
    return results


def _check(contender: Contender, expected: dict[str, Any]) -> None:
    check_equal(contender.arrays(contender.evaluate()), expected, contender.name)
    if contender.trains:
        check_equal(contender.arrays(contender.train()), expected, contender.name)


def _agreeing(
    competing: Iterable[Contender], check: Callable[[Contender], None], results: dict[str, Any], where: str
) -> list[Contender]:
    """The contenders whose results agree with the reference. Others are noted; for rnnfast it is an error."""
    right = []
    for contender in competing:
        try:
            check(contender)
        except AssertionError as error:
            if contender.name == "rnnfast":
                raise
            results["notes"].append(f"{where}: left out, {error}")
        else:
            right.append(contender)
    return right


def _scaling(
    problem: Problem, cell: str, name: str, counts: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Time rnnfast with several numbers of threads in the same rounds."""
    layer = Rnnfast(problem)
    before = rf.get_num_threads()

    def with_threads(n: int, call: Callable[[], Any]) -> None:
        rf.set_num_threads(n)
        call()

    found = []
    try:
        for work, call in (("evaluation", layer.evaluate), ("training", layer.train)):
            times = interleave({str(n): partial(with_threads, n, call) for n in counts}, seconds / 2)
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
