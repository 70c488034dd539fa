"""The latent-state autoregression: each recurrent rung of the ladder is one, with a cell of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.nn.linear import Linear
from rnnfast.nn.sequential import Sequential
from rnnfast.recurrent import GRU, LSTM, RNN
from rnnfast.series.arrays import History
from rnnfast.series.network import BATCH, NetworkForecaster, train

__all__ = ["CELLS", "LatentAutoregression"]

CELLS: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {  # the name in tables, the layer
    "linear": ("linear latent state", RNN, {"nonlinearity": "identity"}),
    "sigmoid": ("RNN, sigmoid", RNN, {"nonlinearity": "sigmoid"}),
    "tanh": ("RNN, tanh", RNN, {"nonlinearity": "tanh"}),
    "gru": ("GRU", GRU, {}),
    "lstm": ("LSTM", LSTM, {"forget_bias": 1.0}),
}

CHUNK = 4096  # steps of all series whose states are in memory at once
LONGEST = 10  # the most steps of a stretch of the training part, in multiples of `steps`
SHARE = 4  # a stretch is at most this fraction of the training part: 1 / SHARE
OVERLAP = 4  # the least number of stretches that each step is in
STRETCHES = 2 * BATCH  # the least number of stretches of a long series


class LatentAutoregression(NetworkForecaster):
    """An autoregression on a state, which sums up the whole past, instead of a window:

        h_t = f(h_{t-1}, x_{t-1}, u_t),    x̂_t = v · h_t + b,

    where u_t are the covariates of step t, if any. The cell is f. Each recurrent rung of the ladder is this
    model with a cell of its own:

    - "linear": h_t = W h_{t-1} + u x_{t-1} + a, a linear filter;
    - "sigmoid", "tanh": the function of that sum, unit by unit: the vanilla RNN (Elman 1990);
    - "gru", "lstm": gates decide how much of the state is kept (Cho et al. 2014, Hochreiter and
      Schmidhuber 1997).

    It learns from one-step errors, on overlapping stretches of the training part, each from a zero state. In
    long series, a stretch has up to ten times `steps`, so that the model learns to keep its state for long. A
    forecast reads the whole history, and from its second step on its own forecasts. The number of parameters
    depends on the units alone, not on how far back the state remembers.

    Parameters
    ----------
    cell : {"linear", "sigmoid", "tanh", "gru", "lstm"}
    hidden : int, default 32
        Units of the state.
    steps : int, default 100
        Steps of a truncation window: how far gradients flow back, with an update after each.
    updates : int, default 1500
        The most updates of the weights.
    difference : int or sequence of int, default 0
        As for :class:`Forecaster`.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(300))
    >>> model = rf.series.LatentAutoregression("gru", updates=200).fit(series, horizon=3, rng=0)
    >>> bool(np.abs(model.predict(series).mean - np.sin(0.3 * np.arange(300, 303))).max() < 0.2)
    True
    >>> model.parameters == 3 * 32 * (1 + 32 + 2) + 32 + 1
    True
    """

    reads_covariates: ClassVar[bool] = True

    def __init__(
        self,
        cell: str = "gru",
        hidden: int = 32,
        *,
        steps: int = 100,
        updates: int = 1500,
        difference: Any = 0,
    ) -> None:
        self.cell = checks.one_of("cell", cell, CELLS)
        self.hidden = checks.positive("hidden", hidden)
        self.steps = checks.positive("steps", steps)
        super().__init__(cell=cell, hidden=hidden, steps=steps, updates=updates, difference=difference)
        self.name = CELLS[cell][0]

    def _build(self, rng: checks.Rng) -> Sequential:
        source = checks.generator(rng)
        _, layer, options = CELLS[self.cell]
        return Sequential(
            layer(1 + self.covariates, self.hidden, rng=source, **options),
            Linear(self.hidden, 1, rng=source),
        )

    def _least_parameters(self) -> int:
        return self.hidden * (self.hidden + self.covariates)

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        if stop is None:
            self._network = self._build(rng)
        series, known = history
        x = _inputs(series[:-1], known[1 : len(series)])
        targets = series[1:, :, np.newaxis].astype(np.float32)
        length = min(self.steps * int(np.clip(start // (SHARE * self.steps), 1, LONGEST)), start - 1)
        last = start - 1 - length
        apart = min(length // OVERLAP, max(self.steps // OVERLAP, last // STRETCHES))
        begins = np.append(np.arange(0, last, max(1, apart)), last)
        data = tuple(
            np.concatenate([part[begin : begin + length] for begin in begins], axis=1)
            for part in (x, targets)
        )
        # Validation is as forecasting: one sequence from the first value of the series on.
        counts = np.broadcast_to(np.arange(1, len(series))[:, np.newaxis] >= start, x.shape[:2])
        held_out = [(x, targets, {"mask": counts})] if start < len(series) else None
        return train(self._network, data, held_out, stop or self.updates, rng, truncate=self.steps)

    def _means(self, history: History, origins: NDArray[np.integer], horizon: int) -> NDArray[np.float64]:
        layer: Any
        layer, head = self._network
        series, known = history
        S, O = series.shape[1], len(origins)
        rows = origins.max(initial=1)
        state = self._states(_inputs(series[:rows], known[1 : rows + 1]), origins)
        forecast, _ = head(_parts(state)[0])  # [1, O*S, 1]
        means = [forecast]
        for j in range(1, horizon):
            then = known[origins + j].reshape(O * S, -1).astype(np.float32)
            y, state = layer(np.concatenate([forecast, then[np.newaxis]], axis=2), state)
            forecast, _ = head(y)
            means.append(forecast)
        return np.concatenate(means).reshape(horizon, O, S).swapaxes(0, 1).astype(np.float64)

    def _states(self, x: NDArray[np.float32], origins: NDArray[np.integer]) -> Any:
        """The layer's state before each origin, for all series: its parts are [1, O*S, hidden]."""
        layer: Any
        layer, _ = self._network
        S, O = x.shape[1], len(origins)
        state: Any = None
        found: list[np.ndarray] = []  # each part of the state at the origins, [O, S, H]
        steps = max(1, CHUNK // S)
        for begin in range(0, len(x), steps):
            _, state, states = layer(x[begin : begin + steps], state, return_states=True)
            here = (origins > begin) & (origins <= begin + steps)
            found = found or [np.empty((O, S, self.hidden), np.float32) for _ in _parts(states)]
            for part, own in zip(found, _parts(states), strict=True):
                part[here] = own[0, origins[here] - 1 - begin]
        parts = [part.reshape(1, O * S, self.hidden) for part in found]
        return tuple(parts) if len(parts) > 1 else parts[0]


def _inputs(series: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float32]:
    """The layer's input: each value [N, S], and the covariates [N, S, K] of the step after it."""
    return np.concatenate([series[:, :, np.newaxis], known], axis=2).astype(np.float32)


def _parts(state: Any) -> tuple[np.ndarray, ...]:
    """h, or h and c."""
    return state if isinstance(state, tuple) else (state,)
