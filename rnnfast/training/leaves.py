"""A state as a form that JSON can hold, and the arrays in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["put_together", "take_apart"]


def take_apart(state: Any, leaves: list[NDArray]) -> Any:
    """The form of a state, as JSON can hold it; its arrays go to `leaves`, their places into the form."""
    if state is None:
        return None
    if isinstance(state, np.ndarray):
        leaves.append(state)
        return len(leaves) - 1
    if isinstance(state, (tuple, list)):
        return [take_apart(entry, leaves) for entry in state]
    raise TypeError(f"state: expected arrays, tuples and None, got {type(state).__name__}")


def put_together(form: Any, leaves: Mapping[str, NDArray]) -> Any:
    """The state that :func:`take_apart` took apart; its arrays by their places."""
    if form is None:
        return None
    if isinstance(form, list):
        return tuple(put_together(entry, leaves) for entry in form)
    return leaves[str(form)]
