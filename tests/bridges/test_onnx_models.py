"""Whole models through the backend: what stands around recurrent nodes, inputs, outputs, what is refused."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from bridges.onnx_nodes import make_model, oracle

from rnnfast import _core

onnx = pytest.importorskip("onnx")
import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402

FLOAT, INT64, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
value = onnx.helper.make_tensor_value_info
node = onnx.helper.make_node


def weights(*, G: int = 1, H: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"W": (1, G * H, 2), "R": (1, G * H, H)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(nodes, inputs, outputs, constants, **how):
    graph = onnx.helper.make_graph(
        nodes,
        "test",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), *how.pop("opsets", [])]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, **how)


X = value("x", FLOAT, ["T", "B", 2])
H = value("h", FLOAT, [1, "B", 2])


def x_of(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 3, 2)).astype(np.float32)


def test_outputs_left_out_are_no_inputs_later():
    nodes = [
        node("RNN", ["x", "W", "R"], ["", "first"], name="a"),
        node("RNN", ["x", "W", "R", "", "", "first"], ["", "h"], name="b"),  # B and lengths are left out
    ]
    prepared = rnnfast.onnx.prepare(model_of(nodes, [X], [H], weights()))
    given = {"X": x_of(), **weights()}
    first = oracle("RNN", {"direction": "forward"}, given)["Y_h"]
    want = oracle("RNN", {"direction": "forward"}, {**given, "initial_h": first})["Y_h"]
    np.testing.assert_allclose(prepared.run([x_of()])["h"], want, 1e-5)


def test_nodes_inside_of_others_run_on_the_kernels():
    body = onnx.helper.make_graph(
        [node("GRU", ["x", "W", "R"], ["", "inner"], name="in")],
        "then",
        [],
        [value("inner", FLOAT, [1, None, 2])],
    )
    other = onnx.helper.make_graph(
        [node("RNN", ["x", "V", "U"], ["", "outer"])], "else", [], [value("outer", FLOAT, [1, None, 2])]
    )
    choice = node("If", ["yes"], ["h"], then_branch=body, else_branch=other)
    constants = weights(G=3) | {"V": weights()["W"], "U": weights()["R"]}
    inputs = [X, value("yes", BOOL, [])]
    prepared = rnnfast.onnx.prepare(model_of([choice], inputs, [H], constants))
    assert prepared.paths == {"in": "kernels", "outer": "kernels"}
    for yes, operator, G in ((True, "GRU", 3), (False, "RNN", 1)):
        before = _core.runs_so_far()
        h = prepared.run({"x": x_of(), "yes": np.array(yes)})["h"]
        assert _core.runs_so_far() == before + 1
        given = {"X": x_of(), **weights(G=G)}
        np.testing.assert_allclose(h, oracle(operator, {"direction": "forward"}, given)["Y_h"], 1e-5)


def loop(*condition):
    """A RNN that reads x again and again, three times, and goes on from its own state."""
    body = onnx.helper.make_graph(
        [
            node("Identity", ["go"], ["go_on"]),
            node("RNN", ["x", "W", "R", "", "", "before"], ["", "after"], name="cell"),
        ],
        "body",
        [value("n", INT64, []), value("go", BOOL, []), value("before", FLOAT, [1, None, 2])],
        [value("go_on", BOOL, []), value("after", FLOAT, [1, None, 2])],
    )
    constants = {"times": np.array(3), "yes": np.array(True), "zero": np.zeros((1, 3, 2), np.float32)}
    nodes = [node("Loop", ["times", *condition, "zero"], ["h"], body=body)]
    return model_of(nodes, [X], [H], weights() | constants)


def test_nodes_inside_of_loops_run_on_the_kernels():
    prepared = rnnfast.onnx.prepare(loop("yes"))
    assert prepared.paths == {"cell": "kernels"}
    before = _core.runs_so_far()
    got = prepared.run([x_of()])["h"]
    assert _core.runs_so_far() == before + 3
    h = np.zeros((1, 3, 2))
    for _ in range(3):
        given = {"X": x_of(), **weights(), "initial_h": h}
        h = oracle("RNN", {"direction": "forward"}, given)["Y_h"]
    np.testing.assert_allclose(got, h, 1e-5)


def test_what_the_evaluator_gets_wrong_is_refused():
    with pytest.raises(ValueError, match="node h: expected a Loop with a condition"):
        rnnfast.onnx.prepare(loop(""))


def test_nodes_inside_of_local_functions_run_on_the_kernels():
    function = onnx.helper.make_function(
        "own",
        "Twice",
        ["x", "W"],  # this W is the other's R
        ["h"],
        [
            node("Transpose", ["W"], ["turned"], perm=[0, 2, 1]),
            node("RNN", ["x", "turned", "W"], ["", "h"], name="cell"),
        ],
        [onnx.helper.make_opsetid("", 17)],
    )
    call = node("Twice", ["x", "R"], ["h"], domain="own")
    own = onnx.helper.make_opsetid("own", 1)
    model = model_of([call], [X], [H], weights(), functions=[function], opsets=[own])
    prepared = rnnfast.onnx.prepare(model)
    before = _core.runs_so_far()
    h = prepared.run([x_of()])["h"]
    assert _core.runs_so_far() == before + 1
    R = weights()["R"]
    want = oracle("RNN", {"direction": "forward"}, {"X": x_of(), "W": R.swapaxes(1, 2), "R": R})["Y_h"]
    np.testing.assert_allclose(h, want, 1e-5)


def test_every_node_has_a_name_of_its_own_in_paths(caplog):
    nodes = [
        node("RNN", ["x", "W", "R"], ["", "h1"]),
        node("RNN", ["x", "W", "R"], ["", "h2"], name="same"),
        node("RNN", ["x", "W", "R"], ["", "h3"], name="same", clip=0.5),
        node("Sum", ["h1", "h2", "h3"], ["h"]),
    ]
    with caplog.at_level(logging.INFO, logger="rnnfast.onnx"):
        prepared = rnnfast.onnx.prepare(model_of(nodes, [X], [H], weights()))
    assert prepared.paths == {"h1": "kernels", "h2": "kernels", "h3": "numpy"}
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    assert "no kernel has clip 0.5" in caplog.text


def test_inputs_by_place_by_name_and_by_default(tmp_path):
    gru = rf.GRU(2, 3, rng=0)
    path = tmp_path / "gru.onnx"
    rnnfast.onnx.export(gru, path, states=True)
    model = onnx.load(path)
    zero = onnx.numpy_helper.from_array(np.zeros((1, 3, 3), np.float32), "h_0")
    model.graph.initializer.append(zero)  # an input's default
    model.graph.input.sort(key=lambda value: value.name)
    onnx.save(model, path)
    prepared = rnnfast.onnx.prepare(path)
    assert (prepared.inputs, prepared.outputs) == (["x", "h_0"], ["y", "h_n"])
    h = np.ones((1, 3, 3), np.float32)
    for inputs in (x_of(), [x_of()], {"x": x_of()}):
        assert np.array_equal(prepared.run(inputs)["y"], gru(x_of())[0])
    for inputs in ([x_of(), h], {"h_0": h, "x": x_of()}):
        y, h_n = prepared.run(inputs)
        assert np.array_equal(y, gru(x_of(), h)[0])
        assert np.array_equal(h_n, gru(x_of(), h)[1])
    assert np.array_equal(rnnfast.onnx.run_model(path, [x_of()])["y"], gru(x_of())[0])
    for bad, kind, words in (
        ({"h_0": h}, ValueError, "missing: \\['x'\\]"),
        ({"x": x_of(), "z": h}, ValueError, "unknown: \\['z'\\]"),
        ([x_of(), h, h], ValueError, "at most 2"),
        ([x_of()[0]], ValueError, r"x: expected shape \[T, B, 2\]"),
        ([np.ones((4, 3, 5), np.float32)], ValueError, r"x: expected shape \[T, B, 2\]"),
        ([x_of().astype(np.float64)], TypeError, "x: expected dtype float32"),
    ):
        with pytest.raises(kind, match=words):
            prepared.run(bad)


def test_devices():
    model = make_model("RNN", {}, {"X": x_of(), **weights()})
    assert rnnfast.onnx.supports_device("CPU")
    assert not rnnfast.onnx.supports_device("CUDA:0")
    assert rnnfast.onnx.is_compatible(model)
    assert not rnnfast.onnx.is_compatible(model, "CUDA")
    for run in (rnnfast.onnx.prepare, lambda *a, **k: rnnfast.onnx.run_node(model.graph.node[0], [], **k)):
        with pytest.raises(ValueError, match="device: expected 'CPU', got 'CUDA'"):
            run(model, device="CUDA")


def test_models_that_cannot_run_are_refused():
    good = make_model("RNN", {}, {"X": x_of(), **weights()})
    old = onnx.ModelProto.FromString(good.SerializeToString())
    old.opset_import[0].version = 6
    unknown = onnx.ModelProto.FromString(good.SerializeToString())
    unknown.graph.node[0].domain = "own"
    unknown.opset_import.add(domain="own", version=1)
    invalid = onnx.ModelProto.FromString(good.SerializeToString())
    invalid.graph.node[0].op_type = "RNM"
    odd = make_model("RNN", {"direction": "up"}, {"X": x_of(), **weights()})
    for model, words in (
        (old, "expected opset 7"),
        (unknown, "unknown"),
        (invalid, "RNM"),
        (odd, "node cell: direction"),
    ):
        assert not rnnfast.onnx.is_compatible(model)
        with pytest.raises(ValueError, match=words):
            rnnfast.onnx.prepare(model)
