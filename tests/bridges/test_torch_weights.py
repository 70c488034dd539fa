"""Weights of `rnnfast.torch`'s modules: state dicts, copies, changes in place, their place in memory."""

from __future__ import annotations

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch")
from bridges.torch_models import (  # noqa: E402
    CELLS,
    KINDS,
    LAYERS,
    an_input,
    assert_same,
    everything,
    kernels_run,
    tensors_in,
    twins,
)
from helpers.memory import assert_row_order, unaligned, watch_alignment  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_load_in_both_directions(kind):
    plain, fast = twins(kind, 3, 4)
    assert list(fast.state_dict()) == list(plain.state_dict())
    other = getattr(rnnfast.torch, kind)(3, 4, dtype=torch.float64)
    plain.load_state_dict(other.state_dict())
    fast(an_input(kind))  # a layer that reads what was there before
    fast.load_state_dict(other.state_dict())
    x = an_input(kind)
    assert_same(everything(fast, x), everything(plain, x), 1e-12)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_have_weights_of_their_own(kind, used):
    _, module = twins(kind, 3, 4)
    x = an_input(kind)
    if used:
        module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = [
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ]
    want = everything(module, x)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for each in copies:
        assert type(each) is type(module)
        with kernels_run():
            assert_same(everything(each, x), want, 0.0)
    shallow = copy.copy(module)
    assert (
        shallow.weight_hh_l0 is module.weight_hh_l0
        if kind in LAYERS
        else shallow.weight_hh is module.weight_hh
    )


def test_replaced_weights_are_read():
    plain, fast = twins("GRU", 3, 4)
    x = an_input("GRU")
    for change in (
        lambda module: module.float(),
        lambda module: module.double(),
        lambda module: module.share_memory(),
        lambda module: setattr(module.weight_hh_l0, "data", torch.full((12, 4), 0.1, dtype=torch.float64)),
        lambda module: setattr(module.weight_hh_l0, "data", torch.arange(48.0).double().view(4, 12).T / 48),
        lambda module: setattr(module, "bias_hh_l0", torch.nn.Parameter(torch.ones(12, dtype=torch.float64))),
    ):
        change(plain)
        change(fast)
        z = x.to(fast.weight_ih_l0.dtype)
        with kernels_run():
            assert_same(
                everything(fast, z), everything(plain, z), 1e-5 if z.dtype is torch.float32 else 1e-12
            )
        with torch.no_grad():
            plain.weight_hh_l0.mul_(0.5)
            fast.weight_hh_l0.mul_(0.5)
        assert_same(everything(fast, z), everything(plain, z), 1e-5 if z.dtype is torch.float32 else 1e-12)


def at_the_same_place(weight: torch.Tensor, form: str) -> torch.Tensor:
    """A tensor in the memory of `weight` that holds the same numbers or, by its form, for other ones."""
    return {
        "the same": lambda: weight,
        "transposed": lambda: weight.view(weight.shape[1], weight.shape[0]).T,
        "negated": lambda: torch._neg_view(weight),
    }[form]()


