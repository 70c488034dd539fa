"""The reference and the public layers give what `torch.nn` gave, gradients too (data/make_torch.py).

The packed files hold ragged batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tolerances import STORED_TORCH, assert_same_bits, error

import rnnfast
from rnnfast import reference

DATA = Path(__file__).parents[1] / "data"
FILES = sorted(DATA.glob("torch_*.npz"))
PACKED = sorted(DATA.glob("packed_*.npz"))


class Stored:
    """One file: a module's weights, a batch and what torch made of it."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = dict(file)
        _, *cell, grid, self.dtype = path.stem.split("_")
        self.layers, self.directions = map(int, grid.split("x"))
        self.cell = cell[0]
        self.options: dict[str, Any] = {"nonlinearity": cell[1]} if self.cell == "rnn" else {}
        self.keywords = {"lengths": self["lengths"]} if "lengths" in self.arrays else {}
        self.projected = "weights.weight_hr_l0" in self.arrays
        self.parts = "hc" if self.cell == "lstm" else "h"

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays called `<prefix>.<name>`, by name."""
        start = prefix + "."
        return {
            name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)
        }

    def state(self, prefix: str, index: int | None = None) -> np.ndarray | tuple[np.ndarray, ...]:
        """h, or for the LSTM (h, c), of all layers and directions or of one of them."""
        parts = self.under(prefix).values()
        chosen = tuple(part if index is None else part[index] for part in parts)
        return chosen if self.cell == "lstm" else chosen[0]

    def assert_results(self, got: dict[str, np.ndarray]) -> None:
        """Every output and gradient is there and agrees."""
        given = ("x", "lengths", "dy", "weights.", "state.", "dfinal.")
        assert sorted(got) == sorted(
            name for name in self.arrays if not name.startswith(given) or name == "y"
        )
        for name, array in got.items():
            assert array.dtype == self.dtype
            measured = error(array, self[name])
            assert measured <= STORED_TORCH[self.dtype], f"{name}: error {measured:.2e}"

    def named(self, prefix: str, state: np.ndarray | tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
        """The reverse of `state`."""
        parts = state if self.cell == "lstm" else (state,)
        return {f"{prefix}.{name}": part for name, part in zip(self.parts, parts, strict=True)}


def from_files(*paths: Path) -> pytest.MarkDecorator:
    """Runs a test on each of these files, as `stored`."""
    return pytest.mark.parametrize(
        "stored", paths, ids=lambda path: path.stem.removeprefix("torch_"), indirect=True
    )


@pytest.fixture
def stored(request):
    return Stored(request.param)


def stack_forward(stored: Stored):
    """The reference, chained over layers and directions: y, the final states and the tapes."""
    forward = getattr(reference, f"{stored.cell}_forward")
    weights = stored.under("weights")
    y, finals, tapes = stored["x"], [], []
    for layer in range(stored.layers):
        halves = []
        for direction in range(stored.directions):
            suffix = f"_l{layer}" + direction * "_reverse"
            own = {
                name.removesuffix(suffix): array for name, array in weights.items() if name.endswith(suffix)
            }
            state = stored.state("state", len(tapes))
            half, final, tape = forward(
                y, **own, state=state, reverse=direction == 1, **stored.options, **stored.keywords
            )
            halves.append(half)
            finals.append(final)
            tapes.append(tape)
        y = np.concatenate(halves, axis=2)
    return y, finals, tapes


def stack_backward(stored: Stored, tapes: list[reference.Tape]):
    """The backward pass: dx, the gradients of the initial states, and of the weights by torch's names."""
    backward = getattr(reference, f"{stored.cell}_backward")
    dy, grads, dstates = stored["dy"], {}, [None] * len(tapes)
    for layer in reversed(range(stored.layers)):
        dx = 0
        for direction, half in enumerate(np.split(dy, stored.directions, axis=2)):
            index = layer * stored.directions + direction
            dx_half, dstates[index], own = backward(tapes[index], half, stored.state("dfinal", index))
            dx = dx + dx_half
            suffix = f"_l{layer}" + direction * "_reverse"
            grads |= {name + suffix: gradient for name, gradient in own.items()}
        dy = dx
    return dy, dstates, grads


def stacked(stored: Stored, states: list) -> np.ndarray | tuple[np.ndarray, ...]:
    """The states of all layers and directions in one array [layers*directions, B, H] each."""
    if stored.cell == "lstm":
        return tuple(np.stack(parts) for parts in zip(*states, strict=True))
    return np.stack(states)


def test_files_are_there():
    assert (len(FILES), len(PACKED)) == (28, 4)


@from_files(*FILES, *PACKED)
def test_reference(stored):
    y, finals, tapes = stack_forward(stored)
    dx, dstates, grads = stack_backward(stored, tapes)
    stored.assert_results(
        {
            "y": y,
            "dx": dx,
            **stored.named("final", stacked(stored, finals)),
            **stored.named("dstate", stacked(stored, dstates)),
            **{f"grads.{name}": gradient for name, gradient in grads.items()},
        }
    )


@from_files(*FILES, *PACKED)
def test_layers(stored):
    layer_class = getattr(rnnfast, stored.cell.upper())
    options = stored.options | ({"proj_size": stored["state.h"].shape[2]} if stored.projected else {})
    layer = layer_class(
        stored["x"].shape[2],
        stored["state.c" if stored.projected else "state.h"].shape[2],
        num_layers=stored.layers,
        bidirectional=stored.directions == 2,
        dtype=stored.dtype,
        **options,
    )
    layer.load_state_dict(stored.under("weights"))
    y, final, tape = layer.forward(stored["x"], stored.state("state"), **stored.keywords)
    dx, dstate = layer.backward(tape, stored["dy"], stored.state("dfinal"))
    stored.assert_results(
        {
            "y": y,
            "dx": dx,
            **stored.named("final", final),
            **stored.named("dstate", dstate),
            **{f"grads.{name}": parameter.grad for name, parameter in layer.named_parameters()},
        }
    )
    y_eval, final_eval = layer(stored["x"], stored.state("state"), **stored.keywords)
    assert_same_bits(
        {"y": y_eval, **stored.named("final", final_eval)}, {"y": y, **stored.named("final", final)}
    )
