"""Whole models through the backend: the nodes around recurrent nodes, inputs, outputs, what is refused."""

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


def rnn_weights(*, G: int = 1, H: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"W": (1, G * H, 2), "R": (1, G * H, H)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(nodes, inputs, outputs, constants, **keywords):
    graph = onnx.helper.make_graph(
        nodes,
        "test",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), *keywords.pop("opsets", [])]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, **keywords)


X = value("x", FLOAT, ["T", "B", 2])
H = value("h", FLOAT, [1, "B", 2])


def x_of(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 3, 2)).astype(np.float32)


def test_outputs_left_out_are_no_inputs_later():
    nodes = [
        node("RNN", ["x", "W", "R"], ["", "first"], name="a"),
        node("RNN", ["x", "W", "R", "", "", "first"], ["", "h"], name="b"),  # B and lengths are left out
    ]
    prepared = rnnfast.onnx.prepare(model_of(nodes, [X], [H], rnn_weights()))
    given = {"X": x_of(), **rnn_weights()}
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
    constants = rnn_weights(G=3) | {"V": rnn_weights()["W"], "U": rnn_weights()["R"]}
    inputs = [X, value("yes", BOOL, [])]
    prepared = rnnfast.onnx.prepare(model_of([choice], inputs, [H], constants))
    assert prepared.paths == {"in": "kernels", "outer": "kernels"}
    for yes, operator, G in ((True, "GRU", 3), (False, "RNN", 1)):
        before = _core.runs_so_far()
        h = prepared.run({"x": x_of(), "yes": np.array(yes)})["h"]
        assert _core.runs_so_far() == before + 1
        given = {"X": x_of(), **rnn_weights(G=G)}
        np.testing.assert_allclose(h, oracle(operator, {"direction": "forward"}, given)["Y_h"], 1e-5)


def loop(*condition):
    """A RNN that reads x three times, each time from its last state."""
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
    return model_of(nodes, [X], [H], rnn_weights() | constants)


def test_nodes_inside_of_loops_run_on_the_kernels():
    prepared = rnnfast.onnx.prepare(loop("yes"))
    assert prepared.paths == {"cell": "kernels"}
    before = _core.runs_so_far()
    got = prepared.run([x_of()])["h"]
    assert _core.runs_so_far() == before + 3
    h = np.zeros((1, 3, 2))
    for _ in range(3):
        given = {"X": x_of(), **rnn_weights(), "initial_h": h}
        h = oracle("RNN", {"direction": "forward"}, given)["Y_h"]
    np.testing.assert_allclose(got, h, 1e-5)


def counting(inputs, *, trips=None, start=None, stop=9, shape=(2, "d")):
    """A Loop that adds 1 to `total` and gathers k + total, until `total` is `stop`."""
    body = onnx.helper.make_graph(
        [
            node("Add", ["before", "one"], ["after"]),
            node("Less", ["after", "stop"], ["going"]),
            node("Add", ["k", "after"], ["row"]),
        ],
        "body",
        [value("n", INT64, []), value("go", BOOL, []), value("before", FLOAT, [])],
        [value("going", BOOL, []), value("after", FLOAT, []), value("row", FLOAT, shape)],
    )
    constants = {"zero": np.float32(0), "one": np.float32(1), "stop": np.float32(stop)}
    constants |= {} if trips is None else {"trips": np.array(trips)}
    constants |= {} if start is None else {"start": np.array(start)}
    nodes = [node("Loop", [*inputs, "zero"], ["total", "rows"], body=body, name="loop")]
    outputs = [value("total", FLOAT, []), value("rows", FLOAT, [None] * (1 + len(shape)))]
    arrays = {name: np.asarray(number) for name, number in constants.items()}
    return model_of(nodes, [value("k", FLOAT, [None] * len(shape))], outputs, arrays)


@pytest.mark.parametrize(
    ("inputs", "more", "steps"),
    [
        (["trips", "start"], {"trips": 3, "start": True}, 3),
        (["trips", "start"], {"trips": [3], "start": [True], "stop": 2}, 2),
        (["trips", "start"], {"trips": 3, "start": False}, 0),
        (["trips", "start"], {"trips": 0, "start": True}, 0),
        (["trips", ""], {"trips": 3, "stop": 2}, 3),  # the body's condition is ignored
        (["", "start"], {"start": True, "stop": 4}, 4),
    ],
    ids=str,
)
@pytest.mark.parametrize("k", [np.float32(5), np.ones((2, 4), np.float32)], ids=["scalar", "matrix"])
def test_loops_stack_what_their_steps_give(inputs, more, steps, k):
    k = np.asarray(k)
    shape = (2, "d") if k.ndim else ()
    total, rows = rnnfast.onnx.prepare(counting(inputs, shape=shape, **more)).run([k])
    assert total == steps
    if steps:
        np.testing.assert_array_equal(rows, [k + step for step in range(1, steps + 1)], strict=True)
    else:
        assert (rows.shape, rows.dtype) == ((0, 2, 0) if k.ndim else (0,), np.float32)


