"""`rnnfast.jax`: values and gradients are the reference's, and have the bits of rnnfast's own layers."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from bridges.jax_programs import FUNCTIONS, arrays_of, both, gradients, jax, passes_run, run_case
from helpers.arrays import assert_equal, normal
from helpers.cases import LAYERS, OPTIONS, VARIANTS, lengths_and_reset, make, run
from helpers.models import state_for
from helpers.tolerances import assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import _core, functional, reference

NAMES = [name for name, (variant, _) in OPTIONS.items() if VARIANTS[variant][0] in FUNCTIONS]
SIZES = [
    (0, 5, 3, 17),
    (1, 7, 2, 1),
    (6, 1, 5, 3),
    (5, 13, 33, 17),
    (7, 5, 1, 33),
    (2, 5, 40, 100),
]  # T, B, I, H


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_the_references(name):
    T, B = 5, 3
    case = make(name, T, B, 4, 7, reverse=True, **lengths_and_reset(T, B))
    assert_close(run_case(case), run(reference, case), case.K, 1.0 if "norm" in name else 0.0)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru"])
def test_every_size_is_the_references_and_has_the_bits_of_functional(name, sizes):
    case = make(name, *sizes, bias=sizes[1] != 5)
    got = run_case(case)
    assert_close(got, run(reference, case), case.K)
    single = case.astype(np.float32)
    assert_same_bits(run_case(single), run(functional, single))


LAYER_OPTIONS = {
    "stack": ("lstm", {"num_layers": 3}),
    "both directions": ("lstm", {"num_layers": 2, "bidirectional": True}),
    "projection, no bias": ("lstm", {"num_layers": 2, "bidirectional": True, "proj_size": 3, "bias": False}),
    "peepholes": ("lstm", {"peephole": True, "coupled_gates": True, "cell_clip": 0.3}),
    "layer norm": ("lstm", {"layer_norm": True, "num_layers": 2}),
    "batch first": ("gru", {"num_layers": 2, "batch_first": True, "bidirectional": True}),
    "reset before": ("gru", {"num_layers": 2, "reset_after": False}),
    "relu": ("rnn", {"num_layers": 2, "nonlinearity": "relu"}),
}


@pytest.mark.parametrize(
    ("dtype", "ragged"), [("float32", True), ("float64", False)], ids=["ragged", "plain"]
)
@pytest.mark.parametrize("cell", LAYER_OPTIONS)
def test_a_layers_state_dict_gives_its_bits(cell, dtype, ragged):
    name, options = LAYER_OPTIONS[cell]
    layer = LAYERS[name](4, 9, dtype=dtype, rng=1, **options)
    T, B = 6, 5
    keywords = lengths_and_reset(T, B) if ragged else {}
    x = normal(T, B, 4, dtype=dtype)
    if layer.batch_first:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
        if ragged:
            keywords["reset"] = np.ascontiguousarray(keywords["reset"].T)
    got, want = both(layer, x, state_for(layer, B), **keywords)
    assert_equal(got, want)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_bfloat16_has_the_bits_of_the_layer(name, batch):
    layer = LAYERS[name](5, 20, num_layers=2, rng=1, matmul_precision="bfloat16")
    got, want = both(layer, normal(4, batch, 5), state_for(layer, batch))
    assert_equal(got, want)


def test_int8_has_the_bits_of_the_layer():
    layer = rf.LSTM(5, 20, num_layers=2, rng=1, matmul_precision="int8")
    x = normal(4, 3, 5)
    program = jax.jit(partial(rf.jax.lstm, matmul_precision="int8"))
    with passes_run(2):
        got = arrays_of(program(x, layer.state_dict()))
    assert_equal(got, layer(x))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_an_unbatched_sequence(name):
    layer = LAYERS[name](3, 4, num_layers=2, bidirectional=True, rng=1)
    x, reset = normal(6, 3), np.array([False, False, True, False, True, False])
    got, want = both(layer, x, state_for(layer, None), lengths=np.int64(5), reset=reset)
    assert_equal(got, want)


def test_no_state_is_zero():
    layer = rf.LSTM(3, 4, num_layers=2, rng=1)
    x, params = normal(6, 2, 3), layer.state_dict()
    half = (normal(2, 2, 4), None)
    for state in (None, (None, None), half):
        with passes_run(2):
            got = arrays_of(rf.jax.lstm(x, params, state))
        assert_equal(got, layer(x, state))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_batch_of_nothing_has_a_state_and_gradients(name):
    params = rf.jax.init_params(jax.random.key(0), name, 3, 5)
    zero = np.zeros((1, 0, 5), np.float32)
    state = (zero, zero) if name == "lstm" else zero

    def loss(params, state):
        y, final = FUNCTIONS[name](np.zeros((4, 0, 3), np.float32), params, state)
        return y.sum() + sum(part.sum() for part in jax.tree.leaves(final))

    for gradient in jax.tree.leaves(jax.grad(loss, (0, 1))(params, state)):
        assert not np.any(gradient)


def test_float16_is_cast_to_the_dtype_of_the_parameters():
    layer = rf.GRU(3, 4, rng=1)
    x = normal(6, 2, 3).astype(np.float16)
    y, _ = rf.jax.gru(x, layer.state_dict())
    assert y.dtype == np.float32
    assert_equal(np.asarray(y), layer(x.astype(np.float32))[0])


def test_nobody_reads_what_is_past_the_lengths():
    layer = rf.LSTM(3, 4, bidirectional=True, rng=1)
    x, lengths = normal(6, 3, 3), np.array([6, 0, 2])
    x[2:, 2], x[:, 1] = np.nan, np.nan
    got, want = both(layer, x, state_for(layer, 3), lengths=lengths)
    assert_equal(got, want)
    assert np.isfinite(got["dx"]).all()


@pytest.mark.parametrize("split", ["rows", "units"])
def test_any_number_of_threads_gives_the_same_bits(restored, split):
    case = make("lstm", 12, 9, 5, 24, dtype=np.float32)
    _core.set_num_threads(1)
    want = run_case(case)
    _core.force_split(split)
    for n in (2, 3):
        _core.set_num_threads(n)
        assert_same_bits(run_case(case), want)


def test_only_what_is_wanted_is_computed():
    """The program's own text says which results its backward call has."""
    params = rf.LSTM(3, 4, rng=1).state_dict()
    x = normal(6, 2, 3)

    def loss(params, x):
        return rf.jax.lstm(x, params)[0].sum()

    def flags(argnums):
        text = jax.jit(jax.grad(loss, argnums)).lower(params, x).as_text()
        (line,) = [line for line in text.splitlines() if "rnnfast_backward" in line]
        return {name: f"{name} = 1" in line for name in ("input_grad", "weight_grads", "dy", "dstate")}

    assert flags(0) == {"input_grad": False, "weight_grads": True, "dy": True, "dstate": False}
    assert flags(1) == {"input_grad": True, "weight_grads": False, "dy": True, "dstate": False}
    assert flags((0, 1)) == {"input_grad": True, "weight_grads": True, "dy": True, "dstate": False}


