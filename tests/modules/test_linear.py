"""Linear: gradients, bits, memory layouts, initial weights."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients

import rnnfast as rf

T, B, N = 5, 3, 4


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 1, 3, 2), (0,), (2, 0)])
def test_linear_gradients_agree_with_finite_differences(lead: tuple[int, ...], bias: bool) -> None:
    linear = rf.Linear(3, 2, bias, dtype="float64", rng=0)
    assert_gradients(linear, normal(*lead, 3, dtype=float))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_is_the_affine_map(dtype: str) -> None:
    linear = rf.Linear(37, 19, dtype=dtype, rng=0)
    x = normal(6, 5, 37, dtype=dtype)
    want = x.astype(float) @ linear.weight.data.T.astype(float) + linear.bias.data
    y, _ = linear(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)


def test_a_row_has_the_same_bits_alone_and_in_any_batch() -> None:
    linear = rf.Linear(50, 33, rng=0)
    x = normal(40, 50)
    y, _, tape = linear.forward(x)
    dy = normal(40, 33)
    dx, _ = linear.backward(tape, dy)
    for rows in (slice(0, 1), slice(7, 9), slice(3, 30)):
        part, _, tape = linear.forward(x[rows])
        np.testing.assert_array_equal(part, y[rows])
        np.testing.assert_array_equal(linear.backward(tape, dy[rows])[0], dx[rows])


def test_linear_reads_any_memory_layout() -> None:
    linear = rf.Linear(N, 2, rng=0)
    x, dy = normal(T, B, N), normal(T, B, 2)
    y, _, tape = linear.forward(x)
    dx, _ = linear.backward(tape, dy)
    frozen = x.copy()
    frozen.setflags(write=False)
    for form in (np.asfortranarray(x), frozen, x.astype(float), x.astype(">f4"), x[::-1].copy()[::-1]):
        got, _, tape = linear.forward(form)
        np.testing.assert_array_equal(got, y)
        np.testing.assert_array_equal(linear.backward(tape, np.asfortranarray(dy))[0], dx)
    tape = linear.forward(x[0])[2]
    np.testing.assert_array_equal(linear.backward(tape, np.repeat(dy[0], 2, axis=1)[:, ::2])[0], dx[0])


def test_linear_starts_uniform_by_in_features() -> None:
    linear = rf.Linear(100, 400, rng=0)
    for parameter in linear.parameters():
        assert np.abs(parameter.data).max() <= 0.1
        assert abs(parameter.data.std() * 10 * 3**0.5 - 1) < 0.1
    np.testing.assert_array_equal(linear.weight.data, rf.Linear(100, 400, rng=0).weight.data)
    assert (linear.weight.data != rf.Linear(100, 400).weight.data).any()


def test_linear_has_pytorchs_names() -> None:
    linear = rf.Linear(3, 2)
    assert {name: parameter.shape for name, parameter in linear.named_parameters()} == {
        "weight": (2, 3),
        "bias": (2,),
    }
    assert linear.dtype == np.float32
    assert repr(linear) == "Linear(3, 2, bias=True, dtype='float32')"
    bare = rf.Linear(3, 2, bias=False)
    assert bare.bias is None
    assert [name for name, _ in bare.named_parameters()] == ["weight"]
