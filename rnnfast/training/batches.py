"""What `fit` and `evaluate` are given, cut into updates: batches of sequences, whole or window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks, exchange
from rnnfast.nn.last import Last
from rnnfast.nn.module import Module
from rnnfast.training.bptt import Sequences, Window, check_windows
from rnnfast.training.grad import (
    Loss,
    check_keywords,
    counted,
    evaluate_loss,
    loss_and_grad,
    number_of,
    within_lengths,
)

__all__ = ["Batch", "Source", "source"]


class Batch:
    """Sequences that are run whole, for one update; `keywords` are those of loss_and_grad."""

    last = True

    def __init__(self, model: Module, x: Any, targets: Any, keywords: dict[str, Any]) -> None:
        self.x, self.given, self.keywords = x, targets, keywords
        self._model = model

    @property
    def targets(self) -> int:
        """The number of targets."""
        return number_of(self.given)

    @property
    def weight(self) -> int | float:
        """The number of targets that the loss is the mean of, or the sum of their weights."""
        mask = within_lengths(self._model, self.x, self.keywords.get("lengths"), self.keywords.get("mask"))
        return counted(self.given, mask, self.keywords.get("weights"))

    def loss_and_grad(self, loss: Loss, state: Any) -> tuple[float, Any]:
        """Add the gradients: the loss, and the final state."""
        return loss_and_grad(self._model, loss, self.x, self.given, state, **self.keywords)

    def evaluate(self, loss: Loss, state: Any) -> tuple[float, Any]:
        """The loss and the final state."""
        return evaluate_loss(self._model, loss, self.x, self.given, state, **self.keywords)


class Source:
    """What the updates of an epoch are made from, epoch by epoch.

    Attributes
    ----------
    count : int or None
        Updates in an epoch, where known.
    once : bool
        There is one epoch only: the batches come from an iterator.
    shuffle : bool
        Whether epochs are to be drawn in a new order each.
    """

    count: int | None = None
    once = False
    shuffle = False

    def epoch(
        self, number: int, start: int = 0, rng: np.random.Generator | None = None
    ) -> Iterator[Batch] | Iterator[Window]:
        """What an epoch's updates are made from, one by one, from the given one on.

        The sequences are shuffled by `rng`, if it is given.
        """
        raise NotImplementedError


class _Arrays(Source):
    """`x` and `targets`, cut along one axis of each."""

    def __init__(
        self,
        model: Module,
        x: NDArray,
        targets: NDArray,
        keywords: dict[str, Any],
        axes: tuple[int, int],
        batch_size: int | None,
    ) -> None:
        self._model = model
        self.x, self.targets, self.keywords = x, targets, keywords
        self._axes = axes
        self._cut_along = {"lengths": 0, "reset": axes[0], "mask": axes[1], "weights": axes[1]}
        self._rows = x.shape[axes[0]]
        self._size = min(batch_size or self._rows, self._rows)
        self.count = -(-self._rows // self._size)
        self.equal = self._rows % self._size == 0  # all batches are of one size

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        order = None if rng is None else rng.permutation(self._rows)
        for low in range(start * self._size, self._rows, self._size):
            rows = slice(low, low + self._size)
            chosen = rows if order is None else order[rows]
            x, targets = (
                _cut(array, axis, chosen)
                for array, axis in zip((self.x, self.targets), self._axes, strict=True)
            )
            keywords = {
                name: _cut(value, self._cut_along[name], chosen) if name in self._cut_along else value
                for name, value in self.keywords.items()
            }
            yield Batch(self._model, x, targets, keywords)


def _cut(array: NDArray, axis: int, chosen: slice | NDArray) -> NDArray:
    """The chosen sequences along an axis."""
    if isinstance(chosen, slice):
        return array[(slice(None),) * axis + (chosen,)]
    return array.take(chosen, axis)


class _Given(Source):
    """The caller's own batches."""

    def __init__(self, model: Module, name: str, data: Any) -> None:
        self._model = model
        self._name = name
        self._data = data
        self.count = len(data) if hasattr(data, "__len__") else None
        self.once = hasattr(data, "__next__")

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        batches = self._data(number) if callable(self._data) else self._data
        for item in islice(iter(batches), start, None):
            if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):
                got = f"{len(item)} entries" if isinstance(item, (tuple, list)) else type(item).__name__
                raise TypeError(
                    f"{self._name}: expected batches (x, targets) or (x, targets, keywords), got {got}"
                )
            x, targets, *keywords = item
            if keywords and not isinstance(keywords[0], Mapping):
                came = type(keywords[0]).__name__
                raise TypeError(f"{self._name}: expected the keywords of a batch as a dict, got {came}")
            yield Batch(self._model, x, targets, dict(*keywords))


class _Windows(Source):
    """The batches of another source, window by window along their time: an update after k1 steps."""

    def __init__(self, model: Module, batches: _Arrays | _Given, k1: int, k2: int, count: int | None) -> None:
        self._model = model
        self._batches = batches
        self._k1, self._k2 = k1, k2
        self.count, self.once, self.shuffle = count, batches.once, batches.shuffle

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Window]:
        for batch in self._batches.epoch(number, 0, rng):
            windows = Sequences(self._model, batch.x, batch.given, batch.keywords).windows(self._k1, self._k2)
            yield from windows[start:]
            start = max(0, start - len(windows))


