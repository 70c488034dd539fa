"""An embedding just before a recurrent layer: the layer reads the table, with the bits of the two in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import D_PARTS, named_parts, normal_like
from helpers.differences import assert_gradients
from helpers.tolerances import OUTPUTS, assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import _core
from rnnfast.nn.embedding import embedded_input

E, H = 7, 19
CELLS = {"rnn": rf.RNN, "lstm": rf.LSTM, "gru": rf.GRU}
all_cells = pytest.mark.parametrize("cell", CELLS)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
one_or_two_directions = pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
SHAPES = [  # T, B, V; the table is read so while V is at most T*B/2
    (9, 4, 1),
    (9, 4, 18),
    (9, 4, 19),
    (1, 8, 3),
    (8, 1, 3),
    (260, 5, 300),  # several chunks of time, and more tokens than are summed at once
]


def embedding_and_layer(cell: str, V: int, *, dtype: Any = "float32", **options: Any) -> rf.Sequential:
    layer = CELLS[cell](E, H, dtype=dtype, rng=1, **options)
    return rf.Sequential(rf.Embedding(V, E, dtype=dtype, rng=0), layer)


def some_tokens(V: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([V, *shape]).integers(0, V, shape)


def reads_table(whole: rf.Sequential, x: np.ndarray) -> bool:
    """Whether the model's layer reads x as tokens."""
    embedding = whole._embedding(0)
    return embedding is not None and isinstance(embedded_input(embedding, x, None)[0], _core.Embedded)


def evaluated(whole: rf.Sequential, x: np.ndarray) -> dict[str, np.ndarray]:
    y, (_, final) = whole(x)
    return {"y": y, **named_parts("", final)}


def as_one(whole: rf.Sequential, x: np.ndarray, **keywords: Any) -> dict[str, np.ndarray]:
    """Outputs and gradients of the model as one; no initial state is zero, and each result has a gradient."""
    state = normal_like(whole(x)[1][1], seed=3)
    y, (_, final), tape = whole.forward(x, (None, state), **keywords)
    grads: dict[str, np.ndarray] = {}
    dx, (_, dstate) = whole.backward(
        tape, normal_like(y, seed=4), (None, normal_like(final, seed=5)), grads=grads
    )
    assert dx is None
    return {"y": y, **named_parts("", final), **named_parts("d", dstate), **grads}


def by_hand(whole: rf.Sequential, x: np.ndarray, **keywords: Any) -> dict[str, np.ndarray]:
    """The same of its two modules in turn."""
    embedding, layer = whole
    state = normal_like(whole(x)[1][1], seed=3)
    rows, _, below = embedding.forward(x)
    y, final, tape = layer.forward(rows, state, **keywords)
    grads: tuple[dict, dict] = ({}, {})
    dx, dstate = layer.backward(tape, normal_like(y, seed=4), normal_like(final, seed=5), grads=grads[1])
    embedding.backward(below, dx, grads=grads[0])
    weights = {f"{place}.{name}": gradient for place in (0, 1) for name, gradient in grads[place].items()}
    return {"y": y, **named_parts("", final), **named_parts("d", dstate), **weights}


def assert_equal_but_for_sums(got: dict[str, np.ndarray], want: dict[str, np.ndarray], x: np.ndarray) -> None:
    """Outputs and the states' gradients to the last bit, the weights' gradients to their tolerance."""
    exact = {*OUTPUTS, *D_PARTS} & {*want}
    assert_same_bits({name: got[name] for name in exact}, {name: want[name] for name in exact})
    assert_close(got, want, K=max(E + H, x.size))


@all_cells
@both_dtypes
@one_or_two_directions
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_equals_the_modules_in_turn(cell, dtype, bidirectional, shape, isa, dirty_memory):
    T, B, V = shape
    whole = embedding_and_layer(cell, V, dtype=dtype, bidirectional=bidirectional)
    x = some_tokens(V, T, B)
    assert reads_table(whole, x) == (2 * V <= T * B)
    assert_equal_but_for_sums(as_one(whole, x), by_hand(whole, x), x)
    y, final = whole[1](whole[0](x)[0])
    assert_same_bits(evaluated(whole, x), {"y": y, **named_parts("", final)})