def test_unsupported_loops_are_refused():
    with pytest.raises(ValueError, match="node loop: expected a trip count or a condition"):
        rnnfast.onnx.prepare(counting(["", ""]))
    with pytest.raises(
        ValueError, match="node loop: body: expected 4 inputs and 3 outputs or more, got 3 and"
    ):
        rnnfast.onnx.prepare(counting(["trips", "start", "zero"], trips=3, start=True))
    with pytest.raises(ValueError, match=r"node loop: M: expected one element, got shape \(2,\)"):
        rnnfast.onnx.prepare(counting(["trips", ""], trips=[1, 2])).run([np.ones((2, 4), np.float32)])
    untyped = counting(["trips", ""], trips=0)
    untyped.graph.node[0].attribute[0].g.output[2].ClearField("type")
    with pytest.raises(ValueError, match="node loop: row: expected a declared type"):
        rnnfast.onnx.prepare(untyped).run([np.ones((2, 4), np.float32)])


def test_a_loop_whose_output_is_left_out_gives_no_input_later():
    model = counting(["trips", ""], trips=3)
    model.graph.node[0].output[0] = ""
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in rnn_weights().items()]
    model.graph.initializer.extend(constants)
    model.graph.node.append(node("RNN", ["rows", "W", "R", "", ""], ["", "h"]))
    del model.graph.output[:]
    model.graph.output.append(H)
    k = np.ones((4, 2), np.float32)
    rows = np.stack([k + 1, k + 2, k + 3])
    want = oracle("RNN", {"direction": "forward"}, {"X": rows, **rnn_weights()})["Y_h"]
    np.testing.assert_allclose(rnnfast.onnx.prepare(model).run([k])["h"], want, 1e-5)


def scanning(opset: int = 17, **attributes):
    """A Scan that carries a sum of `x` and gathers the sums and the products of `x` and `z`."""
    body = onnx.helper.make_graph(
        [
            node("Add", ["before", "x_t"], ["after"]),
            node("Identity", ["after"], ["sum"]),
            node("Mul", ["x_t", "z_t"], ["product"]),
        ],
        "body",
        [value(name, FLOAT, [2, 3]) for name in ("before", "x_t", "z_t")],
        [value("after", FLOAT, [2, 3]), value("sum", FLOAT, [2, 3]), value("product", FLOAT, [2, "d"])],
    )
    scan = node(
        "Scan", ["zero", "x", "z"], ["last", "sums", "products"], body=body, name="scan",
        **{"num_scan_inputs": 2, **attributes},
    )  # fmt: skip
    model = model_of(
        [scan],
        [value(name, FLOAT, [None] * 3) for name in ("x", "z")],
        [value(name, FLOAT, [None] * rank) for name, rank in (("last", 2), ("sums", 3), ("products", 3))],
        {"zero": np.zeros((2, 3), np.float32)},
    )
    model.opset_import[0].version = opset
    return model


@pytest.mark.parametrize("axes_in", [None, [1, -1]])
@pytest.mark.parametrize("directions_in", [None, [1, 0]])
@pytest.mark.parametrize("axes_out", [None, [2, -2]])
@pytest.mark.parametrize("directions_out", [None, [0, 1]])
def test_scans_along_any_axis_in_any_direction(axes_in, directions_in, axes_out, directions_out):
    given = {
        "scan_input_axes": axes_in,
        "scan_input_directions": directions_in,
        "scan_output_axes": axes_out,
        "scan_output_directions": directions_out,
    }
    prepared = rnnfast.onnx.prepare(scanning(**{name: it for name, it in given.items() if it is not None}))
    rng = np.random.default_rng(0)
    for steps in (4, 0):
        x, z = (rng.standard_normal((steps, 2, 3)).astype(np.float32) for _ in "xz")
        sums, products = np.cumsum(x, 0), x * z  # along axis 0, forwards
        if not steps:
            products = products[..., :0]  # an axis whose size is not declared
        last = sums[-1] if steps else np.zeros((2, 3), np.float32)
        arrays = []
        for n, array in enumerate((x, z)):
            turned = array[::-1] if directions_in and directions_in[n] else array
            arrays.append(np.moveaxis(turned, 0, axes_in[n] if axes_in else 0))
        wanted = []
        for n, array in enumerate((sums, products)):
            turned = array[::-1] if directions_out and directions_out[n] else array
            wanted.append(np.moveaxis(turned, 0, axes_out[n] if axes_out else 0))
        for got, want in zip(prepared.run(arrays), (last, *wanted), strict=True):
            np.testing.assert_allclose(got, want, 1e-6, strict=True)


