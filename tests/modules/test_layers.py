"""The promises of RNN, LSTM and GRU as layers: gradients, forms of input, tapes, errors, copies, seeds."""

from __future__ import annotations

import copy
import pickle
import re
import threading
from typing import Any

import numpy as np
import pytest
from cases import LAYERS
from differences import assert_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import error, tolerance

import rnnfast as rf
from rnnfast import reference

CELLS = sorted(LAYERS)
pytorchs = pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
T, B, I, H = 5, 3, 4, 6


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


def build(cell: str, rng: int = 7, **options: Any) -> Any:
    smooth = {"nonlinearity": "tanh"} if cell == "indrnn" else {}  # its relu gives zeros
    return LAYERS[cell](I, H, rng=rng, **{**smooth, **options})


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 1) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def state_for(layer: Any, batch: int | None = B, seed: int = 2) -> Any:
    """A random state of the layer's form and dtype."""
    passes = layer.num_layers * (2 if layer.bidirectional else 1)
    shape = (passes, *(() if batch is None else (batch,)), layer.hidden_size)
    h, c = (numbers(*shape, dtype=layer.dtype, seed=seed + part) for part in (0, 1))
    return (h, c) if isinstance(layer, rf.LSTM) else h


def parts(state: Any) -> tuple[np.ndarray, ...]:
    return state if isinstance(state, tuple) else (state,)


def results(
    layer: Any, x: np.ndarray, state: Any = None, dy: Any = None, dstate: Any = None, **keywords: Any
) -> dict[str, Any]:
    """Everything one forward and one backward pass give, as arrays by name."""
    y, final, tape = layer.forward(x, state, **keywords)
    grads: dict[str, np.ndarray] = {}
    dx, dinitial = layer.backward(tape, dy, dstate, grads=grads)
    named = {"y": y, "dx": dx, **grads}
    named |= {f"final {k}": part for k, part in enumerate(parts(final))}
    named |= {f"dinitial {k}": part for k, part in enumerate(parts(dinitial))}
    return named


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name], err_msg=name, strict=True)


# Equivalence


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bidirectional": True},
        {"num_layers": 3, "bias": False, "batch_first": True},
        {"num_layers": 3, "dropout": 0.4, "bidirectional": True, "batch_first": True},
    ],
    ids=["plain", "both directions", "batch first, no bias", "dropout"],
)
@pytest.mark.parametrize("given", ["state", "no state"])
def test_gradients_agree_with_finite_differences(cell: str, options: dict[str, Any], given: str) -> None:
    layer = LAYERS[cell](3, 2, dtype="float64", rng=3, **options)
    passes = layer.num_layers * (2 if layer.bidirectional else 1)
    x = numbers(*((2, 4, 3) if layer.batch_first else (4, 2, 3)), dtype=float)
    h, c = numbers(passes, 2, 2, dtype=float, seed=4), numbers(passes, 2, 2, dtype=float, seed=5)
    state = None if given == "no state" else (h, c) if cell == "lstm" else h
    assert_gradients(layer, x, state, rng=11)


def test_unbatched_gradients_agree_with_finite_differences(cell: str) -> None:
    layer = LAYERS[cell](3, 2, num_layers=2, bidirectional=True, dtype="float64", rng=3)
    h, c = numbers(4, 2, dtype=float, seed=4), numbers(4, 2, dtype=float, seed=5)
    assert_gradients(layer, numbers(4, 3, dtype=float), (h, c) if cell == "lstm" else h)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid", "identity"])
def test_gradients_of_each_nonlinearity_agree_with_finite_differences(nonlinearity: str) -> None:
    layer = rf.RNN(3, 4, num_layers=2, nonlinearity=nonlinearity, dtype="float64", rng=3)
    assert_gradients(layer, numbers(4, 2, 3, dtype=float), numbers(2, 2, 4, dtype=float))


