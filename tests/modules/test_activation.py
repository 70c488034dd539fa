"""The activations: their values against independent functions, their gradients against finite differences."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from helpers.differences import assert_gradients

import rnnfast as rf

NAMES = ("relu", "tanh", "sigmoid", "gelu", "silu")
SHORT = {"relu": rf.ReLU, "tanh": rf.Tanh, "sigmoid": rf.Sigmoid, "gelu": rf.GELU, "silu": rf.SiLU}
SCALAR = {  # one number at a time, by the math module
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)),
    "silu": lambda x: x / (1 + math.exp(-x)),
}
X = np.random.default_rng(0).normal(size=(5, 3, 4)) * 3
GRID = np.linspace(-30, 30, 2401)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-15), ("float32", 1e-6)])
def test_values_are_those_of_the_math_module(name, dtype, tolerance):
    y, state = rf.Activation(name)(GRID.astype(dtype))
    assert (y.dtype, state) == (np.dtype(dtype), None)
    expected = [SCALAR[name](float(x)) for x in GRID.astype(dtype)]
    np.testing.assert_allclose(y, expected, rtol=4 * tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name):
    assert_gradients(rf.Activation(name), X.copy())
    model = rf.Sequential(rf.Linear(4, 6, dtype="float64", rng=0), SHORT[name]())
    assert_gradients(model, X.copy())


@pytest.mark.parametrize("name", NAMES)
def test_the_short_name_is_the_same_function(name):
    module = SHORT[name]()
    assert isinstance(module, rf.Activation)
    assert module.function == name
    np.testing.assert_array_equal(module(X)[0], rf.Activation(name)(X)[0])
    assert (repr(module), repr(rf.Activation(name))) == (f"{SHORT[name].__name__}()", f"Activation({name!r})")
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        np.testing.assert_array_equal(twin(X)[0], module(X)[0])


@pytest.mark.parametrize("name", NAMES)
def test_large_inputs_give_finite_values_and_gradients(name):
    x = np.array([-1e300, -1e4, -745.0, 745.0, 1e4, 1e300])
    with np.errstate(all="raise", under="ignore"):
        module = rf.Activation(name)
        y, _, tape = module.forward(x)
        dx, _ = module.backward(tape, np.ones(6))
    assert np.isfinite(y).all()
    bounded = name in ("tanh", "sigmoid")
    np.testing.assert_allclose(dx, [0, 0, 0, *([0, 0, 0] if bounded else [1, 1, 1])], atol=1e-12)


def test_the_caller_cannot_reach_the_tape():
    for name in NAMES:
        module, x = rf.Activation(name), X.copy()
        y, _, tape = module.forward(x)
        expected, _ = module.backward(tape, np.ones_like(y), retain=True)
        x[:], y[:] = 7.0, 7.0
        np.testing.assert_array_equal(module.backward(tape, np.ones_like(y))[0], expected)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_arrays_without_axes_or_elements_pass(shape):
    for name in NAMES:
        module = rf.Activation(name)
        y, _, tape = module.forward(np.ones(shape, np.float32))
        dx, _ = module.backward(tape, np.ones(shape, np.float32))
        for array in (y, dx):
            assert isinstance(array, np.ndarray)
            assert (array.shape, array.dtype) == (shape, np.float32)


def test_mistakes_are_named():
    with pytest.raises(
        ValueError, match="function: expected one of relu, tanh, sigmoid, gelu, silu, got 'elu'"
    ):
        rf.Activation("elu")
    with pytest.raises(ValueError, match=r"function: expected one of .* got None"):
        rf.Activation(None)
    with pytest.raises(ValueError, match="state: expected None"):
        rf.ReLU()(X, X)
    with pytest.raises(TypeError, match="x: expected float"):
        rf.Tanh()(np.arange(3))


def test_a_stream_passes_each_step_through():
    model = rf.Sequential(rf.GRU(2, 3, rng=0), rf.SiLU())
    x = X[:, :1, :2].astype(np.float32)
    step = model.stream()
    np.testing.assert_array_equal(np.stack([step(x_t) for x_t in x]), model(x)[0])
