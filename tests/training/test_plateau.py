"""`rf.schedules.plateau`: PyTorch's decisions, in loops and in `fit`, and states that carry on."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast.nn import schedules
from rnnfast.training import Run, read_checkpoint, write_checkpoint

FALLS = [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6]


def factors(schedule: Any, scores: Any, lr: float = 0.1) -> list[float]:
    """The schedule's factor after each score."""
    found = []
    for score in scores:
        schedule.observe(score, lr)
        found.append(schedule(0))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 0.5, "patience": 0},
        {"factor": 0.5, "patience": 2, "cooldown": 3},
        {"factor": 0.3, "patience": 1, "threshold": 0.05},
        {"factor": 0.3, "patience": 1, "threshold": 0.0, "min_lr": 0.004},
        {"factor": 0.9, "patience": 0, "cooldown": 1, "min_lr": 0.09},
    ],
)
@pytest.mark.parametrize("scores", ["noise", "falling", "level", "nan", "given"])
def test_decisions_are_those_of_torch(options: dict[str, Any], scores: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(len(options))
    sequence = {
        "noise": rng.uniform(0.5, 1.5, 60),
        "falling": np.exp(-np.arange(60) / 20) + 0.05 * rng.standard_normal(60) + 0.2,
        "level": np.ones(60),
        "nan": np.where(rng.random(60) < 0.3, np.nan, rng.uniform(0.5, 1.5, 60)),
        "given": FALLS,
    }[scores]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **{"patience": 10, **options}, eps=0)
    schedule = schedules.plateau(**options)
    for score in sequence:
        peer.step(float(score))
        schedule.observe(float(score), 0.1)
        assert 0.1 * schedule(0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)


def test_patience_cooldown_and_the_lowest_rate() -> None:
    schedule = schedules.plateau(0.1, patience=1, cooldown=2, min_lr=0.003)
    assert factors(schedule, [1.0] * 3) == [1.0, 1.0, 0.1]
    assert factors(schedule, [1.0] * 3) == [0.1, 0.1, 0.1]  # two scores of cooldown, one miss
    assert factors(schedule, [1.0]) == [pytest.approx(0.03)]  # 0.003 of 0.1
    assert factors(schedule, [1.0] * 20)[-1] == pytest.approx(0.03)
    schedule.reset()
    assert factors(schedule, [1.0, 1.0]) == [1.0, 1.0]


def test_a_rate_below_the_lowest_is_not_raised() -> None:
    assert factors(schedules.plateau(patience=0, min_lr=0.5), [1.0] * 4) == [1.0] * 4
    assert factors(schedules.plateau(patience=0), [1.0] * 2, lr=0.0) == [1.0] * 2


def test_negative_scores_improve_by_their_magnitude() -> None:
    schedule = schedules.plateau(0.5, patience=0, threshold=0.1)
    assert factors(schedule, [-1.0, -1.05]) == [1.0, 0.5]  # not lower by a tenth
    assert factors(schedule, [-1.2]) == [0.5]


def test_another_schedule_is_multiplied() -> None:
    schedule = schedules.plateau(0.5, patience=0, schedule=schedules.warmup(4, start=0.0))
    factors(schedule, [1.0, 1.0])
    assert [schedule(step) for step in (0, 2, 4, 9)] == [0.0, 0.25, 0.5, 0.5]


# In fit


def test_fit_observes_the_validation_loss_of_each_epoch() -> None:
    model = classifier()
    optimizer = rf.optim.SGD(model.parameters(), lr=0.4)
    scores = iter(FALLS)

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        value, dy = rf.losses.cross_entropy(y, targets)
        return (next(scores) if len(targets[0]) == 3 else value), dy  # the validation data have 3 sequences

    schedule = schedules.plateau(0.5, patience=1, cooldown=1)
    want = [1.0, *factors(copy.deepcopy(schedule), FALLS)[:-1]]
    for _ in range(2):  # a second run begins anew
        scores = iter(FALLS)
        history = fit_quietly(
            model,
            labelled(),
            optimizer,
            loss,
            epochs=12,
            batch_size=10,
            validation=labelled(1, 3),
            schedule=schedule,
        )
        assert history.lr == [0.4 * factor for factor in want]
        assert history.validation == pytest.approx(FALLS)
    assert len(set(want)) == 4
    assert optimizer.lr == 0.4


