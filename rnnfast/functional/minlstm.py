"""One MinLSTM layer in one direction."""

from __future__ import annotations

from typing import Any

from rnnfast import _core, checks
from rnnfast._core import Tape
from rnnfast.functional.layer import run_backward, run_forward
from rnnfast.functional.passes import Array

__all__ = ["minlstm_backward", "minlstm_forward"]


def minlstm_forward(
    x: Array,
    weight_ih: Array,
    bias_ih: Array | None = None,
    state: Array | None = None,
    *,
    candidate: str = "identity",
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run a MinLSTM layer over time: ``h_t = (f * h_{t-1} + i * g(W_h·x_t + b_h)) / (f + i)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [3*H, I]
        The blocks f, i and h, one below the other.
    bias_ih : ndarray [3*H] or None
        None is zero.
    state : ndarray [B, H] or None
        The initial h; None is zero.
    candidate : {"identity", "positive", "tanh"}
        The function g on the candidate; "positive" is x + 0.5 for x of at least 0, else sigmoid(x).
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `minlstm_backward`, once.
    states : ndarray [T, B, H]
        Only with `return_states`: h after every step, as y.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, "Were RNNs all we needed?",
    arXiv:2410.01201 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [0.0], [1.0]])
    >>> y, state, tape = functional.minlstm_forward(x, weight_ih)
    >>> y.ravel(), state
    (array([0.5  , 1.25 , 2.625]), array([[2.625]]))
    """
    y, final, tape, *states = run_forward(
        "minlstm",
        x,
        weight_ih,
        None,
        bias_ih,
        None,
        state,
        lengths,
        reset,
        return_states,
        matmul_precision,
        reverse=checks.flag("reverse", reverse),
        candidate=checks.one_of("candidate", candidate, _core.CANDIDATES),
    )
    return y, final[0], tape, *(parts[0] for parts in states)


def minlstm_backward(
    tape: Tape,
    dy: Array | None,
    dstate: Array | None,
    *,
    dstates: Array | None = None,
) -> tuple[Array, Array, dict[str, Array]]:
    """Run a MinLSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `minlstm_forward`; this call uses it up.
    dy, dstate, dstates
        As in `rnn_backward`.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : ndarray [B, H]
        The gradient of the initial state.
    grads : dict of str to ndarray
        ``weight_ih`` and, where it was given, ``bias_ih``.

    Raises
    ------
    ValueError, TypeError
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [0.0], [1.0]])
    >>> *_, tape = functional.minlstm_forward(x, weight_ih)
    >>> dx, dstate, grads = functional.minlstm_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), dstate, grads["weight_ih"].ravel()
    (array([0.125, 0.25 , 0.5  ]), array([[0.125]]), array([-1.59375,  1.59375,  2.625  ]))
    """
    dx, (dh,), grads = run_backward("minlstm", tape, dy, dstate, dstates)
    return dx, dh, grads
