"""Gradients of the kernels against the reference run in float64 on the same inputs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import named_parts
from helpers.cases import (
    SHAPES,
    Case,
    all_options,
    backward,
    forward,
    largest_scale,
    make,
    pass_backward,
    pass_forward,
    replaced,
    run,
    views,
)
from helpers.combinations import any_case
from helpers.tolerances import assert_close, assert_same_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnnfast import _core, functional, reference
from rnnfast.functional import passes

pytestmark = pytest.mark.usefixtures("dirty_memory")
SIZES = {"T": (0, 9), "B": (0, 20), "I": (1, 70), "H": (1, 70)}
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def assert_all(case: Case) -> None:
    """All outputs and gradients agree with the reference."""
    assert_close(run(functional, case), run(reference, case.astype(np.float64)), case.K, largest_scale(case))


@all_options
@both_dtypes
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients(name, shape, reverse, dtype, isa):
    assert_all(make(name, *shape, dtype=dtype, reverse=reverse))


@given(data=st.data())
@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # once for all examples is right
)
def test_gradients_of_any_combination(restored, data):
    _core.force_isa(data.draw(st.sampled_from(_core.available_isas()), "isa"))
    assert_all(any_case(data, SIZES, data.draw(st.sampled_from(["float32", "float64"]), "dtype")))


@all_options
@both_dtypes
@pytest.mark.parametrize("names", [[], ["bias_ih"], ["bias_hh"]], ids=str)
def test_fewer_biases(name, names, dtype, isa):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    left_out = {"bias_ih", "bias_hh"} - set(names)
    weights = {weight: array for weight, array in case.weights.items() if weight not in left_out}
    assert_all(case._replace(weights=weights))


@all_options
@both_dtypes
@pytest.mark.parametrize("T", [0, 1, 4])
def test_parts_left_out(name, T, dtype, isa):
    case = make(name, T, 3, 5, 18, dtype=dtype)
    nothing = (None,) * len(case.state)
    assert_all(case._replace(dy=None))
    assert_all(case._replace(dstate=nothing))
    assert_all(case._replace(dy=None, dstate=nothing))
    for k, part in enumerate(case.dstate):
        assert_all(case._replace(dy=None, dstate=replaced(nothing, k, part)))
    _, tape = forward(functional, case)
    dx, _, _ = getattr(functional, f"{case.cell}_backward")(tape, None, None)
    assert not dx.any()


@all_options
@both_dtypes
@pytest.mark.parametrize("layout", views(np.zeros((2, 2))))
def test_other_layouts_give_the_same_bits(name, layout, dtype):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    other = case._replace(
        x=views(case.x)[layout],
        weights={name: views(array)[layout] for name, array in case.weights.items()},
        state=tuple(views(part)[layout] for part in case.state),
        dy=views(case.dy)[layout],
        dstate=tuple(views(part)[layout] for part in case.dstate),
    )
    assert_same_bits(run(functional, other), run(functional, case))


@all_options
@both_dtypes
def test_inputs_are_not_modified_and_gradients_are_new(name, dtype):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    kept = case.astype(dtype)
    outputs, tape = forward(functional, case)
    kept_outputs = {name: array.copy() for name, array in outputs.items()}
    gradients = backward(functional, case, tape)
    inputs = [case.x, *case.weights.values(), *case.state, case.dy, *case.dstate]
    kept_inputs = [kept.x, *kept.weights.values(), *kept.state, kept.dy, *kept.dstate]
    assert all(map(np.array_equal, inputs, kept_inputs))
    assert_same_bits(outputs, kept_outputs)
    for gradient in gradients.values():
        assert not any(np.shares_memory(gradient, given) for given in inputs + list(outputs.values()))


@all_options
@both_dtypes
def test_a_pass_writes_its_views_and_nothing_else(name, dtype, isa):
    T, B, I = 5, 3, 4
    case = make(name, T, B, I, 18, dtype=dtype, reverse=True)
    want = run(functional, case)
    _, tape = pass_forward(case)
    room = np.full((B, T, 3 * I), np.nan, dtype)  # batch first, with a neighbour on either side
    dx = room.transpose(1, 0, 2)[:, :, I : 2 * I]
    P = case.dy.shape[2]
    wide = np.full((B, T, 2 * P), np.nan, dtype)
    dy = wide.transpose(1, 0, 2)[:, :, P:]
    dy[:] = case.dy
    dinitial = tuple(np.empty_like(part) for part in case.state)
    grads = passes.pass_backward(tape, dy, case.dstate, dx, dinitial)
    got = {"dx": dx, **named_parts("d", dinitial), **grads}
    assert_same_bits(got, {name: want[name] for name in got})
    assert np.isnan(room[:, :, :I]).all()
    assert np.isnan(room[:, :, 2 * I :]).all()


@all_options
@both_dtypes
def test_a_pass_without_dx(name, dtype):
    case = make(name, 5, 3, 4, 18, dtype=dtype)
    want = run(functional, case)
    _, tape = pass_forward(case)
    dinitial = tuple(np.empty_like(part) for part in case.state)
    grads = passes.pass_backward(tape, case.dy, case.dstate, None, dinitial)
    got = {**named_parts("d", dinitial), **grads}
    assert_same_bits(got, {name: want[name] for name in got})


@all_options
@both_dtypes
def test_a_retained_tape_gives_the_same_bits_again(name, dtype, isa):
    case = make(name, 5, 3, 4, 18, dtype=dtype)
    outputs, tape = pass_forward(case)
    first = pass_backward(case, tape, retain=True)
    other = case._replace(dy=None, dstate=tuple(-part for part in case.dstate))
    pass_backward(other, tape, retain=True)
    assert_same_bits(pass_backward(case, tape, retain=True), first)
    assert_same_bits(pass_backward(case, tape), first)
    assert_same_bits(outputs | first, run(functional, case))


@all_options
@both_dtypes
def test_spare_buffers_change_no_bit(name, dtype, isa):
    spare: list = []
    for shape in [(6, 4, 3, 20), (5, 3, 4, 18), (7, 5, 2, 33), (5, 3, 4, 18)]:
        case = make(name, *shape, dtype=dtype)
        want = run(functional, case)
        outputs, tape = pass_forward(case, spare=spare)
        assert_same_bits(outputs | pass_backward(case, tape), want)
        assert spare, "backward gives its buffers back"
        for buffer in spare:
            buffer.fill(np.nan)


@pytest.mark.parametrize("cell", _core.layer_names())
def test_a_gradient_without_columns_is_empty_where_there_are_no_steps(cell):
    T, B, I, H = 0, 2, 0, 3
    info = _core.cell_info(cell)
    weights = {name: np.ones(info.weight_shape(name, I, H, H)) for name in info.required}
    assert weights["weight_ih"].shape == (len(info.gates) * H, I)
    own = _core.Cell(cell, weights)
    x, y = np.empty((T, B, I)), np.empty((T, B, H))
    state = tuple(np.ones((1, B, width)) for width in own.widths)
    tape = passes.pass_forward(own, 0, x, state, y, tuple(map(np.empty_like, state)))
    assert tape is not None
    behind = np.full(4 * H * H, np.nan)  # what a write beyond the gradient of weight_ih would reach
    grads = {name: np.full_like(weight, np.nan) for name, weight in weights.items()}
    grads["weight_ih"] = behind[:0].reshape(weights["weight_ih"].shape)
    d_initial = tuple(map(np.empty_like, state))
    _core.backward(tape, tape.gates, None, None, None, None, d_initial, grads)
    assert np.isnan(behind).all()
    assert not any(grad.any() for grad in grads.values())
