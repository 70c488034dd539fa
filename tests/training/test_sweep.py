"""`rf.sweep`: each model has the bits that it has alone, in this process, in others and on a cluster."""

from __future__ import annotations

import builtins
import copy
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import Unsendable, classifier, fit_quietly, labelled, make

import rnnfast as rf
from rnnfast.training import Run, Sweep

GRID = {"lr": [0.01, 0.1, 0.05], "hidden": (4, 6)}
OPTIONS: dict[str, Any] = {
    "loss": "cross_entropy",
    "epochs": 2,
    "batch_size": 8,
    "validation": labelled(1, 8),
    "rng": 3,
}


def alone(lr: float, hidden: int) -> Any:
    model, optimizer = make(lr, hidden)
    history = fit_quietly(model, labelled(), optimizer, **OPTIONS)
    return weights_of(model), history


def swept(**options: Any) -> Sweep:
    return rf.sweep(make, GRID, labelled(), **{"progress": False, "n_jobs": 1, **OPTIONS, **options})


def assert_alone(found: Sweep) -> None:
    """Every row is that of the model trained alone, and the best one has its weights."""
    points = [{"lr": lr, "hidden": hidden} for lr in GRID["lr"] for hidden in GRID["hidden"]]
    assert [row.point for row in found.rows] == points
    for row in found.rows:
        weights, history = alone(**row.point)
        assert row.history is not None
        assert row.history.batch_loss == history.batch_loss
        assert row.score == history.best
        assert (row.error, row.seconds > 0.0) == ("", True)
        if row is found.best:
            assert np.array_equal(weights_of(row.model), weights)
        else:
            assert row.model is None
    assert found.best is not None
    assert found.best.score == min(row.score for row in found.rows)
    assert not found.interrupted


def test_each_model_has_the_bits_that_it_has_alone() -> None:
    assert_alone(swept())


def test_jobs_in_processes_have_the_same_bits_and_share_the_threads() -> None:
    pytest.importorskip("joblib")
    before = rf.get_num_threads()
    try:
        rf.set_num_threads(5)
        found = swept(n_jobs=2)
        assert rf.get_num_threads() == 5
    finally:
        rf.set_num_threads(before)
    assert_alone(found)
    assert found.best is not None
    assert found.best.model.threads == 2


def test_jobs_in_threads_leave_the_number_of_threads() -> None:
    joblib = pytest.importorskip("joblib")
    before = rf.get_num_threads()
    with joblib.parallel_config(backend="threading"):
        assert_alone(swept(n_jobs=3, threads=1))
    assert rf.get_num_threads() == before


def test_a_backend_that_gives_no_rows_before_the_last() -> None:
    """Those of multiprocessing, and of Ray which builds on it."""
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="multiprocessing"):
        assert_alone(swept(n_jobs=2))


