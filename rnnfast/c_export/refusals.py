"""Which models a header can have, and what they read; refusals of all others."""

from __future__ import annotations

import numpy as np

from rnnfast.nn import Dropout, Embedding, Linear, Module, Sequential
from rnnfast.nn.activation import GELU, Activation, ReLU, Sigmoid, SiLU, Tanh
from rnnfast.nn.layer_norm import LayerNorm
from rnnfast.nn.parallel import Parallel
from rnnfast.nn.residual import Residual
from rnnfast.recurrent import GRU, LSTM, RNN, SLSTM, IndRNN, MinGRU, MinLSTM

__all__ = [
    "ACTIVATIONS",
    "RECURRENT",
    "check_input",
    "check_modules",
    "input_width",
    "inside",
    "named",
    "reads_tokens",
]

ACTIVATIONS = (Activation, ReLU, Tanh, Sigmoid, GELU, SiLU)
RECURRENT = (RNN, LSTM, GRU, IndRNN, MinGRU, MinLSTM, SLSTM)
_CONTAINERS = (Sequential, Parallel, Residual)
_KNOWN = (*_CONTAINERS, Embedding, Linear, LayerNorm, Dropout, *ACTIVATIONS, *RECURRENT)
_WIDTHS = {Linear: "in_features", LayerNorm: "size"}


def check_modules(module: Module, place: str = "") -> None:
    """Refuse a model that has a module or a parameter that C cannot have."""
    title = named(module, place)
    if type(module) not in _KNOWN:
        known = ", ".join(kind.__name__ for kind in _KNOWN)
        raise ValueError(f"model: expected {known}, got {title}")
    if isinstance(module, _CONTAINERS):
        _check_members(module, place)
        return
    for name, parameter in module.named_parameters():
        if parameter.dtype != np.float32:
            raise ValueError(f"model: {title}: expected float32, got {name} in {parameter.dtype}")
        if not np.isfinite(parameter.data).all():
            raise ValueError(f"model: {title}: expected finite numbers, got others in {name}")
    if getattr(module, "bidirectional", False):
        raise ValueError(f"model: {title}: expected one direction, got bidirectional=True")


def _check_members(module: Sequential | Parallel | Residual, place: str) -> None:
    """Refuse members that C cannot have, and an Embedding that does not come first."""
    for number, (name, member) in enumerate(module.members()):
        at = inside(place, name)
        check_modules(member, at)
        if isinstance(module, Sequential) and number and reads_tokens(member):
            raise ValueError(
                f"model: {named(member, at)}: expected a token as its input, got floats; "
                "an Embedding must come first"
            )
        if isinstance(module, Residual) and reads_tokens(member):
            raise ValueError(
                f"model: {named(module, place)}: expected a module that reads floats, "
                f"got {named(member, at)}, which reads a token"
            )


def check_input(module: Module, place: str, width: int) -> None:
    """Refuse an input that a module cannot read: so many floats, or with 0, a token."""
    if width == 0 and not reads_tokens(module):
        raise ValueError(f"model: {named(module, place)}: expected floats as its input, got a token")
    expected = _width_of(module)
    if expected and expected != width:
        raise ValueError(f"model: {named(module, place)}: expected x of {expected} numbers, got {width}")


def reads_tokens(module: Module) -> bool:
    """Whether a module reads a token rather than floats."""
    if isinstance(module, Sequential):
        return reads_tokens(module[0])
    if isinstance(module, (Parallel, Residual)):
        return any(map(reads_tokens, module))
    return isinstance(module, Embedding)


def input_width(module: Module) -> int:
    """How many numbers the x of a model has; 0: it does not say."""
    if isinstance(module, _CONTAINERS):
        return next(filter(None, map(input_width, module)), 0)
    return _width_of(module)


def _width_of(module: Module) -> int:
    """How many numbers a module's x has; 0: any, or a token."""
    name = _WIDTHS.get(type(module), "input_size")
    return getattr(module, name, 0)


def inside(place: str, name: str) -> str:
    """Where a member of the module at a place is."""
    return f"{place}.{name}" if place else name


def named(module: Module, place: str) -> str:
    """What errors and comments call a module."""
    return f"{type(module).__name__} at {place}" if place else type(module).__name__
