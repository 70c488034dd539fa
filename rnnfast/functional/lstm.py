"""One LSTM layer in one direction."""

from __future__ import annotations

from typing import Any

from rnnfast import checks
from rnnfast._core import Tape
from rnnfast.functional.layer import norm_of, run_backward, run_forward
from rnnfast.functional.passes import Array

__all__ = ["lstm_backward", "lstm_forward"]

PEEPHOLES = ("weight_ci", "weight_cf", "weight_co")


def _check_peepholes(peepholes: dict[str, Array | None], coupled_gates: bool) -> None:
    """Refuse peepholes of which some are missing, and one for the forget gate that coupled gates lack."""
    if coupled_gates and peepholes["weight_cf"] is not None:
        raise ValueError("weight_cf: expected None with coupled_gates, got an array")
    wanted = [name for name in peepholes if not (coupled_gates and name == "weight_cf")]
    absent = [name for name in wanted if peepholes[name] is None]
    if 0 < len(absent) < len(wanted):
        raise ValueError(f"{absent[0]}: expected an array, as the other peepholes are given, got None")


def lstm_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: tuple[Array | None, Array | None] | None = None,
    *,
    weight_hr: Array | None = None,
    weight_ci: Array | None = None,
    weight_cf: Array | None = None,
    weight_co: Array | None = None,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    ln_ih_weight: Array | None = None,
    ln_ih_bias: Array | None = None,
    ln_hh_weight: Array | None = None,
    ln_hh_bias: Array | None = None,
    ln_c_weight: Array | None = None,
    ln_c_bias: Array | None = None,
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: tuple[Any, Any] | None = None,
    recurrent_mask: Array | None = None,
) -> tuple[Any, ...]:
    """Run an LSTM layer over time, in one direction.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
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
        Limits c to -cell_clip .. cell_clip at every step; no gradient passes where it does. A bound below the
        smallest normal number of the dtype sets c to zero.
    ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias : ndarray [4*H] or None
    ln_c_weight, ln_c_bias : ndarray [H] or None
        Layer normalization of both products and of the c that the tanh reads: all of them, or none.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].
    lengths : ndarray [B] of integers, or None
        How many steps each sequence has, 0..T; None means T. Nothing is read past them, and a reversed
        pass starts at each sequence's own end.
    reset : ndarray [T, B] of bool, or None
        True where an episode begins at x[t, b]: no value and no gradient crosses between x[t-1, b] and it.
    return_states : bool
        Return the state at every step too.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products: rounded to bfloat16, or to int8 with a scale for each row; all else stays
        float32. In int8 the tape is for no backward pass.
    zoneout : (z_h, z_c) or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes, and that of c: masks
        [T, B, P] and [T, B, H] of numbers from 0 to 1, or one number for all. None, also for one of them,
        means zero. tanh reads c before zoneout; zoneout of h follows the projection.
    recurrent_mask : ndarray [B, P] or None
        The factors of h_{t-1} as the products of the state read it, the same at all steps.

    Returns
    -------
    y : ndarray [T, B, P]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : (ndarray [B, P], ndarray [B, H])
        (h, c) after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `lstm_backward`, once.
    states : (ndarray [T, B, P], ndarray [T, B, H])
        Only with `return_states`: (h, c) after every step, zero past the lengths.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000, the peepholes
    of Gers and Schmidhuber 2000, the projection of Sak, Senior and Beaufays 2014. The equations are
    in the docstring of `rnnfast.reference`.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (16, 3), (16, 4)))
    >>> y, (h, c), tape = functional.lstm_forward(x, weight_ih, weight_hh)
    >>> y.shape, h.shape, bool((y[-1] == h).all())
    ((5, 2, 4), (2, 4), True)
    """
    checks.flag("coupled_gates", coupled_gates)
    peepholes = dict(zip(PEEPHOLES, (weight_ci, weight_cf, weight_co), strict=True))
    _check_peepholes(peepholes, coupled_gates)
    norm = norm_of(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias, ln_c_weight, ln_c_bias, c=True)
    y, final, tape, *states = run_forward(
        "lstm",
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
        {"weight_hr": weight_hr, **peepholes, **norm},
        coupled_gates=bool(coupled_gates),
        cell_clip=checks.cell_clip(cell_clip),
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        reverse=checks.flag("reverse", reverse),
    )
    return y, final, tape, *states


def lstm_backward(
    tape: Tape,
    dy: Array | None,
    dstate: tuple[Array | None, Array | None] | None,
    *,
    dstates: tuple[Array | None, Array | None] | None = None,
) -> tuple[Array, tuple[Array, Array], dict[str, Array]]:
    """Run an LSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward`; this call uses it up.
    dy : ndarray [T, B, P] or None
        The gradient of y; None means zero.
    dstate : (ndarray [B, P], ndarray [B, H]) or None
        The gradients of the final (h, c); None, also for one of them, means zero.
    dstates : (ndarray [T, B, P], ndarray [T, B, H]) or None
        The gradient of the (h, c) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : (ndarray [B, P], ndarray [B, H])
        The gradients of the initial (h, c).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh``, ``weight_hr``,
        ``weight_ci``, ``weight_cf``, ``weight_co``.

    Raises
    ------
    ValueError, TypeError
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (16, 3), (16, 4)))
    >>> y, state, tape = functional.lstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc), grads = functional.lstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dh.shape, grads["weight_hh"].shape
    ((5, 2, 3), (2, 4), (16, 4))
    """
    dx, (dh, dc), grads = run_backward("lstm", tape, dy, dstate, dstates)
    return dx, (dh, dc), grads
