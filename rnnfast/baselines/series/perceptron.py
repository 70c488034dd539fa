"""A multilayer perceptron on a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.packages import package
from rnnfast.baselines.series.training import BATCH, RATE, epochs_and_patience
from rnnfast.baselines.series.windowed import Windowed, examples_of
from rnnfast.nn import checks

__all__ = ["Perceptron"]


class Perceptron(Windowed):
    """A multilayer perceptron with one hidden layer on the last W values, scikit-learn's MLPRegressor:

        x̂_t = v · relu(U (x_{t-W}, …, x_{t-1}) + a) + b.

    U is [hidden, W]: its parameters grow with the window. It is trained by Adam for as many updates as the
    other networks and keeps, as they do, the weights of the lowest validation error.

    Parameters
    ----------
    window : int
        W.
    hidden : int, default 32
        Hidden units.
    updates : int, default 1500
        Updates of the weights, at most.

    Examples
    --------
    >>> import numpy as np, pytest, rnnfast as rf
    >>> _ = pytest.importorskip("sklearn")
    >>> series = np.sin(0.3 * np.arange(300))
    >>> model = rf.baselines.Perceptron(8, updates=100).fit(series, rng=0)
    >>> model.parameters == 8 * 32 + 32 + 32 + 1
    True
    """

    needs = "sklearn.neural_network"

    def __init__(self, window: int, hidden: int = 32, *, updates: int = 1500) -> None:
        window = checks.positive("window", window)
        self.hidden = checks.positive("hidden", hidden)
        self.updates = checks.positive("updates", updates)
        super().__init__(window=window, hidden=hidden, updates=updates)
        self.memory = window
        self.name = f"MLP({window})"
        self._regressor: Any = None  # between the two parts of `fit`
        self._weights: list[NDArray[np.float64]] = []  # U [W, H], v [H, 1]
        self._biases: list[NDArray[np.float64]] = []  # a [H], b [1]

    def _learn(
        self, series: NDArray[np.float64], start: int, rng: np.random.Generator, stop: int | None = None
    ) -> int:
        x, targets = examples_of(series, self.memory, self.memory, start)
        held_out = examples_of(series, self.memory, start, len(series)) if start < len(series) else None
        network = self._regressor
        if stop is None:
            network = package(self.needs, self.name).MLPRegressor(
                hidden_layer_sizes=self.hidden,
                batch_size=min(BATCH, len(x)),
                learning_rate_init=RATE,
                random_state=np.random.RandomState(rng.integers(2**32)),
            )
        batch, last = network.batch_size, stop or self.updates
        count = -(-len(x) // batch)
        _, patience = epochs_and_patience(count, last)
        best, misses, updates, found = np.inf, 0, 0, 0
        while updates < last and misses < patience:
            rows = np.arange(len(x))
            if last - updates < count:  # a part of an epoch
                rows = rng.permutation(len(x))[: (last - updates) * batch]
            network.partial_fit(x[rows], targets[rows])
            updates += -(-len(rows) // batch)
            if held_out is not None:
                error = np.mean((network.predict(held_out[0]) - held_out[1]) ** 2)
                misses += 1
                if not error < best:
                    continue
                best, misses = error, 0
            found = updates
            self._weights = [array.copy() for array in network.coefs_]
            self._biases = [array.copy() for array in network.intercepts_]
        network.coefs_, network.intercepts_ = self._weights.copy(), self._biases.copy()
        self._regressor = network if stop is None else None
        return found

    def _next(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        (U, v), (a, b) = self._weights, self._biases
        return (np.maximum(windows @ U + a, 0.0) @ v + b)[..., 0]

    @property
    def parameters(self) -> int:
        return (self.memory + 2) * self.hidden + 1

    def _numbers(self) -> dict[str, NDArray]:
        (U, v), (a, b) = self._weights, self._biases
        return {"U": U, "a": a, "v": v, "b": b}

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        shapes = {"U": (self.memory, self.hidden), "a": (self.hidden,), "v": (self.hidden, 1), "b": (1,)}
        kind = np.dtype(np.float64)
        U, a, v, b = (checks.shaped(name, numbers[name], kind, shape) for name, shape in shapes.items())
        self._weights, self._biases = [U, v], [a, b]
