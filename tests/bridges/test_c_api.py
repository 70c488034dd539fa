"""The C API: plans give the bits of layers and streams, on any number of threads."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bridges.plans import Pair, every_arithmetic, every_layer, every_trained_arithmetic
from helpers.arrays import as_state, assert_equal, parts
from helpers.cases import lengths_and_reset
from helpers.threads import run_together

import rnnfast as rf
from rnnfast import _core


@every_layer
@every_arithmetic
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_run_gives_the_bits_of_the_layer(bridge, name, dtype, precision, D, ragged):
    pair = Pair(bridge, name, dtype, precision, D=D, L=3, bias=dtype == "float32")
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    y, final = pair.layer(pair.x, as_state(pair.state), **more)
    plan = pair.plan()
    plan.set_state(*pair.state)
    plan.run(pair.T, pair.x, pair.y, **more)
    assert_equal(pair.y, y)
    assert_equal(pair.state_of(plan), parts(final))


@every_layer
@every_trained_arithmetic
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_backward_gives_the_bits_of_the_layer(bridge, name, dtype, precision, D, ragged):
    pair = Pair(bridge, name, dtype, precision, D=D, L=3, bias=dtype == "float32")
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    y, final, tape = pair.layer.forward(pair.x, as_state(pair.state), **more)
    dy = pair.rng.normal(size=y.shape).astype(dtype)
    dstate = tuple(pair.rng.normal(size=part.shape).astype(dtype) for part in pair.state)
    wanted: dict[str, np.ndarray] = {}
    dx, dinitial = pair.layer.backward(tape, dy, as_state(dstate), grads=wanted)

    plan = pair.plan(training=1)
    plan.set_state(*pair.state)
    plan.forward(pair.T, pair.x, pair.y, **more)
    assert_equal(pair.y, y)
    assert_equal(pair.state_of(plan), parts(final))
    grads = {name: np.full_like(gradient, np.nan) for name, gradient in wanted.items()}
    got_dx = np.full_like(pair.x, np.nan)
    got = tuple(np.full_like(part, np.nan) for part in pair.state)
    names = ("dh", "dc")[: len(got)]
    plan.backward(
        pair.per_pass(grads),
        dy,
        dx=got_dx,
        **dict(zip(names, dstate, strict=True)),
        **{f"{name}_initial": part for name, part in zip(names, got, strict=True)},
    )
    assert_equal(got_dx, dx)
    assert_equal(got, parts(dinitial))
    assert_equal(grads, wanted)


@every_layer
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_steps_before_a_reset_reach_no_gradient_of_later_steps(bridge, name, value):
    pair = Pair(bridge, name, D=2)
    plan = pair.plan(training=1)
    reset = np.zeros((pair.T, pair.B), bool)
    reset[[2, 4]] = True
    dy = np.ones_like(pair.y)
    dy[2:4] = 0
    found = []
    for pair.x[2:4, 1] in (1, value):
        grads = {name: np.full_like(p.data, np.nan) for name, p in pair.layer.named_parameters()}
        dx = np.full_like(pair.x, np.nan)
        plan.set_state(None, None)
        plan.forward(pair.T, pair.x, pair.y, reset=reset)
        plan.backward(pair.per_pass(grads), dy, dx=dx)
        found.append({"dx": dx, **grads})
    assert_equal(found[1], found[0])


@pytest.mark.parametrize("clip", [5e-324, 1e-40, 1e39])
def test_a_cell_clip_of_any_size_gives_the_bits_of_the_layer(bridge, clip):
    pair = Pair(bridge, "lstm")
    pair.layer = rf.LSTM(pair.I, 17, pair.L, cell_clip=clip, rng=0)
    plan = pair.plan(cell_clip=clip)
    plan.run(pair.T, pair.x, pair.y)
    np.testing.assert_array_equal(pair.y, pair.layer(pair.x)[0])
    assert pair.y.any() == (clip > 1)


def test_backward_skips_unwanted_gradients_and_takes_null_as_zero(bridge):
    pair = Pair(bridge, "lstm", D=2)
    plan = pair.plan(training=1)
    grads = {name: np.full_like(p.data, np.nan) for name, p in pair.layer.named_parameters()}
    plan.forward(pair.T, pair.x, pair.y)
    plan.backward(pair.per_pass(grads))
    assert not any(gradient.any() for gradient in grads.values())
    _, _, tape = pair.layer.forward(pair.x)
    pair.layer.backward(tape, pair.y, input_grad=False)
    plan.set_state(None, None)
    plan.forward(pair.T, pair.x, pair.y)
    plan.backward(pair.per_pass(grads), pair.y)
    for name, parameter in pair.layer.named_parameters():
        np.testing.assert_array_equal(grads[name], parameter.grad)


@every_layer
@every_arithmetic
def test_steps_give_the_bits_of_the_stream(bridge, name, dtype, precision, isa):
    pair = Pair(bridge, name, dtype, precision)
    plan, stream = pair.plan(max_steps=0), pair.layer.stream(pair.B)
    mask = np.array([True, False, True])
    for t, x in enumerate(pair.x):
        if t == 3:
            plan.reset(mask)
            stream.reset(mask)
        plan.step(x, pair.y[t])
        np.testing.assert_array_equal(pair.y[t], stream(x))
    assert_equal(pair.state_of(plan), parts(stream.state))
    plan.reset()
    assert not any(part.any() for part in pair.state_of(plan))


@every_layer
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_dx_and_the_state_have_the_same_bits_without_the_weights_gradients(
    bridge, name, threads, ragged, restored
):
    _core.force_split("units")
    pair = Pair(bridge, name, D=2, T=40)
    more = lengths_and_reset(pair.T, pair.B) if ragged else {}
    dy = pair.rng.normal(size=pair.y.shape).astype(np.float32)
    grads = pair.per_pass({name: np.empty_like(p.data) for name, p in pair.layer.named_parameters()})
    names = ("dh_initial", "dc_initial")[: len(pair.state)]
    plan, found = pair.plan(training=1, threads=threads), []
    for weights in (grads, None):
        out = [np.full_like(array, np.nan) for array in (pair.x, *pair.state)]
        plan.set_state(*pair.state)
        plan.forward(pair.T, pair.x, pair.y, **more)
        plan.backward(weights, dy, dx=out[0], **dict(zip(names, out[1:], strict=True)))
        found.append(tuple(out))
    assert_equal(found[1], found[0])
    assert found[0][0].any()


def test_runs_and_steps_share_one_state(bridge):
    pair = Pair(bridge, "lstm", T=9)
    y, final = pair.layer(pair.x)
    plan = pair.plan(training=1)
    plan.run(3, pair.x, pair.y)
    plan.step(pair.x[3], pair.y[3])
    plan.forward(4, pair.x[4:], pair.y[4:])
    plan.run(0, None, None)
    plan.step(pair.x[8], pair.y[8])
    assert_equal(pair.y, y)
    assert_equal(pair.state_of(plan), parts(final))


@pytest.mark.parametrize("split", ["rows", "units"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["lstm-peephole", "lstm-projection", "gru", "gru-reset-before"])
def test_threads_do_not_change_a_bit(bridge, name, precision, split, restored):
    rf.set_num_threads(1)
    pair = Pair(bridge, name, precision=precision, B=5, I=40, H=70, D=2)
    more = lengths_and_reset(pair.T, pair.B)
    y, _, tape = pair.layer.forward(pair.x, **more)
    wanted: dict[str, np.ndarray] = {}
    dx, _ = pair.layer.backward(tape, y, grads=wanted)
    stepped = Pair(bridge, name, precision=precision, B=5, I=40, H=70)
    expected = [*map(stepped.layer.stream(5), stepped.x)]
    _core.force_split(split)
    plan = pair.plan(training=1, threads=2)
    plan.forward(pair.T, pair.x, pair.y, **more)
    assert_equal(pair.y, y)
    grads, got_dx = (
        {name: np.empty_like(gradient) for name, gradient in wanted.items()},
        np.empty_like(pair.x),
    )
    plan.backward(pair.per_pass(grads), y.copy(), dx=got_dx)
    assert_equal(got_dx, dx)
    assert_equal(grads, wanted)
    plan = stepped.plan(threads=2)
    for x, want in zip(stepped.x, expected, strict=True):
        plan.step(x, stepped.y[0])
        np.testing.assert_array_equal(stepped.y[0], want)


def test_plans_in_different_threads_are_independent(bridge, restored):
    _core.force_split("units")
    pairs = [Pair(bridge, "gru", T=200, H=40 + n, seed=n) for n in range(3)]
    wanted = [pair.layer(pair.x)[0] for pair in pairs]
    plans = [pair.plan(threads=2) for pair in pairs]

    def often(pair, plan):
        for _ in range(20):
            plan.reset()
            plan.run(pair.T, pair.x, pair.y)

    run_together(*[partial(often, *both) for both in zip(pairs, plans, strict=True)])
    for pair, want in zip(pairs, wanted, strict=True):
        assert_equal(pair.y, want)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["lstm-peephole", "gru"])
def test_a_plan_copies_the_weights_until_refresh(bridge, name, precision):
    pair = Pair(bridge, name, precision=precision)
    before, _ = pair.layer(pair.x)
    plan = pair.plan(training=1)
    for parameter in pair.layer.parameters():
        parameter.data *= 0.5
    after, _ = pair.layer(pair.x)
    assert not np.array_equal(before, after)
    plan.run(pair.T, pair.x, pair.y)
    assert_equal(pair.y, before)
    plan.refresh(pair.weights())
    plan.reset()
    plan.forward(pair.T, pair.x, pair.y)
    assert_equal(pair.y, after)


def test_options_of_a_caller_that_knows_no_precision_mean_float32(bridge):
    pair = Pair(bridge, "lstm")
    assert bridge.SIZES["options"] > bridge.BEFORE_PRECISION
    plan = pair.plan(struct_size=bridge.BEFORE_PRECISION, matmul_precision=99, cell_clip=0.5)
    plan.run(pair.T, pair.x, pair.y)
    pair.layer = rf.LSTM(pair.I, 17, pair.L, cell_clip=0.5, rng=0)  # the last field that such a caller has
    assert_equal(pair.y, pair.layer(pair.x)[0])


def test_zeroed_options_mean_float32(bridge):
    assert bridge.PRECISIONS["float32"] == 0
    assert len(set(bridge.PRECISIONS.values()) | set(bridge.DTYPES.values())) == 4


@every_layer
def test_bfloat16_is_another_result_than_float32(bridge, name):
    pair = Pair(bridge, name)
    pair.plan(matmul_precision=bridge.PRECISIONS["bfloat16"]).run(pair.T, pair.x, pair.y)
    want = pair.layer(pair.x)[0]
    assert not np.array_equal(pair.y, want)
    np.testing.assert_allclose(pair.y, want, atol=0.05)
