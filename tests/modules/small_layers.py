"""A small layer of each cell, and the sizes of its input; tests get the cell from the fixture `cell`."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.cases import LAYERS

CELLS = sorted(LAYERS)
T, B, I, H = 5, 3, 4, 6
pytorchs = pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])


def small_layer(cell: str, rng: int = 7, **options: Any) -> Any:
    """A layer from I to H numbers."""
    smooth = {"nonlinearity": "tanh"} if cell == "indrnn" else {}  # its relu gives zeros
    return LAYERS[cell](I, H, rng=rng, **{**smooth, **options})
