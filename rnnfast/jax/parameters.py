"""Initial parameters, as `rnnfast.jax`'s functions take them."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnfast import _core, checks

__all__ = ["init_params"]


def init_params(
    key: jax.Array,
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    proj_size: int = 0,
    *,
    dtype: Any = jnp.float32,
) -> dict[str, jax.Array]:
    """Draw initial parameters, uniform in ±1/sqrt(hidden_size) as PyTorch's.

    Parameters
    ----------
    key : jax.Array
        Of `jax.random.key`.
    cell : {"lstm", "gru", "rnn"}
        The function that they are for.
    input_size, hidden_size, num_layers, bias, bidirectional, proj_size
        As `rnnfast.LSTM`, `GRU` and `RNN` have them; proj_size is for the LSTM.
    dtype : {"float32", "float64"}
        float64 needs JAX's ``jax_enable_x64``.

    Returns
    -------
    dict of str to array
        ``weight_ih_l0``, ``weight_hh_l0``, and so on.

    Raises
    ------
    ValueError, TypeError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import jax, rnnfast.jax
    >>> params = rnnfast.jax.init_params(jax.random.key(0), "lstm", 3, 8, proj_size=2)
    >>> {name: array.shape for name, array in params.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'weight_ih_l0': (32, 3), 'weight_hh_l0': (32, 2), 'bias_ih_l0': (32,), 'bias_hh_l0': (32,),
     'weight_hr_l0': (2, 8)}
    """
    info = _core.cell_info(checks.one_of("cell", cell, ("rnn", "lstm", "gru")))
    I, H = checks.positive("input_size", input_size), checks.positive("hidden_size", hidden_size)
    P = checks.integer("proj_size", proj_size, 0) or H
    if proj_size and (cell != "lstm" or proj_size >= H):
        raise ValueError(
            f"proj_size: expected 0, or for 'lstm' a size below hidden_size = {H}, got {proj_size}"
        )
    names = ["weight_ih", "weight_hh"]
    names += ["bias_ih", "bias_hh"] * checks.flag("bias", bias) + ["weight_hr"] * (P < H)
    directions = 2 if checks.flag("bidirectional", bidirectional) else 1
    shapes = {}
    for level in range(checks.positive("num_layers", num_layers)):
        for suffix in ("", "_reverse")[:directions]:
            for name in names:
                shape = info.weight_shape(name, I if level == 0 else directions * P, H, P)
                shapes[f"{name}_l{level}{suffix}"] = shape
    arrays = _uniform(key, tuple(shapes.values()), checks.float_dtype(dtype), H**-0.5)
    return dict(zip(shapes, arrays, strict=True))


@partial(jax.jit, static_argnums=(1, 2, 3))  # drawn in one piece, which compiles sooner
def _uniform(
    key: jax.Array, shapes: tuple[tuple[int, ...], ...], dtype: np.dtype, bound: float
) -> list[jax.Array]:
    """Arrays of these shapes, uniform in ±bound."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    numbers = jax.random.uniform(key, (int(ends[-1]),), dtype, -bound, bound)
    pieces = jnp.split(numbers, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
