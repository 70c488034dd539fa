"""Count models of symbol sequences: n-grams with Witten-Bell or Kneser-Ney smoothing, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast.nn import checks

__all__ = ["NGram"]

SMOOTHINGS = ("witten-bell", "kneser-ney")


class _Level(NamedTuple):
    """The grams of one length and the contexts in front of them; index -1 stands for "never seen".

    After a context that was seen, p(s | h) = (kept of h s + spared of h · p(s | h')) / total of h.
    """

    # [N] context id * vocabulary + last symbol, ascending; a gram's id is its position here
    keys: NDArray[np.int64]
    kept: NDArray[np.float64]  # [N+1] what a gram keeps of its count
    spared: NDArray[np.float64]  # [C+1] what each context leaves to the shorter one
    totals: NDArray[np.float64]  # [C+1] all that each context has to give; 0 where it was never seen


class NGram:
    """An n-gram model of integer symbols, interpolated with all shorter ones.

    With h a context, h' the same without its oldest symbol, c(h s) how often symbol s follows it in the
    training symbols, c(h) = Σ_s c(h s), and n_k(h) the number of symbols that follow it k times, Witten-Bell
    smoothing is

        p(s | h) = (c(h s) + d(h) · p(s | h')) / (c(h) + d(h)),    d(h) = n_1(h) + n_2(h) + …

    and (modified) Kneser-Ney smoothing takes a discount D off each count and shares out what this spares,

        p(s | h) = (c(h s) - D(c(h s)) + γ(h) · p(s | h')) / c(h),
        γ(h) = D(1) n_1(h) + D(2) n_2(h) + D(3) (n_3(h) + n_4(h) + …),    D(k) = D(3) for k > 3,

    where c is a count at the greatest length only: at each shorter one it is the number of different symbols
    seen in front of h s, since what follows an unseen context is what follows many of them. The discounts of
    a length come from n_k, how many of its grams have the count k:

        Y = n_1 / (n_1 + 2 n_2),    D(k) = k - (k+1) · Y · n_{k+1} / n_k,

    and where these do not exist or are not above 0, as with little text, all are Y (1/2 without any n_1).
    Either recursion ends in the uniform distribution, and after a context never seen p(s | h) is p(s | h').
    So each symbol of the vocabulary has a probability above zero, and they sum to one. Order 1 is a unigram
    model, order 2 a bigram model.

    Parameters
    ----------
    symbols : array_like of int, shape [N]
        The training sequence, at least one symbol, each in 0..vocabulary-1.
    vocabulary : int
        How many different symbols there are, those that the training sequence lacks included.
    order : int, default 5
        Length of the longest gram: a context holds up to order - 1 symbols.
    smoothing : {"witten-bell", "kneser-ney"}
        How what is seldom or never seen gets its share.

    Raises
    ------
    TypeError, ValueError
        For symbols that are no integers, lie outside the vocabulary, or are none at all; for a smoothing of
        another name.

    References
    ----------
    I. H. Witten and T. C. Bell, "The zero-frequency problem", IEEE Trans. Inf. Theory 37(4), 1991 (method C).
    R. Kneser and H. Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995.
    S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", 1999.

    Examples
    --------
    >>> from rnnfast.baselines import NGram
    >>> model = NGram([0, 1, 0, 1, 0, 0], vocabulary=3, order=2)
    >>> [round(float(p), 3) for p in model.probabilities([1])]
    [0.861, 0.111, 0.028]
    >>> round(model.bits_per_symbol([0, 1, 0, 1]), 3)
    0.702
    >>> model = NGram([0, 1, 0, 1, 0, 0], vocabulary=3, order=2, smoothing="kneser-ney")
    >>> [round(float(p), 3) for p in model.probabilities([1])]
    [0.963, 0.03, 0.007]
    """

    def __init__(
        self, symbols: ArrayLike, vocabulary: int, order: int = 5, smoothing: str = "witten-bell"
    ) -> None:
        checks.positive("vocabulary", vocabulary)
        checks.positive("order", order)
        if smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing: expected {' or '.join(SMOOTHINGS)}, got {smoothing!r}")
        self.vocabulary = int(vocabulary)
        self.order = int(order)
        self.smoothing = smoothing
        self._levels: list[_Level] = []

        rest = self._checked("symbols", symbols, least=1)
        places = np.zeros(len(rest), np.int64)  # the id of what stands in front of each symbol of `rest`
        contexts = 1
        shorter: _Grams | None = None
        for _ in range(order):
            grams = _counted(places * self.vocabulary + rest, contexts)
            if smoothing == "witten-bell":
                self._levels.append(_witten_bell(grams, self.vocabulary))
            elif shorter is not None:
                in_front = np.bincount(shorter.places[grams.first + 1], minlength=len(shorter.keys))
                self._levels.append(_kneser_ney(shorter, in_front, self.vocabulary))
            places, rest, contexts, shorter = grams.places[:-1], rest[1:], len(grams.keys), grams
        if smoothing == "kneser-ney":
            self._levels.append(_kneser_ney(grams, grams.counts, self.vocabulary))

    @property
    def grams(self) -> int:
        """How many different grams, of all lengths up to the order, the model keeps a count of."""
        return sum(len(level.keys) for level in self._levels)

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
        array = checks.as_array(name, symbols)
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


class _Grams(NamedTuple):
    """The grams of one length in the training symbols."""

    keys: NDArray[np.int64]  # [N] as in _Level
    first: NDArray[np.int64]  # [N] where each gram first begins
    places: NDArray[np.int64]  # the id of the gram that begins at each place
    counts: NDArray[np.int64]  # [N] how often each gram occurs
    contexts: int  # C, how many contexts there are

    def by_context(self, weights: NDArray[Any], vocabulary: int) -> NDArray[np.float64]:
        """Sums of the grams' weights over those of one context, [C+1], the last 0."""
        sums = np.bincount(self.keys // vocabulary, weights, minlength=self.contexts + 1)
        return sums.astype(np.float64, copy=False)


def _counted(keys: NDArray[np.int64], contexts: int) -> _Grams:
    """The grams of one length, of the key at each place."""
    return _Grams(
        *np.unique(keys, return_index=True, return_inverse=True, return_counts=True), contexts=contexts
    )


def _witten_bell(grams: _Grams, vocabulary: int) -> _Level:
    distinct = grams.by_context(np.ones(len(grams.keys)), vocabulary)
    totals = grams.by_context(grams.counts, vocabulary) + distinct
    return _Level(grams.keys, np.append(grams.counts, 0.0), distinct, totals)


def _kneser_ney(grams: _Grams, counts: NDArray[np.int64], vocabulary: int) -> _Level:
    """Of grams with these counts, [N], some of which may be 0."""
    taken = _discounts(counts)[np.minimum(counts, 3)]
    return _Level(
        grams.keys,
        np.append(counts - taken, 0.0),
        grams.by_context(taken, vocabulary),
        grams.by_context(counts, vocabulary),
    )


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is taken off a count of 0 (nothing), 1, 2, and 3 or more."""
    n = np.bincount(np.minimum(counts, 5), minlength=6).astype(np.float64)
    plain = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    k = np.arange(1, 4)
    if n[1:4].all():
        modified = k - (k + 1) * plain * n[2:5] / n[1:4]
        if (modified > 0).all():
            return np.append(0.0, modified)
    return np.array([0.0, plain, plain, plain])


def _mix(
    level: _Level,
    context: NDArray[np.int64],  # IN  [N] ids of the contexts, -1 where never seen; or [1], the same for all
    grams: NDArray[np.int64],  # IN  [N] ids of the grams, -1 where never seen
    p: NDArray[np.float64],  # INOUT [N] was: p(s | h'), is then: p(s | h)
) -> None:
    total = level.totals[context]
    seen = np.broadcast_to(total > 0, p.shape)
    np.divide(level.kept[grams] + level.spared[context] * p, total, out=p, where=seen)
