"""The kernels in Keras's JAX backend: each call is one of `rnnfast.jax`, also in what Keras compiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

import rnnfast.jax
from rnnfast.keras.fallback import Obstacle

__all__ = ["REPEATS_INITIAL_STATE", "choose", "obstacle", "run", "where"]

REPEATS_INITIAL_STATE = True  # what masked steps give before the first kept one: the initial h
where = jax.numpy.where
choose = jax.lax.cond

_CALLS: dict[str, Any] = {"rnn": rnnfast.jax.rnn, "lstm": rnnfast.jax.lstm, "gru": rnnfast.jax.gru}


def obstacle(tensors: Sequence[Any]) -> Obstacle | None:
    """What keeps the kernels from running on these tensors now; None if nothing does."""
    device = jax.default_backend()
    return None if device == "cpu" else Obstacle(f"arrays on {device}", "choose the CPU (JAX_PLATFORMS=cpu)")


def run(
    cell: str,
    options: dict[str, Any],
    x: jax.Array,
    state: Sequence[jax.Array],
    weights: Sequence[jax.Array],
    lengths: jax.Array | None,
    precision: str,
) -> tuple[jax.Array, list[jax.Array]]:
    """As `on_torch.run`, of arrays of JAX."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    params = dict(zip(names, weights, strict=False))
    parts = tuple(part[None] for part in state)
    y, final = _CALLS[cell](
        x,
        params,
        parts if len(parts) > 1 else parts[0],
        lengths=lengths,
        batch_first=True,
        matmul_precision=precision,
        **options,
    )
    return y, [part[0] for part in (final if isinstance(final, tuple) else (final,))]
