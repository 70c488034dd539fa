"""Classes: labels as their places among them, and the probabilities that logits stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        The classes that there are already; `classes` must be the same.
    """
    known = before if classes is None and before is not None else np.unique(labels)
    if classes is not None:
        known = np.unique(np.asarray(classes))
        if before is not None and not np.array_equal(known, before):
            raise ValueError(
                f"classes: expected those of the first call {before.tolist()}, got {known.tolist()}"
            )
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    unknown = labels[known[places] != labels]
    if unknown.size:
        raise ValueError(f"y: expected labels among the classes {known.tolist()}, got {unknown[0]!r}")
    return known, places


def log_softmax(logits: NDArray) -> NDArray:
    """The logarithms of the probabilities, along the last axis, in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
