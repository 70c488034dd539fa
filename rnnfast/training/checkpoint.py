"""Checkpoints: the parameters of a model, the precision of its products, an optimizer's state.

The entries of the file are ``model.<parameter>`` (or those of :mod:`rnnfast.training.weights`, where a matrix
has fewer bits), ``matmul_precision`` with rows of a module's name and its precision, and ``optimizer.<key>``.
Other entries are ignored. All is checked against the model before it is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.files import file_name, open_regular
from rnnfast.nn.containers import ModuleDict
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Optimizer
from rnnfast.training.archive import MOST_TEXT, Reader, read_checkpoint, write_checkpoint
from rnnfast.training.weights import HasForm, entries_of, expected_entries, stored, weights_of

__all__ = [
    "PRECISIONS",
    "check_optimizer",
    "check_weights",
    "load",
    "model_arrays",
    "naming",
    "part",
    "precisions_of",
    "read_checkpoint",
    "save",
    "state_arrays",
    "write_checkpoint",
]

Held = TypeVar("Held")

PRECISIONS = "matmul_precision"  # the name of the entry


def save(
    path: str | os.PathLike[str],
    model: Module | Mapping[str, Module],
    optimizer: Optimizer | None = None,
    *,
    weights: str = "float32",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a model's parameters and its `matmul_precision` to one file, with an optimizer's state if given.

    The file is written beside `path` under another name, flushed to the disk and then renamed: `path` holds
    the old file or the whole new one, whatever happens.

    Parameters
    ----------
    path : str or path-like
        The file, by convention ``*.npz``; taken as it is.
    model : Module or dict of str to Module
        A dict holds models that belong together; their names come before those of their parameters.
    optimizer : Optimizer, optional
        Only with the default of `weights`: training continues from exact weights.
    weights : {"float32", "bfloat16", "int8"}
        How the matrices that products multiply are stored. "float32" is as they are, in the model's dtype.
        The others suit a model that is only evaluated: matrices take half or a quarter of the bytes. A model
        that is loaded from the file has the results of this one, bit for bit, where both evaluate in the
        `matmul_precision` of the same name. All else is stored as it is: biases, embeddings, and a matrix
        that an embedding shares.
    metadata : mapping, optional
        Anything JSON can hold, for the reader: what the model was built with, what it was trained on.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError
        `metadata` holds what JSON cannot, or an argument is of the wrong kind.
    ValueError
        The model has no parameter. Or `weights` is unknown, or not "float32" with an optimizer, with float64
        matrices, or for "int8" with numbers that are not finite.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.npz")
    >>> rf.save(path, rf.LSTM(2, 3, rng=0, matmul_precision="bfloat16"), metadata={"hidden": 3})
    >>> lstm = rf.LSTM(2, 3)
    >>> rf.load(path, lstm)
    {'hidden': 3}
    >>> lstm.matmul_precision
    'bfloat16'
    >>> folder.cleanup()
    """
    module = _as_module(model)
    values = module.state_dict()
    _check_optimizer_kind(optimizer)
    if not values:
        raise ValueError(f"model: expected at least one parameter, got {type(model).__name__} without any")
    if optimizer is not None and weights != "float32":
        raise ValueError(
            f"weights: expected 'float32' (its default) with an optimizer, got {weights!r}; training would "
            "continue from rounded weights, so save a model to evaluate with without its optimizer"
        )
    arrays = state_arrays(module, values, optimizer, weights)
    write_checkpoint(path, arrays, {} if metadata is None else metadata)


def load(
    path: str | os.PathLike[str],
    model: Module | Mapping[str, Module],
    optimizer: Optimizer | None = None,
) -> dict[str, Any]:
    """Read what :func:`save` (or a checkpoint of :func:`fit`) wrote into a model of the same shapes.

    Parameters
    ----------
    path : str or path-like
    model : Module or dict of str to Module
        Takes over the parameters, and the `matmul_precision` that each of its modules had when it was saved,
        whatever is set before. It may be set again afterwards. Files of before this was stored leave it.
    optimizer : Optimizer, optional
        Takes over its state; the file must then have one, of the same class.

    Returns
    -------
    dict
        The metadata given to :func:`save`.

    Raises
    ------
    OSError
        The file cannot be read, or is no regular file.
    ValueError
        It is no checkpoint, damaged, or does not fit; `model` and `optimizer` are as they were then.

    Examples
    --------
    See :func:`save`.
    """
    module = _as_module(model)
    _check_optimizer_kind(optimizer)
    with open_regular(path) as file:
        reader = Reader(path, file)
        check_weights(path, reader.entries, "model.", module)
        entries = reader.read("model.")
        precisions = reader.read(PRECISIONS, most=MOST_TEXT).get("")
        state = {}
        if optimizer is not None:
            each = sum(8 * parameter.size + 1024 for parameter in optimizer.params)
            state = reader.read("optimizer.", most=(len(optimizer.averages) + 1) * each)
    with naming(path):
        weights, own = weights_of(entries), precisions_of(precisions)
        module.check_matmul_precisions(own)
    module.check_state_dict(weights)
    if optimizer is not None:
        check_optimizer(path, state, optimizer)
        optimizer.load_state_dict(state)
    module.load_state_dict(weights)
    module.load_matmul_precisions(own)
    return reader.metadata


