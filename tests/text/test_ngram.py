"""Count models: probabilities that are probabilities, counts that a plain loop agrees with, known scores."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.text import NGram, bits_by_order, default_text


def followers(symbols, history):
    """How often each symbol follows `history`."""
    length = len(history)
    return Counter(
        symbols[n + length] for n in range(len(symbols) - length) if tuple(symbols[n : n + length]) == history
    )


def witten_bell(training, vocabulary, order, context, symbol):
    """Witten-Bell by its definition, counting with a loop."""
    p = 1.0 / vocabulary
    for length in range(min(order - 1, len(context)) + 1):
        after = followers(training, tuple(context[len(context) - length :]))
        if after:
            p = (after[symbol] + len(after) * p) / (sum(after.values()) + len(after))
    return p


def kneser_ney(training, vocabulary, order, context, symbol):
    """Modified Kneser-Ney by its definition: a dictionary of all grams of a length, from the shortest on."""
    p = 1.0 / vocabulary
    for length in range(min(order - 1, len(context)) + 1):
        if length == order - 1:
            grams = Counter(tuple(training[n : n + order]) for n in range(len(training) - order + 1))
        else:  # the number of different symbols before a gram
            longer = {tuple(training[n : n + length + 2]) for n in range(len(training) - length - 1)}
            grams = Counter(gram[1:] for gram in longer)
        n1, n2, n3, n4 = (sum(count == k for count in grams.values()) for k in (1, 2, 3, 4))
        Y = n1 / (n1 + 2 * n2) if n1 else 0.5
        D = {1: Y, 2: Y, 3: Y}
        if n1 and n2 and n3 and min(2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3) > 0:
            D = {1: 1 - 2 * Y * n2 / n1, 2: 2 - 3 * Y * n3 / n2, 3: 3 - 4 * Y * n4 / n3}
        history = tuple(context[len(context) - length :])
        after = {gram[-1]: count for gram, count in grams.items() if gram[:-1] == history}
        if after:
            left_over = sum(D[min(count, 3)] for count in after.values())
            kept = after[symbol] - D[min(after[symbol], 3)] if symbol in after else 0.0
            p = (kept + left_over * p) / sum(after.values())
    return p


DEFINITIONS = {"witten-bell": witten_bell, "kneser-ney": kneser_ney}
sequences = st.integers(2, 5).flatmap(
    lambda v: st.tuples(
        st.just(v),
        st.lists(st.integers(0, v - 1), min_size=1, max_size=60),
        st.lists(st.integers(0, v), min_size=1, max_size=12),
        st.integers(1, 5),
    )
)


@pytest.mark.parametrize("smoothing", DEFINITIONS)
@settings(max_examples=60, deadline=None)
@given(sequences)
def test_scores_and_distributions_equal_the_definition(smoothing, drawn):
    largest, training, held_out, order = drawn
    vocabulary = largest + 1  # the last symbol never occurs in the training part
    model = NGram(training, vocabulary, order, smoothing)
    bits = []
    for n, symbol in enumerate(held_out):
        distribution = model.probabilities(held_out[:n])
        expected = [
            DEFINITIONS[smoothing](training, vocabulary, order, held_out[:n], s) for s in range(vocabulary)
        ]
        np.testing.assert_allclose(distribution, expected, rtol=1e-12)
        assert math.isclose(distribution.sum(), 1.0, rel_tol=1e-12)
        assert distribution.min() > 0.0
        bits.append(-math.log2(expected[symbol]))
    assert math.isclose(model.bits_per_symbol(held_out), sum(bits) / len(bits), rel_tol=1e-12)


@pytest.mark.parametrize("smoothing", DEFINITIONS)
@settings(max_examples=60, deadline=None)
@given(sequences)
def test_the_scores_of_all_orders_are_those_of_their_models(smoothing, drawn):
    largest, training, held_out, longest = drawn
    bits = bits_by_order(training, largest + 1, held_out, smoothing)
    for order, value in enumerate(islice(bits, longest), 1):
        assert value == NGram(training, largest + 1, order, smoothing).bits_per_symbol(held_out)


def test_by_hand():
    # aab: unigrams a 2, b 1 over {a, b, c}; after a: a once, b once.
    model = NGram([0, 0, 1], vocabulary=3, order=2)
    third = 1 / 3
    unigram = [(2 + 2 * third) / 5, (1 + 2 * third) / 5, 2 * third / 5]
    np.testing.assert_allclose(model.probabilities(), unigram)
    np.testing.assert_allclose(
        model.probabilities([0]), [(1 + 2 * p) / 4 if s < 2 else 2 * p / 4 for s, p in enumerate(unigram)]
    )
    np.testing.assert_allclose(model.probabilities([1]), unigram)  # b was never followed by anything
    np.testing.assert_allclose(model.probabilities([2]), unigram)  # c was never seen


def test_kneser_ney_by_hand():
    # aabab over {a, b, c}. Pairs: aa, ab twice, ba. Before a come a and b, before b only a.
    model = NGram([0, 0, 1, 0, 1], vocabulary=3, order=2, smoothing="kneser-ney")
    short = 1 / 3  # Y of one symbol with one predecessor and one with two
    unigram = [(2 - short + 2 * short / 3) / 3, (1 - short + 2 * short / 3) / 3, 2 * short / 9]
    np.testing.assert_allclose(model.probabilities(), unigram)
    long = 1 / 2  # Y of two pairs seen once and one seen twice
    np.testing.assert_allclose(
        model.probabilities([0]),
        [(c - long * (c > 0) + 2 * long * p) / 3 for c, p in zip((1, 2, 0), unigram, strict=True)],
    )
    np.testing.assert_allclose(model.probabilities([2]), unigram)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_three_discounts_on_a_longer_text(order):
    training = (np.random.default_rng(0).geometric(0.4, 400).clip(max=8) - 1).tolist()
    model = NGram(training, 9, order, "kneser-ney")
    for context in ([], [0], [0, 0], [1, 0, 0], [7], [3, 2, 0, 1, 0, 0]):
        expected = [kneser_ney(training, 9, order, context, s) for s in range(9)]
        np.testing.assert_allclose(model.probabilities(context), expected, rtol=1e-12)


def test_how_many_grams_are_kept():
    training = [0, 1, 0, 1, 1]
    for smoothing in DEFINITIONS:
        assert NGram(training, 3, 3, smoothing).grams == 2 + 3 + 3  # a b; ab ba bb; aba bab abb


def test_a_longer_context_than_the_order_reads_its_end_only():
    model = NGram([0, 1, 2, 0, 1, 2, 1], vocabulary=3, order=3)
    np.testing.assert_array_equal(model.probabilities([2, 2, 2, 0, 1]), model.probabilities([0, 1]))


TEXT_OF_PYTHON_3_11_7 = 270701051  # the checksum of its training part; 3.11.2 has another text


def test_known_bits_of_the_default_text():
    text = default_text()
    bits = [
        NGram(text.training, len(text.alphabet), *keywords).bits_per_symbol(text.held_out)
        for keywords in ((1,), (2,), (5,), (5, "kneser-ney"))
    ]
    assert bits == sorted(bits, reverse=True)
    if zlib.crc32(bytes(text.training.tolist())) == TEXT_OF_PYTHON_3_11_7:
        np.testing.assert_allclose(bits, [4.671, 3.345, 1.905, 1.739], atol=0.002)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 0), "vocabulary: expected at least 1, got 0"),
        (([0, 1], 2, 0), "order: expected at least 1, got 0"),
        (([0, 1], 2, 2, "add-one"), "smoothing: expected witten-bell or kneser-ney, got 'add-one'"),
        (([0, 1], 2, 2, np.ones(2)), "smoothing: expected witten-bell or kneser-ney, got array"),
        (([], 2), "symbols: expected at least 1 symbol, got none"),
        (([[0, 1]], 2), r"symbols: expected one axis, got shape \(1, 2\)"),
        (([0, 2], 2), r"symbols: expected symbols in 0\.\.1, got 0\.\.2"),
        (([-1, 0], 2), r"symbols: expected symbols in 0\.\.1, got -1\.\.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGram(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 0, [0]), "vocabulary: expected at least 1, got 0"),
        (([], 2, [0]), "symbols: expected at least 1 symbol, got none"),
        (([0, 1], 2, []), "held_out: expected at least 1 symbol, got none"),
        (([0, 1], 2, [2]), r"held_out: expected symbols in 0\.\.1, got 2\.\.2"),
        (([0, 1], 2, [0], "add-one"), "smoothing: expected witten-bell or kneser-ney, got 'add-one'"),
    ],
)
def test_bad_arguments_of_all_orders_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        bits_by_order(*arguments)


def test_symbols_are_integers():
    model = NGram([0, 1], 2)
    with pytest.raises(TypeError, match="symbols: expected integers, got dtype float64"):
        model.bits_per_symbol([0.0, 1.0])
    with pytest.raises(TypeError, match="context: expected integers, got dtype float64"):
        model.probabilities([0.5])


def test_a_vocabulary_is_as_large_as_the_keys_of_grams_allow():
    symbols, most = [0, 1, 0, 2], (2**63 - 1) // 4
    assert NGram(symbols, most, 3).grams == NGram(symbols, 3, 3).grams
    for model in (lambda: NGram(symbols, most + 1, 3), lambda: bits_by_order(symbols, most + 1, symbols)):
        with pytest.raises(ValueError, match=f"vocabulary: expected at most {most} with 4 training symbols"):
            model()
