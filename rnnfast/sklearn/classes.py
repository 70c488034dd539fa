"""Classes: labels as their places among them, and the probabilities of logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import check_classification_targets

from rnnfast import checks

__all__ = ["log_softmax", "sorted_classes"]


def sorted_classes(
    labels: NDArray, classes: Any = None, before: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """The sorted classes, and the place of each label among them.

    Parameters
    ----------
    labels : ndarray [R]
    classes : array_like, optional
        The classes that the caller names. By default those of `before`, or else of the labels.
    before : ndarray [C], optional
        The classes of earlier calls; `classes` must be the same.

    Raises
    ------
    TypeError, ValueError
        If labels or classes cannot be sorted, or a label is none of the classes.
    """
    found = _sorted("y", labels)
    check_classification_targets(labels)
    known = found if before is None else before
    if classes is not None:
        known = _sorted("classes", checks.as_array("classes", classes))
        if known.size == 0:
            raise ValueError("classes: expected at least one class, got none")
        if before is not None and not np.array_equal(known, before):
            raise ValueError(
                f"classes: expected those of the first call {before.tolist()}, got {known.tolist()}"
            )
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    unknown = labels[known[places] != labels]
    if unknown.size:
        raise ValueError(f"y: expected labels among the classes {known.tolist()}, got {unknown[0]!r}")
    return known, places


def _sorted(name: str, labels: NDArray) -> NDArray:
    """The different labels, sorted; an error if they have no order."""
    try:
        return np.unique(labels)
    except TypeError as error:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.ravel()}))
        raise TypeError(f"{name}: expected labels that can be sorted, got those of {kinds}") from error


def log_softmax(logits: NDArray) -> NDArray:
    """The logarithms of the probabilities, along the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
