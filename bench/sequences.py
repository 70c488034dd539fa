"""Ragged batches and resets beside the padded batch and torch: `python bench/sequences.py` prints Markdown.

torch runs ragged batches as its PackedSequence, and resets as its users do: in pieces, cut wherever any
sequence of the batch begins anew. Results are compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.benchmark.contenders import limited_threads
from rnnfast.benchmark.timing import interleave, median_ratio

SHAPES = [(200, 16, 16, 32), (200, 32, 64, 128)]  # T, B, I, H
SHARE = 0.02  # of all (t, b) begin an episode
torch: Any = import_module("torch")


def lengths_of(T: int, B: int) -> np.ndarray:
    """Evenly spread from one step to T, in any order: T/2 in the mean."""
    return np.random.default_rng(0).permutation(np.linspace(1, T, B).round().astype(np.int64))


class Pair:
    """One layer here and in torch, with the same weights and the same batch."""

    def __init__(self, cell: str, T: int, B: int, I: int, H: int) -> None:
        rng = np.random.default_rng(1)
        self.layer = getattr(rf, cell)(I, H, rng=0)
        self.theirs = getattr(torch.nn, cell)(I, H)
        self.theirs.load_state_dict(
            {name: torch.from_numpy(w) for name, w in self.layer.state_dict().items()}
        )
        self.x = rng.normal(size=(T, B, I)).astype(np.float32)
        self.dy = rng.normal(size=(T, B, H)).astype(np.float32)
        self.lengths = lengths_of(T, B)
        self.reset = rng.random((T, B)) < SHARE

    def ours(self, **how: Any) -> Any:
        self.layer.zero_grad()
        y, _, tape = self.layer.forward(self.x, **how)
        dx, _ = self.layer.backward(tape, self.dy)
        return y, dx, *[parameter.grad for parameter in self.layer.parameters()]

    def torch_input(self) -> Any:
        self.theirs.zero_grad()
        return torch.from_numpy(self.x).requires_grad_()

    def torch_results(self, x: Any, y: Any) -> Any:
        y.backward(torch.from_numpy(self.dy))
        return y.detach().numpy(), x.grad.numpy(), *[w.grad.numpy() for w in self.theirs.parameters()]

    def packed(self) -> Any:
        x = self.torch_input()
        rnn = torch.nn.utils.rnn
        y, _ = self.theirs(rnn.pack_padded_sequence(x, torch.from_numpy(self.lengths), enforce_sorted=False))
        y, _ = rnn.pad_packed_sequence(y, total_length=len(self.x))
        return self.torch_results(x, y)

    def cut(self) -> Any:
        x = self.torch_input()
        keep = torch.from_numpy(~self.reset).float()[..., None]
        borders = [*np.flatnonzero(self.reset.any(axis=1)), len(self.x)]
        state, start, pieces = None, 0, []
        for end in borders:
            if end > start:
                y, state = self.theirs(x[start:end], state)
                pieces.append(y)
            if end < len(self.x) and state is not None:
                state = (
                    tuple(part * keep[end] for part in state)
                    if isinstance(state, tuple)
                    else state * keep[end]
                )
            start = end
        return self.torch_results(x, torch.cat(pieces))

    def calls(self) -> dict[str, Callable[[], Any]]:
        return {
            "padded": self.ours,
            "ragged": lambda: self.ours(lengths=self.lengths),
            "torch, packed": self.packed,
            "resets": lambda: self.ours(reset=self.reset),
            "torch, cut": self.cut,
        }


def agree(one: Any, other: Any) -> None:
    for got, want in zip(one, other, strict=True):
        if np.abs(got - want).max() > 1e-4 * np.abs(want).max():
            raise SystemExit("the results differ: nothing is timed")


def main() -> None:
    for threads in (1, 2):
        print(
            f"\n| training, threads: {threads} | T, B, I, H | ragged / padded | torch packed / ragged "
            "| resets / none | torch cut / resets |"
        )
        print("|---|---|--:|--:|--:|--:|")
        with limited_threads(threads):
            for shape in SHAPES:
                for cell in ("RNN", "GRU", "LSTM"):
                    calls = Pair(cell, *shape).calls()
                    agree(calls["ragged"](), calls["torch, packed"]())
                    agree(calls["resets"](), calls["torch, cut"]())
                    times = interleave(calls, 8.0, alone=threads == 1)
                    ratios = [
                        median_ratio(times[one], times[other])
                        for one, other in [
                            ("ragged", "padded"),
                            ("torch, packed", "ragged"),
                            ("resets", "padded"),
                            ("torch, cut", "resets"),
                        ]
                    ]
                    figures = " | ".join(f"{ratio:.2f}" for ratio in ratios)
                    print(f"| {cell} | {', '.join(map(str, shape))} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
