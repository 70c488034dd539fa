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
    model: Module, data: Any, examples: int, validation: Any, updates: int, rng: np.random.Generator
) -> None:
    """Fit a network by least squares; it ends with the weights of the lowest validation error.

    Parameters
    ----------
    model : Module
    data, validation
        As for :func:`rnnfast.fit`.
    examples : int
        How many sequences or windows `data` has.
    updates : int
        Of the weights, at most.
    rng : numpy.random.Generator

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, at the end of the update it came in.
    """
    epochs, patience = epochs_and_patience(examples, updates)
    history = fit(
        model,
        mse,
        data,
        Adam(model.parameters(), lr=RATE),
        epochs=epochs,
        batch_size=BATCH,
        validation=validation,
        patience=patience,
        schedule=cosine(epochs * -(-examples // BATCH)),
        clip_norm=CLIP_NORM,
        progress=False,
        rng=rng,
    )
    if history.interrupted:
        raise KeyboardInterrupt


def epochs_and_patience(examples: int, updates: int) -> tuple[int, int]:
    """How many epochs make so many updates, and how many of them may pass without a better validation."""
    epochs = -(-updates // -(-examples // BATCH))
    return epochs, max(5, epochs // 5)
