"""The promises of training: gradients, batches, validation, resuming bit for bit, Ctrl-C, progress."""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import FINITE_DIFFERENCES, error

import rnnfast as rf
from rnnfast.training import History, Run, evaluate, read_checkpoint

T, N, I, H = 6, 20, 2, 5


def build(dropout: float = 0.0, dtype: str = "float32", **options: Any) -> rf.Sequential:
    return rf.Sequential(
        rf.GRU(I, H, rng=1, dtype=dtype, **options),
        rf.Dropout(dropout, rng=2),
        rf.Linear(H, 3, dtype=dtype, rng=3),
    )


def data(seed: int = 0, sequences: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Sequences, and at each step which of three ranges their running sum is in."""
    x = np.random.default_rng(seed).normal(size=(T, sequences, I)).astype(np.float32)
    return x, np.digitize(x.sum(axis=2).cumsum(axis=0), [-1.0, 1.0])


class Streams:
    """Windows of parallel streams, for stateful training."""

    def __init__(self, windows: int = 7, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.x = rng.normal(size=(windows * T, 4, I)).astype(np.float32)
        self.targets = np.digitize(self.x.sum(axis=2), [-1.0, 1.0])

    def __len__(self) -> int:
        return len(self.x) // T

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for low in range(0, len(self.x), T):
            yield self.x[low : low + T], self.targets[low : low + T]


def fit(model: rf.Sequential, batches: Any, optimizer: Any = None, **options: Any) -> Any:
    """`rf.fit` with what most tests have in common."""
    optimizer = optimizer or rf.optim.Adam(model.parameters(), lr=0.02)
    return rf.fit(
        model, rf.losses.cross_entropy, batches, optimizer, **{"progress": False, "rng": 0, **options}
    )


def weights(model: rf.Module) -> np.ndarray:
    return np.concatenate([param.data.ravel() for param in model.parameters()])


# loss_and_grad


@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_grad_agrees_with_finite_differences(masked: bool) -> None:
    model = build(dropout=0.3, dtype="float64")
    x, targets = data()
    state = (np.random.default_rng(1).normal(size=(1, N, H)), None, None)
    keywords = {"rng": 5, **({"mask": np.arange(T) > 1} if masked else {})}

    def loss() -> float:
        return rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, state, grads={}, **keywords)[0]

    grads: dict[str, np.ndarray] = {}
    value, final = rf.loss_and_grad(
        model, rf.losses.cross_entropy, x, targets, state, grads=grads, **keywords
    )
    assert value == loss()
    assert [type(part) for part in final] == [np.ndarray, type(None), type(None)]
    assert all(param.grad is None for param in model.parameters())
    for name, param in model.named_parameters():
        numeric = np.zeros_like(param.data)
        for index in np.ndindex(param.shape):
            before = param.data[index]
            param.data[index] = before + 1e-5
            above = loss()
            param.data[index] = before - 1e-5
            numeric[index] = (above - loss()) / 2e-5
            param.data[index] = before
        assert error(grads[name], numeric) <= FINITE_DIFFERENCES, name


def test_loss_and_grad_adds_into_grad_and_refuses_unknown_keywords() -> None:
    model = build()
    x, targets = data()
    rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets)
    once = [param.grad.copy() for param in model.parameters()]
    rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets)
    for param, grad in zip(model.parameters(), once, strict=True):
        assert np.array_equal(param.grad, 2 * grad)
    with pytest.raises(TypeError, match="speed: expected a keyword Sequential takes"):
        rf.loss_and_grad(model, rf.losses.cross_entropy, x, targets, speed=3)
    with pytest.raises(TypeError, match="rng: expected a keyword Linear takes"):
        rf.loss_and_grad(rf.Linear(2, 1), rf.losses.mse, x, targets[..., None], rng=0)


# Batches


def test_fit_is_the_plain_loop() -> None:
    batches = [(x, t) for x, t in (data(seed) for seed in range(3))]
    model, other = build(), build()
    history = fit(model, batches, epochs=4, clip_norm=0.5)
    optimizer = rf.optim.Adam(other.parameters(), lr=0.02)
    losses = []
    for _ in range(4):
        for x, targets in batches:
            other.zero_grad()
            losses.append(rf.loss_and_grad(other, rf.losses.cross_entropy, x, targets)[0])
            rf.clip_grad_norm(other.parameters(), 0.5)
            optimizer.step()
    assert np.array_equal(weights(model), weights(other))
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


def test_axes_say_what_cannot_be_told() -> None:
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


def test_callables_are_given_the_epoch_and_iterators_last_for_one() -> None:
    asked = []

    def batches(epoch: int) -> Iterator[Any]:
        asked.append(epoch)
        yield data(epoch)

    history = fit(build(), batches, epochs=3, validation=batches)
    assert asked == [0, 0, 1, 1, 2, 2]
    assert len(history.loss) == 3
    assert fit(build(), iter([data(0), data(1)]), minutes=10).step == [2]
    with pytest.raises(ValueError, match="data: expected batches that can be gone through once an epoch"):
        fit(build(), iter([data(0)]), epochs=2)
    with pytest.raises(ValueError, match="validation: expected batches that can be gone through"):
        fit(build(), data(), validation=iter([data(0)]), minutes=1)


def test_batches_may_bring_a_mask_that_also_weighs_them() -> None:
    x, targets = data()
    mask = np.zeros((T, N), bool)
    mask[2:, :3] = True
    batches = [(x, targets, {"mask": mask}), (x, targets)]
    history = fit(build(), batches, optimizer=rf.optim.SGD(build().parameters(), lr=0.0))
    first, second = history.batch_loss
    assert math.isclose(history.loss[0], (first * mask.sum() + second * T * N) / (mask.sum() + T * N))
    model = build()
    y, _ = model(x)
    assert math.isclose(first, rf.losses.cross_entropy(y, targets, mask)[0])
    want = (
        rf.losses.cross_entropy(y, targets, mask)[0] * mask.sum()
        + rf.losses.cross_entropy(y, targets)[0] * T * N
    )
    assert math.isclose(evaluate(model, rf.losses.cross_entropy, batches), want / (mask.sum() + T * N))


def test_stateful_runs_carry_the_state_and_start_each_epoch_anew() -> None:
    streams = Streams()
    model, other = build(), build()
    history = fit(model, streams, epochs=2, stateful=True, validation=streams)
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
    assert np.array_equal(weights(model), weights(other))


def test_stateful_arrays_keep_their_order() -> None:
    x, targets = data()
    model = build()
    got = seen(model, (x, targets), stateful=True, batch_size=10)
    assert np.array_equal(np.concatenate([t for _, t in got], 1), targets)
    _, state = model(x[:, :10])
    assert np.array_equal(got[1][0], model(x[:, 10:], state)[0])


# Validation, schedules, ends


def test_evaluate_is_the_mean_over_everything_without_dropout() -> None:
    model = build(dropout=0.5)
    x, targets = data()
    want, _ = rf.losses.cross_entropy(model(x)[0], targets)
    assert math.isclose(
        evaluate(model, rf.losses.cross_entropy, (x, targets), batch_size=7), want, rel_tol=1e-6
    )
    with pytest.raises(ValueError, match="data: expected at least one target"):
        evaluate(model, rf.losses.cross_entropy, [])


def test_the_best_weights_are_kept_and_patience_ends_the_run() -> None:
    model = build()
    at_epoch = []

    def spoil(run: Run) -> None:
        if run.event == "epoch":
            assert run.improved == (run.epoch <= 2)
            at_epoch.append(weights(run.model))
            if run.epoch >= 2:
                for param in run.model.parameters():
                    param.data += 1.0

    history = fit(model, data(), epochs=20, validation=data(1), patience=3, callbacks=[spoil])
    assert history.stopped == "patience"
    assert len(history.loss) == 5
    assert history.best == history.validation[1] == min(history.validation)
    assert np.array_equal(weights(model), at_epoch[1])
    assert math.isclose(evaluate(model, rf.losses.cross_entropy, data(1)), history.best, rel_tol=1e-6)


def test_the_schedule_sets_the_rate_step_by_step_and_puts_it_back() -> None:
    model = build()
    optimizer = rf.optim.SGD(model.parameters(), lr=0.5)
    rates = []

    def note(run: Run) -> None:
        if run.event == "step":
            rates.append(run.optimizer.lr)

    schedule = rf.schedules.warmup(2, then=rf.schedules.cosine(2), start=0.0)
    history = fit(model, data(), optimizer, epochs=3, batch_size=10, schedule=schedule, callbacks=[note])
    assert np.allclose(rates, [0.0, 0.25, 0.5, 0.25, 0.0, 0.0])
    assert np.allclose(history.lr, [0.25, 0.25, 0.0])
    assert optimizer.lr == 0.5


def test_callbacks_see_every_event_and_may_stop() -> None:
    events = []

    def watch(run: Run) -> None:
        events.append((run.event, run.epoch, run.batch, run.step, len(run.history.loss)))
        assert run.targets == run.step * T * 10
        assert (run.epochs, run.batches) == (9, 2)
        assert run.seconds >= 0
        assert run.rate >= 0
        if run.step == 3:
            run.stop()

    history = fit(build(), data(), epochs=9, batch_size=10, validation=data(1), callbacks=[watch])
    assert events == [
        ("start", 0, 0, 0, 0),
        ("step", 0, 1, 1, 0),
        ("step", 0, 2, 2, 0),
        ("epoch", 1, 0, 2, 1),
        ("step", 1, 1, 3, 1),
        ("epoch", 1, 1, 3, 2),
        ("end", 1, 1, 3, 2),
    ]
    assert history.stopped == "callback"
    assert history.step == [2, 3]
    assert None not in history.validation
    assert fit(build(), data(), epochs=3, callbacks=[Run.stop]).step == []


def test_minutes_end_the_run_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def tick(run: Run) -> None:
        nonlocal now
        now += 10.0 * (run.event == "step")

    monkeypatch.setattr("time.monotonic", lambda: now)
    history = fit(build(), data(), minutes=0.5, batch_size=4, validation=data(1), callbacks=[tick])
    assert history.stopped == "minutes"
    assert history.step == [3]
    assert history.validation != [None]
    history = fit(build(), data(), minutes=0.5, batch_size=10, callbacks=[tick])
    assert history.step == [2, 3]
    history = fit(build(), data(), minutes=60, epochs=2, callbacks=[tick])
    assert history.stopped == "epochs"
    history = fit(build(), data(), minutes=0.5, batch_size=8, callbacks=[tick])
    assert history.step == [3]


@pytest.mark.parametrize("which", ["loss", "norm"])
def test_a_run_that_diverges_ends_before_the_update(which: str) -> None:
    model = build()
    calls = 0

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        value, dy = rf.losses.cross_entropy(y, targets)
        if calls < 3:
            return value, dy
        return (math.nan, dy) if which == "loss" else (value, dy * np.nan)

    kept = []
    optimizer = rf.optim.Adam(model.parameters())
    with pytest.raises(FloatingPointError, match=rf"{which}: expected a finite number, got nan at step 2"):
        rf.fit(
            model,
            loss,
            data(),
            optimizer,
            epochs=5,
            clip_norm=1.0,
            progress=False,
            schedule=rf.schedules.step(1),
            callbacks=[lambda run: kept.append(weights(model))],
        )
    assert np.array_equal(weights(model), kept[-1])
    assert optimizer.lr == 1e-3


# Checkpoints and resuming


def whole_run(path: Path | None = None, **options: Any) -> tuple[rf.Sequential, Any]:
    model = build(dropout=0.2)
    optimizer = rf.optim.Adam(model.parameters(), lr=0.05)
    return model, fit(model, data(), optimizer, batch_size=8, checkpoint=path, **{"epochs": 4, **options})


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("way", ["whole", "stateful", "windows", "overlapping windows", "windows of lists"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_at: int, way: str) -> None:
    path = tmp_path / "run.npz"
    stateful = way in ("stateful", "windows of lists")
    batches: Any = data()
    if stateful:
        batches = [(x, targets, {"rng": 7}) for x, targets in Streams(3)]
    options = {
        "stateful": stateful,
        "truncate": {"windows": (4, 4), "overlapping windows": (2, 5), "windows of lists": (4, 5)}.get(way),
        "batch_size": 8,  # three batches an epoch
        "epochs": 4,
        "validation": Streams(2, seed=1) if stateful else data(1, 8),
        "schedule": rf.schedules.cosine(12),
    }

    def stop(run: Run) -> None:
        if run.event == "step" and run.step == stop_at:
            raise KeyboardInterrupt

    want = build(dropout=0.2)
    want_history = fit(want, batches, **options)
    first = build(dropout=0.2)
    history = fit(first, batches, callbacks=[stop], checkpoint=path, metadata={"a": 1}, **options)
    assert history.interrupted
    assert history.step[-1] == stop_at

    second = build(dropout=0.2)
    for param in second.parameters():
        param.data[...] = 9.0
    history = fit(second, batches, resume=path, checkpoint=path, metadata={"a": 1}, **{**options, "rng": 99})
    assert np.array_equal(weights(second), weights(want))
    for column in ("step", "loss", "validation", "lr", "batch_loss", "stopped"):
        assert getattr(history, column) == getattr(want_history, column), column
    assert history.seconds == sorted(history.seconds)
    third = build()
    assert rf.load(path, third)["a"] == 1
    assert np.array_equal(weights(third), weights(want))
    again = build()
    history = fit(again, batches, resume=path, **options)  # there is nothing left to do
    assert history.loss == want_history.loss
    assert np.array_equal(weights(again), weights(want))


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (3, 5), (6, 6), (9, 9)])
def test_truncated_runs_make_the_updates_of_truncated_bptt(k1: int, k2: int) -> None:
    x, targets = data()
    lengths = np.random.default_rng(2).integers(1, T + 1, N)
    mask = np.random.default_rng(3).random((T, N)) < 0.7
    got, want = build(dropout=0.2), build(dropout=0.2)
    history = fit(got, [(x, targets, {"lengths": lengths, "mask": mask})], truncate=(k1, k2), epochs=2)

    optimizer = rf.optim.Adam(want.parameters(), lr=0.02)
    losses = []
    for _ in range(2):
        windows = rf.truncated_bptt(
            want, rf.losses.cross_entropy, x, targets, k1, k2, lengths=lengths, mask=mask
        )
        for loss, _ in windows:
            optimizer.step()
            losses.append(loss)
    assert np.array_equal(weights(got), weights(want))
    assert history.batch_loss == losses
    assert history.step == [len(losses) // 2, len(losses)]
    counts = [mask[t : t + k1] & (np.arange(T)[t : t + k1, None] < lengths) for t in range(0, T, k1)]
    first = losses[: len(counts)]
    assert history.loss[0] == pytest.approx(np.average(first, weights=[count.sum() for count in counts]))


def test_a_window_in_which_nothing_counts_leaves_the_weights() -> None:
    x, targets = data()
    seen_weights = []
    fit(
        model := build(),
        [(x, targets, {"lengths": np.full(N, 2)})],
        truncate=(2, 2),
        callbacks=[lambda run: seen_weights.append(weights(model)) if run.event == "step" else None],
    )
    assert len(seen_weights) == 3
    assert np.array_equal(seen_weights[0], seen_weights[2])


def test_evaluation_in_windows_is_that_of_whole_sequences() -> None:
    model = build(dropout=0.2)
    x, targets = data()
    batches = [(x, targets, {"lengths": np.arange(N) % (T + 1), "rng": 3})]
    whole = evaluate(model, rf.losses.cross_entropy, batches)
    assert evaluate(model, rf.losses.cross_entropy, batches, truncate=(4, 5)) == pytest.approx(whole)
    assert evaluate(model, rf.losses.cross_entropy, (x, targets), truncate=(1, 1)) == pytest.approx(
        evaluate(model, rf.losses.cross_entropy, (x, targets))
    )


def test_the_updates_of_an_epoch_are_counted_before_it() -> None:
    seen_counts = set()
    fit(build(), data(), batch_size=8, truncate=(4, 4), callbacks=[lambda run: seen_counts.add(run.batches)])
    assert seen_counts == {6}


def test_a_checkpoint_holds_the_best_weights_and_the_last(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    last = []

    def spoil(run: Run) -> None:
        if run.event == "step" and run.epoch == 1:
            for param in run.model.parameters():
                param.data += 1.0
            last.append(weights(run.model))

    model, history = whole_run(path, epochs=2, validation=data(1), callbacks=[spoil])
    assert history.validation[1] > history.validation[0]
    best = build()
    rf.load(path, best)
    assert np.array_equal(weights(best), weights(model))
    arrays, _ = read_checkpoint(path)
    kept = np.concatenate([array.ravel() for name, array in arrays.items() if name.startswith("last.")])
    assert np.array_equal(kept, last[-1])
    resumed = build(dropout=0.2)
    fit(resumed, data(), epochs=2, batch_size=8, validation=data(1), resume=path)
    assert np.array_equal(weights(resumed), weights(model))


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


def test_the_optimizer_s_settings_are_its_own_when_resuming(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    whole_run(path, epochs=1, schedule=rf.schedules.step(1))
    model = build(dropout=0.2)
    optimizer = rf.optim.Adam(model.parameters(), lr=0.007, betas=(0.5, 0.6))
    assert rf.load(path, model, rf.optim.Adam(model.parameters()))["fit"]["step"] == 3
    history = fit(model, data(), optimizer, batch_size=8, epochs=2, resume=path)
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

    whole_run(path, callbacks=[stop], validation=data(1))
    arrays, metadata = read_checkpoint(path)
    rf.save(plain, build(), rf.optim.Adam(build().parameters()))
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
        model = build(dropout=0.2)
        before = weights(model)
        optimizer = rf.optim.Adam(model.parameters())
        with pytest.raises(ValueError, match=message) as caught:
            fit(model, data(), optimizer, resume=file, **{"batch_size": 8, **options})
        assert str(caught.value).startswith(f"{file}: ")
        assert np.array_equal(weights(model), before)
        assert not optimizer.state_dict()["steps"].any()


def test_a_state_of_another_form_cannot_be_kept(tmp_path: Path) -> None:
    class Odd(rf.Linear):
        def forward(self, x: Any, state: Any = None) -> Any:
            y, _, tape = super().forward(x)
            return y, {"a": 1}, tape

    model = Odd(I, 3)
    x, targets = data()
    with pytest.raises(TypeError, match="state: expected arrays, tuples and None for a checkpoint, got dict"):
        fit(model, [(x, targets)], stateful=True, checkpoint=tmp_path / "run.npz")


# Ctrl-C


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_waits_for_the_update_and_comes_at_once_elsewhere() -> None:
    """A real SIGINT during the optimizer's step: all parameters are updated, the history is whole."""

    class Slow(rf.optim.SGD):
        def step(self) -> None:
            if len(history_of) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            super().step()
            history_of.append(weights(model))

    history_of: list[np.ndarray] = []
    model = build()
    before = signal.getsignal(signal.SIGINT)
    history = fit(model, data(), Slow(model.parameters(), lr=0.1), epochs=9, batch_size=4)
    assert signal.getsignal(signal.SIGINT) is before
    assert history.interrupted
    assert history.stopped == "interrupted"
    assert history.step == [2]
    assert len(history.batch_loss) == len(history_of) == 2
    assert np.array_equal(weights(model), history_of[-1])

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    kept = weights(model)
    history = rf.fit(model, loss, data(), rf.optim.SGD(model.parameters()), progress=False)
    assert history.interrupted
    assert history.step == []
    assert np.array_equal(weights(model), kept)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_ctrl_c_is_not_kept_back_and_a_handler_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    class Stuck(rf.optim.SGD):
        def step(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    model = build()
    assert fit(model, data(), Stuck(model.parameters())).interrupted

    seen_signals = []
    before = signal.signal(signal.SIGINT, lambda *arguments: seen_signals.append(1))
    try:
        history = fit(model, data(), callbacks=[lambda run: os.kill(os.getpid(), signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted
    assert len(seen_signals) == 4


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_the_end_is_written_lets_it_be_written(tmp_path: Path) -> None:
    def press(run: Run) -> None:
        if run.event == "end":
            os.kill(os.getpid(), signal.SIGINT)

    _, history = whole_run(tmp_path / "run.npz", callbacks=[press])
    assert history.interrupted
    assert len(history.loss) == 4
    rf.load(tmp_path / "run.npz", build())

    def press_twice(run: Run) -> None:
        press(run)
        press(run)

    with pytest.raises(KeyboardInterrupt):
        whole_run(callbacks=[press_twice])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_epoch_cut_off_while_validated_counts_once(tmp_path: Path) -> None:
    """Ctrl-C after the validation, before the end of its epoch: the same weights are judged again."""
    path = tmp_path / "run.npz"
    calls = 0

    def batches(epoch: int) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        yield data(1)
        if calls == 1:
            raise KeyboardInterrupt

    improved = []
    fit(build(), data(), validation=batches, checkpoint=path)
    options = {"validation": data(1), "resume": path, "checkpoint": path}
    fit(build(), data(), callbacks=[lambda run: improved.append(run.improved)], **options)
    arrays, metadata = read_checkpoint(path)
    assert improved[-1]
    at_the_end_of_the_epoch = metadata["fit"] | {"epoch": 0, "batch": 1}
    rf.training.write_checkpoint(path, arrays, {"fit": at_the_end_of_the_epoch})
    improved.clear()
    fit(build(), data(), callbacks=[lambda run: improved.append(run.improved)], **options)
    assert improved[-1]


def test_fit_runs_in_a_thread() -> None:
    histories: list[Any] = []
    thread = threading.Thread(target=lambda: histories.append(fit(build(), data(), epochs=2)))
    thread.start()
    thread.join()
    assert len(histories[0].loss) == 2


# Progress and history


class Terminal:
    """A stderr that says what it is."""

    def __init__(self, terminal: bool) -> None:
        self.text = ""
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


class Full(Terminal):
    """A stderr whose disk is full."""

    def write(self, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stderr_that_takes_nothing_ends_no_training(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Full(terminal))  # whose size cannot be asked either
    assert len(fit(build(), data(), epochs=2, progress=True).loss) == 2


@pytest.mark.parametrize("minutes", [None, 100.0])
def test_progress_on_a_terminal_is_one_line_redrawn(
    monkeypatch: pytest.MonkeyPatch, minutes: float | None
) -> None:
    now = 0.0

    def tick(run: Run) -> None:
        nonlocal now
        now += 100.0

    screen = Terminal(True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((0, 0)))
    fit(
        build(),
        data(),
        epochs=2,
        batch_size=10,
        minutes=minutes,
        validation=data(1),
        progress=True,
        callbacks=[tick],
    )
    assert screen.text.count("\n") == 1
    assert screen.text.endswith("\n")
    lines = screen.text.strip("\n").split("\r")[1:]
    assert max(map(len, lines)) <= 79
    assert any("epoch 1/2" in line and "left" in line for line in lines)
    assert "epoch 2/2" in lines[-1]
    assert "[####################]" in lines[-1]
    assert "loss" in lines[-1]
    assert "validation" in lines[-1]


def test_progress_elsewhere_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0

    def tick(run: Run) -> None:
        nonlocal now
        now += 400.0 if run.step == 3 else 1.0

    monkeypatch.setattr("time.monotonic", lambda: now)
    fit(
        build(),
        iter([data()] * 6),
        progress=True,
        callbacks=[tick],
        describe=lambda run: f"{run.mean / math.log(2):.2f} bits  {run.rate:.0f}/s",
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("bits" in line for line in lines)
    assert "6:4" in lines[0]
    assert "\r" not in "".join(lines)
    fit(build(), data(), progress=False)
    assert capsys.readouterr().err == ""


def test_fit_without_stderr_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(fit(build(), data(), progress=True).loss) == 1


def test_history_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    _, history = whole_run(epochs=3, validation=data(1))
    figure = history.plot(tmp_path / "curves.png", scale=1 / math.log(2), label="bits", lines={"5-gram": 1.9})
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "bits"
    drawn = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert np.allclose(drawn["training"], np.array(history.loss) / math.log(2))
    assert np.allclose(drawn["validation"], np.array(history.validation) / math.log(2))
    assert np.allclose(drawn["5-gram"], 1.9)
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    shown = history.plot()
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(shown)
    assert History().plot(tmp_path / "empty.svg").axes

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "rnnfast\[cli\]"'):
        history.plot()


def test_history_says_what_it_is() -> None:
    _, history = whole_run(epochs=1, validation=data(1))
    assert repr(history).startswith("<History of 3 steps, loss ")
    assert "best validation" in repr(history)
    assert repr(History()) == "<History of 0 steps>"


# Refusals


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs: expected an integer"),
        ({"minutes": -1}, ValueError, "minutes: expected a number above 0, got -1"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"patience": 2}, ValueError, "patience: expected validation data"),
        ({"patience": 0, "validation": data()}, ValueError, "patience"),
        ({"metadata": {"fit": 1}}, ValueError, "metadata: expected other keys"),
        ({"rng": "dice"}, TypeError, "rng: expected an integer"),
        ({"stateful": True, "shuffle": True}, ValueError, "shuffle: expected None or False with stateful"),
        (
            {"stateful": True, "batch_size": 8},
            ValueError,
            "batch_size: expected a divisor of the 20 sequences",
        ),
        ({"truncate": 4}, TypeError, r"truncate: expected \(k1, k2\), got 4"),
        ({"truncate": (4, 3)}, ValueError, "k2: expected at least k1 = 4, got 3"),
        ({"truncate": (0, 3)}, ValueError, "k1: expected at least 1, got 0"),
        ({"truncate": (2, 3.5)}, TypeError, "k2: expected an integer"),
        ({"axes": (1, 2)}, ValueError, r"data\[1\]: expected a batch axis 2, got shape \(6, 20\)"),
        (
            {"validation": (data()[0], data(sequences=3)[1])},
            ValueError,
            "validation: expected a target for each sequence",
        ),
        ({"validation": []}, ValueError, "validation: expected at least one target"),
        ({"validation": 3}, TypeError, "validation: expected a pair of arrays"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_is_written(
    options: dict[str, Any], kind: Any, message: str
) -> None:
    model = build()
    before = weights(model)
    with pytest.raises(kind, match=message):
        fit(model, data(), **options)
    assert np.array_equal(weights(model), before) or options.get("validation") == []


@pytest.mark.parametrize(
    ("batches", "options", "kind", "message"),
    [
        ([], {}, ValueError, "data: expected at least one batch in each epoch, got none"),
        ([data()[0]], {}, TypeError, r"data: expected batches \(x, targets\) or .*, got ndarray"),
        ([(*data(), {}, 3)], {}, TypeError, "data: .* got 4 entries"),
        ([data()], {"shuffle": True}, ValueError, "shuffle: expected None or False with batches of your own"),
        (
            (data()[0], data()[1][0]),
            {"truncate": (2, 2)},
            ValueError,
            "targets: expected 6 steps along axis 0",
        ),
        (data(sequences=0), {}, ValueError, r"data: expected at least one sequence, got shape \(6, 0, 2\)"),
        (data()[0], {}, TypeError, "data: expected a pair of arrays .*, got ndarray"),
        ({"x": 1}, {}, TypeError, "data: .* got dict"),
    ],
)
def test_data_that_cannot_be_are_refused(
    batches: Any, options: dict[str, Any], kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        fit(build(), batches, **options)