def _as_module(model: Any) -> Module:
    """`model`, or one that holds those of a dict by their names."""
    if isinstance(model, Mapping):
        return ModuleDict(model)
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a Module or a dict of Modules by name, got {type(model).__name__}")
    return model


def _check_optimizer_kind(optimizer: Any) -> None:
    if not (optimizer is None or isinstance(optimizer, Optimizer)):
        raise TypeError(f"optimizer: expected an Optimizer or None, got {type(optimizer).__name__}")


def model_arrays(arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The model's parameters among a checkpoint's arrays.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As :func:`read_checkpoint` gives them.

    Returns
    -------
    dict of str to ndarray
        By the names that the model's `load_state_dict` takes. Weights stored with fewer bits are float32.

    Raises
    ------
    ValueError
        If weights in int8 lack the maxima of their rows, or those are damaged.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> from rnnfast.training import model_arrays, read_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "linear.npz")
    ...     rf.save(path, rf.Linear(2, 3, rng=0))
    ...     arrays, metadata = read_checkpoint(path)
    >>> {name: array.shape for name, array in model_arrays(arrays).items()}
    {'weight': (3, 2), 'bias': (3,)}
    """
    return weights_of(part(arrays, "model."))


def part(arrays: Mapping[str, Held], prefix: str) -> dict[str, Held]:
    """The entries whose names open with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def state_arrays(
    model: Module, values: Mapping[str, NDArray], optimizer: Optimizer | None, weights: str = "float32"
) -> dict[str, NDArray]:
    """A checkpoint's entries: these values of the parameters, the precisions, and the optimizer's state.

    `weights` is the form of the values, as for :func:`save`.
    """
    held = entries_of(stored(model, values, weights))
    arrays = {f"model.{name}": array for name, array in held.items()}
    if precisions := model.matmul_precisions():
        arrays[PRECISIONS] = np.array(list(precisions.items()))
    if optimizer is not None:
        arrays.update(
            {f"optimizer.{name}": np.asarray(value) for name, value in optimizer.state_dict().items()}
        )
    return arrays


def precisions_of(entry: NDArray | None) -> dict[str, str]:
    """What the entry `PRECISIONS` of a checkpoint says of modules, by name; nothing without such an entry."""
    if entry is None:
        return {}
    if entry.dtype.kind != "U" or entry.ndim != 2 or entry.shape[1] != 2:
        raise ValueError(
            f"{PRECISIONS}: expected text of shape [N, 2], got {entry.dtype} of shape {list(entry.shape)}"
        )
    return dict(entry.tolist())


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """A ValueError within opens with the path."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file_name(path)}: {error}") from error


def check_weights(
    path: str | os.PathLike[str], entries: Mapping[str, HasForm], prefix: str, model: Module
) -> None:
    """Raise a ValueError that names each missing, unexpected or unfit entry under `prefix`."""
    given = part(entries, prefix)
    expected = expected_entries(model, given)
    problems = [f"missing {prefix}{name}" for name in expected if name not in given]
    problems += [f"unexpected {prefix}{name}" for name in given if name not in expected]
    for name, entry in given.items():
        dtype, shape = expected.get(name, (entry.dtype, entry.shape))
        if (entry.dtype, entry.shape) != (dtype, shape):
            problems.append(
                f"{prefix}{name}: expected {dtype} of shape {shape}, got {entry.dtype} of shape {entry.shape}"
            )
    if problems:
        raise ValueError(f"{file_name(path)}: does not fit the model: {'; '.join(problems)}")


def check_optimizer(path: str | os.PathLike[str], state: Mapping[str, NDArray], optimizer: Optimizer) -> None:
    """A ValueError where a checkpoint's optimizer state is missing or does not fit."""
    if not state:
        raise ValueError(f"{file_name(path)}: holds no optimizer state")
    with naming(path):
        optimizer.check_state_dict(state)
