"""RNN, LSTM and GRU nodes against ONNX's cases, onnxruntime and a plain loop, on the path that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bridges.onnx_nodes import (
    ACTIVATIONS,
    INPUTS,
    Arrays,
    make_model,
    oracle,
    random_node,
    swapped,
    uncovered,
)

from rnnfast import _core

onnx = pytest.importorskip("onnx")
import rnnfast.onnx  # noqa: E402
from rnnfast.onnx import recurrence  # noqa: E402
from rnnfast.onnx.weights import from_onnx, to_onnx  # noqa: E402

OPERATORS = ("RNN", "LSTM", "GRU")
all_operators = pytest.mark.parametrize("operator", OPERATORS)
SEEDS = range(170)  # of each operator: 510 nodes


def stored_cases() -> dict[str, tuple[str, dict[str, Any], Arrays, Arrays]]:
    """ONNX's own cases: operator, attributes, inputs and outputs."""
    cases: dict[str, dict[str, Arrays]] = {}
    with np.load(Path(__file__).parents[1] / "data" / "onnx_nodes.npz") as file:
        for key, array in file.items():
            case, kind, name = key.split(".", 2)
            cases.setdefault(case, {"attribute": {}, "input": {}, "output": {}})[kind][name] = array
    found = {}
    for case, parts in cases.items():
        attributes = {name: value.item() for name, value in parts["attribute"].items()}
        found[case] = attributes.pop("operator"), attributes, parts["input"], parts["output"]
    return found


CASES = stored_cases()


def run_one(model: Any, inputs: Arrays) -> tuple[Arrays, str, int]:
    """The outputs by name, the path, and how many passes ran on the kernels."""
    prepared = rnnfast.onnx.prepare(model)
    before = _core.runs_so_far()
    outputs = prepared.run(inputs)
    passes = _core.runs_so_far() - before
    return dict(zip(prepared.outputs, outputs, strict=True)), prepared.paths["cell"], passes


def scaled_error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, relative to 1 or to the largest magnitude wanted if that is above 1."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("name", CASES)
def test_onnx_cases_run_on_the_kernels(name):
    operator, attributes, inputs, outputs = CASES[name]
    model = make_model(operator, attributes, inputs, outputs=tuple(outputs))
    got, path, passes = run_one(model, inputs)
    assert (path, passes) == ("kernels", len(inputs["W"]))
    assert list(got) == list(outputs)
    for output, want in outputs.items():
        np.testing.assert_allclose(got[output], want, 1e-3, 1e-7)


@pytest.mark.parametrize("name", CASES)
def test_onnx_cases_as_single_nodes(name):
    operator, attributes, inputs, outputs = CASES[name]
    node = make_model(operator, attributes, inputs, outputs=tuple(outputs)).graph.node[0]
    given = [inputs[name] for name in INPUTS if name in inputs]
    got = rnnfast.onnx.run_node(node, given, opset_version=14)
    for array, want in zip(got, outputs.values(), strict=True):
        np.testing.assert_allclose(array, want, 1e-3, 1e-7)


@all_operators
def test_random_nodes_agree_with_a_plain_loop(operator):
    paths = set()
    for seed in SEEDS:
        attributes, inputs = random_node(seed, operator)
        got, path, passes = run_one(make_model(operator, attributes, inputs), inputs)
        in_numpy = uncovered(operator, attributes)
        assert (path, passes) == (("numpy", 0) if in_numpy else ("kernels", len(inputs["W"]))), attributes
        paths.add(path)
        for name, want in oracle(operator, attributes, inputs).items():
            assert got[name].dtype == np.float32
            assert scaled_error(got[name], want) < 5e-6, (seed, name, attributes)
    assert paths == {"kernels", "numpy"}


@all_operators
def test_random_nodes_agree_with_onnxruntime(operator):
    session = runtime_session()
    for seed in SEEDS:
        attributes, inputs = random_node(seed, operator)
        given = {name: array for name, array in inputs.items() if name not in ("W", "R")}
        got, *_ = run_one(make_model(operator, attributes, inputs, constant=("W", "R")), given)
        batch_first = attributes.pop("layout", 0) == 1
        if batch_first:  # onnxruntime has none
            inputs = {name: swapped(name, array) for name, array in inputs.items()}
        attributes["hidden_size"] = inputs["R"].shape[2]  # which it wants
        other = session(make_model(operator, attributes, inputs))
        names = [output.name for output in other.get_outputs()]
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        for name, want in zip(names, other.run(None, given), strict=True):
            mine = np.moveaxis(got[name], 0, -2) if batch_first else got[name]
            assert scaled_error(mine, want) < 2e-5, (seed, name, attributes)


