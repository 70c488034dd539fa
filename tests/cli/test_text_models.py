"""The command on texts of characters, bytes and words: symbols, resuming, the ladder, ways to draw."""

from __future__ import annotations

import re

import numpy as np
import pytest
from commands import SMALL, TEXT, fails, interrupted_after
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf
from rnnfast.baselines import NGram
from rnnfast.cli import compare
from rnnfast.cli.main import main
from rnnfast.nn import optim
from rnnfast.text import counting, reading
from rnnfast.text import model as textmodel
from rnnfast.text.alphabets import ALPHABETS, Bytes, Characters, Words, restored
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

KINDS = list(ALPHABETS)

# ---- symbols


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(written=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_comes_back_from_its_symbols(kind, written):
    alphabet = ALPHABETS[kind].of(written)
    numbers = alphabet.encode(written)
    assert "".join(alphabet.decode(numbers)) == written
    again = restored(kind, alphabet.recorded)
    assert again.encode(written).tolist() == numbers.tolist()
    assert len(again) == len(alphabet) > numbers.max(initial=-1)
    assert alphabet.missing(written) == []


def test_words_are_cut_as_they_say():
    assert Words([]).cut("It's  3.14,\n\tnaïve _x_ (y)\n\n") == (
        ["It", "'", "s", "  ", "3", ".", "14", ",", "\n", "\t", "naïve", " _x_", " (", "y", ")", "\n", "\n"]
    )


def test_the_most_frequent_words_are_known():
    alphabet = Words.of("a b b c c c d", vocabulary=2)
    assert alphabet.known == [" c", " b"]
    assert alphabet.encode("a c b").tolist() == [2, 0, 1]
    assert alphabet.unknown == 2
    assert len(alphabet) == 3
    assert alphabet.missing("a c d") == [" d", "a"]


def test_bytes_that_are_no_text():
    assert list(Bytes().decode(b"a\xe2\x82\xacb\xff\xe2")) == ["a", "€", "b", "\ufffd", "\ufffd"]
    assert Bytes().encode("\udcff").tolist() == [255]  # what a shell hands over undecoded


@pytest.mark.parametrize("recorded", [None, 3, ["a", 2]])
def test_what_no_alphabet_recorded(recorded):
    for kind in ("characters", "words"):
        with pytest.raises(ValueError, match=f"alphabet: expected one of '{kind}'"):
            restored(kind, recorded)


def test_all_kinds_have_the_same_split():
    content = "".join(f"{n} élan, " for n in range(60))
    texts = {kind: reading.Text("text", (), content, kind) for kind in KINDS}
    for one in texts.values():
        assert "".join(one.alphabet.decode(one.training)) == content[: one.cut]
        assert one.held_out_from_before.tolist() == [one.training[-1], *one.held_out]
    assert len(texts["bytes"].held_out) > len(texts["characters"].held_out) > len(texts["words"].held_out)


def test_bits_per_character():
    content = "one two " * 20
    characters, words = (reading.Text("text", (), content, kind) for kind in ("characters", "words"))
    assert characters.bits_per_character(1.25) == 1.25
    assert words.bits_per_character(2.0) == pytest.approx(2.0 * len(words.held_out) / 16)
    accented = reading.Text("text", (), "éé" * 20, "bytes")
    assert accented.bits_per_character(1.5) == pytest.approx(3.0)


def test_an_unknown_word_costs_its_spelling():
    content = "ab cd " * 30 + "zzz ab cd ab cdx"
    few = reading.Text("text", (), content[:180], "words", vocabulary=1)
    held_out = content[:180][few.cut :]
    unknown = [token for token in few.alphabet.cut(held_out) if token != few.alphabet.known[0]]
    characters = Characters.of(content[: few.cut])
    end = len(characters)
    numbers = {token: [*characters.encode(token), end] for token in few.alphabet.cut(content[: few.cut])}
    speller = NGram([n for word in numbers.values() for n in word], end + 1, 5, "kneser-ney")
    spelt = [n for word in unknown for n in [*characters.encode(word), end]]
    assert few.spelling_bits == pytest.approx(speller.bits_per_symbol(spelt) * len(spelt))
    assert few.bits_per_character(0.0) == pytest.approx(few.spelling_bits / len(held_out))


def test_the_best_kneser_ney_model_is_that_of_all_orders():
    sample = reading.Text("text", (), TEXT)
    best = counting.best_kneser_ney(sample)
    scores = {}
    for order in range(1, counting.LONGEST + 1):
        model = NGram(sample.training, len(sample.alphabet), order, "kneser-ney")
        scores[order] = model.bits_per_symbol(sample.held_out)
    assert best.bits == min(scores.values()) == scores[best.order]
    assert best.name == f"{best.order}-gram, Kneser-Ney"
    assert counting.margin(1.0, 1.25) == "0.250 bits below"
    assert counting.margin(1.25, 1.0) == "0.250 bits above"


@pytest.mark.parametrize(("bits", "expected"), [(3.0, 8.0), (63.0, 2.0**63), (64.0, np.inf), (1e6, np.inf)])
def test_perplexity_is_infinite_beyond_all_that_models_have(bits, expected):
    assert textmodel.perplexity(bits) == expected


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
    assert textmodel.load("parts.npz")[1].known == textmodel.load("whole.npz")[1].known
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
    model, alphabet, _ = textmodel.load("rnnfast-model.npz")
    best = rf.sampling.beam_search(model, alphabet.encode("7 green"), 12, 5, exclude=[len(alphabet) - 1])[0]
    assert main([*run, "--beam", "5"]) == 0
    printed, said = capsys.readouterr()
    assert printed == "7 green" + "".join(alphabet.decode(best.symbols)) + "\n"
    assert f"log probability {best.log_probability:.3f}:" in said


@pytest.mark.parametrize(
    "other", [["--temperature", "1"], ["--top-k", "3"], ["--top-p", "0.5"], ["--seed", "1"]]
)
def test_a_beam_leaves_nothing_to_chance(trained, capsys, other):
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
    monkeypatch.setattr(compare, "ORDERS", (3,))


@pytest.mark.usefixtures("low_ladder")
@pytest.mark.parametrize("kind", KINDS)
def test_the_ladder_is_the_scores_of_its_models(folder, capsys, kind):
    how = ["--symbols", kind, "--epochs", "2", "--seed", "3"]
    assert main(["train", "text.txt", *SMALL, *how, "--compare"]) == 0
    printed, _ = capsys.readouterr()
    assert not (folder / "rnnfast-model.npz").exists()
    assert f"2 epochs each, 4 streams x 16 {kind}" in printed
    rows = {line[:24].strip(): line[24:].split() for line in printed.splitlines() if len(line) > 60}
    networks = ["window of 8, 8 units", "RNN, 8 units", "GRU, 8 units", "LSTM, 8 units"]
    counting = [
        f"{rung}, {smoothing}"
        for smoothing in ("Witten-Bell", "Kneser-Ney")
        for rung in ("unigram", "bigram", "3-gram")
    ]
    assert [name for name in rows if name in (*counting, *networks)] == [*counting, *networks]

    sample = reading.read_text(["text.txt"], kind, 4000)
    model = NGram(sample.training, len(sample.alphabet), 3, "kneser-ney")
    bits = model.bits_per_symbol(sample.held_out)
    assert rows["3-gram, Kneser-Ney"][0] == f"{model.grams:,}"
    expected = [f"{bits:.3f}", f"{2**bits:.2f}"]
    if kind != "characters":
        expected.append(f"{sample.bits_per_character(bits):.3f}")
    assert rows["3-gram, Kneser-Ney"][2:] == expected

    chosen = {
        **textmodel.DEFAULTS,
        "hidden": 8,
        "batch": 4,
        "seq_len": 16,
        "lr": 0.02,
        "epochs": 2,
        "seed": 3,
    }
    gru = textmodel.build(len(sample.alphabet), chosen | {"cell": "gru"})
    textmodel.train(gru, sample, chosen, judged=False)
    assert rows["GRU, 8 units"][2] == f"{textmodel.held_out_bits(gru, sample):.3f}"
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


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.0126, 3, "0.013"), (999999.5, 2, "999999.50"), (1.173e35, 3, "1.173e+35"), (np.inf, 3, "inf")],
)
def test_a_score_of_any_size_is_short(value, decimals, text):
    assert counting.fixed(value, decimals) == text


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
    an_epoch = textmodel.windows_of(reading.read_text(["text.txt"]), {"batch": 4, "seq_len": 16})
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
    assert "--vocabulary 9: goes with --symbols words" in fails(capsys, *train, "--vocabulary", "9")
    assert "--window 9: goes with --cell window" in fails(capsys, *train, "--window", "9")
    few = ["--symbols", "words", "--batch", "99"]
    assert "take 1,585 words, its first nine tenths have" in fails(capsys, *train, *few)
    assert "take 1,585 words" in fails(capsys, *train, *few, "--compare")
