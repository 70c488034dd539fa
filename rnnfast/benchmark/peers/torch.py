"""torch.nn on the CPU: float32, float64, bfloat16, and the int8 of its dynamic quantization."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from rnnfast.benchmark.problems import Contender, NotOffered, Problem

__all__ = ["Torch"]


class Torch(Contender):
    """`torch.nn` on the CPU, by autograd; `limited_threads` sets its number of threads.

    bfloat16 is that of `module.bfloat16()`: parameters, inputs, results and gradients have it too.
    """

    name = "torch"
    needs = ("torch",)
    precisions = ("float32", "float64", "bfloat16", "int8")
    trains_in = ("float32", "float64", "bfloat16")

    def __init__(self, problem: Problem, threads: int) -> None:
        super().__init__(problem, threads)
        torch = import_module("torch")
        I, precision = problem.x.shape[2], problem.precision
        dtype = getattr(torch, "float32" if precision == "int8" else precision)
        self.torch = torch
        self.layer = getattr(torch.nn, problem.cell.upper())(I, problem.dy.shape[2], dtype=dtype)
        self.layer.load_state_dict({f"{name}_l0": torch.tensor(a) for name, a in problem.weights.items()})
        if precision == "int8":
            self.layer = quantized(self.layer)
        self.x = torch.tensor(problem.x, dtype=dtype, requires_grad=True)
        self.dy = torch.tensor(problem.dy, dtype=dtype)

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

    def array(self, value: Any) -> np.ndarray:
        value = value.detach()
        return np.asarray(value.float() if value.dtype == self.torch.bfloat16 else value)


def quantized(layer: Any) -> Any:
    """The layer after torch's dynamic quantization: weights in int8, inputs quantized in each call."""
    torch = import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and torchao has nothing for these modules
        try:
            quantization = import_module("torch.ao.quantization")
        except ModuleNotFoundError:
            raise NotOffered("this torch has no quantize_dynamic") from None
        (found,) = quantization.quantize_dynamic(torch.nn.Sequential(layer), {type(layer)}, torch.qint8)
    if type(found) is type(layer):
        raise NotOffered(f"quantize_dynamic leaves {type(layer).__name__} in float32")
    return found
