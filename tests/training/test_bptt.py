"""The promises of truncated backpropagation through time, by brute force on the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal64, parts
from helpers.models import double_layer, state_for
from helpers.tolerances import assert_close, assert_same_bits

import rnnfast as rf
from rnnfast import reference

T, B, I, H = 11, 3, 2, 4
LAYERS = {"rnn": rf.RNN, "lstm": rf.LSTM, "gru": rf.GRU}
every_cell = pytest.mark.parametrize("cell", LAYERS)
every_window = pytest.mark.parametrize(("k1", "k2"), [(1, 1), (4, 4), (4, 6), (4, 9), (3, 40), (20, 30)])
LENGTHS = np.array([9, 2, 11])
RESET = np.random.default_rng(3).random((T, B)) < 0.2
MASK = np.random.default_rng(4).random((T, B)) < 0.7


def descend(model: rf.Module) -> None:
    for parameter in model.parameters():
        parameter.data -= 0.1 * parameter.grad


def gradients(model: rf.Module) -> dict[str, np.ndarray]:
    return {name: parameter.grad.copy() for name, parameter in model.named_parameters()}


@every_cell
@every_window
@pytest.mark.parametrize("ragged", [False, True])
def test_the_truncated_gradient_by_brute_force(cell, k1, k2, ragged):
    """Each window on the reference, from the state stored k2 - k1 steps before it; an update after each."""
    layer, x, targets = double_layer(cell, I, H), normal64(T, B, I), normal64(T, B, H, seed=9)
    state = state_for(layer, B)
    lengths = LENGTHS if ragged else np.full(B, T)
    reset = RESET if ragged else np.zeros((T, B), bool)
    mask = MASK if ragged else np.ones((T, B), bool)
    run_forward, run_backward = (getattr(reference, f"{cell}_{way}") for way in ("forward", "backward"))
    stored = {0: tuple(part[0] for part in state) if cell == "lstm" else state[0]}
    keywords = {"lengths": lengths, "reset": reset, "mask": mask} if ragged else {}
    windows = rf.truncated_bptt(layer, rf.losses.mse, x, targets, k1, k2, state, **keywords)
    count = 0
    for begin, (loss, final) in zip(range(0, T, k1), windows, strict=True):
        end = min(begin + k1, T)
        start, following = max(0, begin - (k2 - k1)), max(0, end - (k2 - k1))
        weights = {name.removesuffix("_l0"): array for name, array in layer.state_dict().items()}

        def until(stop: int, start: int = start, weights: Any = weights) -> Any:
            here = {"lengths": np.clip(lengths - start, 0, stop - start), "reset": reset[start:stop]}
            return run_forward(x[start:stop], **weights, state=stored[start], **here)

        y, last, tape = until(end)
        within = (np.arange(T)[:, None] < lengths)[begin:end] & mask[begin:end]
        want, dy_own = rf.losses.mse(y[begin - start :], targets[begin:end], within)
        dy = np.zeros_like(y)
        dy[begin - start :] = dy_own
        _, _, grads = run_backward(tape, dy, None)
        assert loss == pytest.approx(want, rel=1e-12, abs=1e-15)
        assert_close(gradients(layer), {name + "_l0": array for name, array in grads.items()}, K=I + H)
        for one, other in zip(parts(final), parts(last), strict=True):
            np.testing.assert_allclose(one[0], other, rtol=1e-12, atol=1e-14)
        stored[following] = until(following)[1]
        descend(layer)
        count += 1
    assert count == -(-T // k1)


@every_cell
def test_windows_without_overlap_are_the_plain_loop(cell):
    """With k2 = k1, bit for bit what `loss_and_grad` gives from window to window, through a whole model."""
    models = [
        rf.Sequential(
            rf.Embedding(5, I, dtype="float64", rng=1),
            rf.Dropout(0.2, rng=2),
            double_layer(cell, I, H, num_layers=2, dropout=0.3),
            rf.Linear(H, 5, dtype="float64", rng=3),
        )
        for _ in range(2)
    ]
    tokens = np.random.default_rng(0).integers(0, 5, (T + 1, B))
    windows = rf.truncated_bptt(models[0], rf.losses.cross_entropy, tokens[:-1], tokens[1:], 4, 4)
    before = None
    for t, (loss, state) in zip(range(0, T, 4), windows, strict=True):
        end = min(t + 4, T)
        models[1].zero_grad()
        want, before = rf.loss_and_grad(
            models[1], rf.losses.cross_entropy, tokens[t:end], tokens[t + 1 : end + 1], before
        )
        assert loss == want
        assert_equal(state, before)
        assert_same_bits(gradients(models[0]), gradients(models[1]))
        for model in models:
            descend(model)


@every_cell
@every_window
def test_a_model_gives_the_gradients_of_each_windows_own_loss(cell, k1, k2):
    """Those of one pass from the stored state, of which the loss keeps the window's own steps."""
    model = rf.Sequential(
        rf.Embedding(5, I, dtype="float64", rng=1),
        double_layer(cell, I, H, num_layers=2),
        rf.Linear(H, 5, dtype="float64", rng=3),
    )
    tokens = np.random.default_rng(0).integers(0, 5, (T + 1, B))
    x, targets = tokens[:-1], tokens[1:]
    stored: dict[int, Any] = {0: None}
    windows = rf.truncated_bptt(model, rf.losses.cross_entropy, x, targets, k1, k2)
    for begin, (loss, state) in zip(range(0, T, k1), windows, strict=True):
        end = min(begin + k1, T)
        start, following = max(0, begin - (k2 - k1)), max(0, end - (k2 - k1))
        own = np.arange(start, end) >= begin
        grads: dict[str, np.ndarray] = {}
        want, final = rf.loss_and_grad(
            model,
            rf.losses.cross_entropy,
            x[start:end],
            targets[start:end],
            stored[start],
            mask=own,
            grads=grads,
        )
        assert loss == pytest.approx(want, rel=1e-12)
        assert_equal(state, final)
        assert_close(gradients(model), grads, K=I + H)
        if following != start:
            stored[following] = model(x[start:following], stored[start])[1]
        descend(model)


