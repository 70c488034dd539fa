"""`rnnfast.torch` under autocast: which kernels run, and results have the dtypes that torch.nn gives."""

from __future__ import annotations

import copy
import itertools

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import (  # noqa: E402
    CELLS,
    KINDS,
    LAYERS,
    everything,
    functional_results,
    kernels_run,
    tensors_in,
    twins,
)
from helpers.tolerances import BFLOAT16, TORCH_BFLOAT16, error  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402

LOWER = (torch.bfloat16, torch.float16)
DTYPES = (torch.float32, *LOWER)
PRECISIONS = {torch.bfloat16: "bfloat16", torch.float16: "float32"}  # of the products
pytestmark = pytest.mark.filterwarnings("error::rnnfast.torch.FallbackWarning")


def cast_input_and_state(kind, form, x_dtype, state_dtype, passes=1, width=4):
    """x in this form and, where it has a dtype, a state."""
    x = torch.randn(2, 3) if kind in CELLS else torch.randn(5, 2, 3)
    batch = (2,)
    if form == "unbatched":
        x, batch = x.select(-2, 0), ()
    x = x.to(x_dtype)
    if form == "packed":
        x = pack_sequence([x[:, 0], x[:3, 1]])
    if state_dtype is None:
        return x, None
    leading = (*(() if kind in CELLS else (passes,)), *batch)
    h = torch.randn(*leading, width).to(state_dtype)
    return x, (h, torch.randn(*leading, 4).to(state_dtype)) if kind.startswith("LSTM") else h


