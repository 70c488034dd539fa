"""One IndRNN layer in one direction."""

from __future__ import annotations

from typing import Any

from rnnfast import _core, checks
from rnnfast._core import Tape
from rnnfast.functional.layer import run_backward, run_forward
from rnnfast.functional.passes import Array

__all__ = ["indrnn_backward", "indrnn_forward"]


def indrnn_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    state: Array | None = None,
    *,
    nonlinearity: str = "relu",
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: float | Array | None = None,
) -> tuple[Any, ...]:
    """Run an IndRNN layer over time: ``h_t = f(W_ih·x_t + b_ih + w_hh * h_{t-1})``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [H, I]
    weight_hh : ndarray [H]
        Multiplies element by element: each unit sees only its own past.
    bias_ih : ndarray [H] or None
        None is zero.
    state : ndarray [B, H] or None
        The initial h; None is zero.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.
    zoneout : float or ndarray [T, B, H], or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes: a mask of numbers from
        0 to 1, or one number for all. None means zero.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `indrnn_backward`, once.
    states : ndarray [T, B, H]
        Only with `return_states`: h after every step, as y.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    S. Li, W. Li, C. Cook, C. Zhu and Y. Gao, "Independently recurrent neural network (IndRNN)", CVPR (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x, ones, u = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.ones((1, 1)), np.array([0.5])
    >>> y, state, tape = functional.indrnn_forward(x, ones, u, nonlinearity="identity")
    >>> y.ravel(), state
    (array([1.  , 2.5 , 5.25]), array([[5.25]]))
    """
    y, final, tape, *states = run_forward(
        "indrnn",
        x,
        weight_ih,
        weight_hh,
        bias_ih,
        None,
        state,
        lengths,
        reset,
        return_states,
        matmul_precision,
        zoneout=zoneout,
        reverse=checks.flag("reverse", reverse),
        nonlinearity=checks.one_of("nonlinearity", nonlinearity, _core.NONLINEARITIES),
    )
    return y, final[0], tape, *(parts[0] for parts in states)


def indrnn_backward(
    tape: Tape,
    dy: Array | None,
    dstate: Array | None,
    *,
    dstates: Array | None = None,
) -> tuple[Array, Array, dict[str, Array]]:
    """Run an IndRNN layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `indrnn_forward`; this call uses it up.
    dy, dstate, dstates
        As in `rnn_backward`.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : ndarray [B, H]
        The gradient of the initial state.
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where it was given, ``bias_ih``.

    Raises
    ------
    ValueError, TypeError
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x, ones, u = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.ones((1, 1)), np.array([0.5])
    >>> *_, tape = functional.indrnn_forward(x, ones, u, nonlinearity="identity")
    >>> dx, dstate, grads = functional.indrnn_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), grads["weight_ih"], grads["weight_hh"]
    (array([0.25, 0.5 , 1.  ]), array([[5.25]]), array([3.]))
    """
    dx, (dh,), grads = run_backward("indrnn", tape, dy, dstate, dstates)
    return dx, dh, grads
