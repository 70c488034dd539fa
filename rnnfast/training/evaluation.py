"""The mean loss of a model on data."""

from __future__ import annotations

from typing import Any

from rnnfast import checks
from rnnfast.nn.module import Module
from rnnfast.training.batches import Source, source
from rnnfast.training.grad import Loss, as_loss, check_model

__all__ = ["evaluate", "mean_loss"]


def evaluate(
    model: Module,
    loss: Loss,
    data: Any,
    *,
    batch_size: int | None = 32,
    stateful: bool = False,
    truncate: tuple[int, int] | None = None,
    axes: tuple[int, int] | None = None,
) -> float:
    """The mean loss over all batches, each weighted by its targets: those its mask keeps, or their weights.

    Parameters
    ----------
    model, loss, data, batch_size, stateful, truncate, axes
        As for :func:`fit`. The model evaluates: no dropout, nothing saved.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        An argument that cannot be, or data without any target.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> from rnnfast.training import evaluate
    >>> model = rf.Linear(2, 1, rng=0)
    >>> x = np.zeros((100, 2), np.float32)
    >>> bool(np.isclose(evaluate(model, rf.losses.mse, (x, model(x)[0] + 2)), 4.0))
    True
    """
    check_model(model)
    loss = as_loss(loss)
    checks.flag("stateful", stateful)
    updates = source(
        "data", data, model, batch_size=batch_size, axes=axes, stateful=stateful, truncate=truncate
    )
    return mean_loss("data", loss, updates, 0, stateful)


def mean_loss(name: str, loss: Loss, updates: Source, epoch: int, stateful: bool) -> float:
    """The mean loss of an epoch of updates; `name` is what errors call the data."""
    total, weight = 0.0, 0.0
    state: Any = None
    for update in updates.epoch(epoch):
        value, state = update.evaluate(loss, state)
        if update.last and not stateful:
            state = None
        total += value * update.weight
        weight += update.weight
    if weight == 0:
        raise ValueError(f"{name}: expected at least one target, got none")
    return total / weight
