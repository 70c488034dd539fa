"""A call of an rnnfast layer as one node of torch's graph, with a tape: what eager mode runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from rnnfast.torch.call import Call
from rnnfast.torch.derivatives import differentiable, present, spread
from rnnfast.torch.fallback import untraced
from rnnfast.torch.memory import Places
from rnnfast.torch.operators import arguments_of
from rnnfast.torch.tapes import retained
from rnnfast.torch.transforms import backward
from rnnfast.torch.vectorized import batched_backward
from rnnfast.torch.vectorized import is_batched as is_old_batched

__all__ = ["Pass", "run", "wants_gradient"]

# Whether a tensor is several in torch.func.vmap's eyes.
_is_batched = torch._C._functorch.is_batchedtensor


def wants_gradient(tensors: Iterable[torch.Tensor | None]) -> bool:
    """Whether autograd is to record a call of these tensors."""
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return True
    return False


def run(
    call: Call, x: torch.Tensor, parts: Sequence[torch.Tensor | None], weights: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Call the layer, as a node of the graph where a gradient is wanted.

    Parameters
    ----------
    call : Call
        Its view shows `weights`.
    x : torch.Tensor
        Plain floats of the weights' dtype, on the CPU, as are the others.
    parts : sequence of torch.Tensor or None
        The parts of the initial state; None is zero.
    weights : sequence of torch.Tensor
        The layer's parameters, in its order.

    Returns
    -------
    tuple of torch.Tensor
        y (but for a cell) and the parts of the final state.
    """
    if wants_gradient((x, *parts, *weights)):
        return Pass.apply(call, len(parts), x, *parts, *weights)
    return call.evaluate(x, parts)


class Pass(torch.autograd.Function):
    """One call of a layer: forward leaves a tape, backward plays it.

    The tape refers to x, y and the weights by their memory. torch saves the tensors beside it, and refuses a
    backward pass where one of them was written into since, or a second one where the graph was not retained.
    """

    @staticmethod
    def forward(
        ctx: Any, call: Call, count: int, x: torch.Tensor, *further: torch.Tensor | None
    ) -> tuple[torch.Tensor, ...]:
        """`further` are the parts of the initial state, `count` of them, and the weights."""
        results, ctx.tape = call.record(x, further[:count])
        shared = (x,) if call.step or call.places is not None else (x, results[0])  # else y is a copy
        ctx.call, ctx.count, ctx.places = call, count, Places(*shared)
        ctx.save_for_backward(*further, *shared)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """The gradients of `forward`'s arguments, None for those that want none."""
        saved = ctx.saved_tensors  # torch refuses here what is not valid any more
        for gradient in gradients:
            if gradient is not None and (_is_batched(gradient) or is_old_batched(gradient)):
                return None, None, *_of_batch(ctx, _inputs(ctx, saved), gradients)
        results = _played(ctx, gradients)
        if torch.is_grad_enabled():
            results = differentiable(results, ctx.call, _inputs(ctx, saved), ctx.count, gradients)
        return None, None, *results


def _inputs(ctx: Any, saved: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor | None]:
    """x, the parts of the initial state and the weights, of what a `Pass` saved."""
    further = len(ctx.needs_input_grad) - 3
    return saved[further], *saved[:further]


def _of_batch(
    ctx: Any, inputs: Sequence[torch.Tensor | None], gradients: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """The gradients of inputs for a batch of gradients of results, by the operator's rule for batches."""
    call, needed = ctx.call, ctx.needs_input_grad[2:]
    if call.places is not None:
        raise RuntimeError(
            "rnnfast.torch: expected one gradient for each output of packed sequences, got a batch of them "
            "(is_grads_batched, jacobian's vectorize, vmap); give padded sequences with lengths=, or take "
            "torch.nn's module (rnnfast.torch.restore)"
        )
    x, parts, weights = inputs[0], inputs[1 : 1 + ctx.count], inputs[1 + ctx.count :]
    wanted = [want for want, tensor in zip(needed, inputs, strict=True) if tensor is not None]
    some = [gradient for gradient in gradients if gradient is not None]
    arguments = some, *arguments_of(call, x, parts, weights), present(gradients), wanted
    if any(map(is_old_batched, some)):
        return spread(batched_backward(backward, *arguments), needed)
    return spread(backward(*arguments), needed)


def _played(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The gradients of x, the parts of the state and the weights of a `Pass`, None for those not wanted."""
    if not (ctx.places.hold() and ctx.call.view.places.hold()):
        raise RuntimeError(
            "rnnfast.torch: expected x, y and the weights where forward had them, got one that was moved "
            "in memory since (by a resize, share_memory_, or a queue between processes)"
        )
    retain = retained()
    results = ctx.call.play(ctx.tape, gradients, ctx.needs_input_grad[2:], retain=retain)
    if not retain:
        ctx.places = None  # lets go of x and y
    return results
