"""Losses: `loss(y, targets, mask=None)` gives the mean loss and its gradient with respect to `y`.

The losses work row by row. The gradient of a row of `y` depends on other rows by the factor 1/count alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest

__all__ = ["cross_entropy", "mse"]


@to_nearest
def cross_entropy(
    y: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None, ignore_index: int = -100
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

    Returns
    -------
    loss : float
        The mean over the rows that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in rows that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `targets` not integer, or `mask` not bool.
    ValueError
        Shapes that do not fit, or a target that is no class.

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
    ignored = target == checks.integer("ignore_index", ignore_index)
    keep = ~ignored if ignored.any() else None
    if mask is not None:
        kept = _full_mask(mask, targets.shape).reshape(-1)
        keep = kept if keep is None else keep & kept
    if keep is not None:
        target = np.where(keep, target, 0)
    _check_classes(target, classes)
    count = target.size if keep is None else int(np.count_nonzero(keep))
    if count == 0:
        return 0.0, np.zeros(y.shape, y.dtype)

    rows = np.arange(target.size)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # rows outside the mask may hold NaN
        dy = logits - logits.max(axis=1, keepdims=True)  # shifted logits, largest 0
        nll = -dy[rows, target]
        np.exp(dy, out=dy)  # now exponentials
        total = dy.sum(axis=1)
        nll += np.log(total)
        dy *= (1.0 / (total * count))[:, None]  # now softmax / count
        dy[rows, target] -= 1.0 / count  # now the gradient
    if keep is not None:
        nll = nll[keep]
        dy[~keep] = 0.0
    return float(nll.sum(dtype=np.float64)) / count, dy.reshape(y.shape)


@to_nearest
def mse(y: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> tuple[float, NDArray]:
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

    Returns
    -------
    loss : float
        The mean of ``(y - targets)**2`` over the elements that count; 0.0 when there are none.
    dy : ndarray, shape and dtype of y
        The gradient of `loss`; exactly 0 in elements that do not count.

    Raises
    ------
    TypeError
        `y` is not float, `targets` not real, or `mask` not bool.
    ValueError
        Shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import losses
    >>> loss, dy = losses.mse(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    >>> loss, dy.tolist()
    (2.5, [1.0, -2.0])
    """
    y = checks.any_floats("y", y)
    targets = checks.as_array("targets", targets)
    if targets.dtype.kind not in "fiu":
        raise TypeError(f"targets: expected real numbers, got {targets.dtype}")
    if targets.shape != y.shape:
        raise ValueError(f"targets: expected shape {y.shape} (that of y), got {targets.shape}")
    dropped = None if mask is None else ~_full_mask(mask, y.shape)
    count = y.size if dropped is None else y.size - int(np.count_nonzero(dropped))
    if count == 0:
        return 0.0, np.zeros(y.shape, y.dtype)

    dy = np.empty(y.shape, y.dtype)
    with np.errstate(invalid="ignore", over="ignore"):  # elements outside the mask may hold NaN
        np.subtract(y, targets, out=dy, casting="same_kind")  # the differences
    if dropped is not None:
        dy[dropped] = 0.0
    loss = float(np.square(dy).sum(dtype=np.float64)) / count
    dy *= 2.0 / count  # now the gradient
    return loss, dy


def _full_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray:
    """`mask` spread to `shape`, of which it has all or some leading axes."""
    mask = checks.as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask: expected bool, got {mask.dtype}")
    if mask.shape != shape[: mask.ndim]:
        raise ValueError(f"mask: expected shape {shape} or leading axes of it, got {mask.shape}")
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def _check_classes(target: NDArray, classes: int) -> None:
    if target.size == 0:
        return
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= classes:
        raise ValueError(f"targets: expected classes in 0..{classes - 1}, got {low if low < 0 else high}")
