"""Batches in shards: the gradient is the sum of the shards', each times its part of the mean loss."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import I, N, Streams, T, classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.training import evaluate
from rnnfast.training.batches import Batch, seed_of_shard
from rnnfast.training.flat import FlatGradients, Term
from rnnfast.training.grad import counted_by


def gradient(data: Any, shards: int, loss: Any = "cross_entropy", model: Any = None, **options: Any) -> Any:
    """The gradient of the first update of `rf.fit`, its loss and its weight."""
    model = model or classifier(dtype="float64")
    optimizer = rf.optim.SGD(model.parameters(), lr=1.0)
    before = weights_of(model)
    history = fit_quietly(model, [data], optimizer, loss, shards=shards, **options)
    return before - weights_of(model), history.batch_loss[0]


def ragged(kind: str) -> Any:
    """A batch of twenty sequences of which some steps or labels do not count."""
    x, targets = labelled()
    rng = np.random.default_rng(5)
    lengths = np.sort(rng.integers(0, T + 1, N))  # shards differ in what counts
    mask = rng.random((T, N)) < np.linspace(0.1, 1.0, N)
    if kind == "ignored":
        return x, np.where(mask, targets, -100)
    return (
        x,
        targets,
        {"plain": {}, "lengths": {"lengths": lengths}, "mask": {"mask": mask}}.get(
            kind, {"lengths": lengths, "mask": mask, "reset": rng.random((T, N)) < 0.2}
        ),
    )


@pytest.mark.parametrize("shards", [2, 3, 7, 20, 33])
@pytest.mark.parametrize("kind", ["plain", "lengths", "mask", "all", "ignored", "weights"])
def test_the_gradient_is_that_of_the_whole_batch(kind: str, shards: int) -> None:
    got, loss = gradient(ragged(kind), shards)
    want, whole = gradient(ragged(kind), 1)
    assert loss == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(got, want, atol=1e-13)


def test_the_gradient_is_the_sum_in_order_of_the_shards() -> None:
    x, targets, keywords = ragged("lengths")
    model = classifier()
    want: dict[str, np.ndarray] = {}
    lengths = keywords["lengths"]
    shares = [lengths[low : low + 5].sum() / lengths.sum() for low in range(0, N, 5)]
    for low, share in zip(range(0, N, 5), shares, strict=True):
        rows = slice(low, low + 5)
        grads: dict[str, np.ndarray] = {}
        part = x[:, rows], targets[:, rows]
        rf.loss_and_grad(model, "cross_entropy", *part, lengths=lengths[rows], grads=grads)
        for name, grad in grads.items():
            term = np.float32(share) * grad
            want[name] = want[name] + term if name in want else term
    fit_quietly(model, [ragged("lengths")], rf.optim.SGD(model.parameters(), lr=0.1), shards=4)
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.grad, want[name]), name


@pytest.mark.parametrize("way", ["whole", "stateful", "windows"])
def test_one_shard_has_the_bits_of_no_shards(way: str) -> None:
    options = {"stateful": way == "stateful", "truncate": (2, 4) if way == "windows" else None}
    data = Streams(3) if way == "stateful" else labelled()
    got, want = classifier(dropout=0.3), classifier(dropout=0.3)
    first = fit_quietly(got, data, epochs=2, shards=1, clip_norm=0.5, **options)
    second = fit_quietly(want, data, epochs=2, clip_norm=0.5, **options)
    assert np.array_equal(weights_of(got), weights_of(want))
    assert first.batch_loss == second.batch_loss


@pytest.mark.parametrize("shards", [2, 5])
def test_windows_and_states_are_those_of_the_whole_batch(shards: int) -> None:
    lengths = np.array([1, 4, T, 3])
    batches = [(x, targets, {"lengths": lengths}) for x, targets in Streams(3)]
    found = []
    for count in (1, shards):
        model = classifier(dtype="float64")
        optimizer = rf.optim.SGD(model.parameters(), lr=0.3)
        options = {"stateful": True, "truncate": (2, 5), "validation": Streams(2, seed=1)}
        history = fit_quietly(model, batches, optimizer, shards=count, epochs=2, **options)
        found.append([weights_of(model), history.batch_loss, history.validation, history.loss])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_ctc_counts_sequences_not_steps() -> None:
    x, _ = labelled()
    lengths = np.concatenate([np.full(10, T), np.full(9, 2), [0]])
    labels = [np.full(n % 2, 1) for n in range(N)]
    data = x, labels, {"lengths": lengths}
    got, want = gradient(data, 4, "ctc"), gradient(data, 1, "ctc")
    assert got[1] == pytest.approx(want[1], rel=1e-12)
    np.testing.assert_allclose(got[0], want[0], atol=1e-13)
    loss = partial(partial(rf.losses.ctc, blank=0), batch_first=True)
    within = np.arange(T) < lengths[:, np.newaxis]
    assert counted_by(loss, labels, within) == N - 1
    assert counted_by(loss, labels, None) == N


def test_a_loss_with_options_counts_as_it_ignores() -> None:
    loss = partial(rf.losses.cross_entropy, ignore_index=2)
    targets = np.array([[0, 1, 2], [2, 2, -100]])
    assert counted_by(loss, targets, None) == 3
    assert counted_by(loss, targets, np.array([True, False])) == 2
    assert counted_by(rf.losses.mse, np.ones((2, 3)), np.array([True, False])) == 3


def test_the_whole_batch_masked_leaves_the_weights() -> None:
    x, targets = labelled()
    got, loss = gradient((x, targets, {"lengths": np.zeros(N, int)}), 4)
    assert loss == 0.0
    assert not got.any()


def test_each_shard_has_masks_of_its_own() -> None:
    """Shard 0 has those of the whole batch, others of other seeds; the count of calls goes on by one."""
    model = rf.Sequential(rf.Dropout(0.5, rng=2), rf.Linear(I, 1, rng=1, bias=False))
    seed = model[0].mask_seed
    seen = []

    def loss(y: np.ndarray, targets: np.ndarray) -> Any:
        seen.append((model[0].mask_seed, model[0].mask_calls))
        return 0.0, np.zeros_like(y)

    x = np.ones((6, I), np.float32)
    fit_quietly(model, [(x, x[:, :1])] * 2, loss=loss, shards=3)
    seeds = [seed_of_shard(seed, shard) for shard in range(3)]
    assert seeds[0] == seed
    assert len(set(seeds)) == 3
    assert seen == [(own, calls) for calls in (1, 2) for own in seeds]
    assert (model[0].mask_seed, model[0].mask_calls) == (seed, 2)


def test_a_seed_of_the_batch_gives_each_shard_its_own() -> None:
    x = np.ones((4, 6, I), np.float32)
    keywords = {"rng": np.random.default_rng(3)}
    first = int(np.random.default_rng(3).integers(2**63))
    parts = Batch(classifier(), x, x, keywords).shards(3, range(3)).parts
    assert [part.keywords["rng"] for part in parts] == [seed_of_shard(first, n) for n in range(3)]
    own = Batch(classifier(), x, x, {"rng": 7}).shards(3, range(1, 3)).parts
    assert [part.keywords["rng"] for part in own] == [seed_of_shard(7, n) for n in (1, 2)]


def test_validation_in_shards_is_the_mean_over_everything() -> None:
    model = classifier(dtype="float64")
    held_out = [ragged("all"), ragged("ignored")]
    history = fit_quietly(model, [ragged("plain")], validation=held_out, shards=3)
    assert history.validation[0] == pytest.approx(evaluate(model, "cross_entropy", held_out), rel=1e-12)


def test_arrays_of_batch_first_models_are_cut_along_their_own_axes() -> None:
    x, targets = (array.swapaxes(0, 1).copy() for array in labelled())
    found = []
    for shards in (1, 3):
        model = classifier(batch_first=True, dtype="float64")
        fit_quietly(model, (x, targets, {"lengths": np.arange(N) % T}), batch_size=7, shards=shards)
        found.append(weights_of(model))
    np.testing.assert_allclose(*found, atol=1e-12)


def test_a_parameter_without_a_gradient_keeps_none() -> None:
    class Half(rf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = rf.Linear(I, 1, rng=0)
            self.unused = rf.Parameter(np.ones(2, np.float32))

        def forward(self, x: Any, state: Any = None) -> Any:
            return self.used.forward(x)

        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            return self.used.backward(tape, dy)

    model = Half()
    x = np.ones((4, I), np.float32)
    fit_quietly(model, [(x, x[:, :1])], rf.optim.SGD(model.parameters(), weight_decay=0.5), "mse", shards=2)
    assert model.unused.grad is None
    assert (model.unused.data == 1.0).all()


def own_mean(y: np.ndarray, targets: np.ndarray, mask: Any = None) -> tuple[float, np.ndarray]:
    """The mean of y over what counts: NaN where nothing does."""
    mask = np.ones(y.shape[:2], bool) if mask is None else mask
    with np.errstate(all="ignore"):
        scale = np.true_divide(1.0, mask.sum())
        factors = (mask * scale)[..., np.newaxis]
        return float((y * factors).sum()), np.broadcast_to(factors, y.shape).astype(y.dtype)


@pytest.mark.parametrize("truncate", [None, (2, 2)])
def test_a_shard_in_which_nothing_counts_may_have_a_loss_of_nan(truncate: Any) -> None:
    x, targets = labelled()
    keywords = {"lengths": np.repeat([1, T], N // 2), "mask": np.arange(T * N).reshape(T, N) % 20 > 4}
    data = x, targets, keywords
    found = []
    for shards in (1, 4):
        model = classifier(dtype="float64")
        optimizer = rf.optim.SGD(model.parameters(), lr=0.1)
        options = {"validation": [data], "shards": shards, "truncate": truncate}
        history = fit_quietly(model, [data], optimizer, own_mean, **options)
        found.append([weights_of(model), history.batch_loss, history.validation])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10)


def test_nothing_that_counts_is_an_update_of_zeros() -> None:
    x, targets = labelled()
    model = classifier()
    before = weights_of(model)
    history = fit_quietly(model, [(x, targets, {"lengths": np.zeros(N, int)})], loss=own_mean, shards=4)
    assert history.batch_loss == [0.0]
    assert np.array_equal(weights_of(model), before)
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_states_are_not_given_to_rows_in_other_shards() -> None:
    """Rows 0 and 1 of a batch of two are in shards 1 and 3: those of rows 1 and 3 of a batch of four."""
    x, targets = labelled()
    batches = [(x[:, :2], targets[:, :2]), (x[:, :4], targets[:, :4])]
    options = {"stateful": True, "shards": 4}
    for given in (batches, batches[::-1]):
        with pytest.raises(
            ValueError, match="data: expected batches of one number of sequences while states"
        ):
            fit_quietly(classifier(), given, **options)
        with pytest.raises(ValueError, match="validation: expected batches of one number of sequences while"):
            fit_quietly(classifier(), batches[:1], validation=given, **options)
    fit_quietly(classifier(), batches, shards=4, truncate=(2, 3), validation=batches)
    linear = rf.Linear(I, 3, rng=0)
    fit_quietly(linear, batches, **options, axes=(1, 1))


def test_a_resumed_run_refuses_rows_in_other_shards(tmp_path: Path) -> None:
    x, targets = labelled()
    batches = [(x[:, :2], targets[:, :2]), (x[:, :2], targets[:, :2])]
    path = tmp_path / "run.npz"
    options = {"stateful": True, "shards": 4}
    fit_quietly(classifier(), batches, checkpoint=path, callbacks=[stop_at(1)], **options)
    with pytest.raises(ValueError, match="got one of 20 after one that fills 2 of 4 shards"):
        fit_quietly(classifier(), [labelled()] * 2, resume=path, **options)


def stop_at(step: int) -> Any:
    def callback(run: Any) -> None:
        if run.event == "step" and run.step == step:
            run.stop()

    return callback


@pytest.mark.parametrize("step", [3, 5])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_run_resumes_within_a_later_batch_of_windows(shards: int, step: int, tmp_path: Path) -> None:
    """Three batches of two windows each."""
    path = tmp_path / "run.npz"
    options = {"shards": shards, "truncate": (4, 4), "batch_size": 7, "epochs": 2}
    want, got = classifier(), classifier()
    whole = fit_quietly(want, labelled(), **options)
    fit_quietly(classifier(), labelled(), checkpoint=path, callbacks=[stop_at(step)], **options)
    resumed = fit_quietly(got, labelled(), resume=path, **options)
    assert np.array_equal(weights_of(got), weights_of(want))
    assert resumed.batch_loss == whole.batch_loss


def test_a_generator_is_drawn_once_for_a_batch() -> None:
    rng, want = np.random.default_rng(3), np.random.default_rng(3)
    batches = [(*labelled(), {"rng": rng})] * 2
    fit_quietly(classifier(dropout=0.2), batches, shards=2, truncate=(2, 2))
    want.integers(2**63, size=2)
    assert rng.integers(2**63) == want.integers(2**63)


def test_reset_is_cut_along_the_batch_axis_of_x() -> None:
    """With `Last`, the targets have another one."""
    x, targets = labelled()
    reset = np.random.default_rng(5).random((T, N)) < 0.3
    found = []
    for shards in (1, 3):
        parts = rf.GRU(I, 4, rng=1, dtype="float64"), rf.Last(), rf.Linear(4, 3, rng=2, dtype="float64")
        found.append(gradient((x, targets[-1], {"reset": reset}), shards, model=rf.Sequential(*parts)))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-13)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-12)


@pytest.mark.parametrize("shards", [1, 3])
def test_the_targets_of_all_shards_are_counted(shards: int) -> None:
    seen = []
    fit_quietly(classifier(), labelled(), shards=shards, callbacks=[lambda run: seen.append(run.targets)])
    assert seen[-1] == T * N


def test_a_parameter_that_one_shard_lacks_has_the_gradient_of_the_others() -> None:
    model = rf.Linear(2, 1, rng=0, bias=False)
    flat = FlatGradients(model)
    (name,) = dict(model.named_parameters())
    parts = [flat.packed({}), flat.packed({name: np.ones((1, 2), np.float32)})]
    flat.set_sum([Term(0.5, missing, arrays) for arrays, missing in parts])
    assert model.weight.grad.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (labelled(), {"shards": 0}, "shards: expected at least 1, got 0"),
        ([(*labelled(), {"lengths": np.ones(3, int)})], {}, "lengths: expected 20 sequences along axis 0"),
        ([(*labelled(), {"mask": np.ones(T, bool)})], {}, r"mask: expected 20 sequences along axis 1"),
        ([(labelled()[0], labelled()[1][:, :3])], {}, "targets: expected 20 sequences along axis"),
        ([(labelled()[0][:, 0], labelled()[1][:, 0])], {}, "x: expected a batch of sequences, which shards"),
        ([(*labelled(), {"grads": {}})], {}, "grads: expected none where batches are cut into shards"),
        ([(labelled()[0], list(labelled()[1][:, :3]))], {}, "targets: expected 20 .* got 6"),
        ([labelled()], {"axes": (7, 0)}, r"x: expected a batch axis 7, got shape \(6, 20, 2\)"),
    ],
)
def test_what_cannot_be_cut_is_refused(data: Any, options: dict[str, Any], message: str) -> None:
    model = classifier()
    before = weights_of(model)
    with pytest.raises(ValueError, match=message):
        fit_quietly(model, data, **{"shards": 2, **options})
    assert np.array_equal(weights_of(model), before)
