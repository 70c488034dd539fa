"""Ctrl-C during `fit`: the update is finished, the checkpoint is written, the history is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import weights_of
from training.runs import classifier, fit_quietly, labelled, whole_run

import rnnfast as rf
from rnnfast.training import Run, read_checkpoint


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_waits_for_the_update_and_ends_anything_else_at_once() -> None:
    """A real SIGINT during the optimizer's step: all parameters are updated, the history is whole."""

    class Slow(rf.optim.SGD):
        def step(self) -> None:
            if len(history_of) == 1:
                os.kill(os.getpid(), signal.SIGINT)
            super().step()
            history_of.append(weights_of(model))

    history_of: list[np.ndarray] = []
    model = classifier()
    before = signal.getsignal(signal.SIGINT)
    history = fit_quietly(model, labelled(), Slow(model.parameters(), lr=0.1), epochs=9, batch_size=4)
    assert signal.getsignal(signal.SIGINT) is before
    assert history.interrupted
    assert history.stopped == "interrupted"
    assert history.step == [2]
    assert len(history.batch_loss) == len(history_of) == 2
    assert np.array_equal(weights_of(model), history_of[-1])

    def loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    kept = weights_of(model)
    history = rf.fit(model, loss, labelled(), rf.optim.SGD(model.parameters()), progress=False)
    assert history.interrupted
    assert history.step == []
    assert np.array_equal(weights_of(model), kept)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_second_ctrl_c_ends_the_update_and_the_caller_s_handler_stays(tmp_path: Path) -> None:
    class Stuck(rf.optim.SGD):
        def step(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    model = classifier()
    assert fit_quietly(model, labelled(), Stuck(model.parameters())).interrupted

    seen_signals = []
    before = signal.signal(signal.SIGINT, lambda *arguments: seen_signals.append(1))
    try:
        history = fit_quietly(model, labelled(), callbacks=[lambda run: os.kill(os.getpid(), signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert not history.interrupted
    assert len(seen_signals) == 4


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_while_the_last_checkpoint_is_written_waits_for_it(tmp_path: Path) -> None:
    def press(run: Run) -> None:
        if run.event == "end":
            os.kill(os.getpid(), signal.SIGINT)

    _, history = whole_run(tmp_path / "run.npz", callbacks=[press])
    assert history.interrupted
    assert len(history.loss) == 4
    rf.load(tmp_path / "run.npz", classifier())

    def press_twice(run: Run) -> None:
        press(run)
        press(run)

    with pytest.raises(KeyboardInterrupt):
        whole_run(callbacks=[press_twice])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_resumed_epoch_that_was_validated_counts_once(tmp_path: Path) -> None:
    """Ctrl-C after the validation, before the end of its epoch: the same weights are judged again."""
    path = tmp_path / "run.npz"
    calls = 0

    def batches(epoch: int) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        yield labelled(1)
        if calls == 1:
            raise KeyboardInterrupt

    improved = []
    fit_quietly(classifier(), labelled(), validation=batches, checkpoint=path)
    options = {"validation": labelled(1), "resume": path, "checkpoint": path}
    fit_quietly(classifier(), labelled(), callbacks=[lambda run: improved.append(run.improved)], **options)
    arrays, metadata = read_checkpoint(path)
    assert improved[-1]
    at_the_end_of_the_epoch = metadata["fit"] | {"epoch": 0, "batch": 1}
    rf.training.write_checkpoint(path, arrays, {"fit": at_the_end_of_the_epoch})
    improved.clear()
    fit_quietly(classifier(), labelled(), callbacks=[lambda run: improved.append(run.improved)], **options)
    assert improved[-1]
