"""The promise of `checkpoint`: the plain run's bits; weights' gradients but for the rounding of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import named_parts, normal, normal_like
from helpers.cases import LAYERS
from helpers.tolerances import assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import _core

T, B, I, H = 11, 5, 3, 9
LENGTHS = np.array([4, 11, 0, 1, 10])
RESET = np.random.default_rng(3).random((T, B)) < 0.3
RAGGED = [{}, {"lengths": LENGTHS}, {"reset": RESET}, {"lengths": LENGTHS, "reset": RESET}]
every_cell = pytest.mark.parametrize("cell", LAYERS)
every_length = pytest.mark.parametrize("checkpoint", [1, 3, T, T + 5, True])


def outputs_and_weight_gradients(
    layer: Any, x: np.ndarray, state: Any, **keywords: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that must have the plain run's bits, and the weights' gradients; every output has a gradient."""
    y, final, tape, states = layer.forward(x, state, return_states=True, rng=3, **keywords)
    grads: dict[str, np.ndarray] = {}
    dy, dfinal, dstates = normal_like((y, final, states), seed=4)
    dx, dstate = layer.backward(tape, dy, dfinal, dstates=dstates, grads=grads)
    outputs = {"y": y, **named_parts("", final), **named_parts("states_", states)}
    return outputs | {"dx": dx, **named_parts("d", dstate)}, grads


def assert_as_plain(layer: Any, x: np.ndarray, state: Any, checkpoint: Any, **keywords: Any) -> None:
    outputs, grads = outputs_and_weight_gradients(layer, x, state, **keywords)
    again, fresh = outputs_and_weight_gradients(layer, x, state, checkpoint=checkpoint, **keywords)
    assert_same_bits(again, outputs)
    assert_close(fresh, grads, K=I + H)


@every_cell
@every_length
@pytest.mark.parametrize("keywords", RAGGED, ids=lambda keywords: " and ".join(keywords) or "plain")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stack_in_both_directions_has_the_bits_of_the_plain_run(cell, checkpoint, keywords, dtype):
    layer = LAYERS[cell](I, H, rng=7, num_layers=2, bidirectional=True, dropout=0.4, dtype=dtype)
    final = layer(np.zeros((1, B, I), dtype))[1]
    for state in (None, normal_like(final, seed=8)):
        assert_as_plain(layer, normal(T, B, I, dtype=dtype), state, checkpoint, **keywords)


@every_cell
@every_length
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("split", ["rows", "units"])
def test_one_direction_has_the_bits_of_the_plain_run_on_any_number_of_threads(
    cell, checkpoint, threads, split, restored
):
    layer = LAYERS[cell](I, H, rng=7, num_layers=3, dropout=0.4)
    _core.set_num_threads(threads)
    _core.force_split(split)
    assert_as_plain(layer, normal(T, B, I), None, checkpoint, lengths=LENGTHS, reset=RESET)


@every_cell
@pytest.mark.parametrize("layout", ["batch first", "unbatched", "no steps", "no rows"])
def test_batch_first_and_unbatched_input_have_the_bits_of_the_plain_run(cell, layout):
    layer = LAYERS[cell](I, H, rng=7, bidirectional=True, batch_first=layout == "batch first")
    shape = {"batch first": (B, T, I), "unbatched": (T, I), "no steps": (0, B, I), "no rows": (T, 0, I)}[
        layout
    ]
    for checkpoint in (True, 4):
        assert_as_plain(layer, normal(*shape), None, checkpoint)
    if layout == "batch first":
        assert_as_plain(layer, normal(*shape), None, 4, lengths=LENGTHS, reset=RESET.T)


