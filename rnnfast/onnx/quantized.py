"""The weights of DynamicQuantizeLSTM, onnxruntime's LSTM with weights of 8-bit integers.

onnxruntime's `quantize_dynamic` writes this node of the domain com.microsoft in place of an LSTM node. It
differs in W and R: they are integers, their last two axes are swapped, and they have scales and zero points,
one for each direction or for each of its 4*H columns. A weight is (integer - zero point) · scale. Definition:
docs/ContribOperators.md of https://github.com/microsoft/onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnfast.onnx.node import Node
from rnnfast.onnx.weights import Weights

__all__ = ["dequantized"]

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
