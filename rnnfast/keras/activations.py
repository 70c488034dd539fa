"""Which of Keras's activations a function is."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["NONLINEARITIES", "activation_name", "described_activation"]

# Keras's names of an RNN's nonlinearities, and ours.
NONLINEARITIES = {"tanh": "tanh", "relu": "relu", "sigmoid": "sigmoid", "linear": "identity"}


def activation_name(activation: Any) -> str | None:
    """The name of a function that is Keras's own; None for a user's, which may have the same name."""
    if inspect.isroutine(activation) and activation.__module__.partition(".")[0] == "keras":
        return activation.__name__
    return None


def described_activation(activation: Any) -> str:
    """A function or an object that is not Keras's own, in words."""
    what, kind = ("function", activation) if inspect.isroutine(activation) else ("object", type(activation))
    return f"the {what} {kind.__module__}.{kind.__qualname__}"
