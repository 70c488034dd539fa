"""Ragged batches, resets and states at every step through layers, models, losses and streams."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.arrays import as_state, assert_equal, normal64, parts
from helpers.cases import LAYERS
from helpers.differences import assert_gradients
from helpers.models import double_layer, state_for

import rnnfast as rf
from rnnfast.training import evaluate

T, B, I, H = 7, 5, 3, 6
LENGTHS = np.array([4, 7, 0, 1, 6])
RESET = np.random.default_rng(3).random((T, B)) < 0.3
every_cell = pytest.mark.parametrize("cell", LAYERS)


@every_cell
@pytest.mark.parametrize(
    "keywords", [{"lengths": LENGTHS}, {"reset": RESET}, {"lengths": LENGTHS, "reset": RESET}]
)
def test_gradients_of_a_stack_agree_with_finite_differences(cell, keywords):
    layer = double_layer(cell, I, H, num_layers=2, bidirectional=True, dropout=0.3)
    assert_gradients(layer, normal64(T, B, I), state_for(layer, B), rng=5, **keywords)


@every_cell
def test_batch_first_and_unbatched_input_give_the_same_bits(cell):
    layer = double_layer(cell, I, H, num_layers=2, bidirectional=True)
    x, dy = normal64(T, B, I), normal64(T, B, 2 * H)
    y, final, tape, states = layer.forward(x, lengths=LENGTHS, reset=RESET, return_states=True)
    dstates = tuple(normal64(*part.shape, seed=8) for part in parts(states))
    given = as_state(dstates)
    grads: dict[str, np.ndarray] = {}
    dx, dstate = layer.backward(tape, dy, dstates=given, grads=grads)

    first = double_layer(cell, I, H, num_layers=2, bidirectional=True, batch_first=True)
    y1, final1, tape, states1 = first.forward(
        x.swapaxes(0, 1), lengths=LENGTHS, reset=RESET.T, return_states=True
    )
    given = tuple(part.swapaxes(1, 2) for part in dstates)
    dx1, dstate1 = first.backward(tape, dy.swapaxes(0, 1), dstates=as_state(given))
    np.testing.assert_array_equal(y1.swapaxes(0, 1), y)
    np.testing.assert_array_equal(dx1.swapaxes(0, 1), dx)
    for one, other in zip((*parts(final1), *parts(dstate1)), (*parts(final), *parts(dstate)), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(parts(states1), parts(states), strict=True):
        np.testing.assert_array_equal(one.swapaxes(1, 2), other)
    for name, parameter in first.named_parameters():
        np.testing.assert_array_equal(parameter.grad, grads[name])

    b = 4  # unbatched: this sequence alone
    y2, final2, tape, states2 = layer.forward(
        x[:, b], lengths=LENGTHS[b], reset=RESET[:, b], return_states=True
    )
    given = tuple(part[:, :, b] for part in dstates)
    dx2, dstate2 = layer.backward(tape, dy[:, b], dstates=as_state(given))
    np.testing.assert_array_equal(y2, y[:, b])
    np.testing.assert_array_equal(dx2, dx[:, b])
    for one, other in zip((*parts(final2), *parts(dstate2)), (*parts(final), *parts(dstate)), strict=True):
        np.testing.assert_array_equal(one, other[:, b])
    for one, other in zip(parts(states2), parts(states), strict=True):
        np.testing.assert_array_equal(one, other[:, :, b])


@every_cell
@pytest.mark.parametrize("batch_first", [False, True])
def test_states_at_every_step_match_y_and_the_final_state(cell, batch_first):
    layer = double_layer(cell, I, H, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = normal64(B, T, I) if batch_first else normal64(T, B, I)
    y, final, states = layer(x, state_for(layer, B), lengths=LENGTHS, return_states=True)
    y1, final1, _tape, states1 = layer.forward(x, state_for(layer, B), lengths=LENGTHS, return_states=True)
    for got, want in zip(
        (y1, *parts(final1), *parts(states1)), (y, *parts(final), *parts(states)), strict=True
    ):
        np.testing.assert_array_equal(got, want)
    for part, last, initial in zip(parts(states), parts(final), parts(state_for(layer, B)), strict=True):
        part = part.swapaxes(1, 2) if batch_first else part
        for k in range(4):
            for b, length in enumerate(LENGTHS):
                end = 0 if k % 2 else length - 1
                np.testing.assert_array_equal(last[k, b], part[k, end, b] if length else initial[k, b])
                assert not part[k, length:, b].any()
    top = parts(states)[0][2:]
    np.testing.assert_array_equal(np.concatenate([*top], axis=-1), y)
    with pytest.raises(ValueError, match="read-only"):
        parts(states1)[-1][...] = 0


@every_cell
def test_gradients_of_the_states_agree_with_finite_differences(cell):
    """dstates against finite differences in x: the states of all layers count, before dropout."""
    layer = double_layer(cell, I, H, num_layers=2, bidirectional=True, dropout=0.4)
    x = normal64(3, 2, I)
    keywords = {"lengths": np.array([3, 2]), "rng": 11, "return_states": True}
    _, _, tape, states = layer.forward(x, **keywords)
    weights = tuple(normal64(*part.shape, seed=9) for part in parts(states))
    dx, _ = layer.backward(tape, dstates=as_state(weights))

    def loss() -> float:
        states = layer.forward(x, **keywords)[3]
        return float(sum((a * b).sum() for a, b in zip(parts(states), weights, strict=True)))

    for index in [(0, 0, 0), (1, 1, 2), (2, 0, 1), (2, 1, 1)]:
        value, slopes = x[index], []
        for step in (1e-5, -1e-5):
            x[index] = value + step
            slopes.append(loss())
        x[index] = value
        assert abs((slopes[0] - slopes[1]) / 2e-5 - dx[index]) < 1e-7


@every_cell
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_rollout_has_the_bits_of_the_training_pass(cell, num_layers):
    layer = LAYERS[cell](I, H, num_layers, rng=0)
    x = normal64(T, B, I).astype(np.float32)
    y, final, _ = layer.forward(x, reset=RESET)
    step = layer.stream(B)
    for t in range(T):
        step.reset(RESET[t])
        np.testing.assert_array_equal(step(x[t]), y[t])
    assert_equal(step.state, final)


def test_the_tape_is_used_whatever_the_form_of_the_state_s_gradient():
    layer = double_layer("lstm", I, H)
    _, _, tape, states = layer.forward(normal64(T, B, I), return_states=True)
    with pytest.raises(ValueError, match=r"^dstates h: expected shape \(1, 7, 5, 6\), got \(1, 7, 5, 5\)"):
        layer.backward(tape, dstates=(states[0][..., 1:], None))
    with pytest.raises(TypeError, match=r"^dstates: expected a pair"):
        layer.backward(tape, dstates=states[0])
    layer.backward(tape, dstates=(None, states[1]))
    with pytest.raises(ValueError, match="used up"):
        layer.backward(tape, dstates=states)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"lengths": [1, 2]}, ValueError, r"^lengths: expected shape \[5\], got \(2,\)"),
        ({"lengths": [1, 2, 3, 4, 8]}, ValueError, "^lengths: expected 0 to T = 7, got 8"),
        ({"lengths": [1, 2, 3, 4, -1]}, ValueError, "^lengths: expected 0 to T = 7, got -1"),
        ({"lengths": np.ones(5)}, TypeError, "^lengths: expected an integer dtype, got float64"),
        ({"lengths": np.ones(5, bool)}, TypeError, "^lengths: expected an integer dtype, got bool"),
        ({"reset": np.zeros((T, B))}, TypeError, "^reset: expected dtype bool, got float64"),
        ({"reset": np.zeros((B, T), bool)}, ValueError, r"^reset: expected shape \[7, 5\], got \(5, 7\)"),
    ],
    ids=str,
)
def test_wrong_lengths_and_resets_are_named(keywords, error, message):
    layer = double_layer("gru", I, H)
    for call in (layer, layer.forward):
        with pytest.raises(error, match=message):
            call(normal64(T, B, I), **keywords)
    model = rf.Sequential(rf.Linear(I, I, dtype="float64"), layer)
    with pytest.raises(error, match=message.replace("^", r"^module 1 \(GRU\): ")):
        model(normal64(T, B, I), **keywords)


# Models


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_of_a_classifier_of_ragged_sequences(batch_first, bidirectional):
    form = {"batch_first": batch_first, "bidirectional": bidirectional}
    layer = double_layer("lstm", I, H, **form)
    model = rf.Sequential(
        layer, rf.Last(**form), rf.Linear(H * (1 + bidirectional), 2, dtype="float64", rng=1)
    )
    x = normal64(B, T, I) if batch_first else normal64(T, B, I)
    lengths = np.array([4, 7, 2, 1, 6])

    class Model:  # without the state, whose parts are not all arrays
        named_parameters = staticmethod(model.named_parameters)

        @staticmethod
        def forward(x, state, **keywords):
            y, _, tape = model.forward(x, **keywords)
            return y, (), tape

        @staticmethod
        def backward(tape, dy, dstate, grads):
            return model.backward(tape, dy, grads=grads)[0], ()

    assert_gradients(Model, x, lengths=lengths)
    alone = [model(x[b, :length] if batch_first else x[:length, b])[0] for b, length in enumerate(lengths)]
    np.testing.assert_allclose(model(x, lengths=lengths)[0], alone, rtol=1e-12)


def test_last_of_sequences_without_a_step():
    x = normal64(T, B, 4)
    y, _, tape = rf.Last().forward(x, lengths=LENGTHS)
    np.testing.assert_array_equal(y[2], 0)
    np.testing.assert_array_equal(y[1], x[6, 1])
    dx, _ = rf.Last().backward.__func__(tape._owner, tape, np.ones_like(y))
    assert dx.sum() == 4 * 4
    assert not dx[:, 2].any()
    np.testing.assert_array_equal(rf.Last()(x[:, 0], lengths=3)[0], x[2, 0])
    with pytest.raises(ValueError, match=r"^lengths: expected 0 to T = 7, got 9"):
        rf.Last()(x, lengths=[9] * B)


def test_the_loss_counts_the_steps_within_the_lengths():
    layer = double_layer("gru", I, H)
    x, targets = normal64(T, B, I), normal64(T, B, H)
    within = np.arange(T)[:, np.newaxis] < LENGTHS
    keep = normal64(T, B) > 0
    for mask in (None, keep):
        plain, ragged = {}, {}
        want, _ = rf.loss_and_grad(
            layer, rf.losses.mse, x, targets, mask=within if mask is None else within & mask, grads=plain
        )
        extra = {} if mask is None else {"mask": mask}
        got, _ = rf.loss_and_grad(layer, rf.losses.mse, x, targets, lengths=LENGTHS, grads=ragged, **extra)
        assert got == want
        for name, gradient in ragged.items():
            np.testing.assert_allclose(gradient, plain[name], rtol=1e-9, atol=1e-12)


def test_one_target_per_sequence_needs_no_mask():
    model = rf.Sequential(double_layer("gru", I, H), rf.Last())
    x, targets = normal64(T, B, I), normal64(B, H)
    value, _ = rf.loss_and_grad(model, rf.losses.mse, x, targets, lengths=LENGTHS)
    y, _ = model(x, lengths=LENGTHS)
    assert value == rf.losses.mse(y, targets)[0]


def test_fit_takes_ragged_batches():
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(4):
        x, lengths = rf.pack_sequences([rng.normal(size=(n, I)) for n in (3, 9, 5)])
        batches.append((x, np.cumsum(x[..., :1], axis=0), {"lengths": lengths}))
    model = rf.Sequential(double_layer("gru", I, H), rf.Linear(H, 1, dtype="float64", rng=0))
    history = rf.fit(model, rf.losses.mse, batches, rf.optim.Adam(model.parameters(), lr=0.02), epochs=30)
    assert history.loss[-1] < 0.5 * history.loss[0]


# Packing


def test_unpacking_undoes_packing():
    sequences = [normal64(n, 2, seed=n) for n in (3, 0, 5)]
    x, lengths = rf.pack_sequences(sequences)
    assert (x.shape, lengths.tolist()) == ((5, 3, 2), [3, 0, 5])
    assert not x[3:, 0].any()
    by_batch, _ = rf.pack_sequences(sequences, batch_first=True)
    np.testing.assert_array_equal(by_batch.swapaxes(0, 1), x)
    for got in (rf.unpack_sequences(x, lengths), rf.unpack_sequences(by_batch, lengths, batch_first=True)):
        for one, other in zip(got, sequences, strict=True):
            np.testing.assert_array_equal(one, other)
    tokens, _ = rf.pack_sequences([[1, 2], [3]])
    assert tokens.tolist() == [[1, 3], [2, 0]]


def test_wrong_sequences_to_pack_are_named():
    for sequences, error, message in [
        ([], ValueError, "^sequences: expected at least one, got none"),
        ([[1.0], 2.0], ValueError, r"^sequences\[1\]: expected an axis of time"),
        (
            [np.ones((2, 3)), np.ones((2, 4))],
            ValueError,
            r"^sequences\[1\]: expected shape \[T, 3\].*got \(2, 4\)",
        ),
        ([np.ones(2), np.ones(2, int)], TypeError, r"^sequences\[1\]: expected float64.*got int64"),
    ]:
        with pytest.raises(error, match=message):
            rf.pack_sequences(sequences)
    with pytest.raises(ValueError, match=r"^y: expected shape \[T, B, ...\], got \(3,\)"):
        rf.unpack_sequences(np.ones(3), [1])
    with pytest.raises(ValueError, match=r"^lengths: expected 0 to T = 2, got 3"):
        rf.unpack_sequences(np.ones((2, 1)), [3])
    with pytest.raises(TypeError, match=r"^lengths: expected integers"):
        rf.unpack_sequences(np.ones((2, 1)), None)


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_embedded_ragged_sequences(cell, bidirectional, isa):
    """A layer that reads an embedding's table gives what it gives from the rows, whatever pads them."""
    embedding = rf.Embedding(4, I, dtype="float64", rng=1)
    embedding.weight.data[3] = np.nan  # that of the padding
    layer = double_layer(cell, I, H, bidirectional=bidirectional)
    model = rf.Sequential(embedding, layer)
    keywords = {"lengths": LENGTHS, "reset": RESET}
    tokens = np.random.default_rng(0).integers(0, 3, (T, B))
    tokens[np.arange(T)[:, np.newaxis] >= LENGTHS] = 3
    y, (_, final), tape = model.forward(tokens, **keywords)
    rows = embedding(tokens)[0]
    y1, final1, tape1 = layer.forward(rows, **keywords)
    for one, other in zip((y, *parts(final)), (y1, *parts(final1)), strict=True):
        np.testing.assert_array_equal(one, other)
    dy = normal64(*y.shape)
    grads: dict[str, np.ndarray] = {}
    plain: dict[str, np.ndarray] = {}
    model.backward(tape, dy, grads=grads)
    dx, _ = layer.backward(tape1, dy, grads=plain)
    for name, gradient in plain.items():
        np.testing.assert_allclose(grads["1." + name], gradient, rtol=1e-9, atol=1e-12, err_msg=name)
    dweight = np.zeros((4, I))
    np.add.at(dweight, tokens, dx)
    np.testing.assert_allclose(grads["0.weight"], dweight, rtol=1e-9, atol=1e-12)


