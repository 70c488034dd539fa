"""Tapes and gradients of layers: who owns them, when a tape is used up, where gradients are added."""

from __future__ import annotations

import copy
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers.arrays import PARTS, as_state, assert_equal, normal, parts
from helpers.models import forward_backward, state_for
from helpers.threads import run_together
from modules.small_layers import B, H, I, T, small_layer

# Who owns y, states and gradients


def test_y_of_training_is_read_only_and_outlives_backward(cell: str) -> None:
    for layer, x in (
        (small_layer(cell), normal(T, B, I)),
        (small_layer(cell, batch_first=True), normal(T, I)),
    ):
        y, _, tape = layer.forward(x)
        before = y.copy()
        with pytest.raises(ValueError, match="read-only"):
            y[...] = 0
        layer.backward(tape, np.ones_like(y))
        layer.forward(normal(*x.shape, seed=3))
        np.testing.assert_array_equal(y, before)


def test_the_caller_may_write_into_y_of_an_evaluation_and_into_states(cell: str) -> None:
    layer = small_layer(cell, num_layers=2)
    x, state, dy = normal(T, B, I), state_for(layer, B), normal(T, B, H)
    want = forward_backward(layer, x, state, dy)
    y, final = layer(x, state)
    y[...] = 0
    given = tuple(part.copy() for part in parts(state))
    y, final, tape = layer.forward(x, as_state(given))
    for part in (*parts(final), *given):
        part[...] = np.nan
    grads: dict[str, np.ndarray] = {}
    dx, dinitial = layer.backward(tape, dy, grads=grads)
    np.testing.assert_array_equal(dx, want["dx"])
    np.testing.assert_array_equal(parts(dinitial)[0], want["dh"])
    assert_equal(grads, {name: want[name] for name in grads})


def test_gradients_share_no_memory(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    arrays = list(forward_backward(layer, normal(T, B, I), None, normal(T, B, 2 * H)).values())
    arrays += [parameter.data for parameter in layer.parameters()]
    for place, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:place])


# Tape rules


