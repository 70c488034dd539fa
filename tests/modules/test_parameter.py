"""Parameters: their arrays, the sums of their gradients, what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.threads import run_together

import rnnfast as rf


def test_a_parameters_array_stays_the_same_object() -> None:
    data = normal(2, 3, dtype=float)
    parameter = rf.Parameter(data)
    own = parameter.data
    assert not np.shares_memory(own, data)
    parameter.data = data + 1
    parameter.data *= 2
    assert parameter.data is own
    np.testing.assert_array_equal(own, 2 * (data + 1))
    assert (parameter.shape, parameter.size, parameter.dtype) == ((2, 3), 6, np.float64)
    assert repr(parameter) == "Parameter(shape=(2, 3), dtype=float64)"


def test_a_parameter_is_c_contiguous_float32_or_float64() -> None:
    for data, dtype in ((normal(3, 2).T, "f4"), (np.ones((2, 2), np.float16), "f4"), ([[1.0], [2.0]], "f8")):
        parameter = rf.Parameter(data)
        assert parameter.data.flags.c_contiguous
        assert parameter.dtype == dtype
    for wrong in ([1, 2], "a", None, [True]):
        with pytest.raises(TypeError, match=r"^data: expected float32"):
            rf.Parameter(wrong)


def test_a_gradient_is_adopted_then_added_to() -> None:
    parameter = rf.Parameter(np.zeros((2, 2)))
    parameter.zero_grad()
    assert parameter.grad is None
    first = np.ones((2, 2))
    parameter.add_grad(first)
    assert parameter.grad is first
    parameter.add_grad(np.full((2, 2), 2.0))
    np.testing.assert_array_equal(parameter.grad, np.full((2, 2), 3.0))
    parameter.zero_grad()
    np.testing.assert_array_equal(parameter.grad, np.zeros((2, 2)))
    parameter.grad = None
    assert parameter.grad is None
    parameter.add_grad(np.broadcast_to(1.0, (2, 2)))  # nobody's own array: copied
    parameter.add_grad(np.ones((2, 2)))
    np.testing.assert_array_equal(parameter.grad, np.full((2, 2), 2.0))


def test_an_assigned_gradient_is_copied() -> None:
    parameter = rf.Parameter(np.zeros(3))
    mine = np.ones(3)
    parameter.grad = mine
    parameter.grad *= 2
    parameter.add_grad(np.ones(3))
    np.testing.assert_array_equal(mine, 1)
    np.testing.assert_array_equal(parameter.grad, 3)


def test_data_and_gradients_of_another_shape_or_dtype_are_refused() -> None:
    parameter = rf.Parameter(np.zeros((2, 3)))
    for name in ("data", "grad"):
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \(2, 3\), got \(3,\)"):
            setattr(parameter, name, np.zeros(3))
        with pytest.raises(TypeError, match=rf"^{name}: expected float64 .*, got int64"):
            setattr(parameter, name, np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"^array: expected shape"):
        parameter.add_grad(np.zeros(3))
    assert not parameter.data.any()
    assert parameter.grad is None


def test_threads_add_whole_gradients() -> None:
    parameter = rf.Parameter(np.zeros(1000))

    def work() -> None:
        for _ in range(200):
            parameter.add_grad(np.ones(1000))

    run_together(*[work] * 4)
    np.testing.assert_array_equal(parameter.grad, 800)
