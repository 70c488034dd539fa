"""Model files: modules come out of onnxruntime and back as layers; what is damaged or hostile is refused."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from bridges.onnx_nodes import make_model, random_node

onnx = pytest.importorskip("onnx")
import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402
from rnnfast.onnx import files, load, plan  # noqa: E402

VARIANTS = {
    "rnn": (rf.RNN, {}),
    "rnn-relu": (rf.RNN, {"nonlinearity": "relu"}),
    "rnn-identity": (rf.RNN, {"nonlinearity": "identity"}),
    "gru": (rf.GRU, {}),
    "gru-reset-before": (rf.GRU, {"reset_after": False}),
    "lstm": (rf.LSTM, {}),
    "lstm-peephole": (rf.LSTM, {"peephole": True}),
    "lstm-coupled": (rf.LSTM, {"coupled_gates": True}),
    "lstm-both": (rf.LSTM, {"coupled_gates": True, "peephole": True}),
}


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def parts_of(state: Any) -> list[np.ndarray]:
    """The arrays in a state, however it is nested."""
    if state is None:
        return []
    return [state] if isinstance(state, np.ndarray) else [array for part in state for array in parts_of(part)]


def assert_runs(path: Any, given: list[dict[str, np.ndarray]], wanted: list[Any]) -> None:
    """One session of onnxruntime, and `prepare`, give for each of `given` the (y, state) wanted."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    prepared = rnnfast.onnx.prepare(path)
    assert set(prepared.paths.values()) <= {"kernels"}
    for inputs, (y, state) in zip(given, wanted, strict=True):
        want = [y, *parts_of(state)]
        for got in (session.run(None, inputs), prepared.run(inputs)):
            assert len(got) == len(want)
            for array, expected in zip(got, want, strict=True):
                assert array.shape == expected.shape
                assert array.dtype == expected.dtype
                np.testing.assert_allclose(array, expected, 1e-5, 2e-6)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("stack", [(1, False, False), (2, True, True)], ids=["one", "stack"])
def test_layers_there_and_back(name, stack, tmp_path):
    kind, options = VARIANTS[name]
    L, bidirectional, batch_first = stack
    layer = kind(
        3,
        5,
        L,
        bias=L > 1,
        bidirectional=bidirectional,
        batch_first=batch_first,
        dropout=0.3,
        rng=0,
        **options,
    )
    path = tmp_path / "layer.onnx"
    for states in (False, True):
        rnnfast.onnx.export(layer, path, states=states, lengths=L > 1)
        given, wanted = [], []
        for T, B in ((4, 2), (1, 1), (6, 3)):  # T and B are free
            x = floats(*((B, T) if batch_first else (T, B)), 3)
            lengths = {"lengths": np.arange(1, B + 1).clip(max=T).astype(np.int32)} if L > 1 else {}
            parts = {}
            if states:
                names = [f"{part}_0" for part in layer.parts]
                parts = {key: floats(L * (1 + bidirectional), B, 5, seed=n) for n, key in enumerate(names)}
            given.append({"x": x, **lengths, **parts})
            initial = tuple(parts.values()) or None
            wanted.append(layer(x, initial[0] if initial and len(initial) == 1 else initial, **lengths))
        assert_runs(path, given, wanted)
    ((_, loaded),) = rnnfast.onnx.load_layers(path).items()
    assert type(loaded) is kind
    assert loaded.dtype == np.float32
    for option in ("num_layers", "bidirectional", "bias", "input_size", "hidden_size", *options):
        assert getattr(loaded, option) == getattr(layer, option)
    weights = loaded.state_dict()
    assert weights.keys() == layer.state_dict().keys()
    for key, array in layer.state_dict().items():
        assert np.array_equal(weights[key], array), key


