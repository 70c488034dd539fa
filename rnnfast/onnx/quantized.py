"""The weights of DynamicQuantizeLSTM, onnxruntime's LSTM with weights of 8-bit integers.

onnxruntime's `quantize_dynamic` writes this node of the domain com.microsoft in place of an LSTM node. It
differs in W and R: they are integers, their last two axes are swapped, and they have scales and zero points,
one for each direction or for each of its 4*H columns. A weight is (integer - zero point) · scale. Definition:
docs/ContribOperators.md of https://github.com/microsoft/onnxruntime.

Where all zero points are 0 and no integer is -128, the kernels of int8 multiply with these integers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnfast.arithmetic import LARGEST, SMALLEST, quantize_rows
from rnnfast.onnx.node import Node
from rnnfast.onnx.weights import Weights

__all__ = ["dequantized", "quantized", "row_scales"]

Array = np.ndarray


def dequantized(node: Node, arrays: Mapping[str, Array]) -> Weights:
    """The weights of a DynamicQuantizeLSTM node as an LSTM node has them, in float32.

    Parameters
    ----------
    node : Node
    arrays : mapping of str to ndarray
        By the names of the node's inputs: W ``[D, I, 4*H]`` and R ``[D, H, 4*H]`` of int8 or uint8; W_scale
        and R_scale of float32, W_zero_point and R_zero_point of W's and R's dtype, each ``[D]`` or
        ``[D, 4*H]``; B and P, if they are there.

    Raises
    ------
    TypeError, ValueError
        An array has another dtype or shape, or a scale is no finite number; the message names it.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.node import INPUTS, read_node
    >>> from rnnfast.onnx.quantized import dequantized
    >>> names = INPUTS["DynamicQuantizeLSTM"]
    >>> proto = onnx.helper.make_node(
    ...     "DynamicQuantizeLSTM", names, ["y"], domain="com.microsoft", hidden_size=1
    ... )
    >>> integers, zero = np.uint8([[[130, 126, 128, 129]]]), np.uint8([128])
    >>> arrays = {"W": integers, "W_scale": np.float32([0.5]), "W_zero_point": zero}
    >>> arrays |= {"R": integers, "R_scale": np.float32([[1, 2, 3, 4]]), "R_zero_point": zero}
    >>> weights = dequantized(read_node(proto), arrays)
    >>> weights.W.shape, weights.W.ravel().tolist(), weights.R.ravel().tolist()
    ((1, 4, 1), [1.0, -1.0, 0.0, 0.5], [2.0, -4.0, 0.0, 4.0])
    """
    W, R = (_product(name, arrays, node) for name in "WR")
    return Weights(W, R, arrays.get("B"), arrays.get("P"))


def row_scales(node: Node, arrays: Mapping[str, Array]) -> Weights | None:
    """The scales ``[D, 4*H]`` of W and R with which the kernels of int8 have the node's own integers.

    None where they cannot have them: a zero point is not 0, an integer is beyond -127..127, or a scale is
    negative or far from the usual magnitudes.

    Parameters
    ----------
    node, arrays
        As `dequantized` takes and checks them.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.node import INPUTS, read_node
    >>> from rnnfast.onnx.quantized import quantized, row_scales
    >>> from rnnfast.onnx.weights import Weights
    >>> names = INPUTS["DynamicQuantizeLSTM"]
    >>> proto = onnx.helper.make_node("DynamicQuantizeLSTM", names, ["y"], hidden_size=1)
    >>> arrays = quantized(Weights(*2 * [np.float32([[[127], [254], [-508], [0]]])]))
    >>> arrays["W"].tolist(), row_scales(read_node(proto), arrays).W.tolist()
    ([[[127, 127, -127, 0]]], [[1.0, 2.0, 4.0, 0.0]])
    """
    scales = []
    for name in "WR":
        integers, scale, zero = arrays[name], arrays[f"{name}_scale"], arrays[f"{name}_zero_point"]
        usual = (scale == 0) | ((scale >= SMALLEST) & (scale <= 1 / SMALLEST))
        if zero.any() or (integers < -LARGEST).any() or (integers > LARGEST).any() or not usual.all():
            return None
        D, rows = len(node.reverse), integers.shape[2]
        scales.append(np.broadcast_to(scale.reshape(D, -1), (D, rows)))
    return Weights(*scales)


def quantized(weights: Weights) -> dict[str, Array]:
    """The weights of an LSTM node as those of a DynamicQuantizeLSTM, by the names of its inputs.

    Each row has a scale. The integers and scales are those of products in int8.

    Raises
    ------
    ValueError
        A weight is NaN or infinite.
    """
    inputs = {key: array for key, array in weights._asdict().items() if array is not None}
    for name in "WR":
        if not np.isfinite(inputs[name]).all():
            raise ValueError(
                f"matmul_precision: expected 'float32' for {name} with NaN or infinity, got 'int8'"
            )
        integers, maxima = quantize_rows(inputs[name])
        inputs[name] = integers.swapaxes(1, 2)
        inputs[f"{name}_scale"] = maxima / np.float32(LARGEST)
        inputs[f"{name}_zero_point"] = np.zeros(maxima.shape, np.int8)
    return inputs


def _product(name: str, arrays: Mapping[str, Array], node: Node) -> Array:
    """W [D, 4*H, I] or R [D, 4*H, H]."""
    integers, scale, zero = arrays[name], arrays[f"{name}_scale"], arrays[f"{name}_zero_point"]
    if integers.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{name}: expected dtype int8 or uint8, got {integers.dtype}")
    D, H = len(node.reverse), node.hidden_size or (0, 0, *arrays["R"].shape)[-1] // 4
    K = H if name == "R" else (0, 0, *integers.shape)[-2]
    if integers.shape != (D, K, 4 * H):
        expected = f"[{D}, {'I' if name == 'W' else H}, {4 * H}]"
        raise ValueError(f"{name}: expected shape {expected}, got {integers.shape}")
    for part, array, dtype in (("scale", scale, np.float32), ("zero_point", zero, integers.dtype)):
        if array.dtype != dtype:
            raise TypeError(f"{name}_{part}: expected dtype {np.dtype(dtype)}, got {array.dtype}")
        if array.shape not in ((D,), (D, 4 * H)):
            raise ValueError(f"{name}_{part}: expected shape [{D}] or [{D}, {4 * H}], got {array.shape}")
    if not np.isfinite(scale).all():
        raise ValueError(f"{name}_scale: expected finite numbers, got {scale[~np.isfinite(scale)][0]}")
    levels = np.subtract(integers, zero.reshape(D, 1, -1), dtype=np.float32)  # exact
    return np.ascontiguousarray((levels * scale.reshape(D, 1, -1)).swapaxes(1, 2))
