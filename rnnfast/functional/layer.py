"""One layer of any cell in one direction: it checks the arrays and runs a pass over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast import _core, checks, exchange
from rnnfast._core import Tape
from rnnfast.arithmetic import add
from rnnfast.functional.passes import Array, PassMasks, pass_backward, pass_forward, sequences_of

__all__ = ["norm_of", "run_backward", "run_forward"]


def norm_of(*parameters: Array | None, c: bool = False) -> dict[str, Array | None]:
    """The parameters of layer normalization by name: the weight and bias of ih, of hh and, with `c`, of c.

    Raises
    ------
    ValueError
        If some of them are given and others are not.
    """
    names = [f"ln_{part}_{kind}" for part in ("ih", "hh", *("c" * c)) for kind in ("weight", "bias")]
    norm = dict(zip(names, parameters, strict=True))
    absent = [name for name, array in norm.items() if array is None]
    if 0 < len(absent) < len(norm):
        raise ValueError(
            f"{absent[0]}: expected an array, as others of layer normalization are given, got None"
        )
    return norm


def run_forward(
    cell: str,
    x,
    weight_ih,
    weight_hh,
    bias_ih,
    bias_hh,
    state,
    lengths,
    reset,
    return_states,
    matmul_precision,
    extra: dict[str, Any] | None = None,
    *,
    zoneout=None,
    recurrent_mask=None,
    **keywords,
):
    """The checked forward pass of any cell: y, the parts of the final state, the tape, all the states.

    `extra` has further weights by name, None where they are not given. `zoneout` is of each part.
    """
    checks.flag("return_states", return_states)
    x = _floats("x", x, (None, None, None))
    T, B, I = x.shape
    dtype = x.dtype
    checks.precision("matmul_precision", matmul_precision, dtype)
    layer_norm = (extra or {}).get("ln_ih_weight") is not None
    info = _core.cell_info(cell, layer_norm=layer_norm, **keywords)
    given = {
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "bias_ih": bias_ih,
        "bias_hh": bias_hh,
        **(extra or {}),
    }
    given = {name: array for name, array in given.items() if array is not None or name in info.required}
    H, P, heads = _sizes(info, given, dtype)
    for name, array in given.items():
        given[name] = _floats(name, array, info.weight_shape(name, I, H, P, heads), dtype)
    widths = info.widths(H, P)
    # Copies, because the tape keeps the state and the caller may write into it later.
    states = _states("state", state, info.parts, widths, (B,), dtype)
    initial = tuple(None if part is None else part.copy() for part in states)
    sequences = sequences_of(checks.checked_lengths(lengths, T, B), checks.checked_reset(reset, (T, B)), T, B)
    masks = _masks(zoneout, recurrent_mask, widths, (T, B), dtype)
    y = np.empty((T, B, P), dtype)
    final = tuple(np.empty((B, width), dtype) for width in widths)
    steps = tuple(np.zeros((T, B, H), dtype) for _ in widths[1:]) if return_states else None
    tape = pass_forward(
        _core.Cell(cell, given, matmul_precision=matmul_precision, **keywords),
        0,
        x,
        initial,
        y,
        final,
        sequences=sequences,
        steps=steps,
        save=matmul_precision in _core.TRAINABLE,
        masks=masks,
    )
    y.flags.writeable = False  # y's memory is read-only, so no view of it can be made writable
    y = y.view()
    if steps is None:
        return y, final, tape
    return y, final, tape, (y.copy(), *(part.copy() for part in steps))


def run_backward(cell: str, tape: Tape, dy, dstate, dstates):
    """The checked backward pass of any cell: gradients of x, of the state's parts and of the weights."""
    if not isinstance(tape, Tape) or tape.cell.name != cell:
        came = tape.cell.name if isinstance(tape, Tape) else type(tape).__name__
        raise ValueError(f"tape: expected one from {cell}_forward, got {came}")
    if tape.gates is None:
        raise ValueError("tape: expected one with gradients, got one of products in int8, which have none")
    T, B, P = tape.y.shape
    dtype = tape.y.dtype
    parts, widths = _core.cell_info(cell).parts, tape.cell.widths
    dy = None if dy is None else _floats("dy", dy, (T, B, P), dtype)
    d_final = _states("dstate", dstate, parts, widths, (B,), dtype)
    dh_steps, *d_steps = _states("dstates", dstates, parts, widths, (T, B), dtype)
    if dh_steps is not None:
        dy = dh_steps if dy is None else add(dy, dh_steps)
    dx = np.empty(tape.x.shape, dtype)
    d_initial = tuple(np.empty((B, width), dtype) for width in widths)
    if not tape.use_up():
        raise ValueError("tape: a backward pass has used it up; run forward again")
    grads = pass_backward(tape, dy, d_final, dx, d_initial, False, tuple(d_steps))
    return dx, d_initial, grads


