"""One layer in one direction over the compiled loops: public functions, and unchecked passes for layers.

`lstm_forward`, `gru_forward`, `rnn_forward` and their backwards have the names, signatures and meaning of
`rnnfast.reference`, where the equations stand. `layers` calls `pass_forward` and `pass_backward`, which check
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from rnnfast import _core

__all__ = [
    "Tape",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]

Array = np.ndarray
Weights = tuple[Array, Array, "Array | None", "Array | None"]  # weight_ih, weight_hh, bias_ih, bias_hh
States = Sequence["Array | None"]  # (h,) or (h, c)

# csrc/pass.h's numbers of the cells and nonlinearities; G, gates of a weight; S, slots of the saved gates.
CELLS = {"rnn": 0, "lstm": 1, "gru": 2}
NONLINEARITIES = {"tanh": 0, "relu": 1, "sigmoid": 2, "identity": 3}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_SLOTS = {"rnn": 1, "lstm": 4, "gru": 4}


class Tape:
    """What one pass leaves for its backward pass; it refers to x, the weights and y: leave them unwritten.

    Attributes
    ----------
    cell : str
        "rnn", "lstm" or "gru".
    used : bool
        Whether a backward pass has used it up.
    """

    __slots__ = (
        "c_steps",
        "cell",
        "gates",
        "initial",
        "nonlinearity",
        "reverse",
        "spare",
        "used",
        "weights",
        "x",
        "y",
    )

    def __init__(
        self,
        cell: str,
        nonlinearity: int,
        reverse: bool,
        x: Array,
        weights: Weights,
        initial: tuple[Array | None, Array | None],
        y: Array,
        gates: Array,
        c_steps: Array | None,
        spare: list[Array] | None,
    ) -> None:
        self.cell = cell
        self.nonlinearity = nonlinearity
        self.reverse = reverse
        self.x = x
        self.weights = weights
        self.initial = initial
        self.y = y
        self.gates = gates
        self.c_steps = c_steps
        self.spare = spare
        self.used = False

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tape cannot be pickled or copied: it belongs to one forward pass")


# ---- passes: everything is checked already -----------------------------------------------------------------


def pass_forward(
    cell: str,
    x: Array,
    weights: Weights,
    initial: States | None,
    y: Array,
    final: Sequence[Array],
    *,
    reverse: bool = False,
    nonlinearity: str = "tanh",
    save: bool = False,
    spare: list[Array] | None = None,
) -> Tape | None:
    """Run one layer in one direction over arrays that the caller has checked.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    x : ndarray [T, B, I]
        Last axis contiguous, the others with any stride.
    weights : tuple of ndarray
        weight_ih [G*H, I], weight_hh [G*H, H], bias_ih [G*H] or None, bias_hh likewise; C-contiguous.
    initial : sequence of ndarray [B, H], or None
        (h,) or (h, c), C-contiguous; None is zero.
    y : ndarray [T, B, H]
        Written; last axis contiguous, the others with any stride.
    final : sequence of ndarray [B, H]
        (h,) or (h, c), C-contiguous; written.
    reverse : bool
        Run from the last step to the first.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
        The plain cell's.
    save : bool
        Keep what `pass_backward` needs.
    spare : list, optional
        Buffers to reuse: one that fits is taken out, and `pass_backward` puts it back.

    Returns
    -------
    Tape or None
        None unless `save`.
    """
    h, c = final if len(final) == 2 else (final[0], None)
    h0, c0 = (None, None) if initial is None else (initial[0], initial[1] if len(initial) == 2 else None)
    gates: Array | None = None
    c_steps: Array | None = None
    if save:
        T, B, H = y.shape
        gates = _take(spare, T * B * _SLOTS[cell] * H, y.dtype)
        if c is not None:
            c_steps = _take(spare, T * B * H, y.dtype)
    step = -1 if reverse else 1
    code = NONLINEARITIES[nonlinearity]
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    _core.forward(
        CELLS[cell],
        code,
        x[::step],
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        h0,
        c0,
        y[::step],
        h,
        c,
        gates,
        c_steps,
    )
    if gates is None:
        return None
    return Tape(cell, code, reverse, x, weights, (h0, c0), y, gates, c_steps, spare)


def pass_backward(
    tape: Tape,
    dy: Array | None,
    dfinal: States | None,
    dx: Array | None,
    dinitial: Sequence[Array],
    *,
    retain: bool = False,
) -> dict[str, Array]:
    """Run the pass of a tape backwards, over arrays that the caller has checked.

    Parameters
    ----------
    tape : Tape
        Used up unless `retain`.
    dy : ndarray [T, B, H] or None
        None is zero.
    dfinal : sequence of ndarray [B, H] or None, or None
        Gradients of the final state, C-contiguous; None is zero.
    dx : ndarray [T, B, I] or None
        Written, strides as x; None if it is not wanted.
    dinitial : sequence of ndarray [B, H]
        Gradients of the initial state; written.
    retain : bool
        Keep the tape for another backward pass, at the price of a copy of the gates.

    Returns
    -------
    dict
        Fresh gradients weight_ih, weight_hh and, where the pass had them, bias_ih, bias_hh.
    """
    step = -1 if tape.reverse else 1
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    grads = {name: np.empty_like(w) for name, w in zip(names, tape.weights, strict=True) if w is not None}
    dh, dc = dinitial if len(dinitial) == 2 else (dinitial[0], None)
    dh_final, dc_final = (
        (None, None) if dfinal is None else (dfinal[0], dfinal[1] if len(dfinal) == 2 else None)
    )
    gates = tape.gates.copy() if retain else tape.gates
    tape.used = not retain
    _core.backward(
        CELLS[tape.cell],
        tape.nonlinearity,
        tape.x[::step],
        tape.weights[0],
        tape.weights[1],
        tape.initial[0],
        tape.initial[1],
        tape.y[::step],
        gates,
        tape.c_steps,
        None if dy is None else dy[::step],
        dh_final,
        dc_final,
        None if dx is None else dx[::step],
        dh,
        dc,
        grads["weight_ih"],
        grads["weight_hh"],
        grads.get("bias_ih"),
        grads.get("bias_hh"),
    )
    if not retain:
        _give(tape.spare, tape.gates)
        if tape.c_steps is not None:
            _give(tape.spare, tape.c_steps)
    return grads


def _take(spare: list[Array] | None, n: int, dtype: np.dtype) -> Array:
    """n numbers, from the spare buffers if one of them is large enough and not much too large."""
    if spare is None:
        return np.empty(n, dtype)
    for _ in range(len(spare)):
        try:
            buffer = spare.pop(0)
        except IndexError:  # another thread was faster
            break
        if buffer.dtype == dtype and n <= buffer.size <= 2 * n:
            return buffer
        spare.append(buffer)
    del spare[:1]  # no call has wanted the oldest for a while: sizes that are gone go
    return np.empty(n, dtype)


def _give(spare: list[Array] | None, buffer: Array) -> None:
    """Puts a buffer back, and lets the oldest go where there are many."""
    if spare is not None:
        spare.append(buffer)
        del spare[:-32]


# ---- the public functions: check, allocate, run ------------------------------------------------------------


def _floats(name: str, array: Array, shape: tuple, dtype: np.dtype | None = None) -> Array:
    """`array` in this shape (None: any size) and dtype (None: its own), C-contiguous."""
    array = np.asarray(array)
    if array.dtype.kind != "f" or (dtype is None and array.dtype not in (np.float32, np.float64)):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape [{expected}], got {array.shape}")
    return np.require(array, dtype, ("C", "A"))


def _states(name: str, state, parts: int, B: int, H: int, dtype: np.dtype) -> tuple[Array | None, ...]:
    """The parts (h,) or (h, c) of a state or of its gradient, each [B, H] or None."""
    if state is None:
        return (None,) * parts
    if parts == 1:
        return (_floats(name, state, (B, H), dtype),)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{name}: expected a pair (h, c), got {type(state).__name__}")
    return tuple(
        None if part is None else _floats(f"{name}[{n}]", part, (B, H), dtype) for n, part in enumerate(state)
    )


def _forward(
    cell: str, x, weight_ih, weight_hh, bias_ih, bias_hh, state, reverse: bool, nonlinearity: str = "tanh"
):
    """The checked forward pass of any cell: y, the parts of the final state, the tape."""
    x = _floats("x", x, (None, None, None))
    T, B, I = x.shape
    dtype = x.dtype
    G = GATES[cell]
    weight_hh = _floats("weight_hh", weight_hh, (None, None), dtype)
    rows, H = weight_hh.shape
    if rows != G * H or H == 0:
        raise ValueError(f"weight_hh: expected shape [{G}*H, H] with H at least 1, got {weight_hh.shape}")
    weight_ih = _floats("weight_ih", weight_ih, (rows, I), dtype)
    biases = [
        None if bias is None else _floats(name, bias, (rows,), dtype)
        for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh))
    ]
    parts = 2 if cell == "lstm" else 1
    initial = _states("state", state, parts, B, H, dtype)
    y = np.empty((T, B, H), dtype)
    final = tuple(np.empty((B, H), dtype) for _ in range(parts))
    weights = (weight_ih, weight_hh, *biases)
    tape = pass_forward(
        cell, x, weights, initial, y, final, reverse=reverse, nonlinearity=nonlinearity, save=True
    )
    y = y.view()
    y.flags.writeable = False
    return y, final, tape


def _backward(cell: str, tape: Tape, dy, dstate):
    """The checked backward pass of any cell: gradients of x, of the state's parts and of the weights."""
    if not isinstance(tape, Tape) or tape.cell != cell:
        raise ValueError(
            f"tape: expected one from {cell}_forward, got {getattr(tape, 'cell', type(tape).__name__)}"
        )
    if tape.used:
        raise ValueError("tape: a backward pass has used it up; run forward again")
    T, B, H = tape.y.shape
    dtype = tape.y.dtype
    parts = 2 if cell == "lstm" else 1
    dy = None if dy is None else _floats("dy", dy, (T, B, H), dtype)
    dfinal = _states("dstate", dstate, parts, B, H, dtype)
    dx = np.empty(tape.x.shape, dtype)
    dinitial = tuple(np.empty((B, H), dtype) for _ in range(parts))
    grads = pass_backward(tape, dy, dfinal, dx, dinitial)
    return dx, dinitial, grads


