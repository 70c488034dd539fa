"""Count models of symbol sequences: n-grams with interpolated Witten-Bell smoothing, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NGram"]


class _Level(NamedTuple):
    """The grams of one length and the contexts in front of them; index -1 stands for "never seen"."""

    # [N] context id * vocabulary + last symbol, ascending; a gram's id is its position here
    keys: NDArray[np.int64]
    counts: NDArray[np.int64]  # [N+1] how often each gram occurs
    totals: NDArray[np.int64]  # [C+1] how often each context occurs with a symbol after it
    distinct: NDArray[np.int64]  # [C+1] how many different symbols come after it


class NGram:
    """An n-gram model of integer symbols with interpolated Witten-Bell smoothing.

    With c(h s) the number of times that symbol s follows context h in the training symbols,
    c(h) = Σ_s c(h s), and d(h) the number of different symbols seen after h,

        p(s | h) = (c(h s) + d(h) · p(s | h')) / (c(h) + d(h)),

    where h' is h without its oldest symbol; the recursion ends in the uniform distribution, and a context
    never seen leaves p(s | h) = p(s | h'). So each symbol of the vocabulary has a probability above zero, and
    they sum to one. Order 1 is a unigram model, order 2 a bigram model.

    Parameters
    ----------
    symbols : array_like of int, shape [N]
        The training sequence, at least one symbol, each in 0..vocabulary-1.
    vocabulary : int
        How many different symbols there are, those that the training sequence lacks included.
    order : int, default 5
        Length of the longest gram: a context holds up to order - 1 symbols.

    Raises
    ------
    TypeError, ValueError
        For symbols that are no integers, lie outside the vocabulary, or are none at all.

    References
    ----------
    I. H. Witten and T. C. Bell, "The zero-frequency problem", IEEE Trans. Inf. Theory 37(4), 1991 (method C).
    S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", 1999.

    Examples
    --------
    >>> from rnnfast.baselines import NGram
    >>> model = NGram([0, 1, 0, 1, 0, 0], vocabulary=3, order=2)
    >>> [round(float(p), 3) for p in model.probabilities([1])]
    [0.861, 0.111, 0.028]
    >>> round(model.bits_per_symbol([0, 1, 0, 1]), 3)
    0.702
    """

    def __init__(self, symbols: ArrayLike, vocabulary: int, order: int = 5) -> None:
        if vocabulary < 1:
            raise ValueError(f"vocabulary: expected at least 1, got {vocabulary}")
        if order < 1:
            raise ValueError(f"order: expected at least 1, got {order}")
        self.vocabulary = int(vocabulary)
        self.order = int(order)
        self._levels: list[_Level] = []

        rest = self._checked("symbols", symbols, least=1)
        context = np.zeros(len(rest), np.int64)  # the id of what stands in front of each symbol of `rest`
        contexts = 1
        for _ in range(order):
            keys, grams, counts = np.unique(
                context * self.vocabulary + rest, return_inverse=True, return_counts=True
            )
            in_front = keys // self.vocabulary
            level = _Level(
                keys,
                np.append(counts, 0),
                np.bincount(in_front, counts, minlength=contexts + 1).astype(np.int64),
                np.bincount(in_front, minlength=contexts + 1),
            )
            self._levels.append(level)
            context, rest, contexts = grams[:-1], rest[1:], len(keys)

    def probabilities(self, context: Sequence[int] | NDArray[np.integer] = ()) -> NDArray[np.float64]:
        """The distribution of the symbol that follows `context`.

        Parameters
        ----------
        context : sequence of int, shape [M], default ()
            The symbols so far, oldest first; only the last order - 1 count.

        Returns
        -------
        ndarray of float64, shape [vocabulary]
            Probabilities that sum to one.

        Raises
        ------
        TypeError, ValueError
            For a context that holds anything but symbols of the vocabulary.
        """
        past = self._checked("context", context, least=0)
        symbols = np.arange(self.vocabulary)
        p = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for length, level in enumerate(self._levels[: len(past) + 1]):
            in_front = np.zeros(1, np.int64)
            for longer, symbol in zip(self._levels, past[len(past) - length :], strict=False):
                in_front = self._find(longer, in_front, symbol)
            _mix(level, in_front, self._find(level, in_front, symbols), p)
        return p

    def bits_per_symbol(self, symbols: ArrayLike) -> float:
        """The mean of -log2 p over a sequence: what the model would compress it to.

        Parameters
        ----------
        symbols : array_like of int, shape [N]
            A sequence, usually one held out of the training, read from its beginning: the first symbol has no
            context, the second one symbol of it, and so on.

        Returns
        -------
        float
            Bits per symbol.

        Raises
        ------
        TypeError, ValueError
            For symbols that are no integers, lie outside the vocabulary, or are none at all.
        """
        rest = self._checked("symbols", symbols, least=1)
        p = np.full(len(rest), 1.0 / self.vocabulary)
        context = np.zeros(len(rest), np.int64)
        for length, level in enumerate(self._levels):
            grams = self._find(level, context, rest)
            _mix(level, context, grams, p[length:])
            context, rest = grams[:-1], rest[1:]
        return float(-np.log2(p).mean())

    def _find(
        self, level: _Level, context: NDArray[np.int64], symbols: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The ids of the grams "context, then symbol" at a level, -1 for those never seen."""
        wanted = np.where(context >= 0, context * self.vocabulary + symbols, -1)
        at = np.searchsorted(level.keys, wanted)
        padded = np.append(level.keys, -2)  # what a key beyond the last is compared with
        return np.where(padded[at] == wanted, at, -1)

    def _checked(self, name: str, symbols: ArrayLike, least: int) -> NDArray[np.int64]:
        array = np.asarray(symbols)
        if array.ndim != 1:
            raise ValueError(f"{name}: expected one axis, got shape {array.shape}")
        if len(array) < least:
            raise ValueError(f"{name}: expected at least {least} symbol, got none")
        if len(array) == 0:
            return np.zeros(0, np.int64)
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected integers, got dtype {array.dtype}")
        if array.min() < 0 or array.max() >= self.vocabulary:
            raise ValueError(
                f"{name}: expected symbols in 0..{self.vocabulary - 1}, got {array.min()}..{array.max()}"
            )
        return array.astype(np.int64)


def _mix(
    level: _Level,
    context: NDArray[np.int64],  # IN  [N] ids of the contexts, -1 where never seen; or [1], the same for all
    grams: NDArray[np.int64],  # IN  [N] ids of the grams, -1 where never seen
    p: NDArray[np.float64],  # INOUT [N] was: p(s | h'), is then: p(s | h)
) -> None:
    total = level.totals[context]
    distinct = level.distinct[context]
    seen = np.broadcast_to(total > 0, p.shape)
    np.divide(level.counts[grams] + distinct * p, total + distinct, out=p, where=seen)
