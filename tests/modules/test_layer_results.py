"""Results of RNN, LSTM, GRU and IndRNN: finite differences, the reference, evaluation, chunks of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state, assert_equal, named_parts, normal, normal64, parts
from helpers.cases import LAYERS, lengths_and_reset
from helpers.depth import times
from helpers.differences import assert_gradients
from helpers.models import forward_backward, state_for
from helpers.tolerances import error, tolerance
from hypothesis import given, settings
from hypothesis import strategies as st
from modules.small_layers import CELLS, B, H, I, T, small_layer

import rnnfast as rf
from rnnfast import _core, reference


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
    x = normal64(*((2, 4, 3) if layer.batch_first else (4, 2, 3)))
    state = None if given == "no state" else state_for(layer, 2, seed=4)
    assert_gradients(layer, x, state, rng=11)


def test_unbatched_gradients_agree_with_finite_differences(cell: str) -> None:
    layer = LAYERS[cell](3, 2, num_layers=2, bidirectional=True, dtype="float64", rng=3)
    assert_gradients(layer, normal64(4, 3), state_for(layer, None, seed=4))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid", "identity"])
def test_gradients_of_each_nonlinearity_agree_with_finite_differences(nonlinearity: str) -> None:
    layer = rf.RNN(3, 4, num_layers=2, nonlinearity=nonlinearity, dtype="float64", rng=3)
    assert_gradients(layer, normal64(4, 2, 3), normal64(2, 2, 4))


def test_a_stack_equals_the_reference_pass_by_pass(restored: None, figure: Callable[[str], None]) -> None:
    counts = Counter[str]()

    @settings(max_examples=times(60, 600), deadline=None)
    @given(
        cell=st.sampled_from(CELLS),
        sizes=st.tuples(*[st.integers(1, 20)] * 4),
        num_layers=st.integers(1, 3),
        bidirectional=st.booleans(),
        bias=st.booleans(),
        dtype=st.sampled_from(["float32", "float64"]),
        ragged=st.sampled_from(["", "lengths", "reset", "both"]),
        threads=st.integers(1, 3),
        isa=st.sampled_from(_core.available_isas()),
    )
    def check(
        cell: str,
        sizes: tuple[int, ...],
        num_layers: int,
        bidirectional: bool,
        bias: bool,
        dtype: str,
        ragged: str,
        threads: int,
        isa: str,
    ) -> None:
        if dtype == "float32":  # a sum of one or two terms may cancel to a result smaller than their rounding
            sizes = tuple(max(4, size) for size in sizes)
        steps, batch, columns, hidden = sizes
        _core.force_isa(isa)
        _core.force_split("units" if threads == 3 else "rows")
        rf.set_num_threads(threads)
        layer = LAYERS[cell](
            columns, hidden, num_layers, bias, bidirectional=bidirectional, dtype=dtype, rng=7
        )
        D = 2 if bidirectional else 1
        x, dy = normal(steps, batch, columns, dtype=dtype), normal(steps, batch, D * hidden, dtype=dtype)
        state, dfinal = state_for(layer, batch), state_for(layer, batch, seed=9)
        given = lengths_and_reset(steps, batch)
        how = {name: array for name, array in given.items() if ragged in (name, "both")}
        got = forward_backward(layer, x, state, dy, dfinal, **how)
        want = by_reference(layer, cell, x, state, dy, dfinal, how)
        assert got.keys() == want.keys()
        for name in want:
            allowed = D * num_layers * tolerance(name, dtype, columns + hidden)
            assert error(got[name], want[name]) <= allowed, name
        counts["configurations"] += 1
        counts["comparisons"] += len(want)

    check()
    figure("a stack and the reference: " + ", ".join(f"{n} random {what}" for what, n in counts.items()))


def by_reference(
    layer: Any, cell: str, x: Any, state: Any, dy: Any, dfinal: Any, how: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What `forward_backward` gives, from the reference in float64 and this file's own idea of a stack.

    `how` has the lengths and resets, if any.
    """
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
                state=as_state(initial),
                reverse=suffix.endswith("reverse"),
                **how,
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
            share, dinitial, grads = backward(tapes[suffix], half, as_state(dstate))
            shares.append(share)
            dinitials[suffix] = parts(dinitial)
            want |= {name + suffix: gradient for name, gradient in grads.items()}
        dy = sum(shares)
    want["dx"] = dy
    want |= named_parts("", tuple(np.stack(part) for part in zip(*finals, strict=True)))
    starts = zip(*(dinitials[suffix] for suffix in order), strict=True)
    want |= named_parts("d", tuple(np.stack(part) for part in starts))
    return want


def test_evaluation_has_the_bits_of_training(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, state = normal(T, B, I), state_for(layer, B)
    y, final = layer(x, state)
    trained, trained_final, _ = layer.forward(x, state)
    np.testing.assert_array_equal(y, trained)
    assert_equal(final, trained_final)


def test_chunks_have_the_bits_of_the_whole(cell: str) -> None:
    layer = small_layer(cell, num_layers=2)
    x = normal(T, B, I)
    whole, final = layer(x)
    state, chunks = None, []
    for chunk in (x[:2], x[2:3], x[3:3], x[3:]):
        y, state = layer(chunk, state)
        chunks.append(y)
    np.testing.assert_array_equal(np.concatenate(chunks), whole)
    assert_equal(state, final)


def test_no_state_means_zeros(cell: str) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True)
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    zeros = tuple(np.zeros_like(part) for part in parts(state_for(layer, B)))
    assert_equal(forward_backward(layer, x, None, dy), forward_backward(layer, x, as_state(zeros), dy))
