"""Matrix products in the precision that a model is prepared with, and the nodes that are such products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx.helper import get_attribute_value

from rnnfast import _core
from rnnfast.onnx.loops import Operator

__all__ = ["PRODUCTS", "Product", "product"]

Array = np.ndarray

PRODUCTS = ("Gemm", "MatMul")


def product(x: Array, weight: Array, precision: str, bias: Array | None = None) -> Array:
    """x·weightᵀ + bias; x [..., K], weight [N, K], bias [N].

    NumPy computes "float32", which stands for any dtype. The kernels of `rf.Linear` compute the other
    precisions, of float32 arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.onnx.products import product
    >>> x, weight = np.float32([[1.001, 2]]), np.float32([[1, 1]])
    >>> float(product(x, weight, "float32")[0, 0]) == 3, float(product(x, weight, "bfloat16")[0, 0]) == 3
    (False, True)
    """
    if precision == "float32":
        y: Array = x @ weight.T
        return y if bias is None else y + bias
    N, K = weight.shape
    rows = np.ascontiguousarray(x).reshape(-1, K)
    y = np.empty((len(rows), N), np.float32)
    given = None if bias is None else np.ascontiguousarray(bias)
    _core.linear_forward(rows, np.ascontiguousarray(weight), given, y, precision)
    return y.reshape(*x.shape[:-1], N)


class Product(Operator):
    """A MatMul or Gemm node in ONNX's evaluator, its weight (the second input) a matrix of float32.

    NumPy multiplies where the node is another one.
    """

    precision: str  # of the model

    def __init__(self, onnx_node: Any, run_params: dict[str, Any]) -> None:
        super().__init__(onnx_node, run_params)
        given = {attribute.name: get_attribute_value(attribute) for attribute in onnx_node.attribute}
        self._turns = [given.get(name, 0) == 1 for name in ("transA", "transB")]
        self._factors = [given.get(name, 1.0) for name in ("alpha", "beta")]
        self._weight: Array | None = None  # [N, K], where no run changes it

    def fix_weights(self, fixed: Mapping[str, Array]) -> int:
        """Keep the weight, in the order of the kernels, if it is an array that no run changes; its bytes."""
        b = fixed.get(self.onnx_node.input[1])
        if b is None or b.ndim != 2:
            return 0
        self._weight = np.ascontiguousarray(self._rows(b))
        return self._weight.nbytes

    def reads(self) -> list[str]:
        """The names of its inputs, none for a weight that is kept."""
        a, b, *c = self.onnx_node.input
        return [a, b if self._weight is None else "", *c]

    def compute(self, a: Array, b: Any = None, c: Array | None = None) -> tuple[Array]:
        """The node's output."""
        if self._weight is None and b.ndim != 2:
            return (np.asarray(np.matmul(a, b)),)  # not of Gemm
        weight = self._rows(b) if self._weight is None else self._weight
        a = a.T if self._turns[0] else a
        N, K = weight.shape
        if a.shape[-1:] != (K,):
            raise self.error(f"A: expected a last axis of {K}, as B has, got shape {a.shape}")
        on_kernels = a.dtype == weight.dtype == np.float32 and weight.size
        precision = self.precision if on_kernels else "float32"
        alpha, beta = self._factors
        if c is None or not beta:
            y = product(a, weight, precision)
            return (y if alpha == 1 else (alpha * y).astype(a.dtype),)
        if alpha == beta == 1 and c.shape in ((N,), (1, N)) and c.dtype == a.dtype:
            return (product(a, weight, precision, c.reshape(N)),)
        return ((alpha * product(a, weight, precision) + beta * c).astype(a.dtype),)

    def _run(self, *inputs: Any, **attributes: Any) -> tuple[Array]:
        return self.compute(*inputs)

    def _rows(self, b: Array) -> Array:
        """The weight [N, K] in a second input."""
        return b if self._turns[1] else b.T
