"""The model of a fixed window: what it sees, its gradients, and that it goes on where it stopped."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers.arrays import normal64
from helpers.differences import assert_gradients

import rnnfast as rf
from rnnfast.text import Window, window_model

T, B, N = 7, 3, 2


def plain(x, size, state=None, reset=None):
    """y of a window by its definition."""
    y = np.zeros((T, B, size, N))
    for t in range(T):
        for b in range(B):
            for back in range(size):
                if t - back >= 0:
                    y[t, b, size - 1 - back] = x[t - back, b]
                elif state is not None:
                    y[t, b, size - 1 - back] = state[t - back, b]
                if reset is not None and t - back >= 0 and reset[t - back, b]:
                    break  # steps before an episode's beginning are out of sight
    return y.reshape(T, B, size * N)


RESET = np.random.default_rng(3).random((T, B)) < 0.3


@pytest.mark.parametrize("reset", [None, RESET], ids=["one episode", "several episodes"])
@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_a_window_is_what_the_definition_says(size, reset):
    x, state = normal64(T, B, N), normal64(size - 1, B, N, seed=2)
    y, _ = Window(size)(x, state, reset=reset)
    np.testing.assert_array_equal(y, plain(x, size, state, reset))


@pytest.mark.parametrize("reset", [None, RESET], ids=["one episode", "several episodes"])
@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_gradients_agree_with_finite_differences(size, reset):
    assert_gradients(Window(size), normal64(T, B, N), normal64(size - 1, B, N, seed=2), reset=reset)


def test_the_gradients_of_tanh_and_of_the_model():
    assert_gradients(rf.Tanh(), normal64(4, 3))
    x = normal64(T, B, N)
    model = rf.Sequential(
        Window(3),
        rf.Linear(3 * N, 5, dtype="float64", rng=0),
        rf.Tanh(),
        rf.Linear(5, 4, dtype="float64", rng=1),
    )
    assert_gradients(model, x, (normal64(2, B, N, seed=4), None, None, None))


@pytest.mark.parametrize("size", [1, 3, 20])
def test_whole_in_chunks_and_in_steps_it_gives_the_same_bits(size):
    model = window_model(6, size, embedding=4, hidden=8, layers=2, rng=0)
    x = np.random.default_rng(0).integers(6, size=(T, B))
    whole, final = model(x)
    first, state = model(x[:2])
    second, ended = model(x[2:], state)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    np.testing.assert_array_equal(ended[1], final[1])
    step = model.stream(B)
    np.testing.assert_array_equal(np.stack([step(x_t) for x_t in x]), whole)
    np.testing.assert_array_equal(step.state[1], final[1])


def test_a_stream_can_be_set_back():
    model = window_model(6, 3, embedding=4, hidden=8, rng=0)
    step = model.stream(2)
    assert step.state[1] is None
    first = step(np.array([1, 2]))
    step(np.array([3, 4]))
    kept = step.state
    after = step(np.array([5, 0]))
    step.state = kept
    np.testing.assert_array_equal(step(np.array([5, 0])), after)
    step.reset(np.array([True, False]))
    np.testing.assert_array_equal(step(np.array([1, 2]))[0], first[0])
    step.state = None
    step.refresh()
    np.testing.assert_array_equal(step(np.array([1, 2])), first)
    with pytest.raises(TypeError, match="a stream cannot be pickled"):
        pickle.dumps(Window(2).stream())


def test_no_gradient_and_no_step():
    window = Window(3)
    x = normal64(T, B, N)
    _, _, tape = window.forward(x)
    dx, dstate = window.backward(tape)
    assert not dx.any()
    assert not dstate.any()
    _, _, tape = window.forward(x)
    assert window.backward(tape, input_grad=False)[0] is None
    state = normal64(2, B, N)
    y, final = window(x[:0], state, reset=RESET[:0])
    assert y.shape == (0, B, 3 * N)
    np.testing.assert_array_equal(final, state)


def test_it_can_be_copied():
    model = window_model(5, 2, embedding=3, hidden=4, rng=0)
    x = np.array([[1], [4]])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x)[0], model(x)[0])
    assert repr(model[1]) == "Window(2)"


def test_it_learns_what_its_window_holds():
    x = np.random.default_rng(0).integers(4, size=(60, 8))
    targets = np.concatenate([np.zeros((2, 8), int), x[:-2]])  # what came two steps before
    losses = {}
    for size in (2, 3):
        model = window_model(4, size, embedding=8, hidden=32, rng=0)
        history = rf.fit(
            model,
            rf.losses.cross_entropy,
            (x, targets),
            rf.optim.Adam(model.parameters(), lr=0.02),
            batch_size=None,
            epochs=60,
            progress=False,
            axes=(1, 1),
        )
        losses[size] = history.loss[-1]
    assert losses[3] < 0.05 < 1.0 < losses[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Window(0), ValueError, "size: expected at least 1, got 0"),
        (lambda: window_model(3, 2.5), TypeError, r"window: expected an integer, got 2\.5"),
        (lambda: Window(2)(normal64(3, 2)), ValueError, r"x: expected shape \[T, B, N\], got \(3, 2\)"),
        (lambda: Window(2)(normal64(3, 2, 1), normal64(2, 2, 1)), ValueError, "state: expected shape"),
        (
            lambda: Window(2)(normal64(3, 2, 1), reset=np.ones((3, 2))),
            TypeError,
            "reset: expected dtype bool",
        ),
        (lambda: Window(2)(normal64(3, 2, 1), reset=np.ones(3, bool)), ValueError, "reset: expected shape"),
        (
            lambda: Window(2).stream(2)(normal64(3, 1)),
            ValueError,
            r"x: expected shape \[2, N\], got \(3, 1\)",
        ),
        (
            lambda: setattr(Window(2).stream(2), "state", normal64(2, 2, 1)),
            ValueError,
            "state: expected shape",
        ),
        (lambda: rf.Tanh()(np.ones(2), np.ones(2)), ValueError, "state: expected None"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