def test_each_gradient_alone_has_the_bits_of_all_together():
    layer = rf.LSTM(3, 4, num_layers=2, rng=1)
    x, params, state = normal(6, 2, 3), layer.state_dict(), state_for(layer, 2)
    arguments, cotangents = (x, params, state), (normal(6, 2, 4), (normal(2, 2, 4), normal(2, 2, 4, seed=3)))
    _, every = gradients(rf.jax.lstm, arguments, cotangents)
    for place, want in enumerate(every):

        def call(one, place=place):
            return rf.jax.lstm(*arguments[:place], one, *arguments[place + 1 :])

        _, (got,) = gradients(call, (arguments[place],), cotangents)
        assert_equal(got, want)
    _, final_only = gradients(lambda x: rf.jax.lstm(x, params, state)[1], (x,), cotangents[1])
    tape = layer.forward(x, state)[2]
    dx, _ = layer.backward(tape, None, cotangents[1])
    assert_equal(final_only[0], dx)


@pytest.mark.parametrize("name", ["rnn-identity", "lstm"])
def test_tiny_numbers_have_the_bits_of_functional(name):
    """XLA's threads flush denormals, and NumPy's do not: it shows in no result."""
    case = make(name, 5, 3, 4, 7, dtype=np.float32)
    tiny = case._replace(
        x=case.x * np.float32(1e-20),
        weights={key: array * np.float32(1e-20) for key, array in case.weights.items()},
        state=tuple(part * np.float32(1e-38) for part in case.state),
        dy=case.dy * np.float32(1e-38),
        dstate=tuple(part * np.float32(1e-38) for part in case.dstate),
    )
    assert_same_bits(run_case(tiny), run(functional, tiny))
