"""LSTM, with its options."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.arguments import norm_of, parts_of, plain_array
from rnnfast.reference.functions import factor, sigmoid
from rnnfast.reference.tape import Tape, begin_backward

__all__ = ["lstm_backward", "lstm_forward"]


def lstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: tuple[np.ndarray | None, np.ndarray | None] | None = None,
    *,
    weight_hr: np.ndarray | None = None,
    weight_ci: np.ndarray | None = None,
    weight_cf: np.ndarray | None = None,
    weight_co: np.ndarray | None = None,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    ln_ih_weight: np.ndarray | None = None,
    ln_ih_bias: np.ndarray | None = None,
    ln_hh_weight: np.ndarray | None = None,
    ln_hh_bias: np.ndarray | None = None,
    ln_c_weight: np.ndarray | None = None,
    ln_c_bias: np.ndarray | None = None,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: tuple[Any, Any] | None = None,
    recurrent_mask: np.ndarray | None = None,
) -> tuple[Any, ...]:
    """Run an LSTM layer over time; its equations head this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [4*H, I]
        The blocks i, f, g, o, one below the other.
    weight_hh : ndarray [4*H, P]
        P = H, unless `weight_hr` is given.
    bias_ih, bias_hh : ndarray [4*H] or None
        None means zero.
    state : (ndarray [B, P], ndarray [B, H]) or None
        The initial (h, c); None, also for one of them, means zero.
    weight_hr : ndarray [P, H] or None
        Projects h to P units; y and h are then [..., P], and weight_hh is [4*H, P].
    weight_ci, weight_cf, weight_co : ndarray [H] or None
        The peepholes: all of them (no weight_cf with coupled gates), or none.
    coupled_gates : bool
        f = 1 - i: the blocks of the other weights are i, g, o, [3*H, ...].
    cell_clip : float or None
        Bounds c, at every step, to -cell_clip .. cell_clip; where it clamps, no gradient passes. A bound
        below the smallest normal number of the dtype holds c at zero.
    ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias : ndarray [4*H] or None
    ln_c_weight, ln_c_bias : ndarray [H] or None
        Layer normalization of both products and of the c that the tanh reads: all of them, or none.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].
    lengths : ndarray [B] of integers, or None
        How many steps each sequence has, 0..T; None means T.
    reset : ndarray [T, B] of bool, or None
        True where an episode begins at x[t, b]: no value and no gradient crosses between x[t-1, b] and it.
    return_states : bool
        Return the state at every step too.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8 with a scale for each row; all else stays
        as it is. In int8 the tape is for no backward pass.
    zoneout : (z_h, z_c) or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes, and that of c: masks
        [T, B, P] and [T, B, H] of numbers from 0 to 1, or one number for all. None, also for one of them,
        means zero. tanh reads c before zoneout; zoneout of h follows the projection.
    recurrent_mask : ndarray [B, P] or None
        The factors of h_{t-1} as the products of the state read it, the same at all steps.

    Returns
    -------
    y : ndarray [T, B, P]
        h after every step; zero past the lengths.
    state : (ndarray [B, P], ndarray [B, H])
        (h, c) after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `lstm_backward`.
    states : (ndarray [T, B, P], ndarray [T, B, H])
        Only with `return_states`: (h, c) after every step; zero past the lengths.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 4))
    >>> y, (h, c), tape = reference.lstm_forward(x, weight_ih, weight_hh)
    >>> y.shape, h.shape, c.shape, bool((y[-1] == h).all())
    ((5, 2, 4), (2, 4), (2, 4), True)
    """
    gates = "igo" if coupled_gates else "ifgo"
    weights = weight_ih, weight_hh, bias_ih, bias_hh
    peepholes = {"weight_ci": weight_ci, "weight_cf": weight_cf, "weight_co": weight_co}
    _check_peepholes(peepholes, coupled_gates)
    cell_clip = _checked_clip(cell_clip, plain_array("x", x).dtype)
    extra = {"weight_hr": weight_hr, **peepholes}
    norm = norm_of(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
    norm |= {"ln_c_weight": ln_c_weight, "ln_c_bias": ln_c_bias}
    tape = Tape(
        "lstm",
        len(gates),
        x,
        *weights,
        reverse,
        lengths,
        reset,
        matmul_precision,
        extra,
        norm=norm,
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        gates=gates,
        cell_clip=cell_clip,
    )
    W_P, w_ci, w_cf, w_co = map(tape.extra.get, extra)
    T, B, P = tape.h_prev.shape
    h0, c0 = parts_of("state", state, "hc")
    h, c = tape.state("state[0]", h0, P), tape.state("state[1]", c0, tape.H)
    h_steps, c_steps = np.empty_like(tape.h_prev), np.empty((T, B, tape.H), tape.x.dtype)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev, c_prev = tape.before(t, h), tape.before(t, c)
        a = dict(zip(gates, np.split(from_x[t] + tape.from_h(t, h_prev), len(gates), axis=1), strict=True))
        i = sigmoid(a["i"] + _peep(w_ci, c_prev))
        f = 1 - i if coupled_gates else sigmoid(a["f"] + _peep(w_cf, c_prev))
        g = np.tanh(a["g"])
        c_free = f * c_prev + i * g
        c_new = c_free if cell_clip is None else np.clip(c_free, -cell_clip, cell_clip)
        c_t = tape.zoned(1, t, c_new, c_prev)
        o = sigmoid(a["o"] + _peep(w_co, c_t))
        tanh_c = np.tanh(tape.normalized("c", t, c_new))
        m = o * tanh_c
        h_new = m if W_P is None else tape.product(m, W_P.T, True)
        tape.h_prev[t] = h_prev
        tape.steps[t] = (i, f, g, o, c_prev, c_free, c_t, tanh_c)
        h = h_steps[t] = tape.after(t, tape.zoned(0, t, h_new, h_prev), h)
        c = c_steps[t] = tape.after(t, c_t, c)
    y = tape.within(h_steps)
    results = y, (h, c.copy()), tape  # a copy, because the tape keeps c itself
    return (*results, (y.copy(), tape.within(c_steps))) if return_states else results


def lstm_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: tuple[np.ndarray | None, np.ndarray | None] | None,
    *,
    dstates: tuple[np.ndarray | None, np.ndarray | None] | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Run an LSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward`.
    dy : ndarray [T, B, P] or None
        The gradient of y; None means zero.
    dstate : (ndarray [B, P], ndarray [B, H]) or None
        The gradient of the final (h, c); None, also for one of them, means zero.
    dstates : (ndarray [T, B, P], ndarray [T, B, H]) or None
        The gradient of the (h, c) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : (ndarray [B, P], ndarray [B, H])
        The gradient of the initial (h, c).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh``, ``weight_hr``,
        ``weight_ci``, ``weight_cf``, ``weight_co`` and the ``ln_…``.

    Raises
    ------
    ValueError, TypeError
        If the tape is another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 4))
    >>> y, state, tape = reference.lstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc), grads = reference.lstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dh.shape, dc.shape, {name: grad.shape for name, grad in grads.items()}
    ((5, 2, 3), (2, 4), (2, 4), {'weight_ih': (16, 3), 'weight_hh': (16, 4)})
    """
    begin_backward(tape, "lstm")
    gates, cell_clip = tape.options["gates"], tape.options["cell_clip"]
    W_P, w_ci, w_cf, w_co = map(tape.extra.get, ("weight_hr", "weight_ci", "weight_cf", "weight_co"))
    T, B, P = tape.h_prev.shape
    dh_last, dc_last = parts_of("dstate", dstate, "hc")
    dh, dc = tape.state("dstate[0]", dh_last, P), tape.state("dstate[1]", dc_last, tape.H)
    dh_steps, dc_steps = parts_of("dstates", dstates, "hc")
    dh_steps = tape.states("dy", dy, P) + tape.states("dstates[0]", dh_steps, P)
    dc_steps = tape.states("dstates[1]", dc_steps, tape.H)
    d_gates = np.empty((T, B, len(gates) * tape.H), tape.x.dtype)
    d_extra = {name: np.zeros_like(weight) for name, weight in tape.extra.items()}

    for t in reversed(tape.order):
        i, f, g, o, c_prev, c_free, c_t, tanh_c = tape.steps[t]
        dh_t, dc_t = tape.within(dh + dh_steps[t], t), tape.within(dc + dc_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        dm = dh_t if W_P is None else tape.product(dh_t, W_P)
        dW_P = None if W_P is None else tape.outer_products(dh_t, o * tanh_c)
        tanh_c, o = factor(dm, tanh_c), factor(dm, o)
        d_o = dm * tanh_c * o * (1 - o)
        dc_t, dc_kept = tape.d_zoned(1, t, dc_t + _peep(w_co, d_o))
        dc_t = dc_t + tape.d_normalized("c", t, dm * o * (1 - tanh_c * tanh_c))
        if cell_clip is not None:
            dc_t = np.where(np.abs(c_free) > cell_clip, 0, dc_t)
        i, f, g, c_prev = (factor(dc_t, array) for array in (i, f, g, c_prev))
        di, df = dc_t * g, dc_t * c_prev
        if "f" not in gates:  # f = 1 - i
            di = di - df
        d = {"i": di * i * (1 - i), "f": df * f * (1 - f), "g": dc_t * i * (1 - g * g), "o": d_o}
        d_gates[t] = np.concatenate([d[gate] for gate in gates], axis=1)
        if w_co is not None:
            for gate, c_seen in (("i", c_prev), ("f", c_prev), ("o", c_t)):
                if gate in gates:
                    d_extra["weight_c" + gate] += (d[gate] * factor(d[gate], c_seen)).sum(axis=0)
        if dW_P is not None:
            d_extra["weight_hr"] += dW_P
        dh = tape.d_before(t, tape.through_state(t, d_gates[t]) + dh_kept, dh)
        dc = tape.d_before(t, dc_t * f + _peep(w_ci, d["i"]) + _peep(w_cf, d["f"]) + dc_kept, dc)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, (dh, dc), grads | d_extra


def _check_peepholes(peepholes: dict[str, np.ndarray | None], coupled_gates: bool) -> None:
    """Refuse one for a forget gate that coupled gates lack, and some without the others."""
    if coupled_gates and peepholes["weight_cf"] is not None:
        raise ValueError("weight_cf: expected None with coupled_gates, got an array")
    wanted = [name for name in peepholes if not (coupled_gates and name == "weight_cf")]
    absent = [name for name in wanted if peepholes[name] is None]
    if 0 < len(absent) < len(wanted):
        raise ValueError(f"{absent[0]}: expected an array, as the other peepholes are given, got None")


def _checked_clip(cell_clip: float | None, dtype: np.dtype) -> float | None:
    """The bound of c as a float of this dtype, or None; an error where it is no positive number.

    A subnormal bound is 0, as subnormal numbers are in the kernels; one beyond all numbers is infinity.
    """
    if cell_clip is None:
        return None
    if (
        isinstance(cell_clip, (bool, np.bool_, str))
        or not hasattr(cell_clip, "__float__")
        or np.ndim(cell_clip)
    ):
        raise TypeError(f"cell_clip: expected a positive number, got {cell_clip!r}")
    if not cell_clip > 0:
        raise ValueError(f"cell_clip: expected a positive number, got {cell_clip!r}")
    try:
        bound = float(cell_clip)
    except OverflowError:  # of an integer: larger than any c
        bound = float("inf")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            bound = 0.0 if bound < np.finfo(dtype).tiny else float(dtype.type(bound))
    return bound


def _peep(weight: np.ndarray | None, array: np.ndarray) -> Any:
    """The product of a peephole with c or with a gradient; 0 without a peephole."""
    return 0 if weight is None else weight * array