MODELS = {
    "tokens": lambda: rf.Sequential(rf.Embedding(7, 4, rng=0), rf.GRU(4, 5, rng=1), rf.Linear(5, 3, rng=2)),
    "nested": lambda: rf.Sequential(
        rf.Sequential(rf.LSTM(3, 4, num_layers=2, rng=0), rf.Dropout(0.5)), rf.RNN(4, 2, rng=1)
    ),
    "last": lambda: rf.Sequential(rf.LSTM(3, 4, rng=0), rf.Last(), rf.Linear(4, 2, bias=False, rng=1)),
    "last-of-both": lambda: rf.Sequential(
        rf.Linear(3, 4, rng=2),
        rf.GRU(4, 5, bidirectional=True, batch_first=True, rng=0),
        rf.Last(batch_first=True, bidirectional=True),
    ),
    "none-recurrent": lambda: rf.Sequential(rf.Dropout(0.5), rf.Linear(3, 2, rng=0)),
}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_models_in_onnxruntime(name, lengths, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(model, path, lengths=lengths)
    given, wanted = [], []
    for T, B in ((5, 2), (2, 3)):
        shape = (B, T) if name == "last-of-both" else (T, B)
        x = floats(*shape, 3)
        if name == "tokens":
            x = np.random.default_rng(0).integers(0, 7, shape)
        own = {"lengths": np.array([T, 1, 2][:B], np.int32)} if lengths else {}
        given.append({"x": x, **own})
        wanted.append(model(x, **own))
    assert_runs(path, given, wanted)


def test_names_and_shapes_are_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(MODELS["nested"](), path, states=True, lengths=True)
    graph = onnx.load(path).graph
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert list(shapes) == ["x", "lengths", "0.0.h_0", "0.0.c_0", "1.h_0", "y", "0.0.h_n", "0.0.c_n", "1.h_n"]
    assert (shapes["x"], shapes["y"]) == (["T", "B", 3], ["T", "B", 2])
    assert shapes["0.0.h_0"] == shapes["0.0.h_n"] == [2, "B", 4]
    assert shapes["1.h_0"] == shapes["1.h_n"] == [1, "B", 2]
    assert list(rnnfast.onnx.load_layers(path)) == ["0.0.LSTM", "1.RNN"]


def test_float64_keeps_its_digits(tmp_path):
    layer = rf.GRU(3, 4, dtype="float64", rng=0)
    path = tmp_path / "layer.onnx"
    rnnfast.onnx.export(layer, path)
    x = floats(5, 2, 3).astype(np.float64)
    assert np.array_equal(rnnfast.onnx.prepare(path).run([x])["y"], layer(x)[0])
    assert rnnfast.onnx.load_layers(path)["GRU"].dtype == np.float64


class Own(rf.Linear):
    """A module that ONNX knows nothing of."""


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (rf.LSTM(3, 4, proj_size=2), ValueError, "model: LSTM : proj_size: expected 0"),
        (rf.Sequential(rf.LSTM(3, 4, cell_clip=1.0)), ValueError, "model: LSTM 0: cell_clip: expected None"),
        (Own(3, 4), TypeError, "got Own"),
        (rf.Sequential(rf.RNN(3, 4), Own(4, 4)), TypeError, "got Own at 1"),
        (rf.Sequential(rf.RNN(3, 4), rf.Last(), rf.RNN(4, 4)), ValueError, "model: RNN 2: expected a seq"),
        (rf.Sequential(rf.RNN(3, 4), rf.Embedding(4, 4)), ValueError, "expected an Embedding at its beg"),
        (rf.Sequential(rf.RNN(3, 4), rf.Linear(4, 4, dtype="float64")), ValueError, "expected one dtype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_onnx_cannot_say(model, kind, words, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(kind, match=words):
        rnnfast.onnx.export(model, path)
    assert path.read_bytes() == b"what was there"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.RNN(2, 3, rng=0), path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        rnnfast.onnx.export(rf.RNN(2, 4, rng=0), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def saved(tmp_path, model) -> Any:
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("operator", "attributes", "words"),
    [
        ("RNN", {"clip": 0.5}, "clip 0.5"),
        ("RNN", {"activations": ["Elu"]}, "activations Elu"),
        ("GRU", {"activations": ["Tanh", "Tanh"]}, "activations Tanh, Tanh"),
        ("LSTM", {"direction": "reverse"}, "direction reverse"),
    ],
)
def test_nodes_without_a_layer(operator, attributes, words, tmp_path):
    inputs = {
        name: array[:1] if name in "WR" else array for name, array in random_node(2, operator)[1].items()
    }
    inputs = {name: inputs[name] for name in "XWR"}
    model = make_model(operator, attributes, inputs, constant=("W", "R"))
    with pytest.raises(ValueError, match=f"model.onnx: node cell: expected what a layer can be, got {words}"):
        rnnfast.onnx.load_layers(saved(tmp_path, model))
    with pytest.raises(
        ValueError, match=r"model.onnx: node cell: .*W: expected an array that the file holds"
    ):
        rnnfast.onnx.load_layers(saved(tmp_path, make_model(operator, {}, inputs)))


def test_directions_with_other_activations_have_no_layer(tmp_path):
    inputs = {"X": floats(2, 1, 3), "W": floats(2, 4, 3), "R": floats(2, 4, 4)}
    attributes = {"direction": "bidirectional", "activations": ["Relu", "Tanh"]}
    model = make_model("RNN", attributes, inputs, constant=("W", "R"))
    assert rnnfast.onnx.prepare(model).paths == {"cell": "kernels"}
    with pytest.raises(ValueError, match="other activations in each direction"):
        rnnfast.onnx.load_layers(saved(tmp_path, model))


def test_batch_first_nodes_give_batch_first_layers(tmp_path):
    inputs = {"X": floats(2, 5, 3), "W": floats(1, 12, 3), "R": floats(1, 12, 4)}
    model = make_model("GRU", {"layout": 1}, inputs, constant=("W", "R"))
    layer = rnnfast.onnx.load_layers(saved(tmp_path, model))["cell"]
    assert (layer.batch_first, layer.reset_after, layer.bias) == (True, False, False)
    got = rnnfast.onnx.run_model(model, [inputs["X"]])
    assert np.array_equal(layer(inputs["X"])[0], got["Y"][:, :, 0])


def test_layers_whose_inside_is_seen_are_no_stack(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.GRU(3, 4, num_layers=3, rng=0), path)
    assert [layer.num_layers for layer in rnnfast.onnx.load_layers(path).values()] == [3]
    model = onnx.load(path)
    inner = onnx.helper.make_tensor_value_info("GRU_1.squeezed", onnx.TensorProto.FLOAT, ["T", "B", 4])
    model.graph.output.append(inner)
    onnx.save(model, path)
    loaded = rnnfast.onnx.load_layers(path)
    assert {name: layer.num_layers for name, layer in loaded.items()} == {"GRU": 2, "GRU_2": 1}


def test_stacks_of_older_opsets(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    constants = {"W": floats(1, 4, 4), "R": floats(1, 4, 4, seed=1)}
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
    path = saved(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=6))
    ((name, layer),) = rnnfast.onnx.load_layers(path).items()
    assert (name, layer.num_layers) == ("lower", 2)
    x = floats(3, 2, 4)
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
        arrays |= {f"{name} W": floats(D, 3 * H, I), f"{name} R": floats(D, 3 * H, H, seed=1)}
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


turn = onnx.helper.make_node("Transpose", ["Y"], ["turned"], perm=[0, 2, 1, 3])
shape = np.array([0, 0, -1])
JOINS = {
    "squeeze": ({}, [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])], {"axes": [1]}),
    "squeeze-from-the-end": (
        {},
        [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])],
        {"axes": [-3]},
    ),
    "transpose": (
        {"D": 2},
        [turn, onnx.helper.make_node("Reshape", ["turned", "s"], ["between"])],
        {"s": shape},
    ),
    "layout-1-squeeze": (
        {"layout": 1},
        [onnx.helper.make_node("Squeeze", ["Y", "axes"], ["between"])],
        {"axes": [2]},
    ),
    "layout-1-reshape": (
        {"layout": 1, "D": 2},
        [onnx.helper.make_node("Reshape", ["Y", "s"], ["between"])],
        {"s": shape},
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_stacks_are_joined(name, tmp_path):
    options, between, constants = JOINS[name]
    path = two_nodes(tmp_path / "model.onnx", between, constants=constants, **options)
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert (layer.num_layers, layer.batch_first) == (2, "layout" in options)
    x = floats(4, 5, 3)
    Z = rnnfast.onnx.prepare(path).run([x])["Z"]
    if "layout" not in options:
        Z = np.moveaxis(Z, 1, 2)
    np.testing.assert_allclose(Z.reshape(4, 5, -1), layer(x)[0], 1e-5, 1e-6)


@pytest.mark.parametrize("T", [2, 7])
def test_time_side_by_side_is_no_stack(T, tmp_path):
    between = [turn, onnx.helper.make_node("Reshape", ["turned", "s"], ["between"])]
    path = two_nodes(
        tmp_path / "model.onnx", between, layout=1, D=2, H=1, T=2, constants={"s": shape}
    )  # [B, D, T*H]: as wide as D*H where T is 2
    if T == 7:

        def widen(model):
            model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = T
            for tensor in model.graph.initializer:
                if tensor.name == "upper W":
                    tensor.CopyFrom(onnx.numpy_helper.from_array(floats(2, 3, T), "upper W"))

        changed(path, widen)
    assert [layer.num_layers for layer in rnnfast.onnx.load_layers(path).values()] == [1, 1]
    assert rnnfast.onnx.prepare(path).run([floats(3, T, 3)])["Z"].shape == (3, 2, 2, 1)


def test_a_file_without_recurrent_nodes_has_no_layers(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.Linear(2, 3, rng=0), path)
    with pytest.raises(ValueError, match=r"model\.onnx: graph: expected nodes of RNN, LSTM, GRU, got none"):
        rnnfast.onnx.load_layers(path)


@pytest.mark.parametrize("part", ["initial_h", "initial_c"])
def test_initial_states_that_do_not_fit_are_refused(part, tmp_path):
    inputs = {"X": floats(2, 1, 3), "W": floats(1, 16, 3), "R": floats(1, 16, 4)}
    model = make_model(
        "LSTM", {"hidden_size": 4}, {**inputs, part: floats(1, 1, 5)}, constant=("W", "R", part)
    )
    path = saved(tmp_path, model)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(
            ValueError, match=rf"node cell: {part}: expected shape \[1, B, 4\], got \[1, 1, 5\]"
        ):
            read(path)


def test_the_other_name_of_onnx_own_domain(tmp_path):
    path = gru_file(tmp_path)
    x = floats(3, 2, 2)
    want = rnnfast.onnx.prepare(path).run([x])["y"]

    def rename(model):
        model.opset_import[0].domain = "ai.onnx"
        model.graph.node[0].domain = "ai.onnx"

    assert np.array_equal(rnnfast.onnx.prepare(changed(path, rename)).run([x])["y"], want)
    assert len(rnnfast.onnx.load_layers(path)) == 1


def test_weights_in_half_and_in_integers_are_computed_once(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    W, R = floats(1, 12, 3).astype(np.float16), (20 * floats(1, 12, 4)).astype(np.int8)
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
    path = saved(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10))
    layer = rnnfast.onnx.load_layers(path)["cell"]
    want = rnnfast.onnx.prepare(path).run([floats(5, 2, 3)])["y"]
    assert np.array_equal(want[:, 0], layer(floats(5, 2, 3))[0])


# Files from anywhere


def test_an_integer_is_no_path():
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(TypeError, match=r"^path: expected the name of a file .*, got 0$"):
            read(0)
    with pytest.raises(TypeError, match=r"^path: expected the name of a file"):
        rnnfast.onnx.load_layers(onnx.ModelProto())


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "sparse.onnx"
    path.touch()
    os.truncate(path, 2**36)  # holes: they take no room on the disk, and would take 2 GiB of memory
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(
            ValueError, match=rf"sparse.onnx: expected at most {2**31 - 1} bytes, got {2**36}$"
        ):
            read(path)


def test_what_only_claims_to_be_large_is_not_computed(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [make("ConstantOfShape", ["shape"], ["W"]), make("RNN", ["x", "W", "R"], ["y"], name="cell")]
    graph = onnx.helper.make_graph(
        nodes,
        "large",
        [value("x", onnx.TensorProto.FLOAT, ["T", "B", 3])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array([1, 2**40, 3]), "shape"),
            onnx.numpy_helper.from_array(floats(1, 4, 4), "R"),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    path = saved(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))
    with pytest.raises(ValueError, match="node cell: W: expected an array that the file holds, got 'W'"):
        rnnfast.onnx.load_layers(path)
    assert rnnfast.onnx.prepare(path).paths == {"cell": "kernels"}


def gru_file(tmp_path) -> Any:
    path = tmp_path / "gru.onnx"
    rnnfast.onnx.export(rf.Sequential(rf.GRU(2, 3, num_layers=2, rng=0), rf.Linear(3, 2, rng=0)), path)
    return path


def test_damaged_files_are_read_or_refused(tmp_path):
    whole = gru_file(tmp_path).read_bytes()
    path = tmp_path / "damaged.onnx"
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for turn in range(400):
        data = bytearray(whole)
        if turn % 4 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, len(data), int(rng.integers(1, 6))):
                data[place] = int(rng.integers(256))
        path.write_bytes(data)
        for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
            try:
                read(path)
                outcomes["read"] += 1
            except ValueError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 100, b"PK\x03\x04" + bytes(50), b"text\n" * 9])
