"""Calls under torch's autocast: float32 arrays in the kernels, and results of the dtypes that torch.nn gives.

torch.nn's modules multiply in autocast's dtype, and the dtypes of their results follow from their operations.
The kernels multiply in bfloat16 under autocast of bfloat16 (`precision`), and in float32 under float16.
States and sums are float32 inside, and the results are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

__all__ = ["CAST", "Run", "carried", "entered", "in_onednn", "run_as"]

# A function of x, the parts of the state (None: zero) and the weights: the results of a layer.
Run: TypeAlias = Callable[
    [torch.Tensor, Sequence["torch.Tensor | None"], Sequence[torch.Tensor]], Sequence[torch.Tensor]
]

# The dtypes that autocast casts; it leaves float64 as it is.
CAST = (torch.float32, torch.bfloat16, torch.float16)


def entered(weights: Sequence[torch.Tensor]) -> tuple[torch.dtype | None, Sequence[torch.Tensor]]:
    """Autocast's dtype and the weights in float32; None and the weights themselves if it does not act."""
    if not torch.is_autocast_enabled("cpu") or any([weight.dtype not in CAST for weight in weights]):
        return None, weights
    return torch.get_autocast_dtype("cpu"), [weight.float() for weight in weights]


def run_as(
    dtypes: Sequence[torch.dtype] | None,
    run: Run,
    x: torch.Tensor,
    parts: Sequence[torch.Tensor | None],
    weights: Sequence[torch.Tensor],
) -> Sequence[torch.Tensor]:
    """`run` with a final state of these dtypes, and y of h's, from x and a state of dtypes in `CAST`.

    None casts nothing.
    """
    if dtypes is None:
        return run(x, parts, weights)
    parts = [None if part is None else part.float() for part in parts]
    results = run(x.float(), parts, weights)
    dtypes = dtypes if len(results) == len(dtypes) else (dtypes[0], *dtypes)  # a cell has no y
    return [result.to(dtype) for result, dtype in zip(results, dtypes, strict=True)]


def carried(lower: torch.dtype, x: torch.Tensor, parts: Sequence[torch.Tensor | None]) -> torch.dtype:
    """The dtype of a sum of products in `lower` and the state before, by default zeros of x's dtype."""
    before = x if parts[-1] is None else parts[-1]
    return torch.promote_types(lower, before.dtype)


def in_onednn(x: torch.Tensor) -> bool:
    """Whether oneDNN would run torch's LSTM; its results all have autocast's dtype."""
    return x.numel() > 0 and _onednn_takes(x.dtype, torch.is_grad_enabled())


def _onednn_takes(dtype: torch.dtype, grad: bool) -> bool:
    if not (torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()):
        return False
    if dtype is torch.float16:
        return not grad and torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return dtype is torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


# torch.compile does not trace it, and takes what it returns for a constant.
_onednn_takes._dynamo_marked_constant = True  # type: ignore[attr-defined]
