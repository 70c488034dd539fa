"""Parameters of layers: names, shapes, initial values, state dicts, copies."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal
from helpers.cases import LAYERS
from helpers.models import forward_backward
from modules.small_layers import B, H, I, T, pytorchs, small_layer

import rnnfast as rf

# Parameters by name


@pytorchs
def test_parameters_have_pytorchs_names_shapes_and_order(cell: str) -> None:
    G = LAYERS[cell](1, 1).gates
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    want = {}
    for place, columns in ((0, I), (1, 2 * H)):
        for suffix in (f"_l{place}", f"_l{place}_reverse"):
            want[f"weight_ih{suffix}"] = (G * H, columns)
            want[f"weight_hh{suffix}"] = (G * H, H)
            want[f"bias_ih{suffix}"] = want[f"bias_hh{suffix}"] = (G * H,)
    assert {name: parameter.shape for name, parameter in layer.named_parameters()} == want
    assert [name for name, _ in layer.named_parameters()] == list(want)
    assert layer.parameters() == [parameter for _, parameter in layer.named_parameters()]
    assert layer.weight_hh_l1_reverse is dict(layer.named_parameters())["weight_hh_l1_reverse"]
    assert set(want) <= set(dir(layer))
    names = [name for name, _ in small_layer(cell, bias=False).named_parameters()]
    assert names == ["weight_ih_l0", "weight_hh_l0"]


def test_attributes_that_are_no_parameters_are_refused(cell: str) -> None:
    layer = small_layer(cell)
    with pytest.raises(AttributeError, match="no attribute 'weight_ih_l1'"):
        _ = layer.weight_ih_l1
    with pytest.raises(AttributeError, match=r"assign to weight_ih_l0\.data instead"):
        layer.weight_ih_l0 = np.zeros((H, I))


def test_a_state_dict_is_a_copy_that_loads_to_the_same_bits(cell: str, tmp_path: Any) -> None:
    layer, other = small_layer(cell, num_layers=2), small_layer(cell, num_layers=2, rng=99)
    x, dy = normal(T, B, I), normal(T, B, H)
    want = forward_backward(layer, x, None, dy)
    saved = layer.state_dict()
    np.savez(tmp_path / "weights.npz", **saved)
    for array in layer.state_dict().values():
        array.fill(0)
    assert_equal(forward_backward(layer, x, None, dy), want)
    other.load_state_dict(saved)
    for array in saved.values():
        array.fill(0)
    assert_equal(forward_backward(other, x, None, dy), want)
    third = small_layer(cell, num_layers=2, rng=98)
    with np.load(tmp_path / "weights.npz") as file:
        third.load_state_dict(file)
    assert_equal(forward_backward(third, x, None, dy), want)


def test_a_state_dict_of_other_floats_is_cast(cell: str) -> None:
    layer, other = small_layer(cell), LAYERS[cell](I, H, dtype="float64", rng=99)
    other.load_state_dict(layer.state_dict())
    assert other.weight_ih_l0.data.dtype == np.float64
    layer.load_state_dict({name: array.tolist() for name, array in other.state_dict().items()})
    np.testing.assert_array_equal(layer.weight_ih_l0.data, other.weight_ih_l0.data)


def test_a_wrong_state_dict_changes_nothing_and_the_error_lists_every_entry() -> None:
    layer = small_layer("gru")
    before = layer.state_dict()
    given = {name: array + 1 for name, array in before.items()}
    del given["bias_hh_l0"]
    given["weight_ih_l1"] = given["weight_ih_l0"]
    given["weight_hh_l0"] = given["weight_hh_l0"][:6]
    given["bias_ih_l0"] = np.zeros(18, int)
    message = (
        "state_dict: missing bias_hh_l0; unexpected weight_ih_l1; "
        "weight_hh_l0: expected shape (18, 6), got (6, 6); "
        "bias_ih_l0: expected float32 (other floats are cast), got int64"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer.load_state_dict(given)
    assert_equal(layer.state_dict(), before)
    with pytest.raises(TypeError, match=r"^state_dict: expected a mapping of names to arrays, got list$"):
        layer.load_state_dict([1])


# Copies


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_of_ml_dtypes_bfloat16_are_taken(dtype: str) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    layer, other = (small_layer("lstm", rng=seed, dtype=dtype) for seed in (0, 1))
    state = {name: array.astype(bfloat16) for name, array in other.state_dict().items()}
    layer.load_state_dict(state)
    assert_equal(layer.state_dict(), {name: array.astype(dtype) for name, array in state.items()})
    tied = rf.Sequential(rf.Embedding(4, 3, rng=0), rf.Linear(3, 4, rng=1, bias=False))
    tied[1].weight = tied[0].weight
    rounded = tied[0].weight.data.astype(bfloat16)
    tied.load_state_dict({"0.weight": rounded, "1.weight": rounded})
    assert_equal(tied[1].weight.data, rounded.astype(np.float32))


@pytest.mark.parametrize(
    "take", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_a_copy_computes_the_same_and_shares_no_parameter(cell: str, take: Any) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True, dropout=0.5)
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    layer.backward(layer.forward(x)[2], dy)
    twin = take(layer)
    assert repr(twin) == repr(layer)
    assert twin.dtype == layer.dtype
    for name, parameter in layer.named_parameters():
        np.testing.assert_array_equal(getattr(twin, name).grad, parameter.grad)
    assert_equal(
        forward_backward(twin, x, None, dy), forward_backward(layer, x, None, dy)
    )  # the same mask comes next
    twin.weight_ih_l0.data[...] = 0
    assert layer.weight_ih_l0.data.any()
    assert (twin(x)[0] != layer(x)[0]).any()
    with pytest.raises(ValueError, match=r"^tape: .*another module's"):
        twin.backward(layer.forward(x)[2])


# Initial weights


def test_a_seed_fixes_the_weights_in_either_dtype(cell: str) -> None:
    single, double = (
        LAYERS[cell](I, H, num_layers=2, dtype=dtype, rng=5) for dtype in ("float32", np.float64)
    )
    for name, array in single.state_dict().items():
        np.testing.assert_array_equal(array, double.state_dict()[name].astype(np.float32))
    same = LAYERS[cell](I, H, num_layers=2, rng=np.random.default_rng(5))
    assert_equal(same.state_dict(), single.state_dict())
    for rng in (6, None):
        other = LAYERS[cell](I, H, num_layers=2, rng=rng)
        assert (other.weight_ih_l0.data != single.weight_ih_l0.data).any()


@pytorchs
def test_weights_are_uniform_within_one_over_the_root_of_hidden_size(cell: str) -> None:
    layer = LAYERS[cell](50, 64, rng=0)
    values = np.concatenate([parameter.data.ravel() for parameter in layer.parameters()])
    assert np.abs(values).max() <= 1 / 8
    assert abs(values.mean()) < 0.005
    assert abs(values.std() * 8 * 3**0.5 - 1) < 0.03


def test_forget_bias_sets_the_forget_gates_biases_alone() -> None:
    plain = small_layer("lstm", num_layers=2, bidirectional=True)
    layer = small_layer("lstm", num_layers=2, bidirectional=True, forget_bias=1.5)
    forget = slice(H, 2 * H)
    for name, array in plain.state_dict().items():
        if name.startswith("bias"):
            array[forget] = 1.5 if name.startswith("bias_ih") else 0
        np.testing.assert_array_equal(layer.state_dict()[name], array)
    with pytest.raises(ValueError, match=r"^forget_bias: expected None with bias=False"):
        rf.LSTM(I, H, bias=False, forget_bias=1.0)
    with pytest.raises(TypeError, match=r"^forget_bias: expected a number, got 'a'"):
        rf.LSTM(I, H, forget_bias="a")
    with pytest.raises(ValueError, match=r"^forget_bias: expected a finite number, got inf"):
        rf.LSTM(I, H, forget_bias=float("inf"))


def test_repr_shows_all_options() -> None:
    assert repr(small_layer("gru")) == "GRU(4, 6, dtype='float32')"
    layer = rf.RNN(2, 3, 2, False, True, 0.5, True, nonlinearity="relu", dtype="float64")
    assert repr(layer) == (
        "RNN(2, 3, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, "
        "nonlinearity='relu', dtype='float64')"
    )
    assert eval(repr(layer), {"RNN": rf.RNN}).weight_hh_l1_reverse.shape == (3, 3)
