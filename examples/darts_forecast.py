"""A recurrent model of darts on rnnfast's kernels: a callback swaps its GRU, the training is the same.

    pip install "rnnfast[torch]" "u8darts[torch]"
    python examples/darts_forecast.py [EPOCHS]

The series is a daily and a weekly wave with noise, by the hour. The model is trained twice from the same
seed, on torch's kernels and on rnnfast's, one thread each, and forecasts a day.
"""

import logging
import sys
import time
import warnings

import numpy as np
import pytorch_lightning as pl
import torch

import rnnfast as rf
from rnnfast.torch import accelerate

for name in ("pytorch_lightning", "darts"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*(pin_memory|num_workers)")

from darts import TimeSeries  # noqa: E402  it logs on import what it lacks
from darts.models import RNNModel  # noqa: E402

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20


class Accelerate(pl.Callback):
    """Swaps the recurrent modules before the first step."""

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        print("swapped:", ", ".join(accelerate(module).swapped))


def train(series: TimeSeries, callbacks: list[pl.Callback]) -> tuple[float, np.ndarray]:
    """Seconds, and the forecast of the next day."""
    model = RNNModel(
        model="GRU",
        hidden_dim=32,
        input_chunk_length=48,
        training_length=72,
        n_epochs=EPOCHS,
        random_state=0,
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "callbacks": callbacks,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "logger": False,
        },
    )
    began = time.perf_counter()
    model.fit(series, verbose=False)
    seconds = time.perf_counter() - began
    return seconds, model.predict(24, verbose=False).values().ravel()


torch.set_num_threads(1)
rf.set_num_threads(1)
hour = np.arange(24 * 7 * 5)
wave = np.sin(2 * np.pi * hour / 24) + 0.5 * np.sin(2 * np.pi * hour / 168)
noise = 0.1 * np.random.default_rng(0).standard_normal(len(hour))
series = TimeSeries.from_values((wave + noise).astype(np.float32))
past, future = series[:-24], wave[-24:]

seconds, forecast = train(past, [])
fast_seconds, fast_forecast = train(past, [Accelerate()])
error = np.sqrt(np.mean((fast_forecast - future) ** 2))
print(f"root mean squared error of the next day: {error:.3f}")
print(f"forecasts differ by at most {np.abs(forecast - fast_forecast).max():.1e}")
print(f"torch {seconds:.1f} s, rnnfast {fast_seconds:.1f} s, the whole program")
