"""A matrix and its product, in each precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnfast.arithmetic import LARGEST, quantize_rows, to_bfloat16, to_nearest
from rnnfast.c_export.source import Source

__all__ = ["product"]


def product(
    source: Source,
    name: str,
    weight: NDArray,
    precision: str,
    *,
    sizes: tuple[str, str],
    x: str,
    out: str,
    columns: str,
    bounded: bool = False,
) -> str:
    """Add a matrix to the header; the statement that adds its product with x to out is returned.

    Parameters
    ----------
    source : Source
    name : str
        Of the matrix.
    weight : ndarray [N, K]
        float32, finite, without subnormal numbers.
    precision : {"float32", "bfloat16", "int8"}
    sizes : pair of str
        K and N in C.
    x, out : str
        Expressions of C for x [K] and out [N].
    columns : str
        What the N columns are, for a comment.
    bounded : bool
        Whether x is a state that cannot pass 1: in int8, it has a fixed scale.
    """
    K, N = sizes
    source.need(precision)
    form = f"[{weight.shape[1]}][{weight.shape[0]}] {columns}"
    if precision == "float32":
        w = source.array(name, weight.T, form)
        return f"NAME_product({K}, {N}, {x}, {w}, {out});"
    if precision == "bfloat16":
        w = source.array(name, to_bfloat16(weight.T), f"{form}, in bfloat16")
        return f"NAME_product_bfloat16({K}, {N}, {x}, {w}, {out});"
    integers, scales = _quantized(weight)
    w = source.array(name, integers, f"[{weight.shape[0]}][{weight.shape[1]}], rows: {columns}")
    w_scales = source.array(f"{name}_scales", scales, f"[{weight.shape[0]}] of its rows")
    q = source.scratch("q", weight.shape[1], "int8_t")
    return f"NAME_product_int8({K}, {N}, {int(bounded)}, {x}, {q}, {w}, {w_scales}, {out});"


@to_nearest
def _quantized(weight: NDArray) -> tuple[NDArray, NDArray]:
    """The integers and the scale of each row."""
    integers, maxima = quantize_rows(weight)
    return integers, maxima / np.float32(LARGEST)