def lstm_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: tuple[Array | None, Array | None] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, tuple[Array, Array], Tape]:
    """Run an LSTM layer over time, in one direction.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
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
        h after every step; read-only, because the tape keeps it.
    state : (ndarray [B, H], ndarray [B, H])
        (h, c) after the last step run.
    tape : Tape
        For `lstm_backward`, once.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000; the equations
    head `rnnfast.reference`.

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
    y, (h, c), tape = _forward("lstm", x, weight_ih, weight_hh, bias_ih, bias_hh, state, reverse)
    return y, (h, c), tape


def lstm_backward(
    tape: Tape, dy: Array | None, dstate: tuple[Array | None, Array | None] | None
) -> tuple[Array, tuple[Array, Array], dict[str, Array]]:
    """Run an LSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward`; this call uses it up.
    dy : ndarray [T, B, H] or None
        The gradient of y; None stands for zero.
    dstate : (ndarray [B, H], ndarray [B, H]) or None
        The gradients of the final (h, c); None, also for one of them, stands for zero.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : (ndarray [B, H], ndarray [B, H])
        The gradients of the initial (h, c).
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
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (16, 3), (16, 4)))
    >>> y, state, tape = functional.lstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc), grads = functional.lstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dh.shape, grads["weight_hh"].shape
    ((5, 2, 3), (2, 4), (16, 4))
    """
    dx, (dh, dc), grads = _backward("lstm", tape, dy, dstate)
    return dx, (dh, dc), grads


def gru_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: Array | None = None,
    *,
    reverse: bool = False,
) -> tuple[Array, Array, Tape]:
    """Run a GRU layer over time, in one direction.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
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
        h after every step; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after the last step run.
    tape : Tape
        For `gru_backward`, once.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    Cho et al. 2014, with the reset gate after the state's product, as in cuDNN and PyTorch; the equations
    head `rnnfast.reference`.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (12, 3), (12, 4)))
    >>> y, h, tape = functional.gru_forward(x, weight_ih, weight_hh)
    >>> y.shape, bool((y[-1] == h).all())
    ((5, 2, 4), True)
    """
    y, (h,), tape = _forward("gru", x, weight_ih, weight_hh, bias_ih, bias_hh, state, reverse)
    return y, h, tape


def gru_backward(tape: Tape, dy: Array | None, dstate: Array | None) -> tuple[Array, Array, dict[str, Array]]:
    """Run a GRU layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `gru_forward`; this call uses it up.
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
        If the tape is used up or another cell's, or a gradient has the wrong shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import functional
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (12, 3), (12, 4)))
    >>> y, h, tape = functional.gru_forward(x, weight_ih, weight_hh)
    >>> dx, dh, grads = functional.gru_backward(tape, None, np.ones_like(h))
    >>> dx.shape, dh.shape, grads["weight_ih"].shape
    ((5, 2, 3), (2, 4), (12, 3))
    """
    dx, (dh,), grads = _backward("gru", tape, dy, dstate)
    return dx, dh, grads


def rnn_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Array, Array, Tape]:
    """Run a plain recurrent layer over time: ``h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)``.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [H, I]
    weight_hh : ndarray [H, H]
    bias_ih, bias_hh : ndarray [H] or None
        None stands for zero.
    state : ndarray [B, H] or None
        The initial h; None stands for zero.
    nonlinearity : {"tanh", "relu", "sigmoid", "identity"}
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after the last step run.
    tape : Tape
        For `rnn_backward`, once.

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
    if nonlinearity not in NONLINEARITIES:
        expected = ", ".join(map(repr, NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    y, (h,), tape = _forward("rnn", x, weight_ih, weight_hh, bias_ih, bias_hh, state, reverse, nonlinearity)
    return y, h, tape


def rnn_backward(tape: Tape, dy: Array | None, dstate: Array | None) -> tuple[Array, Array, dict[str, Array]]:
    """Run a plain recurrent layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `rnn_forward`; this call uses it up.
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
    dx, (dh,), grads = _backward("rnn", tape, dy, dstate)
    return dx, dh, grads
