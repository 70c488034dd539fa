"""What `fit` and `evaluate` are given, cut into updates: batches of sequences, whole or window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks, exchange
from rnnfast.nn.last import Last
from rnnfast.nn.mean import checked_weights
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

__all__ = ["Batch", "Shards", "Source", "seed_of_shard", "source"]


class Batch:
    """Sequences that are run whole, for one update; `keywords` are those of loss_and_grad."""

    last = True

    def __init__(
        self,
        model: Module,
        x: Any,
        targets: Any,
        keywords: dict[str, Any],
        axes: tuple[int, int] | None = None,
    ) -> None:
        self.x, self.given, self.keywords = x, targets, keywords
        self._model = model
        self._axes = axes

    @property
    def targets(self) -> int:
        """The number of targets."""
        return number_of(self.given)

    @property
    def weight(self) -> int | float:
        """The number of targets that the loss is the mean of, or the sum of their weights."""
        return counted(*self.wanted)

    @property
    def wanted(self) -> tuple[Any, Any, Any]:
        """The targets, the mask of those that count, and their weights."""
        given = self.keywords
        kept = within_lengths(self._model, self.x, given.get("lengths"), given.get("mask"))
        return self.given, kept, given.get("weights")

    def windows(self, k1: int, k2: int) -> list[Window]:
        """All steps, k1 by k1, with gradients that go back k2 steps."""
        return Sequences(self._model, self.x, self.given, dict(self.keywords)).windows(k1, k2)

    def count_windows(self, k1: int, k2: int) -> int:
        """How many windows there are; it draws no seed."""
        return len(Sequences(self._model, self.x, self.given, {}).windows(k1, k2))

    def shards(self, count: int, own: range) -> Shards:
        """Those shards of `own`, of `count` into which the batch is cut by place."""
        x, targets = checks.as_array("x", self.x), _to_cut(self.given)
        axes = _axes_of_given(self._model, x, targets) if self._axes is None else self._axes
        B = _sequences_along("x", x, axes[0])
        keywords = _keywords_to_cut(self.keywords, axes, B)
        if _sequences_along("targets", targets, axes[1]) != B:
            came = len(targets) if isinstance(targets, (list, tuple)) else f"shape {targets.shape}"
            raise ValueError(f"targets: expected {B} sequences along axis {axes[1]}, as x has, got {came}")
        seed = keywords.pop("rng", None)
        checks.check_rng(seed)
        seed = None if seed is None else checks.seed(seed)
        cut: list[Batch | None] = []
        for shard in own:
            rows = slice(shard * B // count, (shard + 1) * B // count)
            if rows.start == rows.stop:
                cut.append(None)
                continue
            part = _cut_batch(x, targets, keywords, axes, rows)
            if seed is not None:
                part[2]["rng"] = seed_of_shard(seed, shard)
            cut.append(Batch(self._model, *part, axes))
        return Shards(cut, B)

    def loss_and_grad(
        self, loss: Loss, state: Any, grads: dict[str, np.ndarray] | None = None
    ) -> tuple[float, Any]:
        """Add the gradients, into `grads` if it is given: the loss, and the final state."""
        keywords = self.keywords if grads is None else {**self.keywords, "grads": grads}
        return loss_and_grad(self._model, loss, self.x, self.given, state, **keywords)

    def evaluate(self, loss: Loss, state: Any) -> tuple[float, Any]:
        """The loss and the final state."""
        return evaluate_loss(self._model, loss, self.x, self.given, state, **self.keywords)


class Shards:
    """One update over sequences that are cut into shards by place.

    Attributes
    ----------
    parts : list of Batch or Window or None
        The shards of this worker; None where one is empty.
    sequences : int
        The sequences of all shards of all workers.
    last : bool
        It ends where the sequences end.
    """

    def __init__(self, parts: Sequence[Batch | Window | None], sequences: int, last: bool = True) -> None:
        self.parts = parts
        self.sequences = sequences
        self.last = last


def seed_of_shard(seed: int, shard: int) -> int:
    """The seed of the masks of a shard; shard 0 has that of the whole batch."""
    return int(np.random.default_rng([seed, shard]).integers(2**63)) if shard else seed


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

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Any]:
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
        self._rows = x.shape[axes[0]]
        self._size = min(batch_size or self._rows, self._rows)
        self.count = -(-self._rows // self._size)
        self.equal = self._rows % self._size == 0  # all batches are of one size

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        order = None if rng is None else rng.permutation(self._rows)
        for low in range(start * self._size, self._rows, self._size):
            rows = slice(low, low + self._size)
            chosen = rows if order is None else order[rows]
            part = _cut_batch(self.x, self.targets, self.keywords, self._axes, chosen)
            yield Batch(self._model, *part, self._axes)


def _cut_batch(
    x: NDArray, targets: Any, keywords: Mapping[str, Any], axes: tuple[int, int], chosen: slice | NDArray
) -> tuple[NDArray, Any, dict[str, Any]]:
    """The chosen sequences of x and targets, and of those keywords that have an entry for each."""
    along = _cut_along(axes)
    own = {
        name: _cut(value, along[name], chosen) if name in along else value for name, value in keywords.items()
    }
    return _cut(x, axes[0], chosen), _cut(targets, axes[1], chosen), own


def _cut_along(axes: tuple[int, int]) -> dict[str, int]:
    """The batch axis of each keyword that is cut with the sequences."""
    return {"lengths": 0, "reset": axes[0], "mask": axes[1], "weights": axes[1]}


def _cut(array: Any, axis: int, chosen: slice | NDArray) -> Any:
    """The chosen sequences along an axis; a list has them along its own."""
    if isinstance(array, (list, tuple)):
        return array[chosen]
    if isinstance(chosen, slice):
        return array[(slice(None),) * axis + (chosen,)]
    return array.take(chosen, axis)


class _Given(Source):
    """The caller's own batches."""

    def __init__(self, model: Module, name: str, data: Any, axes: tuple[int, int] | None) -> None:
        self._model = model
        self._name = name
        self._axes = axes
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
            yield Batch(self._model, x, targets, dict(*keywords), self._axes)


