"""The options of the reference's cells: what they amount to, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import OPTIONS, all_options, all_variants, backward, forward, lengths_and_reset, make, run
from helpers.tolerances import error

from rnnfast import reference


def test_the_clip_clamps_the_cell_and_stops_its_gradient():
    H = 5
    weight_ih, weight_hh = np.zeros((4 * H, 1)), np.zeros((4 * H, H))  # i, f and o are a half, g is 0
    c0 = np.array([[-3.0, -2.0, 1.0, 2.0, 2.5]])
    y, (_, c), tape = reference.lstm_forward(
        np.ones((1, 1, 1)), weight_ih, weight_hh, state=(None, c0), cell_clip=1.0
    )
    assert np.array_equal(c, [[-1.0, -1.0, 0.5, 1.0, 1.0]])
    assert np.array_equal(y[0], 0.5 * np.tanh(c))
    _, (_, dc), _ = reference.lstm_backward(tape, None, (None, np.ones((1, H))))
    assert np.array_equal(dc, [[0.0, 0.5, 0.5, 0.5, 0.0]])  # at the bound itself it passes


def test_a_clip_out_of_reach_changes_nothing():
    case = make("lstm", 4, 3, 2, 5)
    want = run(reference, case)
    for bound in (100, 100.0, np.float32(100), np.inf):
        got = run(reference, case._replace(options={**case.options, "cell_clip": bound}))
        assert all(np.array_equal(got[name], want[name]) for name in want)


def test_a_float64_clip_leaves_float32_as_it_is():
    case = make("lstm", 4, 3, 2, 5, dtype=np.float32, cell_clip=np.float64(0.3))
    results = run(reference, case)
    assert np.abs(results["c"]).max() == np.float32(0.3)
    assert all(array.dtype == np.float32 for array in results.values())


@pytest.mark.parametrize("peephole", [False, True])
def test_coupled_gates_are_opposite_gates(peephole):
    """1 - s(a) = s(-a): an LSTM whose forget gate has the input gate's weights negated is the same."""
    coupled = make("lstm", 5, 3, 2, 4, coupled_gates=True, peephole=peephole)
    weights = {}
    for name, weight in coupled.weights.items():
        if name.startswith("weight_c"):
            weights[name] = weight
        else:
            i, g, o = np.split(weight, 3)
            weights[name] = np.concatenate((i, -i, g, o))
    if peephole:
        weights["weight_cf"] = -weights["weight_ci"]
    plain = coupled._replace(weights=weights, options={"reverse": False})
    got, want = run(reference, coupled), run(reference, plain)
    for name in ("y", "h", "c", "dx", "dh", "dc"):
        assert error(got[name], want[name]) <= 1e-13, name
    i, f, g, o = np.split(want["weight_hh"], 4)
    assert error(got["weight_hh"], np.concatenate((i - f, g, o))) <= 1e-13


def test_a_projection_is_that_of_a_wider_recurrence():
    """With W_hh·W_P in place of W_hh, the unprojected h of an LSTM projects to the same."""
    case = make("lstm", 5, 3, 2, 4, P=2)
    projection = case.weights["weight_hr"]
    h = np.linalg.pinv(projection) @ case.state[0][..., np.newaxis]  # projects to the initial h
    weights = {name: weight for name, weight in case.weights.items() if name != "weight_hr"}
    weights["weight_hh"] = weights["weight_hh"] @ projection
    wider = case._replace(weights=weights, state=(h[..., 0], case.state[1]))
    got, want = forward(reference, case)[0], forward(reference, wider)[0]
    for name in ("y", "h"):
        assert error(got[name], want[name] @ projection.T) <= 1e-13
    assert error(got["c"], want["c"]) <= 1e-13


@all_options
def test_wrong_masks_are_named(name):
    variant, asked = OPTIONS[name]
    case = make(variant, 4, 2, 3, 5, **asked)
    for kind, wrong, expected in (
        ("lengths", [4.0, 2.0], r"TypeError: lengths: expected an integer dtype, got float64"),
        ("lengths", [True, False], r"TypeError: lengths: expected an integer dtype, got bool"),
        ("lengths", [4, 2, 1], r"ValueError: lengths: expected shape [2], got (3,)"),
        ("lengths", 4, r"ValueError: lengths: expected shape [2], got ()"),
        ("lengths", [4, 5], r"ValueError: lengths: expected 0 to T = 4, got 5"),
        ("lengths", [-1, 4], r"ValueError: lengths: expected 0 to T = 4, got -1"),
        ("reset", np.zeros((4, 2), int), r"TypeError: reset: expected dtype bool, got int64"),
        ("reset", np.zeros((2, 4), bool), r"ValueError: reset: expected shape [4, 2], got (2, 4)"),
        ("reset", np.zeros(4, bool), r"ValueError: reset: expected shape [4, 2], got (4,)"),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            forward(reference, case._replace(options={**case.options, kind: wrong}))
        assert f"{caught.type.__name__}: {caught.value}" == expected


@all_options
def test_wrong_gradients_of_the_states_are_named(name):
    variant, asked = OPTIONS[name]
    case = make(variant, 4, 2, 3, 5, return_states=True, **asked)
    _, tape = forward(reference, case)
    for dtype, shape, kind, message in (
        (float, (4, 2, 6), ValueError, r"^dstates(\[0\])?: expected shape \[4, 2, \d+\], got \(4, 2, 6\)"),
        (int, (4, 2, 5), TypeError, r"^dstates(\[0\])?: expected dtype float32 or float64, got int64"),
    ):
        wrong = tuple(np.zeros(shape, dtype) for _ in case.state)
        with pytest.raises(kind, match=message):
            backward(reference, case._replace(dstates=wrong), tape)
    if case.cell == "lstm":
        with pytest.raises(TypeError, match=r"^dstates: expected a pair \(h, c\), got ndarray"):
            reference.lstm_backward(tape, None, None, dstates=np.zeros((4, 2, 5)))
        with pytest.raises(ValueError, match=r"^dstates\[1\]: expected shape \[4, 2, 5\], got \(2, 5\)"):
            reference.lstm_backward(tape, None, None, dstates=(None, np.zeros((2, 5))))


@all_variants
def test_lengths_and_resets_of_empty_batches(variant):
    for T, B in ((0, 2), (3, 0), (0, 0)):
        for reverse in (False, True):
            case = make(variant, T, B, 2, 3, reverse=reverse, return_states=True, **lengths_and_reset(T, B))
            results = run(reference, case)
            assert results["y"].shape == results["states_h"].shape == (T, B, 3)
            assert np.array_equal(results["h"], case.state[0])
            assert np.array_equal(results["dh"], case.dstate[0])
            assert not any(results[name].any() for name in case.weights)
