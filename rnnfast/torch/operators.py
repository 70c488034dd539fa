"""The layers as operators of torch: what torch.compile, torch.export and torch.func see of a call.

``rnnfast::forward`` evaluates a layer; ``rnnfast::backward`` gives the gradients of what it reads. Both
depend on their arguments alone, so a graph may copy, move and save them. Nothing is kept between the two: the
backward operator runs the forward pass again. In eager mode, `autograd` runs the same calls and keeps a tape.

Both take x, the parts of the state (none of them: zero), the weights in the layer's order, and:

lengths, reset : Tensor or None
    The layer's keywords.
seed : Tensor or None
    One integer, of the dropout masks; None drops nothing.
layer : str
    What `naming.text_of` gives.

The backward operator also takes gradients of the results, those that are not zero; of which results they are
(`given`); and whether the gradient of x, of each part of the state and of each weight is wanted (`wanted`).
It returns those that are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import torch

from rnnfast.torch import batching, rules
from rnnfast.torch.call import Call
from rnnfast.torch.derivatives import spread
from rnnfast.torch.memory import View
from rnnfast.torch.naming import Named, named, text_of

__all__ = ["arguments_of", "backward", "forward"]

_INPUTS = (
    "Tensor x, Tensor[] state, Tensor[] weights, Tensor? lengths, Tensor? reset, Tensor? seed, str layer"
)


@torch.library.custom_op("rnnfast::forward", mutates_args=(), schema=f"({_INPUTS}) -> Tensor[]")
def forward(x: Any, state: Any, weights: Any, lengths: Any, reset: Any, seed: Any, layer: str) -> Any:
    """y (but for a cell) and the parts of the final state."""
    name = named(layer)
    call = _call(name, weights, lengths, reset, seed)
    return list(call.evaluate(x, _parts(name, state)))


@torch.library.custom_op(
    "rnnfast::backward",
    mutates_args=(),
    schema=f"(Tensor[] gradients, {_INPUTS}, bool[] given, bool[] wanted) -> Tensor[]",
)
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
) -> Any:
    """The gradients that are wanted."""
    name = named(layer)
    call = _call(name, weights, lengths, reset, seed)
    parts = _parts(name, state)
    _, tape = call.record(x, parts)
    full = [wanted[0], *(wanted[1 : 1 + len(state)] or [False] * len(parts)), *wanted[1 + len(state) :]]
    found = call.play(tape, spread(gradients, given), full)
    return [gradient for gradient in found if gradient is not None]


@forward.register_fake
def _(x: Any, state: Any, weights: Any, lengths: Any, reset: Any, seed: Any, layer: str) -> Any:
    name = named(layer)
    form = name.layer.state_form
    if name.step:
        return [x.new_empty(*x.shape[:-1], width) for width in form.widths]
    batch = [x.shape[0 if name.layer.batch_first else 1]] if x.dim() == 3 else []
    columns = form.widths[0] * (2 if name.layer.bidirectional else 1)
    y = x.new_empty(*x.shape[:-1], columns)
    return [y, *[x.new_empty(form.passes, *batch, width) for width in form.widths]]


@backward.register_fake
def _(
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
) -> Any:
    return [tensor.new_empty(tensor.shape) for tensor in compress((x, *state, *weights), wanted)]


def _differentiate_forward(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    return rules.differentiate_forward(ctx, gradients, ctx.needs_input_grad, backward)


forward.register_autograd(_differentiate_forward, setup_context=rules.save_forward)
backward.register_autograd(rules.differentiate_backward, setup_context=rules.save_backward)
forward.register_vmap(partial(batching.forward, forward))
backward.register_vmap(partial(batching.backward, backward))


def _call(name: Named, weights: Sequence[torch.Tensor], lengths: Any, reset: Any, seed: Any) -> Call:
    """The call of the layer that a text names, over these weights."""
    keywords = {}
    if lengths is not None:
        keywords["lengths"] = lengths.numpy() if lengths.dim() else int(lengths)
    if reset is not None:
        keywords["reset"] = reset.numpy()[np.newaxis] if name.step else reset.numpy()
    training: dict[str, Any] = {} if seed is None else {"rng": int(seed)}
    if name.checkpoint is not None:
        training["checkpoint"] = name.checkpoint
    view = View(name.layer, weights, {}, name.precision)
    return Call(view, keywords, training, step=name.step)


def _parts(name: Named, state: Sequence[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    return state or [None] * len(name.layer.parts)


def arguments_of(
    call: Call,
    x: torch.Tensor,
    parts: Sequence[torch.Tensor | None],
    weights: Sequence[torch.Tensor],
) -> tuple[Any, ...]:
    """The arguments of `forward` for a call, which is of no packed sequences."""
    view = call.view
    assert isinstance(view, View)
    layer, rng = view.layer, call.training.get("rng")
    lengths, reset = call.keywords.get("lengths"), call.keywords.get("reset")
    if reset is not None:
        reset = torch.as_tensor(reset[0] if call.step else reset)
    options = view.options | {"matmul_precision": view.precision}
    if not call.step:
        options |= {"batch_first": layer.batch_first, "dropout": layer.dropout}
        options |= {"checkpoint": call.training.get("checkpoint")}
    return (
        x,
        [part for part in parts if part is not None],
        weights,
        None if lengths is None else torch.as_tensor(lengths),
        reset,
        None if rng is None else torch.tensor(rng),
        text_of(type(layer).__name__ + ("Cell" if call.step else ""), options),
    )