@every_cell
def test_an_embedding_of_empty_sequences_has_no_gradient(cell):
    model = rf.Sequential(
        rf.Embedding(4, I, dtype="float64", rng=1),
        double_layer(cell, I, H, bidirectional=True),
    )
    junk = [np.full((4, I), 7e7) for _ in range(50)]
    del junk  # so that memory which nobody writes is unlikely to be zero
    y, _, tape = model.forward(np.zeros((T, B), int), lengths=np.zeros(B, int))
    grads: dict[str, np.ndarray] = {}
    model.backward(tape, np.ones_like(y), grads=grads)
    for name, gradient in grads.items():
        assert not gradient.any(), name


@pytest.mark.parametrize("shape", [(4,), (4, 4), (4, 4, 4)], ids=str)
def test_a_mask_beside_lengths_has_the_leading_axes(shape):
    gru = rf.GRU(3, 4, dtype="float64", rng=0)
    x, targets = normal64(4, 4, 3), normal64(4, 4, 4)
    mask = np.random.default_rng(0).random(shape) < 0.6
    lengths = np.array([1, 4, 2, 3])
    within = (np.arange(4)[:, np.newaxis] < lengths)[..., np.newaxis]
    full = mask.reshape(shape + (1,) * (3 - len(shape))) & within & np.ones((4, 4, 4), bool)
    y, _ = gru(x, lengths=lengths)
    want = np.square(y - targets)[full].mean()
    got, _ = rf.loss_and_grad(gru, rf.losses.mse, x, targets, mask=mask, lengths=lengths)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_a_mask_beside_lengths_that_does_not_fit_is_named():
    gru = double_layer("gru", I, H)
    x, targets = normal64(T, B, I), normal64(T, B, H)
    for mask, error, message in [
        (np.ones(B, bool), ValueError, r"^mask: expected shape \(7, 5\)"),
        (np.ones((T, B)), TypeError, r"^mask: expected bool, got float64"),
    ]:
        with pytest.raises(error, match=message):
            rf.loss_and_grad(gru, rf.losses.mse, x, targets, mask=mask, lengths=LENGTHS)


