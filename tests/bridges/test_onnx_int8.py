"""ONNX models in int8: a DynamicQuantizeLSTM with its own integers on the kernels, and `export` in int8."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal

import rnnfast as rf
from rnnfast import _core

onnx = pytest.importorskip("onnx")
from bridges.onnx_quantized import (  # noqa: E402
    NEAR_ONNXRUNTIME,
    OUTPUTS,
    QUANTIZED,
    WEIGHTS,
    B,
    H,
    I,
    T,
    as_lstm,
    integer_inputs,
    model_of,
    node,
    optional,
    quantized_file,
)

import rnnfast.onnx  # noqa: E402
from rnnfast.functional import passes  # noqa: E402

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
INT8 = {"matmul_precision": "int8"}
each_scale = pytest.mark.parametrize("each", [1, 4 * H], ids=["by direction", "by column"])
directions = pytest.mark.parametrize("direction", DIRECTIONS)


def ours(array, gates="ifgo"):
    """The blocks i, o, f, g of the first axis, in another order."""
    blocks = dict(zip("iofg", np.split(array, 4), strict=True))
    return np.ascontiguousarray(np.concatenate([blocks[gate] for gate in gates]))


def run_cells(inputs, direction, coupled=False):
    """Y, Y_h and Y_c of `_core.Cell`s with the integers of a node's inputs."""
    gates = "igo" if coupled else "ifgo"
    cells = []
    for d, reverse in enumerate(DIRECTIONS[direction]):
        weights, scales = {}, {}
        for theirs, name in (("W", "weight_ih"), ("R", "weight_hh")):
            scale = np.broadcast_to(inputs[f"{theirs}_scale"][d], 4 * H).astype(np.float32)
            weights[name] = ours(inputs[theirs][d].T.astype(np.float32) * scale[:, np.newaxis], gates)
            scales[name] = ours(scale, gates)
        if "B" in inputs:
            Wb, Rb = np.split(inputs["B"][d], 2)
            weights |= {"bias_ih": ours(Wb, gates), "bias_hh": ours(Rb, gates)}
        if "P" in inputs:
            i, o, f = np.split(inputs["P"][d], 3)
            weights |= {"weight_ci": i, "weight_co": o} | ({} if coupled else {"weight_cf": f})
        options = {"coupled_gates": coupled, "matmul_precision": "int8", "scales": scales}
        cells.append(_core.Cell("lstm", weights, reverse=reverse, **options))
    lengths = inputs.get("sequence_lens")
    sequences = None if lengths is None else passes.sequences_of(lengths.astype(np.intp), None, T, B)
    state = tuple(inputs.get(f"initial_{part}") for part in "hc")
    y, final = _core.run_stack(cells, len(cells), sequences, inputs["X"], state, False)
    return [np.ascontiguousarray(y.reshape(T, B, len(cells), H).swapaxes(1, 2)), *final]


def small(each, direction, more=True, seed=0, **options):
    """The inputs of a node whose integers the kernels have."""
    D = len(DIRECTIONS[direction])
    return integer_inputs(np.int8, each, D, 0, seed, -127, **(optional(D) if more else {}), **options)


@each_scale
@directions
@pytest.mark.parametrize("fixed", [WEIGHTS, ("W", "W_scale", "W_zero_point"), ()], ids=["all", "W", "none"])
@pytest.mark.parametrize("precision", [None, "int8"])
def test_a_node_has_the_bits_of_cells_with_its_integers(each, direction, fixed, precision):
    for more in (False, True):
        inputs = small(each, direction, more)
        attributes = {"hidden_size": H, "direction": direction}
        prepared = rnnfast.onnx.prepare(
            model_of(QUANTIZED, attributes, inputs, fixed), matmul_precision=precision
        )
        assert prepared.paths == {"cell": "kernels"}
        got = prepared.run({key: array for key, array in inputs.items() if key not in fixed})
        assert_equal(list(got), run_cells(inputs, direction))


def test_coupled_gates():
    inputs = small(4 * H, "forward")
    got = rnnfast.onnx.run_model(model_of(QUANTIZED, {"input_forget": 1}, inputs), inputs)
    assert_equal(list(got), run_cells(inputs, "forward", coupled=True))


