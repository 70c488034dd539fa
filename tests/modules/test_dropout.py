"""Dropout: gradients, the scale of what is kept, what fixes the masks."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients

import rnnfast as rf

T, B, N = 5, 3, 4


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (4, 3, 2), (2, 3, 2, 2), (0, 3), (2, 0, 3)])
def test_dropout_gradients_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    assert_gradients(rf.Dropout(0.5, rng=0), normal(*shape, dtype=float), rng=5)


def test_dropout_zeroes_or_scales_and_backward_does_the_same() -> None:
    dropout = rf.Dropout(0.25, rng=0)
    x = np.ones((50, 20, 30), np.float32)
    y, _, tape = dropout.forward(x)
    assert y.dtype == np.float32
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs((y == 0).mean() - 0.25) < 0.01
    dy = normal(50, 20, 30)
    np.testing.assert_array_equal(dropout.backward(tape, dy)[0], dy * y)


def test_dropout_changes_nothing_outside_of_training() -> None:
    dropout = rf.Dropout(0.5, rng=0)
    x = normal(T, B, N)
    y, _, tape = dropout.forward(x, training=False)
    for kept in (dropout(x)[0], y, rf.Dropout(0.0).forward(x)[0]):
        np.testing.assert_array_equal(kept, x)
    np.testing.assert_array_equal(dropout.backward(tape, x)[0], x)
    assert dropout.mask_calls == 0
    assert dropout.dtype is None
    assert repr(dropout) == "Dropout(0.5)"


def test_the_seed_the_call_and_the_position_fix_the_masks_of_dropout() -> None:
    dropout, other = rf.Dropout(0.5, rng=3), rf.Dropout(0.5, rng=3)
    x = np.ones((6, 4, 8), np.float32)
    calls = [dropout.forward(x)[0] for _ in range(3)]
    assert (calls[0] != calls[1]).any()
    assert (calls[1] != calls[2]).any()
    for y in calls:
        np.testing.assert_array_equal(other.forward(x)[0], y)
    fixed = dropout.forward(x, rng=9)[0]
    np.testing.assert_array_equal(dropout.forward(x, rng=9)[0], fixed)
    np.testing.assert_array_equal(dropout.forward(x[:3, :2], rng=9)[0], fixed[:3, :2])
    stacks = rf.RNN(8, 8, num_layers=2, nonlinearity="identity", dropout=0.5, rng=0)
    for name, parameter in stacks.named_parameters():
        parameter.data[...] = np.eye(8) if name.startswith("weight_ih") else 0
    assert (stacks.forward(x, rng=9)[0] != fixed).any()  # one seed, yet not one mask
    assert dropout.mask_calls == 3
    with pytest.raises(TypeError, match=r"^x: "):
        dropout.forward(np.zeros(3, int))
    assert dropout.mask_calls == 3
