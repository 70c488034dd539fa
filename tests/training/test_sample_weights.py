"""Weights in losses and in training: the weighted mean, exactly, and the gradient of it."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal64
from helpers.models import weights_of
from helpers.tolerances import FINITE_DIFFERENCES, error
from training.runs import I, N, T, classifier, fit_quietly, labelled
from training.test_losses import DEFINITIONS, numeric_gradient, targets_for

import rnnfast as rf
from rnnfast.nn.losses import binary_cross_entropy, cross_entropy, mse
from rnnfast.training import evaluate

LOSSES = [*(loss for loss, _ in DEFINITIONS), cross_entropy, partial(cross_entropy, ignore_index=1)]
each_loss = pytest.mark.parametrize("loss", LOSSES)


def targets_of(loss: Any, shape: tuple[int, ...]) -> np.ndarray:
    return targets_for(loss.func if isinstance(loss, partial) else loss, shape)


def rows_of(loss: Any, y: np.ndarray) -> tuple[int, ...]:
    """The shape of what a loss is the mean of."""
    plain = loss.func if isinstance(loss, partial) else loss
    return y.shape[:-1] if plain is cross_entropy else y.shape


@each_loss
def test_integer_weights_are_repetitions(loss: Any) -> None:
    y, times = normal64(5, 3, 2), np.array([1, 3, 0, 2, 1])
    targets = targets_of(loss, y.shape)
    value, dy = loss(y, targets, weights=times)
    repeated = np.repeat(np.arange(5), times)
    want, repeated_dy = loss(y[repeated], targets[repeated])
    assert value == pytest.approx(want, rel=1e-13)
    want_dy = np.zeros_like(y)
    np.add.at(want_dy, repeated, repeated_dy)
    np.testing.assert_allclose(dy, want_dy, rtol=1e-12, atol=1e-15)


@each_loss
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_the_weighted_mean(loss: Any, masked: bool) -> None:
    y = normal64(4, 3, 2)
    targets, rng = targets_of(loss, y.shape), np.random.default_rng(5)
    weights = rng.random(rows_of(loss, y))
    mask = rng.random(rows_of(loss, y)) > 0.3 if masked else None
    dy = loss(y, targets, mask, weights=weights)[1]
    numeric = numeric_gradient(lambda moved: loss(moved, targets, mask, weights=weights)[0], y)
    assert error(dy, numeric) < FINITE_DIFFERENCES
    if mask is not None:
        assert not dy[~mask].any()


@each_loss
def test_equal_weights_are_none_and_their_unit_is_free(loss: Any) -> None:
    y = normal64(4, 3, 2).astype(np.float32)
    targets = targets_of(loss, y.shape)
    want, want_dy = loss(y, targets)
    for unit in (1e-300, 0.7, 1, 1e308):
        value, dy = loss(y, targets, weights=np.full(4, unit))
        assert value == pytest.approx(want, rel=1e-14)
        assert_equal(dy, want_dy)


@each_loss
def test_what_has_weight_zero_is_never_looked_at(loss: Any) -> None:
    y, weights = normal64(4, 3, 2), np.array([1.0, 0.0, 2.0, 0.0])
    targets = targets_of(loss, y.shape)
    want = loss(y, targets, weights=weights)
    y[weights == 0] = np.nan
    got = loss(y, targets, weights=weights)
    assert_equal(got, want)
    assert not got[1][weights == 0].any()
    value, dy = loss(y, targets, weights=np.zeros(4))
    assert value == 0.0
    assert not dy.any()


@pytest.mark.parametrize("loss", [mse, cross_entropy, binary_cross_entropy])
@pytest.mark.parametrize(
    ("weights", "kind", "message"),
    [
        (np.ones(3), ValueError, r"weights: expected shape .* or leading axes of it, got \(3,\)"),
        ([1, 1, 1, -1], ValueError, "weights: expected finite numbers of at least 0, got -1"),
        ([1, 1, 1, np.nan], ValueError, "weights: expected finite numbers of at least 0, got nan"),
        ([1, 1, 1, np.inf], ValueError, "weights: expected finite numbers of at least 0, got inf"),
        (["a"] * 4, TypeError, "weights: expected real numbers, got <U1"),
        ([True] * 4, TypeError, "weights: expected real numbers, got bool"),
    ],
)
def test_other_weights_are_refused(loss: Any, weights: Any, kind: type[Exception], message: str) -> None:
    y = normal64(4, 3, 2)
    with pytest.raises(kind, match=f"^{message}"):
        loss(y, targets_for(loss, y.shape), weights=weights)


def test_loss_and_grad_weighs_within_lengths() -> None:
    x, targets = labelled()
    lengths = np.arange(N) % (T + 1)
    weights = np.random.default_rng(1).random((T, N))
    model = classifier()
    loss, _ = rf.loss_and_grad(model, "cross_entropy", x, targets, lengths=lengths, weights=weights)
    within = np.arange(T)[:, np.newaxis] < lengths
    again = classifier()
    want, _ = rf.loss_and_grad(again, "cross_entropy", x, targets, lengths=lengths, weights=weights * within)
    assert loss == want
    assert_equal(model.parameters()[0].grad, again.parameters()[0].grad)


def test_fit_takes_weights_of_arrays_and_of_batches() -> None:
    x, targets = labelled()
    weights = np.random.default_rng(1).random((T, N))
    one, other = classifier(), classifier()
    data = x, targets, {"weights": weights}
    whole = fit_quietly(one, data, batch_size=8, shuffle=False, epochs=2, validation=data)
    parts = [slice(0, 8), slice(8, 16), slice(16, 20)]
    cut = [(x[:, part], targets[:, part], {"weights": weights[:, part]}) for part in parts]
    batches = fit_quietly(other, cut, epochs=2, validation=cut)
    assert whole.loss == batches.loss
    assert whole.validation == batches.validation
    assert_equal(weights_of(one), weights_of(other))
    sums = [weights[:, part].sum() for part in parts]
    assert whole.loss[0] == pytest.approx(np.average(whole.batch_loss[:3], weights=sums))
    want = cross_entropy(one(x)[0], targets, weights=weights)[0]
    assert evaluate(one, "cross_entropy", data, batch_size=7) == pytest.approx(want)


def test_a_weight_for_each_sequence() -> None:
    x, _ = labelled()
    targets, weights = np.arange(N) % 3, np.arange(N) / N
    whole = []
    for kept in (slice(None), slice(1, None)):  # the first has weight 0
        model = rf.Sequential(rf.GRU(I, 4, rng=0), rf.Last(), rf.Linear(4, 3, rng=1))
        data = x[:, kept], targets[kept], {"weights": weights[kept]}
        fit_quietly(model, data, batch_size=None, epochs=3, shuffle=False)
        whole.append(weights_of(model))
    np.testing.assert_allclose(whole[0], whole[1], atol=1e-5)


def test_windows_cut_the_weights() -> None:
    x, targets = labelled()
    weights = np.random.default_rng(1).random((T, N))
    model = classifier()
    windows = [
        loss for loss, _ in rf.truncated_bptt(model, "cross_entropy", x, targets, 4, 4, weights=weights)
    ]
    y = model(x)[0]
    want = [cross_entropy(y[s], targets[s], weights=weights[s])[0] for s in (slice(0, 4), slice(4, 6))]
    assert windows == pytest.approx(want)
    history = fit_quietly(model, (x, targets, {"weights": weights}), truncate=(4, 4), batch_size=None)
    sums = weights[:4].sum(), weights[4:].sum()
    assert history.loss[0] == pytest.approx(np.average(history.batch_loss, weights=sums))


def test_a_run_with_weights_resumes_with_the_same_bits(tmp_path: Path) -> None:
    x, targets = labelled()
    data = x, targets, {"weights": np.random.default_rng(1).random((T, N))}
    want, stopped, resumed = classifier(), classifier(), classifier()
    whole = fit_quietly(want, data, batch_size=8, epochs=2)
    path = tmp_path / "run.npz"
    fit_quietly(
        stopped, data, batch_size=8, epochs=2, checkpoint=path,
        callbacks=[lambda run: run.stop() if run.step == 2 else None],
    )  # fmt: skip
    history = fit_quietly(resumed, data, batch_size=8, epochs=2, resume=path)
    assert_equal(weights_of(resumed), weights_of(want))
    assert history.loss[-1] == whole.loss[-1]


def test_fit_refuses_weights_that_do_not_fit_before_it_writes() -> None:
    x, targets = labelled()
    model, before = classifier(), weights_of(classifier())
    for weights, kind, message in (
        (np.ones(T), ValueError, r"^data\[2\]: weights: expected the shape of the targets"),
        (np.ones((T, N), bool), TypeError, r"^data\[2\]: weights: expected real numbers, got bool"),
    ):
        with pytest.raises(kind, match=message):
            fit_quietly(model, (x, targets, {"weights": weights}))
    assert_equal(weights_of(model), before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (-1.0, "weights: expected finite numbers of at least 0, got -1"),
        (np.nan, "weights: expected finite numbers of at least 0, got nan"),
        (1.7e308, "weights: expected weights whose sum is finite"),
    ],
)
def test_fit_refuses_the_last_weight_before_the_first_batch(wrong: float, message: str) -> None:
    x, targets = labelled()
    weights = np.ones(targets.shape)
    weights[:, -1] = wrong
    model, before = classifier(), weights_of(classifier())
    for options in ({}, {"validation": (x, targets, {"weights": weights})}):
        data = x, targets, {"weights": np.ones(targets.shape) if options else weights}
        name = "validation" if options else "data"
        with pytest.raises(ValueError, match=rf"^{name}\[2\]: {message}"):
            fit_quietly(model, data, batch_size=4, shuffle=False, **options)
        assert_equal(weights_of(model), before)


def test_weights_of_a_batch_whose_sum_is_infinite_are_refused_before_its_update() -> None:
    x, targets = labelled()
    model, before = classifier(), weights_of(classifier())
    with pytest.raises(ValueError, match=r"^weights: expected weights whose sum is finite"):
        fit_quietly(model, [(x, targets, {"weights": np.full(targets.shape, 1e308)})])
    assert_equal(weights_of(model), before)


@pytest.mark.parametrize("loss", ["ctc", partial(rf.losses.ctc, blank=1)])
def test_ctc_takes_no_weights(loss: Any) -> None:
    x, _ = labelled()
    data = x, np.full((N, 2), 2), {"weights": np.ones(N)}
    model, before = classifier(), weights_of(classifier())
    with pytest.raises(TypeError, match=r"^weights: expected none with the loss ctc, got "):
        rf.fit(model, loss, data, rf.optim.SGD(model.parameters(), lr=0.1), axes=(1, 0), progress=False)
    assert_equal(weights_of(model), before)


@pytest.mark.parametrize("by", ["mask", "lengths"])
def test_the_mean_of_an_epoch_counts_the_weights_that_are_kept(by: str) -> None:
    x, targets = labelled()
    rng = np.random.default_rng(3)
    weights, lengths = rng.random((T, N)), np.arange(N) % (T + 1)
    kept = np.arange(T)[:, np.newaxis] < lengths
    data = x, targets, {"weights": weights, **({"mask": kept} if by == "mask" else {"lengths": lengths})}
    history = fit_quietly(classifier(), data, batch_size=8, shuffle=False)
    parts = slice(0, 8), slice(8, 16), slice(16, 20)
    sums, all_sums = ([array[:, part].sum() for part in parts] for array in (weights * kept, weights))
    assert history.loss[0] == pytest.approx(np.average(history.batch_loss, weights=sums), rel=1e-12)
    assert history.loss[0] != pytest.approx(np.average(history.batch_loss, weights=all_sums), rel=1e-6)


def test_an_infinite_loss_of_weight_zero_warns_of_nothing() -> None:
    y = np.array([[-np.inf, 0.0], [1.0, 2.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = cross_entropy(y, [1, 0], weights=[0.0, 2.0])
    want = cross_entropy(y[1:], [0])
    assert got[0] == want[0]
    assert_equal(got[1][1:], want[1])
    assert not got[1][0].any()
