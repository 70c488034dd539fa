"""Keywords with the arrays of `fit`; losses by name, or that return something else; padding; settings."""

from __future__ import annotations

import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from training.runs import fit_quietly

import rnnfast as rf
from rnnfast.training import evaluate, read_checkpoint, write_checkpoint

T, N, I, H = 7, 20, 2, 5
fit_mse = partial(fit_quietly, loss="mse")


def tagger(batch_first: bool = False) -> rf.Sequential:
    return rf.Sequential(rf.GRU(I, H, batch_first=batch_first, rng=0), rf.Linear(H, 1, rng=1))


def last_step_classifier() -> rf.Sequential:
    return rf.Sequential(rf.GRU(I, H, rng=0), rf.Last(), rf.Linear(H, 3, rng=1))


def padded() -> tuple[np.ndarray, np.ndarray]:
    """Sequences of several lengths with zeros behind them."""
    lengths = np.random.default_rng(3).integers(1, T + 1, N)
    lengths[:3] = T, 2, 3
    x = normal(T, N, I)
    x[np.arange(T)[:, np.newaxis] >= lengths] = 0
    return x, lengths


# Keywords


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("how", [{}, {"truncate": (2, 3)}, {"stateful": True, "batch_size": 5}])
def test_lengths_resets_and_masks_are_cut_with_the_sequences(batch_first: bool, how: dict[str, Any]) -> None:
    x, lengths = padded()
    reset, mask = normal(T, N) > 1, normal(T, N, seed=1) > -1
    targets = normal(T, N, 1, seed=2)
    x[np.arange(T)[:, np.newaxis] >= lengths] = np.nan  # nothing behind an end is read
    if batch_first:
        x, targets, reset, mask = (np.swapaxes(array, 0, 1).copy() for array in (x, targets, reset, mask))
    keywords = {"lengths": lengths, "reset": reset, "mask": mask}
    size = how.get("batch_size", 6)

    def batches(_: int) -> Any:
        for low in range(0, N, size):
            rows = slice(low, low + size)
            across = rows if batch_first else (slice(None), rows)
            yield (
                x[across],
                targets[across],
                {"lengths": lengths[rows], "reset": reset[across], "mask": mask[across]},
            )

    mine, other = tagger(batch_first), tagger(batch_first)
    options = {"epochs": 2, "clip_norm": 1.0, "shuffle": False, **how}
    got = fit_mse(
        mine, (x, targets, keywords), **{"batch_size": size, **options}, validation=(x, targets, keywords)
    )
    want = fit_mse(other, batches, **options, validation=batches)
    assert got.batch_loss == want.batch_loss
    assert got.validation == want.validation
    assert math.isfinite(got.validation[0])
    for name, array in mine.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])
    assert evaluate(mine, "mse", (x, targets, keywords), **how) == pytest.approx(min(got.validation))


def test_shuffled_lengths_stay_with_their_sequences() -> None:
    x, lengths = padded()
    targets = lengths % 3
    x[np.arange(T)[:, np.newaxis] >= lengths] = np.nan
    history = fit_quietly(last_step_classifier(), (x, targets, {"lengths": lengths}), epochs=3, batch_size=4)
    assert np.isfinite(history.batch_loss).all()


def test_other_keywords_reach_every_batch() -> None:
    x, targets = normal(T, N, I), normal(T, N, 1)
    one, other = tagger(), tagger()
    fit_mse(one, (x, targets, {"checkpoint": 2, "lengths": None}))
    fit_mse(other, (x, targets, {"checkpoint": 2}))
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        (3, TypeError, r"data\[2\]: expected keywords as a dict, got int"),
        ({"length": [1]}, TypeError, "length: expected a keyword Sequential takes"),
        ({"lengths": [1]}, ValueError, r"data\[2\]: lengths: expected shape \[20\], got \(1,\)"),
        ({"lengths": [T + 1] * N}, ValueError, r"data\[2\]: lengths: expected 0 to T = 7, got 8"),
        ({"lengths": [1.0] * N}, TypeError, r"data\[2\]: lengths: expected an integer dtype"),
        ({"reset": np.zeros((N, T), bool)}, ValueError, r"data\[2\]: reset: expected shape \[7, 20\]"),
        ({"reset": np.zeros((T, N))}, TypeError, r"data\[2\]: reset: expected dtype bool"),
        ({"mask": np.zeros((T, N))}, TypeError, r"data\[2\]: mask: expected bool"),
        ({"mask": np.zeros(T, bool)}, ValueError, r"data\[2\]: mask: expected the shape of the targets"),
    ],
)
def test_keywords_that_do_not_fit_are_refused_before_anything_is_written(
    keywords: Any, kind: Any, message: str
) -> None:
    model = tagger()
    before = model.state_dict()
    with pytest.raises(kind, match=f"^{message}"):
        fit_mse(model, (normal(T, N, I), normal(T, N, 1), keywords))
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(TypeError, match=r"^data: expected the keywords of a batch as a dict, got ndarray"):
        fit_mse(model, [(normal(T, N, I), normal(T, N, 1), np.ones(N))])


