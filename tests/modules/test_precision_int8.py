"""`matmul_precision="int8"` of layers and models: the bits of every way to evaluate, and no gradients."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal
from modules.small_layers import CELLS, B, H, I, T, small_layer

import rnnfast as rf

x = normal(T, B, I)
NO_GRADIENT = "matmul_precision: expected 'float32' or 'bfloat16' in a forward pass for gradients, got 'int8'"


class Doubled(rf.Module):
    """A module of a user's own, which evaluates by its forward."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.head = rf.Linear(H, 2, rng=5)

    def forward(self, x, state=None):
        y, state, inner = self.inner.forward(x, state)
        y, _, head = self.head.forward(y)
        self.tapes = [inner, head]
        return 2 * y, state, (inner, head)

    def backward(self, tape, dy=None, dstate=None):
        dy, _ = self.head.backward(tape[1], None if dy is None else 2 * dy)
        return self.inner.backward(tape[0], dy, dstate)


@pytest.mark.parametrize("cell", CELLS)
def test_calls_streams_and_chunks_have_the_same_bits(cell):
    layer = small_layer(cell, num_layers=2, matmul_precision="int8")
    y, state = layer(x)
    step = layer.stream(B)
    assert_equal(np.stack([step(x_t) for x_t in x]), y)
    assert_equal(step.state, state)
    first, middle = layer(x[:2])
    rest, last = layer(x[2:], middle)
    assert_equal((np.concatenate([first, rest]), last), (y, state))
    assert_equal(layer(x, return_states=True)[:2], (y, state))
    for b in range(B):
        assert_equal(layer(x[:, b : b + 1])[0], y[:, b : b + 1])


def test_later_steps_and_neighbours_change_nothing():
    layer = small_layer("lstm", matmul_precision="int8")
    y = layer(x)[0]
    other = x.copy()
    other[2:] *= 1000
    other[:, 1:] *= 1000
    assert_equal(layer(other)[0][:2, :1], y[:2, :1])


@pytest.mark.parametrize(
    "make",
    [
        *(lambda cell=cell: small_layer(cell) for cell in CELLS),
        lambda: rf.Linear(I, H),
        lambda: rf.Sequential(rf.Dropout(0.5, rng=0), small_layer("gru"), rf.Linear(H, 2)),
        lambda: Doubled(small_layer("rnn")),
    ],
)
def test_a_forward_pass_for_gradients_is_refused_before_anything_changes(make):
    model = make()
    model.matmul_precision = "int8"
    before = pickle.dumps(model)
    for keywords in [{}, {"training": False}] if "training" in model.takes else [{}]:
        with pytest.raises(ValueError, match=NO_GRADIENT):
            model.forward(x, **keywords)
    with pytest.raises(ValueError, match=NO_GRADIENT):
        rf.loss_and_grad(model, rf.losses.mse, x, np.zeros((T, B, 2), np.float32))
    assert pickle.dumps(model) == before
    model.matmul_precision = "bfloat16"
    model.forward(x)


def test_a_user_s_module_evaluates_through_its_forward():
    model = Doubled(small_layer("gru"))
    model.matmul_precision = "int8"
    h, state = model.inner(x)
    assert_equal(model(x), (2 * model.head(h)[0], state))


@pytest.mark.parametrize("cell", CELLS)
def test_a_tape_of_an_evaluation_has_no_gradient(cell):
    model = Doubled(small_layer(cell))
    model.matmul_precision = "int8"
    model(x)
    for member, tape in zip((model.inner, model.head), model.tapes, strict=True):
        with pytest.raises(
            ValueError, match="tape: expected one with gradients, got one of products in int8"
        ):
            member.backward(tape)


def test_one_member_in_int8_is_enough_to_refuse():
    model = rf.Sequential(rf.Embedding(5, 4), rf.LSTM(4, 6, matmul_precision="int8"), rf.Linear(6, 5))
    with pytest.raises(ValueError, match=NO_GRADIENT):
        model.forward(np.zeros((2, 3), int))


def test_a_stream_keeps_its_precision_and_takes_new_weights():
    layer = small_layer("gru", matmul_precision="int8")
    y = layer(x)[0]
    step = layer.stream(B)
    layer.matmul_precision = "float32"
    assert_equal(step(x[0]), y[0])
    layer.weight_hh_l0.data *= 2
    layer.matmul_precision = "int8"
    step.refresh()
    step.reset()
    assert_equal(np.stack([step(x_t) for x_t in x]), layer(x)[0])
