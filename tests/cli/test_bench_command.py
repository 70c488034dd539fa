"""`rnnfast bench`: tables of one shape, the suite, contenders that agree before they are timed."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import time

import pytest
from helpers.commands import fails

import rnnfast as rf
from rnnfast.benchmark import contenders, problems, report, suite, timing
from rnnfast.benchmark.cases import STEPS
from rnnfast.cli.main import main


def test_bench_prints_a_table_for_each_number_of_threads(capsys):
    assert main("bench --cell gru -T 6 -B 3 -I 5 -H 7 --threads 1,2 --seconds 0.05".split()) == 0
    printed = capsys.readouterr().out
    assert printed.count("  rnnfast ") == printed.count("  reference ") == 2
    assert ("threadpoolctl" in printed) == (importlib.util.find_spec("threadpoolctl") is None)
    assert "threads: 1" in printed
    assert "threads: 2" in printed


def test_bench_says_the_precision_of_each_figure(capsys):
    run = "bench --cell gru -T 6 -B 3 -I 5 -H 7 --seconds 0.05"
    assert main([*run.split(), "--matmul-precision", "all"]) == 0
    printed = capsys.readouterr().out
    ours = re.findall(r"^  rnnfast (\w+) +\S+ +(\S+)", printed, re.MULTILINE)
    assert [precision for precision, _ in ours] == list(problems.PRECISIONS)
    assert ours[0] == ("float32", "1.00")
    assert "x: time in multiples of rnnfast float32's" in printed
    assert main([*run.split(), "--matmul-precision", "bfloat16"]) == 0
    printed = capsys.readouterr().out
    assert "float32 " not in printed.partition("\nx: ")[0].partition("\n")[2]
    assert "x: time in multiples of rnnfast bfloat16's" in printed


def test_precisions_that_do_not_exist(capsys):
    with pytest.raises(SystemExit):
        main("bench --matmul-precision float8".split())
    assert "--matmul-precision: invalid choice: 'float8'" in capsys.readouterr().err
    run = "bench --dtype float64 --matmul-precision bfloat16"
    assert "--matmul-precision: layers of --dtype float64" in fails(capsys, *run.split())


def test_bench_times_nothing_that_is_wrong(capsys, monkeypatch):
    right = problems.Functions.evaluate
    monkeypatch.setattr(problems.Functions, "evaluate", lambda self: (right(self)[0] * 1.01, right(self)[1]))
    error = fails(capsys, "bench", "-T", 2, "-B", 2, "-I", 2, "-H", 2, "--seconds", 0.05)
    assert "reference float32: y differs from the reference by" in error


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(suite, "STEPS", {name: STEPS[name] for name in ("step-32", "step-192")})


@pytest.fixture
def no_peers(monkeypatch):
    monkeypatch.setattr(contenders, "PEERS", ())


@pytest.mark.usefixtures("no_peers")
def test_the_suite_writes_tables_and_figures(folder, capsys):
    run = "bench --suite --case step-8 --case odd --cell gru --threads 1,2 --seconds 0.02 --output results"
    assert main(run.split()) == 0
    printed = capsys.readouterr()
    assert "results.md" in printed.out
    assert "gru odd: done" in printed.err
    results = json.loads((folder / "results" / "results.json").read_text())
    done = [(row["case"], row["threads"], row["work"]) for row in results["rows"]]
    works = ("evaluation", "evaluation", "training")
    assert done == [(case, n, work) for case in ("step-8", "odd") for n in (1, 2) for work in works]
    assert [row["contender"] for row in results["rows"]] == ["rnnfast", "unfrozen", "rnnfast"] * 4
    assert all(row["share"] > 0 for row in results["rows"])
    assert {row["contender"] for row in results["steps"]} == {"rnnfast"}
    assert {row["case"] for row in results["steps"]} == set(suite.STEPS)
    assert set(results["scaling"][0]["speedups"]) == {"2 over 1", "4 over 2"}
    tables = (folder / "results" / "results.md").read_text()
    assert "| odd | 37, 5, 13, 47 |" in tables
    assert "## GRU, 2 threads" in tables
    assert "rnnfast is a frozen layer, which packs its weights once" in tables
    drawn = (folder / "results" / "roofline.png").is_file()
    assert drawn == (importlib.util.find_spec("matplotlib") is not None)


@pytest.mark.usefixtures("no_peers")
@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"cases": ["odd", "even"]}, ValueError, "cases: expected one of .*, got 'even'"),
        ({"cells": 5}, TypeError, "cells: expected a list of names, got 5"),
        ({"threads": (1, 0)}, ValueError, "threads: expected at least 1, got 0"),
        ({"seconds": 0}, ValueError, "seconds: expected a number above 0, got 0"),
        ({"precisions": ["half"]}, ValueError, "precisions: expected one of .*, got 'half'"),
        ({"precisions": "float32"}, TypeError, "precisions: expected a list of names, got 'float32'"),
        ({"precisions": ()}, ValueError, "precisions: expected at least one of .*, got none"),
    ],
)
def test_a_suite_of_wrong_arguments_writes_nothing(folder, keywords, error, message):
    with pytest.raises(error, match=message):
        suite.run_suite(folder / "results", **keywords)
    assert not (folder / "results").exists()


def test_a_suite_that_is_stopped_leaves_the_number_of_threads(folder, monkeypatch):
    before = rf.get_num_threads()

    def stopped(calls, *_, alone=False):
        if not alone:
            calls["2"]()
            raise KeyboardInterrupt
        return {"peak": [1.0]}

    monkeypatch.setattr(suite, "interleave", stopped)
    monkeypatch.setattr(suite, "contenders", lambda *_, **__: [])
    monkeypatch.setattr(suite, "read_bandwidths", dict)
    monkeypatch.setattr(suite, "describe", lambda _: {})
    monkeypatch.setattr(suite, "absent_peers", dict)
    monkeypatch.setattr(suite, "race", lambda *_: [])
    rf.set_num_threads(1)
    with pytest.raises(KeyboardInterrupt):
        suite.run_suite(folder / "results", cases=["step-8"], cells=["rnn"], threads=[1], seconds=0.02)
    assert rf.get_num_threads() == 1
    rf.set_num_threads(before)


def test_a_suite_that_is_stopped_keeps_what_it_has(folder, monkeypatch):
    exact = suite.exact_results
    monkeypatch.setattr(
        suite, "exact_results", lambda p: signal.raise_signal(signal.SIGINT) if p.x.shape[0] > 1 else exact(p)
    )
    run = "bench --suite --case step-8 --case odd --cell rnn --threads 1 --seconds 0.02 --output results"
    assert main(run.split()) == 130
    results = json.loads((folder / "results" / "results.json").read_text())
    assert {row["case"] for row in results["rows"]} == {"step-8"}


class Peer(problems.Functions):
    """A peer that is always installed; `factor` makes its results wrong."""

    name, needs, precisions, factor = "torch", (), ("float32", "bfloat16"), 1.0

    def __init__(self, problem, threads):
        super().__init__(problem, rf.reference)
        self.name = "torch"

    def evaluate(self):
        y, state = super().evaluate()
        return y * self.factor, state


@pytest.mark.parametrize(
    ("factor", "text"), [(1.0, "training | torch |"), (1.1, "left out, torch float32: y")]
)
def test_the_suite_compares_peers_or_leaves_them_out(folder, monkeypatch, factor, text):
    monkeypatch.setattr(contenders, "PEERS", (Peer,))
    monkeypatch.setattr(Peer, "factor", factor)
    run = "bench --suite --quick --case step-8 --cell lstm --threads 1 --seconds 0.02 --output results"
    assert main(run.split()) == 0
    assert text in (folder / "results" / "results.md").read_text()


def test_the_suite_compares_precisions(folder, monkeypatch):
    """A peer in bfloat16 may be off by a few percent, which its figures say; in float32 it may not."""
    monkeypatch.setattr(contenders, "PEERS", (Peer,))
    monkeypatch.setattr(Peer, "factor", 1.02)
    run = "bench --suite --case step-8 --case b1-h128 --cell gru --threads 1 --seconds 0.02 --output results"
    assert main([*run.split(), "--matmul-precision", "bfloat16", "--matmul-precision", "float32"]) == 0
    results = json.loads((folder / "results" / "results.json").read_text())
    assert results["precisions"] == ["float32", "bfloat16"]
    rows = {
        (row["case"], row["work"], row["contender"], row["precision"]): row["error"]
        for row in results["rows"]
    }
    assert rows["step-8", "evaluation", "torch", "bfloat16"] == pytest.approx(0.02, rel=1e-3)
    assert rows["step-8", "evaluation", "rnnfast", "float32"] < 1e-5
    assert 1e-4 < rows["step-8", "evaluation", "rnnfast", "bfloat16"] < 0.01
    assert {work for case, work, *_ in rows if case == "b1-h128"} == {"evaluation"}
    tables = (folder / "results" / "results.md").read_text()
    assert "| evaluation | T, B, I, H | rnnfast float32, ms | of the peak | unfrozen float32 | " in tables
    assert re.search(r"\n\| b1-h128 \| 100, 1, 128, 128 \| [\d.]+ \|.* [\d.]+ \(0\.\d%\) \|", tables)
    assert "## Geometric means, float32" in tables
    assert re.search(r"\n\| gru \| b1-h128 \| +\| [\d.]+ \|", tables)  # 2 threads over 1, training left out


@pytest.mark.usefixtures("no_peers")
def test_a_folder_that_cannot_be_made(folder, capsys):
    (folder / "file").write_text("")
    assert "--output file: " in fails(capsys, *"bench --suite --case step-8 --output file".split())


def test_ratios_of_a_class_are_geometric_means():
    rows = [
        {"cell": cell, "case": case, "work": work, "contender": peer, "threads": 1, "ratio": ratio}
        for cell, case, work, peer, ratio in [
            ("lstm", "small", "training", "torch", 2.0),
            ("lstm", "odd", "training", "torch", 8.0),
            ("lstm", "odd", "training", "jax", 1.0),
            ("gru", "large", "evaluation", "torch", 9.0),
            ("gru", "large", "evaluation", "openvino", 3.0),
            ("rnn", "large", "evaluation", "jax", 0.1),
        ]
    ]
    table = "\n".join(report.class_table(rows))
    assert "| training | torch | LSTM, H to 64 | 1 | 4.00 | 2.00 (lstm small) |" in table
    assert "| GRU and RNN, H from 100 | 1 | 3.00 | 3.00 (gru large) |" in table


def test_limited_threads_are_put_back():
    before = rf.get_num_threads()
    with contenders.limited_threads(before + 1):
        assert rf.get_num_threads() == before + 1
    assert rf.get_num_threads() == before


def test_rounds_run_each_contender_in_turn():
    calls = []
    times = timing.interleave({"a": lambda: calls.append("a"), "b": lambda: time.sleep(0.002)}, seconds=0.05)
    assert len(times["a"]) == len(times["b"])
    assert len(times["a"]) % 2 == 1
    assert timing.median_ratio([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == 2.0
