"""Ragged batches, resets and the states of every step, against plain runs of the single episodes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import PARTS
from helpers.cases import OPTIONS, Case, all_options, backward, forward, largest_scale, make, make_ragged, run
from helpers.tolerances import assert_close, assert_same_bits, error, tolerance
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast import reference

both_directions = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


def episodes(case: Case, b: int) -> list[slice]:
    """The steps of each episode of sequence b, in the order of time."""
    length, reset = case.options["lengths"][b], case.options["reset"][:, b]
    borders = [t for t in range(1, length) if reset[t]]
    starts = [0, *borders] if length else []
    return [slice(*ends) for ends in zip(starts, [*borders, length], strict=False)]


def one_by_one(case: Case) -> dict[str, np.ndarray]:
    """All outputs and gradients of a ragged case with resets, from a run of every episode on its own.

    Each is a batch of one sequence, flipped in place of run in reverse, whose state starts at zero unless the
    initial state reaches it. Weight gradients are summed.
    """
    reverse = case.options["reverse"]
    plain = {
        name: value for name, value in case.options.items() if name not in ("reverse", "lengths", "reset")
    }
    parts = PARTS[: len(case.state)]
    total = {"y": np.zeros_like(case.dy), "dx": np.zeros_like(case.x)}
    for part, initial, dfinal, dstates in zip(parts, case.state, case.dstate, case.dstates, strict=True):
        total |= {part: initial.copy(), "d" + part: dfinal.copy(), "states_" + part: np.zeros_like(dstates)}
    total |= {name: np.zeros_like(weight) for name, weight in case.weights.items()}

    for b in range(case.x.shape[1]):
        in_order = episodes(case, b)[:: -1 if reverse else 1]
        for place, steps in enumerate(in_order):
            first, last = place == 0, place == len(in_order) - 1
            reached = first and (reverse or not case.options["reset"][0, b])

            def alone(array: np.ndarray, steps: slice = steps, b: int = b) -> np.ndarray:
                return array[steps, b : b + 1][:: -1 if reverse else 1]

            got = run(
                reference,
                case._replace(
                    options=plain,
                    x=alone(case.x),
                    state=tuple(part[b : b + 1] * reached for part in case.state),
                    dy=alone(case.dy),
                    dstate=tuple(part[b : b + 1] * last for part in case.dstate),
                    dstates=tuple(alone(part) for part in case.dstates),
                ),
            )
            for name in ("y", "dx", *("states_" + part for part in parts)):
                alone(total[name])[:] = got[name]
            for part in parts:
                if last:
                    total[part][b] = got[part][0]
                if first:
                    total["d" + part][b] = got["d" + part][0] * reached
            for name in case.weights:
                total[name] += got[name]
    return total


def assert_agree(got: dict[str, np.ndarray], want: dict[str, np.ndarray], case: Case) -> None:
    assert_close(got, want, case.K, largest_scale(case))


@all_options
@both_directions
def test_every_episode_equals_a_run_of_its_own(name, reverse):
    case = make_ragged(name, 9, 7, 3, 4, reverse=reverse)
    assert {len(episodes(case, b)) for b in range(7)} >= {0, 1, 2, 3}
    assert_agree(run(reference, case), one_by_one(case), case)


@given(data=st.data())
@settings(max_examples=500, deadline=None, derandomize=True)
def test_every_episode_of_any_batch_equals_a_run_of_its_own(data):
    name = data.draw(st.sampled_from(list(OPTIONS)), "name")
    T, B, I, H = (data.draw(st.integers(low, 8), dim) for low, dim in zip((0, 0, 1, 1), "TBIH", strict=True))
    seed, reverse = data.draw(st.integers(0, 999), "seed"), data.draw(st.booleans(), "reverse")
    case = make_ragged(name, T, B, I, H, reverse=reverse, seed=seed)
    assert_agree(run(reference, case), one_by_one(case), case)


@all_options
@both_directions
def test_lengths_or_resets_alone_equal_both_with_plain_values(name, reverse):
    case = make_ragged(name, 6, 5, 3, 4, reverse=reverse)
    for missing, plain in (("lengths", np.full(5, 6)), ("reset", np.zeros((6, 5), bool))):
        options = {**case.options, missing: plain}
        without = {key: value for key, value in options.items() if key != missing}
        got, want = (run(reference, case._replace(options=each)) for each in (without, options))
        assert_agree(got, want, case)


@all_options
@both_directions
def test_nothing_is_read_past_the_lengths(name, reverse):
    case = make_ragged(name, 6, 5, 3, 4, reverse=reverse)
    want = run(reference, case)
    past = np.arange(6)[:, np.newaxis] >= case.options["lengths"]
    assert past.any()
    planted = case.astype(np.float64)
    for array in (planted.x, planted.dy, *planted.dstates):
        array[past] = np.nan
    for reset in (case.options["reset"] | past, case.options["reset"] & ~past):
        with np.errstate(all="raise", under="ignore"):
            got = run(reference, planted._replace(options={**case.options, "reset": reset}))
        assert_same_bits(got, want)
    for result in ("y", "dx", *(key for key in got if key.startswith("states_"))):
        assert not got[result][past].any(), result


@all_options
def test_weights_of_nan_give_zeros_past_the_lengths(name):
    case = make_ragged(name, 6, 5, 3, 4)
    weights = {key: np.full_like(weight, np.nan) for key, weight in case.weights.items()}
    with np.errstate(invalid="ignore"):
        got = run(reference, case._replace(weights=weights))
    past = np.arange(6)[:, np.newaxis] >= case.options["lengths"]
    for result in ("y", "dx", *(key for key in got if key.startswith("states_"))):
        assert np.isnan(got[result][~past]).any(), result
        assert not got[result][past].any(), result


@all_options
@both_directions
def test_nan_does_not_cross_a_reset(name, reverse):
    variant, asked = OPTIONS[name]
    reset = np.zeros((6, 2), bool)
    reset[3, 0] = True
    case = make(variant, 6, 2, 3, 4, reverse=reverse, reset=reset, **asked)
    want = run(reference, case)
    for steps, others in ((slice(0, 3), slice(3, 6)), (slice(3, 6), slice(0, 3))):
        planted = case.astype(np.float64)
        planted.x[steps, 0] = np.nan
        planted.dy[steps, 0] = np.nan
        with np.errstate(invalid="ignore"):
            got = run(reference, planted)
        for result in ("y", "dx"):
            assert np.isnan(got[result][steps, 0]).any()
            assert_same_bits({result: got[result][others]}, {result: want[result][others]})
            assert_same_bits({result: got[result][:, 1]}, {result: want[result][:, 1]})


@all_options
@both_directions
def test_a_reset_discards_a_state_of_nan(name, reverse):
    variant, asked = OPTIONS[name]
    T = 4
    reset = np.zeros((T, 2), bool)
    reset[0] = True
    lengths = np.array([T, 0])
    case = make(variant, T, 2, 3, 4, reverse=reverse, reset=reset, lengths=lengths, **asked)
    planted = case._replace(state=tuple(np.full_like(part, np.nan) for part in case.state))
    with np.errstate(invalid="ignore"):
        got = run(reference, planted)
    for part, dfinal in zip(PARTS, case.dstate, strict=False):
        assert np.isnan(got[part][1]).all()  # no step: handed through
        assert np.array_equal(got["d" + part][1], dfinal[1])
        if not reverse:
            assert np.isfinite(got[part][0]).all()
            assert not got["d" + part][0].any()
    assert np.isnan(got["y"][:, 0]).all() == reverse
    reads_h = (
        "weight_hh" if "weight_hh" in got else "weight_ih"
    )  # the gates' gradients of MinGRU have h_prev too
    assert np.isfinite(got[reads_h]).all() != reverse


@all_options
@both_directions
def test_states_are_those_of_shorter_runs(name, reverse):
    case = make_ragged(name, 5, 4, 3, 4, reverse=reverse)
    outputs, _ = forward(reference, case)
    assert_same_bits({"y": outputs["states_h"]}, {"y": outputs["y"]})
    assert not np.shares_memory(outputs["states_h"], outputs["y"])
    variant, asked = OPTIONS[name]
    plain = make(variant, 5, 4, 3, 4, reverse=reverse, return_states=True, **asked)
    states, _ = forward(reference, plain)
    for t in range(5):
        steps = slice(t, None) if reverse else slice(0, t + 1)
        shorter, _ = forward(reference, plain._replace(x=plain.x[steps]))
        for part in PARTS[: len(plain.state)]:
            assert error(states["states_" + part][t], shorter[part]) <= 1e-14


@all_options
def test_the_gradient_of_the_states_adds_to_that_of_y(name):
    case = make_ragged(name, 5, 4, 3, 4)
    _, tape = forward(reference, case)
    got = backward(reference, case, tape)
    dh_steps, *dc_steps = case.dstates
    moved = case._replace(dy=case.dy + dh_steps, dstates=(None, *dc_steps))
    assert_agree(got, backward(reference, moved, tape), case)


@all_options
def test_the_tape_keeps_its_own_lengths_and_resets(name):
    case = make_ragged(name, 5, 4, 3, 4)
    outputs, tape = forward(reference, case)
    want = backward(reference, case, tape)
    for array in (case.options["lengths"], case.options["reset"], *outputs.values()):
        array[:] = 0
    assert_same_bits(backward(reference, case, tape), want)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, list])
def test_lengths_of_any_integers(dtype):
    case = make_ragged("lstm", 5, 4, 3, 4)
    lengths = case.options["lengths"]
    other = lengths.tolist() if dtype is list else lengths.astype(dtype)
    got = run(reference, case._replace(options={**case.options, "lengths": other}))
    assert_same_bits(got, run(reference, case))


@all_options
def test_a_float32_batch_stays_float32(name):
    case = make_ragged(name, 5, 4, 3, 4)
    want = run(reference, case.astype(np.float32).astype(np.float64))
    for narrow in (case.astype(np.float32), case._replace(x=case.x.astype(np.float32))):
        for result, array in run(reference, narrow).items():
            assert array.dtype == np.float32, result
            assert error(array, want[result]) <= tolerance(result, "float32", narrow.K), result
