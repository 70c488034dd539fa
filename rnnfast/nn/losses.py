"""Losses: `loss(y, targets, mask=None)` gives the mean loss and its gradient with respect to `y`.

The losses work row by row. The gradient of a row of `y` depends on other rows by the factor 1/count alone,
or, with weights, by its share of their sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.ctc import ctc
from rnnfast.nn.mean import Mean

__all__ = ["binary_cross_entropy", "cross_entropy", "ctc", "huber", "mae", "mse"]


@to_nearest
def cross_entropy(
    y: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None = None,
    ignore_index: int = -100,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """Softmax cross-entropy of logits against integer classes.

    For each kept row the loss is ``log(sum(exp(y))) - y[target]`` (natural logarithm; divide by ``log(2)``
    for bits), computed after the row's largest logit is taken off, so that no exponential overflows.

    Parameters
    ----------
    y : array_like, float, shape [..., C]
        Logits: one score for each of C classes.
    targets : array_like, integer, shape [...]
        The right class of each row, in 0..C-1.
    mask : array_like, bool, shape [...] or leading axes of it, optional
        True where a row counts. Rows that do not count are never looked at: NaN there is harmless, and so is
        any target.
    ignore_index : int, default -100
        Rows with this target do not count either.
    weights : array_like of numbers of at least 0, shape [...] or leading axes of it, optional
        How much each row counts: the loss is the weighted mean. A row of weight 0 does not count.

    Returns
    -------
    loss : float
        The mean over the rows that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in rows that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `targets` not integer, `mask` not bool, or `weights` not real.
    ValueError
        Shapes that do not fit, a target that is no class, or `weights` that are negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.cross_entropy(np.zeros((2, 4)), [0, 3])
    >>> round(loss, 4), dy[0].tolist()
    (1.3863, [-0.375, 0.125, 0.125, 0.125])
    """
    y = checks.any_floats("y", y)
    if y.ndim < 1 or y.shape[-1] < 1:
        raise ValueError(f"y: expected shape [..., C] with at least one class, got {y.shape}")
    targets = checks.as_array("targets", targets)
    if targets.dtype.kind not in "iu":
        if targets.size:
            raise TypeError(f"targets: expected integer classes, got {targets.dtype}")
        targets = targets.astype(np.int64)  # an empty list has no dtype of its own
    if targets.shape != y.shape[:-1]:
        raise ValueError(
            f"targets: expected shape {y.shape[:-1]} (y without its last axis), got {targets.shape}"
        )

    classes = y.shape[-1]
    logits = y.reshape(-1, classes)
    target = targets.reshape(-1)
    ignored = targets == checks.integer("ignore_index", ignore_index)
    if ignored.any():
        mask = ~ignored if mask is None else checks.full_mask(mask, targets.shape) & ~ignored
    mean = Mean(targets.shape, mask, weights)
    dropped = None if mean.dropped is None else mean.dropped.reshape(-1)
    if dropped is not None:
        target = np.where(dropped, 0, target)
    _check_classes(target, classes)
    if mean.count == 0:
        return 0.0, np.zeros(y.shape, y.dtype)

    rows = np.arange(target.size)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # rows outside the mask may hold NaN
        dy = logits - logits.max(axis=1, keepdims=True)  # shifted logits, largest 0
        nll = -dy[rows, target]
        np.exp(dy, out=dy)  # now exponentials
        total = dy.sum(axis=1)
        nll += np.log(total)
        dy *= (1.0 / (total * mean.count))[:, None]  # now softmax / count
        dy[rows, target] -= 1.0 / mean.count  # now the gradient
    nll = nll.reshape(targets.shape)
    if mean.dropped is not None:  # before the weights: infinity times a weight of 0 is not a number
        nll[mean.dropped] = 0.0
        dy[dropped] = 0.0
    nll = mean.weighted(nll)
    if mean.dropped is not None:
        nll = nll[~mean.dropped]
    dy = dy.reshape(y.shape)
    mean.weigh(dy)
    return float(nll.sum(dtype=np.float64)) / mean.count, dy


@to_nearest
def mse(
    y: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """Mean squared error.

    Parameters
    ----------
    y : array_like, float, any shape
        Predictions.
    targets : array_like, real, shape of y
        What they should be. There is no broadcasting: [N] against [N, 1] is an error, not an [N, N] mean.
    mask : array_like, bool, shape of y or leading axes of it, optional
        True where an element counts; a mask of leading axes keeps or drops whole slices. NaN in an element
        that does not count, in `y` or in `targets`, is harmless.
    weights : array_like of numbers of at least 0, shape of y or leading axes of it, optional
        How much each element counts: the loss is the weighted mean. An element of weight 0 does not count.

    Returns
    -------
    loss : float
        The mean of ``(y - targets)**2`` over the elements that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in elements that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `targets` or `weights` not real, or `mask` not bool.
    ValueError
        Shapes that do not fit, or `weights` that are negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.mse(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    >>> loss, dy.tolist()
    (2.5, [1.0, -2.0])
    """
    dy, mean = _differences(y, targets, mask, weights)
    if mean.count == 0:
        return 0.0, dy
    loss = mean.total(np.square(dy)) / mean.count
    dy *= 2.0 / mean.count  # now the gradient
    mean.weigh(dy)
    return loss, dy


@to_nearest
def mae(
    y: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """Mean absolute error.

    Parameters
    ----------
    y, targets, mask, weights
        As those of :func:`mse`.

    Returns
    -------
    loss : float
        The mean of ``abs(y - targets)`` over the elements that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`, 0 where y is its target; exactly 0 in elements that do not count.

    Raises
    ------
    TypeError, ValueError
        As :func:`mse`.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.mae(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    >>> loss, dy.tolist()
    (1.5, [0.5, -0.5])
    """
    dy, mean = _differences(y, targets, mask, weights)
    if mean.count == 0:
        return 0.0, dy
    loss = mean.total(np.abs(dy)) / mean.count
    np.sign(dy, out=dy)
    dy *= 1.0 / mean.count  # now the gradient
    mean.weigh(dy)
    return loss, dy


@to_nearest
def huber(
    y: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None = None,
    delta: float = 1.0,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """The loss of Huber: a square near the target, a straight line beyond `delta`.

    Few large errors, such as those of outliers, weigh less than in :func:`mse`.

    Parameters
    ----------
    y, targets, mask, weights
        As those of :func:`mse`.
    delta : float, default 1.0
        The difference at which the square ends, more than 0.

    Returns
    -------
    loss : float
        With d = y - targets, the mean of ``d**2 / 2`` where ``abs(d) <= delta`` and of
        ``delta * (abs(d) - delta / 2)`` elsewhere, over the elements that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in elements that do not count.

    Raises
    ------
    TypeError, ValueError
        As :func:`mse`, or `delta` is no number above 0.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35 (1964).

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.huber(np.array([1.0, 2.0]), np.array([0.5, 6.0]))
    >>> loss, dy.tolist()
    (1.8125, [0.25, -0.5])
    """
    delta = checks.above_zero("delta", delta)
    dy, mean = _differences(y, targets, mask, weights)
    if mean.count == 0:
        return 0.0, dy
    beyond = np.abs(dy)  # the differences
    np.clip(dy, -delta, delta, out=dy)
    beyond -= np.abs(dy)
    loss = 0.5 * mean.total(np.square(dy)) + delta * mean.total(beyond)
    dy *= 1.0 / mean.count  # now the gradient
    mean.weigh(dy)
    return loss / mean.count, dy


@to_nearest
def binary_cross_entropy(
    y: ArrayLike,
    targets: ArrayLike,
    mask: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    *,
    weights: ArrayLike | None = None,
) -> tuple[float, NDArray]:
    """Cross-entropy of logits against probabilities, element by element: y is what goes into a sigmoid.

    It is ``-t*log(sigmoid(y)) - (1-t)*log(1 - sigmoid(y))`` for a target t, computed so that no exponential
    overflows. A network that is trained with it ends without a sigmoid.

    Parameters
    ----------
    y : array_like, float, any shape
        Logits.
    targets : array_like, real or bool, shape of y
        Probabilities from 0 to 1, or the labels 0 and 1.
    mask : array_like, bool, shape of y or leading axes of it, optional
        True where an element counts. NaN in an element that does not count is harmless.
    pos_weight : float or array_like, shape of y's last axes, optional
        A positive factor of the term with t. Where positives are rare, it weighs them more.
    weights : array_like of numbers of at least 0, shape of y or leading axes of it, optional
        How much each element counts, as for :func:`mse`.

    Returns
    -------
    loss : float
        The mean over the elements that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in elements that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `targets` neither real nor bool, `mask` not bool, or `weights` not real.
    ValueError
        Shapes that do not fit, a target outside 0..1, a `pos_weight` that is not above 0, or `weights` that
        are negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.binary_cross_entropy(np.array([0.0, 2.0]), [1, 0])
    >>> round(loss, 4), dy.round(3).tolist()
    (1.41, [-0.25, 0.44])

    With an option, as a loss for `rf.fit` or `rf.loss_and_grad`:

    >>> from functools import partial
    >>> loss = partial(losses.binary_cross_entropy, pos_weight=9.0)
    """
    y = checks.any_floats("y", y)
    targets = _fitting(targets, y, "fiub")
    weight = None if pos_weight is None else _positive(pos_weight, y)
    mean = Mean(y.shape, mask, weights)
    dropped = mean.dropped
    if mean.count == 0:
        return 0.0, np.zeros(y.shape, y.dtype)

    t = targets.astype(y.dtype)
    if dropped is not None:
        y, t = np.where(dropped, 0, y), np.where(dropped, 0, t)
    outside = t[~((t >= 0) & (t <= 1))]
    if outside.size:
        raise ValueError(f"targets: expected probabilities from 0 to 1, got {outside[0]}")
    zero, one = 1 - t, t if weight is None else weight * t  # the factors of both terms
    with np.errstate(invalid="ignore", under="ignore"):  # infinity times a factor of zero is left out
        e = np.exp(-np.abs(y))
        wrong = np.where(y > 0, zero, one)
        values = np.log1p(e) * (zero + one) + np.where(wrong == 0, 0, np.abs(y) * wrong)
        dy = (zero * np.where(y >= 0, 1, e) - one * np.where(y >= 0, e, 1)) / (1 + e)
    dy *= 1.0 / mean.count
    if dropped is not None:
        values[dropped] = 0.0
        dy[dropped] = 0.0
    mean.weigh(dy)
    return mean.total(values) / mean.count, dy


def _differences(
    y: ArrayLike, targets: ArrayLike, mask: ArrayLike | None, weights: ArrayLike | None
) -> tuple[NDArray, Mean]:
    """y - targets in the dtype of y, 0 in elements that do not count, and the mean over those that do."""
    y = checks.any_floats("y", y)
    targets = _fitting(targets, y, "fiu")
    mean = Mean(y.shape, mask, weights)
    if mean.count == 0:
        return np.zeros(y.shape, y.dtype), mean
    differences = np.empty(y.shape, y.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # elements outside the mask may hold NaN
        np.subtract(y, targets, out=differences, casting="same_kind")
    if mean.dropped is not None:
        differences[mean.dropped] = 0.0
    return differences, mean


def _fitting(targets: ArrayLike, y: NDArray, kinds: str) -> NDArray:
    """`targets` as an array of numbers of these kinds and of y's shape."""
    targets = checks.as_array("targets", targets)
    if targets.dtype.kind not in kinds:
        raise TypeError(f"targets: expected real numbers, got {targets.dtype}")
    if targets.shape != y.shape:
        raise ValueError(f"targets: expected shape {y.shape} (that of y), got {targets.shape}")
    return targets


def _positive(pos_weight: ArrayLike, y: NDArray) -> NDArray:
    """`pos_weight` in the dtype of y."""
    weight = checks.as_array("pos_weight", pos_weight)
    if weight.dtype.kind not in "fiu":
        raise TypeError(f"pos_weight: expected real numbers, got {weight.dtype}")
    if weight.shape != y.shape[y.ndim - weight.ndim :]:
        raise ValueError(
            f"pos_weight: expected a number or the shape of last axes of y {y.shape}, got {weight.shape}"
        )
    wrong = weight[~((weight > 0) & (weight < np.inf))]
    if wrong.size:
        raise ValueError(f"pos_weight: expected finite numbers above 0, got {wrong[0]}")
    return weight.astype(y.dtype)


def _check_classes(target: NDArray, classes: int) -> None:
    if target.size == 0:
        return
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise ValueError(f"targets: expected classes in 0..{classes - 1}, got {low if low < 0 else high}")
