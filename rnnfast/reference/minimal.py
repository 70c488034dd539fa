"""MinGRU and MinLSTM: gates that see the input alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.functions import CANDIDATES, factor, sigmoid
from rnnfast.reference.tape import Tape, begin_backward

__all__ = ["mingru_backward", "mingru_forward", "minlstm_backward", "minlstm_forward"]


def mingru_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    bias_ih: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    candidate: str = "identity",
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run a MinGRU layer over time: ``h_t = (1 - z) * h_{t-1} + z * g(W_h·x_t + b_h)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [2*H, I]
        The blocks z and h, one below the other.
    bias_ih : ndarray [2*H] or None
        None is zero.
    state : ndarray [B, H] or None
        The initial h; None is zero.
    candidate : {"identity", "positive", "tanh"}
        The function g on the candidate; "positive" is x + 0.5 for x of at least 0, else s(x).
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step; zero past the lengths.
    state : ndarray [B, H]
        h after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `mingru_backward`.
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
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [1.0]])  # z is a half
    >>> y, state, tape = reference.mingru_forward(x, weight_ih)
    >>> y.ravel(), state
    (array([0.5  , 1.25 , 2.625]), array([[2.625]]))
    """
    tape = _minimal_tape(
        "mingru", 2, x, weight_ih, bias_ih, reverse, lengths, reset, matmul_precision, candidate
    )
    g, _ = CANDIDATES[candidate]
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        z, n = np.split(from_x[t], 2, axis=-1)
        z, n = sigmoid(z), g(n)
        h_t = (1 - z) * h_prev + z * n
        tape.steps[t] = z, n, h_prev
        h = h_steps[t] = tape.after(t, h_t, h)
    y = tape.within(h_steps)
    results = y, h.copy(), tape  # a copy, because the tape keeps h itself
    return (*results, y.copy()) if return_states else results


def mingru_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: np.ndarray | None,
    *,
    dstates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a MinGRU layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `mingru_forward`.
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
        If the tape is another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [1.0]])  # z is a half
    >>> *_, tape = reference.mingru_forward(x, weight_ih)
    >>> dx, dstate, grads = reference.mingru_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), dstate, grads["weight_ih"].ravel()
    (array([0.125, 0.25 , 0.5  ]), array([[0.125]]), array([3.1875, 2.625 ]))
    """
    begin_backward(tape, "mingru")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = CANDIDATES[tape.options["candidate"]]
    d_gates = np.empty((*tape.h_prev.shape[:2], 2 * tape.H), tape.h_prev.dtype)

    for t in reversed(tape.order):
        z, n, h_prev = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        z, n, h_prev = (factor(dh_t, array) for array in (z, n, h_prev))
        dz, dn, dh_prev = dh_t * (n - h_prev), dh_t * z, dh_t * (1 - z)
        d_gates[t] = np.concatenate((dz * z * (1 - z), dn * slope(n)), axis=-1)
        dh = tape.d_before(t, dh_prev, dh)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads


def minlstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    bias_ih: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    candidate: str = "identity",
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run a MinLSTM layer over time: ``h_t = (f * h_{t-1} + i * g(W_h·x_t + b_h)) / (f + i)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [3*H, I]
        The blocks f, i and h, one below the other.
    bias_ih : ndarray [3*H] or None
        None is zero.
    state : ndarray [B, H] or None
        The initial h; None is zero.
    candidate : {"identity", "positive", "tanh"}
        The function g on the candidate; "positive" is x + 0.5 for x of at least 0, else s(x).
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step; zero past the lengths.
    state : ndarray [B, H]
        h after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `minlstm_backward`.
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
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [0.0], [1.0]])
    >>> y, state, tape = reference.minlstm_forward(x, weight_ih)
    >>> y.ravel(), state
    (array([0.5  , 1.25 , 2.625]), array([[2.625]]))
    """
    tape = _minimal_tape(
        "minlstm", 3, x, weight_ih, bias_ih, reverse, lengths, reset, matmul_precision, candidate
    )
    g, _ = CANDIDATES[candidate]
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        f, i, n = np.split(from_x[t], 3, axis=-1)
        f, i = _gates_with_a_sum(f, i)
        n = g(n)
        h_t = f / (f + i) * h_prev + i / (f + i) * n
        tape.steps[t] = f, i, n, h_prev
        h = h_steps[t] = tape.after(t, h_t, h)
    y = tape.within(h_steps)
    results = y, h.copy(), tape  # a copy, because the tape keeps h itself
    return (*results, y.copy()) if return_states else results


def minlstm_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: np.ndarray | None,
    *,
    dstates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a MinLSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `minlstm_forward`.
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
        If the tape is another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> x, weight_ih = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.array([[0.0], [0.0], [1.0]])
    >>> *_, tape = reference.minlstm_forward(x, weight_ih)
    >>> dx, dstate, grads = reference.minlstm_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), dstate, grads["weight_ih"].ravel()
    (array([0.125, 0.25 , 0.5  ]), array([[0.125]]), array([-1.59375,  1.59375,  2.625  ]))
    """
    begin_backward(tape, "minlstm")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = CANDIDATES[tape.options["candidate"]]
    d_gates = np.empty((*tape.h_prev.shape[:2], 3 * tape.H), tape.h_prev.dtype)

    for t in reversed(tape.order):
        f, i, n, h_prev = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        f, i, n, h_prev = (factor(dh_t, array) for array in (f, i, n, h_prev))
        share_f, share_i = f / (f + i), i / (f + i)
        dshare = dh_t * (h_prev - n) * share_f * share_i
        dn, dh_prev = dh_t * share_i, dh_t * share_f
        d_gates[t] = np.concatenate((dshare * (1 - f), -dshare * (1 - i), dn * slope(n)), axis=-1)
        dh = tape.d_before(t, dh_prev, dh)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads


def _minimal_tape(
    cell: str,
    blocks: int,
    x: np.ndarray,
    weight_ih: np.ndarray,
    bias_ih: np.ndarray | None,
    reverse: bool,
    lengths: np.ndarray | None,
    reset: np.ndarray | None,
    matmul_precision: str,
    candidate: str,
) -> Tape:
    """The tape of a MinGRU or MinLSTM."""
    if not isinstance(candidate, str) or candidate not in CANDIDATES:
        expected = ", ".join(map(repr, CANDIDATES))
        raise ValueError(f"candidate: expected one of {expected}, got {candidate!r}")
    weights = weight_ih, None, bias_ih, None
    return Tape(cell, blocks, x, *weights, reverse, lengths, reset, matmul_precision, candidate=candidate)


def _gates_with_a_sum(a_f: np.ndarray, a_i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gates f and i of a MinLSTM; where both are below e^-40, times one number, so that f + i is not 0.

    Below -40, s(a) = e^a in float64. So a number added to both pre-activations changes no f / (f + i).
    """
    added = np.maximum(-40 - np.maximum(a_f, a_i), 0)
    return sigmoid(a_f + added), sigmoid(a_i + added)
