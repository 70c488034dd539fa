"""The state of a training run: what callbacks see, and how a checkpoint saves and resumes it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.files import file_name
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Optimizer
from rnnfast.nn.schedules import Plateau
from rnnfast.training import checkpoint
from rnnfast.training.history import History
from rnnfast.training.leaves import put_together, take_apart

__all__ = ["Run"]

_BEFORE_SETTINGS = {"shards": 1}  # of checkpoints that were written before a setting was


class Run:
    """The present state of a training run; every callback of :func:`fit` is called with it.

    Attributes
    ----------
    event : str
        Why the callback is called: "start", "step" (after an update), "epoch" (after an epoch, or the part of
        one in which the run ends, once its row is in the history) or "end".
    model : Module
    optimizer : Optimizer
    history : History
    epoch : int
        Epochs finished, from the first run on.
    epochs : int or None
        The number of epochs of the whole run, if it is limited.
    batch : int
        Updates made in the present epoch: one for each batch, or for each window of it.
    batches : int or None
        Updates in an epoch, if known.
    step : int
        Updates made, from the first run on.
    loss : float
        Of the last update.
    validation : float or None
        The latest validation loss.
    best : float or None
        The lowest validation loss.
    improved : bool
        Whether the latest validation loss was the lowest so far.
    state
        The state with which the next update begins, if states are carried; with shards, a tuple of theirs.
    targets : int
        The number of targets that this call of fit has trained on.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        seed: int,
        epochs: int | None,
        batches: int | None,
        settings: Mapping[str, Any],
        plateau: Plateau | None = None,
    ) -> None:
        self.event = "start"
        self.model = model
        self.optimizer = optimizer
        self.history = History()
        self.epoch = 0
        self.epochs = epochs
        self.batch = 0
        self.batches = batches
        self.step = 0
        self.loss = math.nan
        self.validation: float | None = None
        self.best: float | None = None
        self.improved = False
        self.state: Any = None
        self.targets = 0
        self.stopping = False
        self.misses = 0  # epochs in a row without a better validation loss
        self.base_lr = optimizer.lr
        self.paused = 0.0  # seconds of this call not spent in training
        self._seed = seed
        self._settings = dict(settings)  # what a run that resumes this one must not change
        self._plateau = plateau  # the schedule, if it reads the validation loss
        self._masked = [module for module in model.modules() if module.mask_seed is not None]
        self._masks = self._mask_keys()
        self._lr = optimizer.lr  # of the last update
        self._sum = 0.0  # of the epoch's batch losses, each times its weight
        self._weight: float = 0  # the number of the epoch's targets, or the sum of their weights
        self._best_weights: dict[str, NDArray] = {}
        self._best_step = -1
        self._started = time.monotonic()
        self._earlier = 0.0  # seconds of the runs that this one resumes

    @property
    def mean(self) -> float:
        """Mean training loss of the present epoch so far, or of the one just finished."""
        return self._sum / self._weight if self._weight else math.nan

    @property
    def seconds(self) -> float:
        """Wall clock since this call of fit began."""
        return time.monotonic() - self._started

    @property
    def rate(self) -> float:
        """Targets trained on per second of this call of fit, validation not counted."""
        return self.targets / max(self.seconds - self.paused, 1e-9)

    def stop(self) -> None:
        """End the run after the present step."""
        self.stopping = True

    # What follows is fit's side.

    def order_rng(self) -> np.random.Generator:
        """The generator that shuffles the present epoch."""
        return np.random.default_rng([self._seed, self.epoch])

    def begin_epoch(self) -> None:
        """Start from the zero state, with nothing summed up."""
        self.state = None
        self._sum, self._weight = 0.0, 0

    def advance(self, loss: float, weight: float, targets: int, state: Any) -> None:
        """Count one update."""
        self.loss = loss
        self.state = state
        self.batch += 1
        self.step += 1
        self.targets += targets
        self._sum += loss * weight
        self._weight += weight
        self._lr = self.optimizer.lr
        self._masks = self._mask_keys()
        self.history.batch_loss.append(loss)

    def _mask_keys(self) -> list[tuple[Any, int]]:
        """What keys the masks of the next training pass: of the next update's, taken after an update."""
        return [(module.mask_seed, module.mask_calls) for module in self._masked]

    def judge(self, validation: float) -> None:
        """Take note of a validation loss, and of the parameters if it is the lowest."""
        self.validation = validation
        same_weights = self._best_step == self.step  # judged before the run was resumed
        self.improved = same_weights or validation < (math.inf if self.best is None else self.best)
        if self.improved:
            self.best = validation
            self._best_weights = self.model.state_dict()
            self._best_step = self.step

    def end_epoch(self) -> None:
        """Close the present epoch with its row in the history."""
        if self.validation is not None:
            self.misses = 0 if self.improved else self.misses + 1
            if self._plateau is not None:
                self._plateau.observe(self.validation, self.base_lr)
        self.add_row(self.validation)
        self.epoch += 1
        self.batch = 0

    def add_row(self, validation: float | None) -> None:
        """Write a row of the history."""
        self.history.add(self.step, self.mean, validation, self._lr, self._earlier + self.seconds)

    def restore_best(self) -> None:
        """Give the model the parameters of the lowest validation loss, if they are not its own."""
        if self._best_weights and self._best_step != self.step:
            self.model.load_state_dict(self._best_weights)

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint: the best parameters as the model's, and all that :meth:`resume` needs."""
        position, arrays = self.snapshot()
        checkpoint.write_checkpoint(path, arrays, {**metadata, "fit": position})

    def snapshot(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        """What :meth:`restore` needs: a place in the run, as JSON can hold it, and arrays."""
        weights = {name: parameter.data for name, parameter in self.model.named_parameters()}
        outdone = bool(self._best_weights) and self._best_step != self.step
        leaves: list[NDArray] = []
        values = self._best_weights if outdone else weights
        arrays = checkpoint.state_arrays(self.model, values, self.optimizer)
        arrays["optimizer.lr"] = np.array(self.base_lr)
        if outdone:
            arrays.update({f"last.{name}": array for name, array in weights.items()})
        position = {
            "seed": self._seed,
            "settings": self._settings,
            "epoch": self.epoch,
            "batch": self.batch,
            "batches": self.batches,
            "step": self.step,
            "sum": self._sum,
            "weight": self._weight,
            "validation": self.validation,
            "best": self.best,
            "best_step": self._best_step,
            "misses": self.misses,
            "plateau": None if self._plateau is None else self._plateau.state_dict(),
            "lr": self._lr,
            "seconds": self._earlier + self.seconds,
            "masks": self._masks,
            "state": take_apart(self.state, leaves),
            "rows": self.history.rows(),
        }
        arrays.update({f"state.{place}": leaf for place, leaf in enumerate(leaves)})
        arrays["fit.batch_loss"] = np.array(self.history.batch_loss, np.float64)
        return position, arrays

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint that :meth:`save` wrote; nothing is written where it does not fit."""
        arrays, metadata = checkpoint.read_checkpoint(path)
        self.restore(path, metadata.get("fit"), arrays)

    def restore(self, path: str | os.PathLike[str], position: Any, arrays: Mapping[str, NDArray]) -> None:
        """Go on from what :meth:`snapshot` gave; errors name `path`, and nothing is written then.

        The optimizer keeps its settings and takes over the averages. The model takes over the precision of
        its products beside the parameters.
        """
        if not isinstance(position, dict):
            raise ValueError(
                f"{file_name(path)}: expected a checkpoint of fit, got one that holds no run to resume"
            )
        checkpoint.check_weights(path, arrays, "model.", self.model)
        outdone = any(name.startswith("last.") for name in arrays)
        if outdone:
            checkpoint.check_weights(path, arrays, "last.", self.model)
        averages = checkpoint.part(arrays, "optimizer.")
        if averages:
            averages.update(
                {name: np.array(getattr(self.optimizer, name)) for name in self.optimizer.settings}
            )
        checkpoint.check_optimizer(path, averages, self.optimizer)
        try:
            counts = {name: _count(position[name]) for name in ("seed", "epoch", "batch", "step", "misses")}
            weight = _weight(position["weight"])
            best = None if position["best"] is None else float(position["best"])
            best_step = int(position["best_step"])
            validation = None if position["validation"] is None else float(position["validation"])
            total, lr, seconds = (float(position[name]) for name in ("sum", "lr", "seconds"))
            state = put_together(position["state"], checkpoint.part(arrays, "state."))
            history = History.from_rows(position["rows"], arrays["fit.batch_loss"].tolist())
            masks: list[tuple[Any, int]] = [
                (_count(seed), _count(calls)) for seed, calls in position["masks"]
            ]
            if len(masks) != len(self._masked):
                raise ValueError(f"masks for {len(masks)} modules, not {len(self._masked)}")
            batches = position["batches"]
            reductions = position.get("plateau")  # None too in files of before it was stored
            if self._plateau is not None and reductions is not None:
                self._plateau.check_state_dict(reductions)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{file_name(path)}: the run it holds is damaged ({error!r})") from error
        if counts["batch"] and None not in (batches, self.batches) and batches != self.batches:
            raise ValueError(
                f"{file_name(path)}: expected the data it was made with ({batches} batches an epoch), "
                f"got {self.batches} batches"
            )
        self._check_settings(path, position)
        with checkpoint.naming(path):
            weights = checkpoint.model_arrays(arrays)
            precisions = checkpoint.precisions_of(arrays.get(checkpoint.PRECISIONS))
            self.model.check_matmul_precisions(precisions)

        if best is not None:
            self._best_weights = weights
        self.model.load_state_dict(checkpoint.part(arrays, "last.") if outdone else weights)
        self.model.load_matmul_precisions(precisions)
        self.optimizer.load_state_dict(averages)
        self._seed, self._weight = counts["seed"], weight
        self.epoch, self.batch, self.step = counts["epoch"], counts["batch"], counts["step"]
        self.misses = counts["misses"]
        self._sum, self._lr, self._earlier = total, lr, seconds
        self.best, self._best_step, self.validation = best, best_step, validation
        self.state = state
        self.history = history
        for module, key in zip(self._masked, masks, strict=True):
            module.mask_seed, module.mask_calls = key
        self._masks = masks
        if self._plateau is not None and reductions is not None:
            self._plateau.load_state_dict(reductions)

    def _check_settings(self, path: str | os.PathLike[str], position: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than those that the checkpoint's run was made with."""
        earlier = position.get("settings", {})  # the first checkpoints of fit had none
        if not isinstance(earlier, dict):
            raise ValueError(f"{file_name(path)}: the run it holds is damaged (settings {earlier!r})")
        for name, present in self._settings.items():
            before = earlier.get(name, _BEFORE_SETTINGS.get(name, present))
            if before != present:
                raise ValueError(
                    f"{file_name(path)}: expected {name}={before!r}, which its run was made with, "
                    f"got {present!r}"
                )


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a count, got {value!r}")
    return value


def _weight(value: Any) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"expected a weight, got {value!r}")
    return value
