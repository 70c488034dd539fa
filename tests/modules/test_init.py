"""The promises of the initialisers: orthogonality to rounding, spreads, gates, seeds, clear refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import rnnfast as rf
from rnnfast.nn import init
from rnnfast.nn.parameter import Parameter


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 6), (7, 3), (3, 7), (1, 1), (64, 64), (0, 4)])
def test_orthogonal_is_orthogonal_to_rounding(shape: tuple[int, int], dtype: str) -> None:
    matrix = np.full(shape, np.nan, dtype)
    init.orthogonal(matrix, rng=0)
    exact = matrix.astype(np.float64)
    product = exact.T @ exact if shape[0] >= shape[1] else exact @ exact.T
    assert np.abs(product - np.eye(len(product))).max(initial=0) <= 8 * np.finfo(dtype).eps * math.sqrt(
        max(shape)
    )


def test_orthogonal_is_uniform_over_signs_and_scaled_by_its_gain() -> None:
    rng = np.random.default_rng(0)
    corners = []
    for _ in range(200):
        matrix = np.empty((3, 3))
        init.orthogonal(matrix, gain=2.0, rng=rng)
        assert np.allclose(matrix.T @ matrix, 4 * np.eye(3))
        corners.append(matrix[0, 0] > 0)
    assert 60 < sum(corners) < 140  # without the sign of R's diagonal, Q's corner keeps one sign


def test_each_block_is_orthogonal_on_its_own_also_in_a_view() -> None:
    whole = np.zeros((12, 8))
    view = whole[:, ::2]
    init.orthogonal(view, blocks=3, rng=1)
    for block in np.split(view, 3):
        assert np.allclose(block.T @ block, np.eye(4), atol=1e-14)
    assert not whole[:, 1::2].any()


@pytest.mark.parametrize("blocks", [1, 4])
def test_xavier_has_its_spread(blocks: int) -> None:
    weight = Parameter(np.zeros((400, 300)))
    variance = 2.0 / (300 + 400 / blocks)
    init.xavier_uniform(weight, 1.5, blocks=blocks, rng=0)
    bound = 1.5 * math.sqrt(3 * variance)
    assert 0.999 * bound < np.abs(weight.data).max() <= bound
    assert math.isclose(weight.data.var(), 2.25 * variance, rel_tol=0.02)
    init.xavier_normal(weight, 1.5, blocks=blocks, rng=0)
    assert math.isclose(weight.data.var(), 2.25 * variance, rel_tol=0.02)
    assert np.abs(weight.data).max() > 1.5 * bound


def test_identity_repeats_its_diagonal_in_each_block() -> None:
    matrix = np.full((4, 2), np.nan, np.float32)
    init.identity(matrix, 0.5, blocks=2)
    assert matrix.tolist() == [[0.5, 0.0], [0.0, 0.5], [0.5, 0.0], [0.0, 0.5]]


@pytest.mark.parametrize("fill", [init.orthogonal, init.xavier_uniform, init.xavier_normal])
def test_the_same_seed_gives_the_same_numbers(fill: Any) -> None:
    first, second, third = np.empty((3, 4, 4))
    fill(first, rng=5)
    fill(second, rng=5)
    fill(third, rng=np.random.default_rng(5))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    fill(second, rng=None)
    assert not np.array_equal(first, second)


def test_forget_bias_sets_one_gate_of_every_layer_and_direction() -> None:
    lstm = rf.LSTM(2, 3, num_layers=2, bidirectional=True, rng=0)
    before = lstm.state_dict()
    init.forget_bias(lstm, 1.5)
    for name, param in lstm.named_parameters():
        want = before[name]
        if name.startswith("bias"):
            want[3:6] = 1.5 if name.startswith("bias_ih") else 0.0
        assert np.array_equal(param.data, want), name


@pytest.mark.parametrize("kind", [rf.RNN, rf.GRU, rf.LSTM])
def test_recurrent_fills_each_gate(kind: Any) -> None:
    layer = kind(3, 5, num_layers=2, bidirectional=True, dtype="float64", rng=0)
    init.recurrent(layer, rng=1)
    for name, param in layer.named_parameters():
        if name.startswith("bias"):
            assert not param.data.any()
        for block in np.split(param.data, param.shape[0] // 5):
            if name.startswith("weight_hh"):
                assert np.allclose(block.T @ block, np.eye(5), atol=1e-14)
            if name.startswith("weight_ih"):
                assert 0 < np.abs(block).max() <= math.sqrt(6 / sum(block.shape))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.orthogonal(np.ones(3)), ValueError, r"target: expected a matrix, got shape \(3,\)"),
        (
            lambda: init.identity(np.ones((2, 2), int)),
            TypeError,
            "target: expected a Parameter or .*, got int64",
        ),
        (lambda: init.xavier_normal([[1.0]]), TypeError, "target: .* got list"),
        (lambda: init.xavier_normal(rf.GRU(2, 3)), TypeError, "target: .* got GRU"),
        (
            lambda: init.orthogonal(np.ones((4, 2)), blocks=3),
            ValueError,
            "blocks: expected a divisor of the 4 rows",
        ),
        (lambda: init.orthogonal(np.ones((4, 2)), rng="dice"), TypeError, "rng"),
        (lambda: init.forget_bias(rf.GRU(2, 3)), ValueError, "layer: expected an LSTM .*, got GRU"),
        (lambda: init.forget_bias(rf.LSTM(2, 3, bias=False)), ValueError, "bias=False"),
        (lambda: init.forget_bias(rf.IndRNN(2, 3)), TypeError, "expected an RNN, LSTM or GRU, got IndRNN"),
        (lambda: init.recurrent(rf.MinGRU(2, 3)), TypeError, "expected an RNN, LSTM or GRU, got MinGRU"),
        (
            lambda: init.forget_bias(rf.Linear(2, 3)),
            TypeError,
            "layer: expected an RNN, LSTM or GRU, got Linear",
        ),
        (lambda: init.recurrent(rf.Linear(2, 3)), TypeError, "layer"),
    ],
)
def test_wrong_targets_are_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_layer_with_a_recurrent_vector_is_refused_before_it_is_written() -> None:
    layer = rf.IndRNN(2, 3, rng=0)
    before = layer.state_dict()
    with pytest.raises(TypeError, match=r"^layer: expected an RNN, LSTM or GRU, got IndRNN$"):
        init.recurrent(layer, rng=1)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