def unaligned_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, one byte beyond an aligned address."""
    array = unaligned(tensor.detach().numpy())
    copy = torch.frombuffer(array.base, dtype=tensor.dtype, offset=1).view(tensor.shape)
    assert copy.data_ptr() % copy.element_size()
    return copy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_get_aligned_memory(kind, dtype, monkeypatch):
    _, module = twins(kind, 3, 4, dtype=dtype)
    other = copy.deepcopy(module)
    state = {name: unaligned_tensor(weight) for name, weight in module.state_dict().items()}
    x, hx = an_input(kind, dtype), torch.randn(*(() if kind in CELLS else (1,)), 2, 4, dtype=dtype)
    called = watch_alignment(monkeypatch)
    other.load_state_dict(state, assign=True)
    results = []
    for each, form in ((module, torch.clone), (other, unaligned_tensor)):
        h = form(hx)
        outputs = tensors_in(each(form(x), (h, form(h)) if kind.startswith("LSTM") else h))
        torch.autograd.backward(outputs, [form(torch.ones_like(tensor)) for tensor in outputs])
        results.append([*outputs, *[parameter.grad for parameter in each.parameters()]])
    assert {"forward", "backward"} <= set(called)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with torch.no_grad():
        for parameter in other.parameters():  # a copy is made anew
            parameter.zero_()
        assert not any(tensor.any() for tensor in tensors_in(other(x)))


@pytest.mark.parametrize("form", ["the same", "transposed", "negated"])
def test_replaced_weights_at_the_same_address_are_read(form):
    plain, fast = twins("GRU", 3, 4)
    x = an_input("GRU")
    fast(x)
    for module in (plain, fast):
        module.weight_hh_l0.data = at_the_same_place(module.weight_hh_l0.data, form)
    for _ in range(2):  # the second call after a write, which a copy would not show
        with kernels_run(3):
            assert_same(everything(fast, x), everything(plain, x), 1e-12)
            assert torch.allclose(fast(x)[0], plain(x)[0], atol=1e-12)
        with torch.no_grad():
            plain.weight_hh_l0.mul_(0.5)
            fast.weight_hh_l0.mul_(0.5)


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_weights_that_do_not_fit_are_refused_by_name(kind):
    _, fast = twins(kind, 3, 4)
    x = an_input(kind)
    fast(x)
    name = "weight_hh_l0" if kind == "LSTM" else "weight_hh"
    weight = getattr(fast, name)
    for data in (weight.data.float(), weight.data[:8], weight.data[:, :3], weight.data.view(4, 16)):
        setattr(fast, name, torch.nn.Parameter(data))
        for _ in range(2):
            with pytest.raises(ValueError, match=f"{name}: expected torch.float64 and shape"):
                fast(x)
    setattr(fast, name, weight)
    fast(x)
    fast.peephole = True
    with pytest.raises((ValueError, AttributeError), match=r"expected 7 parameters|weight_ci"):
        fast(x)


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_handed_out_in_row_order(kind):
    stacks = [{}] if kind in CELLS else [{}, {"batch_first": True}, {"num_layers": 2, "bidirectional": True}]
    for stack in stacks:
        module = getattr(rnnfast.torch, kind)(3, 4, **stack)
        for shape in [(3,), (2, 3)] if kind in CELLS else [(5, 3), (5, 2, 3)]:
            x = torch.randn(shape, requires_grad=True)
            outputs = tensors_in(module(x))
            ones = [torch.ones_like(tensor) for tensor in outputs]
            grads = torch.autograd.grad(outputs, [x, *module.parameters()], ones)
            assert_row_order([tensor.detach().numpy() for tensor in (*outputs, *grads)])


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_that_a_module_has_read_can_be_resized(kind):
    _, module = twins(kind, 3, 4)
    buffer = torch.empty(0, dtype=torch.float64)
    for B in (2, 5):
        x = torch.cat([an_input(kind, B=B)], out=buffer.resize_(0))
        everything(module, x)
    weight = module.weight_hh_l0 if kind in LAYERS else module.weight_hh
    kept, size = weight.detach().clone(), weight.untyped_storage().nbytes()
    want = everything(module, x)
    loss = sum(part.sum() for part in tensors_in(module(x)))
    weight.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="moved in memory"):
        loss.backward()
    weight.untyped_storage().resize_(size)
    with torch.no_grad():
        weight.copy_(kept)
    assert_same(everything(module, x), want, 0.0)


def test_parametrizations_and_functional_call():
    plain, fast = twins("LSTM", 3, 4)
    x = an_input("LSTM")
    others = {name: torch.randn_like(p, requires_grad=True) for name, p in fast.named_parameters()}
    want = torch.func.functional_call(plain, others, (x,))[0]
    with kernels_run(1):
        got = torch.func.functional_call(fast, others, (x,))[0]
    assert torch.allclose(got, want, atol=1e-12)
    for module in (plain, fast):
        torch.manual_seed(0)
        torch.nn.utils.parametrizations.spectral_norm(module, "weight_hh_l0")
    with kernels_run(2):
        got = everything(fast.eval(), x)
    assert_same(got, everything(plain.eval(), x), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_constructors_are_torchs(kind):
    plain = getattr(torch.nn, kind)
    fast = getattr(rnnfast.torch, kind)
    assert issubclass(fast, plain)
    arguments = {
        "RNN": (3, 4, 2, "relu", False, True, 0.1, True),
        "LSTM": (3, 4, 2, False, True, 0.1, True, 2),
        "GRU": (3, 4, 2, False, True, 0.1, True),
        "RNNCell": (3, 4, False, "relu"),
        "LSTMCell": (3, 4, False),
        "GRUCell": (3, 4, False),
    }[kind]
    assert repr(fast(*arguments)) == repr(plain(*arguments))
    assert fast(3, 4, device="meta").weight_ih_l0.is_meta if kind in LAYERS else fast(3, 4, device="meta")
    if kind in LAYERS:
        module = fast(*arguments)
        module.flatten_parameters()
        assert [len(weights) for weights in module.all_weights] == [3 if kind == "LSTM" else 2] * 4
