"""The layers as operators of torch: what torch.compile, torch.export and torch.func see of a call.

``rnnfast::forward`` evaluates a layer; ``rnnfast::backward`` gives the gradients of what it reads, after a
forward pass of its own. In a graph that is compiled for training, ``rnnfast::record`` and ``rnnfast::play``
take their places: `record` also gives the key of a tape (`tapes`), `play` takes the key and the first result.
The results of all four depend on the other arguments alone, so a graph may copy, move and save tensors as it
likes. In eager mode, `autograd` runs the same calls.

All take `Inputs`. `backward` and `play` also take gradients of the results, those that are not zero. `given`
says of each result whether its gradient is among them. `wanted` says whether the gradient of x, of each part
of the state and of each weight is wanted. They return the wanted ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np
import torch

from rnnfast.checks import checked_reset
from rnnfast.torch import batching, rules, tapes
from rnnfast.torch.call import Call
from rnnfast.torch.derivatives import spread
from rnnfast.torch.inputs import Inputs
from rnnfast.torch.memory import View
from rnnfast.torch.naming import Named, named, text_of
from rnnfast.torch.weights import check_weights

__all__ = ["arguments_of", "backward", "forward", "record"]

_INPUTS = (
    "Tensor x, Tensor[] state, Tensor[] weights, Tensor? lengths, Tensor? reset, Tensor? seed, str layer"
)
_GRADIENTS = f"Tensor[] gradients, {_INPUTS}, bool[] given, bool[] wanted"


def _forward(*arguments: Any) -> list[torch.Tensor]:
    """y (but for a cell) and the parts of the final state, of `Inputs`."""
    inputs = Inputs(*arguments)
    call, parts = _call(inputs)
    return list(call.evaluate(inputs.x, parts))


def _backward(gradients: Sequence[torch.Tensor], *arguments: Any) -> list[torch.Tensor]:
    """The gradients that are wanted, of `Inputs`, `given` and `wanted`."""
    *some, given, wanted = arguments
    inputs = Inputs(*some)
    call, parts = _call(inputs)
    _, tape = call.record(inputs.x, parts)
    return _played(call, tape, gradients, len(inputs.state), given, wanted)


def _record(*arguments: Any) -> list[torch.Tensor]:
    """What `_forward` gives, and the key of a tape."""
    inputs = Inputs(*arguments)
    call, parts = _call(inputs)
    results, tape = call.record(inputs.x, parts)
    return [*results, tapes.keep(call, tape, inputs.x, results[0])]


def _play(
    key: torch.Tensor, first: torch.Tensor, gradients: Sequence[torch.Tensor], *arguments: Any
) -> list[torch.Tensor]:
    """What `_backward` gives, from the tape of the key if that is there."""
    *some, given, wanted = arguments
    inputs, retain = Inputs(*some), tapes.retained()
    kept = tapes.take(key, inputs.x, first, inputs.weights, retain)
    if kept is None:
        return _backward(gradients, *arguments)
    return _played(*kept, gradients, len(inputs.state), given, wanted, retain)


def _played(
    call: Call,
    tape: Any,
    gradients: Any,
    count: int,
    given: Sequence[bool],
    wanted: Sequence[bool],
    retain: bool = False,
) -> list[torch.Tensor]:
    """The wanted gradients of a call with `count` parts of a state."""
    of_state = wanted[1 : 1 + count] or [False] * len(call.view.layer.parts)
    full = [wanted[0], *of_state, *wanted[1 + count :]]
    found = call.play(tape, spread(gradients, given), full, retain=retain)
    return [gradient for gradient in found if gradient is not None]


def _operator(name: str, arguments: str, function: Callable[..., Any]) -> Any:
    return torch.library.custom_op(
        f"rnnfast::{name}", function, mutates_args=(), schema=f"({arguments}) -> Tensor[]"
    )


forward = _operator("forward", _INPUTS, _forward)
backward = _operator("backward", _GRADIENTS, _backward)
record = _operator("record", _INPUTS, _record)
play = _operator("play", f"Tensor key, Tensor first, {_GRADIENTS}", _play)


# ---- what a graph is traced with ---------------------------------------------------------------------------


@forward.register_fake
def _fake_forward(*arguments: Any) -> list[torch.Tensor]:
    inputs = Inputs(*arguments)
    x, name = inputs.x, named(inputs.layer)
    form = name.layer.state_form
    if name.step:
        return [x.new_empty(*x.shape[:-1], width) for width in form.widths]
    batch = [x.shape[0 if name.layer.batch_first else 1]] if x.dim() == 3 else []
    columns = form.widths[0] * (2 if name.layer.bidirectional else 1)
    y = x.new_empty(*x.shape[:-1], columns)
    return [y, *[x.new_empty(form.passes, *batch, width) for width in form.widths]]


@record.register_fake
def _(*arguments: Any) -> list[torch.Tensor]:
    return [*_fake_forward(*arguments), Inputs(*arguments).x.new_empty(1, dtype=torch.uint8)]


@backward.register_fake
def _fake_backward(gradients: Any, *arguments: Any) -> list[torch.Tensor]:
    *some, _, wanted = arguments
    inputs = Inputs(*some)
    tensors = inputs.x, *inputs.state, *inputs.weights
    return [tensor.new_empty(tensor.shape) for tensor in compress(tensors, wanted)]


@play.register_fake
def _(key: torch.Tensor, first: torch.Tensor, *further: Any) -> list[torch.Tensor]:
    return _fake_backward(*further)


# ---- derivatives and vmap ----------------------------------------------------------------------------------


def _differentiate_forward(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    return rules.differentiate_forward(ctx, gradients, ctx.needs_input_grad, backward)


def _differentiate_record(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    return rules.differentiate_record(ctx, gradients, ctx.needs_input_grad, play)


forward.register_autograd(_differentiate_forward, setup_context=rules.save_forward)
backward.register_autograd(rules.differentiate_backward, setup_context=rules.save_backward)
record.register_autograd(_differentiate_record, setup_context=rules.save_record)
play.register_autograd(rules.differentiate_play, setup_context=rules.save_play)
forward.register_vmap(partial(batching.forward, forward))
backward.register_vmap(partial(batching.backward, backward))


# ---- arguments ---------------------------------------------------------------------------------------------


def _call(inputs: Inputs) -> tuple[Call, Sequence[torch.Tensor | None]]:
    """The call of the layer over the weights, and the parts of the state, None for zero."""
    x, state, weights, lengths, reset, seed, layer = inputs
    name = named(layer)
    _check_tensors(name, x, state, weights)
    keywords = {}
    if lengths is not None:
        keywords["lengths"] = lengths.numpy()
    reset = checked_reset(reset, tuple(x.shape[:-1]))
    if reset is not None:
        keywords["reset"] = reset[np.newaxis] if name.step else reset
    training: dict[str, Any] = {} if seed is None else {"rng": int(seed)}
    if name.checkpoint is not None:
        training["checkpoint"] = name.checkpoint
    call = Call(View(name.layer, weights, {}, name.precision), keywords, training, step=name.step)
    return call, state or [None] * len(name.layer.parts)


def _check_tensors(
    name: Named, x: torch.Tensor, state: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> None:
    """A ValueError for weights that do not fit the layer, and for tensors that are no floats of one dtype."""
    suffix = "_l0" if name.step else ""
    names = [weight.removesuffix(suffix) for weight, _ in name.layer.named_parameters()]
    check_weights(name.layer, type(name.layer).__name__, names, weights, name.precision)
    dtype = weights[0].dtype
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{names[0]}: expected torch.float32 or torch.float64, got {dtype}")
    for what, tensor in (("x", x), *[("state", part) for part in state]):
        if tensor.dtype is not dtype:
            raise ValueError(f"{what}: expected {dtype}, which the weights have, got {tensor.dtype}")


def arguments_of(
    call: Call,
    x: torch.Tensor,
    parts: Sequence[torch.Tensor | None],
    weights: Sequence[torch.Tensor],
) -> Inputs:
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
    return Inputs(
        x,
        [part for part in parts if part is not None],
        weights,
        None if lengths is None else torch.as_tensor(lengths),
        reset,
        None if rng is None else torch.tensor(rng),
        text_of(type(layer).__name__ + ("Cell" if call.step else ""), options),
    )
