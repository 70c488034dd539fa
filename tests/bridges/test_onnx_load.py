"""Layers from ONNX files: which nodes are one stack, which have no layer; opsets, dtypes, exporters."""

from __future__ import annotations

import numpy as np
import pytest
from bridges.onnx_nodes import make_model, random_node
from helpers.arrays import normal

onnx = pytest.importorskip("onnx")
from bridges.onnx_files import changed_file, gru_file, saved_model  # noqa: E402

import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402


@pytest.mark.parametrize(
    ("operator", "attributes", "words"),
    [
        ("RNN", {"clip": 0.5}, "clip 0.5"),
        ("RNN", {"activations": ["Elu"]}, "activations Elu"),
        ("GRU", {"activations": ["Tanh", "Tanh"]}, "activations Tanh, Tanh"),
        ("LSTM", {"direction": "reverse"}, "direction reverse"),
    ],
)
def test_nodes_that_no_layer_equals_are_refused(operator, attributes, words, tmp_path):
    inputs = {
        name: array[:1] if name in "WR" else array for name, array in random_node(2, operator)[1].items()
    }
    inputs = {name: inputs[name] for name in "XWR"}
    model = make_model(operator, attributes, inputs, constant=("W", "R"))
    with pytest.raises(ValueError, match=f"model.onnx: node cell: expected what a layer can be, got {words}"):
        rnnfast.onnx.load_layers(saved_model(tmp_path, model))
    with pytest.raises(
        ValueError, match=r"model.onnx: node cell: .*W: expected an array that the file holds"
    ):
        rnnfast.onnx.load_layers(saved_model(tmp_path, make_model(operator, {}, inputs)))


def test_directions_with_other_activations_have_no_layer(tmp_path):
    inputs = {"X": normal(2, 1, 3), "W": normal(2, 4, 3), "R": normal(2, 4, 4)}
    attributes = {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}
    model = make_model("RNN", attributes, inputs, constant=("W", "R"))
    assert rnnfast.onnx.prepare(model).paths == {"cell": "kernels"}
    with pytest.raises(ValueError, match="other activations in each direction"):
        rnnfast.onnx.load_layers(saved_model(tmp_path, model))


def test_batch_first_nodes_give_batch_first_layers(tmp_path):
    inputs = {"X": normal(2, 5, 3), "W": normal(1, 12, 3), "R": normal(1, 12, 4)}
    model = make_model("GRU", {"layout": 1}, inputs, constant=("W", "R"))
    layer = rnnfast.onnx.load_layers(saved_model(tmp_path, model))["cell"]
    assert (layer.batch_first, layer.reset_after, layer.bias) == (True, False, False)
    got = rnnfast.onnx.run_model(model, [inputs["X"]])
    assert np.array_equal(layer(inputs["X"])[0], got["Y"][:, :, 0])


def test_an_output_between_layers_splits_the_stack(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.GRU(3, 4, num_layers=3, rng=0), path)
    assert [layer.num_layers for layer in rnnfast.onnx.load_layers(path).values()] == [3]
    model = onnx.load(path)
    inner = onnx.helper.make_tensor_value_info("GRU_1.squeezed", onnx.TensorProto.FLOAT, ["T", "B", 4])
    model.graph.output.append(inner)
    onnx.save(model, path)
    loaded = rnnfast.onnx.load_layers(path)
    assert {name: layer.num_layers for name, layer in loaded.items()} == {"GRU": 2, "GRU_2": 1}


