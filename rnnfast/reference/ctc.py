"""The CTC loss by its recursion over labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["ctc"]


def ctc(
    y: np.ndarray, labels: Sequence[Sequence[int]], lengths: Sequence[int] | None = None, blank: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The CTC loss of each sequence, and the gradient of their sum (Graves et al. 2006).

    A sequence's labels, with a blank before, between and after them, are its states. A path goes through them
    from one of the first two to one of the last two, and takes one state a step: the same, the next, or the
    one after that if it is no blank and differs from the state two before it. With p[s] the softmax of y at
    step t for the class of state s::

        alpha_t[s] = p_t[s] (alpha_{t-1}[s] + alpha_{t-1}[s-1] [+ alpha_{t-1}[s-2]])
        beta_t[s]  = p_t[s] (beta_{t+1}[s]  + beta_{t+1}[s+1]  [+ beta_{t+1}[s+2]])
        P          = sum over s of alpha_t[s] beta_t[s] / p_t[s], for any t
        loss       = -log P
        dy_t[k]    = softmax(y_t)[k] - (sum over the states s of class k of alpha_t[s] beta_t[s] / p_t[s]) / P

    Everything is in logarithms.

    Parameters
    ----------
    y : ndarray [T, B, V]
        Logits.
    labels : sequence of sequences of int
        Of each of the B sequences.
    lengths : sequence of int [B], optional
        Steps of each sequence; T by default.
    blank : int
        The class of the blank.

    Returns
    -------
    losses : ndarray [B]
        Infinite where no path exists.
    dy : ndarray [T, B, V]
        NaN where no path exists; zero past a sequence's length.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import reference
    >>> losses, dy = reference.ctc(np.zeros((2, 1, 3)), [[1]])    # 3 of the 9 paths give this label
    >>> np.exp(-losses).round(4).tolist(), dy[:, 0, 1:].round(4).tolist()
    ([0.3333], [[-0.3333, 0.3333], [-0.3333, 0.3333]])
    """
    T, B, _ = y.shape
    losses, dy = np.zeros(B, y.dtype), np.zeros_like(y)
    for b in range(B):
        steps = T if lengths is None else lengths[b]
        classes = np.full(2 * len(labels[b]) + 1, blank)
        classes[1::2] = labels[b]
        skips = np.zeros(len(classes), bool)  # whether a path may come from two states before
        skips[2:] = (classes[2:] != blank) & (classes[2:] != classes[:-2])
        largest = y[:steps, b].max(axis=1, keepdims=True, initial=-np.inf)
        total = np.log(np.exp(y[:steps, b] - largest).sum(axis=1, keepdims=True))
        log_softmax = y[:steps, b] - largest - total
        p = log_softmax[:, classes]
        alpha = _ctc_paths(p, skips)
        back = np.append(skips[2:], [False] * min(2, len(classes)))[::-1]  # the same, from the last state
        beta = _ctc_paths(p[::-1, ::-1], back)[::-1, ::-1]
        if steps == 0:
            losses[b] = 0 if len(classes) == 1 else np.inf
            continue
        log_p = np.logaddexp.reduce(alpha[-1, -2:])
        losses[b] = -log_p
        with np.errstate(invalid="ignore"):  # infinity - infinity is NaN, as it shall be
            shares = np.exp(alpha + beta - p - log_p)
        dy[:steps, b] = np.exp(log_softmax)
        for s, k in enumerate(classes):
            dy[:steps, b, k] -= shares[:, s]
        if np.isinf(log_p):
            dy[:steps, b] = np.nan
    return losses, dy


def _ctc_paths(p: np.ndarray, skips: np.ndarray) -> np.ndarray:
    """log of the sum over all paths from the first two states to each state at each step; p in logarithms."""
    paths = np.full(p.shape, -np.inf, p.dtype)
    paths[:1, :2] = p[:1, :2]
    for t in range(1, len(p)):
        before = paths[t - 1]
        paths[t] = before
        paths[t, 1:] = np.logaddexp(paths[t, 1:], before[:-1])
        paths[t, 2:] = np.where(skips[2:], np.logaddexp(paths[t, 2:], before[:-2]), paths[t, 2:])
        paths[t] += p[t]
    return paths