@every_window
@pytest.mark.parametrize("ragged", [False, True])
def test_with_fixed_weights_the_state_passes_from_window_to_window(k1, k2, ragged):
    layer, x, targets = double_layer("lstm", I, H, num_layers=2), normal64(T, B, I), normal64(T, B, H)
    keywords = {"lengths": LENGTHS, "reset": RESET} if ragged else {}
    windows = rf.truncated_bptt(layer, rf.losses.mse, x, targets, k1, k2, **keywords)
    for begin, (_, state) in zip(range(0, T, k1), windows, strict=True):
        end = min(begin + k1, T)
        here = {"lengths": np.clip(LENGTHS, 0, end), "reset": RESET[:end]} if ragged else {}
        assert_equal(state, layer(x[:end], **here)[1])


def test_a_window_of_all_steps_gives_the_whole_gradient():
    layer, x, targets = double_layer("gru", I, H), normal64(T, B, I), normal64(T, B, H)
    ((loss, state),) = rf.truncated_bptt(layer, rf.losses.mse, x, targets, T, T)
    got = gradients(layer)
    layer.zero_grad()
    want, final = rf.loss_and_grad(layer, rf.losses.mse, x, targets)
    assert loss == want
    assert_equal(state, final)
    assert_same_bits(got, gradients(layer))


@pytest.mark.parametrize("layout", ["batch first", "unbatched"])
def test_layouts_agree(layout):
    layer, other = double_layer("lstm", I, H), double_layer("lstm", I, H, batch_first=layout == "batch first")
    x, targets = normal64(T, B, I), normal64(T, B, H)
    given = {"lengths": LENGTHS, "reset": RESET, "mask": MASK}
    if layout == "batch first":
        turned = {"x": x.swapaxes(0, 1), "targets": targets.swapaxes(0, 1)}
        turned |= {"lengths": LENGTHS, "reset": RESET.T, "mask": MASK.T}
    else:
        x, targets = x[:, :1], targets[:, :1]
        given = {"lengths": LENGTHS[:1], "reset": RESET[:, :1], "mask": MASK[:, :1]}
        turned = {"x": x[:, 0], "targets": targets[:, 0], "lengths": LENGTHS[0]}
        turned |= {"reset": RESET[:, 0], "mask": MASK[:, 0]}
    windows = rf.truncated_bptt(layer, rf.losses.mse, x, targets, 4, 6, **given)
    for (loss, _), (want, _) in zip(
        windows, rf.truncated_bptt(other, rf.losses.mse, k1=4, k2=6, **turned), strict=True
    ):
        assert loss == pytest.approx(want, rel=1e-12)
        assert_close(gradients(other), gradients(layer), K=I + H)


