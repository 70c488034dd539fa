"""Truncated backpropagation through time: long sequences window by window, an update after each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from rnnfast.functional import checked_lengths
from rnnfast.nn import checks
from rnnfast.nn.module import Module
from rnnfast.training.grad import Loss, apply_loss, check_keywords, is_batch_first, within_lengths

__all__ = ["truncated_bptt"]


def truncated_bptt(
    model: Module, loss: Loss, x: Any, targets: Any, k1: int, k2: int, state: Any = None, **how: Any
) -> Iterator[tuple[float, Any]]:
    """After every k1 steps, the gradients of their loss through the last k2 steps.

    Before each yield the parameters' ``.grad`` are zeroed and the window's gradients added; the caller
    updates the weights and goes on.

    Parameters
    ----------
    model : Module
        Run with ``training=True`` (dropout is on) unless `how` says otherwise.
    loss : callable
        ``loss(y, targets)`` or ``loss(y, targets, mask)`` giving (float, dy), as those of `rnnfast.losses`.
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
    **how
        ``mask``: handed to the loss, laid out as the targets' first axes. Anything else is a keyword of the
        model's forward, such as ``reset``, ``lengths`` or ``checkpoint``: arrays are cut into windows, and
        ``lengths`` also make a mask for the loss. An integer ``rng`` seeds the masks of all windows, which
        differ.

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
        not take, x, targets or mask of different numbers of steps, or a model that cannot run window by
        window: one with `Last` or with a bidirectional layer.

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
    k1, k2 = checks.positive("k1", k1), checks.positive("k2", k2)
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
    check_keywords(model, how, {"mask"})
    if how.get("rng") is not None:
        how["rng"] = checks.generator(how["rng"])  # one for all windows
    data = _Sequences(model, x, targets, how)
    return _windows(model, loss, data, k1, k2, state, how)


def _windows(
    model: Module, loss: Loss, data: _Sequences, k1: int, k2: int, state: Any, how: dict[str, Any]
) -> Iterator[tuple[float, Any]]:
    back = k2 - k1
    states = {0: state}
    for begin in range(0, data.T, k1):
        end = min(begin + k1, data.T)
        start, following = max(0, begin - back), max(0, end - back)  # of this window's run, of the next one's
        own = data.steps(begin - start, end - start)
        model.zero_grad()
        states = {start: states[start]}
        passes = []
        for s0, s1 in pairwise(sorted({start, following, end})):
            x, bends = data.inputs(s0, s1)
            y, states[s1], tape = model.forward(x, states[s0], **how, **bends)
            passes.append((s0 - start, s1 - start, y, tape))
        y = passes[0][2] if len(passes) == 1 else np.concatenate([y for *_, y, _ in passes], data.axis)
        value, dy = apply_loss(loss, y[own], *data.wanted(begin, end))
        if start < begin:  # the steps before the window have no loss of their own
            dy_own, dy = dy, np.zeros(y.shape, y.dtype)
            dy[own] = dy_own
        dstate = None
        for s0, s1, _, tape in reversed(passes):
            _, dstate = model.backward(tape, dy[data.steps(s0, s1)], dstate, input_grad=False)
        yield value, states[end]


class _Sequences:
    """x, targets and what goes with them, cut along time; it takes those it knows out of `how`."""

    def __init__(self, model: Module, x: Any, targets: Any, how: dict[str, Any]) -> None:
        self._model = model
        self._x = checks.as_array("x", x)
        shape = self._x.shape
        batched = len(shape) == (3 if self._x.dtype.kind == "f" else 2)  # integers have no axis of units
        self.axis = int(batched and is_batch_first(model))
        if len(shape) <= self.axis:
            raise ValueError(f"x: expected an axis of time, got shape {shape}")
        self.T = shape[self.axis]
        self._targets = self._whole("targets", targets)
        self._mask = self._whole("mask", how.pop("mask", None))
        self._reset = self._whole("reset", how.pop("reset", None))
        lengths = how.pop("lengths", None)
        if lengths is not None:
            checked_lengths(lengths if batched else [lengths], self.T, shape[1 - self.axis] if batched else 1)
            lengths = np.asarray(lengths)
        self._lengths = lengths

    def inputs(self, s0: int, s1: int) -> tuple[np.ndarray, dict[str, Any]]:
        """x in the steps s0..s1, and the keywords that go with it."""
        bends = {"lengths": self._ends(s0, s1), "reset": self._cut(self._reset, s0, s1)}
        return self._cut(self._x, s0, s1), {name: bend for name, bend in bends.items() if bend is not None}

    def wanted(self, s0: int, s1: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets in the steps s0..s1, and the mask of those that count."""
        x, lengths, mask = self._cut(self._x, s0, s1), self._ends(s0, s1), self._cut(self._mask, s0, s1)
        return self._cut(self._targets, s0, s1), within_lengths(self._model, x, lengths, mask)

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
