"""Fixtures: kernels and threads of a test, put back as they were found, folders for the command, figures."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import SMALL, TEXT
from helpers.depth import LONG

from rnnfast import _core, functional, get_num_threads, set_num_threads
from rnnfast.cli.main import main

# A shell starts its background jobs with SIGINT ignored; tests of Ctrl-C need it here and in their processes.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once with the kernels of every instruction set that this machine has."""
    before = _core.get_isa()
    _core.force_isa(request.param)
    yield request.param
    _core.force_isa(before)


@pytest.fixture(params=[False, True], ids=["plain", "instructions"])
def instructions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs the test without and with instructions for products that not every processor of its set has."""
    before = _core.get_isa()
    _core.force_isa(before, request.param)
    if request.param and not _core.product_instructions():
        _core.force_isa(before)
        pytest.skip("no such instruction here")
    yield
    _core.force_isa(before)


@pytest.fixture
def restored() -> Iterator[None]:
    """Restores the kernels, the number of threads and their split after the test."""
    isa, threads = _core.get_isa(), _core.get_num_threads()
    yield
    _core.force_isa(isa)
    _core.set_num_threads(threads)
    _core.force_split(None)


@pytest.fixture
def dirty_memory() -> None:
    """Leaves NaN in the scratch memory of the next call, which must write there before it reads."""
    x, weight, bias = (np.full(shape, np.nan, np.float32) for shape in ((2, 8, 100), (400, 100), (400,)))
    *_, tape = functional.lstm_forward(x, weight, weight, bias, bias)
    functional.lstm_backward(tape, None, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of its own, with a text in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    threads = get_num_threads()
    yield tmp_path
    set_num_threads(threads)


@pytest.fixture
def trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder, with a checkpoint in it."""
    assert main(["train", "text.txt", *SMALL, "--epochs", "2"]) == 0
    capsys.readouterr()
    return folder


FIGURES: list[str] = []


@pytest.fixture
def figure() -> Callable[[str], None]:
    """Takes a line that says what a test of reliability has done; the lines are printed after a long run."""
    return FIGURES.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LONG and FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