def test_a_stack_of_an_older_opset_is_one_layer(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    constants = {"W": normal(1, 4, 4), "R": normal(1, 4, 4, seed=1)}
    nodes = [
        make("RNN", ["x", "W", "R"], ["Y"], name="lower"),
        make("Squeeze", ["Y"], ["between"], axes=[1]),  # an attribute until 13
        make("Identity", ["W"], ["V"]),  # exporters share equal weights
        make("RNN", ["between", "V", "R"], ["", "h"], name="upper"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "stack",
        [value("x", onnx.TensorProto.FLOAT, ["T", "B", 4])],
        [value("h", onnx.TensorProto.FLOAT, [1, "B", 4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 11)]
    path = saved_model(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=6))
    ((name, layer),) = rnnfast.onnx.load_layers(path).items()
    assert (name, layer.num_layers) == ("lower", 2)
    x = normal(3, 2, 4)
    np.testing.assert_allclose(layer(x)[1][1:], rnnfast.onnx.run_model(path, [x])["h"], 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("lower", "upper", "layers"),
    [
        ("given", "given", 2),
        ("three", "also three", 2),
        ("three", "two", 1),
        ("three", "given", 1),
        ("three", "", 1),
        ("", "given", 1),
    ],
)
def test_layers_of_other_lengths_are_no_stack(lower, upper, layers, tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.RNN(3, 4, num_layers=2, bias=False, rng=0), path)
    model = onnx.load(path)
    for name, numbers in {"three": [3, 3], "also three": [3, 3], "two": [3, 2]}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int32), name))
    model.graph.input.append(onnx.helper.make_tensor_value_info("given", onnx.TensorProto.INT32, [2]))
    for node, name in zip((n for n in model.graph.node if n.op_type == "RNN"), (lower, upper), strict=True):
        node.input[:] = [*node.input[:3], "", name]
    onnx.save(model, path)
    found = rnnfast.onnx.load_layers(path)
    assert [layer.num_layers for layer in found.values()] == ([2] if layers == 2 else [1, 1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_files_that_torch_writes(kind, bidirectional, tmp_path):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=True).eval()
    path = tmp_path / "torch.onnx"
    x = torch.randn(2, 5, 3)
    torch.onnx.export(
        module, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "B", 1: "T"}}
    )
    with torch.no_grad():
        y = module(x)[0].numpy()
    prepared = rnnfast.onnx.prepare(path)
    assert set(prepared.paths.values()) == {"kernels"}
    np.testing.assert_allclose(prepared.run([x.numpy()])[0], y, 1e-5, 1e-6)
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert (layer.num_layers, layer.bidirectional) == (2, bidirectional)
    for name, array in module.state_dict().items():
        assert np.array_equal(layer.state_dict()[name], array.numpy()), name


