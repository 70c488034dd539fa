"""Recurrent cells in plain NumPy, written as in the papers. The fast code is tested against it.

One layer, one direction. Time runs over t; at every step the state before it (``h``, for the LSTM also ``c``,
for the sLSTM ``c``, ``n`` and ``m``) and the input ``x_t`` give the state after it, and ``y_t = h_t``. With s
the logistic function, · a matrix product and * the product element by element:

RNN (Elman 1990), with f one of tanh, relu, s and the identity::

    h_t = f(W_ih·x_t + b_ih + W_hh·h_{t-1} + b_hh)

IndRNN (Li et al. 2018), with the same f and a vector w_hh::

    h_t = f(W_ih·x_t + b_ih + w_hh * h_{t-1})

MinGRU (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024), whose gates see the input alone, with g one of the
identity, tanh and the paper's positive function, a + 1/2 for a of at least 0 and s(a) below::

    z = s(W_z·x_t + b_z)
    n = g(W_h·x_t + b_h)                                candidate
    h_t = (1 - z) * h_{t-1} + z * n

MinLSTM (the same paper)::

    f = s(W_f·x_t + b_f)                                i likewise
    n = g(W_h·x_t + b_h)
    h_t = f / (f + i) * h_{t-1} + i / (f + i) * n

LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers, Schmidhuber and Cummins 2000). Options
are in brackets: peepholes w_c (Gers and Schmidhuber 2000), a bound on c, and a projection W_P, ``weight_hr``
(Sak, Senior and Beaufays 2014)::

    i = s(W_ii·x_t + b_ii + W_hi·h_{t-1} + b_hi [+ w_ci * c_{t-1}])     input gate
    f = s(W_if·x_t + b_if + W_hf·h_{t-1} + b_hf [+ w_cf * c_{t-1}])     forget gate; if coupled, 1 - i
    g = tanh(W_ig·x_t + b_ig + W_hg·h_{t-1} + b_hg)                     candidate
    c_t = [clip] f * c_{t-1} + i * g
    o = s(W_io·x_t + b_io + W_ho·h_{t-1} + b_ho [+ w_co * c_t])         output gate
    h_t = [W_P·] (o * tanh(c_t))

GRU (Cho et al. 2014)::

    r = s(W_ir·x_t + b_ir + W_hr·h_{t-1} + b_hr)        reset gate
    z = s(W_iz·x_t + b_iz + W_hz·h_{t-1} + b_hz)        update gate
    p = W_in·x_t + b_in
    q = W_hn·(r * h_{t-1}) + b_hn
    n = tanh(p + q)                                     candidate
    h_t = (1 - z) * n + z * h_{t-1}

or, with the reset gate after the product with W_hn (Appleyard, Kočiský and Blunsom 2016, cuDNN, PyTorch)::

    q = W_hn·h_{t-1} + b_hn
    n = tanh(p + r * q)

sLSTM (Beck et al. 2024). The product of the state has heads: W_h·h is one product for each head, of its own D
units with its own rows of every block; a step whose n_{t-1} is 0 has m_t = i::

    i, f, z, o = W_i·x_t + b_i + W_h·h_{t-1}
    l = log s(f) + m_{t-1}
    m_t = max(l, i)                                     stabilizer
    i' = exp(i - m_t),  f' = min(exp(l - m_t), 1)       one of them is 1, the other is exp(-|i - l|)
    c_t = f' * c_{t-1} + i' * tanh(z)
    n_t = f' * n_{t-1} + i'                             normalizer
    h_t = s(o) * c_t / n_t

The blocks of a weight are stacked: z, h; f, i, h; i, f, g, o (if coupled i, g, o); r, z, n; i, f, z, o.

Zoneout (Krueger et al. 2017) keeps a share z of h as it was, where h'_t is the h of the equations above. c
has a share of its own. tanh reads c'_t, and the peephole of o reads c_t::

    h_t = z * h_{t-1} + (1 - z) * h'_t

Recurrent dropout (Gal and Ghahramani 2016) multiplies each h_{t-1} that a product reads by one mask, the same
at all steps. Elsewhere, as in z * h_{t-1} of a GRU, h_{t-1} is as it is.

Layer normalization (Ba, Kiros and Hinton 2016) of RNN, LSTM and this second GRU: each product, W_ih·x_t and
W_hh·h_{t-1} with all its blocks, becomes LN(product), to which the biases are added. The LSTM's output is
o * tanh(LN(c_t)). The GRU of the paper normalizes the block of n apart from r and z::

    LN(a) = weight * (a - mean(a)) / sqrt(mean((a - mean(a))**2) + 1e-5) + bias

with a weight and a bias of each of them: ``ln_ih``, ``ln_hh`` and ``ln_c``.

Past a sequence's length its state stays as it is and y_t is zero; run in reverse it thus starts at its own
end. Where ``reset[t, b]`` is true, an episode begins at step t: the step run next after this border, t or in
reverse t-1, starts from a state of zero. Both act by select, so that not even NaN passes.

Backward is backpropagation through time (Werbos 1990): the steps in the opposite order, ``dh`` and ``dc``
carried from each to the one before it, and every weight's gradient summed over time. A name ``d_i`` is the
gradient of what goes into gate i's nonlinearity, ``di`` that of what comes out. A gradient of zero stays zero
whatever it is multiplied with: NaN or infinity in a step whose results nobody uses reaches no gradient.

Dims: T time, B batch, I input, H hidden, P projected (H without a projection), D units of a head, G blocks
of a weight (RNN and IndRNN 1, MinGRU 2, MinLSTM 3, LSTM 4 or if coupled 3, GRU 3, sLSTM 4). Everything is
computed in the dtype of x, float32 or float64, to which the other arrays are cast. This module imports NumPy
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "Tape",
    "ctc",
    "gru_backward",
    "gru_forward",
    "indrnn_backward",
    "indrnn_forward",
    "lstm_backward",
    "lstm_forward",
    "mingru_backward",
    "mingru_forward",
    "minlstm_backward",
    "minlstm_forward",
    "quantize",
    "rnn_backward",
    "rnn_forward",
    "round_to_bfloat16",
    "slstm_backward",
    "slstm_forward",
]


NORM_EPSILON = 1e-5  # of layer normalization


def _sigmoid(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # far below zero exp gives inf, and 1 / inf is the right answer
        return 1 / (1 + np.exp(-a))


# Each nonlinearity as (f of the pre-activation, its derivative written with h = f of the pre-activation).
_NONLINEARITIES: dict[str, tuple[Callable, Callable]] = {
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "relu": (lambda a: np.maximum(a, 0), np.sign),
    "sigmoid": (_sigmoid, lambda h: h * (1 - h)),
    "identity": (lambda a: a, np.ones_like),
}


# The same of each function on the candidate of a MinGRU or MinLSTM.
_CANDIDATES: dict[str, tuple[Callable, Callable]] = {
    "identity": _NONLINEARITIES["identity"],
    "positive": (
        lambda a: np.where(a < 0, _sigmoid(a), a + 0.5),
        lambda n: np.where(n < 0.5, n * (1 - n), 1),
    ),
    "tanh": _NONLINEARITIES["tanh"],
}


def round_to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The numbers of a float array, rounded to bfloat16: to nearest, ties to even; subnormal floats to zero.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> reference.round_to_bfloat16(np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 0.1]))
    array([1.        , 1.015625  , 0.10009766])
    """
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    rounded = np.where((bits & 0x7FFFFFFF) < 0x00800000, bits & 0x80000000, rounded)
    rounded = np.where((bits & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, rounded)  # NaN
    return rounded.astype(np.uint32).view(np.float32).astype(array.dtype)


def quantize(array: np.ndarray, bounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a float array in int8: integers from -127 to 127, and the scale of each row.

    Of a row with the largest magnitude m, an integer is ``x * (127/m)`` rounded to nearest, ties to even, and
    the scale is ``m/127``; each operation is rounded to float32. Rows below 2**-100 are zero. The scale of a
    row with NaN or infinity is NaN.

    Parameters
    ----------
    array : ndarray [.., K]
    bounded : bool
        Take 1 for m where it is less, as for the state of a cell whose h stays within 1.

    Returns
    -------
    integers : ndarray [.., K] of float64
    scales : ndarray [.., 1] of float64

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> integers, scales = reference.quantize(np.array([[0.5, -1.0, 0.004], [2.0, 0.0, 0.3]]))
    >>> integers.astype(int).tolist(), scales.round(4).tolist()
    ([[64, -127, 1], [127, 0, 19]], [[0.0079], [0.0157]])
    """
    x = array.astype(np.float32)
    most = np.abs(x).max(axis=-1, keepdims=True, initial=0)
    finite = np.isfinite(most)
    most = np.where(finite, np.maximum(most, 1) if bounded else most, np.float32(1))
    used = most >= np.float32(2.0**-100)
    inverse = np.where(used, np.float32(127) / np.where(used, most, 1), np.float32(0))
    with np.errstate(invalid="ignore"):
        integers = np.where(finite, np.rint(x * inverse), 0)
    scales = np.where(finite, np.where(used, most / np.float32(127), 0), np.nan)
    return integers.astype(np.float64), scales.astype(np.float64)


class Tape:
    """What a forward pass leaves for its backward pass; it may be used any number of times.

    It refers to the weights, and without lengths to x, without a copy: leave them as they are until backward.

    Attributes
    ----------
    cell : str
        "rnn", "indrnn", "mingru", "minlstm", "lstm", "gru" or "slstm".
    x : ndarray [T, B, I]
        Zero past the lengths.
    weight_ih : ndarray [G*H, I]
    weight_hh : ndarray [G*H, P], or [H] of an IndRNN, or [G*H, D] of heads, or None of a MinGRU or MinLSTM
    bias_ih, bias_hh : ndarray [G*H] or None
    extra : dict of str to ndarray
        The LSTM's further weights, where they were given: ``weight_hr`` [P, H] (without it P = H) and the
        peepholes ``weight_ci``, ``weight_cf``, ``weight_co`` [H].
    norm : dict of str to ndarray
        The parameters of layer normalization: ``ln_ih_weight``, …; empty without it.
    d_norm : dict of str to ndarray
        The sums of their gradients in the present backward pass.
    normal : dict of str to list
        Of each product that is normalized, "ih" and "hh", and of "c": at each step the normalized array
        and its scale.
    d_product_h : ndarray [T, B, G*H]
        The gradient of W_hh·h_{t-1}.
    options : dict
        The RNN's and IndRNN's ``nonlinearity``; the MinGRU's and MinLSTM's ``candidate``; the LSTM's
        ``gates``, its blocks, and ``cell_clip``; the GRU's ``reset_after``.
    H, heads : int
    order : range
        The times in the order in which they were run.
    valid : ndarray [T, B] of bool, or None
        Where t is within the sequence's length; None without lengths.
    linked : ndarray [T, B] of bool, or None
        Where step t is valid and no reset cuts it off from the state before it; None for everywhere.
    h_prev : ndarray [T, B, P]
        ``h_prev[t]`` is the h that went into step t.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products.
    zone : tuple of ndarray [T, B, width], of float, or of None
        How much of each part of the state zoneout keeps.
    recurrent_mask : ndarray [B, P] or None
        The factors of h as the products of the state read it.
    bounded : bool
        Whether every h is at most 1 in magnitude if the initial one is.
    steps : list of tuple
        ``steps[t]``: the arrays [B, H] of step t that its backward step needs, in the order each cell says.
    """

    __slots__ = (
        "H",
        "bias_hh",
        "bias_ih",
        "bounded",
        "cell",
        "d_norm",
        "d_product_h",
        "extra",
        "h_prev",
        "heads",
        "linked",
        "matmul_precision",
        "norm",
        "normal",
        "options",
        "order",
        "recurrent_mask",
        "steps",
        "valid",
        "weight_hh",
        "weight_ih",
        "x",
        "zone",
    )

    def __init__(
        self,
        cell: str,
        blocks: int,
        x: np.ndarray,
        weight_ih: np.ndarray,
        weight_hh: np.ndarray | None,
        bias_ih: np.ndarray | None,
        bias_hh: np.ndarray | None,
        reverse: bool,
        lengths: np.ndarray | None,
        reset: np.ndarray | None,
        matmul_precision: str,
        extra: dict[str, np.ndarray | None] | None = None,
        norm: dict[str, np.ndarray | None] | None = None,
        element_wise: bool = False,
        headed: bool = False,
        zoneout: Any = None,
        recurrent_mask: np.ndarray | None = None,
        **options: Any,
    ) -> None:
        if matmul_precision not in ("float32", "bfloat16", "int8"):
            raise ValueError(
                f"matmul_precision: expected one of 'float32', 'bfloat16', 'int8', got {matmul_precision!r}"
            )
        x = _plain("x", x)
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x: expected dtype float32 or float64, got {x.dtype}")
        if x.ndim != 3:
            raise ValueError(f"x: expected shape [T, B, I], got {x.shape}")
        T, B, I = x.shape
        given = {name: array for name, array in (extra or {}).items() if array is not None}
        if weight_hh is None:
            shape = _plain("weight_ih", weight_ih).shape
            if len(shape) != 2 or shape[0] % blocks:
                raise ValueError(f"weight_ih: expected shape [{blocks}*H, {I}], got {shape}")
            H = P = shape[0] // blocks
            self.heads = 1
        else:
            weight_hh = _plain("weight_hh", weight_hh)
            columns = "D" if headed else "P" if "weight_hr" in given else "H"
            H, P, self.heads = _hidden_sizes(weight_hh, blocks, columns, element_wise)
        rows = blocks * H

        self.cell = cell
        self.options = options
        self.matmul_precision = matmul_precision
        saturates = options.get("nonlinearity", "tanh") in ("tanh", "sigmoid")
        self.bounded = saturates and "weight_hr" not in given and cell != "slstm"
        self.valid = None if lengths is None else _valid(lengths, T, B)
        self.linked = self.valid if reset is None else _linked(reset, reverse, self.valid, T, B)
        self.x = self.within(x)
        self.weight_ih = _checked("weight_ih", weight_ih, (rows, I), x.dtype)
        self.weight_hh: Any = None
        if weight_hh is not None:
            self.weight_hh = _checked("weight_hh", weight_hh, weight_hh.shape, x.dtype)
        self.bias_ih = None if bias_ih is None else _checked("bias_ih", bias_ih, (rows,), x.dtype)
        self.bias_hh = None if bias_hh is None else _checked("bias_hh", bias_hh, (rows,), x.dtype)
        self.extra = {
            name: _checked(name, array, (P, H) if name == "weight_hr" else (H,), x.dtype)
            for name, array in given.items()
        }
        self.H = H
        self.norm = _checked_norm(norm or {}, rows, H, x.dtype)
        self.d_norm: dict[str, np.ndarray] = {}
        self.normal: dict[str, list[tuple[np.ndarray, ...]]] = {part: [()] * T for part in ("ih", "hh", "c")}
        self.d_product_h = np.zeros((T, B, rows), x.dtype)
        self.order = range(T)[::-1] if reverse else range(T)
        self.h_prev = np.empty((T, B, P), x.dtype)
        self.steps: list[tuple[np.ndarray, ...]] = [()] * T
        widths = (P, H) if cell == "lstm" else (P,)
        self.zone = _zones(zoneout, [(T, B, width) for width in widths], x.dtype)
        self.recurrent_mask = recurrent_mask
        if recurrent_mask is not None:
            self.recurrent_mask = _checked("recurrent_mask", recurrent_mask, (B, P), x.dtype)

    def operand(self, array: np.ndarray) -> np.ndarray:
        """What a product reads of an array: the array, or its numbers rounded to bfloat16."""
        return array if self.matmul_precision == "float32" else round_to_bfloat16(array)

    def product(self, a: np.ndarray, W: np.ndarray, bounded: bool = False) -> np.ndarray:
        """a·W of operands; `bounded`: whether a comes from a state that is bounded."""
        if self.matmul_precision != "int8":
            return self.operand(a) @ self.operand(W)
        a_integers, a_scales = quantize(a, bounded)
        W_integers, W_scales = quantize(W.T)
        return ((a_integers @ W_integers.T) * (a_scales * W_scales.T)).astype(a.dtype)

    def outer_products(self, d: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The sum of the outer products of all rows of the operands `d` [..., C] and `a` [..., K]: [C, K].

        A row of zeros in `d` adds nothing, whatever `a` holds there.
        """
        axes = tuple(range(d.ndim - 1))
        used = np.where(d.any(axis=-1, keepdims=True), a, 0)
        return np.tensordot(self.operand(d), self.operand(used), axes=(axes, axes))

    def from_x(self) -> np.ndarray:
        """The input's part of every pre-activation, W_ih·x + b_ih, of all steps at once: [T, B, G*H]."""
        product = self.product(self.x, self.weight_ih.T)
        if self.norm:
            product = np.stack([self.normalized("ih", t, a) for t, a in enumerate(product)] or [product])
        return product if self.bias_ih is None else product + self.bias_ih

    def from_h(self, t: int, h: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """The state's part of step t's pre-activations, W_hh·h + b_hh, of these rows of W_hh: [B, G*H]."""
        product = self.product(self.fed(h), self.weight_hh[rows].T, self.bounded)
        if self.norm:
            product = self.normalized("hh", t, product)
        return product if self.bias_hh is None else product + self.bias_hh[rows]

    def normalized(self, part: str, t: int, a: np.ndarray) -> np.ndarray:
        """LN(a) of an array [B, n] of step t; without layer normalization the array itself."""
        if not self.norm:
            return a
        centered = a - a.mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + NORM_EPSILON)
        self.normal[part][t] = normal, scale = centered * scale, scale.astype(a.dtype)
        return normal * self.norm[f"ln_{part}_weight"] + self.norm[f"ln_{part}_bias"]

    def d_normalized(self, part: str, t: int, d: np.ndarray) -> np.ndarray:
        """The gradient of `a` from that of ``normalized(part, t, a)``; adds those of the parameters."""
        if not self.norm:
            return d
        normal, scale = self.normal[part][t]
        weight, bias = f"ln_{part}_weight", f"ln_{part}_bias"
        self.d_norm[weight] += (d * _used(d, normal)).sum(axis=0)
        self.d_norm[bias] += d.sum(axis=0)
        used = d.any(axis=-1, keepdims=True)  # rows of zeros stay so, whatever `normal` holds
        normal, scale = np.where(used, normal, 0), np.where(used, scale, 0)
        d_normal = d * self.norm[weight]
        along = (d_normal * normal).mean(axis=-1, keepdims=True)
        return scale * (d_normal - d_normal.mean(axis=-1, keepdims=True) - normal * along)

    def through_state(self, t: int, d_from_h: np.ndarray) -> np.ndarray:
        """The gradient of the h that step t read, from that of ``from_h(t, h)``."""
        self.d_product_h[t] = self.d_normalized("hh", t, d_from_h)
        return self.fed(self.product(self.d_product_h[t], self.weight_hh))

    def fed(self, h: np.ndarray) -> np.ndarray:
        """h, or its gradient, times the recurrent mask."""
        return h if self.recurrent_mask is None else h * self.recurrent_mask

    def zoned(self, part: int, t: int, result: np.ndarray, state: np.ndarray) -> np.ndarray:
        """A part of the state after step t, from what the cell computes and the state before it."""
        z = self.zone[part]
        return result if z is None else z[t] * state + (1 - z[t]) * result

    def d_zoned(self, part: int, t: int, d: np.ndarray) -> tuple[np.ndarray, Any]:
        """Of a gradient of the state after step t, what the cell's result and the state before it get."""
        z = self.zone[part]
        return (d, 0) if z is None else ((1 - z[t]) * d, z[t] * d)

    def by_head(self, array: np.ndarray) -> list[np.ndarray]:
        """The columns of each head: its D units of [.., H]; of [.., G*H] its units of every block."""
        *leading, columns = array.shape
        blocks = array.reshape(*leading, columns // self.H, self.heads, self.H // self.heads)
        own = columns // self.heads
        return [blocks[..., head, :].reshape(*leading, own) for head in range(self.heads)]

    def from_heads(self, parts: list[np.ndarray]) -> np.ndarray:
        """The array whose columns `by_head` divides so."""
        *leading, columns = parts[0].shape
        D = self.H // self.heads
        blocks = [part.reshape(*leading, columns // D, D) for part in parts]
        return np.stack(blocks, axis=-2).reshape(*leading, self.heads * columns)

    def head_products(self, array: np.ndarray, transposed: bool = False) -> np.ndarray:
        """W_hh·h with heads, [B, H] to [B, G*H]; transposed, [B, G*H] to [B, H]."""
        weights = self.by_head(self.weight_hh.T)
        pairs = zip(self.by_head(array), weights, strict=True)
        return self.from_heads([self.product(a, W.T if transposed else W) for a, W in pairs])

    def within(self, array: np.ndarray, t: Any = ...) -> np.ndarray:
        """An array of all steps [T, B, ·], or of step t [B, ·], zero past the lengths."""
        return _select(self.valid, t, array, 0)

    def before(self, t: int, state: np.ndarray) -> np.ndarray:
        """What step t starts from: the state [B, ·] before it, or zero where a reset cuts it off."""
        return _select(self.linked, t, state, 0)

    def after(self, t: int, result: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The state after step t: its result [B, ·], or past the length the state as it was."""
        return _select(self.valid, t, result, state)

    def d_before(self, t: int, d_start: np.ndarray, d_after: np.ndarray) -> np.ndarray:
        """The gradient of the state before step t, from those of the step's start and of the state after."""
        return self.after(t, self.before(t, d_start), d_after)

    def state(self, name: str, state: np.ndarray | None, width: int) -> np.ndarray:
        """A copy of a part of the state, or of its gradient, [B, width]; zeros for None."""
        shape, dtype = (self.x.shape[1], width), self.x.dtype
        return np.zeros(shape, dtype) if state is None else _checked(name, state, shape, dtype).copy()

    def states(self, name: str, states: np.ndarray | None, width: int) -> np.ndarray:
        """The gradient of a part of the state at every step, [T, B, width]; zeros for None."""
        shape, dtype = (*self.x.shape[:2], width), self.x.dtype
        return np.zeros(shape, dtype) if states is None else _checked(name, states, shape, dtype)

    def gradients(
        self, d_from_x: np.ndarray, d_from_h: np.ndarray
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The gradients of x and the weights, from those of `from_x` and `from_h`, zero past the lengths."""
        d_product_x, d_product_h = d_from_x, d_from_h
        if self.norm:
            d_product_x, d_product_h = np.empty_like(d_from_x), self.d_product_h
            for t, d in enumerate(d_from_x):
                d_product_x[t] = self.d_normalized("ih", t, d)
        grads = {"weight_ih": self.outer_products(d_product_x, self.x)}
        if self.cell == "slstm":
            pairs = zip(self.by_head(d_from_h), self.by_head(self.h_prev), strict=True)
            grads["weight_hh"] = self.from_heads([self.outer_products(d, h).T for d, h in pairs]).T
        elif self.weight_hh is not None and self.weight_hh.ndim == 2:
            grads["weight_hh"] = self.outer_products(d_product_h, self.fed(self.h_prev))
        elif self.weight_hh is not None:
            grads["weight_hh"] = (d_from_h * _used(d_from_h, self.h_prev)).sum(axis=(0, 1))
        if self.bias_ih is not None:
            grads["bias_ih"] = d_from_x.sum(axis=(0, 1))
        if self.bias_hh is not None:
            grads["bias_hh"] = d_from_h.sum(axis=(0, 1))
        grads |= self.d_norm
        return self.within(self.product(d_product_x, self.weight_ih)), grads


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
    if not isinstance(nonlinearity, str) or nonlinearity not in _NONLINEARITIES:
        expected = ", ".join(map(repr, _NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    f, _ = _NONLINEARITIES[nonlinearity]
    weights = weight_ih, weight_hh, bias_ih, bias_hh
    norm = _norm(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
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
    _begin_backward(tape, "rnn")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = _NONLINEARITIES[tape.options["nonlinearity"]]
    d_gates = np.empty_like(tape.h_prev)

    for t in reversed(tape.order):
        (h_t,) = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        d_gates[t] = dh_t * _used(dh_t, slope(h_t))
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
    if nonlinearity not in _NONLINEARITIES:
        expected = ", ".join(map(repr, _NONLINEARITIES))
        raise ValueError(f"nonlinearity: expected one of {expected}, got {nonlinearity!r}")
    f, _ = _NONLINEARITIES[nonlinearity]
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
    _begin_backward(tape, "indrnn")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = _NONLINEARITIES[tape.options["nonlinearity"]]
    d_gates = np.empty_like(tape.h_prev)

    for t in reversed(tape.order):
        (h_t,) = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        d_gates[t] = dh_t * _used(dh_t, slope(h_t))
        dh = tape.d_before(t, d_gates[t] * tape.weight_hh + dh_kept, dh)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, dh, grads


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
    g, _ = _CANDIDATES[candidate]
    h = tape.state("state", state, tape.H)
    h_steps = np.empty_like(tape.h_prev)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev = tape.before(t, h)
        z, n = np.split(from_x[t], 2, axis=-1)
        z, n = _sigmoid(z), g(n)
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
    _begin_backward(tape, "mingru")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = _CANDIDATES[tape.options["candidate"]]
    d_gates = np.empty((*tape.h_prev.shape[:2], 2 * tape.H), tape.h_prev.dtype)

    for t in reversed(tape.order):
        z, n, h_prev = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        z, n, h_prev = (_used(dh_t, array) for array in (z, n, h_prev))
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
    g, _ = _CANDIDATES[candidate]
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
    _begin_backward(tape, "minlstm")
    dh = tape.state("dstate", dstate, tape.H)
    dh_steps = tape.states("dy", dy, tape.H) + tape.states("dstates", dstates, tape.H)
    _, slope = _CANDIDATES[tape.options["candidate"]]
    d_gates = np.empty((*tape.h_prev.shape[:2], 3 * tape.H), tape.h_prev.dtype)

    for t in reversed(tape.order):
        f, i, n, h_prev = tape.steps[t]
        dh_t = tape.within(dh + dh_steps[t], t)
        f, i, n, h_prev = (_used(dh_t, array) for array in (f, i, n, h_prev))
        share_f, share_i = f / (f + i), i / (f + i)
        dshare = dh_t * (h_prev - n) * share_f * share_i
        dn, dh_prev = dh_t * share_i, dh_t * share_f
        d_gates[t] = np.concatenate((dshare * (1 - f), -dshare * (1 - i), dn * slope(n)), axis=-1)
        dh = tape.d_before(t, dh_prev, dh)
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
    weight_hr: np.ndarray | None = None,
    weight_ci: np.ndarray | None = None,
    weight_cf: np.ndarray | None = None,
    weight_co: np.ndarray | None = None,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    ln_ih_weight: np.ndarray | None = None,
    ln_ih_bias: np.ndarray | None = None,
    ln_hh_weight: np.ndarray | None = None,
    ln_hh_bias: np.ndarray | None = None,
    ln_c_weight: np.ndarray | None = None,
    ln_c_bias: np.ndarray | None = None,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
    zoneout: tuple[Any, Any] | None = None,
    recurrent_mask: np.ndarray | None = None,
) -> tuple[Any, ...]:
    """Run an LSTM layer over time; its equations head this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
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
    ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias : ndarray [4*H] or None
    ln_c_weight, ln_c_bias : ndarray [H] or None
        Layer normalization of both products and of the c that the tanh reads: all of them, or none.
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
    zoneout : (z_h, z_c) or None
        z in ``h_t = z h_{t-1} + (1 - z) h'_t``, where h'_t is what the cell computes, and that of c: masks
        [T, B, P] and [T, B, H] of numbers from 0 to 1, or one number for all. None, also for one of them,
        means zero. tanh reads c before zoneout; zoneout of h follows the projection.
    recurrent_mask : ndarray [B, P] or None
        The factors of h_{t-1} as the products of the state read it, the same at all steps.

    Returns
    -------
    y : ndarray [T, B, P]
        h after every step; zero past the lengths.
    state : (ndarray [B, P], ndarray [B, H])
        (h, c) after the last step that ran of each sequence; the initial one if none ran.
    tape : Tape
        For `lstm_backward`.
    states : (ndarray [T, B, P], ndarray [T, B, H])
        Only with `return_states`: (h, c) after every step; zero past the lengths.

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
    gates = "igo" if coupled_gates else "ifgo"
    weights = weight_ih, weight_hh, bias_ih, bias_hh
    peepholes = {"weight_ci": weight_ci, "weight_cf": weight_cf, "weight_co": weight_co}
    _check_peepholes(peepholes, coupled_gates)
    cell_clip = _checked_clip(cell_clip, _plain("x", x).dtype)
    extra = {"weight_hr": weight_hr, **peepholes}
    norm = _norm(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
    norm |= {"ln_c_weight": ln_c_weight, "ln_c_bias": ln_c_bias}
    tape = Tape(
        "lstm",
        len(gates),
        x,
        *weights,
        reverse,
        lengths,
        reset,
        matmul_precision,
        extra,
        norm=norm,
        zoneout=zoneout,
        recurrent_mask=recurrent_mask,
        gates=gates,
        cell_clip=cell_clip,
    )
    W_P, w_ci, w_cf, w_co = map(tape.extra.get, extra)
    T, B, P = tape.h_prev.shape
    h0, c0 = _parts("state", state, "hc")
    h, c = tape.state("state[0]", h0, P), tape.state("state[1]", c0, tape.H)
    h_steps, c_steps = np.empty_like(tape.h_prev), np.empty((T, B, tape.H), tape.x.dtype)

    from_x = tape.from_x()
    for t in tape.order:
        h_prev, c_prev = tape.before(t, h), tape.before(t, c)
        a = dict(zip(gates, np.split(from_x[t] + tape.from_h(t, h_prev), len(gates), axis=1), strict=True))
        i = _sigmoid(a["i"] + _peep(w_ci, c_prev))
        f = 1 - i if coupled_gates else _sigmoid(a["f"] + _peep(w_cf, c_prev))
        g = np.tanh(a["g"])
        c_free = f * c_prev + i * g
        c_new = c_free if cell_clip is None else np.clip(c_free, -cell_clip, cell_clip)
        c_t = tape.zoned(1, t, c_new, c_prev)
        o = _sigmoid(a["o"] + _peep(w_co, c_t))
        tanh_c = np.tanh(tape.normalized("c", t, c_new))
        m = o * tanh_c
        h_new = m if W_P is None else tape.product(m, W_P.T, True)
        tape.h_prev[t] = h_prev
        tape.steps[t] = (i, f, g, o, c_prev, c_free, c_t, tanh_c)
        h = h_steps[t] = tape.after(t, tape.zoned(0, t, h_new, h_prev), h)
        c = c_steps[t] = tape.after(t, c_t, c)
    y = tape.within(h_steps)
    results = y, (h, c.copy()), tape  # a copy, because the tape keeps c itself
    return (*results, (y.copy(), tape.within(c_steps))) if return_states else results


def lstm_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: tuple[np.ndarray | None, np.ndarray | None] | None,
    *,
    dstates: tuple[np.ndarray | None, np.ndarray | None] | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Run an LSTM layer backwards through time.

    Parameters
    ----------
    tape : Tape
        From `lstm_forward`.
    dy : ndarray [T, B, P] or None
        The gradient of y; None means zero.
    dstate : (ndarray [B, P], ndarray [B, H]) or None
        The gradient of the final (h, c); None, also for one of them, means zero.
    dstates : (ndarray [T, B, P], ndarray [T, B, H]) or None
        The gradient of the (h, c) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : (ndarray [B, P], ndarray [B, H])
        The gradient of the initial (h, c).
    grads : dict of str to ndarray
        ``weight_ih``, ``weight_hh`` and, where they were given, ``bias_ih``, ``bias_hh``, ``weight_hr``,
        ``weight_ci``, ``weight_cf``, ``weight_co`` and the ``ln_…``.

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
    _begin_backward(tape, "lstm")
    gates, cell_clip = tape.options["gates"], tape.options["cell_clip"]
    W_P, w_ci, w_cf, w_co = map(tape.extra.get, ("weight_hr", "weight_ci", "weight_cf", "weight_co"))
    T, B, P = tape.h_prev.shape
    dh_last, dc_last = _parts("dstate", dstate, "hc")
    dh, dc = tape.state("dstate[0]", dh_last, P), tape.state("dstate[1]", dc_last, tape.H)
    dh_steps, dc_steps = _parts("dstates", dstates, "hc")
    dh_steps = tape.states("dy", dy, P) + tape.states("dstates[0]", dh_steps, P)
    dc_steps = tape.states("dstates[1]", dc_steps, tape.H)
    d_gates = np.empty((T, B, len(gates) * tape.H), tape.x.dtype)
    d_extra = {name: np.zeros_like(weight) for name, weight in tape.extra.items()}

    for t in reversed(tape.order):
        i, f, g, o, c_prev, c_free, c_t, tanh_c = tape.steps[t]
        dh_t, dc_t = tape.within(dh + dh_steps[t], t), tape.within(dc + dc_steps[t], t)
        dh_t, dh_kept = tape.d_zoned(0, t, dh_t)
        dm = dh_t if W_P is None else tape.product(dh_t, W_P)
        dW_P = None if W_P is None else tape.outer_products(dh_t, o * tanh_c)
        tanh_c, o = _used(dm, tanh_c), _used(dm, o)
        d_o = dm * tanh_c * o * (1 - o)
        dc_t, dc_kept = tape.d_zoned(1, t, dc_t + _peep(w_co, d_o))
        dc_t = dc_t + tape.d_normalized("c", t, dm * o * (1 - tanh_c * tanh_c))
        if cell_clip is not None:
            dc_t = np.where(np.abs(c_free) > cell_clip, 0, dc_t)
        i, f, g, c_prev = (_used(dc_t, array) for array in (i, f, g, c_prev))
        di, df = dc_t * g, dc_t * c_prev
        if "f" not in gates:  # f = 1 - i
            di = di - df
        d = {"i": di * i * (1 - i), "f": df * f * (1 - f), "g": dc_t * i * (1 - g * g), "o": d_o}
        d_gates[t] = np.concatenate([d[gate] for gate in gates], axis=1)
        if w_co is not None:
            for gate, c_seen in (("i", c_prev), ("f", c_prev), ("o", c_t)):
                if gate in gates:
                    d_extra["weight_c" + gate] += (d[gate] * _used(d[gate], c_seen)).sum(axis=0)
        if dW_P is not None:
            d_extra["weight_hr"] += dW_P
        dh = tape.d_before(t, tape.through_state(t, d_gates[t]) + dh_kept, dh)
        dc = tape.d_before(t, dc_t * f + _peep(w_ci, d["i"]) + _peep(w_cf, d["f"]) + dc_kept, dc)
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, (dh, dc), grads | d_extra


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
    norm = _norm(ln_ih_weight, ln_ih_bias, ln_hh_weight, ln_hh_bias)
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
        r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
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
    _begin_backward(tape, "gru")
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
        z, n, h_seen = (_used(dh_t, array) for array in (z, n, h_prev))
        d_n = dh_t * (1 - z) * (1 - n * n)
        d_z = dh_t * (h_seen - n) * z * (1 - z)
        d_q = d_n * _used(d_n, r) if reset_after else d_n
        d_m = None if reset_after else tape.product(d_q, W_n)  # of m = r * fed(h_prev)
        d_product, seen = (d_n, q) if d_m is None else (d_m, tape.fed(h_prev))
        used_r = _used(d_product, r)
        d_r = d_product * _used(d_product, seen) * used_r * (1 - used_r)
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


def slstm_forward(
    x: np.ndarray,
    weight_ih: np.ndarray,
    weight_hh: np.ndarray,
    bias_ih: np.ndarray | None = None,
    state: tuple[np.ndarray | None, ...] | None = None,
    *,
    reverse: bool = False,
    lengths: np.ndarray | None = None,
    reset: np.ndarray | None = None,
    return_states: bool = False,
    matmul_precision: str = "float32",
) -> tuple[Any, ...]:
    """Run an sLSTM layer over time, with the equations at the head of this module.

    Parameters
    ----------
    x : ndarray [T, B, I]
        The input, float32 or float64.
    weight_ih : ndarray [4*H, I]
        Blocks i, f, z, o.
    weight_hh : ndarray [4*H, D]
        H/D heads of D units. Row j of a block multiplies h of the head of unit j.
    bias_ih : ndarray [4*H] or None
        None is zero.
    state : tuple of ndarray [B, H] or None
        The initial (h, c, n, m); None, also for one of them, means zero.
    reverse, lengths, reset, return_states, matmul_precision
        As in `rnn_forward`.

    Returns
    -------
    y : ndarray [T, B, H]
        h after every step; zero past the lengths.
    state : tuple of ndarray [B, H]
        (h, c, n, m) after each sequence's last step; without any step, the initial one.
    tape : Tape
        For `slstm_backward`.
    states : tuple of ndarray [T, B, H]
        Only with `return_states`: (h, c, n, m) after every step; zero past the lengths.

    Raises
    ------
    ValueError, TypeError
        If an argument has the wrong shape or dtype; the message names it.

    Notes
    -----
    M. Beck, K. Pöppel, M. Spanring, A. Auer, O. Prudnikova, M. Kopp, G. Klambauer, J. Brandstetter and
    S. Hochreiter, "xLSTM: extended long short-term memory", NeurIPS (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, (h, c, n, m), tape = reference.slstm_forward(x, weight_ih, weight_hh)
    >>> y.shape, bool((y[-1] == h).all()), bool((n >= 1).all())
    ((5, 2, 4), True, True)
    """
    weights = weight_ih, weight_hh, bias_ih, None
    tape = Tape("slstm", 4, x, *weights, reverse, lengths, reset, matmul_precision, headed=True)
    given = _parts("state", state, "hcnm")
    now = [tape.state(f"state[{n}]", part, tape.H) for n, part in enumerate(given)]
    steps = [np.empty_like(tape.h_prev) for _ in now]

    from_x = tape.from_x()
    for t in tape.order:
        h_prev, c_prev, n_prev, m_prev = (tape.before(t, part) for part in now)
        i, f, z, o = np.split(from_x[t] + tape.head_products(h_prev), 4, axis=1)
        z, o = np.tanh(z), _sigmoid(o)
        l = np.minimum(f, 0) - np.log1p(np.exp(-np.abs(f))) + m_prev
        empty, kept = ~(np.abs(n_prev) > 0), i < l
        e = np.exp(-np.abs(i - l))
        through_i, through_f = np.where(kept & ~empty, e, 1), np.where(kept, 1, e)  # i' and f'
        c_t = through_f * c_prev + through_i * z
        n_t = through_f * n_prev + through_i
        m_t = np.where(kept & ~empty, l, i)
        tape.h_prev[t] = h_prev
        tape.steps[t] = (e, f, z, o, empty, kept, through_i, through_f, c_prev, n_prev, c_t, n_t)
        for part, result in enumerate((o * (c_t / n_t), c_t, n_t, m_t)):
            now[part] = steps[part][t] = tape.after(t, result, now[part])
    y, *further = (tape.within(part) for part in steps)
    results = y, tuple(part.copy() for part in now), tape
    return (*results, (y.copy(), *further)) if return_states else results


def slstm_backward(
    tape: Tape,
    dy: np.ndarray | None,
    dstate: tuple[np.ndarray | None, ...] | None,
    *,
    dstates: tuple[np.ndarray | None, ...] | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, ...], dict[str, np.ndarray]]:
    """Run an sLSTM layer backwards through time.

    Where i and l are equal, m counts as i.

    Parameters
    ----------
    tape : Tape
        From `slstm_forward`.
    dy : ndarray [T, B, H] or None
        The gradient of y; None is zero.
    dstate : tuple of ndarray [B, H] or None
        The gradient of the final (h, c, n, m); None, also for one of them, means zero.
    dstates : tuple of ndarray [T, B, H], optional
        The gradient of the (h, c, n, m) after every step, that of h to be added to dy; None as for dstate.

    Returns
    -------
    dx : ndarray [T, B, I]
    dstate : tuple of ndarray [B, H]
        The gradient of the initial (h, c, n, m).
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
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(5, 2, 3))
    >>> weight_ih, weight_hh = rng.normal(size=(16, 3)), rng.normal(size=(16, 2))
    >>> y, state, tape = reference.slstm_forward(x, weight_ih, weight_hh)
    >>> dx, (dh, dc, dn, dm), grads = reference.slstm_backward(tape, np.ones_like(y), None)
    >>> dx.shape, dm.shape, {name: grad.shape for name, grad in grads.items()}
    ((5, 2, 3), (2, 4), {'weight_ih': (16, 3), 'weight_hh': (16, 2)})
    """
    _begin_backward(tape, "slstm")
    last, every = _parts("dstate", dstate, "hcnm"), _parts("dstates", dstates, "hcnm")
    d = [tape.state(f"dstate[{n}]", part, tape.H) for n, part in enumerate(last)]
    d_steps = [tape.states(f"dstates[{n}]", part, tape.H) for n, part in enumerate(every)]
    d_steps[0] = tape.states("dy", dy, tape.H) + d_steps[0]
    d_gates = np.empty((*tape.h_prev.shape[:2], 4 * tape.H), tape.x.dtype)

    for t in reversed(tape.order):
        e, f, z, o, empty, kept, through_i, through_f, c_prev, n_prev, c_t, n_t = tape.steps[t]
        pairs = zip(d, d_steps, strict=True)
        dh_t, dc_t, dn_t, dm_t = (tape.within(carried + of_steps[t], t) for carried, of_steps in pairs)
        q = _used(dh_t, c_t / n_t)
        d_o = dh_t * q * _used(dh_t, o * (1 - o))
        dq = dh_t * _used(dh_t, o / n_t)
        dc_t, dn_t = dc_t + dq, dn_t - dq * q
        d_z = dc_t * _used(dc_t, through_i * (1 - z * z))
        d_through_i = dc_t * _used(dc_t, z) + dn_t
        d_through_f = dc_t * _used(dc_t, c_prev) + dn_t * _used(dn_t, n_prev)
        d_e = np.where(kept, np.where(empty, 0, d_through_i), d_through_f)
        g = d_e * _used(d_e, e)  # the gradient of -|i - l|
        d_i = np.where(kept & ~empty, g, dm_t - g)
        d_l = np.where(kept & ~empty, dm_t - g, g)
        d_f = d_l * _used(d_l, _sigmoid(-f))
        d_gates[t] = np.concatenate([d_i, d_f, d_z, d_o], axis=1)
        start = (
            tape.head_products(d_gates[t], transposed=True),
            dc_t * _used(dc_t, through_f),
            dn_t * _used(dn_t, through_f),
            d_l,
        )
        d = [tape.d_before(t, part, after) for part, after in zip(start, d, strict=True)]
    dx, grads = tape.gradients(d_gates, d_gates)
    return dx, tuple(d), grads


def _hidden_sizes(
    weight_hh: np.ndarray, blocks: int, columns: str, element_wise: bool
) -> tuple[int, int, int]:
    """H, P and the number of heads, from the shape of weight_hh.

    It is [blocks*H, columns], where `columns` is H, P or D, the units of a head; or [H] of an element-wise
    recurrence.
    """
    multiple = " with H a multiple of D" if columns == "D" else ""
    expected = "[H]" if element_wise else f"[{blocks}*H, {columns}]{multiple}"
    shape = weight_hh.shape
    if len(shape) != 2 - element_wise:
        raise ValueError(f"weight_hh: expected shape {expected}, got {shape}")
    H, width = shape[0] // blocks, shape[-1]
    fits = {"P": True, "H": width == H, "D": width > 0 and H % max(width, 1) == 0}[columns]
    if shape[0] != blocks * H or not fits:
        raise ValueError(f"weight_hh: expected shape {expected}, got {shape}")
    return (H, H, H // width) if columns == "D" else (H, width, 1)


def _used(d: np.ndarray, array: np.ndarray) -> np.ndarray:
    """What a gradient `d` is multiplied with; 1 where `d` is zero, so that zero times NaN is zero."""
    return np.where(d == 0, 1, array)


def _plain(name: str, value: Any) -> np.ndarray:
    """`value` as a plain array; ragged lists are refused, and masked arrays, whose mask would be dropped."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain array, got a masked one, whose mask would be dropped")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got {type(value).__name__} ({error})") from error


def _checked(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`array` in the given dtype, copied only to cast it; an error that names it where it does not fit."""
    array = _plain(name, array)
    if array.dtype.kind != "f":
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {array.shape}")
    return np.asarray(array, dtype)


def _parts(
    name: str, state: tuple[np.ndarray | None, ...] | None, parts: str
) -> tuple[np.ndarray | None, ...]:
    """The parts of a state of several, or of its gradient; None for each where the state is None."""
    if state is None:
        return (None,) * len(parts)
    if not isinstance(state, (tuple, list)) or len(state) != len(parts):
        kind = "pair" if len(parts) == 2 else "tuple"
        raise TypeError(f"{name}: expected a {kind} ({', '.join(parts)}), got {type(state).__name__}")
    return tuple(state)


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
    if not isinstance(candidate, str) or candidate not in _CANDIDATES:
        expected = ", ".join(map(repr, _CANDIDATES))
        raise ValueError(f"candidate: expected one of {expected}, got {candidate!r}")
    weights = weight_ih, None, bias_ih, None
    return Tape(cell, blocks, x, *weights, reverse, lengths, reset, matmul_precision, candidate=candidate)


def _gates_with_a_sum(a_f: np.ndarray, a_i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The gates f and i of a MinLSTM; where both are below e^-40, times one number, so that f + i is not 0.

    Below -40, s(a) = e^a in float64. So a number added to both pre-activations changes no f / (f + i).
    """
    added = np.maximum(-40 - np.maximum(a_f, a_i), 0)
    return _sigmoid(a_f + added), _sigmoid(a_i + added)


def _begin_backward(tape: Tape, cell: str) -> None:
    """Refuse what is no tape of this cell's, and set the sums of gradients to zero."""
    if not isinstance(tape, Tape) or tape.cell != cell:
        raise ValueError(
            f"tape: expected one from {cell}_forward, got {getattr(tape, 'cell', type(tape).__name__)}"
        )
    if tape.matmul_precision == "int8":
        raise ValueError("tape: expected one with gradients, got one of products in int8, which have none")
    tape.d_norm = {name: np.zeros_like(array) for name, array in tape.norm.items()}


def _norm(
    ln_ih_weight: np.ndarray | None,
    ln_ih_bias: np.ndarray | None,
    ln_hh_weight: np.ndarray | None,
    ln_hh_bias: np.ndarray | None,
) -> dict[str, np.ndarray | None]:
    """The parameters of the layer normalization of both products, by name."""
    return {
        "ln_ih_weight": ln_ih_weight,
        "ln_ih_bias": ln_ih_bias,
        "ln_hh_weight": ln_hh_weight,
        "ln_hh_bias": ln_hh_bias,
    }


def _checked_norm(
    norm: dict[str, np.ndarray | None], rows: int, H: int, dtype: np.dtype
) -> dict[str, np.ndarray]:
    """The parameters of layer normalization, all of them or an empty dict; of c [H], of products [rows]."""
    absent = [name for name, array in norm.items() if array is None]
    if len(absent) == len(norm):
        return {}
    if absent:
        raise ValueError(
            f"{absent[0]}: expected an array, as others of layer normalization are given, got None"
        )
    return {
        name: _checked(name, array, (H if name.startswith("ln_c") else rows,), dtype)
        for name, array in norm.items()
        if array is not None
    }


def _check_peepholes(peepholes: dict[str, np.ndarray | None], coupled_gates: bool) -> None:
    """Refuse one for a forget gate that coupled gates lack, and some without the others."""
    if coupled_gates and peepholes["weight_cf"] is not None:
        raise ValueError("weight_cf: expected None with coupled_gates, got an array")
    wanted = [name for name in peepholes if not (coupled_gates and name == "weight_cf")]
    absent = [name for name in wanted if peepholes[name] is None]
    if 0 < len(absent) < len(wanted):
        raise ValueError(f"{absent[0]}: expected an array, as the other peepholes are given, got None")


def _checked_clip(cell_clip: float | None, dtype: np.dtype) -> float | None:
    """The bound of c as a float of this dtype, or None; an error where it is no positive number.

    A subnormal bound is 0, as subnormal numbers are in the kernels; one beyond all numbers is infinity.
    """
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
        bound = float(cell_clip)
    except OverflowError:  # of an integer: larger than any c
        bound = float("inf")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            bound = 0.0 if bound < np.finfo(dtype).tiny else float(dtype.type(bound))
    return bound


def _valid(lengths: np.ndarray, T: int, B: int) -> np.ndarray:
    """Where t is within the length of sequence b: [T, B] of bool."""
    lengths = _plain("lengths", lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected an integer dtype, got {lengths.dtype}")
    if lengths.shape != (B,):
        raise ValueError(f"lengths: expected shape [{B}], got {lengths.shape}")
    outside = lengths[(lengths < 0) | (lengths > T)]
    if outside.size:
        raise ValueError(f"lengths: expected 0 to T = {T}, got {outside[0]}")
    return np.arange(T)[:, np.newaxis] < lengths


def _linked(reset: np.ndarray, reverse: bool, valid: np.ndarray | None, T: int, B: int) -> np.ndarray:
    """Where step t starts from the state before it in the order run: [T, B] of bool."""
    reset = _plain("reset", reset)
    if reset.dtype != np.bool_:
        raise TypeError(f"reset: expected dtype bool, got {reset.dtype}")
    if reset.shape != (T, B):
        raise ValueError(f"reset: expected shape {[T, B]}, got {reset.shape}")
    valid = np.ones((T, B), bool) if valid is None else valid
    border = reset & valid  # between t-1 and t
    if reverse:  # between t and t+1, and none before the first
        border[:1] = False
        border = np.roll(border, -1, axis=0)
    return valid & ~border


def _select(mask: np.ndarray | None, t: Any, array: np.ndarray, otherwise: Any) -> np.ndarray:
    """`array` where ``mask[t]``, [..., B], holds (None: everywhere), elsewhere `otherwise`."""
    return array if mask is None else np.where(mask[t][..., np.newaxis], array, otherwise)


def _zones(zoneout: Any, shapes: list[tuple[int, ...]], dtype: np.dtype) -> tuple[np.ndarray | None, ...]:
    """How much of each part of the state zoneout keeps: arrays of these shapes [T, B, width], or None."""
    given = (zoneout,) if len(shapes) == 1 else _parts("zoneout", zoneout, "hc")
    zones: list[np.ndarray | None] = []
    for z, shape in zip(given, shapes, strict=True):
        if z is not None:
            z = np.broadcast_to(np.asarray(z, dtype), shape) if np.ndim(z) == 0 else z
            z = _checked("zoneout", z, shape, dtype)
            if not ((z >= 0) & (z <= 1)).all():
                raise ValueError("zoneout: expected numbers from 0 to 1")
        zones.append(z)
    return tuple(zones)


def _peep(weight: np.ndarray | None, array: np.ndarray) -> Any:
    """The product of a peephole with c or with a gradient; 0 without a peephole."""
    return 0 if weight is None else weight * array


def ctc(
    y: np.ndarray, labels: Sequence[Sequence[int]], lengths: Sequence[int] | None = None, blank: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The CTC loss of each sequence, and the gradient of their sum (Graves et al. 2006).

    A sequence's labels, with a blank before, between and after them, are its states. A path goes through them
    from one of the first two to one of the last two, and takes one state a step: the same, the next, or the
    one after that if it is no blank and differs from the state two before it. With p[s] the softmax of y at
    step t for the class of state s::

        alpha_t[s] = p_t[s] (alpha_{t-1}[s] + alpha_{t-1}[s-1] [+ alpha_{t-1}[s-2]])
        beta_t[s]  = p_t[s] (beta_{t+1}[s]  + beta_{t+1}[s+1]  [+ beta_{t+1}[s+2]])
        P          = sum over s of alpha_t[s] beta_t[s] / p_t[s], for any t
        loss       = -log P
        dy_t[k]    = softmax(y_t)[k] - (sum over the states s of class k of alpha_t[s] beta_t[s] / p_t[s]) / P

    Everything is in logarithms.

    Parameters
    ----------
    y : ndarray [T, B, V]
        Logits.
    labels : sequence of sequences of int
        Of each of the B sequences.
    lengths : sequence of int [B], optional
        Steps of each sequence; T by default.
    blank : int
        The class of the blank.

    Returns
    -------
    losses : ndarray [B]
        Infinite where no path exists.
    dy : ndarray [T, B, V]
        NaN where no path exists; zero past a sequence's length.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> losses, dy = reference.ctc(np.zeros((2, 1, 3)), [[1]])    # 3 of the 9 paths give this label
    >>> np.exp(-losses).round(4).tolist(), dy[:, 0, 1:].round(4).tolist()
    ([0.3333], [[-0.3333, 0.3333], [-0.3333, 0.3333]])
    """
    T, B, _ = y.shape
    losses, dy = np.zeros(B, y.dtype), np.zeros_like(y)
    for b in range(B):
        steps = T if lengths is None else lengths[b]
        classes = np.full(2 * len(labels[b]) + 1, blank)
        classes[1::2] = labels[b]
        skips = np.zeros(len(classes), bool)  # whether a path may come from two states before
        skips[2:] = (classes[2:] != blank) & (classes[2:] != classes[:-2])
        largest = y[:steps, b].max(axis=1, keepdims=True, initial=-np.inf)
        total = np.log(np.exp(y[:steps, b] - largest).sum(axis=1, keepdims=True))
        log_softmax = y[:steps, b] - largest - total
        p = log_softmax[:, classes]
        alpha = _ctc_paths(p, skips)
        back = np.append(skips[2:], [False] * min(2, len(classes)))[::-1]  # the same, from the last state
        beta = _ctc_paths(p[::-1, ::-1], back)[::-1, ::-1]
        if steps == 0:
            losses[b] = 0 if len(classes) == 1 else np.inf
            continue
        log_p = np.logaddexp.reduce(alpha[-1, -2:])
        losses[b] = -log_p
        with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, as it shall be
            shares = np.exp(alpha + beta - p - log_p)
        dy[:steps, b] = np.exp(log_softmax)
        for s, k in enumerate(classes):
            dy[:steps, b, k] -= shares[:, s]
        if np.isinf(log_p):
            dy[:steps, b] = np.nan
    return losses, dy


def _ctc_paths(p: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """log of the sum over all paths from the first two states to each state at each step; p in logarithms."""
    paths = np.full(p.shape, -np.inf, p.dtype)
    paths[:1, :2] = p[:1, :2]
    for t in range(1, len(p)):
        before = paths[t - 1]
        paths[t] = before
        paths[t, 1:] = np.logaddexp(paths[t, 1:], before[:-1])
        paths[t, 2:] = np.where(skips[2:], np.logaddexp(paths[t, 2:], before[:-2]), paths[t, 2:])
        paths[t] += p[t]
    return paths
