"""What the tests of `rnnfast.torch` share: a module and torch's with the same weights, run the same way."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from helpers.kernel_runs import kernels_run  # noqa: E402

import rnnfast.torch  # noqa: E402
from rnnfast import functional  # noqa: E402

torch.set_num_threads(1)  # what runs here is small, and waiting for a pool on busy cores is not

LAYERS = ("RNN", "LSTM", "GRU")
CELLS = ("RNNCell", "LSTMCell", "GRUCell")
KINDS = LAYERS + CELLS


def twins(kind: str, *args: Any, dtype: Any = None, **options: Any) -> tuple[Any, Any]:
    """torch's module and rnnfast's with the same weights."""
    dtype = dtype or torch.float64
    plain = getattr(torch.nn, kind)(*args, dtype=dtype, **options)
    fast = getattr(rnnfast.torch, kind)(*args, dtype=dtype, **options)
    fast.load_state_dict(plain.state_dict())
    return plain, fast


def an_input(kind: str, dtype: Any = None, *, T: int = 4, B: int = 2, I: int = 3) -> Any:
    """A random x, of float64 unless another dtype is asked for; that of a cell is one step."""
    steps = () if kind.endswith("Cell") else (T,)
    return torch.randn(*steps, B, I, dtype=dtype or torch.float64)


def state_of(module: Any, B: int) -> list[Any]:
    """The parts of a random state of a module, of its weights' dtype."""
    H, P, lead = module.hidden_size, getattr(module, "proj_size", 0), (B,)
    if not type(module).__name__.endswith("Cell"):
        lead = (module.num_layers * (2 if module.bidirectional else 1), B)
    widths = (P or H, H) if isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell)) else (H,)
    dtype = next(module.parameters()).dtype
    return [torch.randn(*lead, width, dtype=dtype) for width in widths]


def operators_in(program: Any) -> list[Any]:
    """The nodes of rnnfast's operators in a graph, or in the graph of an exported program."""
    return [node for node in program.graph.nodes if str(node.target).startswith("rnnfast.")]


def tensors_in(value: Any) -> list[Any]:
    """All tensors of a result or an argument, packed sequences' data for these."""
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return [value.data]
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value or () for tensor in tensors_in(part)]


def everything(module: Any, x: Any, hx: Any = None, **keywords: Any) -> dict[str, Any]:
    """Outputs, and the gradients of all inputs and weights for distinct gradients of all outputs."""
    inputs = dict(module.named_parameters())
    inputs |= {f"input {n}": tensor for n, tensor in enumerate(tensors_in((x, hx))) if tensor.requires_grad}
    outputs = tensors_in(module(x, hx, **keywords))
    loss = sum(
        (tensor * torch.linspace(-1, 2, tensor.numel()).to(tensor).view_as(tensor)).sum()
        for tensor in outputs
    )
    grads = torch.autograd.grad(loss, list(inputs.values()))
    return {f"output {n}": tensor.detach() for n, tensor in enumerate(outputs)} | dict(
        zip(inputs, grads, strict=True)
    )


def assert_same(got: dict[str, Any], want: dict[str, Any], tolerance: float) -> None:
    """All of it, relative to the largest number of each tensor where that is above 1."""
    assert got.keys() == want.keys()
    for name, tensor in got.items():
        expected = want[name]
        assert tensor.shape == expected.shape, name
        assert tensor.dtype is expected.dtype, name
        if tensor.numel():
            error = (tensor - expected).abs().max() / expected.abs().max().clamp(min=1)
            assert error <= tolerance, f"{name}: error {error:.2e}, allowed {tolerance:.0e}"


def functional_results(module: Any, x: Any, hx: Any, gradients: Any, precision: str) -> tuple[Any, Any]:
    """What `rnnfast.functional` gives for a module of one layer and direction, or a cell, in float32.

    `gradients` has one tensor for each result of the module. The results are those of the module in its
    order, and the gradients of x, of the state's parts and of the parameters.
    """
    cell, step = type(module).__name__.removesuffix("Cell").lower(), type(module).__name__ in CELLS
    forward, backward = (getattr(functional, f"{cell}_{way}") for way in ("forward", "backward"))
    parts = [tensor.detach().float() for tensor in tensors_in(hx)]
    parts = [(part if step else part[0]).numpy() for part in parts]
    weights = {name.removesuffix("_l0"): p.detach().float().numpy() for name, p in module.named_parameters()}
    x = x.detach().float().numpy()
    y, state, tape = forward(
        x[None] if step else x,
        **weights,
        state=tuple(parts) if len(parts) > 1 else parts[0],
        matmul_precision=precision,
    )
    finals = [torch.from_numpy(part) for part in (state if isinstance(state, tuple) else (state,))]
    results = finals if step else [torch.from_numpy(y.copy()), *(part[None] for part in finals)]
    given = [gradient.float().numpy() for gradient in gradients]
    dy, dstate = (None, given) if step else (given[0], [part[0] for part in given[1:]])
    dx, dinitial, grads = backward(tape, dy, tuple(dstate) if len(dstate) > 1 else dstate[0])
    dparts = dinitial if isinstance(dinitial, tuple) else (dinitial,)
    found = [dx[0] if step else dx, *(part if step else part[None] for part in dparts), *grads.values()]
    return results, [torch.from_numpy(array) for array in found]


def answer_of(module: Any, x: Any, queue: Any) -> None:
    """Puts what comes out of a forward and a backward pass into a queue, whatever process this is."""
    with kernels_run(2):
        y, _ = module(x)
        y.sum().backward()
    queue.put((y.detach().tolist(), module.weight_hh_l0.grad.tolist()))
    module.zero_grad()
