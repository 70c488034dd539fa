"""Checks of arguments while a function is traced: shapes and dtypes, and values where they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnfast import _core, checks

__all__ = [
    "Params",
    "checked_lengths",
    "checked_params",
    "checked_reset",
    "checked_shapes",
    "checked_state",
    "checked_x",
]


class Params(NamedTuple):
    """The parameters of a stack.

    Attributes
    ----------
    info : CellInfo
    options : tuple of (str, bool)
        The options that select this row of the table of cells.
    passes : list of dict of str to array
        The weights of each pass by their names in the table of cells, both directions of a layer in turn.
    directions : int
    dtype : numpy.dtype
    """

    info: _core.CellInfo
    options: tuple[tuple[str, bool], ...]
    passes: list[dict[str, jax.Array]]
    directions: int
    dtype: np.dtype


def _plain(name: str, value: Any, library: Any = jnp) -> Any:
    """`value` as an array of JAX, or of another library."""
    checks.refuse_masked(name, value)
    try:
        return library.asarray(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: expected an array, got {type(value).__name__} ({error})") from error


def _expect_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def _floats(name: str, value: Any, dtype: np.dtype, shape: tuple[int, ...] | None = None) -> jax.Array:
    """`value` as floats of this dtype; other floats are cast."""
    array = _plain(name, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"{name}: expected {dtype} (other floats are cast), got {array.dtype}")
    return (array if shape is None else _expect_shape(name, array, shape)).astype(dtype)


def checked_params(layer: str, params: Any, options: dict[str, bool]) -> Params:
    """The parameters of each pass of a layer with these options, their names and dtypes checked."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a dict of arrays by name, got {type(params).__name__}")
    if "weight_ih_l0" not in params:
        raise ValueError(f"params: expected 'weight_ih_l0' and its like, got {checks.shown(list(params))}")
    options = {**options, "layer_norm": "ln_ih_weight_l0" in params}
    info = _core.cell_info(layer, **options)
    directions = 2 if "weight_ih_l0_reverse" in params else 1
    left = dict(params)
    dtype = _plain("params['weight_ih_l0']", left["weight_ih_l0"]).dtype
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"params['weight_ih_l0']: expected float32 or float64, got {dtype}")
    passes: list[dict[str, jax.Array]] = []
    while f"weight_ih_l{len(passes) // directions}" in params:
        suffix = f"_l{len(passes) // directions}" + "_reverse" * (len(passes) % directions)
        passes.append(_weights(info, left, suffix, dtype))
    if left:
        raise ValueError(
            f"params: expected the weights of {layer} in {len(passes) // directions} layer(s) and "
            f"{directions} direction(s), got {checks.shown(next(iter(left)))} too"
        )
    return Params(info, tuple(sorted(options.items())), passes, directions, dtype)


def _weights(
    info: _core.CellInfo, left: dict[str, Any], suffix: str, dtype: np.dtype
) -> dict[str, jax.Array]:
    """The weights of one pass, in the order of the table of cells; takes them out of `left`."""
    weights = {}
    for weight in info.axes:
        name = weight + suffix
        if weight not in (*info.required, *info.optional) or name not in left:
            if weight in info.required:
                raise ValueError(f"params: expected {name!r} too, got {checks.shown(list(left))}")
            continue
        array = _plain(f"params[{name!r}]", left.pop(name))
        if array.dtype != dtype:
            raise TypeError(f"params[{name!r}]: expected {dtype} as weight_ih_l0 has, got {array.dtype}")
        weights[weight] = array
    vectors = [name for name in info.optional if name in info.vectors]
    given = [name in weights for name in vectors]
    if any(given) and not all(given):
        names = ", ".join(name + suffix for name in vectors)
        raise ValueError(f"params: expected {names}, all of them or none, got some of them")
    return weights


def checked_shapes(params: Params, I: int) -> tuple[int, int]:
    """H and P, after a look at the shapes of all parameters; I is x's."""
    info, first = params.info, params.passes[0]
    weight_hh = first["weight_hh"]
    G = len(info.gates)
    if weight_hh.ndim != 2 or weight_hh.shape[0] < G or weight_hh.shape[0] % G or not weight_hh.shape[1]:
        raise ValueError(
            f"params['weight_hh_l0']: expected shape [{G}*H, P], with H and P at least 1, "
            f"got {weight_hh.shape}"
        )
    H, P = weight_hh.shape[0] // G, weight_hh.shape[1]
    if "weight_hr" not in first:
        P = H
    for n, weights in enumerate(params.passes):
        inputs = I if n < params.directions else params.directions * P
        suffix = f"_l{n // params.directions}" + "_reverse" * (n % params.directions)
        if ("weight_hr" in weights) != ("weight_hr" in first):
            raise ValueError(
                "params: expected a weight_hr in every layer and direction or in none, got it in some of them"
            )
        for name, array in weights.items():
            _expect_shape(f"params[{name + suffix!r}]", array, info.weight_shape(name, inputs, H, P))
    return H, P


def checked_x(x: Any, batch_first: bool, dtype: np.dtype) -> tuple[jax.Array, bool]:
    """x with an axis for the batch, and whether it had one."""
    x = _floats("x", x, dtype)
    axes = "[B, T, I]" if batch_first else "[T, B, I]"
    if x.ndim not in (2, 3) or not x.shape[-1]:
        raise ValueError(f"x: expected shape {axes} or [T, I] with I at least 1, got {x.shape}")
    if x.ndim == 3:
        return x, True
    return jnp.expand_dims(x, 0 if batch_first else 1), False


def checked_state(
    state: Any, parts: str, widths: Sequence[int], leading: tuple[int, ...], dtype: np.dtype
) -> list[jax.Array] | None:
    """The parts of an initial state, each [*leading, width]; None is zero."""
    if state is None:
        return None
    names = ["state"]
    if len(parts) > 1:
        if not isinstance(state, (tuple, list)) or len(state) != len(parts):
            raise TypeError(f"state: expected {checks.tuple_of(parts)} or None, got {checks.shown(state)}")
        names = [f"state[{n}]" for n in range(len(parts))]
    else:
        state = [state]
    if all(part is None for part in state):
        return None
    return [
        jnp.zeros((*leading, width), dtype) if part is None else _floats(name, part, dtype, (*leading, width))
        for name, part, width in zip(names, state, widths, strict=True)
    ]


def checked_lengths(lengths: Any, shape: tuple[int, ...], T: int) -> jax.Array | None:
    """Lengths as int32 of this shape. Where their values are not known yet, the call checks them."""
    if lengths is None:
        return None
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(lengths))
    array = _plain(
        "lengths", lengths, np if known else jnp
    )  # JAX's int32 may not have room for a wrong length
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"lengths: expected an integer dtype, got {array.dtype}")
    _expect_shape("lengths", array, shape)
    if known:
        checks.checked_lengths(array.reshape(-1), T, array.size)
        return jnp.asarray(array.astype(np.int32))
    return _as_int32(array)


def _as_int32(array: jax.Array) -> jax.Array:
    """An array of integers as int32; those that it has no room for become its least or largest number."""
    room, own = np.iinfo(np.int32), np.iinfo(array.dtype)
    if own.max > room.max:
        array = array.clip(max(room.min, own.min), room.max)
    return array.astype(np.int32)


def checked_reset(reset: Any, shape: tuple[int, ...]) -> jax.Array | None:
    """Resets as bool of this shape."""
    if reset is None:
        return None
    array = _plain("reset", reset)
    if array.dtype != np.bool_:
        raise TypeError(f"reset: expected dtype bool, got {array.dtype}")
    return _expect_shape("reset", array, shape)