def source(
    name: str,
    data: Any,
    model: Module,
    *,
    batch_size: int | None,
    axes: tuple[int, int] | None,
    stateful: bool,
    truncate: tuple[int, int] | None,
    shuffle: bool | None = False,
) -> Source:
    """The updates of `data`; `name` is what errors call it.

    Arrays, ``(x, targets)`` or ``(x, targets, keywords)``, are cut along the batch axis: `axes` names that of
    each. By default it is axis 1 of x, as layers want it, or axis 0 with ``batch_first`` (the model's first
    module that has this attribute decides) and for a model without recurrent layers; targets have the same
    axis where they begin with x's first two axes, and axis 0 where they do not or the model holds a `Last`:
    there is one for each sequence then. With ``truncate=(k1, k2)`` the batches are cut into windows of k1
    steps.
    """
    batches = _batches(name, data, model, batch_size, axes, stateful, shuffle)
    if truncate is None:
        return batches
    if not isinstance(truncate, (tuple, list)) or len(truncate) != 2:
        raise TypeError(f"truncate: expected (k1, k2), got {truncate!r}")
    check_windows(model, *truncate)
    count = None
    if isinstance(batches, _Arrays) and batches.count is not None:
        count = batches.count * len(Sequences(model, batches.x, batches.targets, {}).windows(*truncate))
    return _Windows(model, batches, *truncate, count)


def _batches(
    name: str,
    data: Any,
    model: Module,
    batch_size: int | None,
    axes: tuple[int, int] | None,
    stateful: bool,
    shuffle: bool | None,
) -> _Arrays | _Given:
    if shuffle is not None:
        checks.flag("shuffle", shuffle)
    if not (isinstance(data, (tuple, list)) and len(data) in (2, 3) and exchange.is_array(data[0])):
        if shuffle:
            raise ValueError(
                "shuffle: expected None or False with batches of your own: they come in their order"
            )
        if not (callable(data) or isinstance(data, Iterable)) or (
            isinstance(data, (Mapping, str)) or exchange.is_array(data)
        ):
            raise TypeError(
                f"{name}: expected a pair of arrays (x, targets), or with keywords (x, targets, {{...}}), an "
                f"iterable of batches, or a function from the epoch to one, got {type(data).__name__}"
            )
        return _Given(model, name, data)

    x, targets = checks.as_array(f"{name}[0]", data[0]), checks.as_array(f"{name}[1]", data[1])
    axes = _batch_axes(model, x, targets) if axes is None else _checked_axes(axes)
    for place, (array, axis) in enumerate(zip((x, targets), axes, strict=True)):
        if not 0 <= axis < array.ndim:
            raise ValueError(f"{name}[{place}]: expected a batch axis {axis}, got shape {array.shape}")
    if x.shape[axes[0]] != targets.shape[axes[1]]:
        raise ValueError(
            f"{name}: expected a target for each sequence, got {x.shape[axes[0]]} along axis {axes[0]} of x "
            f"and {targets.shape[axes[1]]} along axis {axes[1]} of targets"
        )
    if x.shape[axes[0]] == 0:
        raise ValueError(f"{name}: expected at least one sequence, got shape {x.shape}")
    if batch_size is not None:
        checks.positive("batch_size", batch_size)
    keywords = _checked_keywords(name, model, x, targets, axes, data[2] if len(data) == 3 else {})
    arrays = _Arrays(model, x, targets, keywords, axes, batch_size)
    if stateful and shuffle:
        raise ValueError("shuffle: expected None or False with stateful=True: batches go on from each other")
    arrays.shuffle = not stateful if shuffle is None else shuffle
    if stateful and not arrays.equal:
        raise ValueError(
            f"batch_size: expected a divisor of the {x.shape[axes[0]]} sequences with stateful=True, "
            f"got {batch_size}"
        )
    return arrays


def _checked_axes(axes: Any) -> tuple[int, int]:
    if not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise TypeError(f"axes: expected (axis of x, axis of targets), got {axes!r}")
    return checks.integer("axes[0]", axes[0], 0), checks.integer("axes[1]", axes[1], 0)


def _checked_keywords(
    name: str, model: Module, x: NDArray, targets: NDArray, axes: tuple[int, int], keywords: Any
) -> dict[str, Any]:
    """The keywords that go with all sequences, those that are cut with them as arrays that fit."""
    if not isinstance(keywords, Mapping):
        raise TypeError(f"{name}[2]: expected keywords as a dict, got {type(keywords).__name__}")
    keywords = {key: value for key, value in keywords.items() if value is not None}
    check_keywords(model, keywords, {"mask", "weights"})
    B = x.shape[axes[0]]
    try:
        if "lengths" in keywords:
            T = x.shape[1 - axes[0]] if axes[0] < 2 and x.ndim > 1 else 0
            keywords["lengths"] = checks.checked_lengths(keywords["lengths"], T, B)
        if "reset" in keywords:
            keywords["reset"] = checks.checked_reset(keywords["reset"], x.shape[:2])
        for key, kinds, expected in (("mask", "b", "bool"), ("weights", "fiu", "real numbers")):
            if key not in keywords:
                continue
            keywords[key] = array = checks.as_array(key, keywords[key])
            if array.dtype.kind not in kinds:
                raise TypeError(f"{key}: expected {expected}, got {array.dtype}")
            if array.ndim <= axes[1] or array.shape != targets.shape[: array.ndim]:
                raise ValueError(
                    f"{key}: expected the shape of the targets {targets.shape} or leading axes of it, the "
                    f"batch's among them, got {array.shape}"
                )
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}[2]: {error}") from error
    return keywords


def _batch_axes(model: Module, x: NDArray, targets: NDArray) -> tuple[int, int]:
    modules = model.modules()
    batch_first = next((module.batch_first for module in modules if hasattr(module, "batch_first")), True)
    axis = 0 if batch_first else 1
    by_sequence = any(isinstance(module, Last) for module in modules)
    by_step = targets.ndim > 1 and targets.shape[:2] == x.shape[:2] and not by_sequence
    return axis, axis if by_step else 0