def two_nodes(path, between, *, layout=0, D=1, H=2, T=None, constants=None, initial=None):
    """Two GRUs with `between` from Y to between them; the file, and what the upper one gives of x."""
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    arrays = {}
    for name, I in (("lower", 3), ("upper", D * H)):
        arrays |= {f"{name} W": normal(D, 3 * H, I), f"{name} R": normal(D, 3 * H, H, seed=1)}
    arrays |= constants or {}
    options = {"layout": layout, "direction": "bidirectional" if D == 2 else "forward", "hidden_size": H}
    options["linear_before_reset"] = 1
    nodes = [
        make("GRU", ["x", "lower W", "lower R"], ["Y"], name="lower", **options),
        *between,
        make("GRU", ["between", "upper W", "upper R"], ["Z"], name="upper", **options),
    ]
    axes = ["B", T or "T"] if layout else [T or "T", "B"]
    graph = onnx.helper.make_graph(
        nodes,
        "stack",
        [value("x", onnx.TensorProto.FLOAT, [*axes, 3])],
        [value("Z", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


TURN = onnx.helper.make_node("Transpose", ["Y"], ["turned"], perm=[0, 2, 1, 3])
SHAPE = np.array([0, 0, -1])
JOINS = {
    "squeeze": ({}, [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])], {"axes": [1]}),
    "squeeze-from-the-end": (
        {},
        [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])],
        {"axes": [-3]},
    ),
    "transpose": (
        {"D": 2},
        [TURN, onnx.helper.make_node("Reshape", ["turned", "s"], ["between"])],
        {"s": SHAPE},
    ),
    "layout-1-squeeze": (
        {"layout": 1},
        [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])],
        {"axes": [2]},
    ),
    "layout-1-reshape": (
        {"layout": 1, "D": 2},
        [onnx.helper.make_node("Reshape", ["Y", "s"], ["between"])],
        {"s": SHAPE},
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_joined_nodes_are_one_stack(name, tmp_path):
    options, between, constants = JOINS[name]
    path = two_nodes(tmp_path / "model.onnx", between, constants=constants, **options)
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert (layer.num_layers, layer.batch_first) == (2, "layout" in options)
    x = normal(4, 5, 3)
    Z = rnnfast.onnx.prepare(path).run([x])["Z"]
    if "layout" not in options:
        Z = np.moveaxis(Z, 1, 2)
    np.testing.assert_allclose(Z.reshape(4, 5, -1), layer(x)[0], 1e-5, 1e-6)


@pytest.mark.parametrize("T", [2, 7])
def test_a_reshape_that_joins_steps_is_no_stack(T, tmp_path):
    between = [TURN, onnx.helper.make_node("Reshape", ["turned", "s"], ["between"])]
    path = two_nodes(
        tmp_path / "model.onnx", between, layout=1, D=2, H=1, T=2, constants={"s": SHAPE}
    )  # [B, D, T*H]: as wide as D*H where T is 2
    if T == 7:

        def widen(model):
            model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = T
            for tensor in model.graph.initializer:
                if tensor.name == "upper W":
                    tensor.CopyFrom(onnx.numpy_helper.from_array(normal(2, 3, T), "upper W"))

        changed_file(path, widen)
    assert [layer.num_layers for layer in rnnfast.onnx.load_layers(path).values()] == [1, 1]
    assert rnnfast.onnx.prepare(path).run([normal(3, T, 3)])["Z"].shape == (3, 2, 2, 1)


def test_a_file_without_recurrent_nodes_has_no_layers(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.Linear(2, 3, rng=0), path)
    with pytest.raises(ValueError, match=r"model\.onnx: graph: expected nodes of RNN, LSTM, GRU, got none"):
        rnnfast.onnx.load_layers(path)


@pytest.mark.parametrize("part", ["initial_h", "initial_c"])
def test_initial_states_that_do_not_fit_are_refused(part, tmp_path):
    inputs = {"X": normal(2, 1, 3), "W": normal(1, 16, 3), "R": normal(1, 16, 4)}
    model = make_model(
        "LSTM", {"hidden_size": 4}, {**inputs, part: normal(1, 1, 5)}, constant=("W", "R", part)
    )
    path = saved_model(tmp_path, model)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(
            ValueError, match=rf"node cell: {part}: expected shape \[1, B, 4\], got \[1, 1, 5\]"
        ):
            read(path)


def test_the_domain_ai_onnx_is_the_default_domain(tmp_path):
    path = gru_file(tmp_path)
    x = normal(3, 2, 2)
    want = rnnfast.onnx.prepare(path).run([x])["y"]

    def rename(model):
        model.opset_import[0].domain = "ai.onnx"
        model.graph.node[0].domain = "ai.onnx"

    assert np.array_equal(rnnfast.onnx.prepare(changed_file(path, rename)).run([x])["y"], want)
    assert len(rnnfast.onnx.load_layers(path)) == 1


def test_weights_in_half_and_in_integers_are_computed_once(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    W, R = normal(1, 12, 3).astype(np.float16), (20 * normal(1, 12, 4)).astype(np.int8)
    nodes = [
        make("Cast", ["half"], ["W"], to=onnx.TensorProto.FLOAT),
        make("DequantizeLinear", ["bytes", "scale"], ["R"]),
        make("GRU", ["x", "W", "R"], ["y"], name="cell", linear_before_reset=1, hidden_size=4),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "quantized",
        [value("x", onnx.TensorProto.FLOAT, ["T", "B", 3])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in {"half": W, "bytes": R, "scale": np.float32(0.05)}.items()
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]  # the first whose DequantizeLinear onnx has
    path = saved_model(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))
    layer = rnnfast.onnx.load_layers(path)["cell"]
    want = rnnfast.onnx.prepare(path).run([normal(5, 2, 3)])["y"]
    assert np.array_equal(want[:, 0], layer(normal(5, 2, 3))[0])
