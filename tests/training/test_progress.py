"""Progress on a terminal, in a file and on a broken stderr; the history, printed and plotted."""

from __future__ import annotations

import errno
import io
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from training.runs import classifier, fit_quietly, labelled, whole_run

import rnnfast as rf
from rnnfast.training import History, Run


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
def test_an_stderr_that_cannot_be_written_ends_no_training(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Full(terminal))  # whose size cannot be asked either
    assert len(fit_quietly(classifier(), labelled(), epochs=2, progress=True).loss) == 2


def test_a_closed_stderr_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    assert len(fit_quietly(classifier(), labelled(), epochs=2, progress=True).loss) == 2


def test_an_stderr_without_isatty_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

        def flush(self) -> None:
            pass

    plain = Plain()
    monkeypatch.setattr(sys, "stderr", plain)
    fit_quietly(classifier(), labelled(), progress=True)
    assert plain.text.endswith("\n")
    assert "\r" not in plain.text


def test_a_terminal_without_a_size_has_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsized(Terminal):
        def fileno(self) -> int:
            raise io.UnsupportedOperation("fileno")

    screen = Unsized(True)
    monkeypatch.setattr(sys, "stderr", screen)
    fit_quietly(classifier(), labelled(), progress=True, describe=lambda run: "x" * 100)
    lines = screen.text.strip("\n").split("\r")[1:]
    assert max(map(len, lines)) == 79


@pytest.mark.parametrize("minutes", [None, 100.0])
def test_progress_on_a_terminal_redraws_one_line(
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
    fit_quietly(
        classifier(),
        labelled(),
        epochs=2,
        batch_size=10,
        minutes=minutes,
        validation=labelled(1),
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


def test_progress_in_a_file_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0

    def tick(run: Run) -> None:
        nonlocal now
        now += 400.0 if run.step == 3 else 1.0

    monkeypatch.setattr("time.monotonic", lambda: now)
    fit_quietly(
        classifier(),
        iter([labelled()] * 6),
        progress=True,
        callbacks=[tick],
        describe=lambda run: f"{run.mean / math.log(2):.2f} bits  {run.rate:.0f}/s",
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("bits" in line for line in lines)
    assert "6:4" in lines[0]
    assert "\r" not in "".join(lines)
    fit_quietly(classifier(), labelled(), progress=False)
    assert capsys.readouterr().err == ""


def test_fit_without_stderr_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(fit_quietly(classifier(), labelled(), progress=True).loss) == 1


def test_a_function_shows_the_progress_instead_of_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[tuple[str, str, int]] = []
    history = fit_quietly(
        classifier(),
        labelled(),
        epochs=2,
        batch_size=10,
        progress=lambda run: events.append(("progress", run.event, run.step)),
        callbacks=[lambda run: events.append(("callback", run.event, run.step))],
    )
    assert len(history.batch_loss) == 4
    shown = [event[1:] for event in events if event[0] == "progress"]
    steps = [("step", 1), ("step", 2), ("epoch", 2), ("step", 3), ("step", 4), ("epoch", 4)]
    assert shown == [("start", 0), *steps, ("end", 4)]
    assert events[::2] == [("callback", *event) for event in shown]  # each before it is shown
    assert capsys.readouterr().err == ""


def test_a_function_is_given_the_run_and_may_fail_as_a_callback() -> None:
    def show(run: Run) -> None:
        assert isinstance(run, Run)
        if run.event == "step":
            raise LookupError("no screen")

    model = classifier()
    optimizer = rf.optim.Adam(model.parameters(), lr=0.02)
    with pytest.raises(LookupError, match="no screen"):
        fit_quietly(model, labelled(), optimizer, schedule=rf.schedules.cosine(9), progress=show)
    assert optimizer.lr == 0.02


@pytest.mark.parametrize("value", ["no", 2, None, [], np.zeros(2), Terminal])
def test_progress_that_is_neither_a_flag_nor_a_function_is_refused(value: object) -> None:
    before = classifier()
    model = classifier()
    with pytest.raises(TypeError, match=r"^progress: expected True, False or a function of a run, got "):
        fit_quietly(model, labelled(), progress=value)
    for mine, other in zip(model.parameters(), before.parameters(), strict=True):
        assert np.array_equal(mine.data, other.data)


def test_a_text_model_takes_the_function_too(capsys: pytest.CaptureFixture[str]) -> None:
    text = rf.text.Text("what is written twice is easily read twice. " * 20)
    model = rf.text.build(text.alphabet, cell="rnn", hidden=8, dropout=0, rng=0)
    steps: list[int] = []
    rf.text.train(model, text, seq_len=16, batch=2, epochs=1, progress=lambda run: steps.append(run.step))
    assert max(steps) > 1
    assert capsys.readouterr().err == ""


def test_history_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    _, history = whole_run(epochs=3, validation=labelled(1))
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


def test_the_repr_of_a_history() -> None:
    _, history = whole_run(epochs=1, validation=labelled(1))
    assert repr(history).startswith("<History of 3 steps, loss ")
    assert "best validation" in repr(history)
    assert repr(History()) == "<History of 0 steps>"
