"""Ragged batches, resets, the states of every step: the reference's numbers, the bits of the plain pass."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import D_PARTS, PARTS
from helpers.cases import OPTIONS, Case, all_options, backward, forward, largest_scale, make, make_ragged, run
from helpers.tolerances import assert_close, assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf
from rnnfast import _core, functional, reference

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPES = [
    (0, 3, 2, 4),
    (1, 1, 1, 1),
    (5, 7, 3, 17),
    (9, 13, 5, 33),
    (40, 5, 2, 3),
    (30, 60, 4, 20),
]  # T, B, I, H


@all_options
@both_dtypes
@both_directions
@pytest.mark.parametrize("which", ["lengths", "reset", "both"])
def test_the_reference_agrees(name, dtype, reverse, which, isa):
    for shape in SHAPES:
        case = make_ragged(name, *shape, which=which, dtype=dtype, reverse=reverse)
        want = run(reference, case.astype(np.float64))
        assert_close(run(functional, case), want, case.K, largest_scale(case))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_reference_agrees_on_any_shape(data):
    name = data.draw(st.sampled_from(list(OPTIONS)))
    shape = tuple(data.draw(st.integers(low, high)) for low, high in [(0, 12), (0, 9), (1, 5), (1, 40)])
    which = data.draw(st.sampled_from(["lengths", "reset", "both"]))
    case = make_ragged(
        name, *shape, which=which, seed=data.draw(st.integers(0, 99)), reverse=data.draw(st.booleans())
    )
    assert_close(run(functional, case), run(reference, case), case.K, largest_scale(case))


def alone(case: Case, b: int) -> Case:
    """Sequence b as a padded batch of its own: its steps, no lengths."""
    length = int(case.options["lengths"][b])
    options = {name: value for name, value in case.options.items() if name != "lengths"}
    options["reset"] = options["reset"][:length, b : b + 1]

    def of(parts: tuple) -> tuple:
        return tuple(part[b : b + 1] for part in parts)

    return case._replace(
        options=options,
        x=case.x[:length, b : b + 1],
        state=of(case.state),
        dy=case.dy[:length, b : b + 1],
        dstate=of(case.dstate),
        dstates=tuple(part[:length, b : b + 1] for part in case.dstates),
    )


@all_options
@both_dtypes
@both_directions
def test_each_sequence_has_the_bits_that_it_has_alone(name, dtype, reverse, isa):
    case = make_ragged(name, 12, 11, 3, 19, dtype=dtype, reverse=reverse)
    together = run(functional, case)
    for b, length in enumerate(case.options["lengths"]):
        want = run(functional, alone(case, b))
        for result in ("y", "dx", "states_h", "states_c"):
            if result in together:
                sequence = together[result][:, b : b + 1]
                assert_same_bits({result: sequence[:length]}, {result: want[result]})
                assert not sequence[length:].any(), result
        for result in (*PARTS, *D_PARTS):
            if result in together:
                assert_same_bits({result: together[result][b : b + 1]}, {result: want[result]})


@all_options
@both_dtypes
@both_directions
@pytest.mark.parametrize("split", [None, "rows", "units"])
@pytest.mark.parametrize("shape", [(7, 3, 5, 70), (300, 13, 5, 33)], ids=str)
def test_threads_do_not_change_a_bit(name, dtype, reverse, split, shape, restored):
    case = make_ragged(name, *shape, dtype=dtype, reverse=reverse)
    rf.set_num_threads(1)
    want = run(functional, case)
    _core.force_split(split)
    for threads in (1, 2, 3, 4):
        rf.set_num_threads(threads)
        assert_same_bits(run(functional, case), want)


@all_options
@both_directions
def test_nothing_is_read_past_a_sequence_s_end(name, reverse, isa):
    case = make_ragged(name, 9, 7, 3, 18, reverse=reverse)
    want = run(functional, case)
    past = np.arange(9)[:, np.newaxis] >= case.options["lengths"]

    def spoiled(array: np.ndarray, value=np.nan) -> np.ndarray:
        array = array.copy()
        array[past] = value
        return array

    case = case._replace(
        options={**case.options, "reset": spoiled(case.options["reset"], True)},
        x=spoiled(case.x),
        dy=spoiled(case.dy),
        dstates=tuple(spoiled(part) for part in case.dstates),
    )
    assert_same_bits(run(functional, case), want)


@all_options
@both_directions
def test_nan_does_not_cross_a_reset(name, reverse, isa):
    """The episode before a reset is NaN in every way: what comes after it does not notice."""
    T, B, border = 8, 3, 5
    reset = np.zeros((T, B), bool)
    reset[border] = True
    case = make(name, T, B, 4, 18, reset=reset, reverse=reverse)
    clean = run(functional, case)
    nan = slice(None, border)
    x, dy = case.x.copy(), case.dy.copy()
    x[nan], dy[nan] = np.nan, np.nan
    spoiled = case._replace(x=x, dy=dy)
    if reverse:
        spoiled = spoiled._replace(dstate=tuple(np.full_like(part, np.nan) for part in case.dstate))
    else:
        spoiled = spoiled._replace(state=tuple(np.full_like(part, np.nan) for part in case.state))
    got = run(functional, spoiled)
    kept = ["y", "dx"]
    assert_same_bits(
        {name: got[name][border:] for name in kept}, {name: clean[name][border:] for name in kept}
    )
    assert np.isnan(got["y"][:border]).any()
    for part in D_PARTS if reverse else PARTS:
        if part in got:
            assert_same_bits({part: got[part]}, {part: clean[part]})


@all_options
def test_all_sequences_empty(name):
    case = make(name, 4, 3, 2, 5, lengths=np.zeros(3, int), return_states=True)
    got = run(functional, case)
    for result in ("y", "dx", *case.weights):
        assert not got[result].any(), result
    for part, given_, dfinal in zip(PARTS, case.state, case.dstate, strict=False):
        np.testing.assert_array_equal(got[part], given_)
        np.testing.assert_array_equal(got["d" + part], dfinal)


@all_options
def test_a_padded_batch_is_a_ragged_one(name, isa):
    plain = make(name, 6, 5, 3, 18)
    full = plain._replace(
        options={**plain.options, "lengths": np.full(5, 6), "reset": np.zeros((6, 5), bool)}
    )
    assert_same_bits(run(functional, full), run(functional, plain))


@all_options
def test_what_the_caller_writes_does_not_reach_the_tape(name):
    case = make_ragged(name, 6, 5, 3, 7)
    want = run(functional, case)
    case.options["lengths"], case.options["reset"] = (
        case.options["lengths"].copy(),
        case.options["reset"].copy(),
    )
    _, tape = forward(functional, case)
    case.options["lengths"][:] = 0
    case.options["reset"][:] = True
    got = backward(functional, case, tape)
    assert_same_bits(got, {name: want[name] for name in got})
