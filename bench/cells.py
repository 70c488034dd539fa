"""What layer norm, noise in the recurrence and the new cells cost in training: `make cells` prints Markdown.

Ratios on one thread, of forward and backward with all gradients. Each layer is compared with the reference,
and with PyTorch's operations where they are installed, before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.benchmark.contenders import limited_threads
from rnnfast.benchmark.machine import describe
from rnnfast.benchmark.timing import interleave, median_ratio

SHAPES = [(100, 32, 256, 256), (100, 16, 128, 128), (200, 8, 64, 64), (100, 16, 32, 32)]  # T, B, I, H
LONG = (1000, 1, 64, 64)
OPTIONS: dict[str, dict[str, Any]] = {
    "layer_norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.1},
    "recurrent_dropout": {"recurrent_dropout": 0.2},
    "weight_dropout": {"weight_dropout": 0.2},
}
SECONDS = 4.0
Shape = tuple[int, int, int, int]


def arrays(shape: Shape, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """x and dy."""
    T, B, I, H = shape
    rng = np.random.default_rng(1)
    return rng.normal(size=(T, B, I)).astype(dtype), rng.normal(size=(T, B, H)).astype(dtype)


def training(layer: Any, x: np.ndarray, dy: np.ndarray) -> Callable[[], np.ndarray]:
    """One forward and one backward pass; the result is dx."""

    def run() -> np.ndarray:
        _, _, tape = layer.forward(x)
        return layer.backward(tape, dy)[0]

    return run


def check(kind: type, H: int, **options: Any) -> None:
    """Refuse to time a layer whose results differ from those of the reference, or which does not replay."""
    layer = kind(5, H, dtype="float64", rng=0, **options)
    x, dy = arrays((6, 3, 5, H), "float64")
    name = kind.__name__.lower()
    weights = {key.removesuffix("_l0"): array for key, array in layer.state_dict().items()}
    expected = {"zoneout": options["zoneout"]} if "zoneout" in options else {}
    if name == "lstm" and expected:
        expected = {"zoneout": (options["zoneout"],) * 2}
    y, _, tape = getattr(rf.reference, f"{name}_forward")(x, **weights, **expected)
    dx, _, _ = getattr(rf.reference, f"{name}_backward")(tape, dy, None)
    found, _, saved = layer.forward(x, training=False)
    agree(name, [found, layer.backward(saved, dy)[0]], [y, dx])
    agree(name, [layer.forward(x, rng=3)[0]], [layer.forward(x, rng=3)[0]])


def agree(name: str, found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, want in zip(found, expected, strict=True):
        if not np.abs(got - want).max() <= 1e-9 * np.abs(want).max():
            raise SystemExit(f"{name}: the results differ: nothing is timed")


def ratios(calls: dict[str, Callable[[], Any]], base: str) -> dict[str, float]:
    """The time of each call over that of `base`."""
    times = interleave(calls, SECONDS, alone=True)
    return {name: median_ratio(times[name], times[base]) for name in calls if name != base}


def options_over_plain() -> None:
    print("\n| (T, B, I, H) | layer | " + " | ".join(f"`{name}`" for name in OPTIONS) + " |")
    print("|---|---|" + "--:|" * len(OPTIONS))
    for kind in (rf.LSTM, rf.GRU):
        for options in OPTIONS.values():
            check(kind, 33, **options)
    for shape in SHAPES:
        x, dy = arrays(shape)
        for kind in (rf.LSTM, rf.GRU):
            calls = {"plain": training(kind(*shape[2:], rng=0), x, dy)}
            calls |= {name: training(kind(*shape[2:], rng=0, **own), x, dy) for name, own in OPTIONS.items()}
            figures = " | ".join(f"{ratio:.2f}" for ratio in ratios(calls, "plain").values())
            print(f"| {shape} | {kind.__name__} | {figures} |", flush=True)


def cells_over_others() -> None:
    print("\n| (T, B, I, H) | GRU / MinGRU | LSTM / MinLSTM | LSTM / sLSTM, 4 heads |")
    print("|---|--:|--:|--:|")
    for kind, options in ((rf.MinGRU, {}), (rf.MinLSTM, {}), (rf.SLSTM, {"num_heads": 4})):
        check(kind, 36, **options)
    for shape in (LONG, SHAPES[0]):
        x, dy = arrays(shape)
        figures = []
        for old, new, options in (
            (rf.GRU, rf.MinGRU, {}),
            (rf.LSTM, rf.MinLSTM, {}),
            (rf.LSTM, rf.SLSTM, {"num_heads": 4}),
        ):
            layers = {"new": new(*shape[2:], rng=0, **options), "old": old(*shape[2:], rng=0)}
            calls = {name: training(layer, x, dy) for name, layer in layers.items()}
            figures.append(f"{ratios(calls, 'new')['old']:.2f}")
        print(f"| {shape} | {' | '.join(figures)} |", flush=True)


def norm_cell(torch: Any, weights: dict[str, Any], x: Any) -> Any:
    """A layer-norm LSTM as a loop over a cell in PyTorch's operations."""

    def norm(part: str, a: Any) -> Any:
        own = (weights[f"ln_{part}_{kind}_l0"] for kind in ("weight", "bias"))
        return torch.nn.functional.layer_norm(a, a.shape[-1:], *own)

    h = x.new_zeros(x.shape[1], weights["weight_hh_l0"].shape[1])
    c, steps = h, []
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    for x_t in x:
        from_x, from_h = x_t @ weights["weight_ih_l0"].T, h @ weights["weight_hh_l0"].T
        i, f, g, o = (norm("ih", from_x) + norm("hh", from_h) + bias).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(norm("c", c))
        steps.append(h)
    return torch.stack(steps)


