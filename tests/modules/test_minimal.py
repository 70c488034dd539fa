"""MinGRU and MinLSTM: parameters, PyTorch's autograd of the equations, the paper's scan in log space."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal64
from helpers.tolerances import FORWARD, assert_close, error

import rnnfast as rf
from rnnfast import functional, reference

KINDS = {"mingru": rf.MinGRU, "minlstm": rf.MinLSTM}
CANDIDATES = ("identity", "positive", "tanh")
every_kind = pytest.mark.parametrize("kind", KINDS)
T, B, I, H = 7, 5, 3, 9


@every_kind
def test_parameters_have_the_documented_names_shapes_and_ranges(kind):
    G = {"mingru": 2, "minlstm": 3}[kind]
    layer = KINDS[kind](3, 50, num_layers=2, bidirectional=True, rng=0)
    weights = {name: weight.data for name, weight in layer.named_parameters()}
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    assert list(weights) == [name + suffix for suffix in suffixes for name in ("weight_ih", "bias_ih")]
    assert weights["weight_ih_l0"].shape == (50 * G, 3)
    assert weights["weight_ih_l1_reverse"].shape == (50 * G, 100)
    assert weights["bias_ih_l0"].shape == (50 * G,)
    for weight in weights.values():
        assert 0.9 * 50**-0.5 < np.abs(weight).max() <= 50**-0.5
    assert layer.multiplied() == ["weight_ih" + suffix for suffix in suffixes]
    assert not any("bias" in name for name, _ in KINDS[kind](3, 5, bias=False).named_parameters())


def torch_candidate(torch: Any, candidate: str, a: Any) -> Any:
    """The function on the candidate, in PyTorch."""
    if candidate == "positive":
        return torch.where(a >= 0, a + 0.5, torch.sigmoid(a))
    return torch.tanh(a) if candidate == "tanh" else a


def torch_step(torch: Any, candidate: str, a: Any, h: Any) -> Any:
    """The state after a step, from its pre-activations, as the paper has it."""
    if a.shape[-1] == 2 * H:
        z, n = a.split(H, -1)
        z = torch.sigmoid(z)
        return (1 - z) * h + z * torch_candidate(torch, candidate, n)
    f, i, n = a.split(H, -1)
    f, i = torch.sigmoid(f), torch.sigmoid(i)
    return f / (f + i) * h + i / (f + i) * torch_candidate(torch, candidate, n)


@every_kind
@pytest.mark.parametrize("candidate", CANDIDATES)
def test_equation_and_gradients_are_those_of_torch_autograd(kind, candidate):
    torch = pytest.importorskip("torch")
    x, state, dy, dh = normal64(T, B, I), normal64(1, B, H), normal64(T, B, H), normal64(1, B, H)
    layer = KINDS[kind](I, H, candidate=candidate, dtype="float64", rng=2)
    for weight in layer.parameters():
        weight.data *= 3
    y, final, tape = layer.forward(x, state)
    dx, dstate = layer.backward(tape, dy, dh)

    weights = {name: torch.tensor(w.data, requires_grad=True) for name, w in layer.named_parameters()}
    inputs, h0 = torch.tensor(x, requires_grad=True), torch.tensor(state[0], requires_grad=True)
    h, steps = h0, []
    for x_t in inputs:
        a = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        h = torch_step(torch, candidate, a, h)
        steps.append(h)
    (torch.sum(torch.stack(steps) * torch.tensor(dy)) + torch.sum(h * torch.tensor(dh[0]))).backward()
    want = {"y": torch.stack(steps).detach().numpy(), "h": h.detach().numpy()}
    assert_close({"y": y, "h": final[0]}, want, I)
    want = {"dx": inputs.grad.numpy(), "dh": h0.grad.numpy()[np.newaxis]}
    want |= {name: weight.grad.numpy() for name, weight in weights.items()}
    got = {"dx": dx, "dh": dstate, **{name: weight.grad for name, weight in layer.named_parameters()}}
    assert_close(got, want, I)


def log_sigmoid(a: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -a)


def scan_in_log_space(a: np.ndarray, h0: np.ndarray) -> np.ndarray:
    """h of every step by the paper's parallel scan, of pre-activations [T, B, G*H] and a positive h0."""
    *gates, n = np.split(a, a.shape[-1] // H, axis=-1)
    if len(gates) == 1:
        log_keep, log_take = log_sigmoid(-gates[0]), log_sigmoid(gates[0])
    else:
        difference = log_sigmoid(gates[0]) - log_sigmoid(gates[1])
        log_keep, log_take = log_sigmoid(difference), log_sigmoid(-difference)
    log_candidate = np.where(n >= 0, np.log(np.maximum(n, 0) + 0.5), log_sigmoid(n))
    log_kept = np.concatenate([np.zeros_like(log_keep[:1]), np.cumsum(log_keep, axis=0)])
    log_values = np.concatenate([np.log(h0)[np.newaxis], log_take + log_candidate])
    return np.exp(log_kept + np.logaddexp.accumulate(log_values - log_kept, axis=0))[1:]


@every_kind
def test_the_steps_give_the_numbers_of_the_scan_in_log_space(kind):
    layer = KINDS[kind](I, H, candidate="positive", dtype="float64", rng=3)
    x, h0 = 5 * normal64(50, B, I), np.exp(normal64(B, H))
    y, _ = layer(x, h0[np.newaxis])
    a = x @ layer.weight_ih_l0.data.T + layer.bias_ih_l0.data
    want = scan_in_log_space(a, h0)
    assert error(y, want) <= FORWARD["float64"]
    np.testing.assert_allclose(y, want, rtol=1e-11)  # small values too


def share(a_f: float, a_i: float) -> float:
    """f / (f + i) by logarithms, which do not underflow."""
    return float(np.exp(log_sigmoid(log_sigmoid(np.float64(a_f)) - log_sigmoid(np.float64(a_i)))))


GATES = [  # pre-activations of f and i
    (-1.0, 2.0),
    (-39.5, -41.0),
    (-60.0, -50.0),
    (-300.0, -303.0),
    (-1000.0, -1000.5),
    (-3000.0, -3000.0),
    (-1e30, -1e30),
    (-200.0, 10.0),
    (10.0, -200.0),
    (3e38, -3e38),
    (80.0, 90.0),
]


@pytest.mark.parametrize("module", [functional, reference])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gates", GATES, ids=str)
def test_shares_of_tiny_gates_are_accurate(module, dtype, gates):
    weight, bias = np.array([[0.0], [0.0], [1.0]], dtype), np.array([*gates, 0.0], dtype)
    zero, one = np.zeros((1, 1, 1), dtype), np.ones((1, 1), dtype)
    kept, *_ = module.minlstm_forward(zero, weight, bias, one)
    taken, *_ = module.minlstm_forward(zero + 1, weight, bias)
    tiny = np.finfo(dtype).tiny
    tolerance = {"rtol": {"float32": 2e-6, "float64": 1e-13}[dtype], "atol": tiny}
    np.testing.assert_allclose(kept.item(), share(*gates), **tolerance)
    np.testing.assert_allclose(taken.item(), share(*gates[::-1]), **tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_tiny_gates_are_those_of_gates_of_the_same_ratio(dtype):
    x, dy = normal64(T, B, I).astype(dtype), normal64(T, B, H).astype(dtype)
    layer = rf.MinLSTM(I, H, dtype=dtype, rng=5)
    results = []
    for shift in (-64, -1024):  # both gates are e^a, whose common factor cancels
        layer.bias_ih_l0.data[: 2 * H] = shift
        layer.zero_grad()
        y, _, tape = layer.forward(x, normal64(1, B, H))
        dx, dstate = layer.backward(tape, dy)
        results.append({"y": y.copy(), "dx": dx, "dh": dstate, "dw": layer.weight_ih_l0.grad.copy()})
    far, near = results[1], results[0]
    rounding = {"float32": 2e-4, "float64": 1e-12}[dtype]  # of the pre-activations themselves
    for name, array in near.items():
        assert np.isfinite(far[name]).all()
        assert error(far[name], array) <= rounding, name
    assert np.abs(near["dw"][: 2 * H]).min() > 0


@every_kind
def test_bad_arguments_are_named(kind):
    with pytest.raises(ValueError, match=r"^candidate: expected one of .*, got 'gelu'$"):
        KINDS[kind](3, 5, candidate="gelu")
    for module in (functional, reference):
        forward = getattr(module, f"{kind}_forward")
        with pytest.raises(ValueError, match=r"^candidate: expected one of .*, got 'relu'$"):
            forward(np.zeros((1, 1, 1)), np.zeros((6, 1)), candidate="relu")
        with pytest.raises(ValueError, match=r"^weight_ih: expected shape \[[23]\*H, .*\].*, got \(7, 1\)$"):
            forward(np.zeros((1, 1, 1)), np.zeros((7, 1)))
        with pytest.raises(ValueError, match=r"^weight_ih: expected shape .*, got \(6,\)$"):
            forward(np.zeros((1, 1, 1)), np.zeros(6))
    with pytest.raises(ValueError, match=r"^weight_ih: .*, got \(0, 1\)$"):
        getattr(functional, f"{kind}_forward")(np.zeros((1, 1, 1)), np.zeros((0, 1)))
