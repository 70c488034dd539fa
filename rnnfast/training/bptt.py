"""Truncated backpropagation through time: long sequences window by window, an update after each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from rnnfast import checks
from rnnfast.nn.module import Module, evaluate, run_backward, run_forward
from rnnfast.training.grad import (
    Loss,
    apply_loss,
    as_loss,
    check_keywords,
    check_model,
    counted,
    evaluation_only,
    is_batch_first,
    within_lengths,
)

__all__ = ["Sequences", "Window", "check_windows", "truncated_bptt"]


def truncated_bptt(
    model: Module, loss: Loss, x: Any, targets: Any, k1: int, k2: int, state: Any = None, **keywords: Any
) -> Iterator[tuple[float, Any]]:
    """After every k1 steps, the gradients of their loss through the last k2 steps.

    Before each yield the parameters' ``.grad`` are zeroed and the window's gradients added. The caller
    updates the weights before it takes the next.

    Parameters
    ----------
    model : Module
        Run with ``training=True`` (dropout is on) unless `keywords` say otherwise.
    loss : callable or str
        As for :func:`loss_and_grad`.
    x : array_like
        The model's input.
    targets : array_like
        What the loss compares y with; its axis of time is x's.
    k1 : int
        The steps from one update to the next; the last window may have fewer.
    k2 : int
        How many steps gradients go back from the end of a window, at least k1: to k2 - k1 steps before its
        beginning. The state there is constant. If k2 is larger than k1, the steps between are run again with
        the present weights, from the state that was stored there: each step is run about k2/k1 times.
    state : optional
        The model's initial state.
    **keywords
        ``mask`` and ``weights``: handed to the loss, laid out as the targets' first axes. Anything else is a
        keyword of the model's forward, such as ``reset``, ``lengths`` or ``checkpoint``: arrays are cut into
        windows, and ``lengths`` also make a mask for the loss. One ``rng`` seeds the masks of all windows,
        which differ.

    Yields
    ------
    loss : float
        The mean over the window's own k1 steps; 0.0 where nothing counts in them.
    state
        The model's state after them: the next window's initial one if k2 is k1, so leave it unwritten.

    Raises
    ------
    TypeError, ValueError
        Before the first window: a size that cannot be, k2 below k1, a keyword that the model's forward does
        not take, x, targets, mask or weights of different numbers of steps, or a model that cannot run
        window by window: one with `Last` or with a bidirectional layer.

    Notes
    -----
    R. J. Williams and J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", Neural Computation 2 (1990): BPTT(k2; k1).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x = np.random.default_rng(0).standard_normal((2000, 4, 1), np.float32)
    >>> targets = 0.5 * x + 0.5 * np.roll(x, 3, axis=0)
    >>> model = rf.Sequential(rf.GRU(1, 16, rng=1), rf.Linear(16, 1, rng=2))
    >>> optimizer = rf.optim.Adam(model.parameters(), lr=0.01)
    >>> losses = []
    >>> for loss, state in rf.truncated_bptt(model, rf.losses.mse, x, targets, k1=10, k2=20):
    ...     optimizer.step()
    ...     losses.append(loss)
    >>> len(losses), bool(np.mean(losses[-20:]) < 0.2 * np.mean(losses[:20]))
    (200, True)
    """
    check_model(model)
    loss = as_loss(loss)
    check_windows(model, k1, k2)
    return _passes(model, loss, Sequences(model, x, targets, keywords).windows(k1, k2), state)


def check_windows(model: Module, k1: int, k2: int) -> None:
    """Refuse sizes of windows that cannot be, and a model that cannot run window by window."""
    checks.positive("k1", k1)
    checks.positive("k2", k2)
    if k2 < k1:
        raise ValueError(f"k2: expected at least k1 = {k1}, got {k2}")
    for module in model.modules():
        if not module.causal:
            raise ValueError(f"model: expected a y at every step, got a model with {type(module).__name__}")
        if getattr(module, "bidirectional", False):
            raise ValueError(
                "model: expected layers of one direction (the reverse one begins at the end of all steps), "
                f"got a bidirectional {type(module).__name__}"
            )


def _passes(model: Module, loss: Loss, windows: list[Window], state: Any) -> Iterator[tuple[float, Any]]:
    for window in windows:
        model.zero_grad()
        value, state, final = window.run(loss, state)
        yield value, final


class Sequences:
    """x, targets and the keywords that go with them, as the windows along their time see them.

    Parameters
    ----------
    model, x, targets
        As for :func:`truncated_bptt`.
    keywords : dict
        Its keywords; those that are checked and cut here are taken out.

    Raises
    ------
    TypeError, ValueError
        As :func:`truncated_bptt`.
    """

    def __init__(self, model: Module, x: Any, targets: Any, keywords: dict[str, Any]) -> None:
        check_keywords(model, keywords, {"mask", "weights"})
        self.model = model
        self._x = checks.as_array("x", x)
        shape = self._x.shape
        batched = len(shape) == (3 if self._x.dtype.kind == "f" else 2)  # integers have no axis of units
        self.axis = int(batched and is_batch_first(model))
        if len(shape) <= self.axis:
            raise ValueError(f"x: expected an axis of time, got shape {shape}")
        self.T = shape[self.axis]
        self._targets = self._whole("targets", targets)
        self._mask = self._whole("mask", keywords.pop("mask", None))
        self._weights = self._whole("weights", keywords.pop("weights", None))
        self._reset = self._whole("reset", keywords.pop("reset", None))
        lengths = keywords.pop("lengths", None)
        if lengths is not None and not batched:
            lengths = [lengths]
        checked = checks.checked_lengths(lengths, self.T, shape[1 - self.axis] if batched else 1)
        self._lengths = checked if checked is None or batched else checked[0]
        rng = keywords.pop("rng", None)
        checks.check_rng(rng)
        self._seed = None if rng is None else checks.seed(rng)
        self.keywords = keywords

    def windows(self, k1: int, k2: int) -> list[Window]:
        """All steps, k1 by k1, with gradients that go back k2 steps."""
        return [Window(self, begin, min(begin + k1, self.T), back=k2 - k1) for begin in range(0, self.T, k1)]

    def inputs(self, s0: int, s1: int) -> tuple[np.ndarray, dict[str, Any]]:
        """x in the steps s0..s1, and the keywords that go with it."""
        given = {"lengths": self._ends(s0, s1), "reset": self._cut(self._reset, s0, s1)}
        return self._cut(self._x, s0, s1), {name: array for name, array in given.items() if array is not None}

    def wanted(self, s0: int, s1: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Targets in the steps s0..s1, the mask of those that count, and their weights."""
        x, lengths, mask = self._cut(self._x, s0, s1), self._ends(s0, s1), self._cut(self._mask, s0, s1)
        kept = within_lengths(self.model, x, lengths, mask)
        return self._cut(self._targets, s0, s1), kept, self._cut(self._weights, s0, s1)

    def seed_of(self, window: int, s0: int) -> dict[str, int]:
        """The seed of a window's dropout masks from step s0 on, as a keyword; empty without a seed."""
        if self._seed is None:
            return {}
        return {"rng": int(np.random.default_rng([self._seed, window, s0]).integers(2**63))}

    def steps(self, s0: int, s1: int) -> tuple[slice, ...]:
        """What picks these steps out of an array."""
        return (*(slice(None),) * self.axis, slice(s0, s1))

    def _whole(self, name: str, array: Any) -> Any:
        if array is None:
            return None
        array = checks.as_array(name, array)
        if array.ndim <= self.axis or array.shape[self.axis] != self.T:
            raise ValueError(
                f"{name}: expected {self.T} steps along axis {self.axis}, as x has, got shape {array.shape}"
            )
        return array

    def _cut(self, array: Any, s0: int, s1: int) -> Any:
        return None if array is None else array[self.steps(s0, s1)]

    def _ends(self, s0: int, s1: int) -> np.ndarray | None:
        return None if self._lengths is None else np.clip(self._lengths - s0, 0, s1 - s0)