def test_unsupported_scans_are_refused():
    for attributes, words in (
        ({"opset": 8}, "expected a Scan of opset 9"),
        ({"num_scan_inputs": 0}, "num_scan_inputs: expected 1 to 3, got 0"),
        ({"num_scan_inputs": 4}, "num_scan_inputs: expected 1 to 3, got 4"),
        ({"scan_input_axes": [0]}, "scan_input_axes: expected 2 of them, got 1"),
        ({"scan_output_directions": [0, 2]}, "scan_output_directions: expected 0 or 1"),
    ):
        with pytest.raises(ValueError, match=f"node scan: {words}"):
            rnnfast.onnx.prepare(scanning(**attributes))
    x = np.ones((4, 2, 3), np.float32)
    for attributes, inputs, words in (
        ({"scan_input_axes": [0, 3]}, [x, x], "z_t: expected an axis 3"),
        ({"scan_output_axes": [0, 3]}, [x, x], "product: .*axis"),
        ({}, [x, x[1:]], r"expected scan inputs of one length, got \[4, 3\]"),
    ):
        with pytest.raises(ValueError, match=f"node scan: {words}"):
            rnnfast.onnx.prepare(scanning(**attributes)).run(inputs)


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
    model = model_of([call], [X], [H], rnn_weights(), functions=[function], opsets=[own])
    prepared = rnnfast.onnx.prepare(model)
    before = _core.runs_so_far()
    h = prepared.run([x_of()])["h"]
    assert _core.runs_so_far() == before + 1
    R = rnn_weights()["R"]
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
        prepared = rnnfast.onnx.prepare(model_of(nodes, [X], [H], rnn_weights()))
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
        ([[[1], [1, 2]]], ValueError, "x: .*inhomogeneous"),
        (None, TypeError, "inputs: expected arrays in order or by name, got NoneType"),
    ):
        with pytest.raises(kind, match=words):
            prepared.run(bad)


def test_sequences_are_given_as_lists():
    parts = onnx.helper.make_tensor_sequence_value_info("parts", FLOAT, None)
    joined = value("joined", FLOAT, [None])
    model = model_of([node("ConcatFromSequence", ["parts"], ["joined"], axis=0)], [parts], [joined], {})
    arrays = [np.ones(2, np.float32), np.zeros(3, np.float32)]
    assert rnnfast.onnx.prepare(model).run([arrays])["joined"].tolist() == [1, 1, 0, 0, 0]


def test_one_node_takes_inputs_by_place_and_by_name():
    cell = node("RNN", ["x", "w", "r"], ["y"])
    one = np.ones((1, 1, 1))
    want = np.tanh(one)[None]
    for inputs in ([one] * 3, (one, one, one), {"r": one, "w": one, "x": one}, [one.tolist(), one, one]):
        (y,) = rnnfast.onnx.run_node(cell, inputs)
        np.testing.assert_allclose(y, want, 1e-12)
    for inputs, kind, words in (
        ([one, one], ValueError, r"inputs: expected x, w, r; missing: \['r'\]"),
        ([one] * 4, ValueError, "inputs: expected at most 3 arrays, got 4"),
        ({"x": one}, ValueError, r"missing: \['w', 'r'\]"),
        (None, TypeError, "inputs: expected arrays in order or by name, got NoneType"),
        ([[[1], [1, 2]], one, one], ValueError, "x: .*inhomogeneous"),
    ):
        with pytest.raises(kind, match=words):
            rnnfast.onnx.run_node(cell, inputs)
    joined = node("ConcatFromSequence", ["parts"], ["joined"], axis=2)
    assert rnnfast.onnx.run_node(joined, [[one, one]])[0].tolist() == [[[1, 1]]]


def test_devices():
    model = make_model("RNN", {}, {"X": x_of(), **rnn_weights()})
    assert rnnfast.onnx.supports_device("CPU")
    assert not rnnfast.onnx.supports_device("CUDA:0")
    assert rnnfast.onnx.is_compatible(model)
    assert not rnnfast.onnx.is_compatible(model, "CUDA")
    for run in (rnnfast.onnx.prepare, lambda *a, **k: rnnfast.onnx.run_node(model.graph.node[0], [], **k)):
        with pytest.raises(ValueError, match="device: expected 'CPU', got 'CUDA'"):
            run(model, device="CUDA")


