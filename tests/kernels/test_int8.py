"""Products of int8 operands: exact bits, outputs beside the reference's, no gradients."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import all_options, forward, make, make_ragged
from helpers.tolerances import INT8, assert_same_bits, error

from rnnfast import _core, functional, reference

PRECISION = {"matmul_precision": "int8"}
SHAPES = [(1, 1, 1, 1), (1, 5, 3, 17), (1, 13, 33, 100), (1, 7, 2, 33), (1, 50, 5, 3)]
LONGEST = 4096  # numbers of one sum of integers


def exact(bias: np.ndarray, x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """bias + x·Wᵀ by the reference's integers: each sum of integers is added by one fused multiply-add."""
    (x, x_scales), (W, W_scales) = reference.quantize(x), reference.quantize(W)
    scales = x_scales.astype(np.float32) * W_scales.astype(np.float32).T
    sums = np.broadcast_to(bias, scales.shape).astype(np.float32)
    for k in range(0, max(x.shape[1], 1), LONGEST):
        integers = (x[:, k : k + LONGEST] @ W[:, k : k + LONGEST].T).astype(np.float32)
        # float64 holds the product exactly, and here the sum too, or rounds it far from a tie
        sums = (integers.astype(float) * scales + sums).astype(np.float32)
    return sums


@pytest.mark.parametrize(
    ("M", "K", "N"),
    [(1, 1, 1), (2, 3, 5), (5, 7, 17), (13, 33, 40), (49, 64, 64), (3, 530, 70), (600, 5, 3), (2, 9000, 20)],
)
def test_the_exact_bits_of_a_product(M, K, N, isa, instructions):
    rng = np.random.default_rng([M, K, N])
    x, W, b = (rng.normal(size=size).astype(np.float32) for size in ((M, K), (N, K), (N,)))
    x[::2] *= 100
    y = np.empty((M, N), np.float32)
    _core.linear_forward(x, W, b, y, "int8")
    assert_same_bits({"y": y}, {"y": exact(b, x, W)})


def test_the_largest_operands_of_the_longest_sum(isa, instructions):
    x, W = np.ones((3, LONGEST), np.float32), np.ones((2, LONGEST), np.float32)
    x[1], W[1] = -1, -1
    y = np.empty((3, 2), np.float32)
    _core.linear_forward(x, W, np.zeros(2, np.float32), y, "int8")
    np.testing.assert_allclose(y, LONGEST * np.array([[1, -1], [-1, 1], [1, -1]]), rtol=1e-6)


def test_rows_of_zero_tiny_rows_and_rows_that_are_not_finite(isa, instructions):
    x = np.ones((6, 5), np.float32)
    x[0], x[1], x[2], x[3, 2], x[4, 4] = 0, 2.0**-101, 3e38, np.nan, -np.inf
    W, bias = np.float32([[1, 2, -3, 4, 5], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]) / 8, np.float32([2, 3, 0])
    W[2] *= 2.0**-101
    y = np.empty((6, 3), np.float32)
    _core.linear_forward(x, W, bias, y, "int8")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, exact(bias, x, W))
    assert y[:2].tolist() == [[2, 3, 0], [2, 3, 0]]
    assert y[5].tolist()[1:] == [3, 0]
    assert np.isnan(y[3:5]).all()
    assert np.isfinite(y[5]).all()