def test_jobs_on_a_dask_cluster_have_the_same_bits() -> None:
    joblib = pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    workers = {"n_workers": 2, "threads_per_worker": 1, "processes": False}
    loopback = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard_address": None}
    with (
        distributed.LocalCluster(**workers, **loopback) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert_alone(swept())
        assert_alone(swept(n_jobs=-1))


def test_functions_of_the_caller_s_own_reach_other_processes() -> None:
    pytest.importorskip("joblib")
    hidden = 4
    found = rf.sweep(
        lambda lr: (make(lr, hidden)[0], None, {"epochs": 1}),
        [{"lr": 0.01}],
        lambda epoch: [labelled()],
        loss=lambda y, targets: rf.losses.cross_entropy(y, targets),
        n_jobs=2,
        progress=False,
    )
    assert found.best is not None
    assert found.best.score == found.best.history.loss[-1]


def test_a_generator_seeds_all_models_alike() -> None:
    seed = int(np.random.default_rng(5).integers(2**63))
    first, second = swept(rng=np.random.default_rng(5)), swept(rng=seed)
    assert [row.score for row in first.rows] == [row.score for row in second.rows]


def test_a_schedule_with_a_state_is_each_model_s_own() -> None:
    schedule = rf.schedules.plateau(patience=1)
    before = copy.deepcopy(vars(schedule))
    swept(schedule=schedule)
    assert vars(schedule) == before


def test_keywords_of_a_model_go_before_those_of_all(tmp_path: Any) -> None:
    def own(epochs: int) -> Any:
        path = tmp_path / f"{epochs}.npz"
        return classifier(), None, {"epochs": epochs, "checkpoint": path, "loss": "cross_entropy"}

    found = rf.sweep(own, {"epochs": [1, 3]}, labelled(), epochs=2, n_jobs=1, progress=False)
    assert [len(row.history.loss) for row in found.rows] == [1, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.npz", "3.npz"]


def sometimes(size: int) -> Any:
    if size == 2:
        raise ArithmeticError("no model of two")
    return rf.Linear(size, 1, rng=0)


def test_an_error_is_kept_in_its_row_or_raised() -> None:
    x = np.ones((4, 3), np.float32)
    options: dict[str, Any] = {"loss": "mse", "n_jobs": 1, "progress": False}
    found = rf.sweep(sometimes, {"size": [2, 3, 4]}, (x, x[:, :1]), **options)
    first, second, third = found.rows
    assert (first.error, first.history) == ("ArithmeticError: no model of two", None)
    assert math.isnan(first.score)
    assert found.best is second
    assert third.error.startswith("ValueError: x: expected")
    assert "ArithmeticError: no model of two" in str(found)
    with pytest.raises(ArithmeticError, match="no model of two"):
        rf.sweep(sometimes, {"size": [3, 2]}, (x, x[:, :1]), errors="raise", **options)
    with pytest.raises(RuntimeError, match="all 2 models ended with an error, the first with ArithmeticErr"):
        rf.sweep(sometimes, {"size": [2, 5]}, (x, x[:, :1]), **options)


def test_the_table_has_the_best_first() -> None:
    lines = str(swept()).splitlines()
    assert lines[0].split() == ["lr", "hidden", "score", "epochs", "seconds"]
    scores = [float(line.split()[2]) for line in lines[1:]]
    assert scores == sorted(scores)
    assert len(lines) == 7


def test_a_validation_loss_of_nan_is_no_score() -> None:
    """The rows are judged by the lowest number among their losses; a loss of NaN alone gives none."""
    losses: dict[str, list[float]] = {"first": [math.nan, 1.2, 1.1], "last": [1.0, 1.3, math.nan]}

    def scored(name: str) -> Any:
        values = iter(losses[name])

        def loss(y: np.ndarray, targets: np.ndarray) -> Any:
            held_out = targets.shape[1] == 8
            return (next(values) if held_out else 0.5), np.zeros_like(y)

        return classifier(), None, {"loss": loss}

    options: dict[str, Any] = {**OPTIONS, "epochs": 3, "n_jobs": 1, "progress": False, "batch_size": None}
    found = rf.sweep(scored, [{"name": "first"}, {"name": "last"}], labelled(), **options)
    assert [row.score for row in found.rows] == [1.1, 1.0]
    assert found.best is found.rows[1]
    losses["first"] = [math.nan] * 3
    found = rf.sweep(scored, [{"name": "first"}], labelled(), **options)
    assert math.isnan(found.rows[0].score)
    assert found.best is None


def test_of_equal_scores_the_first_is_the_best_though_its_job_ends_last() -> None:
    joblib = pytest.importorskip("joblib")
    second = threading.Event()

    def waiting(place: int) -> Any:
        if place == 0:
            assert second.wait(30)
        return classifier(), None, {"callbacks": [lambda run: run.event == "end" and place and second.set()]}

    ended = []
    with joblib.parallel_config(backend="threading"):
        found = rf.sweep(
            waiting,
            {"place": [0, 1]},
            labelled(),
            loss=lambda y, targets: (ended.append(1) or 1.0, np.zeros_like(y)),
            n_jobs=2,
            progress=False,
        )
    assert found.best is found.rows[0]
    assert found.rows[1].model is None


def test_a_model_that_cannot_be_pickled_is_an_error_of_its_row() -> None:
    pytest.importorskip("joblib")
    x = np.ones((4, 3), np.float32)
    found = rf.sweep(
        lambda kind: kind(3, 1, rng=0),
        {"kind": [Unsendable, rf.Linear]},
        (x, x[:, :1]),
        loss="mse",
        n_jobs=2,
        progress=False,
    )
    assert "no pickle of this" in found.rows[0].error
    assert found.best is found.rows[1]
    assert isinstance(found.best.model, rf.Linear)


def test_an_error_of_several_lines_has_one_in_the_table() -> None:
    def failing(name: str) -> Any:
        if name == "a\nb":
            raise ValueError("the first line\nthe second")
        return classifier()

    found = rf.sweep(
        failing, {"name": ["a\nb", "c"]}, labelled(), loss="cross_entropy", n_jobs=1, progress=False
    )
    assert found.rows[0].error == "ValueError: the first line\nthe second"
    lines = str(found).splitlines()
    assert len(lines) == 3
    assert lines[2].split(maxsplit=2) == ["a", "b", "ValueError: the first line"]


def test_progress_counts_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    swept(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[2].startswith("[##########..........]  3/6 models  best ")
    assert lines[2].endswith(" left")
    assert "6/6 models" in lines[5]


def test_ctrl_c_leaves_the_rows_so_far() -> None:
    count = 0

    def press(run: Run) -> None:
        nonlocal count
        count += run.event == "step"
        if run.event == "step" and count == 8:  # of six updates a model
            raise KeyboardInterrupt

    found = swept(callbacks=[press])
    assert found.interrupted
    assert len(found.rows) == 2
    assert found.rows[1].history is not None
    assert found.rows[1].history.interrupted


def test_other_jobs_need_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name == "joblib":
            raise ImportError(name)
        return found(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        ImportError, match=r'sweep needs joblib unless n_jobs is 1: pip install "rnnfast\[swe'
    ):
        swept(n_jobs=2)
    assert len(swept().rows) == 6


@pytest.mark.parametrize(
    ("grid", "options", "kind", "message"),
    [
        ({"lr": 0.1}, {}, TypeError, r"grid\['lr'\]: expected the values in a list, got 0.1"),
        ({"lr": "ab"}, {}, TypeError, r"grid\['lr'\]: expected the values in a list, got 'ab'"),
        ({"lr": []}, {}, ValueError, "grid: expected at least one point, got none"),
        ([], {}, ValueError, "grid: expected at least one point, got none"),
        ([{"lr": 1}, 3], {}, TypeError, r"grid\[1\]: expected a dict, got 3"),
        ({3: [1]}, {}, TypeError, "grid: a name: expected"),
        (7, {}, TypeError, "grid: expected"),
        (
            {"lr": np.array(0.1)},
            {},
            TypeError,
            r"grid\['lr'\]: expected the values in a list, got array\(0.1",
        ),
        (GRID, {"validation": iter([])}, ValueError, "validation: expected data that every model can go"),
        (GRID, {"n_jobs": 0}, ValueError, "n_jobs: expected a number of jobs or -1, got 0"),
        (GRID, {"n_jobs": 1.5}, TypeError, "n_jobs: expected an integer"),
        (GRID, {"threads": 0}, ValueError, "threads: expected at least 1"),
        (GRID, {"errors": "skip"}, ValueError, "errors: expected one of keep, raise, got 'skip'"),
        (GRID, {"epoch": 3}, TypeError, "options: expected keywords of fit other than .*, got 'epoch'"),
        (GRID, {"checkpoint": "a.npz"}, TypeError, "options: expected .* checkpoint, .* got 'checkpoint'"),
        (GRID, {"data": iter([])}, ValueError, "data: expected data that every model can go through"),
    ],
)
def test_wrong_arguments_are_refused(grid: Any, options: dict[str, Any], kind: Any, message: str) -> None:
    made = []
    data = options.pop("data", labelled())
    with pytest.raises(kind, match=message):
        rf.sweep(made.append, grid, data, **{"loss": "mse", "n_jobs": 1, "progress": False, **options})
    assert not made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "make: expected a model, or a tuple .model, optimizer, keywords., got int"),
        ((classifier(), None, {}, 4), "make: expected a model, or a tuple .* got 4 of them"),
        ((classifier(), None, 3), "make: expected keywords of fit in a dict, got int"),
        ((classifier(), None, {"data": 3}), "make: expected keywords of fit other than .*, got 'data'"),
        ((classifier(), None, {"validation": iter([])}), "validation: expected data that every model can"),
        (classifier(), "loss: expected one, of sweep or among the keywords that make gives, got none"),
    ],
)
def test_what_make_gives_is_checked(given: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        rf.sweep(lambda: given, [{}], labelled(), errors="raise", n_jobs=1, progress=False)


def test_an_epoch_s_function_serves_all_models() -> None:
    def batches(epoch: int) -> Iterator[Any]:
        yield labelled(epoch)

    found = rf.sweep(make, GRID, batches, loss="cross_entropy", epochs=2, n_jobs=1, progress=False)
    assert len({row.score for row in found.rows}) == 6
