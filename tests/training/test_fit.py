"""Runs of `fit`: validation, schedules, callbacks, what ends a run, what is refused."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import T, classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.training import Run, evaluate

# Validation, schedules, ends


def test_evaluate_is_the_mean_over_everything_without_dropout() -> None:
    model = classifier(dropout=0.5)
    x, targets = labelled()
    want, _ = rf.losses.cross_entropy(model(x)[0], targets)
    assert math.isclose(
        evaluate(model, rf.losses.cross_entropy, (x, targets), batch_size=7), want, rel_tol=1e-6
    )
    with pytest.raises(ValueError, match="data: expected at least one target"):
        evaluate(model, rf.losses.cross_entropy, [])


def test_the_best_weights_are_kept_and_patience_ends_the_run() -> None:
    model = classifier()
    at_epoch = []

    def spoil(run: Run) -> None:
        if run.event == "epoch":
            assert run.improved == (run.epoch <= 2)
            at_epoch.append(weights_of(run.model))
            if run.epoch >= 2:
                for param in run.model.parameters():
                    param.data += 1.0

    history = fit_quietly(model, labelled(), epochs=20, validation=labelled(1), patience=3, callbacks=[spoil])
    assert history.stopped == "patience"
    assert len(history.loss) == 5
    assert history.best == history.validation[1] == min(history.validation)
    assert np.array_equal(weights_of(model), at_epoch[1])
    assert math.isclose(evaluate(model, rf.losses.cross_entropy, labelled(1)), history.best, rel_tol=1e-6)


def test_the_schedule_sets_the_rate_step_by_step_and_puts_it_back() -> None:
    model = classifier()
    optimizer = rf.optim.SGD(model.parameters(), lr=0.5)
    rates = []

    def note(run: Run) -> None:
        if run.event == "step":
            rates.append(run.optimizer.lr)

    schedule = rf.schedules.warmup(2, then=rf.schedules.cosine(2), start=0.0)
    history = fit_quietly(
        model, labelled(), optimizer, epochs=3, batch_size=10, schedule=schedule, callbacks=[note]
    )
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

    history = fit_quietly(
        classifier(), labelled(), epochs=9, batch_size=10, validation=labelled(1), callbacks=[watch]
    )
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
    assert fit_quietly(classifier(), labelled(), epochs=3, callbacks=[Run.stop]).step == []


def test_minutes_end_the_run_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def tick(run: Run) -> None:
        nonlocal now
        now += 10.0 * (run.event == "step")

    monkeypatch.setattr("time.monotonic", lambda: now)
    history = fit_quietly(
        classifier(), labelled(), minutes=0.5, batch_size=4, validation=labelled(1), callbacks=[tick]
    )
    assert history.stopped == "minutes"
    assert history.step == [3]
    assert history.validation != [None]
    history = fit_quietly(classifier(), labelled(), minutes=0.5, batch_size=10, callbacks=[tick])
    assert history.step == [2, 3]
    history = fit_quietly(classifier(), labelled(), minutes=60, epochs=2, callbacks=[tick])
    assert history.stopped == "epochs"
    history = fit_quietly(classifier(), labelled(), minutes=0.5, batch_size=8, callbacks=[tick])
    assert history.step == [3]


@pytest.mark.parametrize("bound", ["clip_norm", "clip_value"])
@pytest.mark.parametrize(
    ("which", "factor"), [("loss", math.nan), ("norm", math.nan), ("norm", math.inf)], ids=str
)
def test_a_run_that_diverges_ends_before_the_update(which: str, factor: float, bound: str) -> None:
    model = classifier()
    calls = 0

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        value, dy = rf.losses.cross_entropy(y, targets)
        if calls < 3:
            return value, dy
        return (factor, dy) if which == "loss" else (value, np.full_like(dy, factor))

    kept = []
    optimizer = rf.optim.Adam(model.parameters())
    with pytest.raises(
        FloatingPointError, match=rf"{which}: expected a finite number, got (nan|inf) at step 2"
    ):
        rf.fit(
            model,
            loss,
            labelled(),
            optimizer,
            epochs=5,
            **{bound: 1.0},
            progress=False,
            schedule=rf.schedules.step(1),
            callbacks=[lambda run: kept.append(weights_of(model))],
        )
    assert np.array_equal(weights_of(model), kept[-1])
    assert optimizer.lr == 1e-3


def test_clip_value_bounds_each_element_before_the_update() -> None:
    x, targets = labelled()
    got, want = classifier(), classifier()
    fit_quietly(got, (x, targets), rf.optim.SGD(got.parameters(), lr=0.5), epochs=3, clip_value=0.01)
    optimizer = rf.optim.SGD(want.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        rf.loss_and_grad(want, rf.losses.cross_entropy, x, targets)
        rf.clip_grad_value(want.parameters(), 0.01)
        optimizer.step()
    np.testing.assert_allclose(weights_of(got), weights_of(want), atol=1e-6)
    free = classifier()
    fit_quietly(free, (x, targets), rf.optim.SGD(free.parameters(), lr=0.5), epochs=3)
    assert np.abs(weights_of(got) - weights_of(free)).max() > 1e-3


# Ctrl-C


def test_fit_runs_in_a_thread() -> None:
    histories: list[Any] = []
    thread = threading.Thread(
        target=lambda: histories.append(fit_quietly(classifier(), labelled(), epochs=2))
    )
    thread.start()
    thread.join()
    assert len(histories[0].loss) == 2


# Refusals


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs: expected at least 1, got 0"),
        ({"epochs": 1.5}, TypeError, "epochs: expected an integer"),
        ({"minutes": -1}, ValueError, "minutes: expected a number above 0, got -1"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm"),
        ({"clip_value": 0.0}, ValueError, "clip_value"),
        (
            {"clip_norm": 1.0, "clip_value": 0.5},
            ValueError,
            "clip_norm, clip_value: expected one of them, got clip_norm=1 and clip_value=0.5",
        ),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"patience": 2}, ValueError, "patience: expected validation data"),
        ({"patience": 0, "validation": labelled()}, ValueError, "patience"),
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
            {"validation": (labelled()[0], labelled(sequences=3)[1])},
            ValueError,
            "validation: expected a target for each sequence",
        ),
        ({"validation": []}, ValueError, "validation: expected at least one target"),
        ({"validation": 3}, TypeError, "validation: expected a pair of arrays"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    options: dict[str, Any], kind: Any, message: str
) -> None:
    model = classifier()
    before = weights_of(model)
    with pytest.raises(kind, match=message):
        fit_quietly(model, labelled(), **options)
    assert np.array_equal(weights_of(model), before) or options.get("validation") == []


@pytest.mark.parametrize(
    ("batches", "options", "kind", "message"),
    [
        ([], {}, ValueError, "data: expected at least one batch in each epoch, got none"),
        ([labelled()[0]], {}, TypeError, r"data: expected batches \(x, targets\) or .*, got ndarray"),
        ([(*labelled(), {}, 3)], {}, TypeError, "data: .* got 4 entries"),
        (
            [labelled()],
            {"shuffle": True},
            ValueError,
            "shuffle: expected None or False with batches of your own",
        ),
        (
            (labelled()[0], labelled()[1][0]),
            {"truncate": (2, 2)},
            ValueError,
            "targets: expected 6 steps along axis 0",
        ),
        (
            labelled(sequences=0),
            {},
            ValueError,
            r"data: expected at least one sequence, got shape \(6, 0, 2\)",
        ),
        (labelled()[0], {}, TypeError, "data: expected a pair of arrays .*, got ndarray"),
        ({"x": 1}, {}, TypeError, "data: .* got dict"),
    ],
)
def test_wrong_data_is_refused(batches: Any, options: dict[str, Any], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        fit_quietly(classifier(), batches, **options)
