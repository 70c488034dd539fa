"""How the networks of the ladder are trained: all by the same rules, so that the cells differ alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnfast.nn.losses import mse
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Adam
from rnnfast.nn.schedules import cosine
from rnnfast.training.fit import fit

__all__ = ["BATCH", "RATE", "epochs_and_patience", "train"]

BATCH = 32  # examples of an update
RATE = 0.01  # Adam's learning rate, at first
CLIP_NORM = 1.0


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