def _sizes(info: _core.CellInfo, given: dict[str, Array], dtype: np.dtype) -> tuple[int, int, int]:
    """H, P and the number of heads, from the shape of weight_hh.

    It is [G*H, P]; [G*H, D] with heads of D units; [H] of an element-wise recurrence. Without a weight_hh,
    weight_ih [G*H, I] has H.
    """
    if "weight_hh" in info.vectors:
        (H,) = _floats("weight_hh", given["weight_hh"], (None,), dtype).shape
        if H == 0:
            raise ValueError("weight_hh: expected shape [H] with H at least 1, got (0,)")
        return H, H, 1
    G = len(info.gates)
    if "weight_hh" not in info.required:
        shape = _floats("weight_ih", given["weight_ih"], (None, None), dtype).shape
        H = shape[0] // G
        if H == 0 or shape[0] != G * H:
            raise ValueError(f"weight_ih: expected shape [{G}*H, I] with H at least 1, got {shape}")
        return H, H, 1
    columns = "P" if "weight_hr" in given else "H"
    weight_hh = _floats("weight_hh", given["weight_hh"], (None, None), dtype)
    rows, P = weight_hh.shape
    H = rows // G
    if info.heads:
        if rows != G * H or P == 0 or H == 0 or H % P:
            raise ValueError(
                f"weight_hh: expected shape [{G}*H, D] with H a multiple of D, which is at least 1, "
                f"got {weight_hh.shape}"
            )
        return H, H, H // P
    if rows != G * H or P == 0 or H == 0 or (columns == "H" and P != H):
        raise ValueError(
            f"weight_hh: expected shape [{G}*H, {columns}] with {columns} at least 1, got {weight_hh.shape}"
        )
    return H, P, 1


def _states(
    name: str, state, parts: str, widths: tuple[int, ...], leading: tuple[int, ...], dtype: np.dtype
) -> tuple[Array | None, ...]:
    """The parts of a state, or of a gradient like it, h first: each [leading.., its width] or None."""
    if state is None:
        return (None,) * len(widths)
    if len(widths) == 1:
        return (_floats(name, state, (*leading, *widths), dtype),)
    if not isinstance(state, (tuple, list)) or len(state) != len(widths):
        raise TypeError(f"{name}: expected {checks.tuple_of(parts)}, got {type(state).__name__}")
    return tuple(
        None if part is None else _floats(f"{name}[{n}]", part, (*leading, width), dtype)
        for n, (part, width) in enumerate(zip(state, widths, strict=True))
    )


def _masks(
    zoneout, recurrent_mask, widths: tuple[int, ...], leading: tuple[int, int], dtype: np.dtype
) -> PassMasks | None:
    """Zoneout and recurrent dropout as given; None: neither."""
    drop = (
        None
        if recurrent_mask is None
        else _floats("recurrent_mask", recurrent_mask, (leading[1], widths[0]), dtype)
    )
    if zoneout is None:
        return None if drop is None else PassMasks(None, drop)
    zone: tuple[Array | None, ...]
    if len(widths) == 1:
        zone = (_zone("zoneout", zoneout, (*leading, *widths), dtype),)
    elif not isinstance(zoneout, (tuple, list)) or len(zoneout) != len(widths):
        raise TypeError(f"zoneout: expected a pair (z_h, z_c), got {type(zoneout).__name__}")
    else:
        zone = tuple(
            _zone(f"zoneout[{n}]", z, (*leading, width), dtype)
            for n, (z, width) in enumerate(zip(zoneout, widths, strict=True))
        )
    return PassMasks(lambda start, stop: zone, drop)


def _zone(name: str, z, shape: tuple[int, ...], dtype: np.dtype) -> Array | None:
    """z of one part of the state, [T, B, width]: an array, or one number for all."""
    if z is None:
        return None
    if exchange.is_array(z):
        z = checks.as_array(name, z)
    if np.ndim(z) == 0:
        return np.broadcast_to(np.full(shape[-1], checks.fraction(name, z), dtype), shape)
    z = _floats(name, z, shape, dtype)
    if not ((z >= 0) & (z <= 1)).all():
        raise ValueError(f"{name}: expected numbers from 0 to 1")
    return z


def _floats(name: str, array: Array, shape: tuple, dtype: np.dtype | None = None) -> Array:
    """`array` in this shape (None: any size) and dtype (None: its own), C-contiguous."""
    array = checks.as_array(name, array)
    if array.dtype.kind != "f" or (dtype is None and array.dtype not in (np.float32, np.float64)):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape [{expected}], got {array.shape}")
    with _core.Arithmetic():  # a cast to a smaller dtype rounds
        return np.require(array, dtype, ("C", "A"))
