"""Layer normalization: where it helps, and where it hurts.

A sensor reports a wave whose amplitude lies anywhere between 0.01 and 100, because the sensor is near its
source or far from it. Two questions are asked of the same signals:

- Which of four frequencies does the wave have? Its amplitude is a nuisance.
- What is the logarithm of its amplitude? Nothing else matters.

Layer normalization divides the input's product by its own size, so the amplitude is gone before the cell
sees it: it helps with the first question and hurts with the second. A plain LSTM, an LSTM with layer
normalization and an SLSTM are trained alike.

    python examples/layer_norm.py
    python examples/layer_norm.py --updates 600 --seed 1
"""

import argparse

import numpy as np

import rnnfast as rf

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, default=300)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

T, B, H = 40, 64, 32  # steps, sequences of a batch, hidden units
FREQUENCIES = np.array([0.06, 0.08, 0.1, 0.12])  # periods a step


def signals(B: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [T, B, 1], the number of the frequency [B], the logarithm of the amplitude [B, 1]."""
    kind, size = rng.integers(0, len(FREQUENCIES), B), rng.uniform(-2, 2, B)
    phase = rng.uniform(0, 2 * np.pi, B)
    wave = np.sin(2 * np.pi * FREQUENCIES[kind] * np.arange(T)[:, None] + phase)
    wave += 0.2 * rng.standard_normal((T, B))
    return (10**size * wave)[:, :, None].astype(np.float32), kind, size[:, None].astype(np.float32)


def train(layer, width: int, loss, target: int) -> tuple:
    """A trained model of one layer; `target` is the place of the targets in what `signals` gives."""
    rng = np.random.default_rng(options.seed)
    model = rf.Sequential(layer, rf.Last(), rf.Linear(H, width, rng=1))
    optimizer = rf.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(options.updates):
        batch = signals(B, rng)
        model.zero_grad()
        rf.loss_and_grad(model, loss, batch[0], batch[target])
        rf.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    return model


LAYERS = {
    "LSTM": lambda: rf.LSTM(1, H, rng=options.seed),
    "LSTM, layer norm": lambda: rf.LSTM(1, H, layer_norm=True, rng=options.seed),
}
x, kind, size = signals(2000, np.random.default_rng(options.seed + 1))
print(f"{'':20} frequency: right   log10 of the amplitude: error")
for name, make in LAYERS.items():
    frequency = train(make(), len(FREQUENCIES), rf.losses.cross_entropy, 1)
    right = (frequency(x)[0].argmax(axis=-1) == kind).mean()
    amplitude = train(make(), 1, rf.losses.mse, 2)
    error = np.sqrt(np.mean((amplitude(x)[0] - size) ** 2))
    print(f"{name:20} {right:16.1%} {error:33.3f}")
