"""What layers read: batched and unbatched input, memory layouts, dtypes, empty arrays; none is modified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import D_PARTS, PARTS, as_state, assert_equal, normal, parts
from helpers.cases import views
from helpers.memory import unaligned
from helpers.models import forward_backward, state_for
from modules.small_layers import B, H, I, T, small_layer


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_batch_first_has_the_bits_of_time_first(cell: str, dropout: float) -> None:
    options = {"num_layers": 2, "bidirectional": True, "dropout": dropout}
    first, other = small_layer(cell, **options), small_layer(cell, batch_first=True, **options)
    x, dy, state = normal(T, B, I), normal(T, B, 2 * H), state_for(first, B)
    want = forward_backward(first, x, state, dy, state, rng=3)
    got = forward_backward(other, x.swapaxes(0, 1), state, dy.swapaxes(0, 1), state, rng=3)
    assert got["y"].shape == (B, T, 2 * H)
    assert got["y"].flags.c_contiguous
    for name in ("y", "dx"):
        got[name] = got[name].swapaxes(0, 1)
    assert_equal(got, want)


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_unbatched_sequence_has_the_bits_of_a_batch_of_one(cell: str, batch_first: bool) -> None:
    layer, plain = small_layer(cell, num_layers=2, batch_first=batch_first), small_layer(cell, num_layers=2)
    x, dy, state = normal(T, I), normal(T, H), state_for(layer, None)
    lifted = tuple(part[:, None] for part in parts(state))
    lifted = as_state(lifted)
    want = forward_backward(plain, x[:, None], lifted, dy[:, None], lifted)
    for name in ("y", "dx"):
        want[name] = want[name][:, 0]
    want = {name: array[:, 0] if name in (*PARTS, *D_PARTS) else array for name, array in want.items()}
    assert_equal(forward_backward(layer, x, state, dy, state), want)


def strange_forms(array: np.ndarray) -> dict[str, Any]:
    """The same numbers in other memory layouts, another dtype, or a list."""
    return {
        **views(array),
        "unaligned": unaligned(array),
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "float64": array.astype(np.float64),
        "list": array.tolist(),
    }


@pytest.mark.parametrize("form", list(strange_forms(np.zeros(1, np.float32))))
def test_any_memory_layout_gives_the_same_bits(cell: str, form: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, dy, state = normal(T, B, I), normal(T, B, 2 * H), state_for(layer, B)
    want, evaluated = forward_backward(layer, x, state, dy, state), layer(x, state)[0]
    x, dy = strange_forms(x)[form], strange_forms(dy)[form]
    state = tuple(strange_forms(part)[form] for part in parts(state))
    state = as_state(state)
    assert_equal(forward_backward(layer, x, state, dy, state), want)
    np.testing.assert_array_equal(layer(x, state)[0], evaluated)


def test_a_broadcast_gradient_has_the_bits_of_a_whole_one(cell: str) -> None:
    layer = small_layer(cell)
    x = normal(T, B, I)
    want = forward_backward(layer, x, None, np.ones((T, B, H), np.float32))
    assert_equal(forward_backward(layer, x, None, np.broadcast_to(np.float32(1), (T, B, H))), want)


def test_inputs_are_never_modified(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True, dropout=0.5)
    x, dy, state, dstate = (
        normal(T, B, I),
        normal(T, B, 2 * H),
        state_for(layer, B),
        state_for(layer, B, seed=4),
    )
    given = [x, dy, *parts(state), *parts(dstate)]
    before = [array.copy() for array in given]
    layer(x, state)
    forward_backward(layer, x, state, dy, dstate)
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("own", ["float32", "float64"])
def test_floats_are_cast_to_the_layers_dtype(cell: str, own: str, dtype: Any) -> None:
    layer = small_layer(cell, dtype=own)
    x, dy = normal(T, B, I, dtype=dtype), normal(T, B, H, dtype=dtype)
    got = forward_backward(layer, x, None, dy)
    assert {array.dtype for array in got.values()} == {np.dtype(own)}
    assert_equal(got, forward_backward(layer, x.astype(own), None, dy.astype(own)))


@pytest.mark.parametrize("dtype", [int, bool, complex, object, "U1"])
def test_other_kinds_of_numbers_are_refused(cell: str, dtype: Any) -> None:
    layer = small_layer(cell)
    x, state = normal(T, B, I), state_for(layer, B)
    odd = tuple(np.zeros(part.shape, dtype) for part in parts(state))
    odd = as_state(odd)
    with pytest.raises(TypeError, match=r"^x: expected float32.*got"):
        layer(np.zeros((T, B, I), dtype))
    with pytest.raises(TypeError, match=r"^state.*: expected float32.*got"):
        layer.forward(x, odd)
    tape = layer.forward(x)[2]
    with pytest.raises(TypeError, match=r"^dy: expected float32.*got"):
        layer.backward(tape, np.zeros((T, B, H), dtype))
    with pytest.raises(TypeError, match=r"^dstate.*: expected float32.*got"):
        layer.backward(tape, dstate=odd)
    layer.backward(tape)


@pytest.mark.parametrize(("steps", "batch"), [(0, B), (T, 0), (0, 0)])
def test_empty_input_gives_empty_output_and_zero_gradients(cell: str, steps: int, batch: int) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    state, dfinal = state_for(layer, batch), state_for(layer, batch, seed=5)
    y, final, tape = layer.forward(normal(steps, batch, I), state)
    assert y.shape == (steps, batch, 2 * H)
    dx, dinitial = layer.backward(tape, y, dfinal)
    assert dx.shape == (steps, batch, I)
    for got, want in zip((*parts(final), *parts(dinitial)), (*parts(state), *parts(dfinal)), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not any(parameter.grad.any() for parameter in layer.parameters())
