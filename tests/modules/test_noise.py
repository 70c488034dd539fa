"""Zoneout, recurrent dropout and weight dropout of the layers: their masks, and the papers' equations."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal, normal64, normal_like, parts
from helpers.cases import LAYERS
from helpers.differences import assert_gradients
from helpers.models import double_layer, forward_backward, state_for
from helpers.tolerances import assert_close, assert_same_bits
from modules.small_layers import small_layer

import rnnfast as rf
from rnnfast import _core
from rnnfast.recurrent.masks import KINDS, RECURRENT, WEIGHT, ZONEOUT

T, B, I, H = 7, 3, 4, 6
NOISE: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": 0.4},
    "recurrent": {"recurrent_dropout": 0.3},
    "weight": {"weight_dropout": 0.3},
    "all": {"zoneout": 0.4, "recurrent_dropout": 0.3, "weight_dropout": 0.3},
}
LENGTHS = np.array([4, 7, 1])
RESET = np.random.default_rng(3).random((T, B)) < 0.3
RAGGED = {"lengths": LENGTHS, "reset": RESET}
cells = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
each_noise = pytest.mark.parametrize("noise", NOISE)
CELLS_AND_NOISE = [(cell, noise) for cell in ("rnn", "lstm", "gru") for noise in NOISE] + [
    ("indrnn", "zoneout")
]
all_noise = pytest.mark.parametrize(("cell", "noise"), CELLS_AND_NOISE)


@all_noise
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.2}], ids=["one", "stack"]
)
def test_gradients_are_finite_differences(cell: str, noise: str, options: dict[str, Any]) -> None:
    smooth = {"nonlinearity": "tanh"} if cell in ("rnn", "indrnn") else {}
    layer = double_layer(cell, 2, 3, **smooth, **options, **NOISE[noise])
    x, state = normal64(T, B, 2), state_for(layer, B)
    assert_gradients(layer, x, state, rng=3)
    assert_gradients(layer, x, state, rng=3, **RAGGED)
    assert_gradients(layer, x, state, training=False, **RAGGED)


@pytest.mark.parametrize(
    "options",
    [
        {"proj_size": 2, "zoneout": (0.4, 0.2), "recurrent_dropout": 0.3},
        {"peephole": True, "cell_clip": 0.3, "zoneout": (0.0, 0.5)},
        {"peephole": True, "coupled_gates": True, "proj_size": 2, "zoneout": 0.3, "weight_dropout": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("layer_norm", [False, True], ids=["plain", "norm"])
def test_gradients_of_the_lstm_s_options(options: dict[str, Any], layer_norm: bool) -> None:
    layer = double_layer("lstm", 2, 3, layer_norm=layer_norm, **options)
    assert_gradients(layer, normal64(T, B, 2), state_for(layer, B), rng=3, **RAGGED)


def test_gradients_of_a_gru_with_the_reset_gate_before_the_product() -> None:
    layer = double_layer("gru", 2, 3, reset_after=False, **NOISE["all"])
    assert_gradients(layer, normal64(T, B, 2), state_for(layer, B), rng=3, **RAGGED)


@all_noise
def test_masks_act_in_training_alone(cell: str, noise: str) -> None:
    layer, plain = small_layer(cell, **NOISE[noise]), small_layer(cell)
    x = normal(T, B, I)
    want = layer(x)[0]
    np.testing.assert_array_equal(layer.forward(x, training=False)[0], want)
    assert layer.mask_calls == 0
    step = layer.stream(B)
    np.testing.assert_array_equal([step(x_t) for x_t in x], want)
    assert (plain(x)[0] != want).any() == ("zoneout" in NOISE[noise])
    assert (layer.forward(x)[0] != want).any()
    assert layer.mask_calls == 1


@all_noise
def test_the_rng_of_a_pass_fixes_its_masks(cell: str, noise: str) -> None:
    layer, other = (small_layer(cell, num_layers=2, **NOISE[noise]) for _ in range(2))
    x, dy = normal(T, B, I), normal(T, B, H)
    want = forward_backward(layer, x, None, dy, rng=3)
    assert_equal(forward_backward(layer, x, None, dy, rng=3), want)
    assert (forward_backward(layer, x, None, dy, rng=4)["y"] != want["y"]).any()
    sequence = [layer.forward(x)[0] for _ in range(3)]
    assert (sequence[0] != sequence[1]).any()
    for y in sequence:
        np.testing.assert_array_equal(other.forward(x)[0], y)


@all_noise
def test_masks_do_not_depend_on_the_batch_or_on_later_steps(cell: str, noise: str) -> None:
    layer = small_layer(cell, **NOISE[noise])
    x = normal(T, B, I)
    whole = layer.forward(x, rng=3)[0]
    np.testing.assert_array_equal(layer.forward(x[:, :2], rng=3)[0], whole[:, :2])
    np.testing.assert_array_equal(layer.forward(x[:3], rng=3)[0], whole[:3])
    # Lengths sort the rows of a pass; a sequence keeps the masks of its own row.
    ragged = layer.forward(x, rng=3, lengths=LENGTHS)[0]
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(ragged[:length, b], whole[:length, b])


@all_noise
def test_the_same_bits_on_any_kernels_and_threads(cell: str, noise: str, restored: None) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True, **NOISE[noise])
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    _core.set_num_threads(1)
    want = forward_backward(layer, x, None, dy, rng=3, **RAGGED)
    for isa in _core.available_isas():
        _core.force_isa(isa)
        assert_equal(forward_backward(layer, x, None, dy, rng=3, **RAGGED), want)
    _core.force_isa(None)
    _core.set_num_threads(3)
    for split in ("rows", "units"):
        _core.force_split(split)
        assert_equal(forward_backward(layer, x, None, dy, rng=3, **RAGGED), want)


@all_noise
@pytest.mark.parametrize("checkpoint", [1, 3, T, True])
@pytest.mark.parametrize("keywords", [{}, RAGGED], ids=["plain", "ragged"])
def test_recomputation_draws_the_same_masks(
    cell: str, noise: str, checkpoint: Any, keywords: dict[str, Any]
) -> None:
    layer = small_layer(cell, num_layers=2, bidirectional=True, dropout=0.2, **NOISE[noise])
    x, dy = normal(T, B, I), normal(T, B, 2 * H)
    state = normal_like(layer(x)[1])
    dstate = normal_like(state, seed=5)
    want = forward_backward(layer, x, state, dy, dstate, rng=3, **keywords)
    got = forward_backward(layer, x, state, dy, dstate, rng=3, checkpoint=checkpoint, **keywords)
    weights = {name for name in want if "weight" in name or "bias" in name}
    assert_same_bits(*({name: of[name] for name in want if name not in weights} for of in (got, want)))
    assert_close(*({name: of[name] for name in weights} for of in (got, want)), K=I + H)


@cells
def test_zoneout_keeps_units_at_the_rate_p(cell: str) -> None:
    p = 0.3
    layer = LAYERS[cell](1, 500, zoneout=p, rng=0)
    y, _, _ = layer.forward(normal(20, 8, 1), normal_like(layer(normal(1, 8, 1))[1]), rng=1)
    kept = y[1:] == y[:-1]
    n = kept.size
    assert abs(kept.mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    for axis in range(3):  # units, rows and steps are independent
        first, second = (
            np.take(kept, range(kept.shape[axis] - 1), axis),
            np.take(kept, range(1, kept.shape[axis]), axis),
        )
        assert abs((first & second).mean() - p * p) < 5 * (p * p * (1 - p * p) / first.size) ** 0.5


def test_the_masks_of_h_and_c_differ_and_have_their_own_rates() -> None:
    layer = rf.LSTM(1, 500, zoneout=(0.1, 0.5), rng=0)
    *_, (h, c) = layer.forward(normal(20, 8, 1), rng=1, return_states=True)
    kept_h, kept_c = h[0, 1:] == h[0, :-1], c[0, 1:] == c[0, :-1]
    assert abs(kept_h.mean() - 0.1) < 0.01
    assert abs(kept_c.mean() - 0.5) < 0.01
    assert abs((kept_h & kept_c).mean() - 0.05) < 0.01


def test_a_reset_keeps_zero_and_not_the_episode_before() -> None:
    layer = rf.GRU(I, 200, zoneout=0.5, rng=0)
    reset = np.zeros((T, B), bool)
    reset[3] = True
    y, _, _ = layer.forward(normal(T, B, I), rng=1, reset=reset)
    assert abs((y[3] == 0).mean() - 0.5) < 0.1
    assert not (y[3] == y[2])[y[2] != 0].any()


def test_recurrent_dropout_has_one_mask_for_all_steps() -> None:
    layer = rf.RNN(1, 200, recurrent_dropout=0.25, nonlinearity="identity", rng=0)
    for name, parameter in layer.named_parameters():
        parameter.data[...] = np.eye(200) if name == "weight_hh_l0" else 0
    h = np.ones((1, B, 200))
    y, _, _ = layer.forward(np.zeros((T, B, 1)), h, rng=1)
    scaled = np.float32(1 / 0.75)
    np.testing.assert_allclose(y, np.float32([(y[0] > 0) * scaled ** (t + 1) for t in range(T)]), rtol=1e-5)
    assert abs((y[0] == 0).mean() - 0.25) < 0.06
    assert (y[0, 0] != y[0, 1]).any()


def test_weight_dropout_has_one_mask_for_a_call_and_each_pass() -> None:
    layer = rf.RNN(1, 200, bidirectional=True, weight_dropout=0.25, nonlinearity="identity", rng=0)
    for name, parameter in layer.named_parameters():
        parameter.data[...] = name.startswith("weight_hh")
    y, _, tape = layer.forward(
        np.zeros((1, 2, 1)), np.eye(200, dtype=np.float32)[None, :2].repeat(2, 0), rng=1
    )
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs((y == 0).mean() - 0.25) < 0.08
    assert (y[0, :, :200] != y[0, :, 200:]).any()
    grads: dict[str, np.ndarray] = {}
    layer.backward(tape, np.ones_like(y), grads=grads)
    np.testing.assert_array_equal(grads["weight_hh_l0"][:, :2] == 0, y[0, :, :200].T == 0)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + (-a).exp())


def papers_lstm(
    torch: Any, x: Any, h: Any, c: Any, w: dict[str, Any], z_h: Any, z_c: Any, drop: Any
) -> tuple[Any, Any, Any]:
    """Krueger et al. 2017, section 3.2, with the h of Gal and Ghahramani 2016, equation 7."""
    ys = []
    for t in range(len(x)):
        a = x[t] @ w["weight_ih_l0"].T + w["bias_ih_l0"] + (h * drop) @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = a.chunk(4, dim=-1)
        new = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
        h = z_h[t] * h + (1 - z_h[t]) * sigmoid(o) * torch.tanh(new)
        c = z_c[t] * c + (1 - z_c[t]) * new
        ys.append(h)
    return torch.stack(ys), h, c


def papers_gru(torch: Any, x: Any, h: Any, w: dict[str, Any], z_h: Any, drop: Any) -> tuple[Any, Any]:
    """A GRU whose products read the masked h; its blend reads h itself."""
    ys = []
    for t in range(len(x)):
        of_x = (x[t] @ w["weight_ih_l0"].T + w["bias_ih_l0"]).chunk(3, dim=-1)
        of_h = ((h * drop) @ w["weight_hh_l0"].T + w["bias_hh_l0"]).chunk(3, dim=-1)
        r, u = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
        new = (1 - u) * torch.tanh(of_x[2] + r * of_h[2]) + u * h
        h = z_h[t] * h + (1 - z_h[t]) * new
        ys.append(h)
    return torch.stack(ys), h


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_papers_equations_in_torch(cell: str) -> None:
    torch = pytest.importorskip("torch")
    rates: dict[str, Any] = {
        "zoneout": (0.2, 0.4) if cell == "lstm" else 0.2,
        "recurrent_dropout": 0.3,
        "weight_dropout": 0.1,
    }
    layer = double_layer(cell, I, H, **rates)
    x, state = normal64(T, B, I), state_for(layer, B)
    tensors = [torch.tensor(part, requires_grad=True) for part in (x, *parts(state))]
    weights = {name: torch.tensor(own.data, requires_grad=True) for name, own in layer.named_parameters()}
    rows = len(layer.weight_hh_l0.data)
    width = H * len(tensors[1:])  # the units of h and c side by side
    zone = _core.zoneout_mask(3, 0, ZONEOUT * KINDS, (T, B, width), 0.2, "float64", split=H, q=0.4)
    masks = list(torch.tensor(zone).split(H, dim=-1))
    masks.append(torch.tensor(_core.dropout_mask(3, 0, RECURRENT * KINDS, (1, B, H), 0.3, "float64")[0]))
    on_weight = torch.tensor(_core.dropout_mask(3, 0, WEIGHT * KINDS, (1, rows, H), 0.1, "float64")[0])
    masked = {**weights, "weight_hh_l0": weights["weight_hh_l0"] * on_weight}
    paper = papers_lstm if cell == "lstm" else papers_gru
    y, *final = paper(torch, tensors[0], *(part[0] for part in tensors[1:]), masked, *masks)
    dy, dstate = normal64(T, B, H), normal_like(state, seed=6)
    loss = (y * torch.tensor(dy)).sum()
    for part, d in zip(final, parts(dstate), strict=True):
        loss = loss + (part * torch.tensor(d[0])).sum()
    loss.backward()
    got = forward_backward(layer, x, state, dy, dstate, rng=3)
    want = {"y": y.detach().numpy(), "dx": tensors[0].grad.numpy()}
    want |= {name: weight.grad.numpy() for name, weight in weights.items()}
    want |= {"d" + part: tensor.grad.numpy() for part, tensor in zip("hc", tensors[1:], strict=False)}
    want |= {name: part.detach().numpy()[None] for name, part in zip("hc", final, strict=False)}
    assert_close(got, want, K=I + H)


@pytest.mark.parametrize("name", ["zoneout", "recurrent_dropout", "weight_dropout"])
@pytest.mark.parametrize("p", [-0.1, 1, 1.5, np.nan, "a half", None])
@cells
def test_rates_that_are_no_probability_are_refused(cell: str, name: str, p: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{name}: "):
        LAYERS[cell](I, H, **{name: p})


def test_a_pair_is_for_the_lstm_alone() -> None:
    for layer in (rf.RNN, rf.GRU, rf.IndRNN):
        with pytest.raises(ValueError, match=r"^zoneout: expected one probability, as the state has no c"):
            layer(I, H, zoneout=(0.1, 0.2))
    with pytest.raises(ValueError, match=r"^zoneout: expected one probability or \(h, c\)"):
        rf.LSTM(I, H, zoneout=(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"^zoneout c: "):
        rf.LSTM(I, H, zoneout=(0.1, 1.0))


@each_noise
@cells
def test_gradients_with_layer_normalization(cell: str, noise: str) -> None:
    smooth = {"nonlinearity": "tanh"} if cell == "rnn" else {}
    layer = double_layer(cell, 2, 3, layer_norm=True, **smooth, **NOISE[noise])
    x, state = normal64(T, B, 2), state_for(layer, B)
    assert_gradients(layer, x, state, rng=3, **RAGGED)
    assert_gradients(layer, x, state, training=False, **RAGGED)


@cells
def test_a_stream_with_layer_normalization_has_the_expectation(cell: str) -> None:
    layer = small_layer(cell, layer_norm=True, zoneout=0.4)
    x = normal(T, B, I)
    want = layer(x)[0]
    step = layer.stream(B)
    np.testing.assert_array_equal([step(x_t) for x_t in x], want)
    np.testing.assert_array_equal(layer.forward(x, training=False)[0], want)
    assert (small_layer(cell, layer_norm=True)(x)[0] != want).any()


def test_an_indrnn_has_no_product_of_the_state_to_drop() -> None:
    for name in ("recurrent_dropout", "weight_dropout"):
        with pytest.raises(TypeError, match=name):
            rf.IndRNN(I, H, **{name: 0.1})


@pytest.mark.parametrize("cell", ["mingru", "minlstm", "slstm"])
def test_other_cells_have_no_zoneout(cell: str) -> None:
    layer = LAYERS[cell](I, H)
    with pytest.raises(ValueError, match=r"^zoneout: expected 0, as \w+ has none"):
        layer.zoneout = 0.3
    with pytest.raises(TypeError, match="zoneout"):
        LAYERS[cell](I, H, zoneout=0.3)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "indrnn"])
def test_zoneout_can_be_set(cell: str) -> None:
    layer, want = small_layer(cell), small_layer(cell, zoneout=0.3)
    x = normal(T, B, I)
    layer.zoneout = 0.3
    np.testing.assert_array_equal(layer(x)[0], want(x)[0])
    with pytest.raises(ValueError, match=r"^zoneout: "):
        layer.zoneout = 1.0
    assert layer.zoneout == 0.3


@all_noise
def test_copies_keep_the_rates(cell: str, noise: str) -> None:
    layer = small_layer(cell, **NOISE[noise])
    x = normal(T, B, I)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other.forward(x, rng=3)[0], layer.forward(x, rng=3)[0])
        np.testing.assert_array_equal(other(x)[0], layer(x)[0])
    for name, rate in NOISE[noise].items():
        assert f"{name}={rate}" in repr(layer)


@cells
def test_training_in_bfloat16_and_evaluation_in_int8(cell: str) -> None:
    x = normal(T, B, I)
    layer, exact = (
        small_layer(cell, matmul_precision=name, **NOISE["all"]) for name in ("bfloat16", "float32")
    )
    got, want = (forward_backward(one, x, None, normal(T, B, H), rng=3) for one in (layer, exact))
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=0.05 * np.abs(want[name]).max())
    quantized = small_layer(cell, matmul_precision="int8", zoneout=0.4)
    np.testing.assert_allclose(quantized(x)[0], small_layer(cell, zoneout=0.4)(x)[0], atol=0.03)
