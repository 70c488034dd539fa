"""Products of bfloat16 operands: exact bits, and gradients beside the reference's."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import all_options, evaluate, forward, largest_scale, make, make_ragged, run
from helpers.tolerances import BFLOAT16, assert_same_bits, error

from rnnfast import _core, functional, reference

PRECISION = {"matmul_precision": "bfloat16"}
SHAPES = [(1, 1, 1, 1), (1, 5, 3, 17), (1, 13, 33, 100), (1, 7, 2, 33), (1, 50, 5, 3)]


def chain(bias: np.ndarray, x: np.ndarray, W: np.ndarray) -> np.ndarray:
    """bias + x·Wᵀ, pair by pair, the second number of each first, each addition rounded to float32."""
    x, W = (reference.round_to_bfloat16(array) for array in (x, W))
    if x.shape[1] % 2:
        x, W = (np.pad(array, ((0, 0), (0, 1))) for array in (x, W))
    sums = np.broadcast_to(bias, (len(x), len(W))).astype(np.float32)
    for k in range(0, x.shape[1], 2):
        for place in (k + 1, k):  # float64 holds the product exactly, and the sum of numbers so close in size
            exact = sums.astype(float) + np.outer(x[:, place], W[:, place].astype(float))
            sums = exact.astype(np.float32)
    return sums


@pytest.mark.parametrize(
    ("M", "K", "N"), [(1, 1, 1), (2, 3, 5), (5, 7, 17), (13, 33, 40), (49, 64, 64), (3, 530, 70), (600, 5, 3)]
)
def test_the_exact_bits_of_a_product(M, K, N, isa, instructions):
    rng = np.random.default_rng([M, K, N])
    x, W, b = (rng.normal(size=size).astype(np.float32) for size in ((M, K), (N, K), (N,)))
    y = np.empty((M, N), np.float32)
    _core.linear_forward(x, W, b, y, "bfloat16")
    assert_same_bits({"y": y}, {"y": chain(b, x, W)})


def test_rounding():
    bits = np.array([0x3F808000, 0x3F818000, 0x3F80FFFF, 0x007FFFFF, 0x80000001, 0x7F7FFFFF, 0xFF800000])
    want = [0x3F800000, 0x3F820000, 0x3F810000, 0x00000000, 0x80000000, 0x7F800000, 0xFF800000]
    x = bits.astype(np.uint32).view(np.float32)
    assert reference.round_to_bfloat16(x).view(np.uint32).tolist() == want
    assert np.isnan(reference.round_to_bfloat16(np.float32([np.nan]))).all()
    y = np.empty((len(x), 1), np.float32)
    _core.linear_forward(x[:, None], np.ones((1, 1), np.float32), None, y, "bfloat16")
    np.testing.assert_array_equal(y[:, 0], np.array(want, np.uint32).view(np.float32))


@all_options
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", [*SHAPES, (7, 5, 9, 17), (20, 3, 40, 33), (300, 2, 3, 8)], ids=str)
def test_all_gradients_are_near_the_reference_s(name, shape, reverse):
    case = make(name, *shape, dtype="float32", reverse=reverse, **PRECISION)
    want = run(reference, case.astype(np.float64))
    for result, array in run(functional, case).items():
        assert error(array, want[result]) <= BFLOAT16 * max(1.0, largest_scale(case)), result


@all_options
@pytest.mark.parametrize("shape", [(9, 7, 5, 33), (300, 2, 3, 8)], ids=str)
def test_gradients_with_lengths_and_resets_are_near_the_reference_s(name, shape, instructions):
    case = make_ragged(name, *shape, dtype="float32", **PRECISION)
    want = run(reference, case.astype(np.float64))
    for result, array in run(functional, case).items():
        assert error(array, want[result]) <= BFLOAT16, result


@all_options
def test_outputs_differ_from_float32_by_at_most_six_in_a_thousand(name):
    case = make(name, 20, 5, 16, 32, dtype="float32")
    got, _ = forward(functional, case._replace(options={**case.options, **PRECISION}))
    want, _ = forward(functional, case)
    errors = {result: error(got[result], array) for result, array in want.items()}
    assert 1e-4 < max(errors.values()) <= 6e-3 * max(1.0, largest_scale(case))


@pytest.mark.parametrize("B", [1, 2])
def test_narrow_operands_of_large_weights_have_the_same_bits(B, restored):
    case = make("gru", 2, B, 3, 700, dtype="float32", **PRECISION)
    best = _core.get_isa()
    _core.force_isa(best, False)
    want = evaluate(case)
    _core.force_isa(best)
    assert_same_bits(evaluate(case), want)
    assert_same_bits(forward(functional, case)[0], want)
