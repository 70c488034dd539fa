"""`matmul_precision` of ONNX models: which nodes have it, with the bits of `functional` and `Linear`."""

from __future__ import annotations

import numpy as np
import pytest
from bridges.onnx_nodes import make_model, oracle, random_node, swapped, uncovered
from helpers.arrays import assert_equal, normal

import rnnfast as rf
from rnnfast import _core, functional

onnx = pytest.importorskip("onnx")
import rnnfast.onnx  # noqa: E402
from rnnfast.onnx.node import read_node  # noqa: E402
from rnnfast.onnx.weights import Weights, from_onnx  # noqa: E402

FLOAT, DOUBLE, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL
node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
# Of a node in NumPy, relative to the largest number. In int8, the kernels take a larger scale for a small h.
NEAR_KERNELS = {"bfloat16": 2e-3, "int8": 2e-2}
PRECISION: dict[str, str] = {}  # of the test
all_operators = pytest.mark.parametrize("operator", ["RNN", "LSTM", "GRU"])
T, B, I, H = 4, 3, 5, 17
x = normal(T, B, I)


@pytest.fixture(params=["bfloat16", "int8"], autouse=True)
def precision(request, monkeypatch):
    """The precision of the test, also in PRECISION."""
    monkeypatch.setitem(PRECISION, "matmul_precision", request.param)
    return request.param


def model_of(nodes, inputs, outputs, arrays, opset=17):
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "test", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def weights_of(operator, dtype=np.float32):
    G = {"RNN": 1, "LSTM": 4, "GRU": 3}[operator]
    shapes = {"W": (1, G * H, I), "R": (1, G * H, H), "B": (1, 2 * G * H)}
    return {name: normal(*shape, dtype=dtype, seed=n) * 0.4 for n, (name, shape) in enumerate(shapes.items())}


def called(operator, attributes, inputs):
    """Y and the final states of a node by calls of `functional`, each direction apart."""
    parsed = read_node(node(operator, ["X", "W", "R"], ["Y"], **attributes))
    given = {key: swapped(key, array) if parsed.batch_first else array for key, array in inputs.items()}
    weights = Weights(*(given.get(key) for key in "WRBP"))
    call = getattr(functional, f"{operator.lower()}_forward")
    Y, finals = [], []
    for d, reverse in enumerate(parsed.reverse):
        parts = [given.get(key) for key in ("initial_h", "initial_c")[: 1 + (operator == "LSTM")]]
        zero = np.zeros((given["X"].shape[1], weights.R.shape[2]), np.float32)
        state = tuple(zero if part is None else part[d] for part in parts)
        y, final, _ = call(
            given["X"],
            **from_onnx(parsed, weights, d),
            state=state if operator == "LSTM" else state[0],
            reverse=reverse,
            lengths=given.get("sequence_lens"),
            **parsed.options(d),
            **PRECISION,
        )
        Y.append(y)
        finals.append(final if operator == "LSTM" else (final,))
    outputs = [np.stack(Y, axis=1), *(np.stack(part) for part in zip(*finals, strict=True))]
    return [np.moveaxis(array, -2, 0) if parsed.batch_first else array for array in outputs]


@all_operators
@pytest.mark.parametrize("fixed", [True, False], ids=["constant weights", "weights of the run"])
def test_random_nodes_have_the_bits_of_functional(operator, fixed):
    seen = 0
    for seed in range(60):
        attributes, inputs = random_node(seed, operator)
        if uncovered(operator, attributes):
            continue
        constant = tuple(key for key in "WRBP" if key in inputs) if fixed else ()
        prepared = rnnfast.onnx.prepare(
            make_model(operator, attributes, inputs, constant=constant), **PRECISION
        )
        assert prepared.paths == {"cell": "kernels"}
        got = prepared.run({key: array for key, array in inputs.items() if key not in constant})
        assert_equal(list(got), called(operator, attributes, inputs))
        seen += 1
    assert seen > 10


