"""The command on texts of characters, bytes and words: resuming, the ladder, ways to draw."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.commands import SMALL, fails, interrupted_after

import rnnfast as rf
from rnnfast.cli import text_ladder
from rnnfast.cli.main import main
from rnnfast.nn import optim
from rnnfast.text.alphabets import ALPHABETS
from rnnfast.text.training import windows_of
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

KINDS = list(ALPHABETS)

# ---- train and sample


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["window", "gru"])
def test_every_kind_of_symbols_is_trained_and_sampled(folder, capsys, kind, cell):
    run = ["train", "text.txt", *SMALL, "--batch", "2", "--epochs", "2", "--symbols", kind, "--cell", cell]
    assert main(run) == 0
    printed = capsys.readouterr().out
    assert f"held-out bits per {kind[:-1]}" in printed
    assert ("perplexity, bits per character" in printed) == (kind != "characters")
    metadata = read_checkpoint("rnnfast-model.npz")[1]
    assert metadata["kind"] == "text model"
    assert (metadata["options"]["symbols"], metadata["options"]["cell"]) == (kind, cell)
    drawn = []
    for how in (["--seed", "1"], ["--seed", "1"], ["--seed", "2"], ["--beam", "3"], ["--top-p", "0.5"]):
        assert main(["sample", "--prompt", "12 green", "--length", "40", *how]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(one.startswith("12 green") for one in drawn)
    if kind == "characters":
        assert {len(one) for one in drawn} == {8 + 40 + 1}


def test_a_run_in_bfloat16_is_kept_resumed_and_sampled_in_bfloat16(folder, capsys, monkeypatch):
    run = ["train", "text.txt", *SMALL, "--epochs", "2", "--matmul-precision", "bfloat16"]
    assert main([*run, "--output", "whole.npz"]) == 0
    assert "; products in bfloat16\n" in capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr(optim.Adam, "step", interrupted_after(20))
        assert main([*run, "--output", "parts.npz"]) == 130
    resume = ["train", "--resume", "parts.npz"]
    assert "--matmul-precision float32: parts.npz was trained with bfloat16" in (
        fails(capsys, *resume, "--matmul-precision", "float32")
    )
    assert main([*resume, "--matmul-precision", "bfloat16"]) == 0
    ours, theirs = read_checkpoint("parts.npz")[0], read_checkpoint("whole.npz")[0]
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    model = rf.text.load("whole.npz")
    assert model.model.matmul_precision == "bfloat16"
    capsys.readouterr()
    for options, precision in (([], "bfloat16"), (["--matmul-precision", "float32"], "float32")):
        model.model.matmul_precision = precision
        for how in (["--seed", "1"], ["--beam", "2"]):
            assert main(["sample", "whole.npz", "--length", "60", *how, *options]) == 0
        out, likeliest = capsys.readouterr()
        beam = model.beam_search(length=60, beams=2)[0]
        assert out == model.generate(length=60, rng=1) + "\n" + beam.text + "\n"
        assert f"log probability {beam.log_probability:.3f}:" in likeliest


@pytest.mark.parametrize("weights", [None, "bfloat16", "int8"])
def test_a_model_is_saved_alone_with_fewer_bits(folder, capsys, weights):
    run = ["train", "text.txt", *SMALL, "--epochs", "1", "--hidden", "64", "--save", "model.npz"]
    assert main([*run, *([] if weights is None else ["--weights", weights])]) == 0
    size = (folder / "model.npz").stat().st_size
    assert f"model       model.npz; {size:,} bytes\n" in capsys.readouterr().out
    rf.text.load("rnnfast-model.npz").save("again.npz", weights=weights or "float32")
    ours, theirs = read_checkpoint("again.npz"), read_checkpoint("model.npz")
    assert ours[1] == theirs[1]
    assert_equal(ours[0], theirs[0])
    assert main(["sample", "model.npz", "--length", "10", "--seed", "1"]) == 0
    assert capsys.readouterr().out == rf.text.load("again.npz").generate(length=10, rng=1) + "\n"
    assert "model.npz: holds a model alone" in fails(capsys, "train", "--resume", "model.npz")
    whole = (folder / "rnnfast-model.npz").stat().st_size
    assert size < {None: 0.36, "bfloat16": 0.21, "int8": 0.15}[weights] * whole


def test_what_is_saved_needs_a_place_of_its_own(folder, capsys):
    run = ["train", "text.txt", *SMALL]
    assert "--weights int8: needs --save" in fails(capsys, *run, "--weights", "int8")
    for option in ("--save", "--weights"):
        value = {"--save": "a.npz", "--weights": "int8"}[option]
        assert f"{option}: not with --compare" in fails(capsys, *run, "--compare", option, value)
    assert "its folder does not exist" in fails(capsys, *run, "--save", "nowhere/a.npz")
    assert "--save text.txt: exists, is no checkpoint" in fails(capsys, *run, "--save", "text.txt")
    assert "--save a.npz: is the same file as --output" in (
        fails(capsys, *run, "--output", "a.npz", "--save", "a.npz")
    )


def test_a_model_of_words_goes_on_with_the_bits_of_one_that_never_stopped(folder, capsys, monkeypatch):
    run = ["train", "text.txt", *SMALL, "--symbols", "words", "--vocabulary", "30", "--cell", "window"]
    assert main([*run, "--window", "3", "--epochs", "4", "--output", "whole.npz"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(optim.Adam, "step", interrupted_after(25))
        assert main([*run, "--window", "3", "--epochs", "4", "--output", "parts.npz"]) == 130
    assert main(["train", "--resume", "parts.npz"]) == 0
    ours, theirs = read_checkpoint("parts.npz")[0], read_checkpoint("whole.npz")[0]
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert rf.text.load("parts.npz").alphabet.known == rf.text.load("whole.npz").alphabet.known
    capsys.readouterr()
    resume = ["train", "--resume", "parts.npz"]
    assert "--symbols bytes: parts.npz was trained with words" in fails(capsys, *resume, "--symbols", "bytes")
    assert "--window 4: parts.npz was trained with 3" in fails(capsys, *resume, "--window", "4")


def test_checkpoints_of_before_there_were_words_go_on(trained, capsys):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    metadata["kind"] = "character model"
    for name in ("symbols", "vocabulary", "window"):
        del metadata["options"][name]
    write_checkpoint("old.npz", arrays, metadata)
    drawn = []
    for name in ("old.npz", "rnnfast-model.npz"):
        assert main(["train", "--resume", name, "--epochs", "3", "--output", f"more-{name}"]) == 0
        capsys.readouterr()
        assert main(["sample", f"more-{name}", "--seed", "0", "--length", "60"]) == 0
        drawn.append(capsys.readouterr().out)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("entry", "value"), [("symbols", "runes"), ("vocabulary", "x"), ("window", 0), ("cell", "window")]
)
def test_options_that_were_never_recorded(trained, capsys, entry, value):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    metadata["options"][entry] = value
    write_checkpoint("changed.npz", arrays, metadata)
    if entry in ("symbols", "cell"):
        assert "changed.npz: damaged" in fails(capsys, "sample", "changed.npz")
    if entry != "window":  # an LSTM has none
        assert "changed.npz: damaged" in fails(capsys, "train", "--resume", "changed.npz")


def test_a_beam_is_the_likeliest_and_says_how_likely(trained, capsys):
    run = ["sample", "--prompt", "7 green", "--length", "12"]
    assert main([*run, "--temperature", "0"]) == 0
    greedy = capsys.readouterr().out
    assert main([*run, "--beam", "1"]) == 0
    printed, said = capsys.readouterr()
    assert printed == greedy
    assert re.fullmatch(r"12 characters, log probability -\d+\.\d{3}: \d\.\d{3} bits/char\n", said)
    trained_model = rf.text.load("rnnfast-model.npz")
    model, alphabet = trained_model.model, trained_model.alphabet
    best = rf.sampling.beam_search(model, alphabet.encode("7 green"), 12, 5, exclude=[len(alphabet) - 1])[0]
    assert main([*run, "--beam", "5"]) == 0
    printed, said = capsys.readouterr()
    assert printed == "7 green" + "".join(alphabet.decode(best.symbols)) + "\n"
    assert f"log probability {best.log_probability:.3f}:" in said


@pytest.mark.parametrize(
    "other", [["--temperature", "1"], ["--top-k", "3"], ["--top-p", "0.5"], ["--seed", "1"]]
)
def test_a_beam_search_draws_no_random_numbers(trained, capsys, other):
    assert f"{other[0]}: not with --beam" in fails(capsys, "sample", "--beam", "2", *other)


def test_prompts_that_the_model_has_no_symbols_for(folder, capsys):
    assert main(["train", "text.txt", *SMALL, "--symbols", "words", "--epochs", "1"]) == 0
    capsys.readouterr()
    assert "the model knows no ' red'" in fails(capsys, "sample", "--prompt", "7 red bottles")
    assert main(["train", "text.txt", *SMALL, "--symbols", "bytes", "--epochs", "1"]) == 0
    assert main(["sample", "--prompt", "é", "--length", "5"]) == 0


# ---- the ladder


@pytest.fixture
def low_ladder(monkeypatch):
    monkeypatch.setattr(text_ladder, "ORDERS", (3,))


@pytest.mark.usefixtures("low_ladder")
@pytest.mark.parametrize("kind", KINDS)
def test_the_ladder_is_the_scores_of_its_models(folder, capsys, kind):
    how = ["--symbols", kind, "--epochs", "2", "--seed", "3"]
    assert main(["train", "text.txt", *SMALL, *how, "--compare"]) == 0
    printed, _ = capsys.readouterr()
    assert not (folder / "rnnfast-model.npz").exists()
    assert f"2 epochs each, 4 sequences x 16 {kind}" in printed
    rows = {line[:24].strip(): line[24:].split() for line in printed.splitlines() if len(line) > 60}
    networks = ["window of 8, 8 units", "RNN, 8 units", "GRU, 8 units", "LSTM, 8 units"]
    counting = [
        f"{rung}, {smoothing}"
        for smoothing in ("Witten-Bell", "Kneser-Ney")
        for rung in ("unigram", "bigram", "3-gram")
    ]
    assert [name for name in rows if name in (*counting, *networks)] == [*counting, *networks]

    sample = rf.text.read_text("text.txt", kind, 4000 if kind == "words" else None)
    model = rf.text.NGram(sample.training, len(sample.alphabet), 3, "kneser-ney")
    bits = model.bits_per_symbol(sample.held_out)
    assert rows["3-gram, Kneser-Ney"][0] == f"{model.grams:,}"
    expected = [f"{bits:.3f}", f"{2**bits:.2f}"]
    if kind != "characters":
        expected.append(f"{sample.bits_per_character(bits):.3f}")
    assert rows["3-gram, Kneser-Ney"][2:] == expected

    gru = rf.text.build(sample.alphabet, cell="gru", hidden=8, rng=3)
    how = {"batch": 4, "seq_len": 16, "lr": 0.02, "epochs": 2}
    rf.text.train(gru, sample, **how, validate=False, progress=False)
    assert rows["GRU, 8 units"][2] == f"{gru.bits_per_symbol(sample.held_out_from_before):.3f}"
    assert re.search(r"best count model  \S.*: \d+\.\d{3} bits/", printed)
    assert len(re.findall(r" bits (?:below|above) it", printed)) == 4


@pytest.mark.usefixtures("low_ladder")
def test_one_cell_of_the_ladder_and_less_time(folder, capsys):
    run = ["train", "text.txt", *SMALL, "--compare", "--cell", "rnn", "--minutes", "0.002", "--window", "2"]
    assert main(run) == 0
    printed = capsys.readouterr().out
    assert "0.002 minutes each" in printed
    assert "window of 2, 8 units" in printed
    assert "learning rates: window 0.02, rnn 0.02;" in printed
    assert "RNN, 8 units" in printed
    assert "GRU" not in printed
    run = ["train", "text.txt", "--hidden", "8", "--batch", "4", "--seq-len", "16", "--epochs", "1"]
    assert main([*run, "--compare", "--cell", "window"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\nwindow of 8, 8 units") == 1
    assert "learning rates: window 0.005;" in printed


def test_a_margin_is_a_difference_in_words():
    assert text_ladder.margin(1.0, 1.25) == "0.250 bits below"
    assert text_ladder.margin(1.25, 1.0) == "0.250 bits above"


@pytest.mark.usefixtures("low_ladder")
def test_networks_of_the_ladder_that_diverge_are_named(folder, capsys, monkeypatch):
    run = ["train", "text.txt", *SMALL, "--epochs", "1", "--compare", "--lr", "1000", "--symbols", "bytes"]
    error = fails(capsys, *run, "--cell", "rnn")
    assert "training diverged: window of 8, 8 units; RNN, 8 units; a lower --lr may help" in error
    assert main([*run, "--cell", "rnn"]) == 2
    printed = capsys.readouterr().out
    assert re.search(r"^RNN, 8 units +[\d,]+ +\d\.\d +\d+\.\d{3} +inf ", printed, re.MULTILINE)
    assert re.search(r"^RNN, 8 units +training diverged: the last epoch's loss is", printed, re.MULTILINE)
    monkeypatch.setattr(rf.losses, "cross_entropy", lambda y, targets: (np.nan, np.zeros_like(y)))
    assert main([*run, "--cell", "rnn"]) == 2
    assert re.search(r"^RNN, 8 units +training diverged: loss", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.usefixtures("low_ladder")
def test_ctrl_c_leaves_the_rungs_that_are_done(folder, capsys, monkeypatch):
    an_epoch = windows_of(rf.text.read_text("text.txt"), seq_len=16, batch=4)
    # within the second epoch of the second network
    monkeypatch.setattr(optim.Adam, "step", interrupted_after(3 * an_epoch + 1))
    assert main(["train", "text.txt", *SMALL, "--epochs", "2", "--compare"]) == 130
    printed = capsys.readouterr().out
    assert re.search(r"^window of 8, 8 units  ", printed, re.MULTILINE)
    assert "Interrupted: RNN, 8 units and what comes after it are missing." in printed
    assert "best count model" not in printed


def test_options_that_contradict(folder, capsys):
    train = ["train", "text.txt", *SMALL]
    for option in ("--output", "--resume", "--plot"):
        assert f"{option}: not with --compare" in fails(capsys, *train, "--compare", option, "x.npz")
    assert "--vocabulary 9: needs --symbols words" in fails(capsys, *train, "--vocabulary", "9")
    assert "--window 9: needs --cell window" in fails(capsys, *train, "--window", "9")
    few = ["--symbols", "words", "--batch", "99"]
    assert "take 1,585 words, its first nine tenths have" in fails(capsys, *train, *few)
    assert "take 1,585 words" in fails(capsys, *train, *few, "--compare")
