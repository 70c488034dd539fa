"""Several workers: the bits of one, whatever ends the run, and one end for all. Here they are threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import N, Streams, T, classifier, fit_quietly, labelled
from training.workers import ThreadComm, in_threads

import rnnfast as rf
from rnnfast.distributed import WorkerError
from rnnfast.training import Run, read_checkpoint
from rnnfast.training.team import Team

SHARDS = 4
WAYS = ("whole", "lengths", "stateful", "windows", "overlapping windows")


def train(way: str = "whole", comm: Any = None, **options: Any) -> dict[str, Any]:
    """What a run with dropout ends with: weights, and the history without its seconds."""
    x, targets = labelled()
    data: Any = x, targets
    if way == "lengths":  # batches of 7 sequences, one of 6, whose last shards are empty steps
        data = x, targets, {"lengths": np.arange(N) % (T + 1), "mask": np.arange(T * N).reshape(T, N) % 3 > 0}
    if way == "stateful":
        data = [(x, targets, {"rng": 7}) for x, targets in Streams(3)]
    model = classifier(dropout=0.2, zoneout=0.1)
    if "optimizer" in options:
        options["optimizer"] = getattr(rf.optim, options["optimizer"])(model.parameters(), lr=0.5)
    history = fit_quietly(
        model,
        data,
        **{
            "stateful": way == "stateful",
            "truncate": {"windows": (4, 4), "overlapping windows": (2, 5)}.get(way),
            "batch_size": 7,
            "epochs": 3,
            "validation": Streams(2, seed=1) if way == "stateful" else labelled(1, 9),
            "clip_norm": 0.5,
            "shards": SHARDS,
            "comm": comm,
            **options,
        },
    )
    columns = ("step", "loss", "validation", "lr", "batch_loss", "stopped")
    return {"weights": weights_of(model), **{name: getattr(history, name) for name in columns}}


def assert_same(got: Any, want: dict[str, Any]) -> None:
    if isinstance(got, BaseException):
        raise got
    assert np.array_equal(got["weights"], want["weights"])
    assert {**got, "weights": 0} == {**want, "weights": 0}


def at_step(step: int, act: Callable[[Run], object], event: str = "step") -> Callable[[Run], None]:
    """A callback that acts once: at an event after so many updates."""

    def callback(run: Run) -> None:
        if run.event == event and run.step == step:
            act(run)

    return callback


def raising(error: BaseException) -> Callable[[Run], None]:
    def act(run: Run) -> None:
        raise error

    return act


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("way", WAYS)
def test_any_number_of_workers_has_the_bits_of_one(way: str, size: int) -> None:
    want = train(way)
    for got in in_threads(size, lambda comm: train(way, comm)):
        assert_same(got, want)


def test_batches_of_fewer_sequences_than_shards() -> None:
    want = train(batch_size=3, validation=labelled(1, 2))
    for got in in_threads(4, lambda comm: train(comm=comm, batch_size=3, validation=labelled(1, 2))):
        assert_same(got, want)


def test_patience_and_a_plateau_decide_alike() -> None:
    def options() -> dict[str, Any]:
        plateau = rf.schedules.plateau(factor=0.5, patience=1)
        return {"epochs": 50, "patience": 4, "schedule": plateau, "validation": labelled(3, 5)}

    want = train(**options())
    assert want["stopped"] == "patience"
    assert want["lr"][-1] < want["lr"][0]
    for got in in_threads(2, lambda comm: train(comm=comm, **options())):
        assert_same(got, want)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [(2, 4), (4, 1), (1, 2)])
def test_a_run_resumes_on_another_number_of_workers(tmp_path: Path, way: str, sizes: tuple[int, int]) -> None:
    """Ctrl-C on worker 0 within an epoch; then another team goes on from its checkpoint."""
    path = tmp_path / "run.npz"

    def first(comm: Any) -> Any:
        stop = at_step(2, raising(KeyboardInterrupt()))
        return train(way, comm, checkpoint=path, callbacks=[stop] if comm.rank == 0 else [])

    ended = in_threads(sizes[0], first)
    assert all(each["stopped"] == "interrupted" and each["step"] == [2] for each in ended)
    want = train(way)
    for got in in_threads(sizes[1], lambda comm: train(way, comm, resume=path, rng=99)):
        assert_same(got, want)


def test_only_worker_0_writes_and_reads_files(tmp_path: Path) -> None:
    def first(comm: Any) -> Any:
        return train(comm=comm, epochs=2, checkpoint=tmp_path / f"{comm.rank}.npz")

    def second(comm: Any) -> Any:
        resume = tmp_path / ("0.npz" if comm.rank == 0 else "none.npz")
        return train(comm=comm, resume=resume)

    in_threads(2, first)
    assert [path.name for path in tmp_path.iterdir()] == ["0.npz"]
    assert read_checkpoint(tmp_path / "0.npz")[1]["fit"]["settings"]["shards"] == SHARDS
    for got in in_threads(2, second):
        assert_same(got, train())
    with pytest.raises(ValueError, match="expected shards=4, which its run was made with, got 2"):
        train(resume=tmp_path / "0.npz", shards=2)


def test_a_checkpoint_from_before_shards_is_of_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    train(shards=1, epochs=1, checkpoint=path)
    arrays, metadata = read_checkpoint(path)
    del metadata["fit"]["settings"]["shards"]
    rf.training.write_checkpoint(path, arrays, metadata)
    assert_same(train(shards=1, resume=path), train(shards=1))
    with pytest.raises(ValueError, match="expected shards=1"):
        train(resume=path)


def test_only_worker_0_shows_progress(capsys: pytest.CaptureFixture[str]) -> None:
    def show(comm: Any) -> Any:
        return train(comm=comm, progress=True, describe=lambda run: f"worker {comm.rank}")

    in_threads(2, show)
    shown = capsys.readouterr().err
    assert "worker 0" in shown
    assert "worker 1" not in shown


def test_every_worker_begins_with_the_model_of_worker_0() -> None:
    def work(comm: Any) -> Any:
        model, (x, targets) = rf.GRU(2, 3, rng=comm.rank, dropout=0.5, num_layers=2), labelled()
        fit_quietly(model, (x, targets), loss=_sum_loss, shards=2, comm=comm, rng=comm.rank, batch_size=8)
        return weights_of(model)

    got = in_threads(2, work)
    assert np.array_equal(got[0], got[1])
    want = rf.GRU(2, 3, rng=0, dropout=0.5, num_layers=2)
    fit_quietly(want, labelled(), loss=_sum_loss, shards=2, batch_size=8)
    assert np.array_equal(got[0], weights_of(want))


def _sum_loss(y: np.ndarray, targets: np.ndarray) -> Any:
    return float(y.mean()), np.full(y.shape, 1 / y.size, y.dtype)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("event", "step"), [("step", 2), ("step", 3), ("epoch", 3), ("start", 0)])
def test_a_callback_of_any_worker_stops_all_after_the_same_step(event: str, step: int, rank: int) -> None:
    stop = at_step(step, lambda run: run.stop(), event)
    want = train(callbacks=[stop])
    assert want["stopped"] == "callback"
    for got in in_threads(2, lambda comm: train(comm=comm, callbacks=[stop] * (comm.rank == rank))):
        assert_same(got, want)


def test_worker_0_decides_on_minutes() -> None:
    def work(comm: Any) -> Any:
        def callback(run: Run) -> None:  # the clock of worker 1 would end the run at once
            run._started -= 1000.0 * (comm.rank == 1 or run.step == 2)

        return train(comm=comm, epochs=None, minutes=10.0, callbacks=[callback])

    for got in in_threads(2, work):
        assert (got["stopped"], got["step"]) == ("minutes", [2])


def test_worker_0_sets_the_learning_rate() -> None:
    """A schedule may read the clock, which differs between workers."""
    want = train(schedule=lambda step: 1.0 / (1 + step))
    for got in in_threads(
        2, lambda comm: train(comm=comm, schedule=lambda step: 1.0 / (1 + step + comm.rank))
    ):
        assert_same(got, want)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("event", ["start", "step", "epoch", "end"])
def test_ctrl_c_on_one_worker_ends_all_after_the_same_step(event: str, rank: int, tmp_path: Path) -> None:
    press = at_step({"start": 0, "step": 2, "epoch": 3, "end": 9}[event], raising(KeyboardInterrupt()), event)

    def work(comm: Any) -> Any:
        options = {"checkpoint": tmp_path / "run.npz", "callbacks": [press] * (comm.rank == rank)}
        return train(comm=comm, **options)

    first, second = in_threads(2, work)
    if event == "end":  # where a real Ctrl-C is kept back: an exception is an error
        assert {type(first), type(second)} == {KeyboardInterrupt, WorkerError}
        return
    assert first["stopped"] == second["stopped"] == "interrupted"
    assert np.array_equal(first["weights"], second["weights"])
    assert (
        read_checkpoint(tmp_path / "run.npz")[1]["fit"]["step"] == {"start": 0, "step": 2, "epoch": 3}[event]
    )


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("call", range(11))
def test_ctrl_c_in_any_exchange_ends_all_alike(call: int, rank: int, tmp_path: Path) -> None:
    """A real SIGINT while a worker waits for others: from the comparison of arguments to that of the end."""
    path = tmp_path / "run.npz"

    def work(comm: Any) -> Any:
        exchange = comm.allgather

        def pressed(arrays: Any) -> Any:
            if comm.rank == rank and comm.calls == call:
                os.kill(os.getpid(), signal.SIGINT)
            return exchange(arrays)

        comm.allgather = pressed
        got = train(comm=comm, epochs=1, batch_size=N, checkpoint=path)
        assert comm.calls > call
        return got

    found = in_threads(2, work, here=rank)
    for got in found:
        assert isinstance(got, dict), got
    assert found[rank]["stopped"] == "interrupted"
    assert np.array_equal(found[0]["weights"], found[1]["weights"])
    assert found[0]["step"] == found[1]["step"]
    assert read_checkpoint(path)[1]["fit"]["step"] == sum(found[0]["step"])


@pytest.mark.parametrize("rank", [0, 1])
def test_ctrl_c_on_one_worker_after_the_last_step_of_a_run_that_is_stopped(rank: int) -> None:
    stop = at_step(3, lambda run: run.stop())
    press = at_step(3, raising(KeyboardInterrupt()), "epoch")
    want = train(callbacks=[stop])
    for got in in_threads(
        2, lambda comm: train(comm=comm, callbacks=[stop, press][: 1 + (comm.rank == rank)])
    ):
        assert_same(got, {**want, "stopped": "interrupted"})


@pytest.mark.parametrize("rank", [0, 1])
def test_a_note_that_json_cannot_hold_ends_all(rank: int) -> None:
    def gathered(comm: Any) -> Any:
        with Team(comm) as team:
            return team.exchange("here", {rank} if comm.rank == rank else None)

    def sent(comm: Any) -> Any:
        with Team(comm) as team:
            return team.first({rank} if comm.rank == rank else {}, {})

    for found in (in_threads(2, gathered), in_threads(2, sent)):
        assert isinstance(found[rank], TypeError)
        assert isinstance(found[1 - rank], WorkerError)
        assert str(found[1 - rank]) == f"worker {rank} of 2 ended with TypeError: {found[rank]}"


def test_numpy_s_integers_and_flags_are_python_s(tmp_path: Path) -> None:
    want = train(shuffle=False)
    given = {
        "batch_size": np.int64(7),
        "shuffle": np.False_,
        "stateful": np.False_,
        "shards": np.int32(SHARDS),
    }
    for got in in_threads(2, lambda comm: train(comm=comm, **(given if comm.rank else {"shuffle": False}))):
        assert_same(got, want)
    assert_same(train(checkpoint=tmp_path / "run.npz", **given), want)


def test_a_stateful_batch_of_another_size_is_refused_by_all() -> None:
    x, targets = labelled()
    batches = [(x[:, :2], targets[:, :2]), (x[:, :4], targets[:, :4])]

    def work(comm: Any) -> Any:
        return fit_quietly(classifier(), batches, stateful=True, shards=SHARDS, comm=comm)

    for found in in_threads(2, work):
        assert isinstance(found, ValueError)
        assert str(found) == (
            "data: expected batches of one number of sequences while states are carried, got one of 4 after "
            "one that fills 2 of 4 shards"
        )


def failing(place: str) -> dict[str, Any]:
    """Arguments with which a worker fails there."""
    error = OSError("the disk is full")

    def batches(epoch: int) -> Iterator[Any]:
        yield labelled()
        raise error

    def loss(y: np.ndarray, targets: np.ndarray) -> Any:
        raise error

    def at_the_end(run: Run) -> None:
        if run.event == "end":
            raise error

    return {
        "arguments": {"patience": 0},
        "type": {"metadata": 3},
        "data": {"batches": batches},
        "loss": {"loss": loss},
        "start": {"callbacks": [at_step(0, raising(error), "start")]},
        "step": {"callbacks": [at_step(1, raising(error))]},
        "epoch": {"callbacks": [at_step(1, raising(error), "epoch")]},
        "end": {"callbacks": [at_the_end]},
        "validation": {"validation": batches},
    }[place]


PLACES = ("arguments", "type", "data", "loss", "start", "step", "epoch", "end", "validation")


@pytest.mark.parametrize("place", PLACES)
def test_an_error_on_one_worker_ends_all(place: str) -> None:
    def work(comm: Any) -> Any:
        model = classifier()
        options = failing(place) if comm.rank == 1 else {}
        batches = options.pop("batches", lambda epoch: iter([labelled()]))
        options = {"validation": lambda epoch: iter([labelled()]), "epochs": 2, **options}
        return fit_quietly(model, batches, shards=3, comm=comm, **options)

    first, second, third = in_threads(3, work)
    assert isinstance(first, WorkerError), first
    assert str(first) == f"worker 1 of 3 ended with {type(second).__name__}: {second}"
    assert str(third) == str(first)
    assert not isinstance(second, WorkerError)


def test_an_error_of_every_worker_is_its_own() -> None:
    def work(comm: Any) -> Any:
        options = {"optimizer": None, "loss": lambda y, targets: (np.nan, np.zeros_like(y))}
        return fit_quietly(classifier(), labelled(), shards=2, comm=comm, **options)

    for found in in_threads(2, work):
        assert isinstance(found, FloatingPointError)


def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path: Path) -> None:
    first, second = in_threads(2, lambda comm: train(comm=comm, checkpoint=tmp_path / "none" / "run.npz"))
    assert isinstance(first, OSError)
    assert isinstance(second, WorkerError)
    first, second = in_threads(2, lambda comm: train(comm=comm, resume=tmp_path / "none.npz"))
    assert isinstance(first, OSError)
    assert isinstance(second, WorkerError)


@pytest.mark.parametrize(
    ("other", "kind", "message"),
    [
        ({"epochs": 4}, ValueError, "got epochs=3 on worker 0 and 4 on worker 1"),
        ({"clip_norm": 0.6}, ValueError, "got clip_norm=0.5 on worker 0 and 0.6 on worker 1"),
        ({"batch_size": 20}, ValueError, "got batch_size=7 on worker 0 and 20 on worker 1"),
        ({"optimizer": "SGD"}, ValueError, "got optimizer=['Adam', {"),
        ({"optimizer": "Adam"}, ValueError, "got optimizer=['Adam', {'lr': 0.02, "),
        ({"validation": None}, ValueError, "got validation=2 on worker 0 and None on worker 1"),
        ({"shards": 8}, ValueError, "got shards=4 on worker 0 and 8 on worker 1"),
        (
            {"callbacks": [at_step(3, lambda run: run.model[2].bias.data.fill(9.0), "epoch")]},
            WorkerError,
            "at the end of epoch 1 the parameters of worker 1 are not those of worker 0",
        ),
    ],
)
def test_workers_that_differ_are_refused(other: dict[str, Any], kind: Any, message: str) -> None:
    for found in in_threads(2, lambda comm: train(comm=comm, **(other if comm.rank else {}))):
        assert isinstance(found, kind), found
        assert message in str(found)


def test_data_of_other_lengths_are_refused() -> None:
    def work(comm: Any) -> Any:
        batches = [labelled()] * (2 + comm.rank)
        return fit_quietly(classifier(), lambda epoch: iter(batches), shards=2, comm=comm)

    for found in in_threads(2, work):
        assert isinstance(found, WorkerError)
        assert "worker 0 is at the end of epoch 0 and worker 1 at step 2" in str(found)


@pytest.mark.parametrize(
    ("comm", "kind", "message"),
    [
        (3, TypeError, "comm: expected an object with rank, size, allgather and broadcast, such as"),
        (ThreadComm(2, type("Shared", (), {"slots": [1, 2]})()), ValueError, "comm.rank: expected less than"),
    ],
)
def test_what_is_no_communicator_is_refused(comm: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        train(comm=comm)


def test_shards_are_a_multiple_of_the_workers() -> None:
    for found in in_threads(3, lambda comm: train(comm=comm)):
        assert isinstance(found, ValueError)
        assert str(found) == "shards: expected a multiple of the 3 workers of comm, got 4"


@pytest.mark.parametrize("way", ["whole", "stateful"])
def test_a_step_sends_the_gradients_of_a_worker_s_shards(way: str) -> None:
    """Four bytes for each parameter and shard, the states that are carried, and a short note."""
    sent = []

    def work(comm: Any) -> Any:
        def note(run: Run) -> None:
            if run.event == "step":
                sent.append((comm.rank, run.step, comm.sent, comm.calls))

        return train(way, comm, callbacks=[note])

    in_threads(2, work)
    (_, _, before, calls), (_, _, after, more) = sorted(each for each in sent if each[0] == 0)[:2]
    parameters = classifier().parameters()
    states = 2 * 5 * 4 if way == "stateful" else 0  # 2 sequences of this worker, 5 units
    assert more - calls == 2
    expected = 2 * 4 * sum(parameter.size for parameter in parameters) + states
    assert expected < after - before < expected + 700
