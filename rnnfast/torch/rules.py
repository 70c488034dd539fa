"""How the operators are differentiated: what they save, and the gradients of their arguments.

The arguments are those that `operators` describes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnfast.torch.call import Call
from rnnfast.torch.derivatives import Gradients, present, spread
from rnnfast.torch.naming import named

__all__ = ["differentiate_backward", "differentiate_forward", "save_backward", "save_forward"]


def save_forward(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what `differentiate_forward` reads."""
    x, state, weights, lengths, reset, seed, ctx.layer = inputs
    ctx.save_for_backward(x, *state, *weights, lengths, reset, seed)
    ctx.count = len(state)
    ctx.set_materialize_grads(False)


def differentiate_forward(
    ctx: Any, gradients: Sequence[torch.Tensor | None], needs: Sequence[Any], backward: Callable[..., Any]
) -> tuple[Any, ...]:
    """The gradients of the arguments; `needs` says of x, the state and the weights which are wanted."""
    *inputs, lengths, reset, seed = ctx.saved_tensors
    x, state, weights = inputs[0], inputs[1 : 1 + ctx.count], inputs[1 + ctx.count :]
    given, wanted = present(gradients), [needs[0], *needs[1], *needs[2]]
    some = [gradient for gradient in gradients if gradient is not None]
    found = backward(some, x, state, weights, lengths, reset, seed, ctx.layer, given, wanted)
    dx, *others = spread(found, wanted)
    return dx, others[: ctx.count], others[ctx.count :], None, None, None, None


def save_backward(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what `differentiate_backward` reads."""
    gradients, x, state, weights, lengths, reset, seed, ctx.layer, ctx.given, ctx.wanted = inputs
    ctx.count = len(state)
    ctx.save_for_backward(x, *state, *weights, *gradients, lengths, reset, seed)
    ctx.set_materialize_grads(False)


def differentiate_backward(ctx: Any, incoming: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    """The gradients of the arguments, by the formulas in torch's own operations."""
    *sources, lengths, reset, seed = ctx.saved_tensors
    name, after = named(ctx.layer), 1 + ctx.count
    inputs = len(sources) - sum(ctx.given)
    absent = [] if ctx.count else [False] * len(name.layer.parts)  # the parts of a state that is zero
    there, wanted = [True] * inputs, list(ctx.wanted)
    training = {} if seed is None else {"rng": seed}
    call = Call(name, {"lengths": lengths, "reset": reset}, training, step=name.step)
    made = Gradients(
        call,
        [*there[:after], *absent, *there[after:]],
        len(name.layer.parts),
        [*wanted[:after], *absent, *wanted[after:]],
        ctx.given,
    )
    dx, *found = made.pulled(sources, incoming)
    dstate, dweights, dgradients = found[: ctx.count], found[ctx.count : inputs - 1], found[inputs - 1 :]
    return dgradients, dx, dstate, dweights, *[None] * 6
