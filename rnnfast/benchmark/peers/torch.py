"""torch.nn on the CPU, as its users run it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from rnnfast.benchmark.problems import Arrays, Contender, Problem, parts

__all__ = ["Torch"]


class Torch(Contender):
    """`torch.nn` on the CPU, by autograd; `limited_threads` sets its number of threads."""

    name = "torch"
    needs = ("torch",)
    dtypes = ("float32", "float64")

    def __init__(self, problem: Problem, threads: int) -> None:
        torch = import_module("torch")
        I = problem.x.shape[2]
        dtype = getattr(torch, problem.x.dtype.name)
        self.torch = torch
        self.layer = getattr(torch.nn, problem.cell.upper())(I, problem.dy.shape[2], dtype=dtype)
        self.layer.load_state_dict({f"{name}_l0": torch.tensor(a) for name, a in problem.weights.items()})
        self.x, self.dy = torch.tensor(problem.x, requires_grad=True), torch.tensor(problem.dy)

    def evaluate(self) -> Any:
        with self.torch.inference_mode():
            return self.layer(self.x)

    def train(self) -> Any:
        self.layer.zero_grad()
        self.x.grad = None
        y, state = self.layer(self.x)
        y.backward(self.dy)
        return y, state, self.x.grad, {name: p.grad for name, p in self.layer.named_parameters()}

    def stepper(self) -> Callable[[], Any]:
        x, state = self.x.detach()[:1], None

        def step() -> Any:
            nonlocal state
            with self.torch.inference_mode():
                y, state = self.layer(x, state)
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, state, *rest = result
        return super().arrays((y.detach(), tuple(part.detach() for part in parts(state)), *rest))