def runtime_session():
    """A maker of onnxruntime's sessions, on one thread, or a skip."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def session(model: Any) -> Any:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    return session


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"Affine", "ScaledTanh"}))
def test_activations_have_the_defaults_of_their_operators(name):
    x = np.linspace(-3, 3, 41, dtype=np.float32).reshape(1, 41, 1)
    inputs = {"X": x, "W": np.ones((1, 1, 1), np.float32), "R": np.zeros((1, 1, 1), np.float32)}
    got, path, _ = run_one(make_model("RNN", {"activations": [name]}, inputs), inputs)
    assert path == ("kernels" if name in ("Relu", "Sigmoid", "Tanh") else "numpy")
    operator = onnx.helper.make_node(name, ["x"], ["y"])
    np.testing.assert_allclose(got["Y_h"], rnnfast.onnx.run_node(operator, [x])[0], 2e-6, 1e-7)


@pytest.mark.parametrize("name", ["Affine", "ScaledTanh"])
def test_activations_without_an_operator_have_no_defaults(name):
    inputs = dict.fromkeys("XWR", np.ones((1, 1, 1), np.float32))
    for given, missing in (({}, "alpha"), ({"activation_alpha": [0.5]}, "beta")):
        with pytest.raises(ValueError, match=f"activation_{missing}: expected a value for {name}"):
            rnnfast.onnx.prepare(make_model("RNN", {"activations": [name], **given}, inputs))
    affine = {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}
    got, path, _ = run_one(make_model("RNN", affine, inputs), inputs)
    assert path == "kernels"  # the identity
    assert got["Y"].item() == 1.0


@all_operators
def test_nodes_have_the_bits_of_layers(operator):
    layer = getattr(rnnfast, operator)(3, 17, bidirectional=True, rng=0)
    directions = [
        {name.removesuffix(end): a for name, a in layer.state_dict().items() if name.endswith(end)}
        for end in ("_l0", "_l0_reverse")
    ]
    weights = to_onnx(operator, directions)
    x = np.random.default_rng(1).standard_normal((6, 4, 3)).astype(np.float32)
    lengths = np.array([6, 1, 4, 3])
    inputs = {"X": x, "W": weights.W, "R": weights.R, "B": weights.B, "sequence_lens": lengths.astype("i4")}
    attributes = {"direction": "bidirectional"}
    if operator == "GRU":
        attributes["linear_before_reset"] = 1
    got, *_ = run_one(make_model(operator, attributes, inputs), inputs)
    given = {name: inputs[name] for name in ("X", "sequence_lens")}
    packed, *_ = run_one(make_model(operator, attributes, inputs, constant=("W", "R", "B")), given)
    assert all(np.array_equal(packed[name], array) for name, array in got.items())
    y, final = layer(x, lengths=lengths)
    assert np.array_equal(np.concatenate([got["Y"][:, 0], got["Y"][:, 1]], axis=-1), y)
    assert np.array_equal(got["Y_h"], final[0] if operator == "LSTM" else final)


@all_operators
@pytest.mark.parametrize("clip", [{}, {"clip": 0.75}])
def test_other_dtypes(operator, clip):
    attributes, inputs = random_node(3, operator)
    attributes = {"direction": attributes["direction"], **clip}
    inputs = {name: swapped(name, a) if attributes.get("layout") else a for name, a in inputs.items()}
    for code, allowed in (("DOUBLE", 1e-12), ("FLOAT16", 2e-3), ("BFLOAT16", 2e-2)):
        dtype = onnx.helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, code))
        given = {name: a.astype(dtype) if a.dtype.kind == "f" else a for name, a in inputs.items()}
        got, *_ = run_one(make_model(operator, attributes, given, opset=22), given)
        exact = {name: a.astype(np.float64) if name != "sequence_lens" else a for name, a in given.items()}
        for name, want in oracle(operator, attributes, exact).items():
            assert got[name].dtype == dtype
            assert scaled_error(got[name].astype(np.float64), want) < allowed


@all_operators
@pytest.mark.parametrize("clip", [{}, {"clip": 0.75}])
def test_a_sequence_without_steps_keeps_its_state(operator, clip):
    attributes, inputs = {"direction": "bidirectional", **clip}, random_node(1, operator)[1]
    T, B, H = 3, 2, inputs["R"].shape[2]
    rng = np.random.default_rng(0)
    G = {"RNN": 1, "LSTM": 4, "GRU": 3}[operator]
    inputs = {
        "X": rng.standard_normal((T, B, 2)),
        "W": rng.standard_normal((2, G * H, 2)),
        "R": rng.standard_normal((2, G * H, H)),
        "sequence_lens": np.array([0, 2], np.int32),
        "initial_h": rng.standard_normal((2, B, H)),
    }
    inputs["X"][2, 1] = inputs["X"][:, 0] = np.nan  # nothing past the lengths is read
    got, *_ = run_one(make_model(operator, attributes, inputs), inputs)
    assert not got["Y"][:, :, 0].any()
    assert not got["Y"][2].any()
    assert np.array_equal(got["Y_h"][:, 0], inputs["initial_h"][:, 0])
    assert np.isfinite(got["Y_h"]).all()


@all_operators
@pytest.mark.parametrize("attributes", [{}, {"clip": 0.75}, {"layout": 1}], ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_no_steps_and_no_sequences(operator, attributes, shape):
    T, B = shape
    G = {"RNN": 1, "LSTM": 4, "GRU": 3}[operator]
    attributes = {"direction": "bidirectional", **attributes}
    inputs = {"X": np.ones((T, B, 2)), "W": np.ones((2, G * 3, 2)), "R": np.ones((2, G * 3, 3))}
    if "layout" in attributes:
        inputs["X"] = inputs["X"].swapaxes(0, 1)
    got, *_ = run_one(make_model(operator, attributes, inputs), inputs)
    assert got["Y"].shape == ((B, T, 2, 3) if "layout" in attributes else (T, 2, B, 3))
    assert not got["Y_h"].any()


@all_operators
@pytest.mark.parametrize("clip", [{}, {"clip": 0.75}])
def test_outputs_may_be_left_out(operator, clip):
    inputs = random_node(5, operator)[1]
    inputs = {name: inputs[name] for name in ("X", "W", "R")}
    attributes = {"direction": "bidirectional" if len(inputs["W"]) == 2 else "forward", **clip}
    whole, *_ = run_one(make_model(operator, attributes, inputs), inputs)
    for name, want in whole.items():
        got, *_ = run_one(make_model(operator, attributes, inputs, outputs=(name,)), inputs)
        assert list(got) == [name]
        assert np.array_equal(got[name], want)


@all_operators
def test_weights_given_at_each_call_are_read_at_each_call(operator):
    attributes, inputs = {"direction": "forward"}, random_node(2, operator)[1]
    inputs = {name: inputs[name][-1:] if name in "WR" else inputs[name] for name in ("X", "W", "R")}
    prepared = rnnfast.onnx.prepare(make_model(operator, attributes, inputs))
    first = prepared.run(inputs)[0]
    inputs["W"][...] *= 2
    again = prepared.run(inputs)[0]
    assert scaled_error(again, oracle(operator, attributes, inputs)["Y"]) < 5e-6
    assert scaled_error(again, first) > 1e-3


@all_operators
def test_constant_weights_are_made_ready_once(operator, monkeypatch):
    attributes, inputs = random_node(2, operator)
    attributes = {"direction": attributes["direction"]}
    ready = []

    def counted(node, weights, direction):
        ready.append(direction)
        return from_onnx(node, weights, direction)

    monkeypatch.setattr(recurrence, "from_onnx", counted)
    constant = tuple(name for name in "WRBP" if name in inputs)
    prepared = rnnfast.onnx.prepare(make_model(operator, attributes, inputs, constant=constant))
    for _ in range(3):
        prepared.run({name: array for name, array in inputs.items() if name not in constant})
    assert ready == list(range(len(inputs["W"])))


@all_operators
def test_default_weights_may_be_overridden(operator):
    attributes, inputs = {"direction": "forward"}, random_node(2, operator)[1]
    inputs = {name: inputs[name][-1:] if name in "WR" else inputs[name] for name in ("X", "W", "R")}
    model = make_model(operator, attributes, inputs)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(inputs[name], name) for name in "WR")
    prepared = rnnfast.onnx.prepare(model)
    for given in (inputs, {**inputs, "W": 2 * inputs["W"]}, inputs):
        want = oracle(operator, attributes, given)["Y"]
        assert scaled_error(prepared.run({name: given[name] for name in "XW"})["Y"], want) < 5e-6
    assert scaled_error(prepared.run([inputs["X"]])["Y"], want) < 5e-6


def test_names_of_activations_in_any_case():
    inputs = random_node(4, "GRU")[1]
    attributes = {"direction": "bidirectional" if len(inputs["W"]) == 2 else "forward"}
    names = ["sigmoid", "TANH"] * len(inputs["W"])
    inputs = {name: inputs[name] for name in "XWR"}
    got, path, _ = run_one(make_model("GRU", {**attributes, "activations": names}, inputs), inputs)
    assert path == "kernels"
    assert scaled_error(got["Y"], oracle("GRU", attributes, inputs)["Y"]) < 5e-6


@all_operators
@pytest.mark.parametrize("opset", [7, 13, 14, 22, 23])
def test_opsets(operator, opset):
    attributes, inputs = random_node(8, operator)
    assert "layout" not in attributes  # new in 14
    got, *_ = run_one(make_model(operator, attributes, inputs, opset=opset), inputs)
    for name, want in oracle(operator, attributes, inputs).items():
        assert scaled_error(got[name], want) < 5e-6


@all_operators
def test_arrays_of_any_memory_order(operator):
    attributes, inputs = random_node(11, operator)
    attributes = {name: attributes[name] for name in ("direction", "layout") if name in attributes}
    other = {name: np.asfortranarray(array) for name, array in inputs.items()}
    other["X"] = np.repeat(inputs["X"], 2, axis=2)[:, :, ::2]
    node = make_model(operator, attributes, inputs).graph.node[0]
    want = rnnfast.onnx.run_node(node, inputs)
    for array, expected in zip(rnnfast.onnx.run_node(node, other), want, strict=True):
        assert np.array_equal(array, expected)


BAD_ATTRIBUTES = [
    ({"direction": "sideways"}, "direction: expected one of"),
    ({"hidden_size": 0}, "hidden_size: expected at least 1"),
    ({"hidden_size": 9}, "W: expected shape"),
    ({"clip": -1.0}, "clip: expected a positive number"),
    ({"clip": float("nan")}, "clip: expected a positive number"),
    ({"layout": 2}, "layout: expected 0 or 1"),
    ({"activations": ["Tanh"]}, "activations: expected 3 of them"),
    ({"activations": ["Tanh", "Swish", "Tanh"]}, "activations: expected some of"),
    (
        {"activations": ["Elu", "Tanh", "Tanh"], "activation_alpha": [0.1, 0.2]},
        "activation_alpha: expected no more",
    ),
    ({"linear_before_reset": 1}, "linear_before_reset"),
]


@pytest.mark.parametrize(("attributes", "words"), BAD_ATTRIBUTES, ids=[words for _, words in BAD_ATTRIBUTES])
def test_bad_attributes_are_named(attributes, words):
    inputs = {
        "X": np.ones((2, 1, 3), np.float32),
        "W": np.ones((1, 16, 3), np.float32),
        "R": np.ones((1, 16, 4), np.float32),
    }
    with pytest.raises(ValueError, match=words):
        rnnfast.onnx.prepare(make_model("LSTM", attributes, inputs, constant=("W", "R")))


def test_alphas_beside_functions_without_one_mean_nothing():
    inputs = {name: random_node(2, "LSTM")[1][name][-1:] if name in "WR" else random_node(2, "LSTM")[1][name]
              for name in "XWR"}  # fmt: skip
    want, *_ = run_one(make_model("LSTM", {}, inputs), inputs)
    attributes = {"activations": ["Sigmoid", "Tanh", "Tanh"], "activation_alpha": [1.0] * 3}
    got, path, _ = run_one(make_model("LSTM", attributes, inputs), inputs)
    assert path == "kernels"
    assert np.array_equal(got["Y"], want["Y"])


def test_bad_inputs_are_named():
    good = {
        "X": np.ones((2, 3, 2), np.float32),
        "W": np.ones((1, 12, 2), np.float32),
        "R": np.ones((1, 12, 4), np.float32),
        "B": np.ones((1, 24), np.float32),
        "sequence_lens": np.array([1, 2, 2], np.int32),
        "initial_h": np.ones((1, 3, 4), np.float32),
    }
    node = make_model("GRU", {"hidden_size": 4}, good).graph.node[0]
    rnnfast.onnx.run_node(node, good)
    bad = {
        "X": np.ones((2, 3, 5), np.float32),
        "W": np.ones((2, 12, 2), np.float32),
        "R": np.ones((1, 12, 5), np.float32),
        "B": np.ones((1, 12), np.float32),
        "sequence_lens": np.array([1, 2, 3], np.int32),
        "initial_h": np.ones((1, 1, 4), np.float32),
    }
    for name, array in bad.items():
        with pytest.raises(ValueError, match=f"node cell: .*{name}: "):
            rnnfast.onnx.run_node(node, {**good, name: array})
    for name in ("X", "W", "B", "initial_h"):
        with pytest.raises(ValueError, match="dtype"):
            rnnfast.onnx.run_node(node, {**good, name: good[name].astype(np.float64)})
