"""Draws gradients.png: how gradients vanish and explode, and what changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import rnnfast as rf

T, B, I, H = 200, 16, 8, 64
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, I)).astype(np.float32)
targets = rng.standard_normal((T, B, H)).astype(np.float32)


def reach(layer: Any) -> np.ndarray:
    """The gradient of one step's loss in the states before it, over that in its own."""
    share = rf.probe(layer, rf.losses.mse, x, targets).passes[0].share
    return share[: T // 2] / share[0]


def tanh_rnn(factor: float = 1.0, orthogonal: bool = False) -> rf.RNN:
    """W_hh as initialised or orthogonal, times a factor; inputs so small that W_hh decides."""
    rnn = rf.RNN(I, H, rng=0)
    rnn.weight_ih_l0.data *= 0.1
    if orthogonal:
        rf.init.orthogonal(rnn.weight_hh_l0, rng=1)
    rnn.weight_hh_l0.data *= factor
    return rnn


def losses_of(clip: float) -> np.ndarray:
    """Of an RNN whose W_hh is five times too large and that learns the mean of its input, by SGD."""
    data = np.random.default_rng(3)
    model = rf.Sequential(rf.RNN(1, 32, rng=4), rf.Last(), rf.Linear(32, 1, rng=5))
    model.parameters()[1].data *= 5
    optimizer = rf.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(400):
        inputs = data.uniform(-1, 1, (60, 32, 1)).astype(np.float32)
        optimizer.zero_grad()
        loss, _ = rf.loss_and_grad(model, rf.losses.mse, inputs, inputs.mean(axis=0))
        rf.clip_grad_norm(model.parameters(), clip)
        optimizer.step()
        losses.append(loss)
        if loss > 1e30:
            break
    return np.array(losses)


figure = Figure(figsize=(12, 3.8), layout="constrained")
cells, weights, clipping = figure.subplots(1, 3)
for name, layer in {
    "RNN, sigmoid": rf.RNN(I, H, nonlinearity="sigmoid", rng=0),
    "RNN, tanh": rf.RNN(I, H, rng=0),
    "GRU": rf.GRU(I, H, rng=0),
    "LSTM": rf.LSTM(I, H, rng=0),
    "LSTM, forget bias 3": rf.LSTM(I, H, forget_bias=3.0, rng=0),
}.items():
    cells.semilogy(reach(layer), label=name)
for name, layer in {
    "five times as large": tanh_rnn(5),
    "orthogonal": tanh_rnn(orthogonal=True),
    "as initialised": tanh_rnn(),
}.items():
    weights.semilogy(reach(layer), label=name)
cells.set(title="the cell", ylim=(1e-12, 30))
weights.set(title="the recurrent weight of a tanh RNN", ylim=(1e-12, None))
for axes in (cells, weights):
    axes.set(xlabel="steps back", ylabel="gradient, relative to its own step")
clipping.semilogy(losses_of(1e30), label="gradients as they are", linewidth=0.8)
clipping.semilogy(losses_of(1.0), label="clipped to norm 1", linewidth=0.8)
clipping.set(title="clipping, W_hh five times as large", xlabel="step of training", ylabel="loss")
for axes in (cells, weights, clipping):
    axes.legend(fontsize="small")
figure.savefig(Path(__file__).with_name("gradients.png"), dpi=130)
