"""A module as a user writes one, and the sizes of its input."""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnfast as rf

T, B, I, H = 6, 4, 2, 5


class Tagger(rf.Module):
    """A user's module: a recurrent layer, a linear one and a parameter."""

    def __init__(self, dtype: str = "float32", p: float = 0.0) -> None:
        super().__init__()
        self.trunk = rf.GRU(I, H, dtype=dtype, rng=0)
        self.dropout = rf.Dropout(p, rng=3)
        self.head = rf.Linear(H, 1, dtype=dtype, rng=1)
        self.scale = rf.Parameter(np.full(1, 1.5, dtype))

    def forward(
        self,
        x: Any,
        state: Any = None,
        *,
        training: bool = True,
        lengths: Any = None,
        reset: Any = None,
        rng: Any = None,
    ) -> Any:
        h, state, trunk = self.trunk.forward(x, state, lengths=lengths, reset=reset)
        h, _, dropout = self.dropout.forward(h, training=training, rng=rng)
        y, _, head = self.head.forward(h)
        return y * self.scale.data, state, (trunk, dropout, head, y)

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
        trunk, dropout, head, y = tape
        if dy is not None:
            self.scale.add_grad(np.array([(dy * y).sum()], y.dtype))
            dy = dy * self.scale.data
        dh, _ = self.head.backward(head, dy)
        dh, _ = self.dropout.backward(dropout, dh)
        return self.trunk.backward(trunk, dh, dstate)