def dtypes_of(result):
    return [tensor.dtype for tensor in tensors_in(result)]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_are_torchs(kind, lower, grad):
    stacks = [{}, {"bias": False}]
    if kind in LAYERS:
        stacks += [{"num_layers": 2, "bidirectional": True, "dropout": 0.2}]
    if kind == "LSTM":
        stacks += [{"proj_size": 2}]
    forms = ("batched", "unbatched", "packed") if kind in LAYERS else ("batched", "unbatched")
    compared = 0
    cases = [*itertools.product(stacks, [torch.float32], forms, DTYPES, (None, *DTYPES))]
    cases += itertools.product([{}], LOWER, forms, DTYPES, (None, torch.float32))
    for stack, dtype, form, x_dtype, state_dtype in cases:
        plain, fast = twins(kind, 3, 4, dtype=dtype, **stack)
        passes = 4 if "num_layers" in stack else 1
        x, hx = cast_input_and_state(kind, form, x_dtype, state_dtype, passes, stack.get("proj_size", 4))
        with torch.set_grad_enabled(grad), torch.autocast("cpu", lower):
            with kernels_run(passes):
                got = dtypes_of(fast(x, hx))
            try:
                want = dtypes_of(plain(x, hx))
            except RuntimeError:  # torch itself cannot: where two lower dtypes meet, or oneDNN lacks float16
                assert got == [lower] * len(got)
                continue
        assert got == want, (stack, dtype, form, x_dtype, state_dtype)
        compared += 1
    assert compared >= 40


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_kernels_rounded_once(kind, lower, dtype):
    _, module = twins(kind, 3, 4, dtype=torch.float32)
    x, hx = cast_input_and_state(kind, "batched", dtype, dtype)
    inputs = [tensor.requires_grad_() for tensor in tensors_in((x, hx))]
    with torch.autocast("cpu", lower), kernels_run(1):
        got = tensors_in(module(x, hx))
    gradients = [torch.randn_like(tensor) for tensor in got]
    torch.autograd.backward(got, gradients)  # outside of autocast
    inputs += module.parameters()
    results, grads = functional_results(module, x, hx, gradients, PRECISIONS[lower])
    assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(got, results, strict=True))
    assert all(torch.equal(a.grad, b.to(a.dtype)) for a, b in zip(inputs, grads, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_results_and_gradients_of_bfloat16_are_near_torchs(kind):
    torch.manual_seed(0)
    plain, fast = twins(kind, 24, 40, dtype=torch.float32)
    steps, layers = ((), ()) if kind in CELLS else ((30,), (1,))
    shapes = (*steps, 7, 24), (*layers, 7, 40), (*layers, 7, 40)
    x, h, c = [torch.randn(*shape, requires_grad=True) for shape in shapes]
    hx = (h, c) if kind.startswith("LSTM") else h
    exact = everything(plain, x, hx)
    with torch.autocast("cpu", torch.bfloat16):
        got, want = everything(fast, x, hx), everything(plain, x, hx)
    assert got.keys() == want.keys()
    for name, tensor in got.items():
        assert tensor.dtype is want[name].dtype, name
        assert error(tensor.float(), want[name].float()) <= TORCH_BFLOAT16, name
        assert error(tensor.float(), exact[name]) <= BFLOAT16, name


@pytest.mark.parametrize("kind", LAYERS)
def test_training_comes_nearer_to_float32_than_torchs(kind):
    torch.manual_seed(0)
    plain, fast = twins(kind, 24, 40, dtype=torch.float32)
    x = torch.randn(30, 7, 24)
    want = plain(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = plain(x)[0].float(), fast(x)[0].float()
    assert 0 < (ours - want).square().mean() < (theirs - want).square().mean()


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_options_and_keywords_are_kept(kind):
    options = {"cell_clip": 0.1} if kind == "LSTM" else {"reset_after": False}
    options |= {"num_layers": 2, "bidirectional": True}
    module = getattr(rnnfast.torch, kind)(3, 4, **options)
    alike = getattr(rnnfast.torch, kind)(3, 4, **options, matmul_precision="bfloat16")
    alike.load_state_dict(module.state_dict())
    x, reset = torch.randn(5, 2, 3), torch.rand(5, 2) < 0.5
    keywords = {"reset": reset, "lengths": torch.tensor([5, 2])}
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x, **keywords, checkpoint=2)[0]
        packed = module(pack_sequence([x[:, 0], x[:2, 1]]))[0].data
    assert torch.equal(got, alike(x, **keywords)[0].to(got.dtype))
    assert torch.equal(packed, alike(pack_sequence([x[:, 0], x[:2, 1]]))[0].data.to(packed.dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_float64_stays_float64(kind):
    plain, fast = twins(kind, 3, 4)
    x, _ = cast_input_and_state(kind, "batched", torch.float64, None)
    with torch.autocast("cpu", torch.bfloat16):
        with kernels_run(1):
            got = fast(x)
        assert dtypes_of(got) == dtypes_of(plain(x))
        for each in (plain, fast):
            with pytest.raises(RuntimeError, match="dtype"):
                each(x.float())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_lower_precision_are_cast(kind):
    _, module = twins(kind, 3, 4, dtype=torch.float32)
    lower = copy.deepcopy(module).bfloat16()
    module.load_state_dict(lower.state_dict())
    x, _ = cast_input_and_state(kind, "batched", torch.float32, None)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16), kernels_run(2):
            got, want = tensors_in(lower(x)), tensors_in(module(x))
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        got[0].float().sum().backward()
        want[0].float().sum().backward()
        for ours, theirs in zip(lower.parameters(), module.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad.bfloat16())
            ours.grad = theirs.grad = None
        with torch.no_grad():
            for ours, theirs in zip(lower.parameters(), module.parameters(), strict=True):
                theirs.copy_(ours.mul_(0.5))


def test_a_parametrization_under_autocast():
    class Product(torch.nn.Module):
        def forward(self, weight):
            return weight @ torch.eye(weight.shape[1])  # of lower precision than the other weights

    for name in ("weight_ih_l0", "weight_hh_l0"):
        plain, fast = twins("GRU", 3, 4, dtype=torch.float32)
        for module in (plain, fast):
            torch.nn.utils.parametrize.register_parametrization(module, name, Product())
        x = torch.randn(5, 2, 3)
        with torch.autocast("cpu", torch.bfloat16):
            assert getattr(fast, name).dtype is torch.bfloat16
            with kernels_run(1):
                got = fast(x)[0]
            assert torch.allclose(got, plain(x)[0], atol=0.02)


def test_a_compiled_model_under_autocast():
    lstm, head = rnnfast.torch.LSTM(3, 4), torch.nn.Linear(4, 2)

    def model(x):
        with torch.autocast("cpu", torch.bfloat16):
            return head(lstm(x)[0])

    x = torch.randn(5, 2, 3)
    torch._dynamo.reset()
    with kernels_run(2):
        got = torch.compile(model, backend="eager")(x)
        got.float().sum().backward()
    assert torch.equal(got, model(x))
    assert lstm.weight_hh_l0.grad.dtype is torch.float32
