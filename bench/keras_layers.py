"""Layers of rnnfast.keras beside Keras's own: `python bench/keras_layers.py [THREADS]` prints Markdown.

KERAS_BACKEND chooses the backend. Results are compared before they are timed. Ratios are Keras's time over
ours, medians of interleaved rounds. Training is a call of ``model.train_on_batch`` with Adam; masked training
has right-padded sequences of half the steps on average; evaluation is ``model.predict_on_batch``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
os.environ["NPROC"] = str(THREADS)  # JAX reads it once, when it is loaded
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import rnnfast.keras  # noqa: E402
from rnnfast.benchmark.contenders import limited_threads  # noqa: E402
from rnnfast.benchmark.machine import describe  # noqa: E402
from rnnfast.benchmark.timing import interleave, median_ratio  # noqa: E402

SHAPES = [(100, 32, 64, 64), (50, 16, 16, 32), (100, 32, 256, 256)]  # T, B, I, H
SECONDS = 4.0
Calls = dict[str, Callable[[], Any]]


def a_model(module: Any, kind: str, T: int, I: int, H: int, masked: bool) -> Any:
    layers = [keras.layers.Masking(0.0)] if masked else []
    layers += [getattr(module, kind)(H, return_sequences=True), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((T, I)), *layers])
    model.compile("adam", "mse")
    return model


def contenders(kind: str, shape: tuple[int, int, int, int], masked: bool) -> tuple[Calls, Calls]:
    """Calls of training and of evaluation, of two models with the same weights whose results agree."""
    T, B, I, H = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, T, I), dtype=np.float32)
    targets = rng.standard_normal((B, T, 1), dtype=np.float32)
    if masked:
        x[np.arange(T) >= rng.integers(1, T + 1, (B, 1))] = 0
    models = {
        name: a_model(module, kind, T, I, H, masked)
        for name, module in (("keras", keras.layers), ("rnnfast", rnnfast.keras))
    }
    models["rnnfast"].set_weights(models["keras"].get_weights())
    y = [model.predict_on_batch(x) for model in models.values()]
    np.testing.assert_allclose(y[1], y[0], rtol=0, atol=1e-4)
    losses = [model.train_on_batch(x, targets) for model in models.values()]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    return (
        {name: lambda model=model: model.train_on_batch(x, targets) for name, model in models.items()},
        {name: lambda model=model: model.predict_on_batch(x) for name, model in models.items()},
    )


def ratio(calls: Calls) -> str:
    times = interleave(calls, SECONDS, alone=THREADS == 1)
    ours = 1e3 * float(np.median(times["rnnfast"]))
    return f"{median_ratio(times['keras'], times['rnnfast']):.1f} ({ours:.1f} ms)"


def main() -> None:
    facts = describe(("keras", keras.backend.backend()))
    print(", ".join(f"{name} {version}" for name, version in facts.items()), f"threads {THREADS}\n", sep=", ")
    print("| (T, B, I, H) | layer | training | masked training | evaluation |")
    print("|---|---|--:|--:|--:|")
    with limited_threads(THREADS):
        for shape in SHAPES:
            for kind in ("LSTM", "GRU", "SimpleRNN"):
                training, evaluation = contenders(kind, shape, False)
                masked, _ = contenders(kind, shape, True)
                row = " | ".join(map(ratio, (training, masked, evaluation)))
                print(f"| {shape} | {kind} | {row} |", flush=True)


if __name__ == "__main__":
    main()