@all_operators
def test_nodes_in_numpy_round_their_operands_too(operator, precision):
    for attributes in ({"clip": 0.9}, {"clip": 0.9, "direction": "reverse"}):
        inputs = {"X": x, **weights_of(operator)}
        model = make_model(operator, attributes, inputs)
        prepared = rnnfast.onnx.prepare(model, **PRECISION)
        assert prepared.paths == {"cell": "numpy"}
        rounded, exact = prepared.run(inputs)[0], rnnfast.onnx.prepare(model).run(inputs)[0]
        assert 1e-4 < abs(rounded - exact).max() < 0.05
        near = {**attributes, "clip": 1e9}  # which bounds nothing, but has no kernel
        inputs = {key: array * 0.1 for key, array in inputs.items()}
        got = rnnfast.onnx.run_model(make_model(operator, near, inputs), inputs, **PRECISION)[0]
        kernels = {key: attribute for key, attribute in attributes.items() if key != "clip"}
        want = rnnfast.onnx.run_model(make_model(operator, kernels, inputs), inputs, **PRECISION)[0]
        np.testing.assert_allclose(got, want, atol=NEAR_KERNELS[precision] * abs(want).max())


def test_a_model_is_that_of_its_modules(precision, tmp_path):
    model = rf.Sequential(
        rf.LSTM(I, H, num_layers=2, bidirectional=True, rng=0), rf.Linear(2 * H, 3, bias=False, rng=1)
    )
    path = tmp_path / "model.onnx"
    model.matmul_precision = precision
    rnnfast.onnx.export(model, path)  # the file's own numbers are float32
    assert_equal(rnnfast.onnx.prepare(path, **PRECISION).run([x])["y"], model(x)[0])
    assert_equal(rnnfast.onnx.run_model(path, [x], **PRECISION)["y"], model(x)[0])
    exact = rnnfast.onnx.prepare(path)
    assert exact.matmul_precision is None
    assert not np.array_equal(exact.run([x])["y"], model(x)[0])
    model.matmul_precision = "float32"
    np.testing.assert_allclose(exact.run([x])["y"], model(x)[0], atol=1e-6)


def gemm(attributes, c=None, fixed=True, dtype=np.float32):
    """x's last step through a Gemm, prepared and run, and its a, b and c."""
    a = normal(I, B, dtype=dtype) if attributes.get("transA") else normal(B, I, dtype=dtype)
    b = normal(H, I, dtype=dtype) if attributes.get("transB") else normal(I, H, dtype=dtype)
    arrays = {"b": b, **({} if c is None else {"c": c})}
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [value("a", kind, a.shape)]
    inputs += [] if fixed else [value(name, kind, array.shape) for name, array in arrays.items()]
    nodes = [node("Gemm", ["a", *arrays], ["y"], **attributes)]
    prepared = rnnfast.onnx.prepare(
        model_of(nodes, inputs, [value("y", kind, None)], arrays if fixed else {}), **PRECISION
    )
    y = prepared.run({"a": a} if fixed else {"a": a, **arrays})[0]
    return y, a.T if attributes.get("transA") else a, b if attributes.get("transB") else b.T, c


def linear(a, weight, bias=None):
    y = np.empty((len(a), len(weight)), np.float32)
    _core.linear_forward(*map(np.ascontiguousarray, (a, weight)), bias, y, PRECISION["matmul_precision"])
    return y


@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize(
    "attributes", [{}, {"transB": 1}, {"transA": 1}, {"transA": 1, "transB": 1}], ids=str
)
def test_a_gemm_has_the_bits_of_linear(attributes, fixed):
    for c in (None, normal(H), normal(1, H)):
        y, a, weight, _ = gemm(attributes, c, fixed)
        assert_equal(y, linear(a, weight, None if c is None else c.reshape(H)))