def log_scan(torch: Any, weights: dict[str, Any], x: Any) -> Any:
    """A MinGRU with a positive candidate as the paper's scan in log space, from a state of zeros."""
    k, a = (x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]).chunk(2, -1)
    softplus = torch.nn.functional.softplus
    log_g = torch.where(a >= 0, torch.log(torch.relu(a) + 0.5), -softplus(-a))
    kept = torch.cumsum(-softplus(k), dim=0)
    return torch.exp(kept + torch.logcumsumexp(log_g - softplus(-k) - kept, dim=0))


def torch_over_ours() -> None:
    torch = import_module("torch")
    torch.set_num_threads(1)
    print("\n| (T, B, I, H) | PyTorch's operations | time over rnnfast's |")
    print("|---|---|--:|")
    for shape, kind, options, theirs, name in (
        (SHAPES[0], rf.LSTM, {"layer_norm": True}, norm_cell, "loop over a layer-norm LSTM cell"),
        (SHAPES[2], rf.LSTM, {"layer_norm": True}, norm_cell, "loop over a layer-norm LSTM cell"),
        (LONG, rf.MinGRU, {"candidate": "positive"}, log_scan, "log-space scan of a MinGRU"),
        (SHAPES[0], rf.MinGRU, {"candidate": "positive"}, log_scan, "log-space scan of a MinGRU"),
    ):

        def calls(
            dtype: str, shape: Shape, kind: Any = kind, options: Any = options, theirs: Any = theirs
        ) -> dict[str, Callable[[], np.ndarray]]:
            layer = kind(*shape[2:], dtype=dtype, rng=0, **options)
            x, dy = arrays(shape, dtype)
            weights = {
                key: torch.tensor(array, requires_grad=True) for key, array in layer.state_dict().items()
            }

            def run() -> np.ndarray:
                given = torch.tensor(x, requires_grad=True)
                theirs(torch, weights, given).backward(torch.from_numpy(dy))
                return given.grad.numpy()

            return {"torch": run, "rnnfast": training(layer, x, dy)}

        exact = calls("float64", (12, 3, 5, 16))
        agree(name, [exact["rnnfast"]()], [exact["torch"]()])
        ratio = ratios(calls("float32", shape), "rnnfast")["torch"]
        print(f"| {shape} | {name} | {ratio:.1f} |", flush=True)


def main() -> None:
    print(", ".join(f"{name} {version}" for name, version in describe(("torch",)).items()))
    with limited_threads(1):
        options_over_plain()
        cells_over_others()
        if find_spec("torch"):
            torch_over_ours()


if __name__ == "__main__":
    main()
