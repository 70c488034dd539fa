"""Nodes and files of DynamicQuantizeLSTM, for tests."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.arrays import normal

import rnnfast.onnx

node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
KINDS = onnx.helper.np_dtype_to_tensor_dtype
NAMES = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
QUANTIZED = "com.microsoft.DynamicQuantizeLSTM"
OUTPUTS = ("Y", "Y_h", "Y_c")
WEIGHTS = ("W", "R", *SCALES)
T, B, I, H = 7, 3, 5, 6
NEAR_ONNXRUNTIME = 0.03  # of the largest magnitude: onnxruntime rounds x and h to 8 bits at every step, too


def model_of(operator, attributes, inputs, fixed=()):
    """A model of one node, `operator` with its domain in front; what is not in `fixed` is an input."""
    domain, _, name = operator.rpartition(".")
    names = [key if key in inputs else "" for key in (*NAMES, *(SCALES if domain else ()))]
    graph = onnx.helper.make_graph(
        [node(name, names, OUTPUTS, name="cell", domain=domain, **attributes)],
        "one",
        [value(key, KINDS(array.dtype), array.shape) for key, array in inputs.items() if key not in fixed],
        [value(key, onnx.TensorProto.FLOAT, None) for key in OUTPUTS],
        [onnx.numpy_helper.from_array(inputs[key], key) for key in fixed],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def integer_inputs(dtype, each, D, zero, seed=0, least=None, **more):
    """The inputs of a node with a scale for each direction (`each` 1) or for each column (4*H).

    The smallest integer is `least`, by default that of the dtype: -128 of int8, which no kernel of int8 has.
    """
    rng = np.random.default_rng(seed)
    span, shape = np.iinfo(dtype), (D,) if each == 1 else (D, each)
    least = span.min if least is None else least
    inputs = {"X": normal(T, B, I)}
    for name, K in (("W", I), ("R", H)):
        inputs[name] = rng.integers(least, span.max + 1, (D, K, 4 * H)).astype(dtype)
        inputs[name].flat[0] = least
        inputs[f"{name}_scale"] = rng.uniform(0.002, 0.004, shape).astype(np.float32)
        inputs[f"{name}_zero_point"] = np.full(shape, zero, dtype)
    return inputs | more


def as_lstm(inputs):
    """The inputs of the LSTM node with the same weights, by the operator's definition."""
    plain = {key: array for key, array in inputs.items() if key in NAMES}
    for name in "WR":
        integers, scale, zero = (inputs[f"{name}{end}"] for end in ("", "_scale", "_zero_point"))
        for d in range(len(integers)):
            levels = integers[d].astype(float) - zero[d]
            weights = (levels * scale[d]).astype(np.float32).T
            plain[name] = np.zeros((len(integers), *weights.shape), np.float32) if d == 0 else plain[name]
            plain[name][d] = weights
    return plain


def optional(D):
    """All optional inputs."""
    return {
        "B": normal(D, 8 * H) * 0.3,
        "sequence_lens": np.array([T, 2, 5], np.int32),
        "initial_h": normal(D, B, H, seed=2) * 0.5,
        "initial_c": normal(D, B, H, seed=3) * 0.5,
        "P": normal(D, 3 * H) * 0.3,
    }


def quantized_file(tmp_path, model, **options):
    """A module's file, and the one that onnxruntime's quantizer makes of it."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    plain, path = tmp_path / "model.onnx", tmp_path / "quantized.onnx"
    rnnfast.onnx.export(model, plain)
    quantization.quantize_dynamic(plain, path, **options)
    return path
