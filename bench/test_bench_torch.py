"""The bridge to PyTorch: what it costs over rnnfast's own calls, and its speed beside torch.nn's.

`pytest bench -k torch -s` prints it. Calls are interleaved one by one, and medians compared: on a busy
machine, figures taken one after the other mean little. Everything runs on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np
import pytest

from rnnfast.cli.measure.contenders import limited_threads

torch = pytest.importorskip("torch")

import rnnfast as rf  # noqa: E402
import rnnfast.torch  # noqa: E402

SHAPES = {"small": (1000, 8, 64, 64), "policy": (100, 16, 32, 64), "large": (50, 32, 512, 512)}


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Microseconds of each, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: 1e6 * median(each) for name, each in times.items()}


class Empty(torch.autograd.Function):
    """A node of as many tensors that does nothing: what torch itself takes."""

    @staticmethod
    def forward(ctx, x, h, *weights):
        ctx.save_for_backward(x, h, *weights)
        return x.new_zeros(2, 1, 8), h.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy, dh):
        return None, None, *[torch.empty_like(weight) for weight in ctx.saved_tensors[2:]]


def test_bench_torch_overhead(benchmark):
    """A call so small that next to nothing is computed: (T, B, I, H) = (2, 1, 4, 8)."""
    torch.manual_seed(0)
    module, layer = rnnfast.torch.GRU(4, 8), rf.GRU(4, 8)
    layer.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    x, h = torch.randn(2, 1, 4), torch.randn(1, 1, 8)
    dy, dh = torch.randn(2, 1, 8), torch.randn(1, 1, 8)
    arrays = x.numpy(), h.numpy()
    gradients = dy.numpy(), dh.numpy()
    assert np.array_equal(module(x, h)[0].detach().numpy(), layer(*arrays)[0])
    weights = list(module.parameters())

    def no_grad():
        with torch.no_grad():
            module(x, h)

    def backward(y, h):
        torch.autograd.backward((y, h), (dy, dh))
        for weight in weights:
            weight.grad = None

    def numpy_training():
        *_, tape = layer.forward(*arrays)
        layer.backward(tape, *gradients, input_grad=False, grads={})

    with limited_threads(1):
        took = medians(
            {
                "NumPy, evaluation": lambda: layer(*arrays),
                "bridge, no_grad": no_grad,
                "NumPy, forward": lambda: layer.forward(*arrays),
                "bridge, forward": lambda: module(x, h),
                "empty, forward": lambda: Empty.apply(x, h, *weights),
                "NumPy, training": numpy_training,
                "bridge, training": lambda: backward(*module(x, h)),
                "empty, training": lambda: backward(*Empty.apply(x, h, *weights)),
            },
            1000,
        )
        print("\n" + "\n".join(f"{name:20} {each:7.1f} us" for name, each in took.items()))
        benchmark.group = "torch bridge"
        benchmark(no_grad)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["GRU", "RNN", "LSTM"])
def test_bench_torch_training(benchmark, kind, shape):
    """Forward, backward and the weights' gradients, beside torch.nn's."""
    T, B, I, H = SHAPES[shape]
    torch.manual_seed(0)
    plain = getattr(torch.nn, kind)(I, H)
    fast = getattr(rnnfast.torch, kind)(I, H)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(T, B, I)
    dy = torch.randn(T, B, H)

    def train(module):
        module.zero_grad()
        y, _ = module(x)
        y.backward(dy)
        return y

    assert torch.allclose(train(fast), train(plain), atol=1e-4)
    for p, q in zip(fast.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(p.grad, q.grad, rtol=1e-3, atol=1e-3 * float(q.grad.abs().max()))
    with limited_threads(1):
        took = medians({"torch.nn": lambda: train(plain), "bridge": lambda: train(fast)}, 7)
        ratio = took["torch.nn"] / took["bridge"]
        print(f"\n{kind} {shape} {(T, B, I, H)}: torch.nn takes {ratio:.1f} times as long")
        benchmark.group = f"torch {kind} training"
        benchmark(train, fast)
