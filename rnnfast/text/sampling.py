"""Symbols drawn from a model that predicts the next one: temperature, top-k, nucleus, beam search.

A model here is a `Sequential` whose stream gives logits of the next symbol: ``step(symbols [B])``, [B, V].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.sequential import Sequential

__all__ = ["Beam", "beam_search", "distribution", "generate"]


class Beam(NamedTuple):
    """A continuation that beam search found.

    Attributes
    ----------
    symbols : list of int
    log_probability : float
        The sum of the symbols' log probabilities (natural logarithm), each given the prompt and those before
        it.
    """

    symbols: list[int]
    log_probability: float


@to_nearest
def distribution(
    logits: ArrayLike,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    exclude: Sequence[int] = (),
) -> NDArray[np.float64]:
    """The probabilities that a symbol is drawn from: the softmax after temperature, top-k and top-p.

    Parameters
    ----------
    logits : array_like, float [V]
        A score for each symbol.
    temperature : float, default 1
        Divides the logits: below 1 safer, above 1 wilder; at 0 the likeliest symbol alone is left (the first
        of several).
    top_k : int, optional
        Keep the k likeliest symbols, and those as likely as the last of these.
    top_p : float, optional
        Of what `temperature` and `top_k` leave, keep the nucleus: the fewest symbols, the likeliest first,
        that have at least this probability together. 0 < top_p <= 1.
    exclude : sequence of int
        Symbols never to be drawn.

    Returns
    -------
    ndarray of float64 [V]
        Probabilities that sum to one; 0 for what is cut off.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or no symbol is left.

    References
    ----------
    A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020 (the nucleus).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> logits = np.log([0.5, 0.3, 0.15, 0.05])
    >>> rf.sampling.distribution(logits, top_k=2).round(3).tolist()
    [0.625, 0.375, 0.0, 0.0]
    >>> rf.sampling.distribution(logits, top_p=0.9).round(3).tolist()
    [0.526, 0.316, 0.158, 0.0]
    >>> rf.sampling.distribution(logits, temperature=0.5).round(3).tolist()
    [0.685, 0.247, 0.062, 0.007]
    """
    _check_rules(temperature, top_k, top_p)
    logits = _allowed(checks.any_floats("logits", logits), exclude)
    if logits.ndim != 1:
        raise ValueError(f"logits: expected shape [V], got {logits.shape}")
    if temperature == 0:
        p = np.zeros(len(logits))
        p[logits.argmax()] = 1.0
        return p
    if top_k is not None and top_k < len(logits):
        logits = np.where(logits >= np.partition(logits, -top_k)[-top_k], logits, -np.inf)
    p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    if top_p is not None:
        order = np.argsort(-p, kind="stable")
        likelier = np.append(0.0, np.cumsum(p[order])[:-1])  # the sum of the probabilities before each symbol
        p[order[likelier >= top_p]] = 0.0
        p /= p.sum()
    return p


def generate(
    model: Sequential,
    prompt: ArrayLike,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    exclude: Sequence[int] = (),
    rng: checks.Rng = None,
) -> Iterator[int]:
    """Symbols drawn one after the other, each from its distribution given all before it.

    Parameters
    ----------
    model : Sequential
        From integers to logits.
    prompt : array_like of int [N]
        What the model reads first, at least one symbol.
    length : int
        How many symbols to draw.
    temperature, top_k, top_p, exclude
        As for :func:`distribution`.
    rng : int, numpy.random.Generator or None
        The same seed, the same symbols.

    Returns
    -------
    iterator of int
        It draws as it is read.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import rnnfast as rf
    >>> model = rf.Sequential(rf.Embedding(5, 4, rng=0), rf.GRU(4, 8, rng=1), rf.Linear(8, 5, rng=2))
    >>> drawn = list(rf.sampling.generate(model, [3, 1], 6, rng=0))
    >>> drawn == list(rf.sampling.generate(model, [3, 1], 6, rng=0)), len(drawn)
    (True, 6)
    """
    _check_model(model)
    _check_rules(temperature, top_k, top_p)
    prompt = _prompt(prompt)
    length = checks.integer("length", length, 0)
    source = checks.generator(rng)

    def draw() -> Iterator[int]:
        step = model.stream()
        for symbol in prompt:
            logits = step(symbol[None])
        for _ in range(length):
            p = distribution(logits[0], temperature=temperature, top_k=top_k, top_p=top_p, exclude=exclude)
            drawn = int(source.choice(len(p), p=p))
            yield drawn
            logits = step(np.array([drawn]))

    return draw()


@to_nearest
def beam_search(
    model: Sequential, prompt: ArrayLike, length: int, beams: int, *, exclude: Sequence[int] = ()
) -> list[Beam]:
    """The most likely continuations that beam search finds; it keeps `beams` of them at each step.

    At each step every kept continuation is continued by every symbol, and the `beams` likeliest of all these
    are kept. Nothing is random: the same arguments give the same result. One beam takes the likeliest symbol
    at each step. With as many beams as there are continuations, nothing is dropped and the result is exact.

    Parameters
    ----------
    model : Sequential
        From integers to logits. The beams are the rows of one batch of its stream.
    prompt : array_like of int [N]
        What the model reads first, at least one symbol.
    length : int
        Symbols of a continuation: all have this length, so that their probabilities compare.
    beams : int
        How many continuations to keep.
    exclude : sequence of int
        Symbols never to be used. Their probability goes to no other symbol.

    Returns
    -------
    list of Beam
        At most `beams`, the likeliest first.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, or no symbol is left.

    Examples
    --------
    >>> import rnnfast as rf
    >>> model = rf.Sequential(rf.Embedding(5, 4, rng=0), rf.GRU(4, 8, rng=1), rf.Linear(8, 5, rng=2))
    >>> greedy = list(rf.sampling.generate(model, [3, 1], 6, temperature=0))
    >>> rf.sampling.beam_search(model, [3, 1], 6, beams=1)[0].symbols == greedy
    True
    """
    _check_model(model)
    prompt = _prompt(prompt)
    length = checks.integer("length", length, 0)
    beams = checks.positive("beams", beams)
    step = model.stream(beams)
    for symbol in prompt:
        logits = step(np.full(beams, symbol))
    symbols = np.zeros((beams, length), np.int64)
    totals = np.where(np.arange(beams) == 0, 0.0, -np.inf)  # rows are still equal: only the first counts
    for t in range(length):
        scores = totals[:, np.newaxis] + _allowed(_log_softmax(logits), exclude)
        best = np.argsort(-scores, axis=None, kind="stable")[:beams]
        rows, drawn = np.divmod(best, scores.shape[1])
        totals = scores[rows, drawn]
        symbols = symbols[rows]
        symbols[:, t] = drawn
        step.state = _chosen(step.state, rows)
        if t + 1 < length:
            logits = step(drawn)
    return [
        Beam(row.tolist(), float(total))
        for row, total in zip(symbols, totals, strict=True)
        if np.isfinite(total)
    ]


def _check_rules(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if checks.real("temperature", temperature) < 0:
        raise ValueError(f"temperature: expected a number from 0, got {temperature}")
    if top_k is not None:
        checks.positive("top_k", top_k)
    if top_p is not None and not 0 < checks.real("top_p", top_p) <= 1:
        raise ValueError(f"top_p: expected a number above 0, at most 1, got {top_p}")


def _check_model(model: Any) -> None:
    if not callable(getattr(model, "stream", None)):
        raise TypeError(f"model: expected one with a method stream, got {type(model).__name__}")


def _prompt(prompt: ArrayLike) -> NDArray[np.integer]:
    array = checks.as_array("prompt", prompt)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"prompt: expected shape [N] with at least one symbol, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"prompt: expected integers, got {array.dtype}")
    return array


def _allowed(scores: NDArray, exclude: Sequence[int]) -> NDArray[np.float64]:
    """A copy of the scores [..., V], with -inf for excluded symbols."""
    allowed = scores.astype(np.float64)
    if not (allowed < np.inf).all():
        raise ValueError("logits: expected numbers (or -inf), got NaN or +inf")
    for symbol in checks.iterated("exclude", exclude, "a sequence of symbols"):
        checks.integer("exclude", symbol)
        if not 0 <= symbol < scores.shape[-1]:
            raise ValueError(f"exclude: expected symbols in 0..{scores.shape[-1] - 1}, got {symbol}")
        allowed[..., symbol] = -np.inf
    if (allowed.max(axis=-1, initial=-np.inf) == -np.inf).any():
        raise ValueError("exclude: expected at least one symbol to be left, got none")
    return allowed


def _log_softmax(logits: NDArray) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _chosen(state: Any, rows: NDArray[np.intp]) -> Any:
    """These rows of a stream's state, which may be nested: its arrays are [layers, B, ·]."""
    if isinstance(state, tuple):
        return tuple(_chosen(part, rows) for part in state)
    return None if state is None else state[:, rows]
