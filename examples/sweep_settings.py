"""Which size and learning rate? Six models, trained side by side, and the best of them on new data.

With joblib (pip install "rnnfast[sweep]") each core trains a model; without it they are trained in turn.
"""

from importlib.util import find_spec

import numpy as np

import rnnfast as rf

rng = np.random.default_rng(0)
x = rng.standard_normal((40, 500, 1), dtype=np.float32)  # [T, N, I]
targets = np.zeros_like(x)  # the mean of the last four inputs
for delay in range(4):
    targets[delay:] += x[: len(x) - delay] / 4
train, held_out, new = (slice(0, 300), slice(300, 400), slice(400, 500))


def make(hidden, lr):
    model = rf.Sequential(rf.GRU(1, hidden, rng=1), rf.Linear(hidden, 1, rng=2))
    return model, rf.optim.Adam(model.parameters(), lr=lr)


if __name__ == "__main__":
    found = rf.sweep(
        make,
        {"hidden": [4, 8, 16], "lr": [0.003, 0.03]},
        (x[:, train], targets[:, train]),
        loss="mse",
        validation=(x[:, held_out], targets[:, held_out]),
        epochs=15,
        rng=3,
        progress=False,
        n_jobs=-1 if find_spec("joblib") else 1,
    )
    print(found)
    y, state = found.best.model(x[:, new])
    error = float(np.square(y - targets[:, new]).mean())
    guess = float(np.square(targets[:, new]).mean())
    print(f"the best on new data: {error:.4f}, where a guess of zero has {guess:.4f}")
