"""The one table of tolerances, and the error measure it is meant for; it computes, and touches nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

FORWARD = {"float32": 2e-6, "float64": 1e-13}
GRADIENT = {"float32": 1e-5, "float64": 1e-12}
FINITE_DIFFERENCES = 1e-6
BFLOAT16 = 2.0**-6  # of results whose operands are computed: some round the other way
INT8 = 2.0**-5  # likewise, of steps that are larger
TORCH_BFLOAT16 = 2.0**-5  # of torch's own modules under autocast, which also round states and gates
STORED_TORCH = {"float32": 1e-5, "float64": 1e-11}
STORED_KERAS = 2e-6  # float32
OUTPUTS = ("y", *"hcnm", *(f"states_{part}" for part in "hcnm"))


def tolerance(name: str, dtype: np.dtype | type | str, K: int) -> float:
    """The error allowed for the result called `name`, whose sums run over K = I + H products.

    Float32 sums of more than 256 products may err by the square root of their number more.
    """
    dtype = np.dtype(dtype)
    table = FORWARD if name in OUTPUTS else GRADIENT
    return table[dtype.name] * (max(1.0, (K / 256) ** 0.5) if dtype == np.float32 else 1.0)


def error(got: np.ndarray, want: np.ndarray, least: float = 0.0) -> float:
    """The largest difference, relative to the largest magnitude wanted, or to `least` if that is larger.

    Relative to nothing where that is 0; NaN for a NaN.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    if want.size == 0:
        return 0.0
    difference, magnitude = np.abs(got - want).max(), max(np.abs(want).max(), least)
    return float(difference / magnitude if magnitude else difference)


def assert_close(
    got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], K: int, scale: float = 0.0
) -> None:
    """Every result of the kernels within its tolerance of the reference's, by its dtype.

    `scale` is the largest factor by which layer normalization multiplies numbers, and so their errors. The
    gradient of an array that is normalized may cancel to nearly nothing, so it is compared with 1, about the
    size of the gradients that come in.
    """
    assert sorted(got) == sorted(want)
    for name, array in got.items():
        allowed = tolerance(name, array.dtype, K) * max(1.0, scale)
        measured = error(array, want[name], 1.0 if scale else 0.0)
        assert measured <= allowed, f"{name}: error {measured:.2e}, allowed {allowed:.2e}"


def assert_same_bits(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> None:
    """Every result equal to the last bit, the sign of zero included; NaN counts as NaN."""
    assert sorted(got) == sorted(want)
    for name, array in got.items():
        expected = want[name]
        assert array.dtype == expected.dtype, name
        by = error(array, expected)
        bits = {4: np.uint32, 8: np.uint64}[array.itemsize]
        same = np.ascontiguousarray(array).view(bits) == np.ascontiguousarray(expected).view(bits)
        different = int((~(same | np.isnan(array) & np.isnan(expected))).sum())
        assert not different, f"{name}: {different} of {array.size} values differ, by up to {by:.2e}"
