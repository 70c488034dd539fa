"""Swaps the recurrent modules of an existing model: torch's for rnnfast's, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch

from rnnfast.torch.base import Accelerated, forget_options, options_beyond_torch
from rnnfast.torch.cells import GRUCell, LSTMCell, RNNCell
from rnnfast.torch.modules import GRU, LSTM, MODES, RNN
from rnnfast.torch.precision import check_precision

__all__ = ["Swapped", "accelerate", "restore"]

_FAST = {getattr(torch.nn, fast.__name__): fast for fast in (RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell)}
_PLAIN = {fast: plain for plain, fast in _FAST.items()}


class Swapped(NamedTuple):
    """What `accelerate` and `restore` did.

    Attributes
    ----------
    swapped : list of str
        The names of the modules that were swapped, as in ``model.named_modules()``; "" is the model itself.
    left : dict of str to str
        The names of the recurrent modules that were not swapped, and why.
    """

    swapped: list[str]
    left: dict[str, str]


def accelerate(model: torch.nn.Module, *, matmul_precision: str = "float32") -> Swapped:
    """Have rnnfast's kernels run the RNNs, LSTMs and GRUs (and their cells) of a model, in place.

    A module stays the object that it is, with its parameters, hooks, mode and name: only its class changes.
    So existing optimizers, references and checkpoints stay valid.

    Parameters
    ----------
    model : torch.nn.Module
        Of any kind; it may itself be a recurrent module.
    matmul_precision : {"float32", "bfloat16", "int8"}
        That of every module that is swapped, as in `rnnfast.torch.LSTM`. It changes no other module: those
        that are left multiply as torch does, and those that are rnnfast's already keep their own. "int8"
        evaluates only: call the model under ``torch.no_grad()``; dropout needs ``eval()``.

    Returns
    -------
    Swapped
        The names of those swapped, and of those not swapped with the reason: a subclass of torch's module
        (its author may count on torch's code), a module with a forward set on it, one with an attribute
        of the name of an option that torch lacks, and an RNN whose nonlinearity is not the one it was built
        with, since torch runs that one.

    Raises
    ------
    TypeError
        If `model` is no module.
    ValueError
        If `matmul_precision` is unknown, or is not "float32" where a module to be swapped has a parameter of
        another dtype than float32. Nothing is swapped then.

    Examples
    --------
    >>> import torch, rnnfast.torch
    >>> model = torch.nn.ModuleDict({"encoder": torch.nn.GRU(3, 5), "head": torch.nn.Linear(5, 2)})
    >>> rnnfast.torch.accelerate(model)
    Swapped(swapped=['encoder'], left={})
    >>> isinstance(model["encoder"], rnnfast.torch.GRU)
    True
    >>> rnnfast.torch.restore(model)
    Swapped(swapped=['encoder'], left={})
    """
    found: dict[str, torch.nn.Module] = {}
    left: dict[str, str] = {}
    for name, module in _modules_of(model):
        if type(module) in _FAST:
            reason = _unswappable(module)
            if reason is None:
                found[name] = module
            else:
                left[name] = reason
        elif isinstance(module, tuple(_FAST)) and not isinstance(module, Accelerated):
            left[name] = f"a subclass: {type(module).__qualname__}"
    check_precision(matmul_precision, found)
    for module in found.values():
        module.__class__ = _FAST[type(module)]
        module.matmul_precision = matmul_precision
    return Swapped(list(found), left)


def restore(model: torch.nn.Module) -> Swapped:
    """Undo `accelerate`: have torch's own code run the model's recurrent modules, in place.

    A `matmul_precision` is forgotten: torch's modules multiply in float32, or as autocast says.

    Parameters
    ----------
    model : torch.nn.Module
        Of any kind; modules that were built as rnnfast's are swapped too.

    Returns
    -------
    Swapped
        The names of those swapped, and of those not swapped with the reason: options that torch lacks, or a
        subclass of rnnfast's module.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    See :func:`accelerate`.
    """
    swapped, left = [], {}
    for name, module in _modules_of(model):
        if not isinstance(module, Accelerated):
            continue
        beyond = module.beyond_torch()
        if beyond:
            left[name] = f"torch.nn has no {', '.join(beyond)}"
        elif type(module) not in _PLAIN:
            left[name] = f"a subclass: {type(module).__qualname__}"
        else:
            forget_options(module)
            module.__class__ = _PLAIN[type(module)]
            swapped.append(name)
    return Swapped(swapped, left)


def _unswappable(module: torch.nn.Module) -> str | None:
    """Why rnnfast's class would not do with a module what torch's does; None if it would."""
    if "forward" in module.__dict__:
        return "it has a forward of its own"
    names = (*options_beyond_torch(_FAST[type(module)]), "matmul_precision")
    taken = [name for name in names if hasattr(module, name)]
    if taken:
        return f"an option of rnnfast's, but not torch's, is set on it: {', '.join(taken)}"
    if isinstance(module, torch.nn.RNN) and module.mode != MODES.get(module.nonlinearity):
        return f"torch runs its mode {module.mode!r}, not its nonlinearity {module.nonlinearity!r}"
    return None


def _modules_of(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return list(model.named_modules())
