"""`rnnfast.torch`'s modules as torch modules: copies, what is left to torch, options, accelerate."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from typing import ClassVar

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from bridges.torch_models import (  # noqa: E402
    CELLS,
    KINDS,
    LAYERS,
    assert_same,
    everything,
    kernels_run,
    twins,
)
from memory import assert_row_order, unaligned, watch_alignment  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402
from rnnfast import _core  # noqa: E402
from rnnfast.torch import fallback  # noqa: E402


def an_input(kind: str, dtype=torch.float64, *, T: int = 4, B: int = 2, I: int = 3):
    return torch.randn(*(() if kind.endswith("Cell") else (T,)), B, I, dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_go_both_ways(kind):
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


def test_weights_that_move_are_followed():
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
        outputs = _tensors(each(form(x), (h, form(h)) if kind.startswith("LSTM") else h))
        torch.autograd.backward(outputs, [form(torch.ones_like(tensor)) for tensor in outputs])
        results.append([*outputs, *[parameter.grad for parameter in each.parameters()]])
    assert {"forward", "backward"} <= set(called)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with torch.no_grad():
        for parameter in other.parameters():  # a copy is made anew
            parameter.zero_()
        assert not any(tensor.any() for tensor in _tensors(other(x)))


@pytest.mark.parametrize("form", ["the same", "transposed", "negated"])
def test_weights_at_the_same_place_are_looked_at(form):
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
            outputs = _tensors(module(x))
            ones = [torch.ones_like(tensor) for tensor in outputs]
            grads = torch.autograd.grad(outputs, [x, *module.parameters()], ones)
            assert_row_order([tensor.detach().numpy() for tensor in (*outputs, *grads)])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_read_can_be_resized(kind):
    _, module = twins(kind, 3, 4)
    buffer = torch.empty(0, dtype=torch.float64)
    for B in (2, 5):
        x = torch.cat([an_input(kind, B=B)], out=buffer.resize_(0))
        everything(module, x)
    weight = module.weight_hh_l0 if kind in LAYERS else module.weight_hh
    kept, size = weight.detach().clone(), weight.untyped_storage().nbytes()
    want = everything(module, x)
    loss = sum(part.sum() for part in _tensors(module(x)))
    weight.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="moved in memory"):
        loss.backward()
    weight.untyped_storage().resize_(size)
    with torch.no_grad():
        weight.copy_(kept)
    assert_same(everything(module, x), want, 0.0)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("RNN", "nonlinearity", "relu"),
        ("RNNCell", "nonlinearity", "sigmoid"),
        ("LSTM", "cell_clip", 0.01),
        ("LSTMCell", "cell_clip", 0.01),
        ("GRU", "reset_after", False),
        ("GRUCell", "reset_after", False),
    ],
)
def test_options_may_change_between_calls(kind, option, value):
    module = getattr(rnnfast.torch, kind)(3, 4)
    x = an_input(kind, torch.float32)
    before = _tensors(module(x))[0]
    first = getattr(module, option)
    setattr(module, option, value)
    want = _tensors(copy.deepcopy(module)(x))[0]
    assert torch.equal(_tensors(module(x))[0], want)
    assert not torch.equal(want, before)
    setattr(module, option, first)
    assert torch.equal(_tensors(module(x))[0], before)


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


# What is left to torch


def in_bfloat16(module, x):
    module.bfloat16()(x.bfloat16())


def on_meta(module, x):
    module.to("meta")(x.to("meta"))


def in_vmap(module, x):
    torch.func.vmap(lambda x: module(x))(torch.stack([x, x]))


def in_func_grad(module, x):
    torch.func.grad(lambda x: sum(t.sum() for t in _tensors(module(x))))(x)


def in_forward_mode(module, x):
    with torch.autograd.forward_ad.dual_level():
        module(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))


def as_a_subclass(module, x):
    class Own(torch.Tensor):
        pass

    module(x.as_subclass(Own))


def in_a_dispatch_mode(module, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() > 0


def _tensors(value):
    return [value] if isinstance(value, torch.Tensor) else [t for part in value for t in _tensors(part)]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (in_bfloat16, "bfloat16"),
        (on_meta, "meta"),
        (in_vmap, "torch.func"),
        (in_func_grad, "torch.func"),
        (in_forward_mode, "forward-mode"),
        (as_a_subclass, "a Own"),
        (in_a_dispatch_mode, "dispatch mode"),
    ],
)
@pytest.mark.parametrize("kind", ["GRU", "GRUCell"])
def test_torchs_own_code_runs_with_one_warning(kind, way, reason, monkeypatch):
    if (kind, way) == ("GRU", in_vmap):
        pytest.skip("torch.nn.GRU has no batching rule")
    _, module = twins(kind, 3, 4)
    x = an_input(kind)
    module(x)
    before = _core.runs_so_far()
    monkeypatch.setattr(fallback, "_said", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", rnnfast.torch.FallbackWarning)
        for _ in range(3):
            way(module, x)
    assert _core.runs_so_far() == before
    (warning,) = caught
    assert reason in str(warning.message)
    assert "rnnfast.torch.restore(model)" in str(warning.message)  # the remedy


def test_options_that_torch_lacks_are_not_left_to_it():
    lstm = rnnfast.torch.LSTM(3, 4, peephole=True).bfloat16()
    with pytest.raises(TypeError, match="peephole: expected plain tensors of float32 or float64"):
        lstm(torch.ones(5, 2, 3).bfloat16())
    gru = rnnfast.torch.GRU(3, 4).bfloat16()
    with pytest.raises(TypeError, match="reset: expected plain tensors"):
        gru(torch.ones(5, 2, 3).bfloat16(), reset=torch.zeros(5, 2, dtype=torch.bool))
    rnn = rnnfast.torch.RNN(3, 4)
    rnn.nonlinearity = "sine"
    with pytest.raises(TypeError, match="nonlinearity: expected plain tensors"):
        rnn.bfloat16()(torch.ones(5, 2, 3).bfloat16())
    gru = rnnfast.torch.GRU(3, 4, reset_after=False)
    for x, hx in (
        (torch.ones(5, 2, 2), None),
        (torch.ones(3), None),
        (torch.ones(5, 2, 3).double(), None),
        (torch.ones(5, 2, 3), torch.ones(1, 3, 4)),
    ):
        with pytest.raises(ValueError, match="expected"):
            gru(x, hx)
    with pytest.raises(TypeError, match="hx: expected a pair"):
        rnnfast.torch.LSTM(3, 4)(torch.ones(5, 2, 3), torch.ones(1, 2, 4))


# Options


OPTIONS = [
    ("RNN", {"nonlinearity": "sigmoid"}),
    ("RNN", {"nonlinearity": "identity"}),
    ("LSTM", {"peephole": True}),
    ("LSTM", {"coupled_gates": True}),
    ("LSTM", {"cell_clip": 0.2}),
    ("LSTM", {"forget_bias": 2.0}),
    ("LSTM", {"peephole": True, "coupled_gates": True, "cell_clip": 0.3}),
    ("GRU", {"reset_after": False}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_options_are_rnnfasts(kind, options):
    stack = {"num_layers": 2, "bidirectional": True, "bias": "forget_bias" in options}
    module = getattr(rnnfast.torch, kind)(3, 5, **stack, **options, dtype=torch.float64)
    layer = getattr(rnnfast, kind)(3, 5, **stack, **options, dtype="float64")
    assert [name for name, _ in module.named_parameters()] == [name for name, _ in layer.named_parameters()]
    layer.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    x = an_input(kind).requires_grad_()
    y, _ = module(x)
    want, _, tape = layer.forward(x.detach().numpy())
    assert np.array_equal(y.detach().numpy(), want)
    y.sum().backward()
    dx, _ = layer.backward(tape, np.ones_like(want))
    assert np.array_equal(x.grad.numpy(), dx)
    for name, parameter in module.named_parameters():
        assert np.array_equal(parameter.grad.numpy(), getattr(layer, name).grad), name
    assert all(f"{name}={value!r}" in repr(module) for name, value in options.items())
    again = getattr(rnnfast.torch, kind)(3, 5, **stack, **options, dtype=torch.float64)
    again.load_state_dict(module.state_dict())
    assert torch.equal(copy.deepcopy(again.double())(x)[0], y)
    if "forget_bias" in options:
        assert (module.bias_ih_l1_reverse[5:10] == 2).all()
        assert (module.bias_hh_l1_reverse[5:10] == 0).all()


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_a_cell_with_options_is_a_step_of_the_layer(kind, options):
    module = getattr(rnnfast.torch, kind)(3, 5, **options)
    cell = getattr(rnnfast.torch, kind + "Cell")(3, 5, **options)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in module.state_dict().items()})
    x = an_input(kind, torch.float32)
    state = None
    for step in x:
        state = cell(step, state)
    h = state[0] if kind == "LSTM" else state
    assert torch.equal(h, module(x)[0][-1])
    h.sum().backward()
    assert all(parameter.grad is not None for parameter in cell.parameters())


def test_wrong_options_are_refused_by_name():
    with pytest.raises(ValueError, match="cell_clip"):
        rnnfast.torch.LSTM(3, 4, cell_clip=-1.0)
    with pytest.raises(ValueError, match="forget_bias"):
        rnnfast.torch.LSTMCell(3, 4, bias=False, forget_bias=1.0)
    with pytest.raises(ValueError, match="nonlinearity"):
        rnnfast.torch.RNN(3, 4, nonlinearity="sine")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_lengths_are_what_packing_gives(kind, batch_first):
    _, module = twins(kind, 3, 4, bidirectional=True, batch_first=batch_first)
    x = an_input(kind, T=5, B=3).requires_grad_()
    x = x.transpose(0, 1) if batch_first else x
    lengths = torch.tensor([2, 5, 3])
    packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
    want, _ = pad_packed_sequence(module(packed)[0], batch_first=batch_first)
    got, _ = module(x, lengths=lengths)
    assert torch.equal(got, want)
    with pytest.raises(ValueError, match="lengths"):
        module(packed, lengths=lengths)
    with pytest.raises(ValueError, match="lengths"):
        module(x, lengths=torch.tensor([2, 6, 3]))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_reset_cuts_episodes(kind, batch_first):
    _, module = twins(kind, 3, 4, batch_first=batch_first)
    x = (
        torch.randn(2, 6, 3, dtype=torch.float64)
        if batch_first
        else torch.randn(6, 2, 3, dtype=torch.float64)
    )
    x.requires_grad_()
    reset = torch.zeros(x.shape[:2], dtype=torch.bool)
    part = (1, slice(3, None)) if batch_first else (slice(3, None), 1)
    reset[(1, 3) if batch_first else (3, 1)] = True
    with kernels_run(2):
        y, _ = module(x, reset=reset)
        y[part].sum().backward()
    alone, _ = module(x[part].detach())
    assert torch.equal(y[part], alone)
    assert (x.grad[1, :3] if batch_first else x.grad[:3, 1]).eq(0).all()
    lengths = [6, 6]
    packed = [pack_padded_sequence(t, lengths, batch_first=batch_first) for t in (x, reset)]
    got, _ = pad_packed_sequence(module(packed[0], reset=packed[1])[0], batch_first=batch_first)
    assert torch.equal(got, y)
    with pytest.raises(ValueError, match="reset"):
        module(packed[0], reset=reset)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", LAYERS)
def test_what_lies_behind_a_reset_reaches_no_gradient(kind, value):
    _, module = twins(kind, 3, 4, num_layers=2)
    x, reset = torch.randn(6, 2, 3, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.bool)
    reset[3] = True
    found = []
    for x[:3, 1] in (1.0, value):
        module.zero_grad()
        module(x, reset=reset)[0][3:].sum().backward()
        found.append([p.grad.clone() for p in module.parameters()])
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("kind", CELLS)
def test_reset_of_a_cell(kind):
    _, cell = twins(kind, 3, 4)
    x, state = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    state = (state, state) if kind == "LSTMCell" else state
    got = _tensors(cell(x, state, reset=torch.tensor([False, True, False])))[0]
    kept, fresh = _tensors(cell(x, state))[0], _tensors(cell(x))[0]
    assert torch.equal(got, torch.stack([kept[0], fresh[1], kept[2]]))
    one = _tensors(cell(x[0], None, reset=torch.tensor(True)))[0]
    assert torch.equal(one, fresh[0])
    with pytest.raises(ValueError, match=r"reset: expected shape \[3\], got \(2,\)"):
        cell(x, reset=[True, False])
    with pytest.raises(TypeError, match="reset: expected dtype bool"):
        cell(x, reset=torch.ones(3))
    with torch.device("meta"):
        assert torch.equal(_tensors(cell(x, state, reset=[False, True, False]))[0], got)


def test_checkpoint_gives_the_same_gradients():
    _, module = twins("LSTM", 3, 4, num_layers=2)
    x = an_input("LSTM", T=40).requires_grad_()
    want = everything(module, x)
    with kernels_run(2 * (4 + 2 * 4)):
        got = everything(module, x, checkpoint=10)
    assert_same(got, want, 1e-12)
    with pytest.raises(ValueError, match="checkpoint"):
        module(x, checkpoint=0)


# accelerate


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 3)
        self.stack = torch.nn.ModuleList([torch.nn.LSTM(3, 4, batch_first=True), torch.nn.GRU(4, 4)])
        self.cell = torch.nn.GRUCell(4, 4)
        self.tied = self.stack[1]
        self.own = Own(4, 4)

    def forward(self, tokens):
        y = self.embedding(tokens)
        for layer in self.stack:
            y, _ = layer(y)
        return self.own(self.tied(y)[0])[0].sum(0) + self.cell(y[0])


class Own(torch.nn.RNN):
    """A user's subclass."""


