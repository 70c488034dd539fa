"""The further gates of LSTM and GRU as layers: gradients, names, shapes, copies, refusals."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal, normal64, parts
from helpers.differences import assert_gradients
from helpers.models import state_for

import rnnfast as rf

GATES = {
    "peephole": (rf.LSTM, {"peephole": True}),
    "coupled": (rf.LSTM, {"coupled_gates": True}),
    "clip": (rf.LSTM, {"cell_clip": 0.3}),
    "projection": (rf.LSTM, {"proj_size": 2}),
    "all": (rf.LSTM, {"peephole": True, "coupled_gates": True, "cell_clip": 0.3, "proj_size": 2}),
    "reset before": (rf.GRU, {"reset_after": False}),
}
every_gate = pytest.mark.parametrize("gate", GATES)
STACKS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 0.4, "bidirectional": True, "batch_first": True, "bias": False},
]
every_stack = pytest.mark.parametrize("stack", STACKS, ids=["plain", "both directions", "batch first"])


def gated_layer(gate: str, *sizes: int, **options: Any) -> Any:
    """A layer with one of GATES."""
    layer_class, own = GATES[gate]
    return layer_class(*sizes, rng=7, **own, **options)


@every_gate
@every_stack
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "lengths and resets"])
def test_gradients_agree_with_finite_differences(gate: str, stack: dict[str, Any], ragged: bool) -> None:
    layer = gated_layer(gate, 3, 4, dtype="float64", **stack)
    x = normal64(5, 3, 3)
    reset = normal64(5, 3, seed=3) > 0.8
    if layer.batch_first:
        x, reset = x.swapaxes(0, 1).copy(), reset.T
    keywords = {"lengths": [5, 0, 3], "reset": reset} if ragged else {}
    assert_gradients(layer, x, state_for(layer, 3), rng=11, **keywords)


@every_gate
@every_stack
def test_evaluation_has_the_bits_of_training(gate: str, stack: dict[str, Any]) -> None:
    layer = gated_layer(gate, 5, 18, **{**stack, "dropout": 0.0})
    x, state = normal(4, 3, 5), state_for(layer, 4 if layer.batch_first else 3)
    y, final, states = layer(x, state, return_states=True)
    plain, plain_final = layer(x, state)
    trained, trained_final, _ = layer.forward(x, state)
    for got in (plain, trained):
        np.testing.assert_array_equal(got, y)
    for other in (plain_final, trained_final):
        assert_equal(other, final)
    for every, last in zip(parts(states), parts(final), strict=True):
        end = every[0][:, -1] if layer.batch_first else every[0][-1]
        np.testing.assert_array_equal(end, last[0])


def test_names_and_shapes() -> None:
    H, P, I = 6, 4, 3
    layer = rf.LSTM(I, H, 2, True, False, 0.0, True, P, peephole=True)
    want: dict[str, tuple[int, ...]] = {}
    for suffix, columns in (("_l0", I), ("_l0_reverse", I), ("_l1", 2 * P), ("_l1_reverse", 2 * P)):
        own: dict[str, tuple[int, ...]] = {"weight_ih": (4 * H, columns), "weight_hh": (4 * H, P)}
        own |= {"bias_ih": (4 * H,), "bias_hh": (4 * H,), "weight_hr": (P, H)}
        own |= dict.fromkeys(("weight_ci", "weight_cf", "weight_co"), (H,))
        want |= {name + suffix: shape for name, shape in own.items()}
    assert {name: parameter.shape for name, parameter in layer.named_parameters()} == want
    assert [name for name, _ in layer.named_parameters()] == list(want)
    y, (h, c) = layer(np.ones((5, 2, I), np.float32))
    assert (y.shape, h.shape, c.shape) == ((5, 2, 2 * P), (4, 2, P), (4, 2, H))
    coupled = rf.LSTM(I, H, bias=False, coupled_gates=True, peephole=True)
    shapes = {name: parameter.shape for name, parameter in coupled.named_parameters()}
    assert shapes == {
        "weight_ih_l0": (3 * H, I),
        "weight_hh_l0": (3 * H, H),
        "weight_ci_l0": (H,),
        "weight_co_l0": (H,),
    }
    bound = H**-0.5
    assert all(0 < np.abs(parameter.data).max() <= bound for parameter in layer.parameters())


@every_gate
@pytest.mark.parametrize(
    "take", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_a_copy_computes_the_same(gate: str, take: Any) -> None:
    layer = gated_layer(gate, 3, 5, num_layers=2)
    twin = take(layer)
    x = normal(4, 2, 3)
    assert repr(twin) == repr(layer)
    np.testing.assert_array_equal(twin(x)[0], layer(x)[0])
    other = GATES[gate][0](3, 5, num_layers=2, rng=1, **GATES[gate][1])
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(x)[0], layer(x)[0])


def test_repr_shows_the_options() -> None:
    layer = rf.LSTM(3, 5, proj_size=2, peephole=True, coupled_gates=True, cell_clip=1)
    want = "LSTM(3, 5, proj_size=2, peephole=True, coupled_gates=True, cell_clip=1.0, dtype='float32')"
    assert repr(layer) == want
    assert repr(rf.GRU(3, 5, reset_after=False)) == "GRU(3, 5, reset_after=False, dtype='float32')"


@every_gate
def test_an_embedding_before_the_layer_gives_the_same_bits(gate: str) -> None:
    """Handed on as tokens or looked up: the same model."""
    layer = gated_layer(gate, 3, 5, dtype="float64")
    embedding = rf.Embedding(4, 3, dtype="float64", rng=0)
    tokens = np.random.default_rng(0).integers(0, 4, (6, 5))
    model = rf.Sequential(embedding, layer)
    y, _, tape = model.forward(tokens)
    want, _, plain = layer.forward(embedding.weight.data[tokens])
    np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-14)
    got_grads: dict[str, np.ndarray] = {}
    grads: dict[str, np.ndarray] = {}
    model.backward(tape, np.ones_like(y), grads=got_grads)
    layer.backward(plain, np.ones_like(y), grads=grads)
    for name, gradient in grads.items():
        np.testing.assert_allclose(got_grads["1." + name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"proj_size": -1}, ValueError, "proj_size: expected at least 0, got -1"),
        ({"proj_size": 2.0}, TypeError, "proj_size: expected an integer, got 2.0"),
        ({"cell_clip": 0}, ValueError, "cell_clip: expected a positive number, got 0"),
        ({"cell_clip": "1"}, TypeError, "cell_clip: expected a positive number, got '1'"),
        (
            {"forget_bias": 1.0, "coupled_gates": True},
            ValueError,
            "forget_bias: expected None with coupled_gates",
        ),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        rf.LSTM(3, 5, **options)


def test_a_wrong_state_is_named() -> None:
    layer = rf.LSTM(3, 5, proj_size=2)
    x = np.ones((4, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"^state h: expected shape \(1, 2, 2\), got \(1, 2, 5\)"):
        layer(x, (np.zeros((1, 2, 5)), np.zeros((1, 2, 5))))
    with pytest.raises(ValueError, match=r"^state c: expected shape \(1, 2, 5\), got \(1, 2, 2\)"):
        layer(x, (np.zeros((1, 2, 2)), np.zeros((1, 2, 2))))
