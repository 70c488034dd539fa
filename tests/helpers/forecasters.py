"""One small forecaster of each kind, and series to fit them on."""

from __future__ import annotations

import numpy as np

from rnnfast.series import (
    AutoRegression,
    Convolution,
    LastValue,
    LatentAutoregression,
    Markov,
    Perceptron,
    SeasonalLastValue,
)

CELLS = ("linear", "sigmoid", "tanh", "gru", "lstm")
NETWORKS = {cell: lambda cell=cell: LatentAutoregression(cell, 6, steps=30, updates=20) for cell in CELLS}
NETWORKS["convolution"] = lambda: Convolution(6, 3, 4, updates=20)
NETWORKS["mlp"] = lambda: Perceptron(6, 5, updates=20)
PLAIN = {
    "last": LastValue,
    "season": lambda: SeasonalLastValue(7),
    "markov": lambda: Markov(5),
    "ar": lambda: AutoRegression(4),
}


def made(name):
    """A new forecaster."""
    return (PLAIN | NETWORKS)[name]()


def wave(N=160, S=None, seed=0):
    """Noisy sines, [N] or [N, S]."""
    rng = np.random.default_rng(seed)
    phases = 0.4 * np.arange(N)[:, np.newaxis] + np.arange(S or 1)
    series = 3.0 + np.sin(phases) + 0.3 * rng.standard_normal((N, S or 1))
    return series if S else series[:, 0]
