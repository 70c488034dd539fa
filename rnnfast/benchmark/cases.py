"""The named shapes that all benchmarks run, from the latency of one step to products beyond the caches.

Shapes of one to four sequences are for evaluation alone: a model that serves requests as they come.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "CELLS", "QUICK", "SMALL_BATCHES", "STEPS", "Case", "works"]

CELLS = ("rnn", "gru", "lstm")


class Case(NamedTuple):
    """A shape: T steps, B sequences, I inputs, H hidden units."""

    T: int
    B: int
    I: int
    H: int


SMALL_BATCHES = {
    f"b{B}-h{H}": Case(100 if B == 1 else 50, B, H, H) for B in (1, 2, 4) for H in (128, 256, 512)
}

CASES = {
    "step-8": Case(1, 1, 8, 8),  # latency: one step of one sequence
    "step-32": Case(1, 1, 32, 32),
    "step-64": Case(1, 1, 64, 64),
    "sensor": Case(1000, 1, 8, 16),  # one long, narrow sequence: the work around the products counts most
    "stream": Case(1000, 1, 8, 40),
    "series": Case(1000, 8, 64, 64),
    "odd": Case(37, 5, 13, 47),  # no multiple of any vector or tile
    "small": Case(100, 8, 64, 64),
    "middle": Case(100, 32, 128, 128),
    "text": Case(64, 16, 64, 320),  # what `rnnfast train` runs
    "large": Case(100, 32, 256, 256),
    "wide": Case(50, 128, 256, 256),
    "heavy": Case(100, 64, 512, 512),
    "huge": Case(20, 32, 1024, 1024),  # weights beyond the L2 of most machines
    **SMALL_BATCHES,
}

QUICK = ("step-32", "sensor", "small", "middle", "large")

# One step a call, the state carried from call to call.
STEPS = {
    "step-32": Case(1, 1, 32, 32),
    "step-64": Case(1, 1, 64, 64),
    "step-192": Case(1, 1, 192, 192),
    "step-256": Case(1, 1, 256, 256),
    "step-512": Case(1, 1, 512, 512),
    "step-32 x 8": Case(1, 8, 32, 32),
}


def works(case: str) -> tuple[str, ...]:
    """The kinds of work that are timed at a named shape."""
    return ("evaluation",) if case in SMALL_BATCHES else ("evaluation", "training")