def test_factors_and_other_biases_of_a_gemm():
    y, a, weight, _ = gemm({"alpha": 0.5})
    assert_equal(y, np.float32(0.5) * linear(a, weight))
    for c in (normal(H), normal(B, H), normal(B, 1), np.float32(2), normal(1)):
        y, a, weight, _ = gemm({"alpha": 0.5, "beta": 2.0}, c)
        np.testing.assert_allclose(y, 0.5 * linear(a, weight) + 2 * c, 1e-6, 1e-6)
        assert y.dtype == np.float32
        y, a, weight, _ = gemm({}, c)
        np.testing.assert_allclose(y, linear(a, weight) + c, 1e-6, 1e-5)
    y, a, weight, _ = gemm({"beta": 0.0}, np.full(H, np.nan, np.float32))
    assert_equal(y, linear(a, weight))


def matmul(a, b, fixed):
    kinds = [onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for array in (a, b)]
    inputs = [value("a", kinds[0], a.shape)] + ([] if fixed else [value("b", kinds[1], b.shape)])
    model = model_of(
        [node("MatMul", ["a", "b"], ["y"], name="head")],
        inputs,
        [value("y", kinds[0], None)],
        {"b": b} if fixed else {},
    )
    return rnnfast.onnx.run_model(model, [a] if fixed else [a, b], **PRECISION)[0]


@pytest.mark.parametrize("fixed", [True, False])
def test_a_matmul_by_a_matrix_has_the_bits_of_linear(fixed):
    b = normal(I, H)
    for a in (normal(I), normal(B, I), normal(T, B, I), normal(0, I), normal(B, T, I).swapaxes(0, 1)):
        assert_equal(matmul(a, b, fixed), linear(a.reshape(-1, I), b.T).reshape(*a.shape[:-1], H))
    with pytest.raises(ValueError, match="node head: A: expected a last axis of 5"):
        matmul(normal(B, I + 1), b, fixed)


@pytest.mark.parametrize("fixed", [True, False])
def test_other_products_stay_as_they_are(fixed):
    for a, b in (
        (normal(T, B, I), normal(T, I, H)),  # a matrix for each step
        (normal(B, I), normal(I)),
        (normal(B, I, dtype=np.float64), normal(I, H, dtype=np.float64)),
        (np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)),
        (normal(B, 0), normal(0, H)),
    ):
        assert_equal(matmul(a, b, fixed), np.matmul(a, b))
    y, a, weight, _ = gemm({"alpha": 0.5, "beta": 2.0}, normal(H, dtype=np.float64), fixed, np.float64)
    np.testing.assert_allclose(y, 0.5 * a @ weight.T + 2 * normal(H, dtype=np.float64), 1e-12)


def body(kind):
    """A node of this kind with an LSTM and a MatMul in its body; its input h is [1, B, H]."""
    nodes = [
        node("LSTM", ["x", "W", "R", "B", "", "before"], ["", "read"], name="cell", hidden_size=H),
        node("MatMul", ["read", "V"], ["after"]),
    ]
    after = value("after", FLOAT, [1, None, H])
    if kind == "If":
        for inner in nodes:
            inner.input[:] = ["h" if name == "before" else name for name in inner.input]
        inner = onnx.helper.make_graph(nodes, "then", [], [after])
        other = onnx.helper.make_graph(
            [node("Neg", ["h"], ["minus"])], "else", [], [value("minus", FLOAT, None)]
        )
        return node("If", ["yes"], ["y"], then_branch=inner, else_branch=other)
    before = value("before", FLOAT, [1, None, H])
    if kind == "Scan":
        row = value("row", FLOAT, [1])
        inner = onnx.helper.make_graph(nodes, "body", [before, row], [after])
        return node("Scan", ["h", "rows"], ["y"], body=inner, num_scan_inputs=1)
    nodes.append(node("Identity", ["go"], ["go_on"]))
    ends = [value("n", onnx.TensorProto.INT64, []), value("go", BOOL, [])]
    inner = onnx.helper.make_graph(nodes, "body", [*ends, before], [value("go_on", BOOL, []), after])
    return node("Loop", ["times", "yes", "h"], ["y"], body=inner)


