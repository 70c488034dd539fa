"""Steps whose results nobody uses: NaN and infinity in them reach no gradient."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import PARTS
from helpers.cases import all_options, largest_scale, make, run
from helpers.tolerances import assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import functional, reference

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
values = pytest.mark.parametrize("value", [np.nan, np.inf], ids=["nan", "inf"])
T, B, BORDER = 9, 5, 5


def cut(name, *, reverse=False, I=4, H=18, dtype=np.float64, **asked):
    """A case cut in two at BORDER, and the steps on whose results nothing depends."""
    reset = np.zeros((T, B), bool)
    reset[BORDER] = True
    case = make(name, T, B, I, H, dtype=dtype, reset=reset, reverse=reverse, **asked)
    unused = slice(BORDER, None) if reverse else slice(None, BORDER)
    dy = case.dy.copy()
    dy[unused] = 0
    return case._replace(dy=dy), unused


def spoiled(case, unused, value):
    """The same with `value` in x, in those steps, and in the state that goes into them."""
    x = case.x.copy()
    x[unused, 1:] = value
    state = tuple(part.copy() for part in case.state)
    for part in state:
        part[1:] = value
    return case._replace(x=x, state=state)


def of_the_used(results, unused):
    """The results but those that belong to the unused steps, and all of the gradients."""
    used = np.ones(T, bool)
    used[unused] = False
    return {
        name: array[used] if name in ("y", "dx") else array
        for name, array in results.items()
        if name not in PARTS
    }


@all_options
@both_directions
@values
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("H", [3, 40])
def test_steps_before_a_reset_reach_no_gradient_of_later_steps(name, reverse, value, dtype, H, isa):
    case, unused = cut(name, reverse=reverse, dtype=dtype, H=H)
    for threads in (1, 3):
        rf.set_num_threads(threads)
        want, got = run(functional, case), run(functional, spoiled(case, unused, value))
        assert not got["dx"][unused, 1:].any()
        assert_same_bits(of_the_used(got, unused), of_the_used(want, unused))


@all_options
@both_directions
@values
def test_the_reference_agrees(name, reverse, value):
    case, unused = cut(name, reverse=reverse)
    with np.errstate(invalid="ignore", over="ignore"):
        want = of_the_used(run(reference, spoiled(case, unused, value)), unused)
    assert all(np.isfinite(array).all() for array in want.values())
    assert_close(
        of_the_used(run(functional, spoiled(case, unused, value)), unused), want, case.K, largest_scale(case)
    )


@all_options
@both_directions
def test_nan_in_a_used_step_reaches_the_gradients(name, reverse, isa):
    """NaN that a gradient other than zero meets stays NaN: a diverged training must show."""
    case, unused = cut(name, reverse=reverse)
    dy = case.dy.copy()
    dy[unused, 1] = 1
    got = run(functional, spoiled(case, unused, np.nan)._replace(dy=dy))
    for weight in case.weights.keys() & {"weight_ih", "weight_hh"}:
        assert np.isnan(got[weight]).any(), weight


@values
@pytest.mark.parametrize(
    "make_layer",
    [
        lambda: rf.RNN(4, 18, dtype="float64", rng=0),
        lambda: rf.LSTM(4, 18, peephole=True, proj_size=3, dtype="float64", rng=0),
        lambda: rf.GRU(4, 18, bidirectional=True, dtype="float64", rng=0),
        lambda: rf.GRU(4, 18, reset_after=False, dtype="float64", rng=0),
    ],
)
def test_a_bad_row_of_an_embedding(make_layer, value, isa):
    model = rf.Sequential(rf.Embedding(6, 4, dtype="float64", rng=0), make_layer())
    rng = np.random.default_rng(0)
    tokens, reset = rng.integers(0, 5, (T, B)), np.zeros((T, B), bool)
    tokens[4, 2] = 5
    reset[[3, 6]] = True
    found = []
    for model[0].weight.data[5] in (0, value):
        model.zero_grad()
        y, _, tape = model.forward(tokens, reset=reset)
        dy = np.ones_like(y)
        dy[3:6] = 0
        model.backward(tape, dy)
        found.append({name: p.grad.copy() for name, p in model.named_parameters()})
    assert_same_bits(found[1], found[0])


@values
def test_checkpointed_passes_of_both_directions(value):
    lstm = rf.LSTM(4, 18, num_layers=2, bidirectional=True, dtype="float64", rng=0)
    rng = np.random.default_rng(0)
    x, reset = rng.normal(size=(T, B, 4)), np.zeros((T, B), bool)
    reset[[3, 6]] = True
    dy = rng.normal(size=(T, B, 36))
    dy[3:6] = 0
    bad = x.copy()
    bad[3:6, 2] = value
    for checkpoint in (None, 2):
        found = []
        for given in (x, bad):
            grads = {}
            _, _, tape = lstm.forward(given, reset=reset, checkpoint=checkpoint)
            dx, _ = lstm.backward(tape, dy, grads=grads)
            assert not dx[3:6].any()
            found.append({"dx": dx, **grads})
        assert_same_bits(found[1], found[0])


@values
def test_a_dense_layer(value, isa):
    linear = rf.Linear(5, 3, dtype="float64", rng=0)
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(7, 5)), rng.normal(size=(7, 3))
    dy[2] = 0
    found = []
    for x[2, 1] in (1.0, value):
        linear.zero_grad()
        _, _, tape = linear.forward(x)
        linear.backward(tape, dy)
        found.append({name: p.grad.copy() for name, p in linear.named_parameters()})
    assert_same_bits(found[1], found[0])
