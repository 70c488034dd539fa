"""The operators under torch.func's transforms, in eager mode: vmap, grad and what is made of them.

torch.func.grad refuses an operator that has a rule for autograd. It takes autograd.Functions of this form,
which call the operators and have their rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rnnfast.torch import batching, operators, rules
from rnnfast.torch.fallback import untraced

__all__ = ["backward", "forward"]


def forward(
    x: Any, state: Any, weights: Any, lengths: Any, reset: Any, seed: Any, layer: str
) -> Sequence[torch.Tensor]:
    """As `operators.forward`."""
    return _Forward.apply(layer, len(state), x, *state, *weights, lengths, reset, seed)


def backward(
    gradients: Any,
    x: Any,
    state: Any,
    weights: Any,
    lengths: Any,
    reset: Any,
    seed: Any,
    layer: str,
    given: Sequence[bool],
    wanted: Sequence[bool],
) -> Sequence[torch.Tensor]:
    """As `operators.backward`."""
    flags = tuple(given), tuple(wanted)
    tensors = *gradients, x, *state, *weights, lengths, reset, seed
    return _Backward.apply(layer, len(state), flags, *tensors)


def _nested(layer: Any, count: int, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """The operators' arguments from x, `count` parts of the state, and further tensors, or their axes."""
    x, *inputs = tensors[:-3]
    return x, inputs[:count], inputs[count:], *tensors[-3:], layer


def _nested_backward(layer: Any, count: int, flags: Any, tensors: Sequence[Any]) -> tuple[Any, ...]:
    """The same for the backward operator, whose gradients come first."""
    given = sum(flags[0])
    return list(tensors[:given]), *_nested(layer, count, tensors[given:]), *flags


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(layer: str, count: int, *tensors: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        return tuple(operators.forward(*_nested(layer, count, tensors)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        layer, count, *tensors = inputs
        rules.save_forward(ctx, _nested(layer, count, tensors), output)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[Any, ...]:
        needs = _nested(None, ctx.count, ctx.needs_input_grad[2:])
        dx, dstate, dweights, *_ = rules.differentiate_forward(ctx, gradients, needs, backward)
        return None, None, dx, *dstate, *dweights, None, None, None

    @staticmethod
    @untraced
    def vmap(info: Any, in_dims: Any, layer: str, count: int, *tensors: Any) -> tuple[Any, Any]:
        arguments, axes = _nested(layer, count, tensors), _nested(None, count, in_dims[2:])
        results, places = batching.forward(forward, info, axes, *arguments)
        return tuple(results), tuple(places)


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(layer: str, count: int, flags: Any, *tensors: torch.Tensor | None) -> tuple[Any, ...]:
        return tuple(operators.backward(*_nested_backward(layer, count, flags, tensors)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        layer, count, flags, *tensors = inputs
        rules.save_backward(ctx, _nested_backward(layer, count, flags, tensors), output)

    @staticmethod
    @untraced
    def backward(ctx: Any, *incoming: torch.Tensor | None) -> tuple[Any, ...]:
        gradients, dx, dstate, dweights, *_ = rules.differentiate_backward(ctx, incoming)
        return None, None, None, *gradients, dx, *dstate, *dweights, None, None, None

    @staticmethod
    @untraced
    def vmap(info: Any, in_dims: Any, layer: str, count: int, flags: Any, *tensors: Any) -> tuple[Any, Any]:
        arguments = _nested_backward(layer, count, flags, tensors)
        axes = _nested_backward(None, count, flags, in_dims[3:])
        found, places = batching.backward(backward, info, axes, *arguments)
        return tuple(found), tuple(places)
