"""`rnnfast.torch` under autocast: float32 kernels run, and results have the dtypes that torch.nn gives."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from bridges.torch_models import CELLS, KINDS, LAYERS, kernels_run, tensors_in, twins  # noqa: E402
from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch  # noqa: E402

LOWER = (torch.bfloat16, torch.float16)
DTYPES = (torch.float32, *LOWER)
pytestmark = pytest.mark.filterwarnings("error::rnnfast.torch.FallbackWarning")


def given(kind, form, x_dtype, state_dtype, passes=1, width=4):
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
    for stack, form, x_dtype, state_dtype in itertools.product(stacks, forms, DTYPES, (None, *DTYPES)):
        plain, fast = twins(kind, 3, 4, dtype=torch.float32, **stack)
        passes = 4 if "num_layers" in stack else 1
        x, hx = given(kind, form, x_dtype, state_dtype, passes, stack.get("proj_size", 4))
        with torch.set_grad_enabled(grad), torch.autocast("cpu", lower):
            with kernels_run(passes):
                got = dtypes_of(fast(x, hx))
            try:
                want = dtypes_of(plain(x, hx))
            except RuntimeError:  # torch itself cannot: where two lower dtypes meet, or oneDNN lacks float16
                assert got == [lower] * len(got)
                continue
        assert got == want, (stack, form, x_dtype, state_dtype)
        compared += 1
    assert compared >= 40


@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_float32_rounded_once(kind, lower):
    _, module = twins(kind, 3, 4, dtype=torch.float32)
    x, hx = given(kind, "batched", lower, lower)
    single = tuple(part.float() for part in hx) if isinstance(hx, tuple) else hx.float()
    x.requires_grad_()
    wide = x.detach().float().requires_grad_()
    with torch.autocast("cpu", lower), kernels_run(1):
        got = tensors_in(module(x, hx))
    want = tensors_in(module(wide, single))
    assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(got, want, strict=True))
    sum(tensor.float().sum() for tensor in got).backward()
    grads = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    sum(tensor.sum() for tensor in want).backward()
    assert torch.equal(x.grad, wide.grad.to(lower))
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, module.parameters(), strict=True))


@pytest.mark.parametrize("kind", LAYERS)
def test_training_comes_as_near_to_float32_as_torchs(kind):
    plain, fast = twins(kind, 3, 4, dtype=torch.float32)
    x = torch.randn(6, 2, 3)
    want = plain(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        theirs, ours = plain(x)[0].float(), fast(x)[0].float()
    assert (ours - want).abs().max() <= (theirs - want).abs().max() + 1e-6


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_options_and_keywords_are_kept(kind):
    options = {"cell_clip": 0.1} if kind == "LSTM" else {"reset_after": False}
    module = getattr(rnnfast.torch, kind)(3, 4, **options)
    x, reset = torch.randn(5, 2, 3), torch.rand(5, 2) < 0.5
    how = {"reset": reset, "lengths": torch.tensor([5, 2])}
    with torch.autocast("cpu", torch.bfloat16):
        got = module(x, **how, checkpoint=2)[0]
        packed = module(pack_sequence([x[:, 0], x[:2, 1]]))[0].data
    assert torch.equal(got, module(x, **how)[0].to(got.dtype))
    assert torch.equal(packed, module(pack_sequence([x[:, 0], x[:2, 1]]))[0].data.to(packed.dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_float64_is_left_as_it_is(kind):
    plain, fast = twins(kind, 3, 4)
    x, _ = given(kind, "batched", torch.float64, None)
    with torch.autocast("cpu", torch.bfloat16):
        with kernels_run(1):
            got = fast(x)
        assert dtypes_of(got) == dtypes_of(plain(x))
        for each in (plain, fast):
            with pytest.raises(RuntimeError, match="dtype"):
                each(x.float())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_lower_precision_are_left_to_torch(kind, monkeypatch):
    monkeypatch.setattr(rnnfast.torch.fallback, "_said", set())
    plain, fast = twins(kind, 3, 4, dtype=torch.bfloat16)
    x, _ = given(kind, "batched", torch.float32, None)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.warns(
            rnnfast.torch.FallbackWarning, match=r"torch\.bfloat16: keep module and input in float32"
        ):
            got = fast(x)
        assert all(torch.equal(a, b) for a, b in zip(tensors_in(got), tensors_in(plain(x)), strict=True))


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
