"""Keras's weights: stored results of Keras are reproduced, and what goes in comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.memory import assert_row_order, unaligned
from helpers.tolerances import FORWARD, STORED_KERAS, error

import rnnfast as rf
from rnnfast import _core
from rnnfast.keras import from_layer, get_weights, load_weights
from rnnfast.recurrent.masks import KINDS, RECURRENT

STORED = np.load(Path(__file__).parents[1] / "data" / "keras.npz")
CASES = sorted({name.split(".")[0] for name in STORED.files})
BUILDERS: dict[str, Any] = {
    "rnn-tanh": lambda **keywords: rf.RNN(4, 5, **keywords),
    "rnn-relu": lambda **keywords: rf.RNN(4, 5, nonlinearity="relu", **keywords),
    "lstm": lambda **keywords: rf.LSTM(4, 5, **keywords),
    "lstm-no-bias": lambda **keywords: rf.LSTM(4, 5, bias=False, **keywords),
    "gru": lambda **keywords: rf.GRU(4, 5, **keywords),
    "gru-before": lambda **keywords: rf.GRU(4, 5, reset_after=False, **keywords),
}


def stored_arrays(case: str, part: str) -> list[np.ndarray]:
    """The stored arrays `<case>.<part>.0` and so on."""
    count = sum(name.startswith(f"{case}.{part}.") for name in STORED.files)
    return [STORED[f"{case}.{part}.{n}"] for n in range(count)]


def keras_layer(case: str, dtype: str = "float32") -> Any:
    name = case.removesuffix("-bidirectional")
    return BUILDERS[name](bidirectional=case != name, batch_first=True, dtype=dtype, rng=0)


@pytest.mark.parametrize("case", CASES)
def test_stored_results_of_keras_are_reproduced(case: str) -> None:
    layer = keras_layer(case)
    load_weights(layer, stored_arrays(case, "weights"))
    before = _core.runs_so_far()
    y, state = layer(STORED[f"{case}.x"])
    assert _core.runs_so_far() > before
    assert error(y, STORED[f"{case}.y"]) <= STORED_KERAS
    parts = state if isinstance(state, tuple) else (state,)
    ours = [part[direction] for direction in range(len(parts[0])) for part in parts]
    for got, want in zip(ours, stored_arrays(case, "state"), strict=True):
        assert error(got, want) <= STORED_KERAS


@pytest.mark.parametrize("case", CASES)
def test_weights_survive_a_round_trip(case: str) -> None:
    weights = stored_arrays(case, "weights")
    layer = keras_layer(case)
    load_weights(layer, weights)
    for got, want in zip(get_weights(layer), weights, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("case", CASES)
def test_weights_are_copies_in_row_order_and_of_any_order(case: str) -> None:
    layer, other = keras_layer(case), keras_layer(case)
    weights = get_weights(layer)
    assert_row_order(weights)
    assert not any(np.shares_memory(array, p.data) for array in weights for p in layer.parameters())
    for form in (np.asfortranarray, unaligned):
        load_weights(other, [form(array) for array in weights])
        for got, want in zip(get_weights(other), weights, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("case", CASES)
def test_random_weights_compute_the_same_after_a_round_trip(case: str) -> None:
    layer, other = keras_layer(case), keras_layer(case)
    for parameter in layer.parameters():  # both biases of every cell
        parameter.data[...] = np.random.default_rng(parameter.size).standard_normal(parameter.shape)
    load_weights(other, get_weights(layer))
    x = STORED[f"{case}.x"]
    assert error(other(x)[0], layer(x)[0]) <= FORWARD["float32"]


def test_a_stack_takes_its_layers_one_after_the_other() -> None:
    stack = rf.GRU(4, 5, num_layers=2, dtype="float64", rng=0)
    lower, upper = rf.GRU(4, 5, dtype="float64", rng=1), rf.GRU(5, 5, dtype="float64", rng=2)
    load_weights(stack, [*get_weights(lower), *get_weights(upper)])
    x = np.random.default_rng(0).standard_normal((7, 3, 4))
    np.testing.assert_array_equal(stack(x)[0], upper(lower(x)[0])[0])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (rf.LSTM(2, 3, peephole=True), "without peephole"),
        (rf.LSTM(2, 3, coupled_gates=True), "without coupled_gates"),
        (rf.LSTM(2, 3, cell_clip=1.0), "without cell_clip"),
        (rf.LSTM(2, 4, proj_size=3), "without proj_size"),
        (rf.GRU(2, 4, zoneout=0.1), "without zoneout"),
        (rf.LSTM(2, 4, zoneout=(0.0, 0.1)), "without zoneout"),
    ],
)
def test_layers_that_keras_lacks_are_refused(layer: Any, message: str) -> None:
    for call in (lambda: get_weights(layer), lambda: load_weights(layer, [])):
        with pytest.raises(ValueError, match=f"^layer: expected one {message}"):
            call()


def test_weights_that_do_not_fit_are_refused_before_anything_is_written() -> None:
    layer = rf.GRU(2, 3, rng=0)
    before = layer.state_dict()
    weights = get_weights(rf.GRU(2, 3, rng=1))
    with pytest.raises(ValueError, match=r"^weights: expected 3 arrays, got 2"):
        load_weights(layer, weights[:2])
    with pytest.raises(ValueError, match=r"^weights\[2\]: expected shape \(2, 9\), got \(9,\)"):
        load_weights(layer, [*weights[:2], weights[2][0]])
    with pytest.raises(TypeError, match=r"^weights\[1\]: expected float32"):
        load_weights(layer, [weights[0], weights[1].astype(int), weights[2]])
    with pytest.raises(TypeError, match=r"^layer: expected an RNN, LSTM or GRU, got Linear"):
        load_weights(rf.Linear(2, 3), weights)  # type: ignore[arg-type]
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("SimpleRNN", {"activation": "linear"}),
        ("SimpleRNN", {"activation": "sigmoid", "use_bias": False}),
        ("LSTM", {}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
    ],
)
def test_a_keras_layer_becomes_one_of_ours(keras: Any, kind: str, options: dict, bidirectional: bool) -> None:
    theirs = getattr(keras.layers, kind)(5, return_sequences=True, **options)
    if bidirectional:
        theirs = keras.layers.Bidirectional(theirs)
    x = np.random.default_rng(0).standard_normal((3, 7, 4)).astype(np.float32)
    want = keras.ops.convert_to_numpy(theirs(x))
    before = _core.runs_so_far()
    y, _ = from_layer(theirs)(x)
    assert _core.runs_so_far() > before
    assert error(y, want) <= STORED_KERAS


@pytest.mark.parametrize(
    ("kind", "options"), [("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})]
)
def test_recurrent_dropout_is_that_of_keras_with_the_same_mask(keras: Any, kind: str, options: dict) -> None:
    B, T, I, H = 3, 7, 4, 5
    theirs = getattr(keras.layers, kind)(H, return_sequences=True, recurrent_dropout=0.3, **options)
    x = np.random.default_rng(0).standard_normal((B, T, I)).astype(np.float32)
    theirs(x)
    layer = from_layer(theirs)
    layer.recurrent_dropout = 0.3
    mask = _core.dropout_mask(3, 0, RECURRENT * KINDS, (1, B, H), 0.3, "float32")[0]
    gates = {"LSTM": 4, "GRU": 3}.get(kind)  # Keras multiplies h for each gate alone; a SimpleRNN has one
    own = keras.ops.convert_to_tensor(mask)
    theirs.cell.implementation = 1
    theirs.cell._recurrent_dropout_mask = own if gates is None else [own] * gates
    want = keras.ops.convert_to_numpy(theirs(x, training=True))
    y, _, _ = layer.forward(x, rng=3)
    assert error(y, want) <= STORED_KERAS
    assert error(layer(x)[0], want) > 0.01


def test_the_last_output_is_found_in_both_directions(keras: Any) -> None:
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(5))
    x = np.random.default_rng(0).standard_normal((3, 7, 4)).astype(np.float32)
    want = keras.ops.convert_to_numpy(theirs(x))
    model = rf.Sequential(from_layer(theirs), rf.Last(batch_first=True, bidirectional=True))
    assert error(model(x)[0], want) <= STORED_KERAS


def test_two_directions_that_differ_are_refused(keras: Any) -> None:
    layers = keras.layers
    for kind, forward, backward, message in (
        ("LSTM", {}, {"activation": "relu"}, "activation='tanh', got 'relu'"),
        (
            "SimpleRNN",
            {},
            {"activation": "relu"},
            "alike, .* activation='tanh' and SimpleRNN with activation='relu'",
        ),
        ("GRU", {"use_bias": False}, {"use_bias": False, "reset_after": False}, "reset_after=True and GRU"),
    ):
        pair = [
            getattr(layers, kind)(3, return_sequences=True, go_backwards=back, **options)
            for back, options in ((False, forward), (True, backward))
        ]
        both = layers.Bidirectional(pair[0], backward_layer=pair[1])
        both(np.ones((1, 2, 2), np.float32))
        with pytest.raises(ValueError, match=f"^keras_layer: expected .*{message}"):
            from_layer(both)


def test_keras_layers_without_a_counterpart_are_refused(keras: Any) -> None:
    layers = keras.layers
    for layer, message in (
        (layers.LSTM(3), "one that is built"),
        (layers.LSTM(3, activation="relu"), "activation='tanh', got 'relu'"),
        (layers.GRU(3, recurrent_activation="hard_sigmoid"), "recurrent_activation='sigmoid'"),
        (layers.GRU(3, go_backwards=True), "go_backwards=False"),
        (layers.SimpleRNN(3, activation="gelu"), "activation to be one of 'tanh', .* got 'gelu'"),
        (layers.Bidirectional(layers.LSTM(3), merge_mode="sum"), "merge_mode='concat', got 'sum'"),
    ):
        if "built" not in message:
            layer(np.ones((1, 2, 2), np.float32))
        with pytest.raises(ValueError, match=f"^keras_layer: expected {message}"):
            from_layer(layer)
    with pytest.raises(
        TypeError, match=r"^keras_layer: expected a SimpleRNN, LSTM or GRU of Keras, got Dense"
    ):
        from_layer(layers.Dense(3))


def tanh(x: Any) -> Any:
    """A function that has the name of one of Keras's."""
    return 2 * x


