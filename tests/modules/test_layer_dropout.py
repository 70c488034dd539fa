"""Dropout between the layers of a stack: where it acts, and what fixes its masks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal, parts
from helpers.models import forward_backward
from modules.small_layers import B, H, I, T, small_layer

import rnnfast as rf


def test_dropout_acts_between_layers_in_training_alone(cell: str) -> None:
    layer, plain = small_layer(cell, num_layers=2, dropout=0.5), small_layer(cell, num_layers=2)
    x = normal(T, B, I)
    want = plain(x)[0]
    np.testing.assert_array_equal(layer(x)[0], want)
    np.testing.assert_array_equal(layer.forward(x, training=False)[0], want)
    assert layer.mask_calls == 0
    dropped, state, _ = layer.forward(x)
    assert (dropped != want).any()
    assert np.count_nonzero(dropped) == dropped.size  # the last layer's own outputs are whole
    np.testing.assert_array_equal(parts(state)[0][0], parts(plain(x)[1])[0][0])  # and so are the states
    single = small_layer(cell, dropout=0.5)
    np.testing.assert_array_equal(single.forward(x)[0], small_layer(cell)(x)[0])
    assert single.mask_calls == 0


def test_dropout_zeroes_or_scales_what_the_layer_above_reads() -> None:
    layer = rf.RNN(1, 1000, num_layers=2, dropout=0.25, nonlinearity="identity", rng=0)
    for name, parameter in layer.named_parameters():
        parameter.data[...] = np.eye(1000) if name == "weight_ih_l1" else 1 if name == "bias_ih_l0" else 0
    y, _, _ = layer.forward(np.ones((3, 2, 1)))
    scaled = np.float32(1 / 0.75)
    assert set(np.unique(y).tolist()) == {0.0, float(scaled)}
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert all((y[t] != y[0]).any() for t in (1, 2))
    assert (y[:, 0] != y[:, 1]).any()


def test_the_rng_of_a_pass_fixes_its_masks(cell: str) -> None:
    layer, other = (small_layer(cell, num_layers=3, dropout=0.5) for _ in range(2))
    x, dy = normal(T, B, I), normal(T, B, H)
    want = forward_backward(layer, x, None, dy, rng=3)
    assert_equal(forward_backward(layer, x, None, dy, rng=3), want)
    assert layer.mask_calls == 0
    assert (forward_backward(layer, x, None, dy, rng=4)["y"] != want["y"]).any()
    drawn = [layer.forward(x, rng=source)[0] for source in [np.random.default_rng(1)] * 2]
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(layer.forward(x, rng=np.random.default_rng(1))[0], drawn[0])
    # The layer's own masks: one sequence of them per seed, a new one at each call.
    sequence = [layer.forward(x)[0] for _ in range(3)]
    assert (sequence[0] != sequence[1]).any()
    assert (sequence[1] != sequence[2]).any()
    assert layer.mask_calls == 3
    for y in sequence:
        np.testing.assert_array_equal(other.forward(x)[0], y)


def test_masks_of_a_sequence_do_not_depend_on_its_batch(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, dropout=0.5)
    x = normal(T, B, I)
    whole = layer.forward(x, rng=3)[0]
    np.testing.assert_array_equal(layer.forward(x[:, :2], rng=3)[0], whole[:, :2])
    np.testing.assert_array_equal(layer.forward(x[:3], rng=3)[0], whole[:3])


def test_masks_drawn_in_several_pieces_are_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = small_layer(cell, num_layers=3, dropout=0.5, bidirectional=True)
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    want = forward_backward(layer, x, None, dy, rng=3)
    for size in (1, 2 * B * 2 * H):
        monkeypatch.setattr("rnnfast.recurrent.masks.MASK_NUMBERS", size)
        assert_equal(forward_backward(layer, x, None, dy, rng=3), want)


def test_a_refused_pass_draws_no_mask(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, dropout=0.5)
    with pytest.raises(ValueError, match=r"^x: "):
        layer.forward(np.zeros((T, B, I + 1)))
    with pytest.raises((ValueError, TypeError), match=r"^state"):
        layer.forward(normal(T, B, I), np.zeros((1, B, H)))
    assert layer.mask_calls == 0
