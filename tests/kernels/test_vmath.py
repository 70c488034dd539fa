"""The vector functions of the kernels: sweeps over every exponent and both signs against wider truth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from rnnfast import _core

FUNCTIONS = ("exp", "tanh", "sigmoid", "log_sigmoid")
MAX_ULP = {"float32": 2, "float64": 4}
EXTENDED = np.finfo(np.longdouble).nmant >= 63
all_functions = pytest.mark.parametrize("name", FUNCTIONS)
both_dtypes = pytest.mark.parametrize("dtype", MAX_ULP)


def sweep(dtype: str) -> np.ndarray:
    """Finite numbers at an odd stride over their bit patterns, and more of them at moderate sizes."""
    bits = {"float32": np.uint32, "float64": np.uint64}[dtype]
    infinity = int(np.array(np.inf, dtype).view(bits))
    stride = {"float32": 3001, "float64": 25_000_000_000_001}[dtype]
    positive = np.arange(0, infinity, stride, dtype=bits).view(dtype)
    more = [np.linspace(0, end, 100_000, dtype=dtype) for end in (1, 10, 100, 720)]
    positive = np.concatenate([positive, *more])
    return np.concatenate([positive, -positive])


@cache
def truth(name: str, dtype: str) -> np.ndarray:
    """The function over the sweep, in float64 for float32 and in extended precision for float64."""
    x = sweep(dtype).astype(np.float64 if dtype == "float32" else np.longdouble)
    with np.errstate(over="ignore", under="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        if name == "log_sigmoid":
            return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
        return np.exp(x) if name == "exp" else np.tanh(x)


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The error in units in the last place of the dtype of `got`.

    Results below the smallest normal number count as zero, and so do those that err across that border;
    infinity counts as the first number that overflows.
    """
    info = np.finfo(got.dtype)
    overflow = np.ldexp(want.dtype.type(1), info.maxexp)
    tiny = want.dtype.type(info.tiny)
    got = np.minimum(got.astype(want.dtype), overflow)
    want = np.minimum(want, overflow)
    unit = np.ldexp(want.dtype.type(1), np.maximum(np.frexp(want)[1], info.minexp + 1) - info.nmant - 1)
    border = (got == 0) & (np.abs(want) <= tiny + 2 * unit) | (np.abs(want) < tiny) & (np.abs(got) <= tiny)
    return np.where(border, 0, np.abs(got - want) / unit)


@all_functions
def test_float32_sweep(name, isa):
    worst = ulps(_core.vmath(name, sweep("float32")), truth(name, "float32")).max()
    assert worst <= MAX_ULP["float32"]


@all_functions
@pytest.mark.skipif(not EXTENDED, reason="long double is no wider than double here")
def test_float64_sweep(name, isa):
    worst = ulps(_core.vmath(name, sweep("float64")), truth(name, "float64")).max()
    assert worst <= MAX_ULP["float64"]


@all_functions
def test_float64_against_mpmath(name, isa):
    mpmath = pytest.importorskip("mpmath")
    functions = {
        "exp": mpmath.exp,
        "tanh": mpmath.tanh,
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    }
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-end, end, 300) for end in (1e-9, 0.3, 1, 3, 20, 700)])
    with mpmath.workprec(120):
        for argument, got in zip(x, _core.vmath(name, x), strict=True):
            want = functions[name](mpmath.mpf(float(argument)))
            unit = mpmath.mpf(float(np.spacing(abs(float(want)))))
            assert abs(mpmath.mpf(float(got)) - want) <= MAX_ULP["float64"] * unit, argument


@all_functions
@both_dtypes
def test_special_values(name, dtype, isa):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
    want = {
        "exp": [1, 1, np.inf, 0, np.nan],
        "tanh": [0, -0.0, 1, -1, np.nan],
        "sigmoid": [0.5, 0.5, 1, 0, np.nan],
        "log_sigmoid": [-np.log(2), -np.log(2), 0, -np.inf, np.nan],
    }[name]
    got = _core.vmath(name, x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.array(want, dtype))
    if name == "tanh":
        assert np.signbit(got[:2]).tolist() == [False, True]


@all_functions
@both_dtypes
def test_ends_saturate(name, dtype, isa):
    far = np.array([1e3, 1e4, 1e30, np.finfo(dtype).max], dtype)
    above = {"exp": np.inf, "tanh": 1, "sigmoid": 1, "log_sigmoid": 0}[name]
    below = {"exp": 0, "tanh": -1, "sigmoid": 0, "log_sigmoid": -far}[name]
    assert (_core.vmath(name, far) == above).all()
    assert (_core.vmath(name, -far) == below).all()


@all_functions
@both_dtypes
@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 15, 17, 33])
def test_any_length(name, dtype, size, isa):
    x = np.linspace(-3, 3, 33).astype(dtype)
    assert np.array_equal(_core.vmath(name, x[:size]), _core.vmath(name, x)[:size])


@all_functions
@both_dtypes
def test_equal_bits_with_all_kernels(name, dtype, restored):
    x = np.concatenate([sweep(dtype), np.array([np.inf, -np.inf, np.nan], dtype)])
    results = []
    for isa in _core.available_isas():
        _core.force_isa(isa)
        results.append(_core.vmath(name, x))
    for result in results[1:]:
        assert np.array_equal(result, results[0], equal_nan=True)
