"""Makes the stored results of the package `xlstm` beside it, xlstm_*.npz (xlstm 2.0.6, torch 2.13.0).

Each file holds one sLSTM of so many heads, run by the package's loop `slstm_forward` in torch: weights as
`weights.<name>` under rnnfast's names, x, state.*, y, final.*, the given gradients dy and dfinal.*, and what
autograd made of them: dx, dstate.*, `grads.<name>`. In the files `..._empty`, the initial state is zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from xlstm.blocks.slstm.src.vanilla import slstm_forward, slstm_pointwise_function_registry

T, B, I, H, GATES = 7, 3, 4, 8, 4
PARTS = ("h", "c", "n", "m")


def as_ours(kernel: torch.Tensor) -> torch.Tensor:
    """The package's recurrent kernel [heads, 4*D, D] as weight_hh [4*H, D]."""
    heads, _, D = kernel.shape
    return kernel.reshape(heads, GATES, D, D).transpose(0, 1).reshape(GATES * H, D)


def results(heads: int, empty: bool) -> dict[str, torch.Tensor]:
    """One layer forward and backward, with gradients on y and on each part of the final state."""
    torch.manual_seed(10 * heads + empty)
    draw = torch.randn
    weight_ih, bias = draw(GATES * H, I).requires_grad_(), draw(GATES * H).requires_grad_()
    kernel = draw(heads, GATES * H // heads, H // heads).requires_grad_()
    x = draw(T, B, I).requires_grad_()
    state = torch.zeros(4, B, H) if empty else draw(4, B, H)
    state[2] = state[2].abs()  # n
    state.requires_grad_()
    pointwise = slstm_pointwise_function_registry["slstm"]
    every, final, _ = slstm_forward(x @ weight_ih.T, state, kernel, bias, pointwise)
    y = every[0, 1:]
    dy, dfinal = draw(T, B, H), draw(4, B, H)
    torch.autograd.backward([y, final], [dy, dfinal])
    arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad}
    for n, part in enumerate(PARTS):
        arrays |= {f"state.{part}": state[n], f"dstate.{part}": state.grad[n]}
        arrays |= {f"final.{part}": final[n], f"dfinal.{part}": dfinal[n]}
    arrays |= {"weights.weight_ih": weight_ih, "grads.weight_ih": weight_ih.grad}
    arrays |= {"weights.weight_hh": as_ours(kernel), "grads.weight_hh": as_ours(kernel.grad)}
    return arrays | {"weights.bias_ih": bias, "grads.bias_ih": bias.grad}


def main() -> None:
    torch.set_default_dtype(torch.float64)
    for heads in (1, 4):
        for empty in (False, True):
            arrays = results(heads, empty)
            np.savez(
                Path(__file__).parent / f"xlstm_{heads}{'_empty' * empty}.npz",
                **{name: tensor.detach().numpy() for name, tensor in arrays.items()},
            )


if __name__ == "__main__":
    main()
