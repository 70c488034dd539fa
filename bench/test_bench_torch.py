"""The bridge to PyTorch: what it costs over rnnfast's own calls, its speed beside torch.nn's, whole steps.

`pytest bench -k torch --benchmark-only` has a group for each. Results are compared before they are timed.
"""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.benchmark.cases import CASES
from rnnfast.benchmark.contenders import limited_threads

torch = pytest.importorskip("torch")

import rnnfast as rf  # noqa: E402
import rnnfast.torch  # noqa: E402

ROWS = {"rnnfast": rnnfast.torch, "torch.nn": torch.nn}
SHAPES = {"series": CASES["series"], "policy": (100, 16, 32, 64), "layer-512": (50, 32, 512, 512)}


class Empty(torch.autograd.Function):
    """A node of as many tensors as a GRU's, which does nothing: the time that torch itself takes."""

    @staticmethod
    def forward(ctx, x, h, *weights):
        ctx.save_for_backward(x, h, *weights)
        return x.new_zeros(2, 1, 8), h.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy, dh):
        return None, None, *[torch.empty_like(weight) for weight in ctx.saved_tensors[2:]]


class Small:
    """A call so small that next to nothing is computed: (T, B, I, H) = (2, 1, 4, 8)."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module, self.layer = rnnfast.torch.GRU(4, 8), rf.GRU(4, 8)
        self.layer.load_state_dict({name: p.detach().numpy() for name, p in self.module.named_parameters()})
        self.weights = list(self.module.parameters())
        self.x, self.h = torch.randn(2, 1, 4), torch.randn(1, 1, 8)
        self.dy, self.dh = torch.randn(2, 1, 8), torch.randn(1, 1, 8)
        self.arrays = self.x.numpy(), self.h.numpy()
        self.gradients = self.dy.numpy(), self.dh.numpy()

    def no_grad(self):
        with torch.no_grad():
            return self.module(self.x, self.h)

    def backward(self, y, h):
        torch.autograd.backward((y, h), (self.dy, self.dh))
        for weight in self.weights:
            weight.grad = None

    def numpy_training(self):
        *_, tape = self.layer.forward(*self.arrays)
        self.layer.backward(tape, *self.gradients, input_grad=False, grads={})

    def empty(self):
        return Empty.apply(self.x, self.h, *self.weights)

    def calls(self):
        """By kind of work: NumPy's layer, the bridge, an empty node of torch."""
        return {
            "evaluation": {"rnnfast": lambda: self.layer(*self.arrays), "bridge": self.no_grad},
            "forward": {
                "rnnfast": lambda: self.layer.forward(*self.arrays),
                "bridge": lambda: self.module(self.x, self.h),
                "empty": self.empty,
            },
            "training": {
                "rnnfast": self.numpy_training,
                "bridge": lambda: self.backward(*self.module(self.x, self.h)),
                "empty": lambda: self.backward(*self.empty()),
            },
        }


@pytest.mark.parametrize(
    ("work", "row"), [(work, row) for work, rows in Small().calls().items() for row in rows]
)
def test_bench_torch_overhead(timed, threads, work, row):
    small = Small()
    assert np.array_equal(small.no_grad()[0].numpy(), small.layer(*small.arrays)[0])
    with limited_threads(threads):
        timed(f"torch bridge, a small call, {work}, threads: {threads}", row, small.calls()[work][row])


def layers_of(kind, I, H):
    """rnnfast's and torch.nn's layer by row, with the same weights."""
    layers = {row: getattr(module, kind)(I, H) for row, module in ROWS.items()}
    layers["rnnfast"].load_state_dict(layers["torch.nn"].state_dict())
    return layers


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["GRU", "RNN", "LSTM"])
def test_bench_torch_training(timed, threads, kind, shape, row):
    """Forward, backward and the weights' gradients, beside torch.nn's."""
    T, B, I, H = SHAPES[shape]
    torch.manual_seed(0)
    modules = layers_of(kind, I, H)
    x, dy = torch.randn(T, B, I), torch.randn(T, B, H)

    def train(module):
        module.zero_grad()
        y, _ = module(x)
        y.backward(dy)
        return y

    with limited_threads(threads):
        y, expected = (train(module) for module in modules.values())
        assert torch.allclose(y, expected, atol=1e-4)
        for p, q in zip(*(module.parameters() for module in modules.values()), strict=True):
            assert torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-3 * float(q.grad.abs().max()))
        group = f"torch bridge, {kind} training {shape} {SHAPES[shape]}, threads: {threads}"
        timed(group, row, lambda: train(modules[row]))


STEPS = {"layer": (100, 32, 64, 64), "text": (50, 16, 128, 128), "wide": (50, 32, 256, 256)}


class Step:
    """A whole training step: layer, Linear, loss, backward pass and Adam, all but the layer by torch."""

    def __init__(self, layer, shape) -> None:
        T, B, I, H = shape
        torch.manual_seed(0)
        self.layer, self.head = layer, torch.nn.Linear(H, 10)
        self.optimizer = torch.optim.Adam([*layer.parameters(), *self.head.parameters()])
        self.x, self.targets = torch.randn(T, B, I), torch.randint(0, 10, (T * B,))

    def __call__(self):
        self.optimizer.zero_grad()
        y = self.head(self.layer(self.x)[0]).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(y, self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def steps(kind, shape):
    """By row: torch.nn's layer in the step, and rnnfast's with the same weights."""
    return {row: Step(layer, shape) for row, layer in layers_of(kind, *shape[2:]).items()}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("shape", STEPS)
@pytest.mark.parametrize("kind", ["GRU", "RNN", "LSTM"])
def test_bench_torch_step(timed, threads, kind, shape, row):
    with limited_threads(threads):
        losses = [[step() for _ in range(3)] for step in steps(kind, STEPS[shape]).values()]
        assert np.allclose(*losses, rtol=1e-3)
        group = f"torch, a step with {kind} {shape} {STEPS[shape]}, threads: {threads}"
        timed(group, row, steps(kind, STEPS[shape])[row])
