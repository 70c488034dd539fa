"""The batches of `fit`: it equals a plain loop; axes, shuffling, masks, states between batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import H, I, N, Streams, T, classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.training import evaluate


def test_fit_has_the_bits_of_a_plain_loop() -> None:
    batches = [(x, t) for x, t in (labelled(seed) for seed in range(3))]
    model, other = classifier(), classifier()
    history = fit_quietly(model, batches, epochs=4, clip_norm=0.5)
    optimizer = rf.optim.Adam(other.parameters(), lr=0.02)
    losses = []
    for _ in range(4):
        for x, targets in batches:
            other.zero_grad()
            losses.append(rf.loss_and_grad(other, rf.losses.cross_entropy, x, targets)[0])
            rf.clip_grad_norm(other.parameters(), 0.5)
            optimizer.step()
    assert np.array_equal(weights_of(model), weights_of(other))
    assert history.batch_loss == losses
    assert np.allclose(history.loss, np.reshape(losses, (4, 3)).mean(axis=1))
    assert history.step == [3, 6, 9, 12]
    assert history.validation == [None] * 4
    assert history.lr == [0.02] * 4
    assert history.seconds == sorted(history.seconds)
    assert history.stopped == "epochs"


def seen(model: rf.Module, pair: Any, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The y and targets of each batch of one epoch."""
    got = []

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        got.append((y, targets))
        return 0.0, np.zeros_like(y)

    optimizer = rf.optim.SGD(model.parameters(), lr=0.0)
    rf.fit(model, loss, pair, optimizer, progress=False, **options)
    return got


@pytest.mark.parametrize("layout", ["time first", "batch first", "last", "last, batch first", "rows", "ints"])
def test_arrays_are_cut_along_the_batch_axis(layout: str) -> None:
    x = np.random.default_rng(0).normal(size=(T, N, I)).astype(np.float32)
    model: rf.Module = rf.GRU(I, H, rng=0)
    axis, target_axis, targets = 1, 1, np.arange(T * N).reshape(T, N)
    if "batch first" in layout:
        model = rf.GRU(I, H, batch_first=True, rng=0)
        x, targets, axis, target_axis = x.swapaxes(0, 1), targets.T, 0, 0
    if "last" in layout:
        model = rf.Sequential(model, rf.Last(batch_first=axis == 0))
        targets, target_axis = np.arange(N * 2).reshape(N, 2), 0
    if layout == "rows":
        model, x, targets = rf.Linear(I, H, rng=0), x[0], targets[0]
        axis = target_axis = 0
    if layout == "ints":
        model, x = rf.Sequential(rf.Embedding(9, I, rng=0), model), np.arange(T * N).reshape(T, N) % 9
    whole, _ = model(x)
    got = seen(model, (x, targets), batch_size=8, shuffle=False)
    y_axis = 0 if "last" in layout else axis
    assert [y.shape[y_axis] for y, _ in got] == [8, 8, 4]
    assert np.array_equal(np.concatenate([y for y, _ in got], y_axis), whole)
    assert np.array_equal(np.concatenate([t for _, t in got], target_axis), targets)

    shuffled = seen(model, (x, targets), batch_size=None, rng=3)
    assert len(shuffled) == 1
    order = (
        shuffled[0][1].take(0, 1 - target_axis if layout != "rows" else 0)
        if targets.ndim > 1
        else shuffled[0][1]
    )
    first = targets.take(0, 1 - target_axis) if targets.ndim > 1 else targets
    place = [int(np.flatnonzero(first == value)[0]) for value in order]
    assert sorted(place) == list(range(N)) != place
    assert np.array_equal(shuffled[0][0], whole.take(place, y_axis))


def test_axes_settle_which_axis_is_the_batch() -> None:
    x = np.zeros((N, N, I), np.float32)
    targets = np.arange(N * N).reshape(N, N)
    got = seen(rf.GRU(I, H), (x, targets), axes=(1, 0), batch_size=10, shuffle=False)
    assert [t.shape for _, t in got] == [(10, N)] * 2


def test_shuffling_differs_by_epoch_and_repeats_by_seed() -> None:
    pair = np.zeros((T, N, I), np.float32), np.arange(T * N).reshape(T, N)
    model = rf.GRU(I, H)
    runs = [
        [t[0].tolist() for _, t in seen(model, pair, batch_size=None, epochs=2, rng=rng)] for rng in (1, 1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]
    assert runs[0] != runs[2]


def test_callables_get_the_epoch_and_iterators_give_one_epoch() -> None:
    asked = []

    def batches(epoch: int) -> Iterator[Any]:
        asked.append(epoch)
        yield labelled(epoch)

    history = fit_quietly(classifier(), batches, epochs=3, validation=batches)
    assert asked == [0, 0, 1, 1, 2, 2]
    assert len(history.loss) == 3
    assert fit_quietly(classifier(), iter([labelled(0), labelled(1)]), minutes=10).step == [2]
    with pytest.raises(ValueError, match="data: expected batches that can be gone through once an epoch"):
        fit_quietly(classifier(), iter([labelled(0)]), epochs=2)
    with pytest.raises(ValueError, match="validation: expected batches that can be gone through"):
        fit_quietly(classifier(), labelled(), validation=iter([labelled(0)]), minutes=1)


def test_the_mask_of_a_batch_weighs_its_loss() -> None:
    x, targets = labelled()
    mask = np.zeros((T, N), bool)
    mask[2:, :3] = True
    batches = [(x, targets, {"mask": mask}), (x, targets)]
    history = fit_quietly(classifier(), batches, optimizer=rf.optim.SGD(classifier().parameters(), lr=0.0))
    first, second = history.batch_loss
    assert math.isclose(history.loss[0], (first * mask.sum() + second * T * N) / (mask.sum() + T * N))
    model = classifier()
    y, _ = model(x)
    assert math.isclose(first, rf.losses.cross_entropy(y, targets, mask)[0])
    want = (
        rf.losses.cross_entropy(y, targets, mask)[0] * mask.sum()
        + rf.losses.cross_entropy(y, targets)[0] * T * N
    )
    assert math.isclose(evaluate(model, rf.losses.cross_entropy, batches), want / (mask.sum() + T * N))


def test_stateful_runs_carry_the_state_within_an_epoch() -> None:
    streams = Streams()
    model, other = classifier(), classifier()
    history = fit_quietly(model, streams, epochs=2, stateful=True, validation=streams)
    optimizer = rf.optim.Adam(other.parameters(), lr=0.02)
    for epoch in range(2):
        state = None
        for x, targets in streams:
            other.zero_grad()
            _, state = rf.loss_and_grad(other, rf.losses.cross_entropy, x, targets, state)
            optimizer.step()
        whole, _ = other(streams.x)
        want, _ = rf.losses.cross_entropy(whole, streams.targets)
        assert math.isclose(history.validation[epoch], want, rel_tol=1e-6)
    assert np.array_equal(weights_of(model), weights_of(other))


def test_stateful_arrays_keep_their_order() -> None:
    x, targets = labelled()
    model = classifier()
    got = seen(model, (x, targets), stateful=True, batch_size=10)
    assert np.array_equal(np.concatenate([t for _, t in got], 1), targets)
    _, state = model(x[:, :10])
    assert np.array_equal(got[1][0], model(x[:, 10:], state)[0])
