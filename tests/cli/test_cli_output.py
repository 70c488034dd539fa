"""The command when what it reads or writes is no plain file: pipes, devices, full disks, closed streams."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.commands import SMALL, fails

from rnnfast.text import reading
from rnnfast.training.checkpoint import read_checkpoint

RNNFAST = [sys.executable, "-m", "rnnfast"]
TRAIN = ["train", "text.txt", *SMALL, "--epochs", "1"]
PRINTING = [["info"], ["sample"], ["--version"], ["--help"], ["train", "--help"], [*TRAIN, "--compare"]]

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
needs_zero = pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")


def run(arguments, **streams):
    """A command in a process of its own: its exit code and stderr."""
    streams = {"stdout": subprocess.DEVNULL} | streams
    done = subprocess.run(
        [*RNNFAST, *arguments], stderr=subprocess.PIPE, text=True, timeout=60, check=False, **streams
    )
    return done.returncode, done.stderr


def run_without_reader(arguments):
    """The same, into a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        return run(arguments, stdout=write)
    finally:
        os.close(write)


@pytest.fixture
def table(folder):
    """A table to forecast, by a rung that costs no time."""
    pytest.importorskip("pandas")
    (folder / "y.csv").write_text("y\n" + "\n".join(f"{n % 7}.5" for n in range(80)))
    return ["forecast", "y.csv", "--rung", "last", "--horizon", "2"]


# ---- stdout


def test_training_goes_on_without_a_reader_and_writes_its_checkpoint(folder):
    code, error = run_without_reader(TRAIN)
    assert code == 141
    assert "Traceback" not in error
    assert error.endswith("rnnfast train: the reader of stdout left; the files are written\n")
    assert read_checkpoint("rnnfast-model.npz")[1]["fit"]["epoch"] == 1


def test_a_forecast_is_written_without_a_reader(folder, table):
    code, error = run_without_reader([*table, "--output", "forecast.csv"])
    assert (code, error) == (141, "rnnfast forecast: the reader of stdout left; the files are written\n")
    assert (folder / "forecast.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("command", [["sample", "--length", "100000000"], ["info"], [*TRAIN, "--compare"]])
def test_a_command_that_only_prints_ends_with_its_reader(trained, command):
    code, error = run_without_reader(command)
    assert code == 141
    assert "error" not in error.lower()


@needs_full
@pytest.mark.parametrize("command", [TRAIN, *PRINTING], ids=" ".join)
def test_a_full_disk_behind_stdout(trained, command):
    with open("/dev/full", "w") as full:
        code, error = run(command, stdout=full)
    assert code == 2
    assert "Traceback" not in error
    assert error.splitlines()[-1].endswith("error: stdout: No space left on device")


@needs_full
def test_a_full_disk_behind_a_forecast(table):
    with open("/dev/full", "w") as full:
        code, error = run(table, stdout=full)
    assert (code, error) == (2, "rnnfast forecast: error: stdout: No space left on device\n")


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_lose_no_training(folder, closed):
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh"]
    done = subprocess.run([*shell, *RNNFAST, *TRAIN], timeout=60, check=False)
    assert done.returncode == 0
    assert read_checkpoint("rnnfast-model.npz")[1]["fit"]["epoch"] == 1


@needs_full
def test_a_full_disk_behind_stderr_loses_no_training(folder):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*RNNFAST, *TRAIN], stdout=subprocess.DEVNULL, stderr=full, timeout=60, check=False
        )
    assert done.returncode == 0
    assert read_checkpoint("rnnfast-model.npz")[1]["fit"]["epoch"] == 1


# ---- files


@needs_zero
@pytest.mark.parametrize("command", [["sample"], ["train", "--resume"], ["train"]])
def test_what_has_no_end_is_not_read(trained, capsys, command):
    assert "/dev/zero: expected a regular file" in fails(capsys, *command, "/dev/zero")
    error = fails(capsys, *command, trained)
    assert "Is a directory" in error or "--resume" in error


@needs_zero
def test_a_forecast_reads_what_has_an_end(folder, capsys):
    pytest.importorskip("pandas")
    os.symlink("/dev/zero", "zero.csv")
    (folder / "y.csv").write_text("y\n1\n2\n")
    assert "zero.csv: expected a regular file" in fails(capsys, "forecast", "zero.csv")
    error = fails(capsys, "forecast", "y.csv", "--model", "/dev/zero")
    assert "--model /dev/zero: expected a regular file" in error


@needs_fifo
@pytest.mark.parametrize("command", [["sample"], ["train", "--resume"]])
def test_a_checkpoint_is_not_read_from_a_pipe(folder, capsys, command):
    os.mkfifo("pipe")  # nobody writes to it: opening it would wait
    assert "pipe: expected a regular file" in fails(capsys, *command, "pipe")


@needs_zero
@pytest.mark.parametrize("option", ["--output", "--plot"])
@pytest.mark.parametrize("file", ["/dev/zero", "/dev/null", "pipe"])
def test_nothing_is_written_to_a_device_or_a_pipe(folder, capsys, option, file):
    pytest.importorskip("matplotlib")
    os.mkfifo("pipe")
    assert f"{option} {file}: expected a regular file" in fails(capsys, *TRAIN, option, file)
    assert not (folder / "rnnfast-model.npz").exists()


def test_a_name_that_is_too_long(folder, capsys):
    assert "name too long" in fails(capsys, *TRAIN, "--output", "a" * 300)


@pytest.fixture
def fed_pipe(folder):
    """A named pipe that a process writes the text into."""
    os.mkfifo("pipe")
    with subprocess.Popen(["cp", "text.txt", "pipe"]) as feeder:
        yield "pipe"
        feeder.kill()


@needs_fifo
@pytest.mark.parametrize("file", ["/dev/stdin", "pipe"])
def test_a_text_from_a_pipe_is_that_of_the_file(folder, fed_pipe, file):
    content = (folder / "text.txt").read_text()
    code, error = run(["train", file, *SMALL, "--epochs", "1"], input=content)
    assert code == 0, error
    recorded = read_checkpoint("rnnfast-model.npz")[1]["text"]
    crc32 = reading.Text(content).crc32
    assert recorded == {"name": file, "files": [file], "crc32": crc32}


@needs_zero
def test_stdin_without_an_end(folder):
    with open("/dev/zero", "rb") as zeros:
        code, error = run(["train", "/dev/stdin", *SMALL], stdin=zeros)
    assert code == 2
    assert "/dev/stdin: expected a file, a pipe or a terminal, got a device" in error


@pytest.mark.parametrize("size", [101, 10_000])
def test_a_text_beyond_the_bound(folder, capsys, monkeypatch, size):
    monkeypatch.setattr(reading, "MOST", 100)
    (folder / "long.txt").write_text("a" * size)
    assert "long.txt: expected at most 100 bytes, got more" in fails(capsys, "train", "long.txt")