@settings(max_examples=60, deadline=None)
@given(
    cell=st.sampled_from(CELLS),
    sizes=st.tuples(*[st.integers(1, 20)] * 4),
    num_layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_stack_equals_the_reference_pass_by_pass(
    cell: str, sizes: tuple[int, ...], num_layers: int, bidirectional: bool, bias: bool, dtype: str
) -> None:
    if dtype == "float32":  # a sum of one or two terms may cancel to a result smaller than their rounding
        sizes = tuple(max(4, size) for size in sizes)
    steps, batch, columns, hidden = sizes
    layer = LAYERS[cell](columns, hidden, num_layers, bias, bidirectional=bidirectional, dtype=dtype, rng=7)
    D = 2 if bidirectional else 1
    x, dy = numbers(steps, batch, columns, dtype=dtype), numbers(steps, batch, D * hidden, dtype=dtype)
    state, dfinal = state_for(layer, batch), state_for(layer, batch, seed=9)
    got = results(layer, x, state, dy, dfinal)
    want = by_reference(layer, cell, x, state, dy, dfinal)
    assert got.keys() == want.keys()
    for name in want:
        kind = "y" if name == "y" or name.startswith("final") else "dx"
        allowed = D * num_layers * tolerance(kind, dtype, columns + hidden)
        assert error(got[name], want[name]) <= allowed, name


def by_reference(layer: Any, cell: str, x: Any, state: Any, dy: Any, dfinal: Any) -> dict[str, np.ndarray]:
    """What `results` gives, from the reference in float64 and this file's own idea of a stack."""
    forward, backward = getattr(reference, f"{cell}_forward"), getattr(reference, f"{cell}_backward")
    state, dfinal = ([part.astype(float) for part in parts(value)] for value in (state, dfinal))
    y, dy = x.astype(float), dy.astype(float)
    suffixes = [
        [f"_l{place}", f"_l{place}_reverse"][: 2 if layer.bidirectional else 1]
        for place in range(layer.num_layers)
    ]
    tapes, finals, dinitials, want = {}, [], {}, {}
    for both in suffixes:
        halves = []
        for suffix in both:
            weights = {
                name.removesuffix(suffix): parameter.data.astype(float)
                for name, parameter in layer.named_parameters()
                if name.endswith(suffix)
            }
            initial = tuple(part[len(finals)] for part in state)
            half, final, tapes[suffix] = forward(
                y,
                **weights,
                state=initial if cell == "lstm" else initial[0],
                reverse=suffix.endswith("reverse"),
            )
            halves.append(half)
            finals.append(parts(final))
        y = np.concatenate(halves, axis=-1)
    want["y"] = y
    order = [suffix for both in suffixes for suffix in both]
    for both in reversed(suffixes):
        shares = []
        for suffix, half in zip(both, np.split(dy, len(both), axis=-1), strict=True):
            dstate = tuple(part[order.index(suffix)] for part in dfinal)
            share, dinitial, grads = backward(tapes[suffix], half, dstate if cell == "lstm" else dstate[0])
            shares.append(share)
            dinitials[suffix] = parts(dinitial)
            want |= {name + suffix: gradient for name, gradient in grads.items()}
        dy = sum(shares)
    want["dx"] = dy
    want |= {f"final {k}": np.stack(part) for k, part in enumerate(zip(*finals, strict=True))}
    starts = zip(*(dinitials[suffix] for suffix in order), strict=True)
    want |= {f"dinitial {k}": np.stack(part) for k, part in enumerate(starts)}
    return want


def test_evaluation_has_the_bits_of_training(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    x, state = numbers(T, B, I), state_for(layer)
    y, final = layer(x, state)
    trained, trained_final, _ = layer.forward(x, state)
    np.testing.assert_array_equal(y, trained)
    for got, want in zip(parts(final), parts(trained_final), strict=True):
        np.testing.assert_array_equal(got, want)


def test_chunks_have_the_bits_of_the_whole(cell: str) -> None:
    layer = build(cell, num_layers=2)
    x = numbers(T, B, I)
    whole, final = layer(x)
    state, chunks = None, []
    for chunk in (x[:2], x[2:3], x[3:3], x[3:]):
        y, state = layer(chunk, state)
        chunks.append(y)
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    for got, want in zip(parts(state), parts(final), strict=True):
        np.testing.assert_array_equal(got, want)


def test_no_state_means_zeros(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    x, dy = numbers(T, B, I), numbers(T, B, 2 * H)
    zeros = tuple(np.zeros_like(part) for part in parts(state_for(layer)))
    assert_same(results(layer, x, None, dy), results(layer, x, zeros if cell == "lstm" else zeros[0], dy))


# Forms of input


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_batch_first_has_the_bits_of_time_first(cell: str, dropout: float) -> None:
    options = {"num_layers": 2, "bidirectional": True, "dropout": dropout}
    first, other = build(cell, **options), build(cell, batch_first=True, **options)
    x, dy, state = numbers(T, B, I), numbers(T, B, 2 * H), state_for(first)
    want = results(first, x, state, dy, state, rng=3)
    got = results(other, x.swapaxes(0, 1), state, dy.swapaxes(0, 1), state, rng=3)
    assert got["y"].shape == (B, T, 2 * H)
    assert got["y"].flags.c_contiguous
    for name in ("y", "dx"):
        got[name] = got[name].swapaxes(0, 1)
    assert_same(got, want)


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_unbatched_sequence_has_the_bits_of_a_batch_of_one(cell: str, batch_first: bool) -> None:
    layer, plain = build(cell, num_layers=2, batch_first=batch_first), build(cell, num_layers=2)
    x, dy, state = numbers(T, I), numbers(T, H), state_for(layer, None)
    lifted = tuple(part[:, None] for part in parts(state))
    lifted = lifted if cell == "lstm" else lifted[0]
    want = results(plain, x[:, None], lifted, dy[:, None], lifted)
    for name in ("y", "dx"):
        want[name] = want[name][:, 0]
    want = {
        name: array[:, 0] if name.startswith(("final", "dinitial")) else array for name, array in want.items()
    }
    assert_same(results(layer, x, state, dy, state), want)


def strange_forms(array: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of an array that differ from it in memory alone."""
    every_other = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    every_other[...] = array
    shifted = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    frozen = array.copy()
    frozen.setflags(write=False)
    return {
        "fortran": np.asfortranarray(array),
        "every other": every_other,
        "backwards": array[::-1].copy()[::-1],
        "unaligned": shifted,
        "read-only": frozen,
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "float64": array.astype(np.float64),
        "list": array.tolist(),
    }


@pytest.mark.parametrize("form", list(strange_forms(np.zeros(1, np.float32))))
def test_any_memory_layout_gives_the_same_bits(cell: str, form: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    x, dy, state = numbers(T, B, I), numbers(T, B, 2 * H), state_for(layer)
    want, evaluated = results(layer, x, state, dy, state), layer(x, state)[0]
    x, dy = strange_forms(x)[form], strange_forms(dy)[form]
    state = tuple(strange_forms(part)[form] for part in parts(state))
    state = state if cell == "lstm" else state[0]
    assert_same(results(layer, x, state, dy, state), want)
    np.testing.assert_array_equal(layer(x, state)[0], evaluated)


def test_a_gradient_without_strides_is_read_right(cell: str) -> None:
    layer = build(cell)
    x = numbers(T, B, I)
    want = results(layer, x, None, np.ones((T, B, H), np.float32))
    assert_same(results(layer, x, None, np.broadcast_to(np.float32(1), (T, B, H))), want)


def test_inputs_are_never_modified(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True, dropout=0.5)
    x, dy, state, dstate = numbers(T, B, I), numbers(T, B, 2 * H), state_for(layer), state_for(layer, seed=4)
    given = [x, dy, *parts(state), *parts(dstate)]
    before = [array.copy() for array in given]
    layer(x, state)
    results(layer, x, state, dy, dstate)
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("own", ["float32", "float64"])
def test_floats_are_cast_to_the_layers_dtype(cell: str, own: str, dtype: Any) -> None:
    layer = build(cell, dtype=own)
    x, dy = numbers(T, B, I, dtype=dtype), numbers(T, B, H, dtype=dtype)
    got = results(layer, x, None, dy)
    assert {array.dtype for array in got.values()} == {np.dtype(own)}
    assert_same(got, results(layer, x.astype(own), None, dy.astype(own)))


@pytest.mark.parametrize("dtype", [int, bool, complex, object, "U1"])
def test_other_kinds_of_numbers_are_refused(cell: str, dtype: Any) -> None:
    layer = build(cell)
    x, state = numbers(T, B, I), state_for(layer)
    odd = tuple(np.zeros(part.shape, dtype) for part in parts(state))
    odd = odd if cell == "lstm" else odd[0]
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
    layer = build(cell, num_layers=2, bidirectional=True)
    state, dfinal = state_for(layer, batch), state_for(layer, batch, seed=5)
    y, final, tape = layer.forward(numbers(steps, batch, I), state)
    assert y.shape == (steps, batch, 2 * H)
    dx, dinitial = layer.backward(tape, y, dfinal)
    assert dx.shape == (steps, batch, I)
    for got, want in zip((*parts(final), *parts(dinitial)), (*parts(state), *parts(dfinal)), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not any(parameter.grad.any() for parameter in layer.parameters())


# What is handed out


def test_y_of_training_is_read_only_and_outlives_backward(cell: str) -> None:
    for layer, x in ((build(cell), numbers(T, B, I)), (build(cell, batch_first=True), numbers(T, I))):
        y, _, tape = layer.forward(x)
        before = y.copy()
        with pytest.raises(ValueError, match="read-only"):
            y[...] = 0
        layer.backward(tape, np.ones_like(y))
        layer.forward(numbers(*x.shape, seed=3))
        np.testing.assert_array_equal(y, before)


def test_y_of_evaluation_and_all_states_are_the_callers_own(cell: str) -> None:
    layer = build(cell, num_layers=2)
    x, state, dy = numbers(T, B, I), state_for(layer), numbers(T, B, H)
    want = results(layer, x, state, dy)
    y, final = layer(x, state)
    y[...] = 0
    given = tuple(part.copy() for part in parts(state))
    y, final, tape = layer.forward(x, given if cell == "lstm" else given[0])
    for part in (*parts(final), *given):
        part[...] = np.nan
    grads: dict[str, np.ndarray] = {}
    dx, dinitial = layer.backward(tape, dy, grads=grads)
    np.testing.assert_array_equal(dx, want["dx"])
    np.testing.assert_array_equal(parts(dinitial)[0], want["dinitial 0"])
    for name, gradient in grads.items():
        np.testing.assert_array_equal(gradient, want[name])


def test_gradients_share_no_memory(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    arrays = list(results(layer, numbers(T, B, I), None, numbers(T, B, 2 * H)).values())
    arrays += [parameter.data for parameter in layer.parameters()]
    for place, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:place])


# Tape rules


def test_no_gradient_means_a_zero_gradient(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    x, state = numbers(T, B, I), state_for(layer)
    zero_y = np.zeros((T, B, 2 * H), np.float32)
    zeros = tuple(np.zeros_like(part) for part in parts(state))
    zero_state = zeros if cell == "lstm" else zeros[0]
    nothing = results(layer, x, state)
    assert not any(
        array.any() for name, array in nothing.items() if name != "y" and not name.startswith("final")
    )
    assert_same(nothing, results(layer, x, state, zero_y, zero_state))
    dstate = state_for(layer, seed=6)
    assert_same(results(layer, x, state, None, dstate), results(layer, x, state, zero_y, dstate))
    dy = numbers(T, B, 2 * H)
    assert_same(results(layer, x, state, dy), results(layer, x, state, dy, zero_state))


def test_either_part_of_a_state_or_its_gradient_may_be_none() -> None:
    layer = build("lstm", num_layers=2)
    x, dy, (dh, dc) = numbers(T, B, I), numbers(T, B, H), state_for(layer)
    for some, all_ in (
        ((dh, None), (dh, 0 * dc)),
        ((None, dc), (0 * dh, dc)),
        ((None, None), (0 * dh, 0 * dc)),
    ):
        assert_same(results(layer, x, None, dy, some), results(layer, x, None, dy, all_))
        assert_same(results(layer, x, some, dy), results(layer, x, all_, dy))
    assert_same(results(layer, x, None, dy, [dh, dc]), results(layer, x, None, dy, (dh, dc)))


def test_without_input_grad_dx_is_none_and_the_rest_is_the_same(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    x, dy = numbers(T, B, I), numbers(T, B, 2 * H)
    want = results(layer, x, None, dy)
    grads: dict[str, np.ndarray] = {}
    dx, dstate = layer.backward(layer.forward(x)[2], dy, input_grad=False, grads=grads)
    assert dx is None
    assert_same(grads, {name: want[name] for name in grads})
    np.testing.assert_array_equal(parts(dstate)[0], want["dinitial 0"])


def test_a_retained_tape_gives_the_same_again_and_then_is_used_up(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True, dropout=0.3)
    y, _, tape = layer.forward(numbers(T, B, I))
    dy = numbers(*y.shape)
    runs = []
    for retain in (True, True, False):
        grads: dict[str, np.ndarray] = {}
        dx, _ = layer.backward(tape, dy, retain=retain, grads=grads)
        runs.append({"dx": dx, **grads})
    assert_same(runs[1], runs[0])
    assert_same(runs[2], runs[0])
    assert "used up" in repr(tape)
    with pytest.raises(ValueError, match=r"^tape: .*used up"):
        layer.backward(tape, dy)


def test_a_tape_of_another_layer_is_refused(cell: str) -> None:
    layer, twin = build(cell), build(cell)
    tape = layer.forward(numbers(T, B, I))[2]
    with pytest.raises(ValueError, match=r"^tape: .*another module's"):
        twin.backward(tape)
    with pytest.raises(TypeError, match=r"^tape: expected the tape that forward gave, got tuple"):
        layer.backward((1, 2))
    layer.backward(tape)


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_tape_refuses_to_be_copied(take: Any) -> None:
    tape = build("gru").forward(numbers(T, B, I))[2]
    with pytest.raises(TypeError, match="neither pickled nor copied"):
        take(tape)


def test_gradients_are_added_until_zeroed(cell: str) -> None:
    layer = build(cell)
    x, dy = numbers(T, B, I), numbers(T, B, H)
    assert all(parameter.grad is None for parameter in layer.parameters())
    layer.zero_grad()
    assert all(parameter.grad is None for parameter in layer.parameters())
    want = results(layer, x, None, dy)
    assert all(parameter.grad is None for parameter in layer.parameters())
    for times in (1, 2):
        layer.backward(layer.forward(x)[2], dy)
        for name, parameter in layer.named_parameters():
            np.testing.assert_array_equal(parameter.grad, times * want[name])
    layer.zero_grad()
    assert not any(parameter.grad.any() for parameter in layer.parameters())


def test_a_dict_collects_gradients_in_place_of_the_parameters(cell: str) -> None:
    layer = build(cell)
    x, dy = numbers(T, B, I), numbers(T, B, H)
    want = results(layer, x, None, dy)
    mine = np.ones_like(layer.weight_hh_l0.data)
    grads = {"weight_hh_l0": mine, "not the layer's": None}
    layer.backward(layer.forward(x)[2], dy, grads=grads)
    assert grads["weight_hh_l0"] is mine
    np.testing.assert_array_equal(mine, 1 + want["weight_hh_l0"])
    np.testing.assert_array_equal(grads["weight_ih_l0"], want["weight_ih_l0"])
    assert all(parameter.grad is None for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("entry", "kind", "message"),
    [
        (np.zeros((1, 1), np.float32), ValueError, "expected shape"),
        (np.zeros((H, H), np.float64), TypeError, "expected an array of float32, got float64"),
        ([0.0], TypeError, "expected an array of float32, got list"),
        (np.broadcast_to(np.float32(0), (H, H)), ValueError, "read-only"),
    ],
)
def test_a_dict_that_does_not_fit_is_refused_before_anything_is_added(
    entry: Any, kind: type, message: str
) -> None:
    layer = build("rnn")
    tape = layer.forward(numbers(T, B, I))[2]
    grads = {"weight_ih_l0": np.zeros((H, I), np.float32), "weight_hh_l0": entry}
    with pytest.raises(kind, match=rf"^grads\['weight_hh_l0'\]: .*{message}"):
        layer.backward(tape, numbers(T, B, H), grads=grads)
    assert not grads["weight_ih_l0"].any()
    assert list(grads) == ["weight_ih_l0", "weight_hh_l0"]
    with pytest.raises(TypeError, match=r"^grads: expected a dict, got list"):
        layer.backward(tape, grads=[])
    layer.backward(tape)


# Refusals


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
    layer = build(cell, **options)
    for call in (layer, layer.forward):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(np.zeros(shape, np.float32))


def test_a_ragged_list_is_named(cell: str) -> None:
    with pytest.raises(ValueError, match=r"^x: expected an array, got list"):
        build(cell)([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("cell_", ["rnn", "gru"])
def test_a_wrong_state_of_one_part_is_named(cell_: str) -> None:
    layer = build(cell_, num_layers=2, bidirectional=True)
    x, h = numbers(T, B, I), state_for(layer)
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
    layer = build("lstm")
    x, (h, c) = numbers(T, B, I), state_for(layer)
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
        (build(cell), numbers(T, B, I), (T, B, H)),
        (build(cell, batch_first=True, bidirectional=True), numbers(B, T, I), (B, T, 2 * H)),
        (build(cell), numbers(T, I), (T, H)),
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
    for layer in (build(cell), build(cell, num_layers=2, dropout=0.5)):
        with pytest.raises(TypeError, match=r"^rng: expected an integer, a numpy.random.Generator or None"):
            layer.forward(numbers(T, B, I), rng=rng)
        with pytest.raises(ValueError, match=r"^rng: expected an integer in 0..2\*\*64-1, got -1"):
            layer.forward(numbers(T, B, I), rng=-1)


# Parameters by name


@pytorchs
def test_parameters_have_pytorchs_names_shapes_and_order(cell: str) -> None:
    G = LAYERS[cell](1, 1).gates
    layer = build(cell, num_layers=2, bidirectional=True)
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
    names = [name for name, _ in build(cell, bias=False).named_parameters()]
    assert names == ["weight_ih_l0", "weight_hh_l0"]


def test_attributes_that_are_no_parameters_are_refused(cell: str) -> None:
    layer = build(cell)
    with pytest.raises(AttributeError, match="no attribute 'weight_ih_l1'"):
        _ = layer.weight_ih_l1
    with pytest.raises(AttributeError, match=r"assign to weight_ih_l0\.data instead"):
        layer.weight_ih_l0 = np.zeros((H, I))


def test_a_state_dict_is_a_copy_that_loads_to_the_same_bits(cell: str, tmp_path: Any) -> None:
    layer, other = build(cell, num_layers=2), build(cell, num_layers=2, rng=99)
    x, dy = numbers(T, B, I), numbers(T, B, H)
    want = results(layer, x, None, dy)
    saved = layer.state_dict()
    np.savez(tmp_path / "weights.npz", **saved)
    for array in layer.state_dict().values():
        array.fill(0)
    assert_same(results(layer, x, None, dy), want)
    other.load_state_dict(saved)
    for array in saved.values():
        array.fill(0)
    assert_same(results(other, x, None, dy), want)
    third = build(cell, num_layers=2, rng=98)
    with np.load(tmp_path / "weights.npz") as file:
        third.load_state_dict(file)
    assert_same(results(third, x, None, dy), want)


def test_a_state_dict_of_other_floats_is_cast(cell: str) -> None:
    layer, other = build(cell), LAYERS[cell](I, H, dtype="float64", rng=99)
    other.load_state_dict(layer.state_dict())
    assert other.weight_ih_l0.data.dtype == np.float64
    layer.load_state_dict({name: array.tolist() for name, array in other.state_dict().items()})
    np.testing.assert_array_equal(layer.weight_ih_l0.data, other.weight_ih_l0.data)


def test_a_state_dict_that_does_not_fit_is_named_whole_and_changes_nothing() -> None:
    layer = build("gru")
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
    assert_same(layer.state_dict(), before)
    with pytest.raises(TypeError, match=r"^state_dict: expected a mapping of names to arrays, got list$"):
        layer.load_state_dict([1])


# Copies


@pytest.mark.parametrize(
    "take", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["deepcopy", "pickle"]
)
def test_a_copy_computes_the_same_and_lives_its_own_life(cell: str, take: Any) -> None:
    layer = build(cell, num_layers=2, bidirectional=True, dropout=0.5)
    x, dy = numbers(T, B, I), numbers(T, B, 2 * H)
    layer.backward(layer.forward(x)[2], dy)
    twin = take(layer)
    assert repr(twin) == repr(layer)
    assert twin.dtype == layer.dtype
    for name, parameter in layer.named_parameters():
        np.testing.assert_array_equal(getattr(twin, name).grad, parameter.grad)
    assert_same(results(twin, x, None, dy), results(layer, x, None, dy))  # the same mask comes next
    twin.weight_ih_l0.data[...] = 0
    assert layer.weight_ih_l0.data.any()
    assert (twin(x)[0] != layer(x)[0]).any()
    with pytest.raises(ValueError, match=r"^tape: .*another module's"):
        twin.backward(layer.forward(x)[2])


# Random numbers


def test_a_seed_fixes_the_weights_in_either_dtype(cell: str) -> None:
    single, double = (
        LAYERS[cell](I, H, num_layers=2, dtype=dtype, rng=5) for dtype in ("float32", np.float64)
    )
    for name, array in single.state_dict().items():
        np.testing.assert_array_equal(array, double.state_dict()[name].astype(np.float32))
    same = LAYERS[cell](I, H, num_layers=2, rng=np.random.default_rng(5))
    assert_same(same.state_dict(), single.state_dict())
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
    plain = build("lstm", num_layers=2, bidirectional=True)
    layer = build("lstm", num_layers=2, bidirectional=True, forget_bias=1.5)
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


def test_dropout_acts_between_layers_in_training_alone(cell: str) -> None:
    layer, plain = build(cell, num_layers=2, dropout=0.5), build(cell, num_layers=2)
    x = numbers(T, B, I)
    want = plain(x)[0]
    np.testing.assert_array_equal(layer(x)[0], want)
    np.testing.assert_array_equal(layer.forward(x, training=False)[0], want)
    assert layer.mask_calls == 0
    dropped, state, _ = layer.forward(x)
    assert (dropped != want).any()
    assert np.count_nonzero(dropped) == dropped.size  # the last layer's own outputs are whole
    np.testing.assert_array_equal(parts(state)[0][0], parts(plain(x)[1])[0][0])  # and so are the states
    single = build(cell, dropout=0.5)
    np.testing.assert_array_equal(single.forward(x)[0], build(cell)(x)[0])
    assert single.mask_calls == 0


def test_dropout_zeroes_or_scales_what_the_layer_above_reads() -> None:
    layer = rf.RNN(1, 1000, num_layers=2, dropout=0.25, nonlinearity="identity", rng=0)
    for name, parameter in layer.named_parameters():
        parameter.data[...] = np.eye(1000) if name == "weight_ih_l1" else 1 if name == "bias_ih_l0" else 0
    y, _, _ = layer.forward(np.ones((3, 2, 1)))
    scaled = np.float32(1 / 0.75)
    assert set(np.unique(y).tolist()) == {0.0, float(scaled)}
    assert abs((y == 0).mean() - 0.25) < 0.03
    assert all((y[t] != y[0]).any() for t in (1, 2))
    assert (y[:, 0] != y[:, 1]).any()


def test_a_passs_rng_fixes_its_masks(cell: str) -> None:
    layer, other = (build(cell, num_layers=3, dropout=0.5) for _ in range(2))
    x, dy = numbers(T, B, I), numbers(T, B, H)
    want = results(layer, x, None, dy, rng=3)
    assert_same(results(layer, x, None, dy, rng=3), want)
    assert layer.mask_calls == 0
    assert (results(layer, x, None, dy, rng=4)["y"] != want["y"]).any()
    drawn = [layer.forward(x, rng=source)[0] for source in [np.random.default_rng(1)] * 2]
    assert (drawn[0] != drawn[1]).any()
    np.testing.assert_array_equal(layer.forward(x, rng=np.random.default_rng(1))[0], drawn[0])
    # The layer's own masks: one sequence of them per seed, a new one at each call.
    sequence = [layer.forward(x)[0] for _ in range(3)]
    assert (sequence[0] != sequence[1]).any()
    assert (sequence[1] != sequence[2]).any()
    assert layer.mask_calls == 3
    for y in sequence:
        np.testing.assert_array_equal(other.forward(x)[0], y)


def test_a_sequences_masks_do_not_depend_on_its_batch(cell: str) -> None:
    layer = build(cell, num_layers=2, dropout=0.5)
    x = numbers(T, B, I)
    whole = layer.forward(x, rng=3)[0]
    np.testing.assert_array_equal(layer.forward(x[:, :2], rng=3)[0], whole[:, :2])
    np.testing.assert_array_equal(layer.forward(x[:3], rng=3)[0], whole[:3])


def test_masks_made_in_parts_are_the_same(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build(cell, num_layers=3, dropout=0.5, bidirectional=True)
    x, dy = numbers(T, B, I), numbers(T, B, 2 * H)
    want = results(layer, x, None, dy, rng=3)
    for size in (1, 2 * B * 2 * H):
        monkeypatch.setattr("rnnfast.recurrent.stack.MASK_NUMBERS", size)
        assert_same(results(layer, x, None, dy, rng=3), want)


def test_a_refused_pass_draws_no_mask(cell: str) -> None:
    layer = build(cell, num_layers=2, dropout=0.5)
    with pytest.raises(ValueError, match=r"^x: "):
        layer.forward(np.zeros((T, B, I + 1)))
    with pytest.raises((ValueError, TypeError), match=r"^state"):
        layer.forward(numbers(T, B, I), np.zeros((1, B, H)))
    assert layer.mask_calls == 0


# Threads


def test_threads_may_share_a_layer(cell: str) -> None:
    layer = build(cell, num_layers=2, bidirectional=True)
    inputs = [(numbers(T, B, I, seed=seed), numbers(T, B, 2 * H, seed=seed + 100)) for seed in range(8)]
    want = [results(layer, x, None, dy) for x, dy in inputs]
    got: list[Any] = [None] * len(inputs)
    added = 5

    def work(place: int) -> None:
        x, dy = inputs[place]
        for _ in range(added):
            got[place] = results(layer, x, None, dy)
            layer.backward(layer.forward(x)[2], dy)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(len(inputs)):
        assert_same(got[place], want[place])
    for name, parameter in layer.named_parameters():
        total = added * np.sum([result[name].astype(float) for result in want], axis=0)
        np.testing.assert_allclose(parameter.grad, total, rtol=1e-4, atol=1e-4 * np.abs(total).max())


def test_a_tape_is_used_up_by_one_thread_alone() -> None:
    layer = build("gru")
    refused = []
    for _ in range(20):
        tape = layer.forward(numbers(T, B, I))[2]

        def work(tape: Any = tape) -> None:
            try:
                layer.backward(tape)
            except ValueError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(refused) == 20
    assert all("used up" in message for message in refused)
    tape = layer.forward(numbers(T, B, I))[2]
    tape.use_up()
    with pytest.raises(ValueError, match="used up"):
        tape.use_up()


def test_a_layer_says_what_it_is() -> None:
    assert repr(build("gru")) == "GRU(4, 6, dtype='float32')"
    layer = rf.RNN(2, 3, 2, False, True, 0.5, True, nonlinearity="relu", dtype="float64")
    assert repr(layer) == (
        "RNN(2, 3, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, "
        "nonlinearity='relu', dtype='float64')"
    )
    assert eval(repr(layer), {"RNN": rf.RNN}).weight_hh_l1_reverse.shape == (3, 3)
