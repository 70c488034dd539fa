"""One pass, a layer in one direction, over the compiled loops: this module allocates what a pass saves.

It checks nothing: `functional.layer` and `recurrent` call it with arrays that they have checked.
`recurrent.recomputation` has passes that save less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from rnnfast import _core
from rnnfast._core import Tape
from rnnfast.arithmetic import to_nearest

__all__ = [
    "Array",
    "Input",
    "PassMasks",
    "State",
    "own_columns",
    "own_view",
    "pass_backward",
    "pass_forward",
    "sequences_of",
]

Array = np.ndarray
Input: TypeAlias = "Array | _core.Embedded"
State = tuple["Array | None", ...]  # the parts of a state, [passes, B, width] each, or of its gradient


class PassMasks(NamedTuple):
    """What zoneout and recurrent dropout do in one pass.

    Attributes
    ----------
    zone : callable or None
        ``zone(start, stop)`` gives, for each part of the state, how much of it these steps leave as it was,
        [steps, B, width] in 0..1; None for a part is zero. None: what the cell has for passes without masks.
    drop : ndarray [B, P] or None
        The factors of h as the products of the state read it.
    start : int
        The number of the pass's first step.
    """

    zone: Callable[[int, int], State] | None
    drop: Array | None
    start: int = 0


def pass_forward(
    cell: _core.Cell,
    number: int,
    x: Input,
    initial: State | None,
    y: Array,
    final: tuple[Array, ...],
    *,
    sequences: _core.Sequences | None = None,
    steps: tuple[Array, ...] | None = None,
    save: bool = True,
    spare: list[Array] | None = None,
    masks: PassMasks | None = None,
) -> Tape:
    """Run one layer in one direction over arrays that the caller has checked.

    Parameters
    ----------
    cell : Cell
        The cell, its weights and its direction.
    number : int
        The number of this pass among those whose states `initial` and `final` hold. Of the D directions side
        by side in y it writes number ``number % D``. If it is 0, states may leave out their first axis.
    x : ndarray [T, B, I] or Embedded
        Last axis contiguous, the others with any stride.
    initial : tuple of ndarray [passes, B, width], or None
        The parts of the state, h first, C-contiguous; None is zero.
    y : ndarray [T, B, D*P]
        P columns are written; last axis contiguous, the others with any stride.
    final : tuple of ndarray [passes, B, width]
        C-contiguous; one entry of each part is written.
    sequences : Sequences, optional
        Lengths and resets; None where every sequence has T steps and none is reset.
    steps : tuple of ndarray [T, B, H], optional
        The parts of the state other than h, after every step, are written here.
    save : bool
        Keep what `pass_backward` needs.
    spare : list, optional
        Buffers to reuse: one that fits is taken out, and `pass_backward` puts it back.
    masks : PassMasks, optional

    Returns
    -------
    Tape
        Without gates, for no backward pass, unless `save`.
    """
    T, B, _ = y.shape
    gates = None
    if save:
        numbers = T * B * cell.hidden_size
        gates = _take(spare, numbers * cell.slots, y.dtype)
        if steps is None:
            steps = tuple([_take(spare, numbers, y.dtype) for _ in final[1:]])
    noise = None if masks is None else _noise(masks, number, initial, T, B, y.dtype, spare)
    tape = Tape(cell, number, sequences, own_view(x), initial, y, gates, steps, spare, noise)
    _core.forward(tape, final)
    return tape


def pass_backward(
    tape: Tape,
    dy: Array | None,
    d_final: State | None,
    dx: Array | None,
    d_initial: tuple[Array, ...],
    retain: bool = False,
    d_steps: State | None = None,
) -> dict[str, Array]:
    """Run the backward pass of a tape, over arrays that the caller has checked.

    Parameters
    ----------
    tape : Tape
        Its gates are overwritten unless `retain`.
    dy : ndarray [T, B, D*P] or None
        None is zero.
    d_final : tuple of ndarray [passes, B, width] or None, or None
        Gradients of the final state, C-contiguous; None is zero.
    dx : ndarray [T, B, I] or None
        Written; None if it is not wanted. For an embedded x, the gradient of its table: [V, I], C-contiguous.
    d_initial : tuple of ndarray [passes, B, width]
        Gradients of the initial state; one entry of each part is written.
    retain : bool
        Keep the tape for another backward pass, at the price of a copy of the gates.
    d_steps : tuple of ndarray [T, B, H] or None, or None
        Gradients of the parts of the state other than h, after every step, last axis contiguous;
        None is zero.

    Returns
    -------
    dict
        Fresh gradients of the weights that the pass has, by name.
    """
    gates = tape.gates
    grads = tape.cell.new_gradients()
    _core.backward(tape, gates.copy() if retain else gates, dy, d_final, d_steps, dx, d_initial, grads)
    if not retain:
        _give(tape.spare, gates)
        for buffer in tape.steps or ():
            if buffer.ndim == 1:  # a buffer of `_take`, not an array of the caller
                _give(tape.spare, buffer)
        if tape.noise is not None and tape.noise.fed is not None:
            _give(tape.spare, tape.noise.fed)
    return grads


def sequences_of(lengths: Array | None, reset: Array | None, T: int, B: int) -> _core.Sequences | None:
    """Checked lengths [B] and resets [T, B] in the form of the kernels; None if there are neither.

    The tape outlives the call and the caller may write into `reset`, so it is copied.
    """
    if lengths is None and reset is None:
        return None
    return _core.Sequences(T, B, lengths, None if reset is None else reset.copy())


def own_view(x: Input) -> Input:
    """A view of x for a tape, because the caller may set the shape of its own array in place."""
    return x if isinstance(x, _core.Embedded) else x.view()


def own_columns(array: Array, number: int, H: int) -> Array:
    """The columns of pass `number` in a [T, B, D*H] array of all directions."""
    side = number % (array.shape[2] // H)
    return array[:, :, side * H : (side + 1) * H]


@to_nearest
def _noise(
    masks: PassMasks,
    number: int,
    initial: State | None,
    T: int,
    B: int,
    dtype: np.dtype,
    spare: list[Array] | None,
) -> _core.Noise:
    """The masks of a pass in the form of the kernels."""
    zone = None if masks.zone is None else masks.zone(masks.start, masks.start + T)
    if masks.drop is None:
        return _core.Noise(zone)
    h = None if initial is None else initial[0]
    if h is not None:
        h = (h if h.ndim == 2 else h[number]) * masks.drop
    return _core.Noise(zone, masks.drop, h, _take(spare, T * B * masks.drop.shape[1], dtype))


def _take(spare: list[Array] | None, n: int, dtype: np.dtype) -> Array:
    """n numbers, from the spare buffers if one of them is large enough and not much too large."""
    if spare is None:
        return np.empty(n, dtype)
    for _ in range(len(spare)):
        try:
            buffer = spare.pop(0)
        except IndexError:  # another thread took the last one
            break
        if buffer.dtype == dtype and n <= buffer.size <= 2 * n:
            return buffer
        spare.append(buffer)
    del spare[:1]  # the oldest buffer has not fitted any recent call
    return np.empty(n, dtype)


def _give(spare: list[Array] | None, buffer: Array) -> None:
    """Put a buffer back, and keep the 32 newest."""
    if spare is not None:
        spare.append(buffer)
        del spare[:-32]
