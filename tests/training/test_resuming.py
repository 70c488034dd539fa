"""Checkpoints of `fit`: a resumed run has the bits of an uninterrupted one; a wrong file changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import I, N, Streams, T, classifier, fit_quietly, labelled, whole_run

import rnnfast as rf
from rnnfast.training import Run, evaluate, read_checkpoint


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("way", ["whole", "stateful", "windows", "overlapping windows", "windows of lists"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_at: int, way: str) -> None:
    path = tmp_path / "run.npz"
    stateful = way in ("stateful", "windows of lists")
    batches: Any = labelled()
    if stateful:
        batches = [(x, targets, {"rng": 7}) for x, targets in Streams(3)]
    options = {
        "stateful": stateful,
        "truncate": {"windows": (4, 4), "overlapping windows": (2, 5), "windows of lists": (4, 5)}.get(way),
        "batch_size": 8,  # three batches an epoch
        "epochs": 4,
        "validation": Streams(2, seed=1) if stateful else labelled(1, 8),
        "schedule": rf.schedules.cosine(12),
    }

    def stop(run: Run) -> None:
        if run.event == "step" and run.step == stop_at:
            raise KeyboardInterrupt

    want = classifier(dropout=0.2)
    want_history = fit_quietly(want, batches, **options)
    first = classifier(dropout=0.2)
    history = fit_quietly(first, batches, callbacks=[stop], checkpoint=path, metadata={"a": 1}, **options)
    assert history.interrupted
    assert history.step[-1] == stop_at

    second = classifier(dropout=0.2)
    for param in second.parameters():
        param.data[...] = 9.0
    history = fit_quietly(
        second, batches, resume=path, checkpoint=path, metadata={"a": 1}, **{**options, "rng": 99}
    )
    assert np.array_equal(weights_of(second), weights_of(want))
    for column in ("step", "loss", "validation", "lr", "batch_loss", "stopped"):
        assert getattr(history, column) == getattr(want_history, column), column
    assert history.seconds == sorted(history.seconds)
    third = classifier()
    assert rf.load(path, third)["a"] == 1
    assert np.array_equal(weights_of(third), weights_of(want))
    again = classifier()
    history = fit_quietly(again, batches, resume=path, **options)  # there is nothing left to do
    assert history.loss == want_history.loss
    assert np.array_equal(weights_of(again), weights_of(want))


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (3, 5), (6, 6), (9, 9)])
def test_truncated_runs_make_the_updates_of_truncated_bptt(k1: int, k2: int) -> None:
    x, targets = labelled()
    lengths = np.random.default_rng(2).integers(1, T + 1, N)
    mask = np.random.default_rng(3).random((T, N)) < 0.7
    got, want = classifier(dropout=0.2), classifier(dropout=0.2)
    history = fit_quietly(
        got, [(x, targets, {"lengths": lengths, "mask": mask})], truncate=(k1, k2), epochs=2
    )

    optimizer = rf.optim.Adam(want.parameters(), lr=0.02)
    losses = []
    for _ in range(2):
        windows = rf.truncated_bptt(
            want, rf.losses.cross_entropy, x, targets, k1, k2, lengths=lengths, mask=mask
        )
        for loss, _ in windows:
            optimizer.step()
            losses.append(loss)
    assert np.array_equal(weights_of(got), weights_of(want))
    assert history.batch_loss == losses
    assert history.step == [len(losses) // 2, len(losses)]
    counts = [mask[t : t + k1] & (np.arange(T)[t : t + k1, None] < lengths) for t in range(0, T, k1)]
    first = losses[: len(counts)]
    assert history.loss[0] == pytest.approx(np.average(first, weights=[count.sum() for count in counts]))


def test_a_window_in_which_nothing_counts_leaves_the_weights() -> None:
    x, targets = labelled()
    seen_weights = []
    fit_quietly(
        model := classifier(),
        [(x, targets, {"lengths": np.full(N, 2)})],
        truncate=(2, 2),
        callbacks=[lambda run: seen_weights.append(weights_of(model)) if run.event == "step" else None],
    )
    assert len(seen_weights) == 3
    assert np.array_equal(seen_weights[0], seen_weights[2])


def test_evaluation_in_windows_is_that_of_whole_sequences() -> None:
    model = classifier(dropout=0.2)
    x, targets = labelled()
    batches = [(x, targets, {"lengths": np.arange(N) % (T + 1), "rng": 3})]
    whole = evaluate(model, rf.losses.cross_entropy, batches)
    assert evaluate(model, rf.losses.cross_entropy, batches, truncate=(4, 5)) == pytest.approx(whole)
    assert evaluate(model, rf.losses.cross_entropy, (x, targets), truncate=(1, 1)) == pytest.approx(
        evaluate(model, rf.losses.cross_entropy, (x, targets))
    )


def test_the_updates_of_an_epoch_are_counted_before_it() -> None:
    seen_counts = set()
    fit_quietly(
        classifier(),
        labelled(),
        batch_size=8,
        truncate=(4, 4),
        callbacks=[lambda run: seen_counts.add(run.batches)],
    )
    assert seen_counts == {6}


def test_a_checkpoint_holds_the_best_weights_and_the_last(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    last = []

    def spoil(run: Run) -> None:
        if run.event == "step" and run.epoch == 1:
            for param in run.model.parameters():
                param.data += 1.0
            last.append(weights_of(run.model))

    model, history = whole_run(path, epochs=2, validation=labelled(1), callbacks=[spoil])
    assert history.validation[1] > history.validation[0]
    best = classifier()
    rf.load(path, best)
    assert np.array_equal(weights_of(best), weights_of(model))
    arrays, _ = read_checkpoint(path)
    kept = np.concatenate([array.ravel() for name, array in arrays.items() if name.startswith("last.")])
    assert np.array_equal(kept, last[-1])
    resumed = classifier(dropout=0.2)
    fit_quietly(resumed, labelled(), epochs=2, batch_size=8, validation=labelled(1), resume=path)
    assert np.array_equal(weights_of(resumed), weights_of(model))


def test_a_checkpoint_is_written_after_each_epoch_and_now_and_then_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.npz"
    steps = []

    def note(run: Run) -> None:
        if run.event != "start":
            steps.append(read_checkpoint(path)[1]["fit"]["step"] if path.exists() else None)

    whole_run(path, epochs=2, callbacks=[note])  # step, step, step, epoch, ...
    assert steps == [None, None, None, 3, 3, 3, 3, 6, 6]
    steps.clear()
    monkeypatch.setattr(sys.modules["rnnfast.training.fit"], "_SAVE_SECONDS", 0.0)
    whole_run(path, epochs=1, callbacks=[note])
    assert steps == [6, 1, 2, 3, 3]


def test_resuming_keeps_the_settings_of_the_given_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    whole_run(path, epochs=1, schedule=rf.schedules.step(1))
    model = classifier(dropout=0.2)
    optimizer = rf.optim.Adam(model.parameters(), lr=0.007, betas=(0.5, 0.6))
    assert rf.load(path, model, rf.optim.Adam(model.parameters()))["fit"]["step"] == 3
    history = fit_quietly(model, labelled(), optimizer, batch_size=8, epochs=2, resume=path)
    assert history.lr[1] == optimizer.lr == 0.007
    assert optimizer.betas == (0.5, 0.6)
    other = rf.optim.Adam(model.parameters())
    rf.load(path, model, other)
    assert other.lr == 0.05


def test_checkpoints_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    path, plain = tmp_path / "run.npz", tmp_path / "plain.npz"

    def stop(run: Run) -> None:
        if run.step == 1:
            run.stop()

    whole_run(path, callbacks=[stop], validation=labelled(1))
    arrays, metadata = read_checkpoint(path)
    rf.save(plain, classifier(), rf.optim.Adam(classifier().parameters()))
    no_optimizer = tmp_path / "no optimizer.npz"
    kept = {name: array for name, array in arrays.items() if not name.startswith("optimizer.")}
    rf.training.write_checkpoint(no_optimizer, kept, metadata)
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (plain, {}, "holds no run to resume"),
        (no_optimizer, {}, "holds no optimizer state"),
        (path, {"batch_size": 4}, r"expected the data it was made with \(3 batches an epoch\), got 5"),
    ]
    for number, (key, value) in enumerate(
        [
            ("step", -1),
            ("epoch", "x"),
            ("rows", {}),
            ("rows", 3),
            ("masks", []),
            ("best", "x"),
            ("state", [7]),
        ]
    ):
        damaged = tmp_path / f"damaged{number}.npz"
        rf.training.write_checkpoint(damaged, arrays, metadata | {"fit": metadata["fit"] | {key: value}})
        cases.append((damaged, {}, "the run it holds is damaged"))
    last = tmp_path / "last.npz"
    rf.training.write_checkpoint(last, arrays | {"last.x": np.ones(3)}, metadata)
    cases.append((last, {}, "does not fit the model: missing last.0.weight_ih_l0"))
    for file, options, message in cases:
        model = classifier(dropout=0.2)
        before = weights_of(model)
        optimizer = rf.optim.Adam(model.parameters())
        with pytest.raises(ValueError, match=message) as caught:
            fit_quietly(model, labelled(), optimizer, resume=file, **{"batch_size": 8, **options})
        assert str(caught.value).startswith(f"{file}: ")
        assert np.array_equal(weights_of(model), before)
        assert not optimizer.state_dict()["steps"].any()


def test_a_state_of_another_form_is_refused_for_a_checkpoint(tmp_path: Path) -> None:
    class Odd(rf.Linear):
        def forward(self, x: Any, state: Any = None) -> Any:
            y, _, tape = super().forward(x)
            return y, {"a": 1}, tape

    model = Odd(I, 3)
    x, targets = labelled()
    with pytest.raises(TypeError, match="state: expected arrays, tuples and None, got dict"):
        fit_quietly(model, [(x, targets)], stateful=True, checkpoint=tmp_path / "run.npz")
