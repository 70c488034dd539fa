"""RNN and IndRNN: a nonlinearity of one pre-activation."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.arguments import norm_of
from rnnfast.reference.functions import NONLINEARITIES, factor
from rnnfast.reference.tape import Tape, begin_backward

__all__ = ["indrnn_backward", "indrnn_forward", "rnn_backward", "rnn_forward"]


def rnn_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    nonlinearity: str = "tanh",
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
    """Run a plain recurrent layer over time: ``h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
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
        Run from the last step to the first; ``y[t]`` is then the state after reading x[T-1] .. x[t].
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
        For `rnn_backward`.
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
    >>> x = np.array([[[1.0]], [[2.0]], [[4.0]]])
    >>> ones, keywords = np.ones((1, 1)), {"nonlinearity": "identity"}
    >>> y, state, tape = reference.rnn_forward(x, ones, ones, **keywords)
    >>> y.ravel(), state
    (array([1., 3., 7.]), array([[7.]]))

    A sequence of two steps, and an episode that begins at the third:

    >>> y, state, tape = reference.rnn_forward(x, ones, ones, lengths=np.array([2]), **keywords)
    >>> y.ravel(), state
    (array([1., 3., 0.]), array([[3.]]))
    >>> y, state, tape = reference.rnn_forward(x, ones, ones, reset=x[:, :, 0] == 4, **keywords)
    >>> y.ravel(), state
    (array([1., 3., 4.]), array([[4.]]))
    """
    if not isinstance(nonlinearity, str) or nonlinearity not in NONLINEARITIES:
        expected = ", ".join(map(repr, NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    f, _ = NONLINEARITIES[nonlinearity]
    weights = weight_ih, weight_hh, bias_ih, bias_hh
    norm = norm_of(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
    tape = Tape(
        "rnn",
        1,
        x,
        *weights,
        reverse,
        lengths,
        reset,
        matmul_precision,
        norm=norm,
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        nonlinearity=nonlinearity,
    )
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        h_t = f(from_x[t] + tape.from_h(t, h_prev))
        tape.h_prev[t] = h_prev
        tape.steps[t] = (h_t,)
        h = h_steps[t] = tape.after(t, tape.zoned(0, t, h_t, h_prev), h)
    y = tape.within(h_steps)
    results = y, h.copy(), tape  # a copy, because the tape keeps h itself
    return (*results, y.copy()) if return_states else results


def rnn_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: np.ndarray | None,
    *,
    dstates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a plain recurrent layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `rnn_forward`.
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
    >>> x = np.array([[[1.0]], [[2.0]], [[4.0]]])
    >>> *_, tape = reference.rnn_forward(x, np.ones((1, 1)), np.ones((1, 1)), nonlinearity="identity")
    >>> dx, dstate, grads = reference.rnn_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), grads["weight_ih"], grads["weight_hh"]
    (array([1., 1., 1.]), array([[7.]]), array([[4.]]))
    """
    begin_backward(tape, "rnn")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = NONLINEARITIES[tape.options["nonlinearity"]]
    d_gates = np.empty_like(tape.h_prev)

    for t in reversed(tape.order):
        (h_t,) = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        d_gates[t] = dh_t * factor(dh_t, slope(h_t))
        dh = tape.d_before(t, tape.through_state(t, d_gates[t]) + dh_kept, dh)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads


def indrnn_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    nonlinearity: str = "relu",
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: float | np.ndarray | None = None,
) -> tuple[Any, ...]:
    """Run an IndRNN layer over time: ``h_t = f(W_ih·x_t + b_ih + w_hh * h_{t-1})``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
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
        h after every step; zero past the lengths.
    state : ndarray [B, H]
        h after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `indrnn_backward`.
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
    >>> x, ones, u = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.ones((1, 1)), np.array([0.5])
    >>> y, state, tape = reference.indrnn_forward(x, ones, u, nonlinearity="identity")
    >>> y.ravel(), state
    (array([1.  , 2.5 , 5.25]), array([[5.25]]))
    """
    if nonlinearity not in NONLINEARITIES:
        expected = ", ".join(map(repr, NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    f, _ = NONLINEARITIES[nonlinearity]
    weights = weight_ih, weight_hh, bias_ih, None
    tape = Tape(
        "indrnn",
        1,
        x,
        *weights,
        reverse,
        lengths,
        reset,
        matmul_precision,
        element_wise=True,
        zoneout=zoneout,
        nonlinearity=nonlinearity,
    )
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        h_t = f(from_x[t] + tape.weight_hh * h_prev)
        tape.h_prev[t] = h_prev
        tape.steps[t] = (h_t,)
        h = h_steps[t] = tape.after(t, tape.zoned(0, t, h_t, h_prev), h)
    y = tape.within(h_steps)
    results = y, h.copy(), tape  # a copy, because the tape keeps h itself
    return (*results, y.copy()) if return_states else results


def indrnn_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: np.ndarray | None,
    *,
    dstates: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run an IndRNN layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `indrnn_forward`.
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
        If the tape is another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> x, ones, u = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.ones((1, 1)), np.array([0.5])
    >>> *_, tape = reference.indrnn_forward(x, ones, u, nonlinearity="identity")
    >>> dx, dstate, grads = reference.indrnn_backward(tape, None, np.ones((1, 1)))
    >>> dx.ravel(), grads["weight_ih"], grads["weight_hh"]
    (array([0.25, 0.5 , 1.  ]), array([[5.25]]), array([3.]))
    """
    begin_backward(tape, "indrnn")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = NONLINEARITIES[tape.options["nonlinearity"]]
    d_gates = np.empty_like(tape.h_prev)

    for t in reversed(tape.order):
        (h_t,) = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        d_gates[t] = dh_t * factor(dh_t, slope(h_t))
        dh = tape.d_before(t, d_gates[t] * tape.weight_hh + dh_kept, dh)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads
