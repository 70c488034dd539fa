"""`rnnfast bench`: tables of one shape, the suite, contenders that agree before they are timed."""

from __future__ import annotations

import importlib.util
import json
import signal
import time

import pytest
from commands import fails

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


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_contenders_agree(cell, dtype):
    problem = problems.make_problem(cell, 5, 3, 4, 6, dtype)
    expected = problems.exact_results(problem)
    named = {"y", "h", "dx", *(f"d{name}" for name in problem.weights)} | ({"c"} if cell == "lstm" else set())
    assert set(expected) == named
    with contenders.limited_threads(1):
        for contender in contenders.contenders(problem, 1):
            problems.check_equal(contender.arrays(contender.evaluate()), expected, contender.name)
            if contender.trains:
                results = contender.arrays(contender.train())
                assert set(results) == named
                problems.check_equal(results, expected, contender.name)
            if contender.steps:
                problems.check_steps(problem, contender)


def test_bench_times_nothing_that_is_wrong(capsys, monkeypatch):
    right = problems.Functions.evaluate
    monkeypatch.setattr(problems.Functions, "evaluate", lambda self: (right(self)[0] * 1.01, right(self)[1]))
    error = fails(capsys, "bench", "-T", 2, "-B", 2, "-I", 2, "-H", 2, "--seconds", 0.05)
    assert "reference: y differs from the reference by" in error


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
    works = ("evaluation", "training")
    assert done == [(case, n, work) for case in ("step-8", "odd") for n in (1, 2) for work in works]
    assert all(row["contender"] == "rnnfast" and row["share"] > 0 for row in results["rows"])
    assert {row["case"] for row in results["steps"]} == set(STEPS)
    assert set(results["scaling"][0]["speedups"]) == {"2 over 1", "4 over 2"}
    tables = (folder / "results" / "results.md").read_text()
    assert "| odd | 37, 5, 13, 47 |" in tables
    assert "## GRU, 2 threads" in tables
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

    name, needs, dtypes, factor = "torch", (), ("float32",), 1.0

    def __init__(self, problem, threads):
        super().__init__(problem, rf.reference)
        self.name = "torch"

    def evaluate(self):
        y, state = super().evaluate()
        return y * self.factor, state


@pytest.mark.parametrize(("factor", "text"), [(1.0, "training | torch |"), (1.1, "left out, torch: y")])
def test_the_suite_compares_peers_or_leaves_them_out(folder, monkeypatch, factor, text):
    monkeypatch.setattr(contenders, "PEERS", (Peer,))
    monkeypatch.setattr(Peer, "factor", factor)
    run = "bench --suite --quick --case step-8 --cell lstm --threads 1 --seconds 0.02 --output results"
    assert main(run.split()) == 0
    assert text in (folder / "results" / "results.md").read_text()


def test_absent_peers_are_named(monkeypatch):
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name in ("onnx", "jax") else name)
    absent = contenders.absent_peers()
    assert absent["onnxruntime"] == "onnx and onnxruntime"
    assert absent["jax"] == "jax"
    assert "torch" not in absent


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