class _Windows(Source):
    """The batches of another source, window by window along their time: an update after k1 steps."""

    def __init__(self, batches: _Arrays | _Given, k1: int, k2: int, count: int | None) -> None:
        self._batches = batches
        self._k1, self._k2 = k1, k2
        self.count, self.once, self.shuffle = count, batches.once, batches.shuffle

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Window]:
        for batch in self._batches.epoch(number, 0, rng):
            windows = batch.windows(self._k1, self._k2)
            yield from windows[start:]
            start = max(0, start - len(windows))


class _InShards(Source):
    """The batches of another source, whole or window by window, cut into shards."""

    def __init__(
        self,
        batches: _Arrays | _Given,
        truncate: tuple[int, int] | None,
        count: int | None,
        shards: int,
        own: range,
    ) -> None:
        self._batches = batches
        self._truncate = truncate
        self._shards, self._own = shards, own
        self.count, self.once, self.shuffle = count, batches.once, batches.shuffle

    def epoch(self, number: int, start: int = 0, rng: np.random.Generator | None = None) -> Iterator[Shards]:
        for batch in self._batches.epoch(number, 0 if self._truncate else start, rng):
            whole = batch.shards(self._shards, self._own)
            if self._truncate is None:
                yield whole
                continue
            count = batch.count_windows(*self._truncate)
            cut = [part.windows(*self._truncate) if isinstance(part, Batch) else None for part in whole.parts]
            for place in range(start, count):
                parts = [None if part is None else part[place] for part in cut]
                yield Shards(parts, whole.sequences, place == count - 1)
            start = max(0, start - count)


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
    shards: int = 1,
    own: range = range(1),
) -> Source:
    """The updates of `data`; `name` is what errors call it.

    Arrays, ``(x, targets)`` or ``(x, targets, keywords)``, are cut along the batch axis: `axes` names that of
    each. By default it is axis 1 of x, as layers want it, or axis 0 with ``batch_first`` (the model's first
    module that has this attribute decides) and for a model without recurrent layers; targets have the same
    axis where they begin with x's first two axes, and axis 0 where they do not or the model holds a `Last`:
    there is one for each sequence then. With ``truncate=(k1, k2)`` the batches are cut into windows of k1
    steps. With more than one of `shards`, an update has those of them that are in `own`.
    """
    batches = _batches(name, data, model, batch_size, axes, stateful, shuffle)
    count = batches.count
    if truncate is not None:
        if not isinstance(truncate, (tuple, list)) or len(truncate) != 2:
            raise TypeError(f"truncate: expected (k1, k2), got {truncate!r}")
        check_windows(model, *truncate)
        if isinstance(batches, _Arrays) and count is not None:
            count *= Batch(model, batches.x, batches.targets, {}).count_windows(*truncate)
        else:
            count = None
    if shards > 1:
        return _InShards(batches, truncate, count, shards, own)
    return batches if truncate is None else _Windows(batches, *truncate, count)


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
        shuffle = checks.flag("shuffle", shuffle)
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
        return _Given(model, name, data, axes if axes is None else _checked_axes(axes))

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
        batch_size = checks.positive("batch_size", batch_size)
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
        for key, checked in (("mask", _checked_mask), ("weights", checked_weights)):
            if key not in keywords:
                continue
            keywords[key] = array = checked(key, keywords[key])
            if array.ndim <= axes[1] or array.shape != targets.shape[: array.ndim]:
                raise ValueError(
                    f"{key}: expected the shape of the targets {targets.shape} or leading axes of it, the "
                    f"batch's among them, got {array.shape}"
                )
        if "weights" in keywords:
            counted(targets, None, keywords["weights"])  # refuses a sum that is not finite
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}[2]: {error}") from error
    return keywords


