"""Text models in Python: what the command trained, trained alike, with the same texts and scores."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from helpers.commands import SMALL, TEXT, fails

import rnnfast as rf
from rnnfast.cli.main import main
from rnnfast.text import Bytes, Characters, Text, TextModel
from rnnfast.text import model as text_model
from rnnfast.text.alphabets import ALPHABETS
from rnnfast.text.network import CELLS, NOISE, network, parameters_at_least
from rnnfast.training import History, read_checkpoint, write_checkpoint

HOW = {"seq_len": 16, "batch": 4, "lr": 0.02, "epochs": 2, "progress": False}  # as SMALL


def small(alphabet, cell="gru", **options):
    return rf.text.build(alphabet, cell=cell, hidden=8, rng=0, **options)


# ---- what the command trained


def test_a_model_of_the_command_is_loaded_and_writes_its_text(trained, capsys):
    model = rf.text.load("rnnfast-model.npz")
    assert isinstance(model, TextModel)
    assert repr(model) == "TextModel(LSTM, 8 units; 31 symbols)"
    assert model.options["hidden"] == 8
    assert model.metadata["text"]["files"] == ["text.txt"]
    assert main(["sample", "--prompt", "12 green", "--length", "40", "--seed", "1"]) == 0
    assert "12 green" + model.generate("12 green", 40, rng=1) + "\n" == capsys.readouterr().out
    assert main(["sample", "--seed", "1", "--top-p", "0.5"]) == 0  # all else is as the library has it
    assert model.generate(top_p=0.5, rng=1) + "\n" == capsys.readouterr().out
    assert main(["sample", "--length", "12", "--beam", "3"]) == 0
    printed, said = capsys.readouterr()
    beams = model.beam_search(length=12, beams=3)
    assert (beams[0].text + "\n", len(beams)) == (printed, 3)
    assert f"log probability {beams[0].log_probability:.3f}:" in said


@pytest.mark.parametrize("symbols", ALPHABETS)
def test_training_in_python_is_the_training_of_the_command(folder, capsys, symbols):
    run = ["train", "text.txt", *SMALL, "--epochs", "2", "--cell", "window", "--window", "3"]
    assert main([*run, "--symbols", symbols, "--batch", "2", "--output", "command.npz"]) == 0
    printed = capsys.readouterr().out
    text = rf.text.read_text("text.txt", symbols, 4000 if symbols == "words" else None)
    model = small(text.alphabet, "window", window=3)
    rf.text.train(model, text, **HOW | {"batch": 2}, checkpoint="library.npz")
    (ours, about), (theirs, theirs_about) = (
        read_checkpoint(f"{name}.npz") for name in ("library", "command")
    )
    assert {key: about[key] for key in about if key != "fit"} == (
        {key: theirs_about[key] for key in theirs_about if key != "fit"}
    )
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert f"window of 3, 8 units  {model.bits_per_symbol(text.held_out_from_before):.3f}" in (
        " ".join(printed.split()).replace("units ", "units  ")
    )


def test_the_command_resumes_a_run_of_the_library(folder, capsys):
    text = rf.text.read_text("text.txt")
    rf.text.train(small(text.alphabet), text, **HOW, checkpoint="two.npz")
    assert main(["train", "--resume", "two.npz", "--epochs", "3"]) == 0
    model = rf.text.load("two.npz")
    assert model.options["epochs"] == 3
    again = rf.text.train(model, text, **HOW | {"epochs": 4}, resume="two.npz")
    assert len(again.loss) == 4


def test_a_model_learns_another_text_in_its_own_alphabet(trained, capsys):
    model = rf.text.load("rnnfast-model.npz")
    other = Text("no bottles, no wall. " * 40, model.alphabet)
    before = model.bits_per_symbol(other.held_out_from_before)
    rf.text.train(model, other, **HOW, checkpoint="other.npz")
    assert model.bits_per_symbol(other.held_out_from_before) < before
    (trained / "other.txt").write_text(other.content)
    assert main(["train", "--resume", "other.npz", "other.txt", "--epochs", "3"]) == 0
    assert "not the text" in fails(capsys, "train", "--resume", "other.npz", "text.txt")


# ---- what a model does


@pytest.fixture(scope="module")
def model():
    text = Text(TEXT)
    model = small(text.alphabet)
    rf.text.train(model, text, **HOW)
    return model


def test_bits_are_those_of_the_distributions(model):
    step, bits = model.model.stream(), []
    numbers = model.alphabet.encode("12 green bottles")
    for number, following in pairwise(numbers):
        bits.append(-math.log2(rf.sampling.distribution(step(number[None])[0])[following]))
    assert model.bits_per_symbol("12 green bottles") == pytest.approx(np.mean(bits), rel=1e-5)
    assert model.bits_per_symbol(numbers) == model.bits_per_symbol("12 green bottles")


def test_the_same_seed_writes_the_same_text(model):
    drawn = [
        model.generate("7 green", 30, temperature=0.9, top_k=9, top_p=0.9, rng=seed) for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(one) for one in drawn] == [30, 30, 30]
    assert model.generate("7 green", 0) == ""
    generator = np.random.default_rng(1)
    assert model.generate("7 green", 30, temperature=0.9, top_k=9, top_p=0.9, rng=generator) == drawn[0]


def test_pieces_come_one_by_one(model):
    pieces = model.pieces("7 green", 10**9, rng=1)
    assert "".join(next(pieces) for _ in range(20)) == model.generate("7 green", 20, rng=1)


def test_a_beam_is_at_least_as_likely_as_the_greedy_text(model):
    greedy = model.beam_search("7 green", 12, beams=1)[0]
    best = model.beam_search("7 green", 12, beams=5)
    assert greedy.text == model.generate("7 green", 12, temperature=0)
    assert best[0].log_probability >= greedy.log_probability
    assert "".join(model.alphabet.decode(best[0].symbols)) == best[0].text


def test_an_alphabet_without_a_newline_starts_with_its_first_symbol():
    model = small(Characters("abc"))
    assert model.generate(length=9, rng=0) == model.generate("a", length=9, rng=0)


def test_what_is_saved_is_loaded(model, tmp_path):
    model.save(tmp_path / "model.npz")
    loaded = rf.text.load(tmp_path / "model.npz")
    assert loaded.metadata == model.metadata
    assert (loaded.name, loaded.size) == ("GRU, 8 units", model.size)
    assert loaded.generate(length=20, rng=0) == model.generate(length=20, rng=0)
    loaded.save(tmp_path / "again.npz")
    again = rf.text.load(tmp_path / "again.npz")
    assert again.metadata == model.metadata
    assert again.bits_per_symbol(TEXT) == model.bits_per_symbol(TEXT)


def test_a_network_of_ones_own(tmp_path):
    alphabet = Characters("abc")
    network = rf.Sequential(rf.Embedding(4, 3, rng=0), rf.GRU(3, 8, rng=1), rf.Linear(8, 4, rng=2))
    model = TextModel(network, alphabet)
    rf.text.train(model, Text("abc" * 100, alphabet), **HOW | {"epochs": 30})
    assert model.generate("a", 5, temperature=0) == "bcabc"
    assert repr(model) == "TextModel(Sequential; 4 symbols)"
    for write in (
        lambda: model.save(tmp_path / "model.npz"),
        lambda: rf.text.train(model, Text("abc" * 100), **HOW, checkpoint=tmp_path / "model.npz"),
    ):
        with pytest.raises(ValueError, match=r"options: expected those of rf\.text\.build"):
            write()
    assert list(tmp_path.iterdir()) == []


# ---- training


def test_the_held_out_part_is_not_read_without_validation():
    text = Text(TEXT)
    text.held_out = None
    history = rf.text.train(small(text.alphabet), text, **HOW, validate=False)
    assert history.validation == [None, None]


def test_minutes_in_place_of_epochs():
    text = Text(TEXT)
    model = small(text.alphabet)
    history = rf.text.train(model, text, **HOW | {"epochs": None}, minutes=0.002)
    assert history.stopped == "minutes"
    assert (model.options["epochs"], model.options["minutes"]) == (None, 0.002)


def test_a_training_that_diverges(monkeypatch):
    text = Text(TEXT)
    model = small(text.alphabet)
    history = rf.text.train(model, text, **HOW | {"lr": 1000.0})
    with pytest.raises(FloatingPointError, match=r"the last epoch's loss is \d+\.\d{3} bits/char, a uniform"):
        rf.text.check_converged(model, history)
    rf.text.check_converged(model, History())
    monkeypatch.setattr(rf.losses, "cross_entropy", lambda y, targets: (math.nan, np.zeros_like(y)))
    with pytest.raises(FloatingPointError, match="loss: expected a finite number, got nan"):
        rf.text.train(small(text.alphabet), text, **HOW)


# ---- mistakes


def test_files_that_hold_no_text_model(trained):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    whole = (trained / "rnnfast-model.npz").read_bytes()
    (trained / "half.npz").write_bytes(whole[: len(whole) // 2])
    rf.save("other.npz", rf.Linear(2, 3))
    options = metadata["options"]
    for name, changed in {
        "optionless": {"options": {}},
        "wider": {"options": options | {"hidden": 9}},
        "zero": {"options": options | {"hidden": 0}},
        "cell": {"options": options | {"cell": "cnn"}},
        "alphabet": {"alphabet": ["a"]},
        "twice": {"alphabet": "aa" + metadata["alphabet"][2:]},
    }.items():
        write_checkpoint(f"{name}.npz", arrays, metadata | changed)
        with pytest.raises(ValueError, match=rf"^{name}\.npz: damaged: "):
            rf.text.load(f"{name}.npz")
    with pytest.raises(ValueError, match=r"^other\.npz: an rnnfast checkpoint, but not one of"):
        rf.text.load("other.npz")
    for name in ("half.npz", "text.txt"):
        with pytest.raises(ValueError, match=rf"^{name}: no readable rnnfast checkpoint"):
            rf.text.load(name)
    for name, error in (("missing.npz", FileNotFoundError), (trained, IsADirectoryError)):
        with pytest.raises(error):
            rf.text.load(name)
    with pytest.raises(TypeError, match="path: expected the name of a file"):
        rf.text.load(3)


def test_a_small_file_asks_for_no_large_network(trained, monkeypatch):
    arrays, metadata = read_checkpoint("rnnfast-model.npz")
    monkeypatch.setattr(text_model, "network", lambda *_: pytest.fail("memory is taken"))
    for change in ({"hidden": 5000}, {"layers": 500}, {"cell": "window", "window": 500}):
        write_checkpoint("large.npz", arrays, metadata | {"options": metadata["options"] | change})
        with pytest.raises(ValueError, match=r"^large\.npz: damaged: options: expected a network of 4,"):
            rf.text.load("large.npz")


class Caseless(Characters):
    """Characters of an alphabet in lower case, which reads capitals too."""

    def cut(self, text: str) -> str:
        return super().cut(text).lower()


def test_what_load_could_not_build_again_is_not_saved(model, tmp_path):
    caseless = small(Caseless("abc\n"))
    assert caseless.generate("ABC", 9, rng=0) == caseless.generate("abc", 9, rng=0)
    with pytest.raises(ValueError, match=r"alphabet: expected Characters, Bytes or Words, .* got Caseless"):
        caseless.save(tmp_path / "model.npz")
    part = TextModel(model.model, model.alphabet, {"cell": "gru"})
    assert repr(part) == "TextModel(Sequential; 31 symbols)"
    with pytest.raises(ValueError, match=r"options: expected those of rf\.text\.build"):
        part.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cell", CELLS)
def test_the_least_number_of_parameters_is_at_most_the_real_one(cell):
    options = {"cell": cell, "window": 3, "hidden": 300, "layers": 2, "dropout": 0.0, "seed": 0}
    options |= {**dict.fromkeys(NOISE, 0.0), "layer_norm": False}
    real = sum(parameter.data.size for parameter in network(5, options).parameters())
    assert 0 < parameters_at_least(5, options) <= real


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"cell": "cnn"},
            ValueError,
            "cell: expected one of window, rnn, mingru, minlstm, gru, lstm, slstm, got 'cnn'",
        ),
        ({"window": 0}, ValueError, "window: expected at least 1, got 0"),
        ({"hidden": 2.5}, TypeError, "hidden: expected an integer, got 2.5"),
        ({"layers": 0}, ValueError, "layers: expected at least 1, got 0"),
        ({"dropout": 1}, ValueError, "dropout: expected a probability"),
        ({"rng": "x"}, TypeError, "rng: expected an integer"),
        ({"alphabet": "abc"}, TypeError, "alphabet: expected an Alphabet, got 'abc'"),
        ({"hidden": 10**12}, MemoryError, "hidden_size=1000000000000"),
    ],
)
def test_wrong_arguments_of_build_are_named(keywords, error, message):
    with pytest.raises(error, match=message):
        rf.text.build(**{"alphabet": Bytes()} | keywords)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"seq_len": 0}, ValueError, "seq_len: expected at least 1, got 0"),
        ({"batch": "x"}, TypeError, "batch: expected an integer, got 'x'"),
        ({"lr": 0}, ValueError, "lr: expected a number above 0, got 0"),
        ({"epochs": None}, TypeError, "epochs: expected an integer, got None"),
        ({"minutes": -1}, ValueError, "minutes: expected a number above 0, got -1"),
        ({"validate": 1}, TypeError, "validate: expected True or False, got 1"),
        ({"seq_len": 600}, ValueError, "text: expected at least 2,401 symbols to train on .* got 2,259"),
        ({"text": TEXT}, TypeError, "text: expected a Text, got '0 green"),
        ({"text": Text(TEXT, "bytes")}, ValueError, "text: expected one in the model's alphabet of 31 char"),
        ({"model": rf.Linear(2, 3)}, TypeError, "model: expected a TextModel, got"),
    ],
)
def test_wrong_arguments_of_train_are_named(model, keywords, error, message):
    before = model.model.state_dict(), model.metadata
    with pytest.raises(error, match=message):
        rf.text.train(**{"model": model, "text": Text(TEXT)} | HOW | keywords)
    assert model.metadata == before[1]
    assert all((array == before[0][name]).all() for name, array in model.model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: TextModel(rf.GRU(2, 3), m.alphabet), TypeError, "model: expected a Sequential"),
        (lambda m: TextModel(m.model, "abc"), TypeError, "alphabet: expected an Alphabet, got 'abc'"),
        (lambda m: TextModel(m.model, m.alphabet, 5), TypeError, "options: expected a Mapping, got 5"),
        (lambda m: rf.text.check_converged(5, History()), TypeError, "model: expected a TextModel, got 5"),
        (lambda m: rf.text.check_converged(m, [5.0]), TypeError, r"history: expected a History, got \[5.0\]"),
        (
            lambda m: m.generate("é, ü"),
            ValueError,
            "prompt: expected characters that the model knows, got 'é', 'ü'",
        ),
        (lambda m: m.pieces(7), TypeError, "prompt: expected a str, got 7"),
        (lambda m: m.pieces(length=-1), ValueError, "length: expected at least 0, got -1"),
        (lambda m: m.generate(temperature=-1), ValueError, "temperature: expected a number from 0"),
        (lambda m: m.beam_search(beams=0), ValueError, "beams: expected at least 1, got 0"),
        (lambda m: m.bits_per_symbol("a"), ValueError, r"text: expected at least two symbols, .* \(1,\)"),
        (
            lambda m: m.bits_per_symbol([0.5, 1]),
            TypeError,
            "text: expected a str or integers, got dtype float64",
        ),
        (lambda m: m.bits_per_symbol([0, 31]), ValueError, r"text: expected symbols in 0\.\.30, got 0\.\.31"),
        (lambda m: m.save(3), TypeError, "path: expected the name of a file"),
    ],
)
def test_wrong_arguments_of_a_model_are_named(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


# ---- names


def test_other_modules_have_the_same_names():
    assert rf.sampling is rf.text.sampling
    for name in ("NGram", "Window", "bits_by_order", "window_model"):
        assert getattr(rf.baselines, name) is getattr(rf.text, name)