def test_no_model_at_all(data, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"model\.onnx: "):
            read(path)


def test_no_regular_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        rnnfast.onnx.load_layers(tmp_path / "absent.onnx")
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    for path in (os.devnull, tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="expected a regular file"):
            rnnfast.onnx.load_layers(path)


def changed(path: Any, change: Any) -> Any:
    """The file with its model changed in place."""
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def _enlarge(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".R"))
    tensor.dims[:] = [1, 3 * 2**30, 2**30]


def _negative(model):
    next(t for t in model.graph.initializer if t.name.endswith(".R")).dims[:] = [1, 9, -1]


def _packed(model):  # ONNX's reader makes room for as many as are declared
    tensor = model.graph.initializer.add(name="packed", data_type=onnx.TensorProto.INT4)
    tensor.dims[:] = [2**30, 2**20]
    tensor.raw_data = b"1234"


def _other_hidden_size(model):
    next(n for n in model.graph.node if n.op_type == "GRU").attribute[0].i = 2**40


def _shorten(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".W"))
    tensor.raw_data = tensor.raw_data[:-4]


def _sparse(model):
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [2**40]))


def _no_weights(model):
    next(n for n in model.graph.node if n.op_type == "GRU").input[1] = ""


def _whole_numbers(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".W"))
    tensor.data_type = onnx.TensorProto.INT32


