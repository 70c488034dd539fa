"""The module LayerNorm: torch's results, finite differences, bits, rows that do not count, refusals."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients
from helpers.tolerances import FORWARD, GRADIENT, error

import rnnfast as rf
from rnnfast import _core


def norm_of(size: int, **options: Any) -> rf.LayerNorm:
    """A LayerNorm with random parameters."""
    norm = rf.LayerNorm(size, **options)
    for seed, parameter in enumerate(norm.parameters()):
        parameter.data = normal(size, dtype=norm.dtype, seed=seed) + 1
    return norm


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [1, 2, 16, 19])
def test_gradients_agree_with_finite_differences(size: int, bias: bool) -> None:
    norm = norm_of(size, bias=bias, dtype="float64", eps=1e-3)
    assert_gradients(norm, normal(3, 2, size, dtype=float))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 5, 64, 300])
def test_results_are_those_of_torch(size: int, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    norm = norm_of(size, dtype=dtype)
    theirs = torch.nn.LayerNorm(size, dtype=getattr(torch, dtype))
    theirs.load_state_dict({name: torch.tensor(array) for name, array in norm.state_dict().items()})
    x, dy = normal(7, 3, size, dtype=dtype) + 2, normal(7, 3, size, dtype=dtype, seed=1)
    y, _, tape = norm.forward(x)
    dx, _ = norm.backward(tape, dy)
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor)
    expected.backward(torch.tensor(dy))
    assert error(y, expected.detach().numpy()) <= FORWARD[dtype]
    both = zip(norm.parameters(), theirs.parameters(), strict=True)
    for got, want in [(dx, tensor.grad), *((own.grad, their.grad) for own, their in both)]:
        assert got.dtype == np.dtype(dtype)
        assert np.abs(got - want.numpy()).max() <= 10 * GRADIENT[dtype] * max(1, np.abs(want.numpy()).max())


def test_a_row_has_the_same_bits_alone_in_any_batch_layout_threads_and_instructions(restored: None) -> None:
    _core.force_split("rows")
    for dtype in ("float32", "float64"):
        norm = norm_of(37, dtype=dtype)
        x, dy = normal(40, 5, 37, dtype=dtype), normal(40, 5, 37, dtype=dtype, seed=1)
        runs = []
        for threads, isa in [(1, None), (2, None), (3, None), *((1, isa) for isa in _core.available_isas())]:
            rf.set_num_threads(threads)
            _core.force_isa(isa)
            y, _, tape = norm.forward(x)
            grads: dict[str, np.ndarray] = {}
            runs.append([y, norm.backward(tape, dy, grads=grads)[0], grads["weight"], grads["bias"]])
        for run in runs[1:]:
            for got, want in zip(run, runs[0], strict=True):
                np.testing.assert_array_equal(got, want)
        y, dx, *_ = runs[0]
        np.testing.assert_array_equal(norm(np.asfortranarray(x))[0], y)
        np.testing.assert_array_equal(norm(x.swapaxes(0, 1))[0].swapaxes(0, 1), y)
        alone, _, tape = norm.forward(x[3, 2])
        np.testing.assert_array_equal(alone, y[3, 2])
        np.testing.assert_array_equal(norm.backward(tape, dy[3, 2])[0], dx[3, 2])


def test_float32_is_exact_far_from_zero() -> None:
    x = normal(4, 64) + 1e4
    exact = rf.LayerNorm(64, dtype="float64")(x.astype(float))[0]
    assert error(rf.LayerNorm(64)(x)[0], exact) <= 1e-6


def test_a_constant_row_and_no_rows() -> None:
    norm = norm_of(3)
    np.testing.assert_array_equal(norm(np.full((2, 3), 7, np.float32))[0], [norm.bias.data] * 2)
    y, _, tape = norm.forward(np.zeros((0, 3), np.float32))
    dx, _ = norm.backward(tape, y)
    assert (y.shape, dx.shape) == ((0, 3), (0, 3))
    assert not norm.weight.grad.any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_of_zero_stays_zero_whatever_x_holds(value: float) -> None:
    x, dy = normal(6, 2, 5), normal(6, 2, 5, seed=1)
    dy[4:] = 0
    results = []
    for spoilt in (False, True):
        norm = norm_of(5)
        if spoilt:
            x[4:, :, 1:] = value
        _, _, tape = norm.forward(x)
        dx, _ = norm.backward(tape, dy)
        results.append([dx, norm.weight.grad, norm.bias.grad])
    for clean, got in zip(*results, strict=True):
        np.testing.assert_array_equal(got, clean)


@pytest.mark.parametrize("take", [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))])
def test_copies_files_and_a_sequential(take: Any, tmp_path: Any) -> None:
    model = rf.Sequential(rf.GRU(3, 4, rng=0), norm_of(4), rf.Linear(4, 2, rng=1))
    x = normal(5, 2, 3)
    twin = take(model)
    np.testing.assert_array_equal(twin(x)[0], model(x)[0])
    rf.save(tmp_path / "model.npz", model)
    fresh = rf.Sequential(rf.GRU(3, 4), rf.LayerNorm(4), rf.Linear(4, 2))
    rf.load(tmp_path / "model.npz", fresh)
    np.testing.assert_array_equal(fresh(x)[0], model(x)[0])
    assert [name for name, _ in model.named_parameters()][4:6] == ["1.weight", "1.bias"]
    assert model[1].matmul_precision is None
    step = model.stream(2)
    np.testing.assert_array_equal(np.stack([step(x_t) for x_t in x]), model(x)[0])


def test_backward_without_a_gradient_or_without_dx() -> None:
    norm = norm_of(4)
    y, state, tape = norm.forward(normal(3, 4))
    assert state is None
    dx, _ = norm.backward(tape, None, retain=True)
    assert not dx.any()
    none, _ = norm.backward(tape, y, input_grad=False)
    assert none is None
    assert norm.weight.grad.any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: rf.LayerNorm(0), ValueError, "size: expected"),
        (lambda: rf.LayerNorm((3, 4)), TypeError, "size: expected"),
        (lambda: rf.LayerNorm(3, eps=0), ValueError, "eps: expected"),
        (lambda: rf.LayerNorm(3, bias=1), TypeError, "bias: expected True or False"),
        (lambda: rf.LayerNorm(3, dtype="float16"), TypeError, "dtype: expected"),
        (lambda: rf.LayerNorm(3)(np.zeros((2, 4))), ValueError, "x: expected shape [..., 3], got (2, 4)"),
        (lambda: rf.LayerNorm(3)(np.zeros(3, int)), TypeError, "x: expected float32"),
        (lambda: rf.LayerNorm(3)(np.zeros(3), 1), ValueError, "state: expected None"),
        (
            lambda: setattr(rf.LayerNorm(3), "weight", rf.Parameter(np.ones(4, np.float32))),
            ValueError,
            "weight:",
        ),
    ],
)
def test_errors_name_the_argument_and_what_came(call: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()


def test_repr() -> None:
    assert repr(rf.LayerNorm(3, bias=False)) == "LayerNorm(3, eps=1e-05, bias=False, dtype='float32')"