def test_batches_count_by_the_elements_of_their_loss():
    gru = rf.GRU(3, 4, dtype="float64", rng=0)
    x, zero = normal64(4, 4, 3), np.zeros((4, 4, 4))
    one = rf.losses.mse(gru(x)[0], zero)[0]
    other = rf.losses.mse(gru(x)[0], zero + 1)[0]
    batches = [(x, zero), (x, zero + 1, {"lengths": [4] * 4})]
    np.testing.assert_allclose(evaluate(gru, rf.losses.mse, batches), (one + other) / 2)


def test_states_of_a_forward_pass_cannot_be_unlocked():
    _, _, _, (_, c) = double_layer("lstm", I, H).forward(normal64(T, B, I), return_states=True)
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        c.setflags(write=True)


def test_lengths_of_an_empty_batch_and_of_an_unbatched_sequence():
    layer = double_layer("gru", I, H)
    assert layer(np.zeros((T, 0, I)), lengths=[])[0].shape == (T, 0, H)
    with pytest.raises(ValueError, match=r"^lengths: expected one integer, as x is unbatched, got \[3\]"):
        layer(normal64(T, I), lengths=[3])
    with pytest.raises(ValueError, match=r"^lengths: expected an array, got list"):
        layer(normal64(T, B, I), lengths=[1, [2]])
    assert rf.pack_sequences([[1, 2], []])[0].tolist() == [[1, 0], [2, 0]]
    with pytest.raises(TypeError, match=r"^sequences: expected a sequence of arrays, got int"):
        rf.pack_sequences(3)
