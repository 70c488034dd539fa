"""A stack of layers: one pass after the other, each over the outputs of the layer below."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnfast import checks
from rnnfast.jax.arguments import (
    Params,
    checked_lengths,
    checked_params,
    checked_reset,
    checked_shapes,
    checked_state,
    checked_x,
)
from rnnfast.jax.calls import Pass
from rnnfast.jax.passes import run

__all__ = ["run_stack"]


def run_stack(
    layer: str,
    x: Any,
    params: Any,
    state: Any,
    *,
    lengths: Any,
    reset: Any,
    batch_first: bool,
    reverse: bool,
    matmul_precision: str,
    nonlinearity: str = "tanh",
    cell_clip: float | None = None,
    **options: bool,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """y and the parts of the final state of a layer of the table of cells, after all checks."""
    checks.flag("batch_first", batch_first)
    given = checked_params(layer, params, options)
    if checks.flag("reverse", reverse) and given.directions == 2:
        raise ValueError("reverse: expected False with parameters of both directions, got True")
    checks.precision("matmul_precision", matmul_precision, given.dtype)
    x, batched = checked_x(x, batch_first, given.dtype)
    H, P = checked_shapes(given, x.shape[2])
    T, B = x.shape[:2][::-1] if batch_first else x.shape[:2]
    batch = (B,) if batched else ()
    passes, widths = len(given.passes), given.info.widths(H, P)
    initial = checked_state(state, given.info.parts, widths, (passes, *batch), given.dtype)
    lengths = checked_lengths(lengths, batch, T)
    reset = checked_reset(reset, x.shape[:2] if batched else (T,))
    clip = checks.cell_clip(cell_clip)
    what = Pass(
        layer=layer,
        options=given.options,
        weights=(),
        state=initial is not None,
        lengths=lengths is not None,
        reset=reset is not None,
        nonlinearity=nonlinearity,
        cell_clip=math.inf if clip is None else clip,
        reverse=bool(reverse),
        precision=matmul_precision,
        batch_first=bool(batch_first),
    )
    states = [part.reshape(passes, B, part.shape[-1]) for part in initial or ()]
    masks = [] if lengths is None else [lengths.reshape(B)]
    masks += [] if reset is None else [reset.reshape(x.shape[:2])]
    y, finals = _run_passes(what, x, given, states, masks)
    if batched:
        return y, finals
    return y.reshape(T, y.shape[2]), tuple(part[:, 0] for part in finals)


def _run_passes(
    what: Pass, x: jax.Array, params: Params, states: list[jax.Array], masks: list[jax.Array]
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """y and the parts of the final state, from a description that holds for all passes."""
    D, finals, y = params.directions, [], x
    for first in range(0, len(params.passes), D):
        outputs = []
        for n in range(first, first + D):
            weights = params.passes[n]
            own = what._replace(weights=tuple(weights), reverse=what.reverse or n > first)
            h, *final = run(own, y, *weights.values(), *(part[n] for part in states), *masks)
            outputs.append(h)
            finals.append(final)
        y = outputs[0] if D == 1 else jnp.concatenate(outputs, axis=-1)
    return y, tuple(jnp.stack(part) for part in zip(*finals, strict=True))
