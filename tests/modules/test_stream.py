"""Streams: the bits of the layer, one step a call; the state kept, set and reset; clear refusals."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal_like

import rnnfast as rf
from rnnfast import _core
from rnnfast.recurrent.stream import Stream

LAYERS = {
    "rnn": lambda **keywords: rf.RNN(5, 7, **keywords),
    "relu": lambda **keywords: rf.RNN(5, 33, nonlinearity="relu", **keywords),
    "lstm": lambda **keywords: rf.LSTM(5, 17, **keywords),
    "gru": lambda **keywords: rf.GRU(5, 40, **keywords),
    "mingru": lambda **keywords: rf.MinGRU(5, 70, candidate="positive", **keywords),
    "minlstm": lambda **keywords: rf.MinLSTM(5, 17, num_layers=2, **keywords),
    "stack": lambda **keywords: rf.LSTM(5, 20, num_layers=3, **keywords),
    "no bias": lambda **keywords: rf.GRU(5, 6, bias=False, **keywords),
    "peephole": lambda **keywords: rf.LSTM(5, 17, peephole=True, cell_clip=0.4, **keywords),
    "coupled": lambda **keywords: rf.LSTM(5, 17, coupled_gates=True, **keywords),
    "projection": lambda **keywords: rf.LSTM(5, 33, num_layers=2, proj_size=18, **keywords),
    "reset before": lambda **keywords: rf.GRU(5, 20, num_layers=2, reset_after=False, **keywords),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2, 5, 50])
def test_a_stream_gives_the_bits_of_its_layer(kind, dtype, batch, isa):
    layer = LAYERS[kind](dtype=dtype, rng=1)
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, batch, 5)).astype(dtype)
    _, zero = layer(x[:0])
    initial = normal_like(zero)
    y, final = layer(x, initial)
    step = layer.stream(batch)
    step.state = initial
    np.testing.assert_array_equal([step(x_t) for x_t in x], y)
    assert_equal(step.state, final)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("proj_size", [0, 40])
def test_threads_do_not_change_a_bit(proj_size, threads, restored):
    layer = rf.LSTM(70, 100, num_layers=2, proj_size=proj_size, rng=0)
    x = np.random.default_rng(0).normal(size=(4, 3, 70)).astype(np.float32)
    y, _ = layer(x)
    rf.set_num_threads(threads)
    _core.force_split("units")
    step = layer.stream(3)
    np.testing.assert_array_equal([step(x_t) for x_t in x], y)


def test_one_sequence_may_come_unbatched():
    layer = rf.GRU(3, 4, rng=0)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    step = layer.stream()
    got = [step(x_t) for x_t in x]
    assert got[0].shape == (4,)
    np.testing.assert_array_equal(got, layer(x)[0])


def test_the_output_and_the_state_are_the_callers_own():
    step = rf.LSTM(3, 4, rng=0).stream(2)
    x = np.ones((2, 3), np.float32)
    first = step(x)
    kept = first.copy()
    h, _ = step.state
    h[:] = 9
    second = step(x)
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)
    assert not (step.state[0] == 9).any()


def test_reset_zeroes_the_chosen_sequences():
    layer = rf.LSTM(3, 4, num_layers=2, rng=0)
    x = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    step = layer.stream(2)
    step(x[0])
    step.reset(np.array([False, True]))
    h, c = step.state
    assert not h[:, 1].any()
    assert not c[:, 1].any()
    assert h[:, 0].all()
    other = layer.stream(2)
    np.testing.assert_array_equal(step(x[1])[1], other(x[1])[1])
    step.reset()
    assert not any(part.any() for part in step.state)


@pytest.mark.parametrize(
    "layer", [rf.RNN(3, 4, rng=0), rf.LSTM(3, 4, peephole=True, rng=0)], ids=["rnn", "peephole"]
)
def test_a_stream_is_a_snapshot_until_it_is_refreshed(layer):
    x = np.ones((1, 3), np.float32)
    step = layer.stream()
    want = layer(x[None])[0][0]
    for parameter in layer.parameters():
        parameter.data *= 0.5
    np.testing.assert_array_equal(step(x), want)
    step.reset()
    step.refresh()
    np.testing.assert_array_equal(step(x), layer(x[None])[0][0])


@pytest.mark.parametrize(
    "x",
    [
        np.ones((2, 3)),
        np.ones((3, 2), np.float32).T,
        np.ones((2, 6), np.float32)[:, ::2],
        [[1, 1.0, 1], [1, 1, 1]],
    ],
    ids=["float64", "transposed", "strided", "list"],
)
def test_other_floats_and_layouts_are_cast(x):
    layer = rf.GRU(3, 4, rng=0)
    want = layer.stream(2)(np.ones((2, 3), np.float32))
    got = layer.stream(2)(x)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, want)


def test_a_sequential_streams_all_its_modules():
    model = rf.Sequential(
        rf.Embedding(6, 5, rng=0), rf.LSTM(5, 8, rng=1), rf.Dropout(0.5, rng=2), rf.Linear(8, 3, rng=3)
    )
    x = np.random.default_rng(0).integers(6, size=(4, 2))
    y, state = model(x)
    step = model.stream(2)
    np.testing.assert_array_equal([step(x_t) for x_t in x], y)
    for mine, want in zip(step.state[1], state[1], strict=True):
        np.testing.assert_array_equal(mine, want)
    step.reset(np.array([True, False]))
    assert not step.state[1][0][:, 0].any()
    step.state = state
    np.testing.assert_array_equal(step(x[0]), model(x[:1], state)[0][0])
    model[3].weight.data[:] = 0
    model[1].weight_ih_l0.data[:] = 0
    step.state = None
    step.refresh()
    np.testing.assert_array_equal(step(x[0]), model(x[:1])[0][0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rf.LSTM(3, 4, bidirectional=True).stream(), ValueError, "bidirectional"),
        (lambda: rf.LSTM(3, 4).stream(0), ValueError, "batch: expected at least 1"),
        (lambda: rf.LSTM(3, 4).stream(1.5), TypeError, "batch: expected an integer"),
        (lambda: rf.LSTM(3, 4).stream(2)(np.ones((3, 3), "f")), ValueError, r"x: expected shape \[2, 3\]"),
        (lambda: rf.LSTM(3, 4).stream(2)(np.ones(3, "f")), ValueError, r"x: expected shape \[2, 3\]"),
        (lambda: rf.LSTM(3, 4).stream()(np.ones((1, 3), int)), TypeError, "x: expected"),
        (lambda: rf.LSTM(3, 4).stream().reset([1]), TypeError, "mask: expected dtype bool"),
        (lambda: rf.LSTM(3, 4).stream().reset([True, False]), ValueError, r"mask: expected shape \[1\]"),
        (
            lambda: setattr(rf.LSTM(3, 4).stream(), "state", np.ones((1, 1, 4))),
            TypeError,
            "state: expected a pair",
        ),
        (lambda: setattr(rf.GRU(3, 4).stream(), "state", np.ones((1, 2, 4))), ValueError, "state"),
        (
            lambda: setattr(rf.LSTM(3, 4).stream(), "state", ([[1.0], [1.0, 2.0]], None)),
            ValueError,
            "state h: expected",
        ),
        (lambda: rf.Sequential(rf.GRU(3, 4), rf.Last()).stream(), ValueError, r"module 1 \(Last\)"),
        (
            lambda: rf.Sequential(rf.Linear(3, 3), rf.GRU(3, 4, bidirectional=True)).stream(),
            ValueError,
            r"module 1 \(GRU\)",
        ),
        (lambda: setattr(rf.Sequential(rf.GRU(3, 4)).stream(), "state", ()), ValueError, "state: expected"),
        (lambda: pickle.dumps(rf.GRU(3, 4).stream()), TypeError, "cannot be pickled"),
        (lambda: copy.deepcopy(rf.Sequential(rf.GRU(3, 4)).stream()), TypeError, "cannot be pickled"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_stream_that_was_never_set_up_is_refused():
    step = Stream.__new__(Stream)
    for use in (step.refresh, lambda: step(np.ones(3, np.float32))):
        with pytest.raises(RuntimeError, match="never set up"):
            use()
