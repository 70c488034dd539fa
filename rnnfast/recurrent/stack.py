"""The passes of one call of a stack: what a forward call collects, and the backward loop over layers.

The forward loop is `_core.run_stack`. If a pass has to be recorded, it calls a `Recorder`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rnnfast import _core
from rnnfast.arithmetic import add
from rnnfast.functional import passes
from rnnfast.recurrent import recomputation
from rnnfast.recurrent.masks import Masks
from rnnfast.recurrent.states import Layout, StateForm

__all__ = ["KeptCells", "Recorder", "Saved", "backward_stack", "evaluate_pass"]

evaluate_pass = partial(passes.pass_forward, save=False)


class KeptCells(NamedTuple):
    """A layer's cells, and what they were made from."""

    version: object  # of the arrays of all parameters
    arrays: dict[str, np.ndarray]  # of this layer's, by name
    cells: list[_core.Cell]


class Saved(NamedTuple):
    """What `forward` leaves for `backward`: a tape for each pass, the masks, the caller's layout."""

    tapes: list[Any]
    masks: Masks | None
    layout: Layout
    y_shape: tuple[int, ...]


class Recorder:
    """Runs the passes of one call of a stack and collects their tapes and the states of all steps.

    Parameters
    ----------
    run : callable
        Runs one pass: `passes.pass_forward` or one like it.
    spare : list
        Buffers for tapes, to use again.
    masks : Masks or None
        Of this call; None in evaluation.
    states : tuple of ndarray [passes, T, B, width]
        Written: the parts of the state at every step. Empty if they are not wanted.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        spare: list[Any],
        masks: Masks | None = None,
        states: tuple[np.ndarray, ...] = (),
    ) -> None:
        self._run, self._spare, self._masks = run, spare, masks
        self.states = states
        self.tapes: list[Any] = []

    def run(
        self,
        cell: _core.Cell,
        number: int,
        sequences: _core.Sequences | None,
        x: passes.Input,
        initial: Any,
        y: np.ndarray,
        final: tuple[np.ndarray, ...],
    ) -> None:
        """Run one pass."""
        steps = tuple([part[number] for part in self.states[1:]]) if self.states else None
        masks = self._masks and self._masks.of_pass(number, y.shape[1], cell.widths, y.dtype)
        tape = self._run(
            cell,
            number,
            x,
            initial,
            y,
            final,
            sequences=sequences,
            steps=steps,
            spare=self._spare,
            masks=masks,
        )
        self.tapes.append(tape)
        if self.states:
            self.states[0][number] = passes.own_columns(y, number, self.states[0].shape[-1])

    def above(self, layer: int, y: np.ndarray) -> np.ndarray:
        """The x of the next layer: y, or y times a mask in a new array, because the tape keeps y."""
        if self._masks is None or not self._masks.dropout:
            return y
        T, B, N = y.shape
        return self._masks.between_layers(y, layer, _core.blank(T, B, N, y.dtype))


def backward_stack(
    saved: Saved,
    form: StateForm,
    directions: int,
    dy: np.ndarray | None,
    d_final: Any,
    dh_steps: np.ndarray | None,
    d_steps: list[np.ndarray | None],
    input_grad: bool,
    retain: bool,
) -> tuple[np.ndarray | None, tuple[np.ndarray, ...], list[dict[str, np.ndarray]]]:
    """The backward passes of a stack, the last layer first.

    Parameters
    ----------
    saved : Saved
    form : StateForm
    directions : int
        D.
    dy : ndarray [T, B, D*P] or None
    d_final : tuple of ndarray [passes, B, width] or None, or None
        Gradients of the parts of the final state.
    dh_steps : ndarray [passes, T, B, P] or None
        The gradient of h at every step.
    d_steps : list of ndarray [passes, T, B, width] or None
        Those of the further parts.
    input_grad, retain : bool

    Returns
    -------
    dx : ndarray [T, B, I] or None
        For an embedded x the gradient of its table, [V, I].
    d_initial : tuple of ndarray [passes, B, width]
    gradients : list of dict
        Those of each pass's weights, by name.
    """
    x = saved.tapes[0].x
    T, B, I = x.shape
    embedded = isinstance(x, _core.Embedded)  # dx is then the gradient of the embedding's table
    run = (recomputation if isinstance(saved.tapes[0], recomputation.Checkpoints) else passes).pass_backward
    d_initial = form.blank(B)
    gradients: list[dict[str, np.ndarray]] = [{} for _ in saved.tapes]
    for layer in reversed(range(form.passes // directions)):
        numbers = range(layer * directions, (layer + 1) * directions)
        if dh_steps is not None:
            later = np.concatenate([dh_steps[number] for number in numbers], axis=-1)
            dy = later if dy is None else add(dy, later, out=later)
        dx = None
        for number in numbers:
            share = None
            if layer:
                share = _core.blank(T, B, directions * form.widths[0], form.dtype)
            elif input_grad:
                batch_first = saved.layout.batch_first
                share = np.empty_like(x.table) if embedded else _core.blank(T, B, I, form.dtype, batch_first)
            steps = tuple([None if part is None else part[number] for part in d_steps])
            gradients[number] = own = run(saved.tapes[number], dy, d_final, share, d_initial, retain, steps)
            if saved.masks is not None and saved.masks.weight_dropout:
                saved.masks.on_weight(number, own["weight_hh"], out=own["weight_hh"])
            dx = share if dx is None or share is None else add(dx, share, out=dx)
        if saved.masks is not None and saved.masks.dropout and dx is not None and layer:
            saved.masks.between_layers(dx, layer - 1, dx)
        dy = dx
    return dy, d_initial, gradients
