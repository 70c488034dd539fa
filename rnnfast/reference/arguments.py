"""Checks of arguments. Each error names the argument, what came and what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "checked_array",
    "checked_norm",
    "hidden_sizes",
    "linked_steps",
    "norm_of",
    "parts_of",
    "plain_array",
    "valid_steps",
    "zones_of",
]


def plain_array(name: str, value: Any) -> np.ndarray:
    """`value` as a plain array; ragged lists are refused, and masked arrays, whose mask would be dropped."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array, got a masked one, whose mask would be dropped")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got {type(value).__name__} ({error})") from error


def checked_array(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`array` in the given dtype, copied only to cast it; an error that names it where it does not fit."""
    array = plain_array(name, array)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {array.shape}")
    return np.asarray(array, dtype)


def parts_of(
    name: str, state: tuple[np.ndarray | None, ...] | None, parts: str
) -> tuple[np.ndarray | None, ...]:
    """The parts of a state of several, or of its gradient; None for each where the state is None."""
    if state is None:
        return (None,) * len(parts)
    if not isinstance(state, (tuple, list)) or len(state) != len(parts):
        kind = "pair" if len(parts) == 2 else "tuple"
        raise TypeError(f"{name}: expected a {kind} ({', '.join(parts)}), got {type(state).__name__}")
    return tuple(state)


def hidden_sizes(
    weight_hh: np.ndarray, blocks: int, columns: str, element_wise: bool
) -> tuple[int, int, int]:
    """H, P and the number of heads, from the shape of weight_hh.

    It is [blocks*H, columns], where `columns` is H, P or D, the units of a head; or [H] of an element-wise
    recurrence.
    """
    multiple = " with H a multiple of D" if columns == "D" else ""
    expected = "[H]" if element_wise else f"[{blocks}*H, {columns}]{multiple}"
    shape = weight_hh.shape
    if len(shape) != 2 - element_wise:
        raise ValueError(f"weight_hh: expected shape {expected}, got {shape}")
    H, width = shape[0] // blocks, shape[-1]
    fits = {"P": True, "H": width == H, "D": width > 0 and H % max(width, 1) == 0}[columns]
    if shape[0] != blocks * H or not fits:
        raise ValueError(f"weight_hh: expected shape {expected}, got {shape}")
    return (H, H, H // width) if columns == "D" else (H, width, 1)


def norm_of(
    ln_ih_weight: np.ndarray | None,
    ln_ih_bias: np.ndarray | None,
    ln_hh_weight: np.ndarray | None,
    ln_hh_bias: np.ndarray | None,
) -> dict[str, np.ndarray | None]:
    """The parameters of the layer normalization of both products, by name."""
    return {
        "ln_ih_weight": ln_ih_weight,
        "ln_ih_bias": ln_ih_bias,
        "ln_hh_weight": ln_hh_weight,
        "ln_hh_bias": ln_hh_bias,
    }


def checked_norm(
    norm: dict[str, np.ndarray | None], rows: int, H: int, dtype: np.dtype
) -> dict[str, np.ndarray]:
    """The parameters of layer normalization, all of them or an empty dict; of c [H], of products [rows]."""
    absent = [name for name, array in norm.items() if array is None]
    if len(absent) == len(norm):
        return {}
    if absent:
        raise ValueError(
            f"{absent[0]}: expected an array, as others of layer normalization are given, got None"
        )
    return {
        name: checked_array(name, array, (H if name.startswith("ln_c") else rows,), dtype)
        for name, array in norm.items()
        if array is not None
    }


def valid_steps(lengths: np.ndarray, T: int, B: int) -> np.ndarray:
    """Where t is within the length of sequence b: [T, B] of bool."""
    lengths = plain_array("lengths", lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected an integer dtype, got {lengths.dtype}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected shape [{B}], got {lengths.shape}")
    outside = lengths[(lengths < 0) | (lengths > T)]
    if outside.size:
        raise ValueError(f"lengths: expected 0 to T = {T}, got {outside[0]}")
    return np.arange(T)[:, np.newaxis] < lengths


def linked_steps(reset: np.ndarray, reverse: bool, valid: np.ndarray | None, T: int, B: int) -> np.ndarray:
    """Where step t starts from the state before it in the order run: [T, B] of bool."""
    reset = plain_array("reset", reset)
    if reset.dtype != np.bool_:
        raise TypeError(f"reset: expected dtype bool, got {reset.dtype}")
    if reset.shape != (T, B):
        raise ValueError(f"reset: expected shape {[T, B]}, got {reset.shape}")
    valid = np.ones((T, B), bool) if valid is None else valid
    border = reset & valid  # between t-1 and t
    if reverse:  # between t and t+1, and none before the first
        border[:1] = False
        border = np.roll(border, -1, axis=0)
    return valid & ~border


def zones_of(zoneout: Any, shapes: list[tuple[int, ...]], dtype: np.dtype) -> tuple[np.ndarray | None, ...]:
    """How much of each part of the state zoneout keeps: arrays of these shapes [T, B, width], or None."""
    given = (zoneout,) if len(shapes) == 1 else parts_of("zoneout", zoneout, "hc")
    zones: list[np.ndarray | None] = []
    for z, shape in zip(given, shapes, strict=True):
        if z is not None:
            z = np.broadcast_to(np.asarray(z, dtype), shape) if np.ndim(z) == 0 else z
            z = checked_array("zoneout", z, shape, dtype)
            if not ((z >= 0) & (z <= 1)).all():
                raise ValueError("zoneout: expected numbers from 0 to 1")
        zones.append(z)
    return tuple(zones)