def test_a_gradient_of_none_is_a_zero_gradient(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, state = normal(T, B, I), state_for(layer, B)
    zero_y = np.zeros((T, B, 2 * H), np.float32)
    zeros = tuple(np.zeros_like(part) for part in parts(state))
    zero_state = as_state(zeros)
    nothing = forward_backward(layer, x, state)
    assert not any(array.any() for name, array in nothing.items() if name not in ("y", *PARTS))
    assert_equal(nothing, forward_backward(layer, x, state, zero_y, zero_state))
    dstate = state_for(layer, B, seed=6)
    assert_equal(
        forward_backward(layer, x, state, None, dstate), forward_backward(layer, x, state, zero_y, dstate)
    )
    dy = normal(T, B, 2 * H)
    assert_equal(forward_backward(layer, x, state, dy), forward_backward(layer, x, state, dy, zero_state))


def test_either_part_of_a_state_or_its_gradient_may_be_none() -> None:
    layer = small_layer("lstm", num_layers=2)
    x, dy, (dh, dc) = normal(T, B, I), normal(T, B, H), state_for(layer, B)
    for some, all_ in (
        ((dh, None), (dh, 0 * dc)),
        ((None, dc), (0 * dh, dc)),
        ((None, None), (0 * dh, 0 * dc)),
    ):
        assert_equal(forward_backward(layer, x, None, dy, some), forward_backward(layer, x, None, dy, all_))
        assert_equal(forward_backward(layer, x, some, dy), forward_backward(layer, x, all_, dy))
    assert_equal(
        forward_backward(layer, x, None, dy, [dh, dc]), forward_backward(layer, x, None, dy, (dh, dc))
    )


def test_without_input_grad_dx_is_none_and_the_rest_is_the_same(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    want = forward_backward(layer, x, None, dy)
    grads: dict[str, np.ndarray] = {}
    dx, dstate = layer.backward(layer.forward(x)[2], dy, input_grad=False, grads=grads)
    assert dx is None
    assert_equal(grads, {name: want[name] for name in grads})
    np.testing.assert_array_equal(parts(dstate)[0], want["dh"])


def test_a_retained_tape_gives_the_same_again_and_then_is_used_up(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True, dropout=0.3)
    y, _, tape = layer.forward(normal(T, B, I))
    dy = normal(*y.shape)
    runs = []
    for retain in (True, True, False):
        grads: dict[str, np.ndarray] = {}
        dx, _ = layer.backward(tape, dy, retain=retain, grads=grads)
        runs.append({"dx": dx, **grads})
    assert_equal(runs[1], runs[0])
    assert_equal(runs[2], runs[0])
    assert "used up" in repr(tape)
    with pytest.raises(ValueError, match=r"^tape: .*used up"):
        layer.backward(tape, dy)


def test_a_tape_of_another_layer_is_refused(cell: str) -> None:
    layer, twin = small_layer(cell), small_layer(cell)
    tape = layer.forward(normal(T, B, I))[2]
    with pytest.raises(ValueError, match=r"^tape: .*another module's"):
        twin.backward(tape)
    with pytest.raises(TypeError, match=r"^tape: expected the tape that forward gave, got tuple"):
        layer.backward((1, 2))
    layer.backward(tape)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_tape_refuses_to_be_copied(take: Any) -> None:
    tape = small_layer("gru").forward(normal(T, B, I))[2]
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        take(tape)


def test_gradients_are_added_until_zeroed(cell: str) -> None:
    layer = small_layer(cell)
    x, dy = normal(T, B, I), normal(T, B, H)
    assert all(parameter.grad is None for parameter in layer.parameters())
    layer.zero_grad()
    assert all(parameter.grad is None for parameter in layer.parameters())
    want = forward_backward(layer, x, None, dy)
    assert all(parameter.grad is None for parameter in layer.parameters())
    for times in (1, 2):
        layer.backward(layer.forward(x)[2], dy)
        for name, parameter in layer.named_parameters():
            np.testing.assert_array_equal(parameter.grad, times * want[name])
    layer.zero_grad()
    assert not any(parameter.grad.any() for parameter in layer.parameters())


def test_a_dict_collects_gradients_in_place_of_the_parameters(cell: str) -> None:
    layer = small_layer(cell)
    x, dy = normal(T, B, I), normal(T, B, H)
    want = forward_backward(layer, x, None, dy)
    mine = np.ones_like(layer.weight_ih_l0.data)
    grads = {"weight_ih_l0": mine, "not the layer's": None}
    layer.backward(layer.forward(x)[2], dy, grads=grads)
    assert grads["weight_ih_l0"] is mine
    np.testing.assert_array_equal(mine, 1 + want["weight_ih_l0"])
    np.testing.assert_array_equal(grads["bias_ih_l0"], want["bias_ih_l0"])
    assert all(parameter.grad is None for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        (np.zeros((1, 1), np.float32), ValueError, "expected shape"),
        (np.zeros((H, H), np.float64), TypeError, "expected an array of float32, got float64"),
        ([0.0], TypeError, "expected an array of float32, got list"),
        (np.broadcast_to(np.float32(0), (H, H)), ValueError, "read-only"),
    ],
)
def test_a_dict_that_does_not_fit_is_refused_before_anything_is_added(
    entry: Any, kind: type, message: str
) -> None:
    layer = small_layer("rnn")
    tape = layer.forward(normal(T, B, I))[2]
    grads = {"weight_ih_l0": np.zeros((H, I), np.float32), "weight_hh_l0": entry}
    with pytest.raises(kind, match=rf"^grads\['weight_hh_l0'\]: .*{message}"):
        layer.backward(tape, normal(T, B, H), grads=grads)
    assert not grads["weight_ih_l0"].any()
    assert list(grads) == ["weight_ih_l0", "weight_hh_l0"]
    with pytest.raises(TypeError, match=r"^grads: expected a dict, got list"):
        layer.backward(tape, grads=[])
    layer.backward(tape)


# Threads


def test_threads_may_share_a_layer(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    inputs = [(normal(T, B, I, seed=seed), normal(T, B, 2 * H, seed=seed + 100)) for seed in range(8)]
    want = [forward_backward(layer, x, None, dy) for x, dy in inputs]
    got: list[Any] = [None] * len(inputs)
    added = 5

    def work(place: int) -> None:
        x, dy = inputs[place]
        for _ in range(added):
            got[place] = forward_backward(layer, x, None, dy)
            layer.backward(layer.forward(x)[2], dy)

    run_together(*[partial(work, place) for place in range(len(inputs))])
    for place in range(len(inputs)):
        assert_equal(got[place], want[place])
    for name, parameter in layer.named_parameters():
        total = added * np.sum([result[name].astype(float) for result in want], axis=0)
        np.testing.assert_allclose(parameter.grad, total, rtol=1e-4, atol=1e-4 * np.abs(total).max())


def test_only_one_of_two_threads_uses_up_a_tape() -> None:
    layer = small_layer("gru")
    refused = []
    for _ in range(20):
        tape = layer.forward(normal(T, B, I))[2]

        def work(tape: Any = tape) -> None:
            try:
                layer.backward(tape)
            except ValueError as error:
                refused.append(str(error))

        run_together(work, work)
    assert len(refused) == 20
    assert all("used up" in message for message in refused)
    tape = layer.forward(normal(T, B, I))[2]
    tape.begin(retain=False)
    with pytest.raises(ValueError, match="used up"):
        tape.begin(retain=False)