def test_accelerate_and_restore():
    torch.manual_seed(0)
    plain, model = Model(), Model()
    model.load_state_dict(plain.state_dict())
    calls = []
    model.stack[0].register_forward_hook(lambda *_: calls.append(1))
    model.stack[1].eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    modules = list(model.modules())
    report = rnnfast.torch.accelerate(model)
    assert report == (["stack.0", "stack.1", "cell"], {"own": "a subclass: Own"})
    assert [a is b for a, b in zip(model.modules(), modules, strict=True)] == [True] * len(modules)
    assert model.tied is model.stack[1]
    assert not model.stack[1].training
    tokens = torch.randint(0, 7, (5, 6))
    for _ in range(3):
        for each, steps in ((plain, torch.optim.SGD(plain.parameters(), lr=0.1)), (model, optimizer)):
            loss = each(tokens).square().mean()
            steps.zero_grad()
            loss.backward()
            steps.step()
    assert_same(model.state_dict(), plain.state_dict(), 1e-5)
    assert calls == [1, 1, 1]
    with kernels_run(4):
        model(tokens)
    assert rnnfast.torch.accelerate(model) == ([], {"own": "a subclass: Own"})
    assert rnnfast.torch.restore(model) == (["stack.0", "stack.1", "cell"], {})
    before = _core.runs_so_far()
    assert torch.allclose(model(tokens), plain(tokens), atol=1e-5)
    assert _core.runs_so_far() == before
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert [sorted(vars(m)) for m in model.modules()] == [sorted(vars(m)) for m in plain.modules()]


