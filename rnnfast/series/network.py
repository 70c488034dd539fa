"""What the networks of the ladder share: their base classes, and one way of training them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.nn.count import count_parameters
from rnnfast.nn.losses import mse
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Adam
from rnnfast.nn.schedules import cosine
from rnnfast.nn.sequential import Sequential
from rnnfast.series.arrays import History
from rnnfast.series.forecaster import Forecaster
from rnnfast.series.windowed import Windowed, examples_of
from rnnfast.training.fit import fit
from rnnfast.training.run import Run

__all__ = ["BATCH", "NetworkForecaster", "WindowNetwork", "train"]

BATCH = 32  # examples of an update
RATE = 0.01  # Adam's learning rate, at first
CLIP_NORM = 1.0


class NetworkForecaster(Forecaster):
    """A forecaster whose numbers are the parameters of its network. A subclass gives `_build` and
    `_least_parameters`.

    Parameters
    ----------
    updates : int
        Updates of the weights, at most.
    **settings
        As for :class:`Forecaster`.
    """

    _network: Sequential

    def __init__(self, *, updates: int, **settings: Any) -> None:
        self.updates = checks.positive("updates", updates)
        super().__init__(updates=updates, **settings)

    def _build(self, rng: checks.Rng) -> Sequential:
        """The network, for as many covariates as there are."""
        raise NotImplementedError

    def _least_parameters(self) -> int:
        """A lower bound of the parameters of `_build`, before it takes any memory."""
        raise NotImplementedError

    @property
    def parameters(self) -> int:
        return count_parameters(self._network)

    @property
    def matmul_precision(self) -> str | None:
        self._check_fitted()
        return self._network.matmul_precision

    @matmul_precision.setter
    def matmul_precision(self, precision: str) -> None:
        self._check_fitted()
        self._network.matmul_precision = precision

    def restore(self, arrays: Mapping[str, NDArray], own: Mapping[str, Any]) -> None:
        super().restore(arrays, own)
        if "matmul_precision" in own:  # older files have none
            self.matmul_precision = own["matmul_precision"]

    def _numbers(self) -> dict[str, NDArray]:
        return self._network.state_dict()

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        held, least = sum(array.size for array in numbers.values()), self._least_parameters()
        if least > held:
            raise ValueError(
                f"settings: expected a network of {held:,} parameters, got one of at least {least:,}"
            )
        network = self._build(None)
        network.load_state_dict(numbers)
        self._network = network


class WindowNetwork(NetworkForecaster, Windowed):
    """A network that reads a window, and covariates if it `reads_covariates`.

    Parameters
    ----------
    window : int
    **settings
        As for :class:`NetworkForecaster`.
    """

    def __init__(self, *, window: int, **settings: Any) -> None:
        super().__init__(window=window, **settings)
        self.reads = window

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        if stop is None:
            self._network = self._build(rng)
        N = len(history.values)
        data = self._examples(history, self.reads, start)
        held_out = self._examples(history, start, N) if start < N else None
        return train(self._network, data, held_out, stop or self.updates, rng)

    def _examples(
        self, history: History, start: int, stop: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`examples_of` as the network takes them: float32, targets [n, 1]."""
        inputs, targets = examples_of(history, self.reads, start, stop)
        return inputs.astype(np.float32), targets[:, np.newaxis].astype(np.float32)

    def _next(self, windows: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._network(np.concatenate([windows, known], axis=2))[0][..., 0]


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
        The number of updates: the most with validation, the exact number without.
    rng : numpy.random.Generator
    truncate : int, optional
        The steps of a truncation window, which starts from the final state of the one before.

    Returns
    -------
    int
        The number of updates after which the network had its final weights.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, at the end of the present update.
    """
    x, _ = data
    examples = x.shape[-2] if truncate is not None else len(x)
    windows = 1 if truncate is None else -(-len(x) // truncate)
    epochs, patience = _epochs_and_patience(windows * -(-examples // BATCH), updates)

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


def _epochs_and_patience(count: int, updates: int) -> tuple[int, int]:
    """The epochs of `count` updates each that `updates` take, and the patience in epochs."""
    epochs = -(-updates // count)
    return epochs, max(5, epochs // 5)
