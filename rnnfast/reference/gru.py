"""GRU, with the reset gate before or after the product."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.arguments import norm_of
from rnnfast.reference.functions import factor, sigmoid
from rnnfast.reference.tape import Tape, begin_backward

__all__ = ["gru_backward", "gru_forward"]


def gru_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    reset_after: bool = True,
    ln_ih_weight: np.ndarray | None = None,
    ln_ih_bias: np.ndarray | None = None,
    ln_hh_weight: np.ndarray | None = None,
    ln_hh_bias: np.ndarray | None = None,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: float | np.ndarray | None = None,
    recurrent_mask: np.ndarray | None = None,
) -> tuple[Any, ...]:
    """Run a GRU layer over time; its equations head this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [3*H, I]
        The blocks r, z, n, one below the other.
    weight_hh : ndarray [3*H, H]
    bias_ih, bias_hh : ndarray [3*H] or None
        None means zero.
    state : ndarray [B, H] or None
        The initial h; None means zero.
    reset_after : bool
        Whether r acts after the product with W_hn or before it.
    ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias : ndarray [3*H] or None
        Layer normalization of both products: all of them, or none. Not with
        ``reset_after=False``.
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
    zoneout : float or ndarray [T, B, H], or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes: a mask of numbers from
        0 to 1, or one number for all. None means zero.
    recurrent_mask : ndarray [B, H] or None
        The factors of h_{t-1} as the products of the state read it, the same at all steps.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step; zero past the lengths.
    state : ndarray [B, H]
        h after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `gru_backward`.
    states : ndarray [T, B, H]
        Only with `return_states`: h after every step, as y.

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
    >>> weight_ih, weight_hh = rng.normal(size=(12, 3)), rng.normal(size=(12, 4))
    >>> y, h, tape = reference.gru_forward(x, weight_ih, weight_hh, reverse=True)
    >>> y.shape, h.shape, bool((y[0] == h).all())
    ((5, 2, 4), (2, 4), True)
    """
    weights = weight_ih, weight_hh, bias_ih, bias_hh
    norm = norm_of(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
    if not reset_after and any(array is not None for array in norm.values()):
        raise ValueError("ln_ih_weight: expected None with reset_after=False (layer norm needs it True)")
    tape = Tape(
        "gru",
        3,
        x,
        *weights,
        reverse,
        lengths,
        reset,
        matmul_precision,
        norm=norm,
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        reset_after=reset_after,
    )
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)
    of_rz, of_n = slice(0, 2 * tape.H), slice(2 * tape.H, None)  # rows of W_hh

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        x_r, x_z, p = np.split(from_x[t], 3, axis=1)
        if reset_after:
            h_r, h_z, q = np.split(tape.from_h(t, h_prev), 3, axis=1)
        else:
            h_r, h_z = np.split(tape.from_h(t, h_prev, of_rz), 2, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        if not reset_after:
            q = tape.from_h(t, r * h_prev, of_n)
        n = np.tanh(p + (r * q if reset_after else q))
        h_t = (1 - z) * n + z * h_prev
        tape.h_prev[t] = h_prev
        tape.steps[t] = (r, z, n, q)
        h = h_steps[t] = tape.after(t, tape.zoned(0, t, h_t, h_prev), h)
    y = tape.within(h_steps)
    results = y, h, tape
    return (*results, y.copy()) if return_states else results


def gru_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: np.ndarray | None,
    *,
    dstates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a GRU layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `gru_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None means zero.
    dstate : ndarray [B, H] or None
        The gradient of the final state; None means zero.
    dstates : ndarray [T, B, H] or None
        The gradient of the state after every step, to be added to dy; None means zero.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : ndarray [B, H]
        The gradient of the initial state.
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh`` and the ``ln_…``.

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
    >>> weight_ih, weight_hh = rng.normal(size=(12, 3)), rng.normal(size=(12, 4))
    >>> y, state, tape = reference.gru_forward(x, weight_ih, weight_hh, np.zeros(12), np.zeros(12))
    >>> dx, dh, grads = reference.gru_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dh.shape, sorted(grads)
    ((5, 2, 3), (2, 4), ['bias_hh', 'bias_ih', 'weight_hh', 'weight_ih'])
    """
    begin_backward(tape, "gru")
    reset_after = tape.options["reset_after"]
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    T, B, H = tape.h_prev.shape
    d_from_x = np.empty((T, B, 3 * H), tape.x.dtype)
    d_from_h = np.empty((T, B, 3 * H), tape.x.dtype)
    W_rz, W_n = np.split(tape.weight_hh, [2 * H])
    dW_n = np.zeros_like(W_n)

    for t in reversed(tape.order):
        r, z, n, q = tape.steps[t]
        h_prev = tape.h_prev[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        z, n, h_seen = (factor(dh_t, array) for array in (z, n, h_prev))
        d_n = dh_t * (1 - z) * (1 - n * n)
        d_z = dh_t * (h_seen - n) * z * (1 - z)
        d_q = d_n * factor(d_n, r) if reset_after else d_n
        d_m = None if reset_after else tape.product(d_q, W_n)  # of m = r * fed(h_prev)
        d_product, seen = (d_n, q) if d_m is None else (d_m, tape.fed(h_prev))
        used_r = factor(d_product, r)
        d_r = d_product * factor(d_product, seen) * used_r * (1 - used_r)
        d_from_x[t] = np.concatenate((d_r, d_z, d_n), axis=1)
        d_from_h[t] = np.concatenate((d_r, d_z, d_q), axis=1)
        if d_m is None:
            through_products = tape.through_state(t, d_from_h[t])
        else:
            dW_n += tape.outer_products(d_q, r * tape.fed(h_prev))
            through_products = tape.fed(tape.product(d_from_h[t, :, : 2 * H], W_rz) + d_m * used_r)
        dh = tape.d_before(t, dh_t * z + through_products + dh_kept, dh)
    dx, grads = tape.gradients(d_from_x, d_from_h)
    if not reset_after:
        grads["weight_hh"][2 * H :] = dW_n
    return dx, dh, grads
