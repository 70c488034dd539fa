"""What `rf.quantization_error` says: the differences worked out by hand, on a model that stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from modules.tagger import Tagger

import rnnfast as rf

T, B, V, H = 11, 4, 7, 12


def small_model() -> rf.Sequential:
    return rf.Sequential(
        rf.Embedding(V, 5, rng=0), rf.LSTM(5, H, rng=1), rf.GRU(H, H, rng=2), rf.Linear(H, 3, rng=3)
    )


def symbols() -> np.ndarray:
    return np.random.default_rng(4).integers(0, V, (T, B))


def by_hand(
    model: rf.Module, x: Any, low: dict[str, str], counted: Any = ..., **keywords: Any
) -> list[float]:
    """The largest difference and the root mean square with these precisions, and the scale."""
    model.matmul_precision = "float32"
    exact = model(x, **keywords)[0][counted].astype(float)
    model.load_matmul_precisions(low)
    difference = model(x, **keywords)[0][counted] - exact
    return [abs(difference).max(), np.sqrt((difference**2).mean()), abs(exact).max()]


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_values_of_a_sequential(precision):
    found = rf.quantization_error(small_model(), symbols(), precision=precision)
    assert [row.module for row in found] == ["1", "2", "3", ""]  # an Embedding does not multiply
    for row in found:
        low = dict.fromkeys([row.module] if row.module else ["1", "2", "3"], precision)
        np.testing.assert_allclose(row[1:], by_hand(small_model(), symbols(), low), rtol=1e-12)
        assert 0 < row.rms < row.largest < row.scale


def test_values_of_a_users_module():
    """int8 by default; a state and a reset go to the model."""
    x, state = normal(6, 4, 2), normal(1, 4, 5)
    reset = np.zeros((6, 4), bool)
    reset[3, 1] = True
    found = rf.quantization_error(Tagger(), x, state, reset=reset)
    assert [row.module for row in found] == ["trunk", "head", ""]
    for row in found:
        low = dict.fromkeys([row.module] if row.module else ["trunk", "head"], "int8")
        want = by_hand(Tagger(), x, low, state=state, reset=reset)
        np.testing.assert_allclose(row[1:], want, rtol=1e-12)


def test_padding_does_not_count():
    lengths = np.array([T, 3, 1, 5])
    within = np.arange(T)[:, np.newaxis] < lengths
    (*_, found) = rf.quantization_error(small_model(), symbols(), lengths=lengths)
    low = dict.fromkeys(["1", "2", "3"], "int8")
    want = by_hand(small_model(), symbols(), low, within, lengths=lengths)
    np.testing.assert_allclose(found[1:], want, rtol=1e-12)


def test_lengths_where_y_has_no_time_axis():
    model = rf.Sequential(rf.GRU(2, H, rng=0), rf.Last(), rf.Linear(H, 3, rng=1))
    x, lengths = normal(T, B, 2), np.array([T, 3, 1, 5])
    (*_, found) = rf.quantization_error(model, x, lengths=lengths)
    want = by_hand(model, x, {"0": "int8", "2": "int8"}, lengths=lengths)
    np.testing.assert_allclose(found[1:], want, rtol=1e-12)


def test_a_single_layer_has_one_row():
    (found,) = rf.quantization_error(rf.GRU(2, H, rng=0), normal(T, B, 2))
    assert found.module == ""
    np.testing.assert_allclose(found[1:], by_hand(rf.GRU(2, H, rng=0), normal(T, B, 2), {"": "int8"}))


def test_the_model_stays_as_it_is():
    model = small_model()
    mixed = {"1": "int8", "2": "float32", "3": "bfloat16"}
    model.load_matmul_precisions(mixed)
    model[3].weight.grad = np.full((3, H), 2.0, np.float32)
    gradient = model[3].weight.grad
    arrays = [parameter.data for parameter in model.parameters()]
    before = {name: array.copy() for name, array in model.state_dict().items()}
    found = rf.quantization_error(model, symbols())
    assert model.matmul_precisions() == mixed
    assert all(now.data is array for now, array in zip(model.parameters(), arrays, strict=True))
    assert all((array == before[name]).all() for name, array in model.state_dict().items())
    assert model[3].weight.grad is gradient
    assert (gradient == 2.0).all()
    assert found == rf.quantization_error(small_model(), symbols())  # whatever the model is set to


@pytest.mark.parametrize(
    ("model", "x", "keywords", "error", "message"),
    [
        (small_model(), symbols(), {"precision": "float32"}, ValueError, "precision: .*'float32'"),
        (small_model(), symbols(), {"precision": 8}, ValueError, "precision: .*8"),
        (rf.GRU(2, 3, dtype="float64"), normal(T, B, 2), {}, ValueError, "model: .*float64"),
        (Tagger("float64"), normal(6, 4, 2), {}, ValueError, "model: .*float64 in 'trunk'"),
        (rf.Sequential(rf.ReLU()), normal(2, 2), {}, ValueError, "model: .*multiplies.*Sequential"),
        (abs, normal(2, 2), {}, TypeError, "model: .*Module"),
        (rf.Linear(2, 3), normal(4, 2), {"lengths": [1]}, TypeError, "lengths: .*Linear"),
        (rf.GRU(2, 3), normal(0, B, 2), {}, ValueError, "x: .*at least one"),
    ],
)
def test_refusals(model, x, keywords, error, message):
    with pytest.raises(error, match=message):
        rf.quantization_error(model, x, **keywords)