@all_cells
@both_dtypes
@pytest.mark.parametrize("split", [None, "rows", "units"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_number_of_threads_and_every_run_give_the_same_bits(cell, dtype, split, shape, restored):
    T, B, V = shape
    whole = embedding_and_layer(cell, V, dtype=dtype, bidirectional=True)
    x = some_tokens(V, T, B)
    _core.set_num_threads(1)
    want, outputs = as_one(whole, x), evaluated(whole, x)
    _core.force_split(split)
    for threads in (1, 2, 3, 3):
        _core.set_num_threads(threads)
        assert_same_bits(as_one(whole, x), want)
        assert_same_bits(evaluated(whole, x), outputs)


@all_cells
def test_any_kernels_give_the_same_bits(cell, restored):
    whole, x = embedding_and_layer(cell, 18), some_tokens(18, 9, 4)
    first, *others = _core.available_isas()
    _core.force_isa(first)
    want = as_one(whole, x)
    for other in others:
        _core.force_isa(other)
        assert_same_bits(as_one(whole, x), want)


@all_cells
@pytest.mark.parametrize("V", [3, 30])
def test_gradients_agree_with_finite_differences(cell, V):
    whole = rf.Sequential(
        rf.Embedding(V, 2, dtype="float64", rng=0),
        CELLS[cell](2, 3, bidirectional=True, dtype="float64", rng=1),
    )
    x = some_tokens(V, 4, 3)
    assert reads_table(whole, x) == (V == 3)
    assert_gradients(whole, x, (None, normal_like(whole(x)[1][1], seed=1)))


@all_cells
@one_or_two_directions
def test_a_stack_with_dropout_between_its_layers(cell, bidirectional):
    whole = embedding_and_layer(cell, 5, num_layers=3, dropout=0.5, bidirectional=bidirectional)
    x = some_tokens(5, 9, 4)
    assert_equal_but_for_sums(as_one(whole, x, rng=7), by_hand(whole, x, rng=7), x)


@all_cells
@one_or_two_directions
def test_every_layout_and_kind_of_tokens(cell, bidirectional):
    whole = embedding_and_layer(cell, 5, batch_first=True, bidirectional=bidirectional)
    for x in (some_tokens(5, 4, 9), some_tokens(5, 30)):
        want = by_hand(whole, x)
        spaced = np.repeat(x, 2, axis=-1)[..., ::2]
        backwards = np.ascontiguousarray(x[::-1])[::-1]
        other_kinds = [x.astype(kind) for kind in (np.uint8, np.int16, ">i4")]
        for form in (x, np.asfortranarray(x), spaced, backwards, *other_kinds):
            assert reads_table(whole, form)
            assert_equal_but_for_sums(as_one(whole, form), want, x)
        np.testing.assert_array_equal(whole(x.tolist())[0], whole(x)[0])


def test_an_embedding_of_another_dtype_is_cast():
    for dtypes in (("float64", "float32"), ("float32", "float64")):
        whole = rf.Sequential(
            rf.Embedding(5, E, dtype=dtypes[0], rng=0), rf.GRU(E, H, dtype=dtypes[1], rng=1)
        )
        x = some_tokens(5, 9, 4)
        got, want = as_one(whole, x), by_hand(whole, x)
        assert reads_table(whole, x)
        assert got["0.weight"].dtype == dtypes[0]
        assert_same_bits({"y": got["y"]}, {"y": want["y"]})
        assert_close({name: array.astype(np.float32) for name, array in got.items()}, want, K=x.size)


def test_a_retained_tape_gives_the_same_gradients_again():
    whole, x = embedding_and_layer("lstm", 5, bidirectional=True), some_tokens(5, 9, 4)
    y, _, tape = whole.forward(x)
    dy = normal_like(y, seed=4)
    several: list[dict[str, np.ndarray]] = [{}, {}]
    for grads in several:
        whole.backward(tape, dy, retain=True, grads=grads)
    assert_same_bits(*several)
    whole.backward(tape, dy)
    assert_same_bits({name: parameter.grad for name, parameter in whole.named_parameters()}, several[0])
    with pytest.raises(ValueError, match=r"^tape: .*used up"):
        whole.backward(tape, dy)
    with pytest.raises(ValueError, match=r"^module 1 \(LSTM\): dy: expected shape"):
        whole.backward(whole.forward(x)[2], dy[:1])


def test_without_dy_gradients_are_zero():
    whole, x = embedding_and_layer("gru", 5), some_tokens(5, 9, 4)
    grads: dict[str, np.ndarray] = {}
    whole.backward(whole.forward(x)[2], grads=grads)
    assert not any(gradient.any() for gradient in grads.values())


@pytest.mark.parametrize("wrong", [-1, 5, 2**40])
def test_a_wrong_token_is_named_and_nothing_is_written(wrong):
    whole, x = embedding_and_layer("lstm", 5), some_tokens(5, 9, 4)
    x[3, 2] = wrong
    least, most = min(0, wrong), max(4, wrong)
    for call in (whole, whole.forward):
        with pytest.raises(
            ValueError,
            match=rf"^module 0 \(Embedding\): x: expected integers in 0\.\.4, got {least}\.\.{most}$",
        ):
            call(x)
    with pytest.raises(TypeError, match=r"^module 0 \(Embedding\): x: expected integers, got float64$"):
        whole(x.astype(float))
    assert all(parameter.grad is None for parameter in whole.parameters())


def test_other_wrong_arguments_are_named():
    whole, x = embedding_and_layer("lstm", 5), some_tokens(5, 9, 4)
    other = rf.Sequential(rf.Embedding(5, E + 1), rf.LSTM(E, H))
    expected = rf"expected shape \[T, B, {E}\] or, unbatched, \[T, {E}\], got \(9, 4, {E + 1}\)"
    for call in (other, other.forward):
        with pytest.raises(ValueError, match=rf"^module 1 \(LSTM\): x: {expected}$"):
            call(x)
        with pytest.raises(ValueError, match=r"^module 1 \(LSTM\): x: expected shape"):
            call(x[None])
    for call in (whole, whole.forward):
        with pytest.raises(ValueError, match=r"^module 0 \(Embedding\): state: expected None"):
            call(x, (1, None))
        with pytest.raises(ValueError, match=r"^module 1 \(LSTM\): state h: expected shape"):
            call(x, (None, (np.zeros(3), None)))


def test_the_tokens_may_be_written_after_forward():
    whole, x = embedding_and_layer("lstm", 5), some_tokens(5, 9, 4)
    want = as_one(whole, x)
    state = normal_like(whole(x)[1][1], seed=3)
    y, (_, final), tape = whole.forward(x, (None, state))
    x[...] = 10**6
    grads: dict[str, np.ndarray] = {}
    whole.backward(tape, normal_like(y, seed=4), (None, normal_like(final, seed=5)), grads=grads)
    assert_same_bits(grads, {name: want[name] for name in grads})


@all_cells
def test_rows_of_the_table_that_no_token_names_are_not_read(cell):
    whole, x = embedding_and_layer(cell, 5), some_tokens(3, 9, 4)
    want = as_one(whole, x)
    whole[0].weight.data[3], whole[0].weight.data[4] = np.nan, np.inf
    got = as_one(whole, x)
    assert_same_bits(got, want)
    assert not got["0.weight"][3:].any()


def test_modules_with_passes_of_their_own_keep_them():
    class Scaled(rf.GRU):
        def forward(self, x, state=None, **keywords):
            return super().forward(x * 2, state, **keywords)

    class Shifted(rf.Embedding):
        def _apply(self, x):
            y, saved = super()._apply(x)
            return y + 1, saved

    x = some_tokens(5, 9, 4)
    for whole in (
        rf.Sequential(rf.Embedding(5, E, rng=0), Scaled(E, H, rng=1)),
        rf.Sequential(Shifted(5, E, rng=0), rf.GRU(E, H, rng=1)),
        rf.Sequential(rf.Embedding(5, E, rng=0), rf.Dropout(0.5), rf.GRU(E, H, rng=1)),
        rf.Sequential(rf.Embedding(5, E, rng=0)),
    ):
        assert not reads_table(whole, x)
        y = x
        for module in whole:
            y = module.forward(y, **({"training": False} if "training" in module.takes else {}))[0]
        np.testing.assert_array_equal(whole.forward(x, training=False)[0], y)


def test_a_step_at_a_time_gives_the_same_bits():
    whole, x = embedding_and_layer("lstm", 5), some_tokens(5, 9, 4)
    step = whole.stream(4)
    np.testing.assert_array_equal(np.stack([step(x_t) for x_t in x]), whole(x)[0])
