"""What the SLSTM alone has: heads, exponential gates, a state that may be empty."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import PARTS, assert_equal, normal
from helpers.cases import make, run
from helpers.tolerances import assert_same_bits

import rnnfast as rf
from rnnfast import functional, reference

T, B, I, H = 6, 3, 4, 12


def layer_and_results(num_heads: int, dtype: str = "float64", **options):
    """A layer, and what its forward and backward give, by name."""
    layer = rf.SLSTM(I, H, num_heads=num_heads, rng=0, dtype=dtype, **options)
    y, state, tape = layer.forward(normal(T, B, I, dtype=dtype))
    dx, dstate = layer.backward(tape, normal(*y.shape, dtype=dtype, seed=2))
    results = {"y": y, "dx": dx, **dict(zip(PARTS, state, strict=True))}
    return layer, results | {"d" + part: d for part, d in zip(PARTS, dstate, strict=True)}


@pytest.mark.parametrize("num_heads", [2, 3, 12])
def test_heads_are_the_blocks_of_one_head_without_the_others(num_heads, isa):
    layer, got = layer_and_results(num_heads)
    D = H // num_heads
    dense = np.zeros((4, num_heads, D, num_heads, D))
    for head in range(num_heads):
        dense[:, head, :, head] = layer.weight_hh_l0.data.reshape(4, num_heads, D, D)[:, head]
    one = rf.SLSTM(I, H, dtype="float64")
    one.load_state_dict({**layer.state_dict(), "weight_hh_l0": dense.reshape(4 * H, H)})
    y, state, tape = one.forward(normal(T, B, I, dtype="float64"))
    dx, dstate = one.backward(tape, normal(*y.shape, dtype="float64", seed=2))
    assert_equal(got["y"], y)
    for part, final in zip(PARTS, state, strict=True):
        assert_equal(got[part], final)
    # The sums over gates and units have another order: by head.
    np.testing.assert_allclose(got["dx"], dx, rtol=1e-12, atol=1e-14)
    for part, d in zip(PARTS, dstate, strict=True):
        np.testing.assert_allclose(got["d" + part], d, rtol=1e-12, atol=1e-14)
    own = one.weight_hh_l0.grad.reshape(4, num_heads, D, num_heads, D)
    for head in range(num_heads):
        want = own[:, head, :, head]
        np.testing.assert_allclose(
            layer.weight_hh_l0.grad.reshape(4, num_heads, D, D)[:, head], want, rtol=1e-12, atol=1e-14
        )


def test_a_head_does_not_see_the_others(isa):
    case = make("slstm-heads", T, B, I, H)
    clean = run(functional, case)
    h, *others = case.state
    h = h.copy()
    h[:, : H // 2] = np.nan  # of the first of two heads
    got = run(functional, case._replace(state=(h, *others)))
    assert np.isnan(got["y"][..., : H // 2]).all()
    np.testing.assert_array_equal(got["y"][..., H // 2 :], clean["y"][..., H // 2 :])


@pytest.mark.parametrize("num_heads", [5, 24])
def test_heads_divide_the_units(num_heads):
    with pytest.raises(
        ValueError, match=rf"^num_heads: expected a divisor of hidden_size, which is 12, got {num_heads}$"
    ):
        rf.SLSTM(I, H, num_heads=num_heads)
    with pytest.raises(ValueError, match=r"^weight_hh: expected shape \[4\*H, D\] with H a multiple of D"):
        functional.slstm_forward(np.ones((2, 1, 3)), np.ones((32, 3)), np.ones((32, 3)))


def test_a_state_has_four_parts():
    layer = rf.SLSTM(I, H)
    with pytest.raises(TypeError, match=r"^state: expected a tuple \(h, c, n, m\) of arrays, got 2 of them$"):
        layer(np.ones((T, B, I), np.float32), (None, None))
    with pytest.raises(TypeError, match=r"^state: expected a tuple \(h, c, n, m\), got tuple$"):
        reference.slstm_forward(np.ones((2, 1, 3)), np.ones((8, 3)), np.ones((8, 2)), state=(None, None))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_gates_stay_finite(dtype, isa):
    case = make("slstm", 50, 4, 3, 18, dtype=dtype)
    signs = np.random.default_rng(1).choice([-1e4, -1e2, 0, 1e2, 1e4], (50, 4, 4 * 18))
    eye = np.eye(4 * 18)
    case = case._replace(
        x=signs.astype(dtype), weights=case.weights | {"weight_ih": eye.astype(dtype)}, state=(None,) * 4
    )
    case = case._replace(dy=np.ones_like(case.dy))
    got = run(functional, case._replace(options=case.options | {"return_states": True}, dstates=None))
    assert all(np.isfinite(array).all() for array in got.values())
    assert (got["states_n"] >= 1).all()
    assert (np.abs(got["y"]) <= 1).all()


def test_each_unit_has_its_own_empty_state(isa):
    """A row with an empty state gives the same bits beside rows whose state is not empty."""
    case = make("slstm", T, 3, I, H)
    state = tuple(part.copy() for part in case.state)
    for part in state:
        part[1] = 0
    together = run(functional, case._replace(state=state))
    alone = make("slstm", T, 3, I, H)
    alone = alone._replace(
        x=case.x[:, 1:2],
        state=tuple(part[1:2] for part in state),
        dy=case.dy[:, 1:2],
        dstate=tuple(part[1:2] for part in case.dstate),
    )
    want = run(functional, alone)
    assert_same_bits({"y": together["y"][:, 1:2]}, {"y": want["y"]})
    for part in PARTS:
        assert_same_bits({part: together["d" + part][1:2]}, {part: want["d" + part]})


def test_n_of_zero_with_a_large_forget_gate():
    """Where n is 0 and l is above i, f' is 1 and has no gradient; c of the initial state passes through."""
    x, zeros = np.zeros((1, 1, 1)), np.zeros((4, 1))
    bias = np.array([-5.0, 3.0, 0.5, 0.2])
    state = tuple(np.array([[value]]) for value in (0.0, 0.7, 0.0, 0.0))
    for module in (reference, functional):
        _, (_, c, n, m), tape = module.slstm_forward(x, zeros, zeros, bias, state)
        assert (n, m) == (1, -5)
        assert c[0, 0] == pytest.approx(0.7 + np.tanh(0.5), rel=1e-15)
        dstate = module.slstm_backward(tape, np.ones((1, 1, 1)), None)[1]
        assert dstate[3] == 0
        assert dstate[1][0, 0] == pytest.approx(1 / (1 + np.exp(-0.2)), rel=1e-15)