def test_one_node():
    inputs = small(1, "forward")
    proto = node("DynamicQuantizeLSTM", list(inputs), OUTPUTS, domain="com.microsoft", hidden_size=H)
    proto.input[:] = [key if key in inputs else "" for key in rnnfast.onnx.node.INPUTS[proto.op_type]]
    assert_equal(list(rnnfast.onnx.run_node(proto, inputs)), run_cells(inputs, "forward"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_another_precision_has_the_dequantized_weights(precision):
    inputs = small(4 * H, "bidirectional")
    attributes, plain = {"direction": "bidirectional"}, as_lstm(inputs)
    keyword = {"matmul_precision": precision}
    got = rnnfast.onnx.run_model(model_of(QUANTIZED, attributes, inputs), inputs, **keyword)
    assert_equal(
        list(got), list(rnnfast.onnx.run_model(model_of("LSTM", attributes, plain), plain, **keyword))
    )


@pytest.mark.parametrize(
    "change",
    [
        {"W_zero_point": np.int8([1])},
        {"R_zero_point": np.int8([-3])},
        {"W_scale": np.float32([-0.003])},
        {"R_scale": np.float32([1e-31])},
        {"R": np.full((1, H, 4 * H), -128, np.int8)},
    ],
    ids=lambda change: " ".join(change),
)
def test_other_forms_are_dequantized(change):
    inputs = small(1, "forward") | change
    plain = as_lstm(inputs)
    for keyword in ({}, INT8):
        got = rnnfast.onnx.run_model(model_of(QUANTIZED, {}, inputs), inputs, **keyword)
        want = rnnfast.onnx.run_model(model_of("LSTM", {}, plain), plain, **keyword)
        assert_equal(list(got), list(want))


def test_zero_scales_are_zero_weights():
    inputs = small(4 * H, "forward")
    inputs["W_scale"][:, ::3] = 0
    zero = inputs | {"W": np.where(inputs["W_scale"][:, np.newaxis] == 0, np.int8(0), inputs["W"])}
    got = [rnnfast.onnx.run_model(model_of(QUANTIZED, {}, given), given) for given in (inputs, zero)]
    assert_equal(list(got[0]), list(got[1]))


def test_nodes_in_numpy_are_dequantized():
    inputs = small(4 * H, "forward")
    attributes, plain = {"clip": 0.75}, as_lstm(inputs)
    prepared = rnnfast.onnx.prepare(model_of(QUANTIZED, attributes, inputs))
    assert prepared.paths == {"cell": "numpy"}
    want = rnnfast.onnx.run_model(model_of("LSTM", attributes, plain), plain)
    assert_equal(list(prepared.run(inputs)), list(want))


@each_scale
def test_rows_and_steps_alone_have_the_bits_of_the_whole(each):
    inputs = small(each, "forward")
    del inputs["sequence_lens"]
    whole = rnnfast.onnx.run_model(model_of(QUANTIZED, {}, inputs), inputs)
    for b in range(B):
        row = {key: inputs[key][:, b : b + 1] for key in ("X", "initial_h", "initial_c")}
        got = rnnfast.onnx.run_model(model_of(QUANTIZED, {}, inputs | row), inputs | row)
        assert_equal([got["Y"], got["Y_h"]], [whole["Y"][:, :, b : b + 1], whole["Y_h"][:, b : b + 1]])
    state, steps = {}, []
    for t in range(T):
        given = inputs | state | {"X": inputs["X"][t : t + 1]}
        Y, h, c = rnnfast.onnx.run_model(model_of(QUANTIZED, {}, given), given)
        state = {"initial_h": h, "initial_c": c}
        steps.append(Y)
    assert_equal(np.concatenate(steps), whole["Y"])
    assert_equal(c, whole["Y_c"])


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def rms(a, b):
    return float(np.sqrt(np.mean((a - b) ** 2)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("reduce_range", [False, True])
def test_a_quantized_layer_is_nearer_to_float32_than_in_onnxruntime(
    per_channel, reduce_range, seed, tmp_path
):
    model = rf.LSTM(8, 24, bidirectional=seed > 1, rng=seed)
    path = quantized_file(tmp_path, model, per_channel=per_channel, reduce_range=reduce_range)
    x = normal(40, 5, 8, seed=seed)
    exact, got = model(x)[0], rnnfast.onnx.run_model(path, [x])["y"]
    assert not np.array_equal(got, rnnfast.onnx.run_model(path, [x], matmul_precision="float32")["y"])
    assert rms(got, exact) <= rms(session(path).run(["y"], {"x": x})[0], exact)


# Export


LAYERS = {
    "plain": {},
    "stack": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "peepholes": {"peephole": True, "bidirectional": True},
    "coupled gates": {"coupled_gates": True},
    "coupled gates with peepholes": {"coupled_gates": True, "peephole": True},
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_file_has_the_bits_of_the_layer_and_onnxruntime_is_near(name, tmp_path):
    layer, path = rf.LSTM(I, H, **LAYERS[name], rng=0), tmp_path / "int8.onnx"
    for data in layer.parameters():
        data.data[...] += np.float32(0.1) * normal(*data.shape)
    rnnfast.onnx.export(layer, path, states=True, lengths=True, **INT8)
    layer.matmul_precision = "int8"
    x = normal(T, B, I).swapaxes(0, 1).copy() if layer.batch_first else normal(T, B, I)
    state = tuple(0.5 * normal(*part.shape, seed=3) for part in layer(x)[1])
    lengths = np.array([T, 2, 5], np.int32)
    y, (h, c) = layer(x, state, lengths=lengths)
    inputs = {"x": x, "h_0": state[0], "c_0": state[1], "lengths": lengths}
    for keyword in ({}, INT8):
        prepared = rnnfast.onnx.prepare(path, **keyword)
        assert set(prepared.paths.values()) == {"kernels"}
        assert_equal(list(prepared.run(inputs)), [y, h, c])
    for got, want in zip(session(path).run(None, inputs), (y, h, c), strict=True):
        assert abs(got - want).max() <= NEAR_ONNXRUNTIME * abs(want).max()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_from_the_file_has_the_bits_of_the_layer(name, tmp_path):
    layer, path = rf.LSTM(I, H, **LAYERS[name], rng=0, **INT8), tmp_path / "int8.onnx"
    rnnfast.onnx.export(layer, path, **INT8)
    (loaded,) = rnnfast.onnx.load_layers(path, **INT8).values()
    x = normal(T, B, I)
    y = layer(x.swapaxes(0, 1).copy())[0].swapaxes(0, 1) if layer.batch_first else layer(x)[0]
    np.testing.assert_array_equal(loaded(x)[0], y)


def test_a_model_in_int8(tmp_path):
    model, path = (
        rf.Sequential(
            rf.Embedding(9, I, rng=0), rf.LSTM(I, H, rng=1), rf.Last(), rf.Linear(H, 3, bias=False, rng=2)
        ),
        tmp_path / "model.onnx",
    )
    rnnfast.onnx.export(model, path, **INT8)
    tokens = np.random.default_rng(0).integers(0, 9, (T, B))
    model[1].matmul_precision = "int8"
    np.testing.assert_allclose(rnnfast.onnx.run_model(path, [tokens])["y"], model(tokens)[0], atol=1e-6)
    (got,) = session(path).run(["y"], {"x": tokens})
    assert abs(got - model(tokens)[0]).max() <= NEAR_ONNXRUNTIME * abs(got).max()
    model.matmul_precision = "int8"
    assert_equal(rnnfast.onnx.run_model(path, [tokens], **INT8)["y"], model(tokens)[0])


def test_a_row_of_zeros(tmp_path):
    layer, path = rf.LSTM(I, H, rng=0), tmp_path / "int8.onnx"
    layer.weight_ih_l0.data[3:7], layer.weight_hh_l0.data[9] = 0, 2.0**-120
    rnnfast.onnx.export(layer, path, **INT8)
    layer.matmul_precision, x = "int8", normal(T, B, I)
    assert_equal(rnnfast.onnx.run_model(path, [x])["y"], layer(x)[0])
    assert np.isfinite(session(path).run(["y"], {"x": x})[0]).all()


def with_nan():
    layer = rf.LSTM(2, 3, rng=0)
    layer.weight_hh_l0.data[1, 1] = np.nan
    return layer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: rf.GRU(2, 3),
            r"model: GRU : matmul_precision: expected 'float32', as onnxruntime has no GRU",
        ),
        (lambda: rf.Sequential(rf.LSTM(2, 3), rf.RNN(3, 4)), "model: RNN 1: matmul_precision: .* no RNN"),
        (
            lambda: rf.LSTM(2, 3, dtype="float64"),
            "matmul_precision: expected 'float32' .*float64, got 'int8'",
        ),
        (lambda: rf.LSTM(2, 3, proj_size=2), "proj_size: expected 0"),
        (lambda: rf.LSTM(2, 3, cell_clip=1.0), "cell_clip: expected None"),
        (lambda: rf.Linear(2, 3), "model: expected an LSTM with matmul_precision='int8', got none"),
        (with_nan, "matmul_precision: expected 'float32' for R with NaN or infinity, got 'int8'"),
    ],
)
def test_what_has_no_file_in_int8(make, words, tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(ValueError, match=words):
        rnnfast.onnx.export(make(), path, **INT8)
    assert not path.exists()


@pytest.mark.parametrize("precision", ["bfloat16", "int4", None])
def test_names_that_no_file_has(precision, tmp_path):
    with pytest.raises(ValueError, match="matmul_precision: expected one of float32, int8, got"):
        rnnfast.onnx.export(rf.LSTM(2, 3), tmp_path / "model.onnx", matmul_precision=precision)
