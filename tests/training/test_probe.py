"""What a probe says of gradients: against the reference, against what can be worked out; its refusals."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from helpers.arrays import normal64

import rnnfast as rf
from rnnfast import reference

T, B, I, H = 9, 3, 2, 5
LAYERS = {
    "rnn": rf.RNN,
    "indrnn": rf.IndRNN,
    "mingru": rf.MinGRU,
    "lstm": rf.LSTM,
    "gru": rf.GRU,
    "slstm": partial(rf.SLSTM, num_heads=5),
    "lstm-norm": partial(rf.LSTM, layer_norm=True),
}


def linear_loss(
    y: np.ndarray, weights: np.ndarray, mask: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    dy = weights if mask is None else weights * mask[..., np.newaxis]
    return float((y * dy).sum()), dy


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_norms_are_those_of_the_reference(cell, reverse):
    """dL/dh_t is dy_t plus what a run from the state after t on gives back to its initial state."""
    layer = LAYERS[cell](I, H, bidirectional=True, dtype="float64", rng=0)
    x, weights = normal64(T, B, I), normal64(T, B, 2 * H)
    found = rf.probe(layer, linear_loss, x, weights)
    assert [own.name for own in found.passes] == ["l0", "l0_reverse"]
    suffix, half = ("_l0_reverse", weights[..., H:]) if reverse else ("_l0", weights[..., :H])
    parameters = {
        name.removesuffix(suffix): array
        for name, array in layer.state_dict().items()
        if name.endswith(suffix) and (reverse or not name.endswith("_reverse"))
    }
    name = cell.removesuffix("-norm")
    forward, backward = getattr(reference, f"{name}_forward"), getattr(reference, f"{name}_backward")
    order = range(T)[::-1] if reverse else range(T)
    state, want = None, np.zeros(T)
    for place, t in enumerate(order):
        _, state, _ = forward(x[t : t + 1], **parameters, state=state)
        later = slice(0, t) if reverse else slice(t + 1, T)
        gradient = half[t]
        if place < T - 1:
            _, _, tape = forward(x[later], **parameters, state=state, reverse=reverse)
            dstate = backward(tape, half[later], None)[1]
            gradient = gradient + (dstate[0] if isinstance(dstate, tuple) else dstate)
        want[t] = np.linalg.norm(gradient)
    np.testing.assert_allclose(found.passes[int(reverse)].norms, want, rtol=1e-10)


def test_shares_of_a_known_decay():
    """h_t = h_{t-1} / 2 + x_t: each step back halves the gradient."""
    rnn = rf.RNN(H, H, bias=False, nonlinearity="identity", dtype="float64")
    rnn.weight_hh_l0.data = 0.5 * np.eye(H)
    rnn.weight_ih_l0.data = np.eye(H)
    found = rf.probe(rnn, rf.losses.mse, normal64(40, B, H), normal64(40, B, H), origins=3).passes[0]
    np.testing.assert_allclose(found.share[1:20] / found.share[:19], 0.5, rtol=1e-9)
    np.testing.assert_allclose(found.share.sum(), 1, rtol=1e-9)
    np.testing.assert_allclose(found.spectral_radius["a"], 0.5)
    np.testing.assert_allclose(found.orthogonality_defect["a"], 0.75)
    assert found.saturation == {}


def test_orthogonal_weights_have_no_defect():
    lstm = rf.LSTM(I, H, dtype="float64", rng=0)
    rf.init.orthogonal(lstm.weight_hh_l0, blocks=4, rng=1)
    found = rf.probe(lstm, linear_loss, normal64(T, B, I), normal64(T, B, H)).passes[0]
    assert list(found.spectral_radius) == ["i", "f", "g", "o"]
    for radius, defect in zip(
        found.spectral_radius.values(), found.orthogonality_defect.values(), strict=True
    ):
        np.testing.assert_allclose(radius, 1)
        assert defect < 1e-12


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_recurrent_vector_is_a_diagonal(bidirectional):
    layer = rf.IndRNN(I, H, num_layers=2, bidirectional=bidirectional, nonlinearity="tanh", rng=0)
    layer.weight_hh_l0.data = -0.5 * np.ones(H)
    width = H * (1 + bidirectional)
    found = rf.probe(layer, linear_loss, normal64(T, B, I), normal64(T, B, width)).passes
    assert len(found) == 2 * (1 + bidirectional)
    np.testing.assert_allclose(found[0].spectral_radius["a"], 0.5)
    np.testing.assert_allclose(found[0].orthogonality_defect["a"], 0.75)
    assert 0 <= found[0].saturation["a"] <= 1
    found = rf.probe(rf.IndRNN(I, H), linear_loss, normal64(T, B, I), normal64(T, B, H))
    assert found.passes[0].saturation == {}


def test_a_layer_without_a_recurrent_weight_has_gates_alone():
    found = rf.probe(rf.MinLSTM(I, H, rng=0), linear_loss, normal64(T, B, I), normal64(T, B, H)).passes[0]
    assert found.spectral_radius == found.orthogonality_defect == {}
    assert list(found.saturation) == ["f", "i"]


GATED = [layer for cell, layer in LAYERS.items() if cell != "lstm-norm"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_behind_layer_normalization_are_not_counted(cell):
    layer = LAYERS[cell](I, H, layer_norm=True, rng=0)
    found = rf.probe(layer, linear_loss, normal64(T, B, I), normal64(T, B, H)).passes[0]
    assert found.saturation == {}


@pytest.mark.parametrize("layer", [*GATED, rf.MinLSTM, partial(rf.RNN, zoneout=0.5)])
def test_saturated_gates_are_counted(layer):
    layer = layer(I, H, dtype="float64", rng=0)
    quiet = rf.probe(layer, linear_loss, 0.1 * normal64(T, B, I), normal64(T, B, H)).passes[0]
    layer.weight_ih_l0.data *= 1e4
    loud = rf.probe(layer, linear_loss, normal64(T, B, I), normal64(T, B, H)).passes[0]
    assert all(share == 0 for share in quiet.saturation.values())
    assert all(share > 0.95 for share in loud.saturation.values())


def test_norms_of_a_ragged_batch_add_up_over_its_sequences():
    lengths = np.array([4, 9, 2])
    gru = rf.GRU(I, H, dtype="float64", rng=0)
    x, weights = normal64(T, B, I), normal64(T, B, H)
    found = rf.probe(gru, linear_loss, x, weights, lengths=lengths).passes[0]
    squares = np.zeros(T)
    for b, length in enumerate(lengths):
        alone = rf.probe(gru, linear_loss, x[:length, b : b + 1], weights[:length, b : b + 1]).passes[0]
        squares[:length] += alone.norms**2
    np.testing.assert_allclose(found.norms, np.sqrt(squares), rtol=1e-10)


@pytest.mark.parametrize(
    "layer",
    [
        rf.LSTM(I, H, proj_size=3, peephole=True, rng=0),
        rf.LSTM(I, H, coupled_gates=True, cell_clip=0.5, rng=0),
        rf.GRU(I, H, reset_after=False, rng=0),
    ],
    ids=repr,
)
def test_every_kind_of_gate(layer):
    width = layer.proj_size or H
    found = rf.probe(layer, linear_loss, normal64(T, B, I), normal64(T, B, width)).passes[0]
    assert found.norms.all()
    np.testing.assert_allclose(found.share.sum(), 1)
    assert sorted(found.saturation) == sorted(found.spectral_radius)
    assert len(found.saturation) == layer.gates


@pytest.mark.parametrize("last", [False, True])
def test_a_probe_changes_nothing_of_the_model(last):
    model = rf.Sequential(
        rf.Embedding(4, 3, rng=0),
        rf.LSTM(3, H, num_layers=2, batch_first=True, rng=1),
        *([rf.Last(batch_first=True)] if last else []),
        rf.Linear(H, 2, rng=2),
    )
    tokens = np.random.default_rng(0).integers(0, 4, (B, T))
    targets = np.random.default_rng(1).integers(0, 2, B if last else (B, T))
    found = rf.probe(model, rf.losses.cross_entropy, tokens, targets)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [own.name for own in found.passes] == ["1.l0", "1.l1"]
    for own in found.passes:
        assert own.norms.shape == own.share.shape == (T,)
        assert own.norms.all()
        np.testing.assert_allclose(own.share.sum(), 1)
    value, _ = rf.loss_and_grad(model, rf.losses.cross_entropy, tokens, targets)
    assert found.loss == value
    norm = np.sqrt(sum((parameter.grad.astype(float) ** 2).sum() for parameter in model.parameters()))
    np.testing.assert_allclose(found.grad_norm, norm, rtol=1e-6)


def test_a_probe_plots():
    pytest.importorskip("matplotlib")
    figure = rf.probe(rf.GRU(I, H, rng=0), linear_loss, normal64(T, B, I), normal64(T, B, H)).plot()
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["t", "steps away"]


def test_what_cannot_be_probed_is_named():
    with pytest.raises(TypeError, match=r"^model: expected one with a recurrent layer, got Linear"):
        rf.probe(rf.Linear(2, 2), rf.losses.mse, normal64(3, 2), normal64(3, 2))
    with pytest.raises(ValueError, match=r"^origins: expected at least 1, got 0"):
        rf.probe(rf.GRU(I, H), linear_loss, normal64(T, B, I), normal64(T, B, H), origins=0)
    with pytest.raises(ValueError, match=r"^checkpoint: expected None"):
        rf.probe(rf.GRU(I, H), linear_loss, normal64(T, B, I), normal64(T, B, H), checkpoint=True)
    with pytest.raises(ValueError, match=r"^x: expected at least one step, got none"):
        rf.probe(rf.GRU(I, H), linear_loss, normal64(0, B, I), normal64(0, B, H))
    with pytest.raises(TypeError, match=r"^speed: expected a keyword GRU takes"):
        rf.probe(rf.GRU(I, H), linear_loss, normal64(T, B, I), normal64(T, B, H), speed=1)
    with pytest.raises(TypeError, match=r"^model: expected one with a recurrent layer, got int"):
        rf.probe(3, linear_loss, normal64(T, B, I), normal64(T, B, H))


def test_padding_and_the_other_direction_are_not_counted_as_saturated():
    x, weights = normal64(T, B, I), normal64(T, B, 2 * H)
    rnn = rf.RNN(I, H, nonlinearity="sigmoid", bidirectional=True, dtype="float64", rng=0)
    rnn.weight_ih_l0.data *= 1e4
    loud, quiet = rf.probe(rnn, linear_loss, 0.1 * x, weights, lengths=np.array([T, 1, 1])).passes
    assert loud.saturation["a"] > 0.9
    assert quiet.saturation["a"] == 0


def test_the_end_of_a_ragged_sequence_is_where_its_gradient_comes_from():
    model = rf.Sequential(rf.GRU(I, H, dtype="float64", rng=0), rf.Last())
    x, weights = normal64(T, B, I), normal64(B, H)
    share = rf.probe(model, linear_loss, x, weights, lengths=np.full(B, 4)).passes[0].share
    want = rf.probe(model, linear_loss, x[:4], weights).passes[0].share
    np.testing.assert_allclose(share[:4], want, rtol=1e-10)
    assert not share[4:].any()
    both = rf.Sequential(rf.LSTM(I, H, bidirectional=True, rng=0), rf.Last(bidirectional=True))
    assert rf.probe(both, linear_loss, x, normal64(B, 2 * H)).passes[0].share.size == 0


def test_a_probe_draws_no_mask_of_the_model():
    lstm = rf.LSTM(I, H, num_layers=2, dropout=0.5, dtype="float64", rng=0)
    x, weights = normal64(T, B, I), normal64(T, B, H)
    before = lstm.mask_calls
    rf.probe(lstm, linear_loss, x, weights)
    assert lstm.mask_calls == before
