"""A multilayer perceptron on a window, built of modules: Linear, ReLU, Linear."""

from __future__ import annotations

from typing import Any, ClassVar

from rnnfast import checks
from rnnfast.nn.activation import ReLU
from rnnfast.nn.linear import Linear
from rnnfast.nn.sequential import Sequential
from rnnfast.series.network import WindowNetwork

__all__ = ["Perceptron"]


class Perceptron(WindowNetwork):
    """A multilayer perceptron with one hidden layer on the last W values, and covariates u_t:

        x̂_t = v · relu(U (x_{t-W}, …, x_{t-1}, u_t) + a) + b.

    U is [hidden, W + K] with K covariates: its parameters grow with the window.

    Parameters
    ----------
    window : int
        W.
    hidden : int, default 32
        Hidden units.
    updates : int, default 1500
        Updates of the weights, at most.
    difference : int or sequence of int, default 0
        As for :class:`Forecaster`.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(300))
    >>> model = rf.series.Perceptron(8, updates=100).fit(series, rng=0)
    >>> model.parameters == 8 * 32 + 32 + 32 + 1
    True
    """

    reads_covariates: ClassVar[bool] = True

    def __init__(self, window: int, hidden: int = 32, *, updates: int = 1500, difference: Any = 0) -> None:
        window = checks.positive("window", window)
        self.hidden = checks.positive("hidden", hidden)
        super().__init__(window=window, hidden=hidden, updates=updates, difference=difference)
        self.name = f"MLP({window})"

    def _build(self, rng: checks.Rng) -> Sequential:
        source = checks.generator(rng)
        width = self.reads + self.covariates
        return Sequential(Linear(width, self.hidden, rng=source), ReLU(), Linear(self.hidden, 1, rng=source))

    def _least_parameters(self) -> int:
        return self.hidden * (self.reads + self.covariates)
