"""The kernels in Keras's torch backend: each call is a node of torch's graph, as in `rnnfast.torch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from keras.ops import convert_to_tensor

import rnnfast
from rnnfast.keras.fallback import Obstacle
from rnnfast.recurrent import Recurrent
from rnnfast.torch.autograd import run as run_call
from rnnfast.torch.call import Call
from rnnfast.torch.fallback import in_transform, untraced
from rnnfast.torch.fallback import obstacle as obstacle_of_tensors
from rnnfast.torch.memory import Borrowed, View

__all__ = ["REPEATS_INITIAL_STATE", "choose", "obstacle", "run", "where"]

REPEATS_INITIAL_STATE = False  # what masked steps give before the first kept one: zeros
where = torch.where  # that of keras.ops makes float32 of float64

_KINDS = {"rnn": rnnfast.RNN, "lstm": rnnfast.LSTM, "gru": rnnfast.GRU}
_HALVES = (torch.bfloat16, torch.float16)  # cast before a call


def choose(condition: torch.Tensor, yes: Callable[..., Any], no: Callable[..., Any], *tensors: Any) -> Any:
    """The result of one of two functions of tensors."""
    return yes(*tensors) if condition else no(*tensors)


@untraced
def obstacle(tensors: Sequence[Any]) -> Obstacle | None:
    """What keeps the kernels from running on these tensors now; None if nothing does."""
    if any(isinstance(tensor, torch.Tensor) and tensor.is_meta for tensor in tensors):
        return Obstacle("")  # Keras asks for shapes
    if in_transform():
        return Obstacle("a transform of torch.func")
    found = obstacle_of_tensors([convert_to_tensor(tensor) for tensor in tensors], _HALVES)
    return None if found is None else Obstacle(found.reason)


@untraced
def run(
    cell: str,
    options: dict[str, Any],
    x: torch.Tensor,
    state: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    lengths: torch.Tensor | None,
    precision: str,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The outputs and the parts of the final state of one layer, in one direction.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    options : dict
        Keywords of the rnnfast layer.
    x : torch.Tensor [B, T, I]
    state : sequence of torch.Tensor [B, H]
        The parts of the initial state.
    weights : sequence of torch.Tensor
        weight_ih, weight_hh and, with biases, bias_ih and bias_hh.
    lengths : torch.Tensor [B] or None
        How many steps each sequence has.
    precision : str
        Of products.

    Returns
    -------
    y : torch.Tensor [B, T, H]
        Zero past the lengths.
    state : list of torch.Tensor [B, H]
    """
    H = len(weights[1].mT)
    layer = _layer(cell, x.shape[-1], H, len(weights) > 2, str(x.dtype)[6:], tuple(options.items()))
    view = View(layer, weights, options, precision)
    call = Call(view, {"lengths": lengths, "reset": None}, {})
    y, *final = run_call(call, x, [part[None] for part in state], weights)
    return y, [part[0] for part in final]


@lru_cache(maxsize=256)
def _layer(
    cell: str, I: int, H: int, bias: bool, dtype: str, options: tuple[tuple[str, Any], ...]
) -> Recurrent:
    """A layer of these sizes and options, to be a view's; its parameters have names only."""
    layer = _KINDS[cell](I, H, bias=bias, batch_first=True, dtype=dtype, **dict(options))
    bare = {name: Borrowed(np.empty(0, dtype)) for name, _ in layer.named_parameters()}
    layer.__setstate__(layer.__getstate__() | {"_parameters": bare})
    return layer
