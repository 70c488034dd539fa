"""Texts: their split, their symbols, the files that they come from, parallel sequences."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from helpers.commands import TEXT
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf
from rnnfast.text import Bytes, Characters, NGram, Text, reading
from rnnfast.text.alphabets import ALPHABETS

# ---- symbols


def test_the_default_text_and_its_last_tenth():
    default = rf.text.default_text()
    assert len(default.content) > 400_000
    assert len(default.held_out) == len(default.content) // 10
    assert len(default.training) + len(default.held_out) == len(default.content)
    assert len(default.alphabet) == len(set(default.content[: default.cut])) + 1


def test_characters_that_only_the_held_out_part_has_share_one_symbol():
    text = Text("ab" * 45 + "axyzababab")
    assert text.alphabet.known == "ab"
    assert text.held_out.tolist() == [0, 2, 2, 2, 0, 1, 0, 1, 0, 1]
    assert text.held_out_from_before.tolist() == [1, *text.held_out.tolist()]


def test_all_kinds_have_the_same_split():
    content = "".join(f"{n} élan, " for n in range(60))
    texts = {kind: Text(content, kind) for kind in ALPHABETS}
    for one in texts.values():
        assert "".join(one.alphabet.decode(one.training)) == content[: one.cut]
        assert one.held_out_from_before.tolist() == [one.training[-1], *one.held_out]
    assert len(texts["bytes"].held_out) > len(texts["characters"].held_out) > len(texts["words"].held_out)


def test_a_text_in_the_alphabet_of_another():
    first = Text(TEXT)
    second = Text("a wall of 7 BOTTLES " * 9, first.alphabet)
    assert second.alphabet is first.alphabet
    assert (second.training == first.alphabet.unknown).any()
    assert second.bits_per_character(1.5) == 1.5


def test_bits_per_character():
    content = "one two " * 20
    characters, words = (Text(content, kind) for kind in ("characters", "words"))
    assert characters.bits_per_character(1.25) == 1.25
    assert words.bits_per_character(2.0) == pytest.approx(2.0 * len(words.held_out) / 16)
    accented = Text("éé" * 20, "bytes")
    assert accented.bits_per_character(1.5) == pytest.approx(3.0)


def test_an_unknown_word_costs_its_spelling():
    content = ("ab cd " * 30 + "zzz ab cd ab cdx")[:180]
    few = Text(content, "words", vocabulary=1)
    held_out = content[few.cut :]
    unknown = [token for token in few.alphabet.cut(held_out) if token != few.alphabet.known[0]]
    characters = Characters.of(content[: few.cut])
    end = len(characters)
    numbers = {token: [*characters.encode(token), end] for token in few.alphabet.cut(content[: few.cut])}
    speller = NGram([n for word in numbers.values() for n in word], end + 1, 5, "kneser-ney")
    spelt = [n for word in unknown for n in [*characters.encode(word), end]]
    assert few.spelling_bits == pytest.approx(speller.bits_per_symbol(spelt) * len(spelt))
    assert few.bits_per_character(0.0) == pytest.approx(few.spelling_bits / len(held_out))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5))
def test_streams_stand_side_by_side(length, batch):
    batch = min(batch, length - 1)
    x, targets = rf.text.streams(np.arange(length), batch)
    np.testing.assert_array_equal(targets, x + 1)
    np.testing.assert_array_equal(x.T.ravel(), np.arange((length - 1) // batch * batch))
    assert x.shape[1] == batch


# ---- files


def test_several_files_are_joined(folder):
    (folder / "more.txt").write_text("more " * 10, encoding="utf-8")
    text = rf.text.read_text(["text.txt", folder / "more.txt"])
    assert text.content == TEXT + "\n" + "more " * 10
    assert text.files == ["text.txt", str(folder / "more.txt")]
    assert text.name == f"text.txt, {folder / 'more.txt'}"


def test_one_file_needs_no_list(folder):
    for file in ("text.txt", folder / "text.txt"):
        text = rf.text.read_text(file, "words", 9)
        assert (text.content, text.name, len(text.alphabet)) == (TEXT, str(file), 10)
    assert repr(rf.text.read_text("text.txt")) == f"Text(text.txt; {len(TEXT):,} characters as characters)"


def test_line_ends_are_read_as_newlines(folder):
    (folder / "lines.txt").write_bytes(b"one\r\ntwo\rthree\n" * 3)
    assert rf.text.read_text("lines.txt").content == "one\ntwo\nthree\n" * 3


def test_files_that_cannot_be_read_are_named(folder):
    for file, error in (("nowhere.txt", FileNotFoundError), (str(folder), IsADirectoryError)):
        with pytest.raises(error) as raised:
            rf.text.read_text(["text.txt", file])
        assert raised.value.filename == file


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")
def test_a_device_is_not_read(folder):
    with pytest.raises(OSError, match=r"expected a regular file.*zero"):
        rf.text.read_text("/dev/zero")


def test_stdin_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(OSError, match="stdin is closed: '/dev/stdin'"):
        rf.text.read_text("/dev/stdin")


@pytest.mark.parametrize("size", [101, 10_000])
def test_a_file_beyond_the_bound(folder, monkeypatch, size):
    monkeypatch.setattr(reading, "MOST", 100)
    (folder / "long.txt").write_text("a" * size)
    with pytest.raises(ValueError, match=r"long\.txt: expected at most 100 bytes, got more"):
        rf.text.read_text("long.txt")


def test_files_that_hold_no_text(folder):
    (folder / "latin.txt").write_bytes("für".encode("latin-1") * 100)
    (folder / "short.txt").write_text("short")
    with pytest.raises(ValueError, match=r"latin\.txt: not UTF-8 text \(byte 1\)"):
        rf.text.read_text("latin.txt")
    with pytest.raises(ValueError, match=r"short\.txt: 5 characters are too short a text"):
        rf.text.read_text("short.txt")
    with pytest.raises(ValueError, match=r"'nul.*': .*embedded null "):
        rf.text.read_text("nul\0l.txt")


def test_a_python_without_the_default_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ImportError, match=r"no pydoc_data\.topics, the default text"):
        rf.text.default_text()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Text(b"bytes" * 20), TypeError, "content: expected a str, got b'bytes"),
        (lambda: Text("too short"), ValueError, "content: 9 characters are too short a text"),
        (lambda: Text("\ud800" * 20), ValueError, "content: expected text that UTF-8 can encode"),
        (lambda: Text(TEXT, "runes"), ValueError, "symbols: expected one of characters, bytes, words, got"),
        (lambda: Text(TEXT, "bytes", 3), ValueError, "vocabulary: expected None with symbols='bytes', got 3"),
        (lambda: Text(TEXT, Bytes(), 3), ValueError, r"expected None with symbols=Bytes\(\), got 3"),
        (lambda: Text(TEXT, "words", 0), ValueError, "vocabulary: expected at least 1, got 0"),
        (lambda: Text(TEXT, name=5), TypeError, "name: expected a str, got 5"),
        (lambda: Text(TEXT, files=[b"x"]), TypeError, r"files: expected the name .* got \[b'x'\]"),
        (
            lambda: Text(TEXT).bits_per_character("x"),
            TypeError,
            "bits_per_symbol: expected a number, got 'x'",
        ),
        (lambda: Text(TEXT).bits_per_character(np.nan), ValueError, "bits_per_symbol: expected a number"),
        (lambda: rf.text.read_text([]), ValueError, "files: expected at least one, got none"),
        (lambda: rf.text.read_text(3), TypeError, "files: expected the name of a file, or several, got 3"),
        (lambda: rf.text.read_text([3]), TypeError, "files: expected the name of a file, or several"),
        (lambda: rf.text.streams([1, 2], 2), ValueError, r"symbols: .* N > batch = 2, got \(2,\)"),
        (lambda: rf.text.streams([1, 2], 0), ValueError, "batch: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