def test_masks_of_dropout_differ_from_window_to_window_and_repeat_by_seed():
    model = rf.Sequential(rf.Dropout(0.5, rng=0))
    x = np.ones((6, 200))

    def seen(rng: Any) -> list[np.ndarray]:
        got = []

        def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
            got.append(y)
            return 0.0, np.zeros_like(y)

        for _ in rf.truncated_bptt(model, loss, x, x, 3, 3, rng=rng):
            pass
        return got

    for seeded in (int, np.random.default_rng):
        first, second = seen(seeded(5))
        assert (first != second).any()
        np.testing.assert_array_equal(seen(seeded(5)), [first, second])
        assert (seen(seeded(6))[0] != first).any()


def test_checkpoints_within_windows():
    losses = []
    for keywords in ({}, {"checkpoint": 2}):
        layer = double_layer("gru", I, H)
        windows = rf.truncated_bptt(
            layer, rf.losses.mse, normal64(T, B, I), normal64(T, B, H), 5, 7, **keywords
        )
        losses.append([loss for loss, _ in windows])
        losses[-1].append(gradients(layer))
    plain, checkpointed = losses
    assert checkpointed[:-1] == plain[:-1]
    assert_close(checkpointed[-1], plain[-1], K=I + H)


def test_no_steps_no_windows():
    assert not list(
        rf.truncated_bptt(
            double_layer("gru", I, H), rf.losses.mse, np.ones((0, B, I)), np.ones((0, B, H)), 2, 3
        )
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"k2": 3}, ValueError, r"^k2: expected at least k1 = 4, got 3"),
        ({"k1": 0}, ValueError, r"^k1: expected at least 1, got 0"),
        ({"k2": 4.0}, TypeError, r"^k2: expected an integer, got 4\.0"),
        (
            {"x": normal64(T - 1, B, I)},
            ValueError,
            r"^targets: expected 10 steps along axis 0, as x has, got",
        ),
        ({"x": np.float64(1)}, ValueError, r"^x: expected an axis of time, got shape \(\)"),
        (
            {"mask": MASK[:4]},
            ValueError,
            r"^mask: expected 11 steps along axis 0, as x has, got shape \(4, 3\)",
        ),
        ({"reset": RESET[:4]}, ValueError, r"^reset: expected 11 steps along axis 0"),
        ({"lengths": [1, 2, 12]}, ValueError, r"^lengths: expected 0 to T = 11, got 12"),
        ({"lengths": [1, 2]}, ValueError, r"^lengths: expected shape \[3\], got \(2,\)"),
        ({"rng": 0.5}, TypeError, r"^rng: expected an integer"),
        ({"grads": {}}, TypeError, r"^grads: expected a keyword GRU takes"),
        (
            {"model": rf.Sequential(double_layer("gru", I, H), rf.Last())},
            ValueError,
            r"^model: expected a y at every step",
        ),
        (
            {"model": double_layer("gru", I, H, bidirectional=True)},
            ValueError,
            r"^model: expected layers of one direction",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_before_the_first_window(given, error, message):
    usual = {
        "model": double_layer("gru", I, H),
        "loss": rf.losses.mse,
        "x": normal64(T, B, I),
        "targets": normal64(T, B, H),
    }
    with pytest.raises(error, match=message):
        rf.truncated_bptt(**(usual | {"k1": 4, "k2": 6} | given))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int8])
def test_lengths_of_any_integers_are_cut_into_windows(dtype):
    lengths = np.array([3, 23, 10, 7, 0])[:B]
    lengths = np.resize(lengths, B)
    losses = []
    for kind in (np.intp, dtype):
        windows = rf.truncated_bptt(
            double_layer("gru", I, H),
            rf.losses.mse,
            normal64(23, B, I),
            normal64(23, B, H),
            5,
            5,
            lengths=lengths.astype(kind),
        )
        losses.append([loss for loss, _ in windows])
    assert losses[0] == losses[1]
