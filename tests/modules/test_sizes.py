"""Sizes that are no numbers, or larger than any machine: named, and refused before memory is taken."""

from __future__ import annotations

import numpy as np
import pytest

import rnnfast as rf

HUGE = [2**40, 2**62, 2**70, 10**5000]
LAYERS = {
    "input_size": lambda size: rf.GRU(size, 2**30),
    "hidden_size": lambda size: rf.LSTM(3, size),
    "num_layers": lambda size: rf.LSTM(3, 4, num_layers=size),
    "proj_size": lambda size: rf.LSTM(3, 4, proj_size=size),
    "batch": lambda size: rf.LSTM(3, 4, rng=0).stream(batch=size),
    "in_features": lambda size: rf.Linear(size, 4),
    "out_features": lambda size: rf.Linear(4, size),
    "num_embeddings": lambda size: rf.Embedding(size, 4),
    "embedding_dim": lambda size: rf.Embedding(4, size),
    "in a Sequential: batch": lambda size: rf.Sequential(rf.GRU(3, 4, rng=0)).stream(size),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", HUGE, ids=["2**40", "2**62", "2**70", "10**5000"])
def test_huge_sizes_are_named(name, size):
    with pytest.raises(ValueError, match=rf"{name.split()[-1]}.*expected"):
        LAYERS[name](size)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [np.array([3]), np.array([3, 4]), np.zeros((0,), int)], ids=str)
def test_arrays_are_refused_as_sizes(name, size):
    with pytest.raises(TypeError, match=rf"{name.split()[-1]}: expected an integer, got (an )?array"):
        LAYERS[name](size)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("dropout", lambda array: rf.LSTM(3, 4, dropout=array)),
        ("cell_clip", lambda array: rf.LSTM(3, 4, cell_clip=array)),
        ("forget_bias", lambda array: rf.LSTM(3, 4, forget_bias=array)),
        ("p", lambda array: rf.Dropout(array)),
        ("rng", lambda array: rf.GRU(3, 4, rng=array)),
        ("rng", lambda array: rf.GRU(3, 4).forward(np.zeros((2, 1, 3)), rng=array)),
        ("checkpoint", lambda array: rf.GRU(3, 4).forward(np.zeros((2, 1, 3)), checkpoint=array)),
    ],
)
@pytest.mark.parametrize("array", [np.array([1]), np.array([0.5, 0.5])], ids=str)
def test_arrays_are_refused_as_numbers(name, call, array):
    with pytest.raises(TypeError, match=rf"^{name}: expected .* got (an )?array"):
        call(array)


@pytest.mark.parametrize("n", [np.array([3]), 2.0, True, "2"], ids=repr)
def test_wrong_numbers_of_threads_are_named(n):
    with pytest.raises(TypeError, match=r"^n: expected an integer, got"):
        rf.set_num_threads(n)


@pytest.mark.parametrize("name", ["dropout", "forget_bias"])
def test_numbers_beyond_floats_are_named(name):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        rf.LSTM(3, 4, **{name: 10**400})


def test_a_scalar_array_is_a_number():
    assert rf.LSTM(np.array(3), np.int8(4), dropout=np.array(0.5), num_layers=np.int64(2)).input_size == 3


RAGGED = [[1.0], [1.0, 2.0]]
WEIGHTS = np.ones((9, 3)), np.ones((9, 3))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("mask", lambda: rf.GRU(3, 4).stream(2).reset(RAGGED)),
        *(
            pair
            for module in (rf.functional, rf.reference)
            for pair in (
                ("x", lambda module=module: module.gru_forward(RAGGED, *WEIGHTS)),
                (
                    "weight_ih",
                    lambda module=module: module.gru_forward(np.ones((2, 1, 3)), RAGGED, WEIGHTS[1]),
                ),
                (
                    "weight_hh",
                    lambda module=module: module.gru_forward(np.ones((2, 1, 3)), WEIGHTS[0], RAGGED),
                ),
                (
                    "state",
                    lambda module=module: module.gru_forward(np.ones((2, 1, 3)), *WEIGHTS, state=RAGGED),
                ),
                (
                    "reset",
                    lambda module=module: module.gru_forward(np.ones((2, 1, 3)), *WEIGHTS, reset=RAGGED),
                ),
            )
        ),
    ],
)
def test_ragged_lists_are_named(name, call):
    with pytest.raises(ValueError, match=rf"^{name}: expected an array, got list"):
        call()


def test_arrays_are_refused_as_bounds():
    weight = rf.Parameter(np.ones(2))
    for name, clip in (("max_norm", rf.clip_grad_norm), ("value", rf.clip_grad_value)):
        with pytest.raises(TypeError, match=rf"^{name}: expected a number"):
            clip([weight], np.array([1.0, 2.0]))
