"""One vanilla recurrent layer in one direction."""

from __future__ import annotations

from typing import Any

from rnnfast import _core, checks
from rnnfast._core import Tape
from rnnfast.functional.layer import norm_of, run_backward, run_forward
from rnnfast.functional.passes import Array

__all__ = ["rnn_backward", "rnn_forward"]


def rnn_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    ln_ih_weight: Array | None = None,
    ln_ih_bias: Array | None = None,
    ln_hh_weight: Array | None = None,
    ln_hh_bias: Array | None = None,
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: float | Array | None = None,
    recurrent_mask: Array | None = None,
) -> tuple[Any, ...]:
    """Run a plain recurrent layer over time: ``h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [H, I]
    weight_hh : ndarray [H, H]
    bias_ih, bias_hh : ndarray [H] or None
        None means zero.
    state : ndarray [B, H] or None
        The initial h; None means zero.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
    ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias : ndarray [H] or None
        Layer normalization of both products: all of them, or none.
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
    zoneout : float or ndarray [T, B, H], or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes: a mask of numbers from
        0 to 1, or one number for all. None means zero.
    recurrent_mask : ndarray [B, H] or None
        The factors of h_{t-1} as the products of the state read it, the same at all steps.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `rnn_backward`, once.
    states : ndarray [T, B, H]
        Only with `return_states`: h after every step, as y.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    Elman 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x = np.array([[[1.0]], [[2.0]], [[4.0]]])
    >>> y, state, tape = functional.rnn_forward(x, np.ones((1, 1)), np.ones((1, 1)), nonlinearity="identity")
    >>> y.ravel(), state
    (array([1., 3., 7.]), array([[7.]]))
    """
    y, final, tape, *states = run_forward(
        "rnn",
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
        norm_of(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias),
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        reverse=checks.flag("reverse", reverse),
        nonlinearity=checks.one_of("nonlinearity", nonlinearity, _core.NONLINEARITIES),
    )
    return y, final[0], tape, *(parts[0] for parts in states)


def rnn_backward(
    tape: Tape,
    dy: Array | None,
    dstate: Array | None,
    *,
    dstates: Array | None = None,
) -> tuple[Array, Array, dict[str, Array]]:
    """Run a plain recurrent layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `rnn_forward`; this call uses it up.
    dy : ndarray [T, B, H] or None
        The gradient of y; None means zero.
    dstate : ndarray [B, H] or None
        The gradient of the final state; None means zero.
    dstates : ndarray [T, B, H] or None
        The gradient of h after every step, to be added to dy; None means zero.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : ndarray [B, H]
        The gradient of the initial state.
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh``.

    Raises
    ------
    ValueError, TypeError
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x = np.array([[[1.0]], [[2.0]], [[4.0]]])
    >>> *_, tape = functional.rnn_forward(x, np.ones((1, 1)), np.ones((1, 1)), nonlinearity="identity")
    >>> dx, dstate, grads = functional.rnn_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), grads["weight_ih"], grads["weight_hh"]
    (array([1., 1., 1.]), array([[7.]]), array([[4.]]))
    """
    dx, (dh,), grads = run_backward("rnn", tape, dy, dstate, dstates)
    return dx, dh, grads