@pytest.mark.parametrize("stop_at", [1, 4, 6, 9, 14])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    path = tmp_path / "run.npz"

    def options() -> dict[str, Any]:
        return {
            "batch_size": 8,  # three batches an epoch
            "epochs": 6,
            "validation": labelled(1, 8),
            "schedule": schedules.plateau(0.3, patience=0, threshold=0.05, cooldown=1, min_lr=1e-3),
        }

    def stop(run: Run) -> None:
        if run.event == "step" and run.step == stop_at:
            raise KeyboardInterrupt

    want = classifier(dropout=0.2)
    want_history = fit_quietly(want, labelled(), **options())
    assert len(set(want_history.lr)) > 2
    first = classifier(dropout=0.2)
    assert fit_quietly(first, labelled(), callbacks=[stop], checkpoint=path, **options()).interrupted
    second = classifier(dropout=0.2)
    history = fit_quietly(second, labelled(), resume=path, **options())
    assert np.array_equal(weights_of(second), weights_of(want))
    assert history.lr == want_history.lr
    assert history.validation == want_history.validation


def test_files_of_other_schedules_are_resumed_and_damaged_states_refused(tmp_path: Path) -> None:
    path, data = tmp_path / "run.npz", labelled()
    fit_quietly(classifier(), data, epochs=1, checkpoint=path)
    options: dict[str, Any] = {"validation": data, "schedule": schedules.plateau(), "resume": path}
    assert len(fit_quietly(classifier(), data, epochs=2, checkpoint=path, **options).loss) == 2
    assert len(fit_quietly(classifier(), data, epochs=3, resume=path).loss) == 3
    arrays, metadata = read_checkpoint(path)
    for change in ({"reduction": 2.0}, {"misses": -1}, {"best": "low"}, {"extra": 1}):
        position = {**metadata["fit"], "plateau": {**metadata["fit"]["plateau"], **change}}
        write_checkpoint(path, arrays, {"fit": position})
        model = classifier()
        before = weights_of(model)
        with pytest.raises(ValueError, match=r"run\.npz: the run it holds is damaged"):
            fit_quietly(model, data, epochs=3, **options)
        assert np.array_equal(weights_of(model), before)


def test_states_carry_on() -> None:
    schedule = schedules.plateau(0.5, patience=1, cooldown=1)
    factors(schedule, FALLS[:5])
    other = schedules.plateau(0.5, patience=1, cooldown=1)
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert factors(other, FALLS[5:]) == factors(schedule, FALLS[5:])


# Refusals


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: schedules.plateau(1.0), ValueError, "factor: expected a share between 0 and 1, got 1.0"),
        (lambda: schedules.plateau(patience=-1), ValueError, "patience: expected at least 0, got -1"),
        (lambda: schedules.plateau(patience=1.5), TypeError, "patience: expected an integer"),
        (lambda: schedules.plateau(threshold=1.0), ValueError, "threshold: expected a number in 0..1, 1 ex"),
        (lambda: schedules.plateau(cooldown=-2), ValueError, "cooldown"),
        (lambda: schedules.plateau(min_lr=math.inf), ValueError, "min_lr: expected a finite number"),
        (lambda: schedules.plateau(schedule=3), TypeError, "schedule: expected a function"),
        (lambda: schedules.warmup(3, then=schedules.plateau()), TypeError, "then: .* given no scores"),
        (lambda: schedules.in_minutes(schedules.plateau()), TypeError, "schedule: .* given no scores"),
        (lambda: schedules.plateau(schedule=schedules.plateau()), TypeError, "schedule: .* no scores"),
        (lambda: schedules.plateau().load_state_dict({}), ValueError, "state: expected the entries reduct"),
        (lambda: schedules.plateau().load_state_dict(3), TypeError, "state: expected a mapping, got 3"),
    ],
)
def test_wrong_arguments_are_refused(build: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_a_plateau_without_validation_data_is_refused() -> None:
    with pytest.raises(ValueError, match="schedule: expected validation data with a plateau, got none"):
        fit_quietly(classifier(), labelled(), schedule=schedules.plateau())
