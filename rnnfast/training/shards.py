"""The gradients of an update, and the loss of an epoch: of whole batches, or shard by shard over all workers.

The gradient of a batch in shards is the sum of the shards' gradients in order of their index, each times its
share: its part of what the batch's mean loss counts. Every worker adds up all of them, so all have the same
bits, for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnfast.nn.module import Module
from rnnfast.nn.optim import Optimizer
from rnnfast.training.batches import Shards, Source, seed_of_shard
from rnnfast.training.evaluation import mean_loss
from rnnfast.training.flat import FlatGradients, Term
from rnnfast.training.grad import Loss, counted_by
from rnnfast.training.leaves import put_together, take_apart
from rnnfast.training.run import Run
from rnnfast.training.team import Team

__all__ = ["Outcome", "Sharded", "Updates", "Whole", "own_shards", "share_run"]

_seed_of_shard = lru_cache(seed_of_shard)


def own_shards(shards: int, team: Team) -> range:
    """Those of all shards that this worker computes."""
    if shards % team.size:
        raise ValueError(f"shards: expected a multiple of the {team.size} workers of comm, got {shards}")
    each = shards // team.size
    return range(team.rank * each, (team.rank + 1) * each)


def share_run(team: Team, run: Run, settings: Mapping[str, Any]) -> None:
    """Refuse workers whose runs are not alike, and give all of them the run of worker 0."""
    if team.size == 1:
        return
    parameters = [[name, str(each.dtype), list(each.shape)] for name, each in run.model.named_parameters()]
    optimizer = {name: getattr(run.optimizer, name) for name in run.optimizer.settings}
    limits = {"epochs": run.epochs, "updates an epoch": run.batches}
    kind = type(run.optimizer).__name__
    team.compare({**settings, **limits, "parameters": parameters, "optimizer": [kind, optimizer]})
    position, arrays = team.first(*(run.snapshot() if team.rank == 0 else ({}, {})))
    if team.rank > 0:
        run.restore("worker 0", position, arrays)


class Outcome(NamedTuple):
    """An update whose gradients are in the parameters' `.grad`."""

    loss: float
    weight: float
    targets: int
    state: Any


class Updates(Protocol):
    """How the gradients of an update and the loss of an epoch are found, by one worker or by all."""

    def gradients(self, place: str, update: Any, state: Any, carry: bool) -> Any:
        """This worker's part of an update; with `carry`, the next one begins with its state."""

    def combined(self, found: Any) -> Outcome:
        """The update, from what :meth:`gradients` of all workers found."""

    def losses(self, name: str, updates: Source, epoch: int, stateful: bool) -> Any:
        """This worker's part of the mean loss of an epoch of updates."""

    def mean(self, name: str, found: Any) -> float:
        """The mean loss, from what :meth:`losses` of all workers found."""


