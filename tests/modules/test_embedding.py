"""Embedding: gradients, kinds of integers, the order of sums, initial weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients

import rnnfast as rf


@pytest.mark.parametrize("shape", [(), (7,), (4, 3), (2, 2, 2), (0,), (3, 0)])
def test_embedding_gradients_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    embedding = rf.Embedding(5, 3, dtype="float64", rng=0)
    assert_gradients(embedding, np.random.default_rng(0).integers(0, 5, shape))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_embedding_reads_integers_of_any_kind(dtype: Any) -> None:
    embedding = rf.Embedding(5, 3, rng=0)
    x = np.array([[4, 0, 4], [1, 1, 2]])
    y, _, tape = embedding.forward(x.astype(dtype))
    np.testing.assert_array_equal(y, embedding.weight.data[x])
    dx, _ = embedding.backward(tape, np.ones_like(y))
    assert dx is None
    np.testing.assert_array_equal(embedding.weight.grad[:, 0], [1, 2, 1, 0, 2])
    np.testing.assert_array_equal(embedding(x.tolist())[0], y)
    np.testing.assert_array_equal(embedding(np.asfortranarray(x.astype(dtype)))[0], y)


def test_embedding_adds_repeated_rows_exactly_and_in_order() -> None:
    embedding = rf.Embedding(50, 8, rng=0)
    x = np.random.default_rng(0).integers(0, 50, (300, 4))
    y, _, tape = embedding.forward(x)
    dy = normal(*y.shape)
    want = np.zeros((50, 8), np.float32)
    for index, row in zip(x.ravel(), dy.reshape(-1, 8), strict=True):
        want[index] += row
    for form in (dy, np.asfortranarray(dy)):
        grads: dict[str, np.ndarray] = {}
        embedding.backward(tape, form, retain=True, grads=grads)
        np.testing.assert_array_equal(grads["weight"], want)


def test_embedding_starts_standard_normal() -> None:
    embedding = rf.Embedding(200, 50, rng=0)
    assert abs(embedding.weight.data.mean()) < 0.03
    assert abs(embedding.weight.data.std() - 1) < 0.03
    double = rf.Embedding(200, 50, dtype="float64", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(embedding.weight.data, double.weight.data.astype(np.float32))
    assert repr(double) == "Embedding(200, 50, dtype='float64')"