@pytest.mark.parametrize(("kind", "times"), [("If", 1), ("Scan", 3), ("Loop", 3)])
@pytest.mark.parametrize("fixed", [True, False], ids=["constant weights", "weights of the run"])
def test_nodes_inside_of_others_have_the_precision(kind, times, fixed):
    arrays = {**weights_of("LSTM"), "V": normal(H, H), "h": normal(1, B, H)}
    control = {"yes": np.array(True), "times": np.array(times), "rows": np.zeros((times, 1), np.float32)}
    inputs = [value("x", FLOAT, ["T", "B", I])]
    inputs += [] if fixed else [value(name, FLOAT, array.shape) for name, array in arrays.items()]
    constants = control | (arrays if fixed else {})
    model = model_of([body(kind)], inputs, [value("y", FLOAT, None)], constants)
    prepared = rnnfast.onnx.prepare(model, **PRECISION)
    assert prepared.paths == {"cell": "kernels"}
    before = _core.runs_so_far()
    got = prepared.run({"x": x} | ({} if fixed else arrays))["y"]
    assert _core.runs_so_far() == before + times
    h = arrays["h"]
    for _ in range(times):
        h = called("LSTM", {}, {"X": x, **weights_of("LSTM"), "initial_h": h})[1]
        h = linear(h[0], arrays["V"].T)[np.newaxis]
    assert_equal(got, h)


def test_nodes_of_local_functions_have_the_precision():
    function = onnx.helper.make_function(
        "own",
        "Own",
        ["x", "W", "R", "B"],
        ["Y"],
        [node("GRU", ["x", "W", "R", "B"], ["Y"], hidden_size=H)],
        [onnx.helper.make_opsetid("", 17)],
    )
    call = node("Own", ["x", "W", "R", "B"], ["y"], domain="own")
    model = model_of([call], [value("x", FLOAT, ["T", "B", I])], [value("y", FLOAT, None)], weights_of("GRU"))
    model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid("own", 1))
    got = rnnfast.onnx.run_model(model, [x], **PRECISION)["y"]
    assert_equal(got, called("GRU", {}, {"X": x, **weights_of("GRU")})[0])


@all_operators
def test_one_node(operator):
    proto = node(operator, ["X", "W", "R", "B"], ["Y"], hidden_size=H)
    inputs = {"X": x, **weights_of(operator)}
    assert_equal(rnnfast.onnx.run_node(proto, inputs, **PRECISION)[0], called(operator, {}, inputs)[0])
    head = node("MatMul", ["a", "b"], ["y"])
    a, b = normal(B, I), normal(I, H)
    assert_equal(rnnfast.onnx.run_node(head, [a, b], **PRECISION)[0], linear(a, b.T))


@all_operators
@pytest.mark.parametrize("code", ["FLOAT16", "BFLOAT16"])
def test_nodes_of_half_precision_are_computed_in_it(operator, code):
    dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, code))
    inputs = {key: array.astype(dtype) for key, array in {"X": x, **weights_of(operator)}.items()}
    model = make_model(operator, {}, inputs, opset=22)
    got = rnnfast.onnx.run_model(model, inputs, **PRECISION)[0]
    wide = {key: array.astype(np.float32) for key, array in inputs.items()}
    assert_equal(got, called(operator, {}, wide)[0].astype(dtype))


def test_defaults_that_a_run_overrides():
    inputs = {"X": x, **weights_of("GRU")}
    model = make_model("GRU", {}, inputs)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(inputs[name], name) for name in "WRB")
    prepared = rnnfast.onnx.prepare(model, **PRECISION)
    for given in (inputs, {**inputs, "W": 2 * inputs["W"]}):
        assert_equal(prepared.run(given)["Y"], called("GRU", {}, given)[0])
    assert_equal(prepared.run([x])["Y"], called("GRU", {}, inputs)[0])


REFUSED = r"node cell: matmul_precision: expected 'float32' \(its default\) with dtype float64, got '[bi]"


