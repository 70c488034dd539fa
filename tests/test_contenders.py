"""Contenders of benchmarks: results as the reference's in each precision, and who is left out."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rnnfast.benchmark import contenders, problems
from rnnfast.benchmark.compare import compare, race

CELLS = ("rnn", "gru", "lstm")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("precision", problems.TOLERANCE)
def test_contenders_agree(cell, precision):
    problem = problems.make_problem(cell, 5, 3, 4, 6, "float64" if precision == "float64" else "float32")
    expected = problems.exact_results(problem)
    named = {"y", "h", "dx", *(f"d{name}" for name in problem.weights)} | ({"c"} if cell == "lstm" else set())
    assert set(expected) == named
    with contenders.limited_threads(1):
        for contender in contenders.contenders(problem, 1, precisions=[precision]):
            assert contender.label == f"{contender.name} {precision}"
            problems.check_equal(contender.arrays(contender.evaluate()), expected, contender)
            if contender.trains:
                results = contender.arrays(contender.train())
                assert set(results) == named
                problems.check_equal(results, expected, contender)
            if contender.steps:
                problems.check_steps(problem, contender)


@pytest.mark.parametrize("precision", [p for p in problems.PRECISIONS if p != "float32"])
def test_a_precision_changes_results(precision):
    """A contender that multiplied in float32 all the same would be far closer to the reference."""
    problem = problems.make_problem("lstm", 5, 3, 16, 32)
    expected = problems.exact_results(problem)
    for contender in contenders.contenders(problem, 1, precisions=[precision]):
        errors = problems.check_equal(contender.arrays(contender.evaluate()), expected, contender)
        assert errors["y"] > 3e-4, contender.label


def left_out(cell, precision):
    """The peers that have a precision, and what is noted of those that do not have it for this cell."""
    problem, notes = problems.make_problem(cell, 3, 2, 4, 6), []
    with contenders.limited_threads(1):
        found = contenders.contenders(problem, 1, precisions=[precision], with_numpy=False, note=notes.append)
    return {contender.name for contender in found}, notes


def test_quantization_that_leaves_a_cell_in_float32_is_no_int8():
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    found, notes = left_out("lstm", "int8")
    assert {"torch", "onnxruntime"} <= found
    assert notes == []
    found, notes = left_out("gru", "int8")
    assert "torch" in found
    assert "onnxruntime" not in found
    assert notes == ["onnxruntime int8: left out, quantize_dynamic leaves GRU in float32"]
    found, notes = left_out("rnn", "int8")
    assert not found & {"torch", "onnxruntime"}
    assert notes[0] == "torch int8: left out, quantize_dynamic leaves RNN in float32"


def test_openvino_is_in_bfloat16_where_it_reports_it(monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    from rnnfast.benchmark.peers import openvino

    monkeypatch.setattr(openvino, "layer_precision", lambda compiled: "bf16")
    assert "openvino" in left_out("gru", "bfloat16")[0]
    monkeypatch.setattr(openvino, "layer_precision", lambda compiled: "f32")
    found, notes = left_out("gru", "bfloat16")
    assert "openvino" not in found
    assert notes == ["openvino bfloat16: left out, without a hint its compiled model reports f32"]
    assert "openvino" in left_out("gru", "float32")[0]


def test_absent_peers_are_named(monkeypatch):
    monkeypatch.setattr(contenders, "find_spec", lambda name: None if name in ("onnx", "jax") else name)
    absent = contenders.absent_peers()
    assert absent["onnxruntime"] == "onnx and onnxruntime"
    assert absent["jax"] == "jax"
    assert "torch" not in absent


@pytest.mark.parametrize(("precision", "allowed", "wrong"), [("float32", 5e-5, 2e-4), ("int8", 0.08, 0.12)])
def test_each_precision_has_its_tolerance(precision, allowed, wrong):
    contender = contenders.Rnnfast(problems.make_problem("rnn", 2, 1, 3, 4))
    contender.problem = contender.problem.at(precision)
    expected = {"y": np.array([[0.5, -2.0]])}
    found = {"y": np.array([[0.5, -2.0 * (1 + allowed)]])}
    assert problems.check_equal(found, expected, contender) == {"y": pytest.approx(allowed)}
    found["y"][0, 1] = -2.0 * (1 + wrong)
    with pytest.raises(AssertionError, match=f"rnnfast {precision}: y differs from the reference by"):
        problems.check_equal(found, expected, contender)
    found["y"][0, 1] = np.nan
    with pytest.raises(AssertionError, match="by nan"):
        problems.check_equal(found, expected, contender)


def test_tables_show_the_error_of_gradients_after_training():
    assert problems.main_error({"y": 0.1, "h": 0.3}) == 0.1
    assert problems.main_error({"y": 0.1, "h": 0.3, "dx": 0.01, "dweight_ih": 0.02}) == 0.02


def test_rows_say_their_precision_and_are_over_the_first(monkeypatch):
    monkeypatch.setattr(contenders, "PEERS", ())
    rows = compare("gru", 3, 2, 4, 5, precisions=["bfloat16", "float32", "bfloat16"], seconds=0.02)
    float32 = ["rnnfast float32", "unfrozen float32", "reference float32", "numpy float32"]
    evaluated = [*float32, "rnnfast bfloat16", "unfrozen bfloat16"]
    trained = [label for label in evaluated if "unfrozen" not in label]
    assert [row.label for row in rows] == evaluated + trained
    assert rows[0].ratio == rows[6].ratio == 1.0
    assert rows[0].error == rows[1].error < 1e-5 < rows[4].error
    (evaluation, unfrozen, training) = compare("gru", 3, 2, 4, 5, precisions=["bfloat16"], seconds=0.02)
    assert evaluation.ratio == training.ratio == 1.0
    assert unfrozen.label == "unfrozen bfloat16"
    rows = compare("gru", 3, 2, 4, 5, dtype="float64", seconds=0.02)
    assert {row.precision for row in rows} == {"float64"}


def test_precisions_below_float32_are_for_float32():
    with pytest.raises(ValueError, match=r"precisions: expected 'float32' .* float64, got 'bfloat16'"):
        compare("gru", 3, 2, 4, 5, dtype="float64", precisions=["bfloat16"])


def test_work_that_no_contender_does_has_no_rows():
    problem = problems.make_problem("gru", 3, 2, 4, 5)
    contender = contenders.Rnnfast(problem)
    contender.problem = problem.at("int8")
    assert not contender.trains
    assert race("training", problem, problems.exact_results(problem), [contender], 1, 0.02) == []


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
def test_a_torch_without_quantization_is_left_out(monkeypatch):
    from rnnfast.benchmark.peers import torch as peer

    real = peer.import_module

    def without(name):
        if name == "torch.ao.quantization":
            raise ModuleNotFoundError(name)
        return real(name)

    monkeypatch.setattr(peer, "import_module", without)
    assert "torch int8: left out, this torch has no quantize_dynamic" in left_out("lstm", "int8")[1]