def test_a_tiny_row_is_zero(isa, instructions):
    x, W = np.full((2, 5), 2.0**-101, np.float32), np.full((3, 5), 2.0**120, np.float32)
    x[1] *= 2
    y = np.empty((2, 3), np.float32)
    _core.linear_forward(x, W, None, y, "int8")
    assert y[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(y[1], 5 * 2.0**20, rtol=1e-6)


def test_given_scales_keep_the_integers(isa, instructions):
    rng = np.random.default_rng(0)
    integers = {"weight_ih": rng.integers(-60, 61, (7, 5)), "weight_hh": rng.integers(-60, 61, (7, 7))}
    scales = {name: rng.uniform(0.01, 0.1, 7).astype(np.float32) for name in integers}
    weights = {name: (scales[name][:, None] * integers[name]).astype(np.float32) for name in integers}
    x, h = rng.normal(size=(1, 3, 5)).astype(np.float32), rng.normal(size=(1, 3, 7)).astype(np.float32)
    cell = _core.Cell("rnn", weights, nonlinearity="identity", matmul_precision="int8", scales=scales)
    y, _ = _core.run_stack([cell], 1, None, x, (h,), False)
    sums = np.zeros((3, 7), np.float32)
    for name, rows in (("weight_ih", x[0]), ("weight_hh", h[0])):
        read, read_scales = reference.quantize(rows)
        both = read_scales.astype(np.float32) * scales[name]
        sums = ((read @ integers[name].T) * both + sums).astype(np.float32)
    assert_same_bits({"y": y[0]}, {"y": sums})


@all_options
def test_given_scales_are_those_of_their_rows(name, isa, instructions):
    case = make(name, 3, 2, 5, 6, dtype="float32")
    matrices = {key: array for key, array in case.weights.items() if array.ndim == 2}
    rng = np.random.default_rng(0)
    scales = {
        key: 2.0 ** rng.integers(-9, -4, len(array)).astype(np.float32) for key, array in matrices.items()
    }
    for (
        key,
        array,
    ) in matrices.items():  # the largest integer of each row is 127, so the scale follows from it too
        integers = rng.integers(-126, 127, array.shape)
        integers[:, 0] = 127
        case.weights[key] = (integers * scales[key][:, None]).astype(np.float32)
    got, want = (
        _core.run_stack([_core.Cell(case.cell, case.weights, **options)], 1, None, case.x, case.state, False)[
            0
        ]
        for options in ({**case.options, **PRECISION, "scales": scales}, {**case.options, **PRECISION})
    )
    assert_same_bits({"y": got}, {"y": want})


@pytest.mark.parametrize("bounded", [False, True])
def test_quantized_rows(bounded):
    x = np.array([[0.3, -0.7, 0.1, 0.0], [3.0, -2.0, 0.5, 1e-9]])
    integers, scales = reference.quantize(x, bounded)
    assert integers.dtype == float
    assert np.abs(integers).max(axis=1).tolist() == ([89, 127] if bounded else [127, 127])
    assert (np.abs(integers * scales - x) <= scales / 2 * (1 + 1e-6)).all()


@all_options
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", [*SHAPES, (7, 5, 9, 17), (20, 3, 40, 33), (300, 2, 3, 8)], ids=str)
def test_outputs_are_near_the_reference_s(name, shape, reverse):
    case = make_ragged(name, *shape, dtype="float32", reverse=reverse, **PRECISION)
    want, _ = forward(reference, case.astype(np.float64))
    for result, array in forward(functional, case)[0].items():
        assert error(array, want[result]) <= INT8, result


@all_options
def test_the_rms_difference_from_float32_is_below_one_percent(name):
    case = make(name, 20, 5, 16, 32, dtype="float32")
    got, _ = forward(functional, case._replace(options={**case.options, **PRECISION}))
    want, _ = forward(functional, case)
    rms = np.sqrt(np.mean((got["y"] - want["y"]) ** 2))
    assert 1e-4 < rms / np.abs(want["y"]).max() <= 0.01


@all_options
@pytest.mark.parametrize("module", [functional, reference])
def test_a_tape_has_no_gradient(name, module):
    case = make(name, 3, 2, 4, 5, dtype="float32", **PRECISION)
    _, tape = forward(module, case)
    backward = getattr(module, f"{case.cell}_backward")
    with pytest.raises(ValueError, match="tape: expected one with gradients, got one of products in int8"):
        backward(tape, case.dy, None)


def test_the_compiled_backward_passes_refuse():
    x, W = np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)
    with pytest.raises(ValueError, match="matmul_precision"):
        _core.linear_backward(x, W, np.ones((3, 2), np.float32), None, np.empty_like(W), None, "int8")
