"""What the networks of the ladder share: the same rules of training, so that the cells differ alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.forecaster import Forecaster
from rnnfast.nn.losses import mse
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Adam
from rnnfast.nn.schedules import cosine
from rnnfast.nn.sequential import Sequential
from rnnfast.training.fit import fit
from rnnfast.training.run import Run

__all__ = ["BATCH", "RATE", "NetworkForecaster", "epochs_and_patience", "train"]

BATCH = 32  # examples of an update
RATE = 0.01  # Adam's learning rate, at first
CLIP_NORM = 1.0


class NetworkForecaster(Forecaster):
    """A forecaster whose numbers are the parameters of its network."""

    _network: Sequential

    @property
    def parameters(self) -> int:
        return sum(parameter.data.size for parameter in self._network.parameters())

    def _numbers(self) -> dict[str, NDArray]:
        return self._network.state_dict()

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        self._network.load_state_dict(numbers)


def train(
    model: Module,
    data: Any,
    validation: Any,
    updates: int,
    rng: np.random.Generator,
    truncate: int | None = None,
) -> int:
    """Fit a network by least squares; with validation it ends with the weights of its lowest error.

    Parameters
    ----------
    model : Module
    data, validation
        As for :func:`rnnfast.fit`: `data` a pair of arrays; `validation` may be None.
    updates : int
        Of the weights, at most; without validation, so many.
    rng : numpy.random.Generator
    truncate : int, optional
        Update after every so many steps of a batch, from the state that the steps before left.

    Returns
    -------
    int
        After how many updates the weights were those that it ends with.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, at the end of the update it came in.
    """
    x, _ = data
    examples = x.shape[-2] if truncate is not None else len(x)
    windows = 1 if truncate is None else -(-len(x) // truncate)
    epochs, patience = epochs_and_patience(windows * -(-examples // BATCH), updates)

    def end(run: Run) -> None:
        if run.step == updates:
            run.stop()

    history = fit(
        model,
        mse,
        data,
        Adam(model.parameters(), lr=RATE),
        epochs=epochs,
        batch_size=BATCH,
        truncate=None if truncate is None else (truncate, truncate),
        validation=validation,
        patience=None if validation is None else patience,
        schedule=cosine(updates),
        clip_norm=CLIP_NORM,
        callbacks=[end],
        progress=False,
        rng=rng,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history.step[-1 if validation is None else history.validation.index(history.best)]


def epochs_and_patience(count: int, updates: int) -> tuple[int, int]:
    """How many epochs of `count` updates make so many, and how many may pass without a better validation."""
    epochs = -(-updates // count)
    return epochs, max(5, epochs // 5)
