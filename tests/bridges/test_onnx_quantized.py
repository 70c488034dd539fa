"""DynamicQuantizeLSTM nodes: the bits of an LSTM with dequantized weights, and near onnxruntime's results.

Those that the kernels of int8 run are in test_onnx_int8.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal

import rnnfast as rf

onnx = pytest.importorskip("onnx")
from bridges.onnx_quantized import (  # noqa: E402
    NAMES,
    NEAR_ONNXRUNTIME,
    QUANTIZED,
    SCALES,
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

forms = pytest.mark.parametrize(
    ("dtype", "each", "zero"),
    [(np.int8, 1, 0), (np.int8, 4 * H, 0), (np.int8, 1, -7), (np.uint8, 1, 128), (np.uint8, 4 * H, 131)],
    ids=["int8", "int8 by column", "int8 with zero point", "uint8", "uint8 by column"],
)
directions = pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])


@forms
@directions
@pytest.mark.parametrize("fixed", [WEIGHTS, ("W", "W_scale", "W_zero_point"), ()], ids=["all", "W", "none"])
def test_a_node_has_the_bits_of_an_lstm_with_the_dequantized_weights(dtype, each, zero, direction, fixed):
    D = 1 + (direction == "bidirectional")
    for more in ({}, optional(D)):
        inputs = integer_inputs(dtype, each, D, zero, **more)
        attributes = {"hidden_size": H, "direction": direction}
        prepared = rnnfast.onnx.prepare(model_of(QUANTIZED, attributes, inputs, fixed))
        assert prepared.paths == {"cell": "kernels"}
        plain = as_lstm(inputs)
        got = prepared.run({key: array for key, array in inputs.items() if key not in fixed})
        assert_equal(list(got), list(rnnfast.onnx.run_model(model_of("LSTM", attributes, plain), plain)))


@forms
@directions
def test_a_node_is_near_onnxruntime(dtype, each, zero, direction):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    D = 1 + (direction == "bidirectional")
    for more in ({}, optional(D)):
        inputs = integer_inputs(dtype, each, D, zero, **more)
        model = model_of(QUANTIZED, {"hidden_size": H, "direction": direction}, inputs, WEIGHTS)
        given = {key: array for key, array in inputs.items() if key not in WEIGHTS}
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for got, want in zip(rnnfast.onnx.run_model(model, given), session.run(None, given), strict=True):
            assert abs(got - want).max() <= NEAR_ONNXRUNTIME * abs(want).max()


@pytest.mark.parametrize(
    "attributes",
    [{"input_forget": 1}, {"clip": 0.75}, {"activations": ["HardSigmoid", "Softsign", "Tanh"]}],
    ids=str,
)
def test_attributes_are_those_of_lstm(attributes):
    inputs = integer_inputs(np.int8, 4 * H, 1, 0, **optional(1))
    if "activations" in attributes:
        attributes = {**attributes, "activation_alpha": [0.25], "activation_beta": [0.4]}
    prepared = rnnfast.onnx.prepare(model_of(QUANTIZED, attributes, inputs, WEIGHTS))  # no hidden_size
    assert prepared.paths == {"cell": "kernels" if "input_forget" in attributes else "numpy"}
    got = prepared.run({key: array for key, array in inputs.items() if key not in WEIGHTS})
    plain = as_lstm(inputs)
    assert_equal(list(got), list(rnnfast.onnx.run_model(model_of("LSTM", attributes, plain), plain)))


def test_products_in_bfloat16():
    inputs = integer_inputs(np.int8, 4 * H, 1, 0)
    plain = as_lstm(inputs)
    got = rnnfast.onnx.run_model(model_of(QUANTIZED, {}, inputs), inputs, matmul_precision="bfloat16")
    want = rnnfast.onnx.run_model(model_of("LSTM", {}, plain), plain, matmul_precision="bfloat16")
    assert_equal(list(got), list(want))


def test_scales_and_zero_points_may_have_different_forms():
    inputs = integer_inputs(np.uint8, 1, 2, 128)
    inputs["W_scale"] = normal(2, 4 * H) * np.float32(0.003)
    inputs["R_zero_point"] = np.arange(2 * 4 * H, dtype=np.uint8).reshape(2, 4 * H)
    attributes, plain = {"direction": "bidirectional"}, as_lstm(inputs)
    got = rnnfast.onnx.run_model(model_of(QUANTIZED, attributes, inputs), inputs)
    assert_equal(list(got), list(rnnfast.onnx.run_model(model_of("LSTM", attributes, plain), plain)))


def test_one_node():
    inputs = integer_inputs(np.int8, 1, 1, 0)
    names = [key if key in inputs else "" for key in (*NAMES, *SCALES)]
    proto = node("DynamicQuantizeLSTM", names, ["Y"], domain="com.microsoft", hidden_size=H)
    plain = as_lstm(inputs)
    want = rnnfast.onnx.run_model(model_of("LSTM", {}, plain), plain)["Y"]
    assert_equal(rnnfast.onnx.run_node(proto, inputs)[0], want)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("reduce_range", [False, True])
def test_files_of_onnxruntime_s_quantizer(per_channel, reduce_range, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    lstm = rf.LSTM(I, H, num_layers=2, bidirectional=True, rng=0)
    model = rf.Sequential(lstm, rf.Linear(2 * H, 3, rng=1))
    path = quantized_file(tmp_path, model, per_channel=per_channel, reduce_range=reduce_range)
    prepared = rnnfast.onnx.prepare(path)
    assert prepared.paths == {"0.LSTM_quant": "kernels", "0.LSTM_1_quant": "kernels"}
    x = normal(T, B, I)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for got, want in zip(prepared.run([x]), session.run(None, {"x": x}), strict=True):
        assert abs(got - want).max() <= NEAR_ONNXRUNTIME * abs(want).max()

    (layer,) = rnnfast.onnx.load_layers(path).values()
    assert (layer.num_layers, layer.bidirectional) == (2, True)
    exact = rnnfast.onnx.prepare(path, matmul_precision="float32")
    assert_equal(exact.run([x])["0.h_n"], layer(x)[1][0])
    largest = 1 / 127 if not reduce_range else 1 / 64
    for name, parameter in lstm.named_parameters():
        weight, step = getattr(layer, name).data, abs(parameter.data).max() * largest
        assert abs(weight - parameter.data).max() <= (0.51 * step if name.startswith("weight") else 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W": np.zeros((1, 4 * H, I), np.int8)}, r"W: expected shape \[1, I, 24\], got \(1, 24, 5\)"),
        ({"R": np.zeros((1, H, 4 * H + 1), np.int8)}, r"R: expected shape \[1, 6, 24\], got \(1, 6, 25\)"),
        ({"W": np.zeros((1, I), np.int8)}, r"W: expected shape \[1, I, 24\], got \(1, 5\)"),
        ({"W": np.zeros((1, I, 4 * H), np.float32)}, "W: expected dtype int8 or uint8, got float32"),
        ({"R": np.zeros((1, H, 4 * H), np.int16)}, "R: expected dtype int8 or uint8, got int16"),
        ({"W_scale": np.ones(2, np.float32)}, r"W_scale: expected shape \[1\] or \[1, 24\], got \(2,\)"),
        ({"R_scale": np.float32(1)}, r"R_scale: expected shape \[1\] or \[1, 24\], got \(\)"),
        ({"W_scale": np.ones(1)}, "W_scale: expected dtype float32, got float64"),
        ({"R_scale": np.array([np.inf], np.float32)}, "R_scale: expected finite numbers, got inf"),
        ({"W_zero_point": np.zeros(1, np.uint8)}, "W_zero_point: expected dtype int8, got uint8"),
        ({"R_zero_point": np.zeros((1, 6), np.int8)}, r"R_zero_point: expected shape \[1\] or \[1, 24\]"),
        ({"B": np.zeros((1, 4 * H), np.float32)}, r"B: expected shape \[1, 48\], got \(1, 24\)"),
        ({"P": np.zeros((1, 3 * H))}, "P: expected one dtype"),
    ],
)
@pytest.mark.parametrize("fixed", [True, False])
def test_wrong_weights_are_named(change, words, fixed):
    inputs = integer_inputs(np.int8, 1, 1, 0) | change
    constant = tuple(key for key in inputs if key != "X") if fixed else ()
    model = model_of(QUANTIZED, {"hidden_size": H}, inputs, constant)
    with pytest.raises(ValueError, match=f"node cell: {words}"):
        rnnfast.onnx.run_model(model, {key: inputs[key] for key in inputs if key not in constant})


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"layout": 1}, "layout: DynamicQuantizeLSTM has no such attribute"),
        ({"hidden_size": 1.5}, "hidden_size: expected INT and nothing else"),
        ({"direction": "both"}, "direction: expected one of forward, reverse, bidirectional, got 'both'"),
        ({"input_forget": 2}, "input_forget: expected 0 or 1, got 2"),
    ],
)
def test_wrong_attributes_are_named(attributes, words):
    inputs = integer_inputs(np.int8, 1, 1, 0)
    with pytest.raises(ValueError, match=f"node cell: {words}"):
        rnnfast.onnx.prepare(model_of(QUANTIZED, attributes, inputs))


@pytest.mark.parametrize("missing", ["X", "R", *SCALES])
def test_inputs_that_are_missing_are_named(missing):
    inputs = integer_inputs(np.int8, 1, 1, 0)
    del inputs[missing]
    with pytest.raises(
        ValueError, match="node cell: inputs: expected X, W, R, W_scale, W_zero_point, R_scale"
    ):
        rnnfast.onnx.prepare(model_of(QUANTIZED, {}, inputs))
