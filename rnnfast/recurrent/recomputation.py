"""Recomputation: a pass saves the state at the start of each segment of time, and no gates.

`pass_forward` and `pass_backward` run those of `passes` on views of one segment after another. The backward
pass runs each segment forward again, the last first, now with gates, and then backward. Griewank 1992; for
recurrent networks Gruslys et al. 2016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rnnfast import _core
from rnnfast.arithmetic import add
from rnnfast.functional import passes
from rnnfast.functional.passes import Array, Input, PassMasks, State

__all__ = ["Checkpoints", "Segment", "pass_backward", "pass_forward", "segment_length"]

ROWS = 512  # the least rows of a segment with True, so that packing the weights pays
REPEATS = 2  # rows of a segment for each row of an embedded x's table, so that projecting the table pays


class Segment(NamedTuple):
    """Some steps of a pass, and the state before them: (h,) or (h, c), each [B, H]; None is zero."""

    steps: slice
    sequences: _core.Sequences | None
    state: State | None


class Checkpoints(NamedTuple):
    """What one pass saves for its backward pass; nobody may write into x and the weights until then."""

    cell: _core.Cell
    number: int
    x: Input
    segments: list[Segment]  # as the pass got them
    spare: list[Array] | None
    masks: PassMasks | None


def segment_length(checkpoint: bool | int | None, x: Input) -> int | None:
    """The steps of a segment that a checked `checkpoint` means for this x; None: no recomputation.

    True means about sqrt(T), so that about as many states are saved as a segment has steps.
    """
    if checkpoint is None or checkpoint is False:
        return None
    if checkpoint is not True:
        return checkpoint
    T, B, _ = x.shape
    rows = max(ROWS, REPEATS * len(x.table)) if isinstance(x, _core.Embedded) else ROWS
    return max(math.isqrt(T), -(-rows // max(1, B)))


def pass_forward(
    cell: _core.Cell,
    number: int,
    x: Input,
    initial: State | None,
    y: Array,
    final: tuple[Array, ...],
    *,
    length: int,
    sequences: _core.Sequences | None = None,
    steps: tuple[Array, ...] | None = None,
    spare: list[Array] | None = None,
    masks: PassMasks | None = None,
) -> Checkpoints:
    """As `passes.pass_forward`, in segments of `length` steps; the states must have their first axis."""
    T = y.shape[0]
    last = _entries(final, number)
    y = passes.own_columns(y, number, last[0].shape[-1])
    cuts = range(0, max(T, 1), length)
    segments = []
    state = None if initial is None else _entries(initial, number)
    for s0 in reversed(cuts) if cell.reverse else cuts:
        here = slice(s0, min(s0 + length, T))
        part = None if sequences is None else sequences.part(here.start, here.stop)
        segments.append(Segment(here, part, state))
        state = last if len(segments) == len(cuts) else _like(last)
        passes.pass_forward(
            cell,
            0,
            _part(x, here),
            segments[-1].state,
            y[here],
            state,
            sequences=part,
            steps=_at_steps(steps, here),
            save=False,
            masks=_from_step(masks, here),
        )
    return Checkpoints(cell, number, passes.own_view(x), segments, spare, masks)


def pass_backward(
    tape: Checkpoints,
    dy: Array | None,
    d_final: State | None,
    dx: Array | None,
    d_initial: tuple[Array, ...],
    retain: bool = False,
    d_steps: State | None = None,
) -> dict[str, Array]:
    """As `passes.pass_backward`; `retain` costs nothing here."""
    first = _entries(d_initial, tape.number)
    B, H = first[0].shape
    dy = None if dy is None else passes.own_columns(dy, tape.number, H)
    dstate = None if d_final is None else _entries(d_final, tape.number)
    embedded = isinstance(tape.x, _core.Embedded)
    grads: dict[str, Array] = {}
    for segment in reversed(tape.segments):
        steps = segment.steps
        y = _core.blank(steps.stop - steps.start, B, H, first[0].dtype)
        again = passes.pass_forward(
            tape.cell,
            0,
            _part(tape.x, steps),
            segment.state,
            y,
            _like(first),
            sequences=segment.sequences,
            spare=tape.spare,
            masks=_from_step(tape.masks, steps),
        )
        assert again is not None
        share = None if dx is None else np.empty_like(dx) if embedded else dx[steps]
        before = first if segment is tape.segments[0] else _like(first)
        fresh = passes.pass_backward(
            again,
            None if dy is None else dy[steps],
            dstate,
            share,
            before,
            d_steps=_at_steps(d_steps, steps),
        )
        if share is not None and embedded:
            fresh["table"] = share
        for name, gradient in fresh.items():
            grads[name] = add(grads[name], gradient, out=gradient) if name in grads else gradient
        dstate = before
    if dx is not None and embedded:
        dx[...] = grads.pop("table")
    return grads


def _part(x: Input, steps: slice) -> Input:
    """Some steps of x."""
    return _core.Embedded(x.table, x.tokens[steps]) if isinstance(x, _core.Embedded) else x[steps]


def _at_steps(parts: State | None, steps: slice) -> Any:
    """Some steps of [T, B, ·] arrays, of which any may be None."""
    return None if parts is None else tuple([None if part is None else part[steps] for part in parts])


def _from_step(masks: PassMasks | None, steps: slice) -> PassMasks | None:
    """The masks of some steps."""
    return None if masks is None else masks._replace(start=steps.start)


def _entries(state: State, number: int) -> tuple[Any, ...]:
    """The state of one pass, from the states of all."""
    return tuple([None if part is None else part[number] for part in state])


def _like(state: tuple[Array, ...]) -> tuple[Array, ...]:
    """An uninitialised state."""
    return tuple([np.empty_like(part) for part in state])
