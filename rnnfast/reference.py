"""Recurrent cells in plain NumPy, written as in the papers: what the fast code is judged by.

One layer, one direction. Time runs over t; at every step the state before it (``h``, for the LSTM also ``c``)
and the input ``x_t`` give the state after it, and ``y_t = h_t``. With s the logistic function, · a matrix
product and * the product element by element:

RNN (Elman 1990), with f one of tanh, relu, s and the identity::

    h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)

LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000)::

    i = s(W_ii·x_t + b_ii + W_hi·h_{t-1} + b_hi)        input gate
    f = s(W_if·x_t + b_if + W_hf·h_{t-1} + b_hf)        forget gate
    g = tanh(W_ig·x_t + b_ig + W_hg·h_{t-1} + b_hg)     candidate
    o = s(W_io·x_t + b_io + W_ho·h_{t-1} + b_ho)        output gate
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

GRU (Cho et al. 2014; the reset gate acts after the product with W_hn, as in Appleyard, Kočiský and Blunsom
2016, in cuDNN and in PyTorch)::

    r = s(W_ir·x_t + b_ir + W_hr·h_{t-1} + b_hr)        reset gate
    z = s(W_iz·x_t + b_iz + W_hz·h_{t-1} + b_hz)        update gate
    p = W_in·x_t + b_in
    q = W_hn·h_{t-1} + b_hn
    n = tanh(p + r * q)                                 candidate
    h_t = (1 - z) * n + z * h_{t-1}

The blocks of a weight stand one below the other: i, f, g, o and r, z, n.

Backward is backpropagation through time (Werbos 1990): the steps in the opposite order, ``dh`` and ``dc``
carried from each to the one before it, and every weight's gradient summed over time. A name ``d_i`` is the
gradient of what goes into gate i's nonlinearity.

Dims: T time, B batch, I input, H hidden, G blocks of a weight (RNN 1, LSTM 4, GRU 3). Everything is computed
in the dtype of x, float32 or float64, to which the other arrays are cast. This module imports NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = [
    "Tape",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]


def _sigmoid(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # far below zero exp gives inf, and 1 / inf is the right answer
        return 1 / (1 + np.exp(-a))


# Each nonlinearity as (f of the pre-activation, its derivative written with h = f of the pre-activation).
_NONLINEARITIES: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "sigmoid": (_sigmoid, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
}


class Tape:
    """What a forward pass leaves for its backward pass; it may be used any number of times.

    It refers to x and the weights without a copy: leave them as they are until backward.

    Attributes
    ----------
    cell : str
        "rnn", "lstm" or "gru".
    x : ndarray [T, B, I]
    weight_ih : ndarray [G*H, I]
    weight_hh : ndarray [G*H, H]
    bias_ih, bias_hh : ndarray [G*H] or None
    order : range
        The times in the order in which they were run.
    h_prev : ndarray [T, B, H]
        ``h_prev[t]`` is the h that went into step t.
    steps : list of tuple
        ``steps[t]``: the arrays [B, H] of step t that its backward step needs, in the order each cell says.
    nonlinearity : str
        The RNN's; the gated cells leave it empty.
    """

    __slots__ = (
        "bias_hh",
        "bias_ih",
        "cell",
        "h_prev",
        "nonlinearity",
        "order",
        "steps",
        "weight_hh",
        "weight_ih",
        "x",
    )

    def __init__(
        self,
        cell: str,
        blocks: int,
        x: np.ndarray,
        weight_ih: np.ndarray,
        weight_hh: np.ndarray,
        bias_ih: np.ndarray | None,
        bias_hh: np.ndarray | None,
        reverse: bool,
        nonlinearity: str = "",
    ) -> None:
        x = np.asarray(x)
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x: expected dtype float32 or float64, got {x.dtype}")
        if x.ndim != 3:
            raise ValueError(f"x: expected shape [T, B, I], got {x.shape}")
        T, B, I = x.shape
        weight_hh = np.asarray(weight_hh)
        if weight_hh.ndim != 2 or weight_hh.shape[0] != blocks * weight_hh.shape[1]:
            raise ValueError(f"weight_hh: expected shape [{blocks}*H, H], got {weight_hh.shape}")
        rows, H = weight_hh.shape

        self.cell = cell
        self.nonlinearity = nonlinearity
        self.x = x
        self.weight_ih = _checked("weight_ih", weight_ih, (rows, I), x.dtype)
        self.weight_hh = _checked("weight_hh", weight_hh, (rows, H), x.dtype)
        self.bias_ih = None if bias_ih is None else _checked("bias_ih", bias_ih, (rows,), x.dtype)
        self.bias_hh = None if bias_hh is None else _checked("bias_hh", bias_hh, (rows,), x.dtype)
        self.order = range(T)[::-1] if reverse else range(T)
        self.h_prev = np.empty((T, B, H), x.dtype)
        self.steps: list[tuple[np.ndarray, ...]] = [()] * T

    def from_x(self) -> np.ndarray:
        """The input's part of every pre-activation, W_ih·x + b_ih, of all steps at once: [T, B, G*H]."""
        product = self.x @ self.weight_ih.T
        return product if self.bias_ih is None else product + self.bias_ih

    def from_h(self, h: np.ndarray) -> np.ndarray:
        """The state's part of one step's pre-activations, W_hh·h + b_hh: [B, G*H]."""
        product = h @ self.weight_hh.T
        return product if self.bias_hh is None else product + self.bias_hh

    def gradients(
        self, d_from_x: np.ndarray, d_from_h: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The gradients of x and the weights, from those of `from_x` and `from_h` at every step."""
        grads = {
            "weight_ih": np.tensordot(d_from_x, self.x, axes=((0, 1), (0, 1))),
            "weight_hh": np.tensordot(d_from_h, self.h_prev, axes=((0, 1), (0, 1))),
        }
        if self.bias_ih is not None:
            grads["bias_ih"] = d_from_x.sum(axis=(0, 1))
        if self.bias_hh is not None:
            grads["bias_hh"] = d_from_h.sum(axis=(0, 1))
        return d_from_x @ self.weight_ih, grads


def rnn_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[np.ndarray, np.ndarray, Tape]:
    """Run a plain recurrent layer over time: ``h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [H, I]
    weight_hh : ndarray [H, H]
    bias_ih, bias_hh : ndarray [H] or None
        None stands for zero.
    state : ndarray [B, H] or None
        The initial h; None stands for zero.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then the state after reading x[T-1] .. x[t].

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step.
    state : ndarray [B, H]
        h after the last step run.
    tape : Tape
        For `rnn_backward`.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> x = np.array([[[1.0]], [[2.0]], [[4.0]]])
    >>> y, state, tape = reference.rnn_forward(x, np.ones((1, 1)), np.ones((1, 1)), nonlinearity="identity")
    >>> y.ravel(), state
    (array([1., 3., 7.]), array([[7.]]))
    """
    if nonlinearity not in _NONLINEARITIES:
        expected = ", ".join(map(repr, _NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    f, _ = _NONLINEARITIES[nonlinearity]
    tape = Tape("rnn", 1, x, weight_ih, weight_hh, bias_ih, bias_hh, reverse, nonlinearity)
    h = _state_or_zero("state", state, tape)
    y = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        tape.h_prev[t] = h
        h = f(from_x[t] + tape.from_h(h))
        tape.steps[t] = (h,)
        y[t] = h
    return y, h.copy(), tape  # a copy, because the tape keeps h itself


def rnn_backward(
    tape: Tape, dy: np.ndarray | None, dstate: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a plain recurrent layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `rnn_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None stands for zero.
    dstate : ndarray [B, H] or None
        The gradient of the final state; None stands for zero.

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
    dy = _checked_dy(tape, "rnn", dy)
    dh = _state_or_zero("dstate", dstate, tape)
    _, slope = _NONLINEARITIES[tape.nonlinearity]
    d_gates = np.empty_like(tape.h_prev)

    for t in reversed(tape.order):
        (h,) = tape.steps[t]
        dh = dh + dy[t]
        d_gates[t] = dh * slope(h)
        dh = d_gates[t] @ tape.weight_hh
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads


def lstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: tuple[np.ndarray | None, np.ndarray | None] | None = None,
    *,
    reverse: bool = False,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], Tape]:
    """Run an LSTM layer over time; its equations head this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [4*H, I]
        The blocks i, f, g, o, one below the other.
    weight_hh : ndarray [4*H, H]
    bias_ih, bias_hh : ndarray [4*H] or None
        None stands for zero.
    state : (ndarray [B, H], ndarray [B, H]) or None
        The initial (h, c); None, also for one of them, stands for zero.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step.
    state : (ndarray [B, H], ndarray [B, H])
        (h, c) after the last step run.
    tape : Tape
        For `lstm_backward`.

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
    tape = Tape("lstm", 4, x, weight_ih, weight_hh, bias_ih, bias_hh, reverse)
    h0, c0 = _pair("state", state)
    h, c = _state_or_zero("state[0]", h0, tape), _state_or_zero("state[1]", c0, tape)
    y = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        tape.h_prev[t] = h
        c_prev = c
        a_i, a_f, a_g, a_o = np.split(from_x[t] + tape.from_h(h), 4, axis=1)
        i, f, g, o = _sigmoid(a_i), _sigmoid(a_f), np.tanh(a_g), _sigmoid(a_o)
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        tape.steps[t] = (i, f, g, o, c_prev, c)
        y[t] = h
    return y, (h, c.copy()), tape  # a copy, because the tape keeps c itself


def lstm_backward(
    tape: Tape, dy: np.ndarray | None, dstate: tuple[np.ndarray | None, np.ndarray | None] | None
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Run an LSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None stands for zero.
    dstate : (ndarray [B, H], ndarray [B, H]) or None
        The gradient of the final (h, c); None, also for one of them, stands for zero.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : (ndarray [B, H], ndarray [B, H])
        The gradient of the initial (h, c).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh``.

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
    dy = _checked_dy(tape, "lstm", dy)
    dh_last, dc_last = _pair("dstate", dstate)
    dh, dc = _state_or_zero("dstate[0]", dh_last, tape), _state_or_zero("dstate[1]", dc_last, tape)
    T, B, H = tape.h_prev.shape
    d_gates = np.empty((T, B, 4 * H), tape.x.dtype)

    for t in reversed(tape.order):
        i, f, g, o, c_prev, c = tape.steps[t]
        tanh_c = np.tanh(c)
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        d_i = dc * g * i * (1 - i)
        d_f = dc * c_prev * f * (1 - f)
        d_g = dc * i * (1 - g * g)
        d_o = dh * tanh_c * o * (1 - o)
        d_gates[t] = np.concatenate((d_i, d_f, d_g, d_o), axis=1)
        dh = d_gates[t] @ tape.weight_hh
        dc = dc * f
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, (dh, dc), grads


def gru_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    bias_hh: np.ndarray | None = None,
    state: np.ndarray | None = None,
    *,
    reverse: bool = False,
) -> tuple[np.ndarray, np.ndarray, Tape]:
    """Run a GRU layer over time; its equations head this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [3*H, I]
        The blocks r, z, n, one below the other.
    weight_hh : ndarray [3*H, H]
    bias_ih, bias_hh : ndarray [3*H] or None
        None stands for zero.
    state : ndarray [B, H] or None
        The initial h; None stands for zero.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step.
    state : ndarray [B, H]
        h after the last step run.
    tape : Tape
        For `gru_backward`.

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
    tape = Tape("gru", 3, x, weight_ih, weight_hh, bias_ih, bias_hh, reverse)
    h = _state_or_zero("state", state, tape)
    y = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        tape.h_prev[t] = h
        h_prev = h
        x_r, x_z, p = np.split(from_x[t], 3, axis=1)
        h_r, h_z, q = np.split(tape.from_h(h_prev), 3, axis=1)
        r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
        n = np.tanh(p + r * q)
        h = (1 - z) * n + z * h_prev
        tape.steps[t] = (r, z, n, q, h_prev)
        y[t] = h
    return y, h, tape


def gru_backward(
    tape: Tape, dy: np.ndarray | None, dstate: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Run a GRU layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `gru_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None stands for zero.
    dstate : ndarray [B, H] or None
        The gradient of the final state; None stands for zero.

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
    dy = _checked_dy(tape, "gru", dy)
    dh = _state_or_zero("dstate", dstate, tape)
    T, B, H = tape.h_prev.shape
    d_from_x = np.empty((T, B, 3 * H), tape.x.dtype)
    d_from_h = np.empty((T, B, 3 * H), tape.x.dtype)

    for t in reversed(tape.order):
        r, z, n, q, h_prev = tape.steps[t]
        dh = dh + dy[t]
        d_n = dh * (1 - z) * (1 - n * n)
        d_z = dh * (h_prev - n) * z * (1 - z)
        d_r = d_n * q * r * (1 - r)
        d_from_x[t] = np.concatenate((d_r, d_z, d_n), axis=1)
        d_from_h[t] = np.concatenate((d_r, d_z, d_n * r), axis=1)
        dh = dh * z + d_from_h[t] @ tape.weight_hh
    dx, grads = tape.gradients(d_from_x, d_from_h)
    return dx, dh, grads


def _checked(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`array` in the given dtype, copied only to cast it; an error that names it where it does not fit."""
    array = np.asarray(array)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {array.shape}")
    return np.asarray(array, dtype)


def _state_or_zero(name: str, state: np.ndarray | None, tape: Tape) -> np.ndarray:
    """A copy of a state, or of its gradient, [B, H]; zeros for None."""
    shape, dtype = tape.h_prev.shape[1:], tape.x.dtype
    return np.zeros(shape, dtype) if state is None else _checked(name, state, shape, dtype).copy()


def _pair(
    name: str, state: tuple[np.ndarray | None, np.ndarray | None] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The LSTM's (h, c), or its gradient, as two parts; two None for None."""
    if state is None:
        return None, None
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{name}: expected a pair (h, c), got {type(state).__name__}")
    return state[0], state[1]


def _checked_dy(tape: Tape, cell: str, dy: np.ndarray | None) -> np.ndarray:
    """The gradient of y [T, B, H], zeros for None, once the tape is known to be this cell's."""
    if not isinstance(tape, Tape) or tape.cell != cell:
        raise ValueError(
            f"tape: expected one from {cell}_forward, got {getattr(tape, 'cell', type(tape).__name__)}"
        )
    if dy is None:
        return np.zeros_like(tape.h_prev)
    return _checked("dy", dy, tape.h_prev.shape, tape.x.dtype)
