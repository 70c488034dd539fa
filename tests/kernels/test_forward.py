"""Forward kernels against the reference run in float64 on the same inputs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import named_parts
from helpers.cases import (
    SHAPES,
    Case,
    all_options,
    backward,
    cell_of,
    evaluate,
    forward,
    largest_scale,
    make,
    replaced,
    run,
    views,
)
from helpers.tolerances import assert_close, assert_same_bits

from rnnfast import functional, reference
from rnnfast.functional import passes

pytestmark = [
    pytest.mark.parametrize("dtype", ["float32", "float64"]),
    pytest.mark.usefixtures("dirty_memory"),
]


def assert_forward(case: Case) -> None:
    """The outputs agree with the reference, from the public function and from a pass that saves nothing."""
    want, _ = forward(reference, case.astype(np.float64))
    got, _ = forward(functional, case)
    assert_close(got, want, case.K, largest_scale(case))
    assert_same_bits(evaluate(case), got)


@all_options
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs(name, shape, reverse, dtype, isa):
    assert_forward(make(name, *shape, dtype=dtype, reverse=reverse))


@all_options
@pytest.mark.parametrize("names", [[], ["bias_ih"], ["bias_hh"]], ids=str)
def test_fewer_biases(name, names, dtype, isa):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    left_out = {"bias_ih", "bias_hh"} - set(names)
    weights = {weight: array for weight, array in case.weights.items() if weight not in left_out}
    assert_forward(case._replace(weights=weights))


@all_options
def test_far_pre_activations(name, dtype, isa):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    far = np.copysign(np.dtype(dtype).type(1e4), case.weights["bias_ih"])
    if case.cell == "slstm":  # z and o alone: exponential gates do not saturate, test_slstm.py has them
        far[: len(far) // 2] = case.weights["bias_ih"][: len(far) // 2]
    # Products that are multiples of 2^-9 leave the sums exact; a ratio of two tiny gates shows rounding.
    x, weight_ih = np.rint(case.x * 16) / 16, np.rint(case.weights["weight_ih"] * 32) / 32
    assert_forward(case._replace(x=x, weights=case.weights | {"weight_ih": weight_ih, "bias_ih": far}))


@all_options
def test_no_state_is_a_zero_state(name, dtype):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    zeros = tuple(np.zeros_like(part) for part in case.state)
    y, state, _ = getattr(functional, f"{case.cell}_forward")(case.x, **case.weights, **case.options)
    want, _ = forward(functional, case._replace(state=zeros))
    assert_same_bits({"y": y, **named_parts("", state)}, want)


@pytest.mark.parametrize("missing", [0, 1])
def test_no_part_of_a_state_is_a_zero_part(missing, dtype):
    case = make("lstm", 4, 3, 5, 18, dtype=dtype)
    got, got_tape = forward(functional, case._replace(state=replaced(case.state, missing, None)))
    got |= backward(functional, case, got_tape)
    zero = np.zeros_like(case.state[missing])
    assert_same_bits(got, run(functional, case._replace(state=replaced(case.state, missing, zero))))


@all_options
@pytest.mark.parametrize("layout", views(np.zeros((2, 2))))
def test_other_layouts_give_the_same_bits(name, layout, dtype):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    other = case._replace(
        x=views(case.x)[layout],
        weights={name: views(array)[layout] for name, array in case.weights.items()},
        state=tuple(views(part)[layout] for part in case.state),
    )
    assert_same_bits(forward(functional, other)[0], forward(functional, case)[0])


@all_options
def test_inputs_are_not_modified_and_outputs_are_new(name, dtype):
    case = make(name, 4, 3, 5, 18, dtype=dtype)
    kept = case.astype(dtype)
    outputs, _ = forward(functional, case)
    assert np.array_equal(case.x, kept.x)
    assert_same_bits(case.weights, kept.weights)
    assert all(map(np.array_equal, case.state, kept.state))
    inputs = [case.x, *case.weights.values(), *case.state]
    assert not any(np.shares_memory(array, given) for array in outputs.values() for given in inputs)


@all_options
def test_a_pass_writes_its_views_and_nothing_else(name, dtype, isa):
    T, B = 5, 3
    case = make(name, T, B, 4, 18, dtype=dtype, reverse=True)
    want, _ = forward(functional, case)
    P = case.state[0].shape[1]
    room = np.full((B, T, 3 * P), np.nan, dtype)  # batch first, with a neighbour on either side
    y = room.transpose(1, 0, 2)[:, :, P : 2 * P]
    final = tuple(np.empty_like(part) for part in case.state)
    x = np.ascontiguousarray(case.x.transpose(1, 0, 2)).transpose(1, 0, 2)
    passes.pass_forward(cell_of(case), 0, x, case.state, y, final)
    assert_same_bits({"y": y, **named_parts("", final)}, want)
    assert np.isnan(room[:, :, :P]).all()
    assert np.isnan(room[:, :, 2 * P :]).all()


def test_decayed_states_count_as_zero(dtype, isa):
    """Subnormal numbers are flushed inside a call, and still there for the caller after it."""
    tiny = np.finfo(dtype).tiny
    x, weight_ih, weight_hh = np.zeros((3, 1, 1), dtype), np.ones((1, 1), dtype), np.full((1, 1), 0.5, dtype)
    state = np.full((1, 1), 2 * tiny, dtype)
    y, _, _ = functional.rnn_forward(x, weight_ih, weight_hh, None, None, state, nonlinearity="identity")
    assert y.ravel().tolist() == [tiny, 0, 0]
    assert np.full(1, tiny, dtype)[0] / 2 > 0
