"""torch.func.vmap of an operator: the new axis joins the batch, or the operator runs once for each index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import torch

from rnnfast.torch.inputs import Inputs
from rnnfast.torch.naming import named

__all__ = ["backward", "forward"]

Axes = Sequence["int | None"]


def forward(operator: Callable[..., Any], info: Any, in_dims: Any, *arguments: Any) -> Any:
    """The results of the forward operator for each index of the new axis, and where they have that axis."""
    inputs, axes = Inputs(*arguments), Inputs(*in_dims[:7])
    if _any(axes.weights) or inputs.seed is not None:
        return _one_by_one(operator, info.batch_size, inputs, axes)
    join = _Joined(info.batch_size, inputs.layer, inputs.x, axes.x)
    results = operator(*_joined_inputs(join, inputs, axes))
    places = [join.state] * len(results) if join.step else [join.x, *[join.state] * (len(results) - 1)]
    return [join.out(result, axis) for result, axis in zip(results, places, strict=True)], places


def backward(
    operator: Callable[..., Any], info: Any, in_dims: Any, gradients: Sequence[Any], *arguments: Any
) -> Any:
    """The same of the backward operator; the weights have one gradient for each index."""
    *some, given, wanted = arguments
    inputs, axes = Inputs(*some), Inputs(*in_dims[1:8])
    if _any(axes.weights) or inputs.seed is not None or any(wanted[1 + len(inputs.state) :]):
        flags = [None] * len(given), [None] * len(wanted)
        return _one_by_one(operator, info.batch_size, (gradients, *arguments), (*in_dims[:8], *flags))
    join = _Joined(info.batch_size, inputs.layer, inputs.x, axes.x)
    results = [join.state] * len(given) if join.step else [join.x, *[join.state] * (len(given) - 1)]
    joined = [
        join.into(gradient, dim, axis)
        for gradient, dim, axis in zip(
            gradients, _each(in_dims[0], gradients), compress(results, given), strict=True
        )
    ]
    found = operator(joined, *_joined_inputs(join, inputs, axes), given, wanted)
    places = ([join.x] if wanted[0] else []) + [join.state] * sum(wanted[1:])
    return [join.out(result, axis) for result, axis in zip(found, places, strict=True)], places


class _Joined:
    """Where the new axis of size `count` joins the batch of a call; it is axis `dim` of x, if x has it."""

    def __init__(self, count: int, layer: str, x: torch.Tensor, dim: int | None) -> None:
        name = named(layer)
        self.count, self.step = count, name.step
        self.x = 0 if name.step or name.layer.batch_first else 1
        self.state = 0 if name.step else 1
        shape = list(x.shape)
        if dim is not None:
            del shape[dim]
        self.batch = shape[self.x] if len(shape) == (2 if name.step else 3) else None

    def into(self, tensor: torch.Tensor, dim: int | None, axis: int) -> torch.Tensor:
        """A tensor whose new axis is `dim` (None: it has none), with the new axis in the batch's."""
        if dim is None:
            tensor = tensor.unsqueeze(axis)
            tensor = tensor.expand(*[self.count if n == axis else -1 for n in range(tensor.dim())])
        else:
            tensor = tensor.movedim(dim, axis)
        return tensor if self.batch is None else tensor.flatten(axis, axis + 1)

    def out(self, tensor: torch.Tensor, axis: int) -> torch.Tensor:
        """The same tensor with an axis of its own again, before the batch's."""
        return tensor if self.batch is None else tensor.unflatten(axis, (self.count, self.batch))


def _joined_inputs(join: _Joined, inputs: Inputs, axes: Inputs) -> Inputs:
    x = join.into(inputs.x, axes.x, join.x)
    places = _each(axes.state, inputs.state)
    state = [join.into(part, dim, join.state) for part, dim in zip(inputs.state, places, strict=True)]
    lengths, reset = inputs.lengths, inputs.reset
    if lengths is not None:
        lengths = join.into(lengths, axes.lengths, 0)
    if reset is not None:
        reset = join.into(reset, axes.reset, join.x)
    return inputs._replace(x=x, state=state, lengths=lengths, reset=reset)


def _one_by_one(operator: Any, count: int, inputs: Any, axes: Any) -> Any:
    """The operator, once for each index of the new axis; without any, once for the shapes of its results."""
    each = [
        operator(*[_at(argument, dims, n) for argument, dims in zip(inputs, axes, strict=True)])
        for n in range(max(count, 1))
    ]
    results = [torch.stack(parts)[:count] for parts in zip(*each, strict=True)]
    return results, [0] * len(results)


def _at(argument: Any, dims: Any, n: int) -> Any:
    """Entry n of an argument's new axis, if it has one; zeros, where that axis has no entries."""
    if isinstance(argument, (list, tuple)):
        return [_at(part, dim, n) for part, dim in zip(argument, _each(dims, argument), strict=True)]
    if dims is None:
        return argument
    return argument.select(dims, n) if argument.shape[dims] else argument.sum(dims, dtype=argument.dtype)


def _each(dims: Any, arguments: Sequence[Any]) -> Axes:
    """The new axes of a list of tensors."""
    return dims if isinstance(dims, (list, tuple)) else [dims] * len(arguments)


def _any(dims: Any) -> bool:
    return any(dim is not None for dim in dims) if isinstance(dims, (list, tuple)) else dims is not None
