"""Modules under test: layers of float64, states for them, all that their passes give, all their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers.arrays import named_parts, normal_like
from helpers.cases import LAYERS, starting

import rnnfast as rf


def double_layer(cell: str, I: int, H: int, **options: Any) -> Any:
    """A layer of float64 with a fixed seed, to be compared with finite differences or the reference."""
    return LAYERS[cell](I, H, rng=7, dtype="float64", **options)


def state_for(layer: Any, batch: int | None, seed: int = 2) -> Any:
    """A random state in the form and dtype that the layer takes; `batch` None: of an unbatched sequence."""
    shape = (0, layer.input_size) if batch is None else (0, batch, layer.input_size)
    if batch is not None and layer.batch_first:
        shape = (batch, 0, layer.input_size)
    _, zero = layer(np.zeros(shape, layer.dtype))
    state = normal_like(zero, seed)
    several = len(getattr(layer, "parts", ())) > 1
    return tuple(starting(n, part) for n, part in enumerate(state)) if several else state


def forward_backward(
    layer: Any, x: np.ndarray, state: Any = None, dy: Any = None, dstate: Any = None, **keywords: Any
) -> dict[str, Any]:
    """All arrays of one forward and one backward pass: y, h, c, dx, dh, dc, and each weight's gradient."""
    y, final, tape = layer.forward(x, state, **keywords)
    grads: dict[str, np.ndarray] = {}
    dx, dinitial = layer.backward(tape, dy, dstate, grads=grads)
    return {"y": y, "dx": dx, **grads, **named_parts("", final), **named_parts("d", dinitial)}


def weights_of(model: rf.Module) -> np.ndarray:
    """All parameters in one flat array, to be compared."""
    return np.concatenate([parameter.data.ravel() for parameter in model.parameters()])
