"""Makes the stored PyTorch results beside it, torch_*.npz (made with torch 2.13.0).

Each file holds the state_dict of one `torch.nn` module as `weights.<name>`, a batch, and what comes of it:
x, state.*, y, final.* and the gradients: given dy, dfinal.*, obtained dx, dstate.*, `grads.<name>`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch

T, B, I, H = 6, 3, 4, 5
CELLS = {
    "rnn_tanh": lambda **options: torch.nn.RNN(I, H, nonlinearity="tanh", **options),
    "rnn_relu": lambda **options: torch.nn.RNN(I, H, nonlinearity="relu", **options),
    "lstm": lambda **options: torch.nn.LSTM(I, H, **options),
    "gru": lambda **options: torch.nn.GRU(I, H, **options),
}


def results(cell: str, layers: int, directions: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """One module forward and backward, with nonzero states and gradients on y and the final states."""
    torch.manual_seed(100 * layers + directions)
    module = CELLS[cell](num_layers=layers, bidirectional=directions == 2, dtype=dtype)
    parts = "hc" if cell == "lstm" else "h"

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype)

    x = draw(T, B, I).requires_grad_()
    state = [draw(layers * directions, B, H).requires_grad_() for _ in parts]
    y, final = module(x, tuple(state) if cell == "lstm" else state[0])
    final = list(final) if cell == "lstm" else [final]
    dy, dfinal = draw(*y.shape), [draw(*part.shape) for part in final]
    torch.autograd.backward([y, *final], [dy, *dfinal])

    arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    for name, initial, last, dlast in zip(parts, state, final, dfinal, strict=True):
        arrays |= {f"state.{name}": initial, f"dstate.{name}": initial.grad}
        arrays |= {f"final.{name}": last, f"dfinal.{name}": dlast}
    for name, parameter in module.named_parameters():
        arrays |= {f"weights.{name}": parameter, f"grads.{name}": parameter.grad}
    return arrays


def main() -> None:
    folder = Path(__file__).parent
    every = [(*case, torch.float64) for case in itertools.product(CELLS, (1, 2, 3), (1, 2))]
    narrow = [(cell, 2, 2, torch.float32) for cell in CELLS]
    for cell, layers, directions, dtype in every + narrow:
        arrays = results(cell, layers, directions, dtype)
        bits = torch.finfo(dtype).bits
        np.savez(
            folder / f"torch_{cell}_{layers}x{directions}_float{bits}.npz",
            **{name: tensor.detach().numpy() for name, tensor in arrays.items()},
        )


if __name__ == "__main__":
    main()