@pytest.mark.parametrize(
    "change",
    [_enlarge, _negative, _packed, _other_hidden_size, _shorten, _sparse, _no_weights, _whole_numbers],
)
def test_weights_that_are_not_there_are_not_allocated(change, tmp_path):
    path = changed(gru_file(tmp_path), change)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"gru\.onnx: "):
            read(path)


def external_file(tmp_path) -> Any:
    """A file whose weights are in another file beside it."""
    path = gru_file(tmp_path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    return path


def test_weights_that_many_nodes_share_are_not_multiplied_without_end(tmp_path, monkeypatch):
    inputs = {"X": floats(2, 1, 3), "W": floats(1, 4, 3), "R": floats(1, 4, 4)}
    model = make_model("RNN", {}, inputs, constant=("W", "R"))
    for n in range(20):
        copy = model.graph.node.add()
        copy.CopyFrom(model.graph.node[0])
        copy.name, copy.output[:] = f"copy {n}", [f"Y {n}", f"Y_h {n}"]
    path = saved(tmp_path, model)
    assert len(rnnfast.onnx.load_layers(path)) == len(rnnfast.onnx.prepare(path).paths) == 21
    for module in (files, load, plan):
        monkeypatch.setattr(module, "LARGEST", 1600)  # the file has less, the layers have 21 * 112 bytes
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match="expected at most 1600 bytes of weights"):
            read(path)
    monkeypatch.setattr(files, "LARGEST", 500)
    with pytest.raises(ValueError, match=r"model\.onnx: expected at most 500 bytes"):
        rnnfast.onnx.load_layers(path)