@all_operators
@pytest.mark.parametrize("constant", [("W", "R", "B"), ("R",), ()], ids=str)
@pytest.mark.parametrize("clip", [{}, {"clip": 0.75}], ids=str)
def test_float64_nodes_are_refused(operator, constant, clip):
    inputs = {"X": x.astype(np.float64), **weights_of(operator, np.float64)}
    model = make_model(operator, clip, inputs, constant=constant)
    with pytest.raises(ValueError, match=REFUSED):
        rnnfast.onnx.prepare(model, **PRECISION)
    assert not rnnfast.onnx.is_compatible(model, **PRECISION)
    assert rnnfast.onnx.is_compatible(model)
    given = {key: array for key, array in inputs.items() if key not in constant}
    got = rnnfast.onnx.run_model(model, given, matmul_precision="float32")
    np.testing.assert_allclose(
        got["Y"], oracle(operator, {"direction": "forward", **clip}, inputs)["Y"], 1e-9
    )


def test_float64_nodes_inside_of_others_are_refused():
    arrays = {**weights_of("LSTM", np.float64), "V": normal(H, H, dtype=np.float64)}
    arrays |= {"h": normal(1, B, H, dtype=np.float64), "yes": np.array(True)}
    for fixed in (True, False):
        inputs = [value("x", DOUBLE, ["T", "B", I])]
        inputs += [] if fixed else [value(name, DOUBLE, arrays[name].shape) for name in "WRB"]
        constants = {name: array for name, array in arrays.items() if fixed or name not in "WRB"}
        model = model_of([body("If")], inputs, [value("y", DOUBLE, None)], constants)
        with pytest.raises(ValueError, match=REFUSED):
            rnnfast.onnx.prepare(model, **PRECISION)


def test_float64_nodes_whose_dtype_the_file_does_not_say_are_refused_at_the_run():
    arrays = {**weights_of("GRU"), "x": x}
    nodes = [node("Cast", [name], [f"{name}_"], to=DOUBLE) for name in arrays]
    nodes.append(node("GRU", ["x_", "W_", "R_", "B_"], ["y"], name="cell", hidden_size=H))
    inputs = [value(name, FLOAT, array.shape) for name, array in arrays.items()]
    prepared = rnnfast.onnx.prepare(model_of(nodes, inputs, [onnx.ValueInfoProto(name="y")], {}), **PRECISION)
    with pytest.raises(ValueError, match=REFUSED):
        prepared.run(arrays)


def test_names_that_are_no_precision(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.GRU(I, H, rng=0), path)
    head = node("MatMul", ["a", "b"], ["y"])
    for call in (
        lambda **keywords: rnnfast.onnx.prepare(path, **keywords),
        lambda **keywords: rnnfast.onnx.run_model(path, [x], **keywords),
        lambda **keywords: rnnfast.onnx.run_node(head, [normal(2, 2), normal(2, 2)], **keywords),
        lambda **keywords: rnnfast.onnx.is_compatible(path, **keywords),
        lambda **keywords: rnnfast.onnx.load_layers(path, **keywords),
    ):
        for given in ("half", 16):
            with pytest.raises(ValueError, match=r"matmul_precision: expected one of .*bfloat16, int8, got"):
                call(matmul_precision=given)
    with pytest.raises(ValueError, match=r"matmul_precision: expected one of .*bfloat16, int8, got None"):
        rnnfast.onnx.load_layers(path, matmul_precision=None)


def test_layers_from_a_file(precision, tmp_path):
    path = tmp_path / "model.onnx"
    module = rf.GRU(I, H, num_layers=2, rng=0, **PRECISION)
    rnnfast.onnx.export(module, path)
    (layer,) = rnnfast.onnx.load_layers(path, **PRECISION).values()
    assert layer.matmul_precision == precision
    assert_equal(layer(x), module(x))
    (layer,) = rnnfast.onnx.load_layers(path).values()
    assert layer.matmul_precision == "float32"
    rnnfast.onnx.export(rf.GRU(I, H, rng=0, dtype="float64"), path)
    with pytest.raises(ValueError, match=r"model\.onnx: node GRU: matmul_precision: expected 'float32'"):
        rnnfast.onnx.load_layers(path, **PRECISION)
