"""Count models that a network is held against: what `train` prints of them, and `train --compare`."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from rnnfast.text.ngram import NGram, bits_by_order
from rnnfast.text.reading import Text

__all__ = ["LONGEST", "Counted", "best_kneser_ney", "gram_name", "margin", "witten_bell"]

LONGEST = 20  # the longest grams that are tried


class Counted(NamedTuple):
    """A count model and its score."""

    order: int
    smoothing: str
    bits: float  # per held-out symbol

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{gram_name(self.order)}, {self.smoothing}"


def gram_name(order: int) -> str:
    """What grams of this length are called."""
    return {1: "unigram", 2: "bigram"}.get(order, f"{order}-gram")


def witten_bell(text: Text, order: int) -> Counted:
    """The Witten-Bell model of one order."""
    model = NGram(text.training, len(text.alphabet), order)
    return Counted(order, "Witten-Bell", model.bits_per_symbol(text.held_out))


def best_kneser_ney(text: Text) -> Counted:
    """The Kneser-Ney model of the order, up to `LONGEST`, that has the lowest held-out score."""
    scores = bits_by_order(text.training, len(text.alphabet), text.held_out)
    return min(
        (Counted(order, "Kneser-Ney", bits) for order, bits in enumerate(islice(scores, LONGEST), 1)),
        key=lambda model: model.bits,
    )


def fixed(value: float, decimals: int = 3) -> str:
    """A number with so many decimals; from a million on by its power of ten."""
    return f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.{decimals}e}"


def margin(bits: float, other: float) -> str:
    """The difference of two scores, in words."""
    return f"{fixed(abs(other - bits))} bits {'below' if bits < other else 'above'}"