# Losses


def test_losses_may_be_named() -> None:
    x, targets = normal(T, N, I), normal(T, N, 1)
    by_name, by_function = tagger(), tagger()
    assert (
        fit_mse(by_name, (x, targets)).loss == fit_quietly(by_function, (x, targets), loss=rf.losses.mse).loss
    )
    model = tagger()
    assert rf.loss_and_grad(model, "mse", x, targets)[0] == evaluate(
        model, "mse", (x, targets), batch_size=None
    )
    assert len(list(rf.truncated_bptt(model, "mse", x, targets, k1=3, k2=4))) == 3
    assert rf.probe(model, "mse", x, targets).loss > 0
    for call in (
        lambda: rf.loss_and_grad(model, "l2", x, targets),
        lambda: rf.truncated_bptt(model, "l2", x, targets, 1, 1),
        lambda: fit_quietly(model, (x, targets), loss="l2"),
        lambda: evaluate(model, "l2", (x, targets)),
        lambda: rf.probe(model, "l2", x, targets),
    ):
        with pytest.raises(
            ValueError,
            match=r"^loss: expected a function or one of binary_cross_entropy, cross_entropy, "
            "ctc, huber, mae, mse, got 'l2'",
        ):
            call()


@pytest.mark.parametrize(
    ("loss", "kind", "message"),
    [
        (lambda y, t: 0.5, TypeError, r"expected it to return \(float, dy\), .*, got float$"),
        (lambda y, t: (0.5, y, y), TypeError, r"expected it to return \(float, dy\), .*, got 3 of them$"),
        (lambda y, t: y, TypeError, r"expected it to return \(float, dy\), .*, got ndarray$"),
        (lambda y, t: (y, 0.5), TypeError, r"expected a number as the first of \(float, dy\), got ndarray$"),
        (lambda y, t: (0.5, y[:1]), ValueError, r"expected dy of y's shape \(7, 20, 1\), got \(1, 20, 1\)$"),
    ],
)
def test_a_loss_that_returns_something_else_is_named(loss: Any, kind: Any, message: str) -> None:
    model, x, targets = tagger(), normal(T, N, I), normal(T, N, 1)
    for call in (
        lambda: rf.loss_and_grad(model, loss, x, targets),
        lambda: next(rf.truncated_bptt(model, loss, x, targets, T, T)),
        lambda: fit_quietly(model, (x, targets), loss=loss),
        lambda: evaluate(model, loss, (x, targets)),
        lambda: rf.probe(model, loss, x, targets),
        lambda: rf.check_gradients(model, loss, x, targets),
    ):
        with pytest.raises(kind, match=f"^loss: {message}"):
            call()
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


# Padding


def caught(call: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in found]


def test_padding_in_front_of_last_without_lengths_warns_once() -> None:
    x, lengths = padded()
    targets = lengths % 3
    model = last_step_classifier()
    for first in (
        lambda: rf.loss_and_grad(model, "cross_entropy", x, targets),
        lambda: fit_quietly(last_step_classifier(), (x, targets), epochs=2, batch_size=None),
    ):
        (message,) = caught(first)
        assert message.startswith("x: some sequences end in steps of zeros, which looks like padding")
    assert not caught(lambda: rf.loss_and_grad(model, "cross_entropy", x, targets))  # once for a model
    tokens = np.where((x == 0).all(axis=2), 0, 1 + np.arange(N) % 4)
    words = rf.Sequential(rf.Embedding(6, I, rng=2), *last_step_classifier())
    assert len(caught(lambda: rf.loss_and_grad(words, "cross_entropy", tokens, targets))) == 1
    swapped = rf.Sequential(
        rf.GRU(I, H, batch_first=True, rng=0), rf.Last(batch_first=True), rf.Linear(H, 3, rng=1)
    )
    assert len(caught(lambda: rf.loss_and_grad(swapped, "cross_entropy", x.swapaxes(0, 1), targets))) == 1


