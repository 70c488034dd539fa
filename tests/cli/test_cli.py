"""The command: training, exact resuming, sampling, Ctrl-C, and one clear line for every mistake."""

from __future__ import annotations

import errno
import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.commands import SMALL, TEXT, fails, interrupted_after

import rnnfast as rf
from rnnfast.cli import options
from rnnfast.cli.errors import CommandError
from rnnfast.cli.main import main
from rnnfast.nn import optim
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

# ---- train


@pytest.mark.parametrize("name", ["RNN", "MinGRU", "MinLSTM", "GRU", "LSTM"])
def test_train_says_what_it_does_and_leaves_a_checkpoint(folder, capsys, name):
    cell = name.lower()
    code = main(
        ["train", "text.txt", *SMALL, "--epochs", "3", "--cell", cell, "--layers", "2", "--threads", "1"]
    )
    printed, progress = capsys.readouterr()
    assert code == 0
    assert f"{len(TEXT):,} characters" in printed
    assert re.search(r"unigram \d\.\d{3}   bigram \d\.\d{3}   5-gram \d\.\d{3}", printed)
    assert re.search(rf"{name}, 2 layers of 8 units +\d\.\d{{3}}", printed)
    assert re.search(r"\d\.\d{3} bits (below|above) the 5-gram, Witten-Bell\n", printed)
    assert re.search(r"\d\.\d{3} bits (below|above) the best count model, the \S+, Kneser-Ney\n", printed)
    assert "a sample at temperature 0.8" in printed
    assert re.search(r"bits/char  [\d.]+k chars/s", progress)
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    assert metadata["options"]["cell"] == cell
    assert arrays["model.2.weight_ih_l1"].shape[1] == 8


def test_training_learns(folder, capsys):
    assert (
        main(["train", "text.txt", "--hidden", "32", "--batch", "4", "--seq-len", "16", "--epochs", "12"])
        == 0
    )
    printed = capsys.readouterr().out
    bits = float(re.search(r"LSTM, 32 units +(\S+)", printed).group(1))
    assert bits < float(re.search(r"bigram +(\S+)\n", printed).group(1))


def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(folder, capsys, monkeypatch):
    run = ["train", "text.txt", *SMALL, "--epochs", "4", "--dropout", "0.2", "--layers", "2"]
    run += ["--zoneout", "0.1", "--recurrent-dropout", "0.1", "--weight-dropout", "0.2"]
    assert main([*run, "--output", "whole.npz"]) == 0
    whole = capsys.readouterr().out

    with monkeypatch.context() as patched:
        patched.setattr(optim.Adam, "step", interrupted_after(60))  # within the second epoch
        assert main([*run, "--output", "parts.npz"]) == 130
    printed = capsys.readouterr().out
    assert "rnnfast train --resume parts.npz" in printed
    stopped_at = read_checkpoint("parts.npz")[1]["fit"]["step"]
    assert 0 < stopped_at < read_checkpoint("whole.npz")[1]["fit"]["step"]

    assert main(["train", "--resume", "parts.npz"]) == 0
    resumed = capsys.readouterr().out
    assert resumed.split("bits per character\n")[1].split("checkpoint")[0] in whole
    ours, theirs = read_checkpoint("parts.npz")[0], read_checkpoint("whole.npz")[0]
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_resume_takes_more_epochs_another_rate_and_another_file(trained, capsys):
    assert (
        main(
            ["train", "--resume", "rnnfast-model.npz", "--epochs", "3", "--lr", "0.001", "--output", "b.npz"]
        )
        == 0
    )
    assert "3 epochs" in capsys.readouterr().out
    metadata = read_checkpoint("b.npz")[1]
    assert metadata["options"]["lr"] == 0.001
    assert metadata["options"]["hidden"] == 8
    assert read_checkpoint("rnnfast-model.npz")[1]["options"]["epochs"] == 2


def test_minutes_limit_a_run(folder, capsys):
    assert main(["train", "text.txt", *SMALL, "--minutes", "0.01"]) == 0
    assert "0.01 minutes" in capsys.readouterr().out


def test_plot(folder, capsys):
    pytest.importorskip("matplotlib")
    assert main(["train", "text.txt", *SMALL, "--epochs", "1", "--plot", "curves.png"]) == 0
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.xyz" in fails(capsys, "train", "text.txt", *SMALL, "--epochs", "1", "--plot", "curves.xyz")