def test_unsupported_models_are_refused():
    good = make_model("RNN", {}, {"X": x_of(), **rnn_weights()})
    old = onnx.ModelProto.FromString(good.SerializeToString())
    old.opset_import[0].version = 6
    unknown = onnx.ModelProto.FromString(good.SerializeToString())
    unknown.graph.node[0].domain = "own"
    unknown.opset_import.add(domain="own", version=1)
    invalid = onnx.ModelProto.FromString(good.SerializeToString())
    invalid.graph.node[0].op_type = "RNM"
    odd = make_model("RNN", {"direction": "up"}, {"X": x_of(), **rnn_weights()})
    bytes_ = make_model("RNN", {"direction": b"\xff"}, {"X": x_of(), **rnn_weights()})
    named = make_model("RNN", {"activations": [b"\xff"]}, {"X": x_of(), **rnn_weights()})
    for model, words in (
        (old, "expected opset 7"),
        (unknown, "unknown"),
        (invalid, "RNM"),
        (odd, "node cell: direction"),
        (bytes_, "node cell: direction: expected text"),
        (named, "node cell: activations: expected text"),
    ):
        assert not rnnfast.onnx.is_compatible(model)
        with pytest.raises(ValueError, match=words):
            rnnfast.onnx.prepare(model)


def test_models_that_other_engines_run_are_accepted():
    model = make_model("RNN", {}, {"X": x_of(), **rnn_weights()}, constant=("W", "R"))
    want = rnnfast.onnx.prepare(model).run([x_of()])["Y"]
    model.graph.name = ""
    model.graph.output[0].ClearField("type")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    model.ir_version = 3  # whose initializers should be inputs too
    model.opset_import[0].domain = "ai.onnx"
    assert np.array_equal(rnnfast.onnx.prepare(model).run([x_of()])["Y"], want)
    assert model.opset_import[0].domain == "ai.onnx"  # it is not changed


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (
            [node("Neg", ["a"], ["b"]), node("Abs", ["b"], ["a"])],
            "node b: expected inputs that do not depend",
        ),
        ([node("Neg", ["z"], ["b"])], "node b: input 'z': expected a value that the graph defines"),
        ([node("Neg", ["x"], ["b"]), node("Abs", ["x"], ["b"])], "node b: output 'b': expected a name that"),
        ([node("Neg", ["x"], ["b"], alpha=1.0)], "node b: alpha: Neg of opset 17 has no such attribute"),
        ([node("Concat", ["x"], ["b"])], "node b: axis: Concat of opset 17 needs this attribute"),
        ([node("Concat", ["x"], ["b"], axis=1.5)], "node b: axis: expected INT"),
        ([node("Neg", ["x", "x"], ["b"])], "node b: Neg of opset 17 has 1 to 1 inputs, got 2"),
        ([node("Gelu", ["x"], ["b"])], "node b: opset 17 has no operator 'Gelu'"),
        ([node("Gelu", ["x"], ["b"], domain="com.microsoft")], "com.microsoft"),
    ],
    ids=str,
)
def test_unsupported_graphs_are_refused(nodes, words):
    model = model_of(nodes, [X], [value("x", FLOAT, None)], {})
    with pytest.raises(ValueError, match=words):
        rnnfast.onnx.prepare(model)


def test_local_functions_do_not_grow_without_end():
    functions = []
    own = onnx.helper.make_opsetid("own", 1)
    for n in range(40):  # each calls the one before twice
        body = [
            node(f"F{n - 1}" if n else "Neg", [a], [b], domain="own" if n else "") for a, b in ("xy", "yz")
        ]
        opsets = [onnx.helper.make_opsetid("", 17), own]
        functions.append(onnx.helper.make_function("own", f"F{n}", ["x"], ["z"], body, opsets))
    call = [node("F39", ["x"], ["h"], domain="own")]
    with pytest.raises(ValueError, match="expected at most 1048576 nodes"):
        rnnfast.onnx.prepare(model_of(call, [X], [H], {}, functions=functions, opsets=[own]))
    loop = onnx.helper.make_function(
        "own", "F", ["x"], ["z"], [node("F", ["x"], ["z"], domain="own")], opsets
    )
    call[0].op_type = "F"
    with pytest.raises(ValueError, match="function F: expected no call of itself"):
        rnnfast.onnx.prepare(model_of(call, [X], [H], {}, functions=[loop], opsets=[own]))


def test_outputs_belong_to_the_caller():
    """A constant, an input and a view as outputs: what is written into them changes no later run."""
    nodes = [node("Identity", ["W"], ["c"]), node("Transpose", ["x"], ["t"])]
    outputs = [value(name, FLOAT, None) for name in ("c", "x", "t")]
    prepared = rnnfast.onnx.prepare(model_of(nodes, [X], outputs, rnn_weights()))
    x = x_of()
    for _ in range(2):
        c, same, turned = prepared.run([x])
        assert np.array_equal(c, rnn_weights()["W"])
        assert np.array_equal(same, x_of())
        assert turned.flags.c_contiguous
        for array in (c, same, turned):
            array[...] = 0