def _checked_mask(name: str, mask: Any) -> NDArray:
    """The mask as an array of bool."""
    array = checks.as_array(name, mask)
    if array.dtype != np.bool_:
        raise TypeError(f"{name}: expected bool, got {array.dtype}")
    return array


def _to_cut(targets: Any) -> Any:
    """Targets as an array, or as a list of arrays: one for each sequence."""
    is_list = isinstance(targets, (list, tuple)) and any(isinstance(each, np.ndarray) for each in targets)
    return targets if is_list else checks.as_array("targets", targets)


def _sequences_along(name: str, array: Any, axis: int) -> int:
    """The number of sequences along an axis; a list has them along its own."""
    if isinstance(array, (list, tuple)):
        return len(array)
    if not 0 <= axis < array.ndim:
        raise ValueError(f"{name}: expected a batch axis {axis}, got shape {array.shape}")
    return array.shape[axis]


def _keywords_to_cut(keywords: Mapping[str, Any], axes: tuple[int, int], B: int) -> dict[str, Any]:
    """The keywords of a batch, those that are cut with its B sequences as arrays that fit."""
    if keywords.get("grads") is not None:
        raise ValueError("grads: expected none where batches are cut into shards, got one")
    given = {name: value for name, value in keywords.items() if value is not None}
    for name, axis in _cut_along(axes).items():
        if name in given:
            given[name] = array = checks.as_array(name, given[name])
            if axis >= array.ndim or array.shape[axis] != B:
                raise ValueError(
                    f"{name}: expected {B} sequences along axis {axis}, as x has, got shape {array.shape}"
                )
    return given


def _axes_of_given(model: Module, x: NDArray, targets: Any) -> tuple[int, int]:
    """The batch axes of a batch of the caller's own."""
    recurrent = any(hasattr(module, "batch_first") for module in model.modules())
    if recurrent and x.ndim < (3 if x.dtype.kind == "f" else 2):
        raise ValueError(f"x: expected a batch of sequences, which shards are cut from, got shape {x.shape}")
    return _batch_axes(model, x, np.empty(0) if isinstance(targets, (list, tuple)) else targets)


def _batch_axes(model: Module, x: NDArray, targets: NDArray) -> tuple[int, int]:
    modules = model.modules()
    batch_first = next((module.batch_first for module in modules if hasattr(module, "batch_first")), True)
    axis = 0 if batch_first else 1
    by_sequence = any(isinstance(module, Last) for module in modules)
    by_step = targets.ndim > 1 and targets.shape[:2] == x.shape[:2] and not by_sequence
    return axis, axis if by_step else 0
