"""What a forward pass keeps for its backward pass, and what all cells do with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.reference.arguments import (
    checked_array,
    checked_norm,
    hidden_sizes,
    linked_steps,
    plain_array,
    valid_steps,
    zones_of,
)
from rnnfast.reference.functions import factor, quantize, round_to_bfloat16

__all__ = ["Tape", "begin_backward"]


NORM_EPSILON = 1e-5  # of layer normalization


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
        x = plain_array("x", x)
        if x.dtype not in (np.float32, np.float64):
            raise TypeError(f"x: expected dtype float32 or float64, got {x.dtype}")
        if x.ndim != 3:
            raise ValueError(f"x: expected shape [T, B, I], got {x.shape}")
        T, B, I = x.shape
        given = {name: array for name, array in (extra or {}).items() if array is not None}
        if weight_hh is None:
            shape = plain_array("weight_ih", weight_ih).shape
            if len(shape) != 2 or shape[0] % blocks:
                raise ValueError(f"weight_ih: expected shape [{blocks}*H, {I}], got {shape}")
            H = P = shape[0] // blocks
            self.heads = 1
        else:
            weight_hh = plain_array("weight_hh", weight_hh)
            columns = "D" if headed else "P" if "weight_hr" in given else "H"
            H, P, self.heads = hidden_sizes(weight_hh, blocks, columns, element_wise)
        rows = blocks * H

        self.cell = cell
        self.options = options
        self.matmul_precision = matmul_precision
        saturates = options.get("nonlinearity", "tanh") in ("tanh", "sigmoid")
        self.bounded = saturates and "weight_hr" not in given and cell != "slstm"
        self.valid = None if lengths is None else valid_steps(lengths, T, B)
        self.linked = self.valid if reset is None else linked_steps(reset, reverse, self.valid, T, B)
        self.x = self.within(x)
        self.weight_ih = checked_array("weight_ih", weight_ih, (rows, I), x.dtype)
        self.weight_hh: Any = None
        if weight_hh is not None:
            self.weight_hh = checked_array("weight_hh", weight_hh, weight_hh.shape, x.dtype)
        self.bias_ih = None if bias_ih is None else checked_array("bias_ih", bias_ih, (rows,), x.dtype)
        self.bias_hh = None if bias_hh is None else checked_array("bias_hh", bias_hh, (rows,), x.dtype)
        self.extra = {
            name: checked_array(name, array, (P, H) if name == "weight_hr" else (H,), x.dtype)
            for name, array in given.items()
        }
        self.H = H
        self.norm = checked_norm(norm or {}, rows, H, x.dtype)
        self.d_norm: dict[str, np.ndarray] = {}
        self.normal: dict[str, list[tuple[np.ndarray, ...]]] = {part: [()] * T for part in ("ih", "hh", "c")}
        self.d_product_h = np.zeros((T, B, rows), x.dtype)
        self.order = range(T)[::-1] if reverse else range(T)
        self.h_prev = np.empty((T, B, P), x.dtype)
        self.steps: list[tuple[np.ndarray, ...]] = [()] * T
        widths = (P, H) if cell == "lstm" else (P,)
        self.zone = zones_of(zoneout, [(T, B, width) for width in widths], x.dtype)
        self.recurrent_mask = recurrent_mask
        if recurrent_mask is not None:
            self.recurrent_mask = checked_array("recurrent_mask", recurrent_mask, (B, P), x.dtype)

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
        self.d_norm[weight] += (d * factor(d, normal)).sum(axis=0)
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
        return np.zeros(shape, dtype) if state is None else checked_array(name, state, shape, dtype).copy()

    def states(self, name: str, states: np.ndarray | None, width: int) -> np.ndarray:
        """The gradient of a part of the state at every step, [T, B, width]; zeros for None."""
        shape, dtype = (*self.x.shape[:2], width), self.x.dtype
        return np.zeros(shape, dtype) if states is None else checked_array(name, states, shape, dtype)

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
            grads["weight_hh"] = (d_from_h * factor(d_from_h, self.h_prev)).sum(axis=(0, 1))
        if self.bias_ih is not None:
            grads["bias_ih"] = d_from_x.sum(axis=(0, 1))
        if self.bias_hh is not None:
            grads["bias_hh"] = d_from_h.sum(axis=(0, 1))
        grads |= self.d_norm
        return self.within(self.product(d_product_x, self.weight_ih)), grads


def begin_backward(tape: Tape, cell: str) -> None:
    """Refuse what is no tape of this cell's, and set the sums of gradients to zero."""
    if not isinstance(tape, Tape) or tape.cell != cell:
        raise ValueError(
            f"tape: expected one from {cell}_forward, got {getattr(tape, 'cell', type(tape).__name__)}"
        )
    if tape.matmul_precision == "int8":
        raise ValueError("tape: expected one with gradients, got one of products in int8, which have none")
    tape.d_norm = {name: np.zeros_like(array) for name, array in tape.norm.items()}


def _select(mask: np.ndarray | None, t: Any, array: np.ndarray, otherwise: Any) -> np.ndarray:
    """`array` where ``mask[t]``, [..., B], holds (None: everywhere), elsewhere `otherwise`."""
    return array if mask is None else np.where(mask[t][..., np.newaxis], array, otherwise)
