"""The size of a model."""

from __future__ import annotations

from rnnfast import checks
from rnnfast.nn.module import Module

__all__ = ["count_parameters"]


def count_parameters(model: Module) -> int:
    """The number of trained numbers of a model: the elements of its parameters, shared ones counted once.

    Parameters
    ----------
    model : Module

    Returns
    -------
    int

    Raises
    ------
    TypeError
        `model` is no Module.

    Examples
    --------
    >>> import rnnfast as rf
    >>> rf.count_parameters(rf.LSTM(2, 3))    # 4 gates: 3 x 2 and 3 x 3 weights, two biases of 3
    84
    """
    return sum(parameter.size for parameter in checks.instance("model", model, Module).parameters())
