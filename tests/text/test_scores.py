"""Scores: the n-grams of a text, perplexity, and numbers that stay short."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.commands import TEXT

import rnnfast as rf
from rnnfast.text import NGram, Text
from rnnfast.text.scores import LONGEST, fixed


def test_the_best_kneser_ney_model_is_that_of_all_orders():
    text = Text(TEXT)
    best = rf.text.best_ngram(text)
    scores = {}
    for order in range(1, LONGEST + 1):
        model = NGram(text.training, len(text.alphabet), order, "kneser-ney")
        scores[order] = model.bits_per_symbol(text.held_out)
        assert rf.text.ngram_score(text, order, "kneser-ney") == (order, "kneser-ney", scores[order])
    assert best.bits == min(scores.values()) == scores[best.order]
    assert best.name == f"{best.order}-gram, Kneser-Ney"
    assert rf.text.best_ngram(text, longest=2).order <= 2


def test_short_grams_have_names():
    names = [rf.text.ngram_score(Text(TEXT), order).name for order in (1, 2, 3)]
    assert names == ["unigram, Witten-Bell", "bigram, Witten-Bell", "3-gram, Witten-Bell"]


@pytest.mark.parametrize(("bits", "expected"), [(3.0, 8.0), (63.0, 2.0**63), (64.0, np.inf), (1e6, np.inf)])
def test_perplexity_is_infinite_beyond_all_that_models_have(bits, expected):
    assert rf.text.perplexity(bits) == expected


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.0126, 3, "0.013"), (999999.5, 2, "999999.50"), (1.173e35, 3, "1.173e+35"), (np.inf, 3, "inf")],
)
def test_a_score_of_any_size_is_short(value, decimals, text):
    assert fixed(value, decimals) == text


def test_wrong_arguments_are_named():
    for score in (rf.text.ngram_score, rf.text.best_ngram):
        with pytest.raises(TypeError, match="text: expected a Text, got 'abc'"):
            score("abc")
    with pytest.raises(TypeError, match="bits: expected a number, got 'x'"):
        rf.text.perplexity("x")
    with pytest.raises(ValueError, match="bits: expected a number, got nan"):
        rf.text.perplexity(np.nan)
    with pytest.raises(ValueError, match="longest: expected at least 1, got 0"):
        rf.text.best_ngram(Text(TEXT), longest=0)
    with pytest.raises(ValueError, match="smoothing: expected witten-bell or kneser-ney"):
        rf.text.ngram_score(Text(TEXT), 2, "none")
