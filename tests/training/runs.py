"""A small classifier, labelled sequences for it, and runs of `rf.fit` on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import rnnfast as rf

T, N, I, H = 6, 20, 2, 5


def classifier(dropout: float = 0.0, dtype: str = "float32", **options: Any) -> rf.Sequential:
    """A model of three classes at each step."""
    return rf.Sequential(
        rf.GRU(I, H, rng=1, dtype=dtype, **options),
        rf.Dropout(dropout, rng=2),
        rf.Linear(H, 3, dtype=dtype, rng=3),
    )


def make(lr: float, hidden: int) -> tuple[rf.Sequential, rf.optim.Adam]:
    """A classifier with dropout, and its optimizer: here, where other processes find it."""
    model = rf.Sequential(rf.GRU(I, hidden, rng=1), rf.Dropout(0.2, rng=2), rf.Linear(hidden, 3, rng=3))
    model.threads = rf.get_num_threads()
    return model, rf.optim.Adam(model.parameters(), lr=lr)


class Unsendable(rf.Linear):
    """A model that no process can send."""

    def __reduce__(self) -> Any:
        raise TypeError("no pickle of this")


def labelled(seed: int = 0, sequences: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Sequences, and at each step which of three ranges their running sum is in."""
    x = np.random.default_rng(seed).normal(size=(T, sequences, I)).astype(np.float32)
    return x, np.digitize(x.sum(axis=2).cumsum(axis=0), [-1.0, 1.0])


class Streams:
    """Windows of parallel streams, for stateful training."""

    def __init__(self, windows: int = 7, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(windows * T, 4, I)).astype(np.float32)
        self.targets = np.digitize(self.x.sum(axis=2), [-1.0, 1.0])

    def __len__(self) -> int:
        return len(self.x) // T

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for low in range(0, len(self.x), T):
            yield self.x[low : low + T], self.targets[low : low + T]


def fit_quietly(
    model: rf.Module, batches: Any, optimizer: Any = None, loss: Any = "cross_entropy", **options: Any
) -> Any:
    """`rf.fit` with a fixed seed and without progress."""
    optimizer = optimizer or rf.optim.Adam(model.parameters(), lr=0.02)
    return rf.fit(model, loss, batches, optimizer, **{"progress": False, "rng": 0, **options})


def whole_run(path: Path | None = None, **options: Any) -> tuple[rf.Sequential, Any]:
    """A trained classifier with dropout, and the history of its four epochs."""
    model = classifier(dropout=0.2)
    optimizer = rf.optim.Adam(model.parameters(), lr=0.05)
    return model, fit_quietly(
        model, labelled(), optimizer, batch_size=8, checkpoint=path, **{"epochs": 4, **options}
    )
