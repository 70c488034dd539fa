"""Makes optim_torch.npz beside it: two parameters under each of torch's optimizers (made with torch 2.13.0).

`grads.0` [S, 3, 4] and `grads.1` [S, 5] are the gradients of S steps, those of parameter 1 missing at the
steps in `skipped`; `start.0` and `start.1` are the values before, `<case>.0` and `<case>.1` [S, ...] those
after each step.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

STEPS = 8
SKIPPED = (0, 3)
SHAPES = ((3, 4), (5,))
CASES = {
    "SGD": (torch.optim.SGD, {"lr": 0.1}),
    "SGD_decay": (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.3}),
    "SGD_momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    "SGD_nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.2, "nesterov": True}),
    "Adam": (torch.optim.Adam, {}),
    "Adam_decay": (torch.optim.Adam, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "AdamW": (torch.optim.AdamW, {}),
    "AdamW_decay": (torch.optim.AdamW, {"lr": 0.1, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.2}),
    "RMSprop": (torch.optim.RMSprop, {}),
    "RMSprop_all": (
        torch.optim.RMSprop,
        {"lr": 0.05, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.2, "momentum": 0.7},
    ),
}


def main() -> None:
    rng = np.random.default_rng(0)
    grads = [rng.normal(size=(STEPS, *shape)) for shape in SHAPES]
    start = [rng.normal(size=shape) for shape in SHAPES]
    arrays = {"skipped": np.array(SKIPPED)}
    for number in range(len(SHAPES)):
        arrays[f"grads.{number}"] = grads[number]
        arrays[f"start.{number}"] = start[number]
    for case, (optimizer, options) in CASES.items():
        params = [torch.nn.Parameter(torch.tensor(values)) for values in start]
        stepper = optimizer(params, **options)
        after: list[list[np.ndarray]] = [[] for _ in SHAPES]
        for step in range(STEPS):
            for number, param in enumerate(params):
                missing = number == 1 and step in SKIPPED
                param.grad = None if missing else torch.tensor(grads[number][step])
            stepper.step()
            for number, param in enumerate(params):
                after[number].append(param.detach().numpy().copy())
        for number in range(len(SHAPES)):
            arrays[f"{case}.{number}"] = np.stack(after[number])
    np.savez_compressed(Path(__file__).with_name("optim_torch.npz"), **arrays)


if __name__ == "__main__":
    main()
