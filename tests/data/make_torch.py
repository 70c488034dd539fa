"""Makes the stored PyTorch results beside it, torch_*.npz and packed_*.npz (made with torch 2.13.0).

Each file holds the state_dict of one `torch.nn` module as `weights.<name>`, a batch, and what comes of it:
x, state.*, y, final.* and the gradients: given dy, dfinal.*, obtained dx, dstate.*, `grads.<name>`. The batch
of a packed_*.npz is ragged, a `PackedSequence` of the `lengths` there, and its LSTM may be projected.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

T, B, I, H, P = 6, 3, 4, 5, 2
LENGTHS = torch.tensor([3, 6, 1])
CELLS = {
    "rnn_tanh": lambda **options: torch.nn.RNN(I, H, nonlinearity="tanh", **options),
    "rnn_relu": lambda **options: torch.nn.RNN(I, H, nonlinearity="relu", **options),
    "lstm": lambda **options: torch.nn.LSTM(I, H, **options),
    "gru": lambda **options: torch.nn.GRU(I, H, **options),
}
PACKED = {
    **{cell: CELLS[cell] for cell in ("rnn_tanh", "lstm", "gru")},
    "lstm_projected": lambda **options: torch.nn.LSTM(I, H, proj_size=P, **options),
}


def results(
    cell: str, layers: int, directions: int, dtype: torch.dtype, packed: bool = False
) -> dict[str, torch.Tensor]:
    """One module forward and backward, with nonzero states and gradients on y and the final states."""
    torch.manual_seed(100 * layers + directions)
    cells = PACKED if packed else CELLS
    module = cells[cell](num_layers=layers, bidirectional=directions == 2, dtype=dtype)
    widths = {"h": P if cell == "lstm_projected" else H}
    if cell.startswith("lstm"):
        widths["c"] = H

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype)

    x = draw(T, B, I).requires_grad_()
    state = [draw(layers * directions, B, width).requires_grad_() for width in widths.values()]
    batch = pack_padded_sequence(x, LENGTHS, enforce_sorted=False) if packed else x
    y, final = module(batch, tuple(state) if len(state) == 2 else state[0])
    if packed:
        y, _ = pad_packed_sequence(y, total_length=T)
    final = list(final) if len(state) == 2 else [final]
    dy, dfinal = draw(*y.shape), [draw(*part.shape) for part in final]
    torch.autograd.backward([y, *final], [dy, *dfinal])

    arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    if packed:
        arrays["lengths"] = LENGTHS
    for name, initial, last, dlast in zip(widths, state, final, dfinal, strict=True):
        arrays |= {f"state.{name}": initial, f"dstate.{name}": initial.grad}
        arrays |= {f"final.{name}": last, f"dfinal.{name}": dlast}
    for name, parameter in module.named_parameters():
        arrays |= {f"weights.{name}": parameter, f"grads.{name}": parameter.grad}
    return arrays


def main() -> None:
    folder = Path(__file__).parent
    every = [(*case, torch.float64, False) for case in itertools.product(CELLS, (1, 2, 3), (1, 2))]
    narrow = [(cell, 2, 2, torch.float32, False) for cell in CELLS]
    ragged = [(cell, 2, 2, torch.float64, True) for cell in PACKED]
    for cell, layers, directions, dtype, packed in every + narrow + ragged:
        arrays = results(cell, layers, directions, dtype, packed)
        kind, bits = "packed" if packed else "torch", torch.finfo(dtype).bits
        np.savez(
            folder / f"{kind}_{cell}_{layers}x{directions}_float{bits}.npz",
            **{name: tensor.detach().numpy() for name, tensor in arrays.items()},
        )


if __name__ == "__main__":
    main()
