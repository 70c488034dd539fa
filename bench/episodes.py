"""Episodes that begin within a sequence, in a loop and in one call: `python bench/episodes.py [THREADS]`.

sb3-contrib's RecurrentPPO calls its LSTM once for each step where an episode begins in any sequence of a
batch. The keyword ``reset`` of `rnnfast.torch.LSTM` does the same in one call. Prints Markdown: the time of a
gradient update's forward and backward pass, in multiples of that call's. Outputs and gradients are compared
before.
It needs sb3-contrib and PyTorch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

import rnnfast.torch
from rnnfast.benchmark.contenders import limited_threads
from rnnfast.benchmark.machine import describe
from rnnfast.benchmark.timing import interleave, median_ratio

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
SHAPES = [(128, 8, 64, 64), (128, 8, 64, 256), (64, 32, 32, 128)]  # T, B, I, H
BEGINS = 0.02  # of all steps
SECONDS = 4.0

Run = Callable[[], torch.Tensor]


def in_steps(
    lstm: torch.nn.LSTM, x: torch.Tensor, state: tuple[torch.Tensor, ...], begins: torch.Tensor
) -> torch.Tensor:
    """sb3-contrib's own code; x [T, B, I], begins [T, B]."""
    features, starts = x.transpose(0, 1).flatten(0, 1), begins.float().T.flatten()
    y, _ = RecurrentActorCriticPolicy._process_sequence(features, state, starts, lstm)
    return y.unflatten(0, (x.shape[1], -1)).transpose(0, 1)


def in_one_call(
    lstm: rnnfast.torch.LSTM, x: torch.Tensor, state: tuple[torch.Tensor, ...], begins: torch.Tensor | None
) -> torch.Tensor:
    return lstm(x, state, **({} if begins is None else {"reset": begins}))[0]


def contenders(shape: tuple[int, int, int, int]) -> dict[str, Callable[[], list[torch.Tensor]]]:
    """What gives y and the gradients of the weights."""
    T, B, I, H = shape
    torch.manual_seed(0)
    plain, ours = torch.nn.LSTM(I, H), rnnfast.torch.LSTM(I, H)
    ours.load_state_dict(plain.state_dict())
    x, state = torch.randn(T, B, I), (torch.randn(1, B, H), torch.randn(1, B, H))
    begins = torch.rand(T, B) < BEGINS
    dy = torch.randn(T, B, H)
    runs: dict[str, tuple[torch.nn.Module, Run]] = {
        "rnnfast, reset=": (ours, partial(in_one_call, ours, x, state, begins)),
        "rnnfast, no episode begins": (ours, partial(in_one_call, ours, x, state, None)),
        "rnnfast, step by step": (ours, partial(in_steps, ours, x, state, begins)),
        "torch.nn, step by step": (plain, partial(in_steps, plain, x, state, begins)),
    }

    def update(module: torch.nn.Module, run: Run) -> list[torch.Tensor]:
        y = run()
        return [y, *torch.autograd.grad(y, list(module.parameters()), dy)]

    return {name: partial(update, *pair) for name, pair in runs.items()}


def main() -> None:
    torch.set_num_threads(THREADS)
    facts = describe(("sb3-contrib", "torch"))
    print(", ".join(f"{name} {version}" for name, version in facts.items()), f"threads {THREADS}\n", sep=", ")
    rows = {}
    with limited_threads(THREADS):
        for shape in SHAPES:
            calls = contenders(shape)
            first, without, *others = calls
            for other in others:
                for a, b in zip(calls[first](), calls[other](), strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
            times = interleave(calls, SECONDS)
            rows[shape] = [median_ratio(times[name], times[first]) for name in (without, *others)]
    print("| (T, B, I, H) | " + " | ".join((without, *others)) + " |")
    print("|---|" + "--:|" * (1 + len(others)))
    for shape, ratios in rows.items():
        print(f"| {shape} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |")


if __name__ == "__main__":
    main()
