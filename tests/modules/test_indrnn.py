"""IndRNN: its parameters, and its equation and gradients against PyTorch's autograd."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.tolerances import assert_close

import rnnfast as rf


def test_parameters_have_the_documented_names_shapes_and_ranges():
    layer = rf.IndRNN(3, 50, num_layers=2, bidirectional=True, rng=0)
    first = {"weight_ih_l0": (50, 3), "weight_hh_l0": (50,), "bias_ih_l0": (50,)}
    shapes = {name: weight.data.shape for name, weight in layer.named_parameters()}
    assert list(shapes)[:3] == list(first)
    assert {name: shapes[name] for name in first} == first
    assert shapes["weight_ih_l1_reverse"] == (50, 100)
    weights = {name: weight.data for name, weight in layer.named_parameters()}
    for name, weight in weights.items():
        if "hh" in name:
            assert weight.min() >= 0
            assert 0.9 < weight.max() < 1
        else:
            assert np.abs(weight).max() <= 50**-0.5
    assert not any("bias" in name for name, _ in rf.IndRNN(3, 5, bias=False).named_parameters())


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh", "sigmoid"])
def test_equation_and_gradients_are_those_of_torch_autograd(nonlinearity):
    torch = pytest.importorskip("torch")
    f = getattr(torch, nonlinearity)
    rng = np.random.default_rng(1)
    x, state, dy = (rng.normal(size=size) for size in ((7, 5, 3), (1, 5, 9), (7, 5, 9)))
    dh = rng.normal(size=(1, 5, 9))
    layer = rf.IndRNN(3, 9, nonlinearity=nonlinearity, dtype="float64", rng=2)
    y, final, tape = layer.forward(x, state)
    dx, dstate = layer.backward(tape, dy, dh)

    weights = {name: torch.tensor(w.data, requires_grad=True) for name, w in layer.named_parameters()}
    inputs, h0 = torch.tensor(x, requires_grad=True), torch.tensor(state[0], requires_grad=True)
    h, steps = h0, []
    for x_t in inputs:
        product = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        h = f(product + weights["weight_hh_l0"] * h)
        steps.append(h)
    (torch.sum(torch.stack(steps) * torch.tensor(dy)) + torch.sum(h * torch.tensor(dh[0]))).backward()
    want = {"y": torch.stack(steps).detach().numpy(), "h": h.detach().numpy()}
    assert_close({"y": y, "h": final[0]}, want, 12)
    want = {"dx": inputs.grad.numpy(), "dh": h0.grad.numpy()[np.newaxis]}
    want |= {name: weight.grad.numpy() for name, weight in weights.items()}
    got = {"dx": dx, "dh": dstate, **{name: weight.grad for name, weight in layer.named_parameters()}}
    assert_close(got, want, 12)


def test_a_bad_nonlinearity_is_named():
    with pytest.raises(ValueError, match=r"^nonlinearity: expected one of .*, got 'gelu'$"):
        rf.IndRNN(3, 5, nonlinearity="gelu")
