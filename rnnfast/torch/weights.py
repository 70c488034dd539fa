"""Which weights a layer can have: how many, of which shapes, and of which dtype."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rnnfast.recurrent import Recurrent

__all__ = ["check_weights", "unfit_dtype"]


def check_weights(
    layer: Recurrent, whose: str, names: Sequence[str], weights: Sequence[torch.Tensor], precision: str
) -> None:
    """A ValueError where weights have several dtypes, or do not fit the layer's options or this precision.

    It names the weight, or the module or layer that they belong to (`whose`).
    """
    shapes = [parameter.shape for parameter in layer.parameters()]
    if len(weights) != len(shapes):
        raise ValueError(f"{whose}: expected {len(shapes)} parameters, got {len(weights)}")
    dtype = weights[0].dtype
    if precision != "float32" and dtype is not torch.float32:
        raise unfit_dtype(precision, whose, dtype)
    for name, weight, shape in zip(names, weights, shapes, strict=True):
        if weight.shape != shape or weight.dtype is not dtype:
            got = f"{weight.dtype} and {tuple(weight.shape)}"
            raise ValueError(f"{name}: expected {dtype} and shape {shape}, got {got}")


def unfit_dtype(precision: str, whose: str, dtype: torch.dtype) -> ValueError:
    """The error for a precision that parameters of this dtype cannot have."""
    return ValueError(
        f"matmul_precision: expected 'float32' (its default) for the {whose} of {dtype}, got {precision!r}"
    )