class Window:
    """Steps begin..end of some sequences: one update, by gradients that go back `back` steps further.

    Attributes
    ----------
    last : bool
        It ends where the sequences end.
    """

    def __init__(self, data: Sequences, begin: int, end: int, back: int) -> None:
        self._data = data
        self._begin, self._end = begin, end
        self._start = max(0, begin - back)  # gradients end here; the state here is what a run begins with
        self._following = max(0, end - back)  # where the next window's run will start
        self.last = end == data.T

    @property
    def targets(self) -> int:
        """The number of targets."""
        return int(np.size(self.wanted[0]))

    @property
    def weight(self) -> int | float:
        """The number of targets that the loss is the mean of, or the sum of their weights."""
        return counted(*self.wanted)

    @property
    def wanted(self) -> tuple[Any, Any, Any]:
        """The targets, the mask of those that count, and their weights."""
        return self._data.wanted(self._begin, self._end)

    def run(
        self, loss: Loss, state: Any, grads: dict[str, np.ndarray] | None = None
    ) -> tuple[float, Any, Any]:
        """Add the gradients of a run from the state at its start.

        They go into `grads`, or without it into the parameters. Returns the loss, the state where the next
        window's run starts, and the state after the last step.
        """
        data, model = self._data, self._data.model
        own = data.steps(self._begin - self._start, self._end - self._start)
        states = {self._start: state}
        passes = []
        for s0, s1 in pairwise(sorted({self._start, self._following, self._end})):
            x, given = data.inputs(s0, s1)
            keywords = data.keywords | given | data.seed_of(self._begin, s0)
            y, states[s1], tape = run_forward(model, x, states[s0], **keywords)
            passes.append((s0 - self._start, s1 - self._start, y, tape))
        y = passes[0][2] if len(passes) == 1 else np.concatenate([y for *_, y, _ in passes], data.axis)
        value, dy = apply_loss(loss, y[own], *self.wanted)
        if self._start < self._begin:  # the steps before the window have no loss of their own
            dy_own, dy = dy, np.zeros(y.shape, y.dtype)
            dy[own] = dy_own
        dstate = None
        for s0, s1, _, tape in reversed(passes):
            share = dy[data.steps(s0, s1)]
            _, dstate = run_backward(model, tape, share, dstate, input_grad=False, grads=grads)
        return value, states[self._following], states[self._end]

    def loss_and_grad(
        self, loss: Loss, state: Any, grads: dict[str, np.ndarray] | None = None
    ) -> tuple[float, Any]:
        """Add the gradients: the loss, and the state that what comes next begins with."""
        value, following, final = self.run(loss, state, grads)
        return value, final if self.last else following

    def evaluate(self, loss: Loss, state: Any) -> tuple[float, Any]:
        """The loss of the window's own steps from the state before them, and the state after them."""
        x, given = self._data.inputs(self._begin, self._end)
        y, state = evaluate(self._data.model, x, state, **evaluation_only(self._data.keywords), **given)
        return apply_loss(loss, y, *self.wanted)[0], state
