"""`matmul_precision` of modules: which one a module may have, and which one a call takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from rnnfast import _core
from rnnfast.checks import one_of
from rnnfast.torch.autograd import wants_gradient
from rnnfast.torch.weights import unfit_dtype

__all__ = ["check_precision", "precision_under", "refuse_dropout", "refuse_gradient"]


def check_precision(precision: str, modules: Mapping[str, torch.nn.Module]) -> None:
    """Refuse a precision that is unknown, or that a parameter of these modules, by name, cannot have."""
    one_of("matmul_precision", precision, _core.PRECISIONS)
    if precision == "float32":
        return
    for name, module in modules.items():
        for parameter in module.parameters():
            if parameter.dtype is not torch.float32:
                kind = type(module).__name__
                raise unfit_dtype(precision, f"{kind} {name!r}" if name else kind, parameter.dtype)


def precision_under(lower: torch.dtype | None, own: str) -> str:
    """The precision of a call's products: the module's own, or bfloat16 under autocast of bfloat16.

    `lower` is autocast's dtype, None where it does not act. A module's own precision wins unless it is
    float32.
    """
    return "bfloat16" if lower is torch.bfloat16 and own == "float32" else own


def refuse_gradient(
    precision: str,
    x: torch.Tensor,
    parts: Iterable[torch.Tensor | None],
    weights: Iterable[torch.Tensor],
) -> None:
    """A ValueError where a gradient of these tensors is wanted, and products of this precision have none."""
    if precision not in _core.TRAINABLE and wants_gradient((x, *parts, *weights)):
        raise ValueError(
            f"matmul_precision: got {precision!r}, which has no gradient, where one is wanted; use "
            "torch.no_grad(), or set matmul_precision to 'bfloat16' or 'float32'"
        )


def refuse_dropout(precision: str) -> None:
    """A ValueError for a call that drops outputs, where products of this precision evaluate only."""
    if precision not in _core.TRAINABLE:
        raise ValueError(
            f"matmul_precision: got {precision!r}, which only evaluates, for dropout in training mode; call "
            "eval() on the module, or set matmul_precision to 'bfloat16' or 'float32'"
        )