def test_accelerate_leaves_an_attribute_of_an_options_name_alone():
    lstm = torch.nn.LSTM(3, 4)
    lstm.cell_clip = 0.001  # its owner's, who means something else
    assert list(rnnfast.torch.accelerate(lstm).left) == [""]
    assert "cell_clip" in rnnfast.torch.accelerate(lstm).left[""]
    assert type(lstm) is torch.nn.LSTM

    class Own(rnnfast.torch.LSTM):
        parts = ("a", "b", "c")
        own: ClassVar = {"more": 1}

    x = torch.randn(5, 2, 3)
    assert Own(3, 4)(x)[0].shape == (5, 2, 4)


def test_accelerate_leaves_what_is_not_torchs_alone():
    gru, lstm = torch.nn.GRU(3, 4), torch.nn.LSTM(3, 4)
    gru.forward = gru.forward
    model = torch.nn.ModuleDict({"patched": gru, "fast": rnnfast.torch.GRU(3, 4), "lstm": lstm})
    assert rnnfast.torch.accelerate(model) == (["lstm"], {"patched": "it has a forward of its own"})
    model["peephole"] = rnnfast.torch.LSTM(3, 4, peephole=True)
    assert rnnfast.torch.restore(model) == (["fast", "lstm"], {"peephole": "torch.nn has no peephole"})
    alone = torch.nn.GRU(3, 4)
    assert rnnfast.torch.accelerate(alone).swapped == [""]
    assert type(alone) is rnnfast.torch.GRU
    with pytest.raises(TypeError, match="model"):
        rnnfast.torch.accelerate(dict(model))