@pytest.mark.filterwarnings("ignore:The object being serialized includes a")
def test_activations_that_are_functions_or_layers_are_refused_by_name(keras: Any) -> None:
    layers = keras.layers
    for layer, message in (
        (
            layers.SimpleRNN(3, activation=lambda x: x),
            "activation to be one of 'tanh', .* got the function .*lambda",
        ),
        (layers.SimpleRNN(3, activation=tanh), "activation to be one of 'tanh', .* got the function .*tanh"),
        (
            layers.SimpleRNN(3, activation=layers.ReLU()),
            "activation to be one of 'tanh', .* got the object .*ReLU",
        ),
        (layers.LSTM(3, activation=tanh), "activation='tanh', got the function .*tanh"),
        (
            layers.GRU(3, recurrent_activation=layers.LeakyReLU()),
            "recurrent_activation='sigmoid', got the object .*",
        ),
    ):
        layer(np.ones((1, 2, 2), np.float32))
        with pytest.raises(ValueError, match=f"^keras_layer: expected {message}"):
            from_layer(layer)
    for activation in (keras.activations.tanh, keras.ops.tanh, "tanh"):
        layer = layers.SimpleRNN(3, activation=activation)
        layer(np.ones((1, 2, 2), np.float32))
        assert from_layer(layer).nonlinearity == "tanh"