def test_plot_without_matplotlib_names_the_extra(folder, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'pip install "rnnfast[cli]"' in fails(capsys, "train", "text.txt", "--plot", "curves.png")


def test_ctrl_c_saves_and_ends(folder):
    command = [sys.executable, "-m", "rnnfast", "train", "text.txt", *SMALL, "--epochs", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        printed, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "The checkpoint is saved" in printed
    assert main(["sample", "rnnfast-model.npz", "--length", "1"]) == 0


def test_ctrl_c_outside_of_training(trained, capsys, monkeypatch):
    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("rnnfast.cli.text.load", interrupt)
    assert main(["sample"]) == 130
    assert "Interrupted" in capsys.readouterr().err


# ---- sample


def test_sample_is_the_prompt_and_what_follows(trained, capsys):
    drawn = []
    for seed in ("1", "1", "2"):
        assert main(["sample", "--prompt", "12 green", "--length", "40", "--seed", seed]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(one) == 8 + 40 + 1 and one.startswith("12 green") for one in drawn)


def test_temperature_zero_and_top_one_are_the_likeliest(trained, capsys):
    drawn = set()
    for how in (
        ["--temperature", "0"],
        ["--top-k", "1"],
        ["--top-k", "1", "--temperature", "5", "--seed", "3"],
    ):
        assert main(["sample", "--length", "30", *how]) == 0
        drawn.add(capsys.readouterr().out)
    assert len(drawn) == 1


def test_a_terminal_without_the_characters_of_the_text(folder):
    (folder / "greek.txt").write_text("αβγδ " * 100, encoding="utf-8")
    assert main(["train", "greek.txt", *SMALL, "--epochs", "1"]) == 0
    command = [sys.executable, "-m", "rnnfast", "sample", "--length", "10", "--seed", "0"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "?" in done.stdout


# ---- info


def test_info(capsys):
    assert main(["info"]) == 0
    assert rf.__version__ in capsys.readouterr().out


# ---- mistakes


def test_texts_that_cannot_be_trained_on(folder, capsys):
    (folder / "empty.txt").write_text("")
    (folder / "short.txt").write_text("short " * 20)
    (folder / "latin.txt").write_bytes("für".encode("latin-1") * 100)
    assert "nowhere.txt: No such file" in fails(capsys, "train", "nowhere.txt")
    assert "Is a directory" in fails(capsys, "train", folder)
    assert "empty.txt: 0 characters are too short" in fails(capsys, "train", "empty.txt")
    assert "16 sequences (--batch) of 64 steps (--seq-len) take 1,025" in fails(capsys, "train", "short.txt")
    assert "latin.txt: not UTF-8 text (byte 1)" in fails(capsys, "train", "latin.txt")
    assert "null" in fails(capsys, "train", "nul\0l.txt")
    assert not (folder / "rnnfast-model.npz").exists()


def test_a_python_without_the_default_text(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert "name a text file" in fails(capsys, "train")


@pytest.mark.parametrize("command", [["sample"], ["train", "--resume"]])
def test_files_that_are_no_checkpoint_of_this_command(trained, capsys, command):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    whole = (trained / "rnnfast-model.npz").read_bytes()
    (trained / "half.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(trained / "foreign.npz", a=np.ones(3))
    rf.save("other.npz", rf.Linear(2, 3))
    write_checkpoint("nameless.npz", arrays, {**metadata, "options": {}})
    write_checkpoint("changed.npz", arrays, {**metadata, "options": {**metadata["options"], "hidden": 9}})
    assert "No such file" in fails(capsys, *command, "missing.npz")
    assert "error: text.txt" in fails(capsys, *command, "text.txt")
    assert "error: half.npz" in fails(capsys, *command, "half.npz")
    assert "foreign.npz" in fails(capsys, *command, "foreign.npz")
    assert "not one of `rnnfast train`" in fails(capsys, *command, "other.npz")
    assert "nameless.npz: damaged" in fails(capsys, *command, "nameless.npz")
    assert "changed.npz: damaged" in fails(capsys, *command, "changed.npz")


@pytest.mark.parametrize(
    ("part", "entry", "value"),
    [
        ("options", "batch", 0),
        ("options", "seq_len", "x"),
        ("options", "lr", float("nan")),
        ("text", "files", [3]),
        ("fit", "step", -1),
        ("fit", "best_step", float("inf")),
        ("fit", "rows", None),
    ],
)
def test_resuming_a_run_with_a_damaged_entry(trained, capsys, part, entry, value):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    metadata[part][entry] = value
    write_checkpoint("changed.npz", arrays, metadata)
    assert "changed.npz: " in fails(capsys, "train", "--resume", "changed.npz", "--epochs", "3")
    assert "damaged" in fails(capsys, "train", "--resume", "changed.npz", "--epochs", "3")


def test_a_model_larger_than_the_memory(folder, capsys):
    assert "not enough memory" in fails(capsys, "train", "text.txt", "--hidden", str(10**12))


def test_what_a_resumed_run_cannot_change(trained, capsys):
    resume = ["train", "--resume", "rnnfast-model.npz"]
    assert "--seq-len 9: rnnfast-model.npz was trained with 16" in fails(capsys, *resume, "--seq-len", 9)
    (trained / "text.txt").write_text(TEXT + ".")
    assert "not the text that" in fails(capsys, *resume)
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    write_checkpoint(
        "runless.npz", arrays, {name: metadata[name] for name in ("kind", "options", "alphabet", "text")}
    )
    assert "runless.npz: holds a model alone" in fails(capsys, "train", "--resume", "runless.npz")


def test_places_that_cannot_be_written(folder, capsys):
    assert "its folder does not exist" in fails(capsys, "train", "text.txt", "--output", "nowhere/model.npz")
    assert "is a folder" in fails(capsys, "train", "text.txt", "--output", folder)
    assert "is no checkpoint, and is not replaced" in fails(
        capsys, "train", "text.txt", "--output", "text.txt"
    )
    assert (folder / "text.txt").read_text() == TEXT


def test_a_loss_that_is_not_finite(folder, capsys, monkeypatch):
    monkeypatch.setattr(rf.losses, "cross_entropy", lambda y, targets: (math.nan, np.zeros_like(y)))
    assert "training diverged: loss" in fails(capsys, "train", "text.txt", *SMALL, "--epochs", "2")


@pytest.mark.parametrize("symbols", ["characters", "words"])
def test_a_loss_that_explodes(folder, capsys, symbols):
    run = ["train", "text.txt", *SMALL, "--symbols", symbols, "--epochs", "2", "--lr", "1000"]
    error = fails(capsys, *run)
    assert re.search(r"training diverged: the last epoch's loss is [\d,]+\.\d{3} bits/(char|word), ", error)
    assert error.endswith("; a lower --lr may help")
    assert read_checkpoint("rnnfast-model.npz")[1]["fit"]["epoch"] == 2


def test_a_loss_that_explodes_has_an_infinite_perplexity(folder, capsys):
    run = ["train", "text.txt", *SMALL, "--symbols", "words", "--epochs", "2", "--lr", "1000"]
    assert main(run) == 2
    assert re.search(r"LSTM, 8 units +\d+\.\d{3} +inf +\d+\.\d{3}\n", capsys.readouterr().out)


def test_a_disk_that_is_full(folder, capsys, monkeypatch):
    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rnnfast.text.training.fit", full)
    assert "rnnfast-model.npz: No space left" in fails(capsys, "train", "text.txt", *SMALL)


def test_a_window_has_no_state_to_regularize(folder, capsys):
    for option in ("--zoneout", "--recurrent-dropout", "--weight-dropout"):
        assert f"{option} 0.1: not with --cell window" in fails(
            capsys, "train", "text.txt", *SMALL, "--cell", "window", option, "0.1"
        )
    with pytest.raises(ValueError, match=r"^zoneout: expected 0 for the cell 'window', got 0.1"):
        rf.text.build(rf.text.Characters("ab"), cell="window", zoneout=0.1)


def test_a_prompt_of_other_characters(trained, capsys):
    assert "the model knows no 'é', 'ü'" in fails(capsys, "sample", "--prompt", "éü")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden", "0"),
        ("--hidden", "x"),
        ("--dropout", "1"),
        ("--zoneout", "1"),
        ("--recurrent-dropout", "-0.1"),
        ("--weight-dropout", "x"),
        ("--lr", "nan"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--threads", "257"),
        ("--minutes", "0"),
    ],
)
def test_options_out_of_range(capsys, option, value):
    with pytest.raises(SystemExit) as stopped:
        main(["train", option, value])
    assert stopped.value.code == 2
    assert f"argument {option}: expected" in capsys.readouterr().err


def test_lists_of_thread_counts():
    assert options.thread_counts("1,2,16") == [1, 2, 16]
    assert options.non_negative("0") == 0.0


def test_a_command_error_says_what_it_was_given():
    assert str(CommandError("x: y")) == "x: y"
