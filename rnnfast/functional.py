"""One layer in one direction: arrays are checked, and run as a pass over the compiled loops.

`lstm_forward`, `gru_forward`, `rnn_forward` and their backwards have the names, signatures and meaning of
`rnnfast.reference`, which has the equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast import _core
from rnnfast._core import Tape
from rnnfast.arithmetic import add
from rnnfast.nn.checks import as_array, checked_lengths, checked_reset, flag, one_of
from rnnfast.passes import Array, pass_backward, pass_forward

__all__ = [
    "Tape",
    "gru_backward",
    "gru_forward",
    "indrnn_backward",
    "indrnn_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]

NONLINEARITIES = ("tanh", "relu", "sigmoid", "identity")
PEEPHOLES = ("weight_ci", "weight_cf", "weight_co")


def _floats(name: str, array: Array, shape: tuple, dtype: np.dtype | None = None) -> Array:
    """`array` in this shape (None: any size) and dtype (None: its own), C-contiguous."""
    array = as_array(name, array)
    if array.dtype.kind != "f" or (dtype is None and array.dtype not in (np.float32, np.float64)):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name}: expected shape [{expected}], got {array.shape}")
    with _core.Arithmetic():  # a cast rounds
        return np.require(array, dtype, ("C", "A"))


def _states(
    name: str, state, widths: tuple[int, ...], leading: tuple[int, ...], dtype: np.dtype
) -> tuple[Array | None, ...]:
    """The parts (h,) or (h, c) of a state, or of a gradient like it, each [leading.., its width] or None."""
    if state is None:
        return (None,) * len(widths)
    if len(widths) == 1:
        return (_floats(name, state, (*leading, *widths), dtype),)
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{name}: expected a pair (h, c), got {type(state).__name__}")
    return tuple(
        None if part is None else _floats(f"{name}[{n}]", part, (*leading, width), dtype)
        for n, (part, width) in enumerate(zip(state, widths, strict=True))
    )


def _check_peepholes(peepholes: dict[str, Array | None], coupled_gates: bool) -> None:
    """Refuse one for a forget gate that coupled gates lack, and some without the others."""
    if coupled_gates and peepholes["weight_cf"] is not None:
        raise ValueError("weight_cf: expected None with coupled_gates, got an array")
    wanted = [name for name in peepholes if not (coupled_gates and name == "weight_cf")]
    absent = [name for name in wanted if peepholes[name] is None]
    if 0 < len(absent) < len(wanted):
        raise ValueError(f"{absent[0]}: expected an array, as the other peepholes are given, got None")


def checked_clip(cell_clip: Any) -> float | None:
    """The bound of c as a float, or None; an error where it is no positive number."""
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
        return float(cell_clip)
    except OverflowError:  # of an integer: larger than any c
        return float("inf")


def sequences_of(lengths: Array | None, reset: Array | None, T: int, B: int) -> _core.Sequences | None:
    """What the kernels want to know of checked lengths [B] and resets [T, B]: nothing where there are none.

    The tape outlives the call, so what the caller may write into is copied.
    """
    if lengths is None and reset is None:
        return None
    return _core.Sequences(T, B, lengths, None if reset is None else reset.copy())


def _forward(
    cell: str,
    x,
    weight_ih,
    weight_hh,
    bias_ih,
    bias_hh,
    state,
    lengths,
    reset,
    return_states,
    extra: dict[str, Any] | None = None,
    **keywords,
):
    """The checked forward pass of any cell: y, the parts of the final state, the tape, all the states.

    `extra` has the LSTM's further weights by name, None where they are not given.
    """
    flag("return_states", return_states)
    x = _floats("x", x, (None, None, None))
    T, B, I = x.shape
    dtype = x.dtype
    info = _core.cell_info(cell, **keywords)
    given = {
        "weight_ih": weight_ih,
        "weight_hh": weight_hh,
        "bias_ih": bias_ih,
        "bias_hh": bias_hh,
        **(extra or {}),
    }
    given = {name: array for name, array in given.items() if array is not None or name in info.required}
    H, P = _sizes(info, given, dtype)
    for name, array in given.items():
        given[name] = _floats(name, array, info.weight_shape(name, I, H, P), dtype)
    widths = info.widths(H, P)
    # Copies: the tape keeps the state, and the caller may go on writing into it.
    states = _states("state", state, widths, (B,), dtype)
    initial = tuple(None if part is None else part.copy() for part in states)
    sequences = sequences_of(checked_lengths(lengths, T, B), checked_reset(reset, (T, B)), T, B)
    y = np.empty((T, B, P), dtype)
    final = tuple(np.empty((B, width), dtype) for width in widths)
    steps = tuple(np.zeros((T, B, H), dtype) for _ in widths[1:]) if return_states else None
    tape = pass_forward(
        _core.Cell(cell, given, **keywords), 0, x, initial, y, final, sequences=sequences, steps=steps
    )
    y.flags.writeable = False  # of its owner too: no view can be unlocked
    y = y.view()
    if steps is None:
        return y, final, tape
    return y, final, tape, (y.copy(), *(part.copy() for part in steps))


def _sizes(info: _core.CellInfo, given: dict[str, Array], dtype: np.dtype) -> tuple[int, int]:
    """H and P, from the shape of weight_hh: [G*H, P], or [H] of an element-wise recurrence."""
    if "weight_hh" in info.vectors:
        (H,) = _floats("weight_hh", given["weight_hh"], (None,), dtype).shape
        if H == 0:
            raise ValueError("weight_hh: expected shape [H] with H at least 1, got (0,)")
        return H, H
    G, columns = len(info.gates), "P" if "weight_hr" in given else "H"
    weight_hh = _floats("weight_hh", given["weight_hh"], (None, None), dtype)
    rows, P = weight_hh.shape
    H = rows // G
    if rows != G * H or P == 0 or H == 0 or (columns == "H" and P != H):
        raise ValueError(
            f"weight_hh: expected shape [{G}*H, {columns}] with {columns} at least 1, got {weight_hh.shape}"
        )
    return H, P


def _backward(cell: str, tape: Tape, dy, dstate, dstates):
    """The checked backward pass of any cell: gradients of x, of the state's parts and of the weights."""
    if not isinstance(tape, Tape) or tape.cell.name != cell:
        came = tape.cell.name if isinstance(tape, Tape) else type(tape).__name__
        raise ValueError(f"tape: expected one from {cell}_forward, got {came}")
    if tape.used:
        raise ValueError("tape: a backward pass has used it up; run forward again")
    T, B, P = tape.y.shape
    dtype = tape.y.dtype
    widths = tape.cell.widths
    dy = None if dy is None else _floats("dy", dy, (T, B, P), dtype)
    d_final = _states("dstate", dstate, widths, (B,), dtype)
    dh_steps, *d_steps = _states("dstates", dstates, widths, (T, B), dtype)
    if dh_steps is not None:
        dy = dh_steps if dy is None else add(dy, dh_steps)
    dx = np.empty(tape.x.shape, dtype)
    d_initial = tuple(np.empty((B, width), dtype) for width in widths)
    grads = pass_backward(tape, dy, d_final, dx, d_initial, False, tuple(d_steps))
    return dx, d_initial, grads


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
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
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
        Bounds c, at every step, to -cell_clip .. cell_clip; where it clamps, no gradient passes. A bound
        below the smallest normal number of the dtype holds c at zero.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].
    lengths : ndarray [B] of integers, or None
        How many steps each sequence has, 0..T; None means T. Nothing is read past them, and a reversed
        pass starts at each sequence's own end.
    reset : ndarray [T, B] of bool, or None
        True where an episode begins at x[t, b]: nothing crosses to it from x[t-1, b], nor back.
    return_states : bool
        Give the state at every step too.

    Returns
    -------
    y : ndarray [T, B, P]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : (ndarray [B, P], ndarray [B, H])
        (h, c) after each sequence's last step run; without any, the initial one.
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
    of Gers and Schmidhuber 2000, the projection of Sak, Senior and Beaufays 2014; the equations head
    `rnnfast.reference`.

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
    flag("coupled_gates", coupled_gates)
    peepholes = dict(zip(PEEPHOLES, (weight_ci, weight_cf, weight_co), strict=True))
    _check_peepholes(peepholes, coupled_gates)
    y, final, tape, *states = _forward(
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
        {"weight_hr": weight_hr, **peepholes},
        coupled_gates=bool(coupled_gates),
        cell_clip=checked_clip(cell_clip),
        reverse=flag("reverse", reverse),
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
    dx, (dh, dc), grads = _backward("lstm", tape, dy, dstate, dstates)
    return dx, (dh, dc), grads


def gru_forward(
    x: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    state: Array | None = None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
) -> tuple[Any, ...]:
    """Run a GRU layer over time, in one direction.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64; the other arrays are cast to its dtype.
    weight_ih : ndarray [3*H, I]
        The blocks r, z, n, one below the other.
    weight_hh : ndarray [3*H, H]
    bias_ih, bias_hh : ndarray [3*H] or None
        None means zero.
    state : ndarray [B, H] or None
        The initial h; None means zero.
    reset_after : bool
        Whether r acts after the product with W_hn or before it.
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].
    lengths : ndarray [B] of integers, or None
        How many steps each sequence has, 0..T; None means T. Nothing is read past them, and a reversed
        pass starts at each sequence's own end.
    reset : ndarray [T, B] of bool, or None
        True where an episode begins at x[t, b]: nothing crosses to it from x[t-1, b], nor back.
    return_states : bool
        Give the state at every step too.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after each sequence's last step run; without any, the initial one.
    tape : Tape
        For `gru_backward`, once.
    states : ndarray [T, B, H]
        Only with `return_states`: h after every step, as y.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    Cho et al. 2014; by default with the reset gate after the state's product, as in cuDNN and PyTorch. The
    equations head `rnnfast.reference`.

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
    y, final, tape, *states = _forward(
        "gru",
        x,
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
        state,
        lengths,
        reset,
        return_states,
        reset_after=flag("reset_after", reset_after),
        reverse=flag("reverse", reverse),
    )
    return y, final[0], tape, *(parts[0] for parts in states)


def gru_backward(
    tape: Tape,
    dy: Array | None,
    dstate: Array | None,
    *,
    dstates: Array | None = None,
) -> tuple[Array, Array, dict[str, Array]]:
    """Run a GRU layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `gru_forward`; this call uses it up.
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
    >>> rng = np.random.default_rng(0)
    >>> x, weight_ih, weight_hh = (rng.normal(size=size) for size in ((5, 2, 3), (12, 3), (12, 4)))
    >>> y, h, tape = functional.gru_forward(x, weight_ih, weight_hh)
    >>> dx, dh, grads = functional.gru_backward(tape, None, np.ones_like(h))
    >>> dx.shape, dh.shape, grads["weight_ih"].shape
    ((5, 2, 3), (2, 4), (12, 3))
    """
    dx, (dh,), grads = _backward("gru", tape, dy, dstate, dstates)
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
    lengths: Array | None = None,
    reset: Array | None = None,
    return_states: bool = False,
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
    reverse : bool
        Run from the last step to the first; ``y[t]`` is then h after reading x[T-1] .. x[t].
    lengths : ndarray [B] of integers, or None
        How many steps each sequence has, 0..T; None means T. Nothing is read past them, and a reversed
        pass starts at each sequence's own end.
    reset : ndarray [T, B] of bool, or None
        True where an episode begins at x[t, b]: nothing crosses to it from x[t-1, b], nor back.
    return_states : bool
        Give the state at every step too.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step, zero past the lengths; read-only, because the tape keeps it.
    state : ndarray [B, H]
        h after each sequence's last step run; without any, the initial one.
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
    y, final, tape, *states = _forward(
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
        reverse=flag("reverse", reverse),
        nonlinearity=one_of("nonlinearity", nonlinearity, NONLINEARITIES),
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
    dx, (dh,), grads = _backward("rnn", tape, dy, dstate, dstates)
    return dx, dh, grads


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
    reverse, lengths, reset, return_states
        As in `rnn_forward`.

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
    y, final, tape, *states = _forward(
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
        reverse=flag("reverse", reverse),
        nonlinearity=one_of("nonlinearity", nonlinearity, NONLINEARITIES),
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
    dx, (dh,), grads = _backward("indrnn", tape, dy, dstate, dstates)
    return dx, dh, grads
