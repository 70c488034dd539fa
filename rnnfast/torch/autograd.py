"""A call of an rnnfast layer as one node of torch's graph, whatever form its sequences come in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from rnnfast.torch.fallback import untraced
from rnnfast.torch.memory import Places, View, array_of

__all__ = ["Call", "Pass", "run", "wants_gradient"]

# Whether a tensor is several in torch.func.vmap's eyes, or in those of what was before it.
_is_batched = torch._C._functorch.is_batchedtensor
_is_old_batched = torch._C._functorch.is_legacy_batchedtensor
# Whether the graph stays after the backward pass that runs now; where torch does not say, it may.
_retained = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


class Call(NamedTuple):
    """How a layer is called: all but the tensors.

    Attributes
    ----------
    view : View
        The layer, over the weights of this call.
    keywords : dict
        The layer's keywords lengths and reset.
    training : dict
        Further keywords of its forward, rng and checkpoint; without an rng nothing is dropped.
    places : ndarray [T, B] of bool or None
        Of packed sequences, whose data x is: the steps of the padded ones that x's rows are, in their order.
    batch_first : bool
        Whether the layer takes sequences so.
    step : bool
        x and the state are a cell's: they have no axes of time and of layers.
    """

    view: View
    keywords: dict[str, Any]
    training: dict[str, Any]
    places: np.ndarray | None = None
    batch_first: bool = False
    step: bool = False

    def enter(self, x: torch.Tensor) -> np.ndarray:
        """x, or the gradient of a y, as the layer takes it."""
        array = array_of(x)
        if self.step:
            return array[np.newaxis]
        if self.places is None:
            return array
        padded = np.empty((*self.places.shape, array.shape[-1]), array.dtype)  # nobody reads the padding
        padded[self.places] = array
        return padded.swapaxes(0, 1) if self.batch_first else padded

    def leave(self, array: np.ndarray) -> torch.Tensor:
        """A y, or the gradient of an x, in the caller's form."""
        if self.step:
            array = array[0]
        elif self.places is not None:
            array = (array.swapaxes(0, 1) if self.batch_first else array)[self.places]
        return torch.from_numpy(array)

    def enter_state(self, parts: Sequence[torch.Tensor | None]) -> Any:
        """A state, or its gradient, as the layer takes it."""
        arrays = [None if part is None else array_of(part) for part in parts]
        if self.step:
            arrays = [None if array is None else array[np.newaxis] for array in arrays]
        return tuple(arrays) if len(arrays) > 1 else arrays[0]

    def leave_state(self, state: Any) -> list[torch.Tensor]:
        """The parts of a state, or of its gradient, in the caller's form."""
        parts = state if isinstance(state, tuple) else (state,)
        return [torch.from_numpy(part[0] if self.step else part) for part in parts]

    def results(self, y: np.ndarray, state: Any) -> tuple[torch.Tensor, ...]:
        """What the layer gave: y, but for a cell, whose y is its h, and the parts of the final state."""
        parts = self.leave_state(state)
        return tuple(parts) if self.step else (self.leave(y), *parts)


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
    layer = call.view.layer
    if "rng" in call.training:
        y, state, _ = layer.record(call.enter(x), call.enter_state(parts), **call.keywords, **call.training)
    else:
        y, state = layer(call.enter(x), call.enter_state(parts), **call.keywords)
    return call.results(y, state)


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
        y, state, ctx.tape = call.view.layer.record(
            call.enter(x),
            call.enter_state(further[:count]),
            **call.keywords,
            training="rng" in call.training,
            **call.training,
        )
        results = call.results(y, state)
        shared = (x,) if call.step or call.places is not None else (x, results[0])  # else y is a copy
        ctx.call, ctx.places = call, Places(*shared)
        ctx.save_for_backward(*shared, *further)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """The gradients of `forward`'s arguments, None for those that want none."""
        saved = ctx.saved_tensors  # torch refuses here what is not valid any more
        for gradient in gradients:
            if gradient is not None and (_is_batched(gradient) or _is_old_batched(gradient)):
                raise RuntimeError(
                    "rnnfast.torch: expected one gradient for each output, got a batch of them "
                    "(is_grads_batched, jacobian's vectorize, vmap); torch.nn's module takes it "
                    "(rnnfast.torch.restore)"
                )
        with torch.no_grad():
            results = _played(ctx, gradients)
        if torch.is_grad_enabled():
            results = _undifferentiable(results, (*saved, *gradients))
        return None, None, *results


def _undifferentiable(
    results: Sequence[torch.Tensor | None], sources: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """Gradients that refuse to be differentiated by what they were made of.

    torch's `once_differentiable` refuses only where the gradients that come in want one of their own, and on
    no path to the inputs. Elsewhere a second derivative would count as zero.
    """
    present = [result for result in results if result is not None]
    sources = [source for source in sources if source is not None and source.requires_grad]
    message = (
        "rnnfast.torch: expected first derivatives only, got a derivative of a gradient through this module; "
        "torch.nn's module has them (rnnfast.torch.restore)"
    )
    refuse = torch._C._functions.DelayedError(message, len(present) + len(sources))
    refusing = iter(refuse(*present, *sources))
    return [None if result is None else next(refusing) for result in results]


def _played(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The gradients of x, the parts of the state and the weights of a `Pass`, None for those not wanted."""
    call, needed = ctx.call, ctx.needs_input_grad[2:]
    if not (ctx.places.hold() and call.view.places.hold()):
        raise RuntimeError(
            "rnnfast.torch: expected x, y and the weights where forward had them, got one that was moved "
            "in memory since (by a resize, share_memory_, or a queue between processes)"
        )
    dy, dstate = (None, gradients) if call.step else (gradients[0], gradients[1:])
    grads: dict[str, np.ndarray] = {}
    retain = _retained()
    dx, dinitial = call.view.layer.backward(
        ctx.tape,
        None if dy is None else call.enter(dy),
        call.enter_state(dstate),
        input_grad=needed[0],
        retain=retain,
        grads=grads,
    )
    if not retain:
        ctx.places = None  # lets go of x and y
    results = [None if dx is None else call.leave(dx), *call.leave_state(dinitial)]
    results += [torch.from_numpy(gradient) for gradient in grads.values()]
    return [result if wanted else None for result, wanted in zip(results, needed, strict=True)]