class Whole:
    """Updates of one worker, from whole batches."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def gradients(self, place: str, update: Any, state: Any, carry: bool) -> Outcome:
        value, state = update.loss_and_grad(self._loss, state)
        return Outcome(float(value), update.weight, update.targets, state if carry else None)

    def combined(self, found: Outcome) -> Outcome:
        return found

    def losses(self, name: str, updates: Source, epoch: int, stateful: bool) -> float:
        return mean_loss(name, self._loss, updates, epoch, stateful)

    def mean(self, name: str, found: float) -> float:
        return found


class Sharded:
    """Updates of one or several workers, from shards of batches."""

    def __init__(self, model: Module, loss: Loss, team: Team, own: range, optimizer: Optimizer) -> None:
        self._loss = loss
        self._team = team
        self._optimizer = optimizer
        self._own = own
        self._shards = team.size * len(own)
        self._flat = FlatGradients(model)
        self._masked = [module for module in model.modules() if module.mask_seed is not None]

    def gradients(self, place: str, update: Shards, state: Any, carry: bool) -> Any:
        states = (None,) * self._shards if state is None else state
        if state is not None:
            self._refuse_other_rows("data", update, sum(each is not None for each in states))
        notes: list[dict[str, Any] | None] = []
        arrays: list[NDArray] = []
        for shard, part in zip(self._own, update.parts, strict=True):
            if part is None:
                notes.append(None)
                continue
            grads: dict[str, NDArray] = {}
            calls: list[int] = []
            with self._masks_of(shard, calls):
                value, final = part.loss_and_grad(self._loss, states[shard], grads)
            flat, missing = self._flat.packed(grads)
            leaves: list[NDArray] = []
            form = take_apart(final if carry else None, leaves)
            arrays += [*flat, *leaves]
            notes.append(
                {
                    "loss": float(value),
                    "count": counted_by(self._loss, *part.wanted),
                    "weight": part.weight,
                    "targets": part.targets,
                    "missing": missing,
                    "calls": calls,
                    "state": form,
                    "leaves": len(leaves),
                }
            )
        return place, {"lr": self._optimizer.lr, "shards": notes}, arrays

    @contextmanager
    def _masks_of(self, shard: int, calls: list[int]) -> Iterator[None]:
        """The modules draw the masks of a shard; at the end, `calls` has their counts of calls."""
        before = [(module, module.mask_seed, module.mask_calls) for module in self._masked]
        try:
            for module, seed, _ in before:
                module.mask_seed = _seed_of_shard(seed, shard)
            yield
        finally:
            for module, seed, count in before:
                calls.append(module.mask_calls)
                module.mask_seed, module.mask_calls = seed, count

    def combined(self, found: Any) -> Outcome:
        gathered = self._team.exchange(*found)
        shards = list(self._of_all(gathered))
        present = [(note, arrays) for note, arrays in shards if note is not None]
        notes = [note for note, _ in present]
        shares = _shares([note["count"] for note in notes])
        terms = zip(shares, present, strict=True)
        self._flat.set_sum([Term(share, note["missing"], arrays) for share, (note, arrays) in terms])
        for place, module in enumerate(self._masked):
            module.mask_calls = max([module.mask_calls, *(note["calls"][place] for note in notes)])
        self._optimizer.lr = gathered[0][0]["lr"]  # a schedule may read the clock
        states = [note and _state(note["state"], arrays[self._flat.arrays :]) for note, arrays in shards]
        return Outcome(
            _mean(shares, [note["loss"] for note in notes]),
            sum([note["weight"] for note in notes]),
            sum([note["targets"] for note in notes]),
            None if all(state is None for state in states) else tuple(states),
        )

    def _of_all(
        self, gathered: list[tuple[Any, list[NDArray]]]
    ) -> Iterator[tuple[dict[str, Any] | None, list[NDArray]]]:
        """The note and the arrays of each shard, in order of their index; no note of an empty one."""
        for notes, arrays in gathered:
            start = 0
            for note in notes["shards"]:
                stop = start if note is None else start + self._flat.arrays + note["leaves"]
                yield note, arrays[start:stop]
                start = stop

    def losses(self, name: str, updates: Source, epoch: int, stateful: bool) -> Any:
        states: list[Any] = [None] * len(self._own)
        before: int | None = None
        rows = []
        for update in updates.epoch(epoch):
            if before is not None and any(state is not None for state in states):
                self._refuse_other_rows(name, update, before)
            before = self._filled(update)
            row = np.zeros((len(self._own), 3))  # loss, count, weight
            for place, part in enumerate(update.parts):
                if part is not None:
                    value, states[place] = part.evaluate(self._loss, states[place])
                    row[place] = value, counted_by(self._loss, *part.wanted), part.weight
            if update.last and not stateful:
                states = [None] * len(self._own)
            rows.append(row)
        return np.array(rows).reshape(-1, len(self._own), 3)

    def _filled(self, update: Shards) -> int:
        """How many shards have sequences, of all workers."""
        return min(update.sequences, self._shards)

    def _refuse_other_rows(self, name: str, update: Shards, before: int) -> None:
        """Refuse an update whose rows are not in the same shards as those whose states are carried.

        Where all shards have sequences, the layers refuse states of another number of rows.
        """
        if self._filled(update) != before:
            raise ValueError(
                f"{name}: expected batches of one number of sequences while states are carried, got one of "
                f"{update.sequences} after one that fills {before} of {self._shards} shards"
            )

    def mean(self, name: str, found: Any) -> float:
        gathered = self._team.exchange(f"the end of {name} with {len(found)} updates", None, [found])
        total, weight = 0.0, 0.0
        for rows in np.concatenate([rows for _, (rows,) in gathered], axis=1).tolist():
            here = sum([own for _, _, own in rows])
            shares = _shares([count for _, count, _ in rows])
            total += here * _mean(shares, [loss for loss, _, _ in rows])
            weight += here
        if weight == 0:
            raise ValueError(f"{name}: expected at least one target, got none")
        return total / weight


def _shares(counts: list[Any]) -> list[float]:
    """Each count's part of their sum."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _mean(shares: list[float], losses: list[float]) -> float:
    """The sum of the losses, each times its share; one whose share is 0 may be anything, NaN too."""
    return sum([share * loss for share, loss in zip(shares, losses, strict=True) if share], 0.0)


def _state(form: Any, leaves: list[NDArray]) -> Any:
    return put_together(form, {str(place): leaf for place, leaf in enumerate(leaves)})
