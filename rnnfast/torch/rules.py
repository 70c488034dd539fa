"""How the operators are differentiated: what they save, and the gradients of their arguments.

The arguments are those that `operators` describes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from rnnfast.torch.call import Call
from rnnfast.torch.derivatives import Gradients, present, spread
from rnnfast.torch.naming import named

__all__ = [
    "differentiate_backward",
    "differentiate_forward",
    "differentiate_play",
    "differentiate_record",
    "save_backward",
    "save_forward",
    "save_play",
    "save_record",
]


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
    return _differentiate(ctx, ctx.saved_tensors, gradients, needs, backward)


def save_record(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what `differentiate_record` reads."""
    x, state, weights, lengths, reset, seed, ctx.layer = inputs
    ctx.save_for_backward(output[-1], output[0], x, *state, *weights, lengths, reset, seed)
    ctx.count = len(state)
    ctx.set_materialize_grads(False)


def differentiate_record(
    ctx: Any, gradients: Sequence[torch.Tensor | None], needs: Sequence[Any], play: Callable[..., Any]
) -> tuple[Any, ...]:
    """As `differentiate_forward`."""
    key, first, *saved = ctx.saved_tensors
    return _differentiate(ctx, saved, gradients[:-1], needs, partial(play, key, first))


def _differentiate(
    ctx: Any,
    saved: Sequence[Any],
    gradients: Sequence[torch.Tensor | None],
    needs: Sequence[Any],
    backward: Callable[..., Any],
) -> tuple[Any, ...]:
    *inputs, lengths, reset, seed = saved
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


def save_play(ctx: Any, inputs: Any, output: Any) -> None:
    """Save what `differentiate_play` reads."""
    save_backward(ctx, inputs[2:], output)


def differentiate_play(ctx: Any, incoming: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    """As `differentiate_backward`."""
    return None, None, *differentiate_backward(ctx, incoming)


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