def test_weights_beside_the_file(tmp_path):
    model = rf.Sequential(rf.GRU(2, 3, num_layers=2, rng=0), rf.Linear(3, 2, rng=0))
    path = external_file(tmp_path)
    assert (tmp_path / "weights").stat().st_size > 0
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert np.array_equal(layer.weight_hh_l1.data, model[0].weight_hh_l1.data)
    x = floats(3, 2, 2)
    np.testing.assert_allclose(rnnfast.onnx.prepare(path).run([x])["y"], model(x)[0], 1e-5, 1e-6)
    with pytest.raises(ValueError, match="expected its data in the model"):
        rnnfast.onnx.prepare(onnx.load(path, load_external_data=False))


@pytest.mark.parametrize(
    "entry",
    [
        {"location": "../weights"},
        {"location": "/etc/passwd"},
        {"location": "link"},
        {"location": "absent"},
        {"location": "."},
        {"location": ""},
        {"location": "wei\0ghts"},
        {"offset": "-4"},
        {"offset": "abc"},
        {"offset": "1000000000"},
        {"length": "1000000000000"},
        {"length": "-1"},
        {"length": "many"},
        {"offset": "0", "length": "0"},
    ],
    ids=str,
)
def test_weights_from_elsewhere_are_refused(entry, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = external_file(folder)
    (tmp_path / "weights").write_bytes(bytes(4096))
    (folder / "link").symlink_to(tmp_path / "weights")

    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name.endswith(".R"))
        for data in tensor.external_data:
            data.value = entry.get(data.key, data.value)

    changed(path, change)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"gru\.onnx: 0\.GRU\.R: "):
            read(path)


def test_no_more_is_read_than_the_files_hold(tmp_path):
    def repeat(model):  # each of many tensors claims the whole file
        size = (tmp_path / "weights").stat().st_size
        first = model.graph.initializer[0]
        for data in first.external_data:
            data.value = {"offset": "0", "length": str(size // 4 * 4)}.get(data.key, data.value)
        first.dims[:] = [size // 4]
        for n in range(5):
            copy = model.graph.initializer.add()
            copy.CopyFrom(first)
            copy.name = f"copy {n}"

    path = changed(external_file(tmp_path), repeat)
    with pytest.raises(ValueError, match="no more than"):
        rnnfast.onnx.load_layers(path)
