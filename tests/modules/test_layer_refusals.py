"""Wrong input, states, gradients and options of layers are refused, and the error names them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.cases import LAYERS
from helpers.models import state_for
from modules.small_layers import B, H, I, T, small_layer

import rnnfast as rf


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (5, 3, 7), "x: expected shape [T, B, 4] or, unbatched, [T, 4], got (5, 3, 7)"),
        (
            {"batch_first": True},
            (5, 3, 7),
            "x: expected shape [B, T, 4] or, unbatched, [T, 4], got (5, 3, 7)",
        ),
        ({}, (4,), "x: expected shape [T, B, 4] or, unbatched, [T, 4], got (4,)"),
        ({}, (), "x: expected shape [T, B, 4] or, unbatched, [T, 4], got ()"),
        ({}, (1, 5, 3, 4), "x: expected shape [T, B, 4] or, unbatched, [T, 4], got (1, 5, 3, 4)"),
    ],
)
def test_a_wrong_x_is_named(cell: str, options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    layer = small_layer(cell, **options)
    for call in (layer, layer.forward):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(np.zeros(shape, np.float32))


def test_a_list_of_unequal_rows_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"^x: expected an array, got list"):
        small_layer(cell)([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("cell_", ["rnn", "gru"])
def test_a_wrong_state_of_one_part_is_named(cell_: str) -> None:
    layer = small_layer(cell_, num_layers=2, bidirectional=True)
    x, h = normal(T, B, I), state_for(layer, B)
    with pytest.raises(TypeError, match=r"^state: expected one array h, got a tuple$"):
        layer(x, (h, h))
    with pytest.raises(ValueError, match=r"^state: expected shape \(4, 3, 6\), got \(3, 4, 6\)$"):
        layer(x, h.swapaxes(0, 1))
    with pytest.raises(ValueError, match=r"^state: expected shape \(4, 6\), got \(4, 3, 6\)$"):
        layer(x[:, 0], h)
    tape = layer.forward(x)[2]
    with pytest.raises(TypeError, match=r"^dstate: expected one array h, got a tuple$"):
        layer.backward(tape, dstate=(h,))
    with pytest.raises(ValueError, match=r"^dstate: expected shape \(4, 3, 6\), got \(1, 3, 6\)$"):
        layer.backward(tape, dstate=h[:1])
    layer.backward(tape)


def test_a_wrong_state_of_two_parts_is_named() -> None:
    layer = small_layer("lstm")
    x, (h, c) = normal(T, B, I), state_for(layer, B)
    for wrong, came in ((h, "ndarray"), ((h,), "1 of them"), ([h, c, c], "3 of them")):
        with pytest.raises(TypeError, match=rf"^state: expected a pair \(h, c\) of arrays, got {came}$"):
            layer(x, wrong)
    with pytest.raises(ValueError, match=r"^state c: expected shape \(1, 3, 6\), got \(1, 2, 6\)$"):
        layer(x, (h, c[:, :2]))
    tape = layer.forward(x)[2]
    with pytest.raises(TypeError, match=r"^dstate: expected a pair \(h, c\) of arrays, got ndarray$"):
        layer.backward(tape, dstate=h)
    with pytest.raises(ValueError, match=r"^dstate c: expected shape \(1, 3, 6\), got \(1, 2, 6\)$"):
        layer.backward(tape, dstate=(None, c[:, :2]))
    layer.backward(tape)


def test_a_wrong_dy_is_named_and_leaves_tape_and_gradients_alone(cell: str) -> None:
    for layer, x, expected in (
        (small_layer(cell), normal(T, B, I), (T, B, H)),
        (small_layer(cell, batch_first=True, bidirectional=True), normal(B, T, I), (B, T, 2 * H)),
        (small_layer(cell), normal(T, I), (T, H)),
    ):
        tape = layer.forward(x)[2]
        for wrong in ((*expected[:-1], 1), expected[1:], (1, *expected)):
            message = re.escape(f"dy: expected shape {expected}, got {wrong}")
            with pytest.raises(ValueError, match=f"^{message}$"):
                layer.backward(tape, np.zeros(wrong))
        assert all(parameter.grad is None for parameter in layer.parameters())
        layer.backward(tape, np.zeros(expected))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"input_size": 0}, ValueError, "input_size: expected at least 1, got 0"),
        ({"input_size": 2.0}, TypeError, "input_size: expected an integer, got 2.0"),
        ({"hidden_size": -3}, ValueError, "hidden_size: expected at least 1, got -3"),
        ({"hidden_size": True}, TypeError, "hidden_size: expected an integer, got True"),
        ({"num_layers": 0}, ValueError, "num_layers: expected at least 1, got 0"),
        ({"dropout": 1.0}, ValueError, "dropout: expected a probability p with 0 <= p < 1, got 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout: expected a probability"),
        ({"dropout": "a"}, TypeError, "dropout: expected a number, got 'a'"),
        ({"dropout": float("nan")}, ValueError, "dropout: expected a finite number, got nan"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64, got 'float16'"),
        ({"dtype": None}, TypeError, "dtype: expected float32 or float64, got None"),
        ({"dtype": "nonsense"}, TypeError, "dtype: expected float32 or float64, got 'nonsense'"),
        ({"rng": -1}, ValueError, "rng: expected an integer in 0..2**64-1, got -1"),
        ({"rng": "a"}, TypeError, "rng: expected an integer, a numpy.random.Generator or None, got 'a'"),
        ({"rng": True}, TypeError, "rng: expected an integer, a numpy.random.Generator or None, got True"),
    ],
)
def test_a_wrong_option_is_named(cell: str, options: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        LAYERS[cell](**{"input_size": I, "hidden_size": H, **options})


def test_a_wrong_nonlinearity_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"^nonlinearity: expected one of tanh, relu, sigmoid, identity, got 'gelu'$"
    ):
        rf.RNN(I, H, nonlinearity="gelu")


@pytest.mark.parametrize("rng", [1.5, "a", True, np.random.RandomState(0)])
def test_a_wrong_rng_of_a_pass_is_named(cell: str, rng: Any) -> None:
    for layer in (small_layer(cell), small_layer(cell, num_layers=2, dropout=0.5)):
        with pytest.raises(TypeError, match=r"^rng: expected an integer, a numpy.random.Generator or None"):
            layer.forward(normal(T, B, I), rng=rng)
        with pytest.raises(ValueError, match=r"^rng: expected an integer in 0..2\*\*64-1, got -1"):
            layer.forward(normal(T, B, I), rng=-1)