def test_data_that_may_be_unpadded_gives_no_warning() -> None:
    x, lengths = padded()
    targets = lengths % 3
    some = x.copy()
    some[0, 1] = 0  # a step of zeros among others: zeros are data
    equal = normal(T, N, I)
    equal[-3:] = 0  # all end alike: a delay
    single = normal(T, N, I)
    single[-1, ::2] = 0
    for data in (some, equal, single, normal(T, N, I), np.zeros((T, N, I), np.float32)):
        assert not caught(
            lambda data=data: rf.loss_and_grad(last_step_classifier(), "cross_entropy", data, targets)
        )
    for model, how, wanted in (
        (last_step_classifier(), {"lengths": lengths}, targets),
        (rf.Sequential(*list(last_step_classifier())[::2]), {}, np.zeros((T, N), int)),
    ):
        assert not caught(lambda m=model, h=how, w=wanted: rf.loss_and_grad(m, "cross_entropy", x, w, **h))


# Settings at resuming


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_norm": 2.0}, r"expected clip_norm=1\.0, which its run was made with, got 2\.0"),
        ({"clip_norm": None}, r"expected clip_norm=1\.0, which its run was made with, got None"),
        ({"batch_size": 10}, "expected batch_size=5, which its run was made with, got 10"),
        ({"shuffle": False}, "expected shuffle=True, which its run was made with, got False"),
        ({"shuffle": False, "stateful": True}, "expected (shuffle|stateful)="),
        ({"truncate": (2, 2)}, r"expected truncate=\[3, 4\], which its run was made with, got \[2, 2\]"),
        ({"axes": (1, 1)}, r"expected axes=None, which its run was made with, got \[1, 1\]"),
    ],
)
def test_settings_that_change_at_resuming_are_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    data, path = (normal(T, N, I), normal(T, N, 1)), tmp_path / "run.npz"
    options = {"clip_norm": 1.0, "batch_size": 5, "truncate": (3, 4)}
    fit_mse(tagger(), data, **options, checkpoint=path, epochs=1)
    model = tagger()
    before = model.state_dict()
    with pytest.raises(ValueError, match=rf"run\.npz: {message}"):
        fit_mse(model, data, **{**options, **change}, resume=path, epochs=2)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    fit_mse(model, data, **options, resume=path, epochs=2, minutes=9.0, schedule=rf.schedules.step(3))


@pytest.mark.parametrize("value", [2.0, None])
def test_another_clip_value_at_resuming_is_named(tmp_path: Path, value: float | None) -> None:
    data, path = (normal(T, N, I), normal(T, N, 1)), tmp_path / "run.npz"
    fit_mse(tagger(), data, clip_value=1.0, checkpoint=path, epochs=1)
    with pytest.raises(ValueError, match=rf"expected clip_value=1\.0, which its run .*, got {value}"):
        fit_mse(tagger(), data, clip_value=value, resume=path, epochs=2)


def test_checkpoints_without_settings_can_be_resumed(tmp_path: Path) -> None:
    data, path = (normal(T, N, I), normal(T, N, 1)), tmp_path / "run.npz"
    fit_mse(tagger(), data, checkpoint=path, epochs=1)
    arrays, metadata = read_checkpoint(path)
    del metadata["fit"]["settings"]
    write_checkpoint(path, arrays, metadata)
    assert len(fit_mse(tagger(), data, resume=path, epochs=2, clip_norm=1.0).loss) == 2
    write_checkpoint(path, arrays, {"fit": {**metadata["fit"], "settings": 3}})
    with pytest.raises(ValueError, match=r"run\.npz: the run it holds is damaged \(settings 3\)"):
        fit_mse(tagger(), data, resume=path, epochs=2)
