"""One pass, a layer in one direction, over the compiled loops: it allocates what is saved.

It checks nothing: `functional` and `recurrent` call it with arrays that they have checked. A pass with
checkpoints is `checkpointed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np

from rnnfast import _core

Array = np.ndarray
Input: TypeAlias = "Array | _core.Embedded"
States = Sequence["Array | None"]  # (h,) or (h, c)


class Tape:
    """What one pass leaves for its backward pass; it refers to x, the weights and y: leave them unwritten.

    Attributes
    ----------
    cell : Cell
        What was run: the cell, its weights, its direction.
    used : bool
        Whether a backward pass has used it up.
    dh_steps : ndarray [T, B, H] or None
        If it is set, a backward pass writes the gradient of every h there.
    """

    __slots__ = (
        "c0",
        "c_steps",
        "cell",
        "dh_steps",
        "gates",
        "h0",
        "number",
        "sequences",
        "spare",
        "used",
        "x",
        "y",
    )

    def __init__(
        self,
        cell: _core.Cell,
        number: int,
        x: Input,
        h0: Array | None,
        c0: Array | None,
        y: Array,
        gates: Array,
        c_steps: Array | None,
        spare: list[Array] | None,
        sequences: _core.Sequences | None,
    ) -> None:
        self.cell = cell
        self.number = number
        self.sequences = sequences
        self.x = x
        self.h0 = h0
        self.c0 = c0
        self.y = y
        self.gates = gates
        self.c_steps = c_steps
        self.spare = spare
        self.used = False
        self.dh_steps: Array | None = None

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tape cannot be pickled or copied: it belongs to one forward pass")


def evaluate(
    cells: list[_core.Cell],
    directions: int,
    x: Input,
    initial: States | None,
    batch_first: bool,
    sequences: _core.Sequences | None = None,
) -> tuple[Array, Array, Array | None]:
    """Run all passes of a stack over arrays that the caller has checked, and keep nothing.

    Parameters
    ----------
    cells : list of Cell
        Those of all passes, the directions of a layer side by side.
    directions : int
        D, 1 or 2.
    x : ndarray [T, B, I] or Embedded
        Last axis contiguous, the others with any stride.
    initial : sequence of ndarray [passes, B, H], or None
        (h,) or (h, c), C-contiguous; None is zero.
    batch_first : bool
        Lay y out in memory as [B, T, ·].
    sequences : Sequences, optional
        Lengths and resets; None where every sequence has T steps and none is reset.

    Returns
    -------
    y : ndarray [T, B, D*H]
    h, c : ndarray [passes, B, H]
        The final state; c is None but for the LSTM.
    """
    return _core.evaluate(cells, directions, sequences, x, *_pair(initial), batch_first)


def pass_forward(
    cell: _core.Cell,
    number: int,
    x: Input,
    initial: States | None,
    y: Array,
    final: Sequence[Array],
    *,
    sequences: _core.Sequences | None = None,
    c_steps: Array | None = None,
    save: bool = True,
    spare: list[Array] | None = None,
) -> Tape | None:
    """Run one layer in one direction over arrays that the caller has checked.

    Parameters
    ----------
    cell : Cell
        The cell, its weights and its direction.
    number : int
        Which pass this is of those whose states `initial` and `final` hold; of the D directions side by side
        in y it writes number ``number % D``. Where it is 0, states may leave out their first axis.
    x : ndarray [T, B, I] or Embedded
        Last axis contiguous, the others with any stride.
    initial : sequence of ndarray [passes, B, H], or None
        (h,) or (h, c), C-contiguous; None is zero.
    y : ndarray [T, B, D*H]
        H columns are written; last axis contiguous, the others with any stride.
    final : sequence of ndarray [passes, B, H]
        (h,) or (h, c), C-contiguous; one entry is written.
    sequences : Sequences, optional
        Lengths and resets; None where every sequence has T steps and none is reset.
    c_steps : ndarray [T, B, H], optional
        Gets the LSTM's c of every step that there is.
    save : bool
        Keep what `pass_backward` needs.
    spare : list, optional
        Buffers to reuse: one that fits is taken out, and `pass_backward` puts it back.

    Returns
    -------
    Tape or None
        None unless `save`.
    """
    h0, c0 = _pair(initial)
    h, c = _pair(final)
    T, B, _ = y.shape
    gates = _take(spare, T * B * cell.slots * cell.hidden_size, y.dtype) if save else None
    if save and c is not None and c_steps is None:
        c_steps = _take(spare, T * B * cell.hidden_size, y.dtype)
    _core.forward(cell, number, sequences, x, h0, c0, y, h, c, gates, c_steps)
    if gates is None:
        return None
    return Tape(cell, number, own_view(x), h0, c0, y, gates, c_steps, spare, sequences)


def pass_backward(
    tape: Tape,
    dy: Array | None,
    dfinal: States | None,
    dx: Array | None,
    dinitial: Sequence[Array],
    retain: bool = False,
    dc_steps: Array | None = None,
) -> dict[str, Array]:
    """Run the pass of a tape backwards, over arrays that the caller has checked.

    Parameters
    ----------
    tape : Tape
        Used up unless `retain`.
    dy : ndarray [T, B, D*H] or None
        None is zero.
    dfinal : sequence of ndarray [passes, B, H] or None, or None
        Gradients of the final state, C-contiguous; None is zero.
    dx : ndarray [T, B, I] or None
        Written; None if it is not wanted. For an embedded x, the gradient of its table: [V, I], C-contiguous.
    dinitial : sequence of ndarray [passes, B, H]
        Gradients of the initial state; one entry is written.
    retain : bool
        Keep the tape for another backward pass, at the price of a copy of the gates.
    dc_steps : ndarray [T, B, H] or None
        Gradients of the LSTM's c at every step, last axis contiguous; None is zero.

    Returns
    -------
    dict
        Fresh gradients of the weights that the pass has, by name.
    """
    cell, gates = tape.cell, tape.gates
    grads = cell.new_gradients()
    dh, dc = _pair(dinitial)
    dh_final, dc_final = _pair(dfinal)
    tape.used = not retain
    _core.backward(
        cell,
        tape.number,
        tape.sequences,
        tape.x,
        tape.h0,
        tape.c0,
        tape.y,
        gates.copy() if retain else gates,
        tape.c_steps,
        dy,
        dc_steps,
        tape.dh_steps,
        dh_final,
        dc_final,
        dx,
        dh,
        dc,
        grads,
    )
    if not retain:
        _give(tape.spare, gates)
        if tape.c_steps is not None and tape.c_steps.ndim == 1:  # not the caller's
            _give(tape.spare, tape.c_steps)
    return grads


def _pair(parts: Sequence[Any] | None) -> tuple[Any, Any]:
    """The parts h and c of a state; None for what there is none of."""
    if parts is None:
        return None, None
    return (parts[0], None) if len(parts) == 1 else (parts[0], parts[1])


def own_view(x: Input) -> Input:
    """The same x for a tape: the shape of the caller's array may be set in place."""
    return x if isinstance(x, _core.Embedded) else x.view()


def own_columns(array: Array, number: int, H: int) -> Array:
    """Those of pass `number` in a [T, B, D*H] array of all directions."""
    side = number % (array.shape[2] // H)
    return array[:, :, side * H : (side + 1) * H]


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
