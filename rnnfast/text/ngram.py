"""Count models of symbol sequences: n-grams with Witten-Bell or Kneser-Ney smoothing, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks

__all__ = ["NGram", "bits_by_order"]

SMOOTHINGS = ("witten-bell", "kneser-ney")


class _Level(NamedTuple):
    """The grams of one length and the contexts in front of them; index -1 means "never seen".

    After a context that was seen, p(s | h) = (kept of h s + spared of h · p(s | h')) / total of h.
    """

    # [N] context id * vocabulary + last symbol, ascending; a gram's id is its position here
    keys: NDArray[np.int64]
    kept: NDArray[np.float64]  # [N+1] the weight of each gram: its count, less the discount
    spared: NDArray[np.float64]  # [C+1] the weight of the next shorter context
    totals: NDArray[np.float64]  # [C+1] the sum of both in each context; 0 if it was never seen


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
        For symbols that are no integers, are outside the vocabulary, or are none at all; for a smoothing of
        another name.

    References
    ----------
    I. H. Witten and T. C. Bell, "The zero-frequency problem", IEEE Trans. Inf. Theory 37(4), 1991 (method C).
    R. Kneser and H. Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995.
    S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", 1999.

    Examples
    --------
    >>> from rnnfast.text import NGram
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
        checks.positive("order", order)
        self.vocabulary = _vocabulary(vocabulary)
        self.order = int(order)
        self.smoothing = _smoothing(smoothing)
        past = _past(symbols, self.vocabulary)
        lengths = islice(_counted(past, self.vocabulary), self.order)
        grams = next(lengths)
        self._levels: list[_Level] = []
        for longer in lengths:
            self._levels.append(_inner_level(grams, longer, self.vocabulary, smoothing))
            grams = longer
        self._levels.append(_last_level(grams, self.vocabulary, smoothing))

    @property
    def grams(self) -> int:
        """The number of different grams, of all lengths up to the order, that the model has counted."""
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
        past = _checked("context", context, self.vocabulary, least=0)
        symbols = np.arange(self.vocabulary)
        p = np.full(self.vocabulary, 1.0 / self.vocabulary)
        for length, level in enumerate(self._levels[: len(past) + 1]):
            in_front = np.zeros(1, np.int64)
            for longer, symbol in zip(self._levels, past[len(past) - length :], strict=False):
                in_front = _find(longer.keys, self.vocabulary, in_front, symbol)
            _mix(level, in_front, _find(level.keys, self.vocabulary, in_front, symbols), p)
        return p

    def bits_per_symbol(self, symbols: ArrayLike) -> float:
        """The mean of -log2 p over a sequence: the size to which the model could compress it.

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
            For symbols that are no integers, are outside the vocabulary, or are none at all.
        """
        rest = _checked("symbols", symbols, self.vocabulary, least=1)
        p = np.full(len(rest), 1.0 / self.vocabulary)
        context = np.zeros(len(rest), np.int64)
        for length, level in enumerate(self._levels):
            grams = _find(level.keys, self.vocabulary, context, rest)
            _mix(level, context, grams, p[length:])
            context, rest = grams[:-1], rest[1:]
        return _bits(p)


def bits_by_order(
    symbols: ArrayLike, vocabulary: int, held_out: ArrayLike, smoothing: str = "kneser-ney"
) -> Iterator[float]:
    """The held-out bits per symbol of the models of order 1, 2, 3, …, an infinite iterator.

    They are those of ``NGram(symbols, vocabulary, order, smoothing).bits_per_symbol(held_out)``. The orders
    share their counts here, and only those of two lengths are in memory at a time.

    Parameters
    ----------
    symbols, vocabulary, smoothing
        As for :class:`NGram`.
    held_out : array_like of int, shape [N]
        As for :meth:`NGram.bits_per_symbol`.

    Returns
    -------
    iterator of float
        It counts as it is read.

    Raises
    ------
    TypeError, ValueError
        As for :class:`NGram`, when it is called.

    Examples
    --------
    >>> from itertools import islice
    >>> from rnnfast.text import bits_by_order
    >>> bits = bits_by_order([0, 1, 0, 1, 0, 0], 3, [0, 1, 0, 1], smoothing="witten-bell")
    >>> [round(value, 3) for value in islice(bits, 3)]
    [1.181, 0.702, 0.676]
    """
    vocabulary, smoothing = _vocabulary(vocabulary), _smoothing(smoothing)
    past = _past(symbols, vocabulary)
    ahead = _checked("held_out", held_out, vocabulary, least=1)

    def scores() -> Iterator[float]:
        p = np.full(len(ahead), 1.0 / vocabulary)  # of the shorter lengths, each as an inner level
        context, rest = np.zeros(len(ahead), np.int64), ahead
        for length, (grams, longer) in enumerate(pairwise(_counted(past, vocabulary))):
            found = _find(grams.keys, vocabulary, context, rest)
            whole = p.copy()
            _mix(_last_level(grams, vocabulary, smoothing), context, found, whole[length:])
            yield _bits(whole)
            _mix(_inner_level(grams, longer, vocabulary, smoothing), context, found, p[length:])
            context, rest = found[:-1], rest[1:]

    return scores()


def _vocabulary(vocabulary: int) -> int:
    checks.positive("vocabulary", vocabulary)
    return int(vocabulary)


def _smoothing(smoothing: str) -> str:
    if not isinstance(smoothing, str) or smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing: expected {' or '.join(SMOOTHINGS)}, got {smoothing!r}")
    return smoothing


def _checked(name: str, symbols: ArrayLike, vocabulary: int, least: int) -> NDArray[np.int64]:
    array = checks.as_array(name, symbols)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one axis, got shape {array.shape}")
    if len(array) < least:
        raise ValueError(f"{name}: expected at least {least} symbol, got none")
    if len(array) == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {array.dtype}")
    if array.min() < 0 or array.max() >= vocabulary:
        raise ValueError(f"{name}: expected symbols in 0..{vocabulary - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def _past(symbols: ArrayLike, vocabulary: int) -> NDArray[np.int64]:
    """The training symbols, whose grams have keys that int64 holds."""
    past = _checked("symbols", symbols, vocabulary, least=1)
    most = np.iinfo(np.int64).max // len(past)
    if vocabulary > most:
        raise ValueError(
            f"vocabulary: expected at most {most} with {len(past)} training symbols, got {vocabulary}"
        )
    return past


def _bits(p: NDArray[np.float64]) -> float:
    return float(-np.log2(p).mean())


def _find(
    keys: NDArray[np.int64], vocabulary: int, context: NDArray[np.int64], symbols: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The ids of the grams "context, then symbol" among those of a level, -1 for those never seen."""
    wanted = np.where(context >= 0, context * vocabulary + symbols, -1)
    at = np.searchsorted(keys, wanted)
    padded = np.append(keys, -2)  # compared with keys beyond the last
    return np.where(padded[at] == wanted, at, -1)


class _Grams(NamedTuple):
    """The grams of one length in the training symbols."""

    keys: NDArray[np.int64]  # [N] as in _Level
    first: NDArray[np.int64]  # [N] the place where each gram first begins
    places: NDArray[np.int64]  # the id of the gram that begins at each place
    counts: NDArray[np.int64]  # [N] how often each gram occurs
    contexts: int  # C, the number of contexts

    def by_context(self, weights: NDArray[Any], vocabulary: int) -> NDArray[np.float64]:
        """Sums of the grams' weights over those of one context, [C+1], the last 0."""
        sums = np.bincount(self.keys // vocabulary, weights, minlength=self.contexts + 1)
        return sums.astype(np.float64, copy=False)


def _counted(symbols: NDArray[np.int64], vocabulary: int) -> Iterator[_Grams]:
    """The grams of length 1, 2, 3, … in the training symbols, an infinite iterator."""
    places = np.zeros(len(symbols), np.int64)  # the id of the context of each symbol of `rest`
    rest, contexts = symbols, 1
    while True:
        keys = places * vocabulary + rest
        distinct, first, at, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        yield _Grams(distinct, first, at, counts, contexts)
        places, rest, contexts = at[:-1], rest[1:], len(distinct)


def _last_level(grams: _Grams, vocabulary: int, smoothing: str) -> _Level:
    """The level of the greatest length."""
    if smoothing == "witten-bell":
        return _witten_bell(grams, vocabulary)
    return _kneser_ney(grams, grams.counts, vocabulary)


def _inner_level(grams: _Grams, longer: _Grams, vocabulary: int, smoothing: str) -> _Level:
    """The level of a length that is not the greatest."""
    if smoothing == "witten-bell":
        return _witten_bell(grams, vocabulary)
    in_front = np.bincount(grams.places[longer.first + 1], minlength=len(grams.keys))
    return _kneser_ney(grams, in_front, vocabulary)


def _witten_bell(grams: _Grams, vocabulary: int) -> _Level:
    distinct = grams.by_context(np.ones(len(grams.keys)), vocabulary)
    totals = grams.by_context(grams.counts, vocabulary) + distinct
    return _Level(grams.keys, np.append(grams.counts, 0.0), distinct, totals)


def _kneser_ney(grams: _Grams, counts: NDArray[np.int64], vocabulary: int) -> _Level:
    """The level of grams with these counts [N], of which some may be 0."""
    taken = _discounts(counts)[np.minimum(counts, 3)]
    return _Level(
        grams.keys,
        np.append(counts - taken, 0.0),
        grams.by_context(taken, vocabulary),
        grams.by_context(counts, vocabulary),
    )


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The discounts of a count of 0 (none), of 1, of 2, and of 3 or more."""
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
    p: NDArray[np.float64],  # INOUT [N] was: p(s | h'); now: p(s | h)
) -> None:
    total = level.totals[context]
    seen = np.broadcast_to(total > 0, p.shape)
    np.divide(level.kept[grams] + level.spared[context] * p, total, out=p, where=seen)
