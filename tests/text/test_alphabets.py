"""Alphabets: a text comes back from its symbols, and what is not in the alphabet is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.text import Bytes, Characters, Words
from rnnfast.text.alphabets import ALPHABETS, restored


@pytest.mark.parametrize("kind", ALPHABETS)
@settings(max_examples=100, deadline=None)
@given(written=st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_comes_back_from_its_symbols(kind, written):
    alphabet = ALPHABETS[kind].of(written)
    numbers = alphabet.encode(written)
    assert "".join(alphabet.decode(numbers)) == written
    again = restored(kind, alphabet.recorded)
    assert again.encode(written).tolist() == numbers.tolist()
    assert again.same_as(alphabet)
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


def test_alphabets_differ_in_kind_or_symbols():
    assert not Characters("ab").same_as(Characters("ba"))
    assert not Characters("ab").same_as(Words(["a", "b"]))
    assert Bytes().same_as(Bytes())


def test_alphabets_show_what_they_are():
    assert [repr(one) for one in (Characters("ab"), Words(["a"]), Bytes())] == (
        ["Characters('ab')", "Words(['a'])", "Bytes()"]
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Characters("aba"), ValueError, "known: expected each character once, got 'aba'"),
        (lambda: Characters(["a"]), TypeError, r"known: expected a str, got \['a'\]"),
        (lambda: Words("ab"), TypeError, "known: expected a sequence of str, got 'ab'"),
        (lambda: Words(["a", 2]), TypeError, "known: expected a str, got 2"),
        (lambda: Words.of("a b", vocabulary=0), ValueError, "vocabulary: expected at least 1, got 0"),
        (lambda: Words(["a"]).encode(b"a"), TypeError, "text: expected a str, got b'a'"),
        (lambda: Bytes().encode(3), TypeError, "text: expected a str, got 3"),
        (lambda: Bytes().missing(None), TypeError, "text: expected a str, got None"),
        (lambda: list(Characters("ab").decode([2])), ValueError, r"numbers: .* 0\.\.1, got 2"),
        (lambda: list(Characters("ab").decode([-1])), ValueError, r"numbers: .* 0\.\.1, got -1"),
        (lambda: Bytes().decode(5), TypeError, "numbers: expected integers, got 5"),
        (lambda: list(Bytes().decode([0.5])), TypeError, "numbers: expected an integer, got 0.5"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
