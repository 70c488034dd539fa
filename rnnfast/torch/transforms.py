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
from rnnfast.torch.inputs import Inputs

__all__ = ["backward", "forward"]


def forward(*arguments: Any) -> Sequence[torch.Tensor]:
    """As `operators.forward`, of `Inputs`."""
    inputs = Inputs(*arguments)
    return _Forward.apply(inputs.layer, len(inputs.state), *_flat(inputs))


def backward(gradients: Sequence[torch.Tensor], *arguments: Any) -> Sequence[torch.Tensor]:
    """As `operators.backward`, of `Inputs`, `given` and `wanted`."""
    *some, given, wanted = arguments
    inputs, flags = Inputs(*some), (tuple(given), tuple(wanted))
    return _Backward.apply(inputs.layer, len(inputs.state), flags, *gradients, *_flat(inputs))


def _flat(inputs: Inputs) -> tuple[torch.Tensor | None, ...]:
    """The tensors, as torch.autograd.Function wants them."""
    return inputs.x, *inputs.state, *inputs.weights, inputs.lengths, inputs.reset, inputs.seed


def _nested(layer: Any, count: int, tensors: Sequence[Any]) -> Inputs:
    """The inverse of `_flat`, of tensors with `count` parts of the state, or of their axes."""
    x, *inputs, lengths, reset, seed = tensors
    return Inputs(x, inputs[:count], inputs[count:], lengths, reset, seed, layer)


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