@every_cell
def test_a_tape_that_is_retained_may_be_used_again(cell):
    layer = LAYERS[cell](I, H, rng=7)
    y, _, tape = layer.forward(normal(T, B, I), checkpoint=4)
    before = y.copy()
    first: dict[str, np.ndarray] = {}
    again: dict[str, np.ndarray] = {}
    dx, _ = layer.backward(tape, normal_like(y, seed=4), retain=True, grads=first)
    dx_again, _ = layer.backward(tape, normal_like(y, seed=4), grads=again)
    assert_same_bits({"dx": dx_again, **again}, {"dx": dx, **first})
    np.testing.assert_array_equal(y, before)
    with pytest.raises(ValueError, match="used up"):
        layer.backward(tape)


@every_cell
def test_unwanted_results_need_no_gradients(cell):
    layer = LAYERS[cell](I, H, rng=7, num_layers=2)
    _, _, tape = layer.forward(normal(T, B, I), checkpoint=4)
    dx, _ = layer.backward(tape, input_grad=False)
    assert dx is None
    assert not any(parameter.grad.any() for parameter in layer.parameters())


@every_cell
@pytest.mark.parametrize("keywords", RAGGED, ids=lambda keywords: " and ".join(keywords) or "plain")
def test_a_model_with_an_embedding_has_the_bits_of_the_plain_run(cell, keywords):
    model = rf.Sequential(
        rf.Embedding(4, I, dtype="float64", rng=1),
        LAYERS[cell](I, H, rng=7, bidirectional=True, dtype="float64"),
        rf.Dropout(0.3, rng=2),
        rf.Linear(2 * H, 2, dtype="float64", rng=3),
    )
    tokens, targets = np.random.default_rng(0).integers(0, 4, (T, B)), normal(T, B, 2)
    plain: dict[str, np.ndarray] = {}
    want, state = rf.loss_and_grad(model, rf.losses.mse, tokens, targets, rng=5, grads=plain, **keywords)
    for checkpoint in (3, True, np.True_, np.int64(4), False, None):
        grads: dict[str, np.ndarray] = {}
        got, final = rf.loss_and_grad(
            model, rf.losses.mse, tokens, targets, rng=5, grads=grads, checkpoint=checkpoint, **keywords
        )
        assert got == want
        assert_same_bits(named_parts("", final[1]), named_parts("", state[1]))
        assert_close(grads, plain, K=I + H)
        if not checkpoint:
            assert_same_bits(grads, plain)


@pytest.mark.parametrize(
    ("checkpoint", "error", "message"),
    [
        (0, ValueError, "^checkpoint: expected at least 1, got 0"),
        (-3, ValueError, "^checkpoint: expected at least 1, got -3"),
        (2.0, TypeError, r"^checkpoint: expected True, False, an integer or None, got 2\.0"),
        ("yes", TypeError, "^checkpoint: expected True, False, an integer or None, got 'yes'"),
    ],
)
def test_wrong_checkpoints_are_refused(checkpoint, error, message):
    layer = rf.GRU(I, H, rng=7, num_layers=2, dropout=0.5)
    model = rf.Sequential(rf.Dropout(0.5, rng=0), layer)
    for module in (layer, model):
        with pytest.raises(error, match=message):
            module.forward(normal(T, B, I), checkpoint=checkpoint)
    assert layer.mask_calls == model[0].mask_calls == 0
    with pytest.raises(TypeError, match=r"^checkpoint: expected a keyword Linear"):
        rf.loss_and_grad(rf.Linear(2, 1), rf.losses.mse, np.ones((1, 2)), np.ones((1, 1)), checkpoint=True)


def test_a_checkpointed_tape_keeps_no_gates():
    """What it holds beside x and y is a state for each segment."""
    layer = rf.LSTM(I, H, rng=7)
    x = normal(4096, B, I)
    _, _, tape = layer.forward(x, checkpoint=True)
    (checkpoints,) = tape.saved_for(layer).tapes
    starts = [part for segment in checkpoints.segments if segment.state for part in segment.state]
    assert checkpoints.x.base is x  # a view, no copy
    assert sum(part.size for part in starts) <= 2 * 64 * B * H
