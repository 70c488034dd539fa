"""`matmul_precision` of layers and models: where it is set, what keeps it, the bits of every way to run."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal
from modules.small_layers import CELLS, B, H, I, T, small_layer

import rnnfast as rf
from rnnfast import _core

x, dy = normal(T, B, I), normal(T, B, H, seed=2)
all_precisions = pytest.mark.parametrize("precision", ["bfloat16", "int8"])


def results(layer, x=x, dy=dy, **keywords):
    """y, the state and all gradients of a call."""
    layer.zero_grad()
    y, state, tape = layer.forward(x, **keywords)
    dx, dstate = layer.backward(tape, dy)
    return y, state, dx, dstate, {name: own.grad.copy() for name, own in layer.named_parameters()}


@pytest.mark.parametrize("cell", CELLS)
def test_evaluation_streams_and_recomputation_have_the_bits_of_training(cell):
    layer = small_layer(cell, num_layers=2, matmul_precision="bfloat16")
    y, state, dx, dstate, _ = results(layer)
    assert_equal(layer(x), (y, state))
    step = layer.stream(B)
    assert_equal(np.stack([step(x_t) for x_t in x]), y)
    assert_equal(step.state, state)
    first, middle = layer(x[:2])
    assert_equal(np.concatenate([first, layer(x[2:], middle)[0]]), y)
    assert_equal(results(layer, checkpoint=2)[:4], (y, state, dx, dstate))


@pytest.mark.parametrize(("precision", "most"), [("bfloat16", 0.05), ("int8", 0.1)])
@pytest.mark.parametrize("cell", CELLS)
def test_it_is_another_result_than_float32_s(cell, precision, most):
    got, want = small_layer(cell, matmul_precision=precision)(x)[0], small_layer(cell)(x)[0]
    assert not np.array_equal(got, want)
    np.testing.assert_allclose(got, want, atol=most)


@all_precisions
@pytest.mark.parametrize("cell", CELLS)
def test_two_directions_lengths_resets_and_tokens(cell, precision):
    layer = small_layer(cell, bidirectional=True, matmul_precision=precision)
    tokens = np.random.default_rng(0).integers(0, 3, (T, B))
    model = rf.Sequential(rf.Embedding(3, I, rng=1), layer)
    keywords = {"lengths": np.array([T, 2, 0]), "reset": np.arange(T * B).reshape(T, B) % 4 == 1}
    y = model(tokens, **keywords)[0]
    rows = model[0].weight.data[tokens]
    assert_equal(y, layer(rows, **keywords)[0])
    if precision != "int8":
        again, _, tape = model.forward(tokens, **keywords)
        assert_equal(again, y)
        model.backward(tape, np.ones_like(y))
    for b in range(B):
        alone = {"lengths": keywords["lengths"][b : b + 1], "reset": keywords["reset"][:, b : b + 1]}
        assert_equal(layer(rows[:, b : b + 1], **alone)[0], y[:, b : b + 1])


@all_precisions
def test_linear(precision, isa):
    plain, rounded = (rf.Linear(7, 5, rng=0, matmul_precision=name) for name in ("float32", precision))
    wide = normal(3, 4, 7)
    y = rounded(wide)[0]
    assert not np.array_equal(y, plain(wide)[0])
    np.testing.assert_allclose(y, plain(wide)[0], atol=0.05)
    assert_equal(rounded(wide[1:2])[0], y[1:2])


def test_the_gradients_of_linear(isa):
    plain, rounded = (rf.Linear(7, 5, rng=0, matmul_precision=name) for name in ("float32", "bfloat16"))
    wide = normal(3, 4, 7)
    y = rounded(wide)[0]
    dx, _ = rounded.backward(rounded.forward(wide)[2], np.ones_like(y))
    np.testing.assert_allclose(dx, plain.backward(plain.forward(wide)[2], np.ones_like(y))[0], atol=0.02)
    np.testing.assert_allclose(rounded.weight.grad, plain.weight.grad, atol=0.05)
    assert_equal(rounded.bias.grad, plain.bias.grad)


@all_precisions
def test_a_model_sets_all_members_that_multiply(precision):
    model = rf.Sequential(rf.Embedding(5, 4), rf.LSTM(4, 6), rf.Dropout(0.1), rf.Linear(6, 5))
    assert model.matmul_precision == "float32"
    model.matmul_precision = precision
    assert [module.matmul_precision for module in model] == [None, precision, None, precision]
    model[1].matmul_precision = "float32"
    assert model.matmul_precision == "mixed"
    assert rf.Dropout(0.1).matmul_precision is None
    rounded = rf.Sequential(rf.LSTM(4, 6, rng=0, matmul_precision=precision), rf.Linear(6, 5, rng=1))
    again = rf.Sequential(rf.LSTM(4, 6, rng=0), rf.Linear(6, 5, rng=1))
    again[0].matmul_precision = precision
    assert_equal(again(x), rounded(x))


def test_a_tape_and_a_stream_keep_their_precision():
    layer = small_layer("gru", matmul_precision="bfloat16")
    want = results(layer)
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    step = layer.stream(B)
    layer.matmul_precision = "float32"
    dx, _ = layer.backward(tape, dy)
    assert_equal(dx, want[2])
    assert_equal(step(x[0]), y[0])


def test_a_tape_of_linear_keeps_its_precision():
    linear = rf.Linear(I, H, rng=0, matmul_precision="bfloat16")
    want = results(linear)
    linear.zero_grad()
    _, _, tape = linear.forward(x)
    linear.matmul_precision = "float32"
    assert_equal(linear.backward(tape, dy)[0], want[2])
    assert_equal(linear.weight.grad, want[4]["weight"])


@all_precisions
def test_copies_and_repr(precision):
    layer = small_layer("lstm", matmul_precision=precision)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.matmul_precision == precision
        assert_equal(other(x), layer(x))
    assert f"matmul_precision='{precision}'" in repr(layer)
    assert "matmul_precision" not in repr(small_layer("lstm"))


@all_precisions
@pytest.mark.parametrize("make", [rf.RNN, rf.LSTM, rf.GRU, rf.IndRNN, rf.MinGRU, rf.Linear])
def test_float64_and_unknown_names_are_refused(make, precision):
    with pytest.raises(
        ValueError, match=rf"matmul_precision: expected 'float32'.*float64, got '{precision}'"
    ):
        make(3, 4, dtype="float64", matmul_precision=precision)
    with pytest.raises((TypeError, ValueError), match=r"matmul_precision: expected one of .*got 'half'"):
        make(3, 4, matmul_precision="half")


def test_nothing_is_set_where_a_member_is_float64():
    model = rf.Sequential(rf.GRU(3, 4), rf.Linear(4, 2, dtype="float64"))
    with pytest.raises(ValueError, match=r"matmul_precision: expected 'float32'"):
        model.matmul_precision = "bfloat16"
    assert model.matmul_precision == "float32"


def test_the_precisions_of_all_modules_are_read_and_set_by_name():
    model = rf.Sequential(rf.Embedding(5, 4), rf.LSTM(4, 6, matmul_precision="bfloat16"), rf.Linear(6, 5))
    assert model.matmul_precisions() == {"1": "bfloat16", "2": "float32"}
    model.load_matmul_precisions({"2": "bfloat16", "0": "float32", "elsewhere": "float32"})
    assert model.matmul_precisions() == {"1": "bfloat16", "2": "bfloat16"}
    for wrong, message in (
        ({"1": "float32", "2": "half"}, "expected one of"),
        ({"1": "float32", "0": "bfloat16"}, "expected '0' to be a module that multiplies, got none"),
    ):
        with pytest.raises(ValueError, match=rf"^matmul_precision: {message}"):
            model.load_matmul_precisions(wrong)
        assert model.matmul_precision == "bfloat16"


def test_the_matrices_of_products_are_listed():
    lstm = rf.LSTM(4, 6, bidirectional=True, proj_size=2, peephole=True)
    names = [f"weight_{kind}_l0{way}" for way in ("", "_reverse") for kind in ("ih", "hh", "hr")]
    assert sorted(lstm.multiplied()) == sorted(names)
    assert rf.IndRNN(4, 6).multiplied() == ["weight_ih_l0"]
    assert rf.Dropout(0.1).multiplied() == rf.Embedding(4, 6).multiplied() == []
    shared = rf.Sequential(rf.Linear(3, 3), rf.Linear(3, 3))
    shared[1].weight = shared[0].weight
    assert shared.multiplied() == ["0.weight"]


def test_the_kernels_say_which_products_have_an_instruction():
    assert set(_core.product_instructions()) <= {"bfloat16", "int8"}
