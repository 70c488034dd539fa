"""Scores of a text's models: bits, perplexity, and the n-grams that a network is compared with."""

from __future__ import annotations

import math
from itertools import islice
from typing import NamedTuple

from rnnfast import checks
from rnnfast.text.ngram import NGram, bits_by_order
from rnnfast.text.reading import Text

__all__ = ["LONGEST", "SMOOTHINGS", "NGramScore", "best_ngram", "fixed", "ngram_score", "perplexity"]

LONGEST = 20  # the longest grams that `best_ngram` tries
SMOOTHINGS = {"witten-bell": "Witten-Bell", "kneser-ney": "Kneser-Ney"}  # their printed names


class NGramScore(NamedTuple):
    """The score of an n-gram model on the held-out part of a text.

    Attributes
    ----------
    order : int
        Length of the longest gram.
    smoothing : str
        "witten-bell" or "kneser-ney".
    bits : float
        Bits per held-out symbol.

    Examples
    --------
    >>> from rnnfast.text import NGramScore
    >>> score = NGramScore(2, "kneser-ney", 3.342)
    >>> score.gram, score.name
    ('bigram', 'bigram, Kneser-Ney')
    """

    order: int
    smoothing: str
    bits: float

    @property
    def gram(self) -> str:
        """The name of grams of this order."""
        return {1: "unigram", 2: "bigram"}.get(self.order, f"{self.order}-gram")

    @property
    def name(self) -> str:
        """The name of the grams and of their smoothing, as tables print it."""
        return f"{self.gram}, {SMOOTHINGS[self.smoothing]}"


def ngram_score(text: Text, order: int = 5, smoothing: str = "witten-bell") -> NGramScore:
    """The score of one n-gram model, counted in the training part of a text.

    Parameters
    ----------
    text : Text
    order : int, default 5
        Length of the longest gram.
    smoothing : {"witten-bell", "kneser-ney"}

    Returns
    -------
    NGramScore

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import rnnfast as rf
    >>> text = rf.text.Text("what is written twice is easily read twice. " * 50)
    >>> bits = [rf.text.ngram_score(text, order).bits for order in (1, 2, 5)]
    >>> bits[0] > bits[1] > bits[2]
    True
    """
    checks.instance("text", text, Text)
    model = NGram(text.training, len(text.alphabet), order, smoothing)
    return NGramScore(model.order, smoothing, model.bits_per_symbol(text.held_out))


def best_ngram(text: Text, longest: int = LONGEST) -> NGramScore:
    """The best score of the Kneser-Ney models of all orders up to `longest`.

    Parameters
    ----------
    text : Text
    longest : int, default 20
        The highest order that is tried.

    Returns
    -------
    NGramScore

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import rnnfast as rf
    >>> text = rf.text.Text("what is written twice is easily read twice. " * 50)
    >>> best = rf.text.best_ngram(text)
    >>> best.bits < rf.text.ngram_score(text, 1).bits
    True
    """
    checks.instance("text", text, Text)
    longest = checks.positive("longest", longest)
    scores = bits_by_order(text.training, len(text.alphabet), text.held_out)
    return min(
        (NGramScore(order, "kneser-ney", bits) for order, bits in enumerate(islice(scores, longest), 1)),
        key=lambda score: score.bits,
    )


def perplexity(bits: float) -> float:
    """The number of equally likely symbols among which a choice is as uncertain.

    Parameters
    ----------
    bits : float
        Bits per symbol.

    Returns
    -------
    float
        ``2**bits``; infinity from 64 bits on, which no trained model has.

    Raises
    ------
    TypeError, ValueError
        If `bits` is no number.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rf.text.perplexity(3.0)
    8.0
    """
    bits = checks.number("bits", bits)
    return 2.0**bits if bits < 64.0 else math.inf


def fixed(value: float, decimals: int = 3) -> str:
    """A score with a fixed number of decimals; from a million on, in scientific notation."""
    return f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.{decimals}e}"
