"""Count models: probabilities that are probabilities, counts that a plain loop agrees with, known scores."""

from __future__ import annotations

import math
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.baselines import NGram
from rnnfast.cli.text import default_text


def plain_probability(training, vocabulary, order, context, symbol):
    """Witten-Bell by its definition, counting with a loop."""
    p = 1.0 / vocabulary
    for length in range(min(order - 1, len(context)) + 1):
        history = tuple(context[len(context) - length :])
        after = Counter(
            training[n + length]
            for n in range(len(training) - length)
            if tuple(training[n : n + length]) == history
        )
        if after:
            p = (after[symbol] + len(after) * p) / (sum(after.values()) + len(after))
    return p


sequences = st.integers(2, 5).flatmap(
    lambda v: st.tuples(
        st.just(v),
        st.lists(st.integers(0, v - 1), min_size=1, max_size=30),
        st.lists(st.integers(0, v), min_size=1, max_size=12),
        st.integers(1, 5),
    )
)


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_scores_and_distributions_equal_the_definition(drawn):
    largest, training, held_out, order = drawn
    vocabulary = largest + 1  # the last symbol never occurs in the training part
    model = NGram(training, vocabulary, order)
    bits = []
    for n, symbol in enumerate(held_out):
        distribution = model.probabilities(held_out[:n])
        expected = [
            plain_probability(training, vocabulary, order, held_out[:n], s) for s in range(vocabulary)
        ]
        np.testing.assert_allclose(distribution, expected, rtol=1e-12)
        assert math.isclose(distribution.sum(), 1.0, rel_tol=1e-12)
        assert distribution.min() > 0.0
        bits.append(-math.log2(expected[symbol]))
    assert math.isclose(model.bits_per_symbol(held_out), sum(bits) / len(bits), rel_tol=1e-12)


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


def test_a_longer_context_than_the_order_reads_its_end_only():
    model = NGram([0, 1, 2, 0, 1, 2, 1], vocabulary=3, order=3)
    np.testing.assert_array_equal(model.probabilities([2, 2, 2, 0, 1]), model.probabilities([0, 1]))


def test_known_bits_of_the_default_text():
    text = default_text()
    bits = [
        NGram(text.training, len(text.alphabet), order).bits_per_symbol(text.held_out) for order in (1, 2, 5)
    ]
    assert bits[0] > bits[1] > bits[2]
    if sys.version_info[:2] == (3, 11):  # each release of Python has a text of its own
        np.testing.assert_allclose(bits, [4.671, 3.345, 1.905], atol=0.002)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 0), "vocabulary: expected at least 1, got 0"),
        (([0, 1], 2, 0), "order: expected at least 1, got 0"),
        (([], 2), "symbols: expected at least 1 symbol, got none"),
        (([[0, 1]], 2), r"symbols: expected one axis, got shape \(1, 2\)"),
        (([0, 2], 2), r"symbols: expected symbols in 0\.\.1, got 0\.\.2"),
        (([-1, 0], 2), r"symbols: expected symbols in 0\.\.1, got -1\.\.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NGram(*arguments)


def test_symbols_are_integers():
    model = NGram([0, 1], 2)
    with pytest.raises(TypeError, match="symbols: expected integers, got dtype float64"):
        model.bits_per_symbol([0.0, 1.0])
    with pytest.raises(TypeError, match="context: expected integers, got dtype float64"):
        model.probabilities([0.5])
