"""Options of `rnnfast.torch` that torch.nn lacks, `lengths`, `reset` and `checkpoint`."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
import numpy as np  # noqa: E402
from bridges.torch_models import (  # noqa: E402
    CELLS,
    LAYERS,
    an_input,
    assert_same,
    everything,
    kernels_run,
    tensors_in,
    twins,
)
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import rnnfast  # noqa: E402
import rnnfast.torch  # noqa: E402


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
    before = tensors_in(module(x))[0]
    first = getattr(module, option)
    setattr(module, option, value)
    want = tensors_in(copy.deepcopy(module)(x))[0]
    assert torch.equal(tensors_in(module(x))[0], want)
    assert not torch.equal(want, before)
    setattr(module, option, first)
    assert torch.equal(tensors_in(module(x))[0], before)


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
def test_lengths_have_the_bits_of_packed_sequences(kind, batch_first):
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
def test_a_reset_starts_from_a_zero_state(kind, batch_first):
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
def test_steps_before_a_reset_reach_no_gradient_of_later_steps(kind, value):
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
    got = tensors_in(cell(x, state, reset=torch.tensor([False, True, False])))[0]
    kept, fresh = tensors_in(cell(x, state))[0], tensors_in(cell(x))[0]
    assert torch.equal(got, torch.stack([kept[0], fresh[1], kept[2]]))
    one = tensors_in(cell(x[0], None, reset=torch.tensor(True)))[0]
    assert torch.equal(one, fresh[0])
    with pytest.raises(ValueError, match=r"reset: expected shape \[3\], got \(2,\)"):
        cell(x, reset=[True, False])
    with pytest.raises(TypeError, match="reset: expected dtype bool"):
        cell(x, reset=torch.ones(3))
    with torch.device("meta"):
        assert torch.equal(tensors_in(cell(x, state, reset=[False, True, False]))[0], got)


def test_checkpoint_gives_the_same_gradients():
    _, module = twins("LSTM", 3, 4, num_layers=2)
    x = an_input("LSTM", T=40).requires_grad_()
    want = everything(module, x)
    with kernels_run(2 * (4 + 2 * 4)):
        got = everything(module, x, checkpoint=10)
    assert_same(got, want, 1e-12)
    with pytest.raises(ValueError, match="checkpoint"):
        module(x, checkpoint=0)
