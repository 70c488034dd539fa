"""Weights in safetensors files, by the names that PyTorch gives them.

The format is safetensors' own library's; what is read is checked before the model is written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from rnnfast.files import file_name, open_regular, written_whole
from rnnfast.nn.module import Module
from rnnfast.training.grad import check_model

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save as to_bytes
except ModuleNotFoundError as error:
    if error.name != "safetensors":
        raise
    raise ImportError(
        'rnnfast.safetensors needs the package safetensors: pip install "rnnfast[safetensors]"'
    ) from error

__all__ = ["load", "save"]


def save(
    path: str | os.PathLike[str],
    model: Module,
    *,
    prefix: str = "",
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model's parameters to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The file, by convention ``*.safetensors``; taken as it is.
    model : Module
    prefix : str
        The prefix of every parameter's name in the file.
    metadata : mapping of str to str, optional
        Kept in the file's header.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError
        `model` is no Module, or metadata are no text.
    ValueError
        The model has no parameter.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf, rnnfast.safetensors
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "lstm.safetensors")
    >>> rf.safetensors.save(path, rf.LSTM(2, 3, rng=0), metadata={"trained on": "sums"})
    >>> lstm = rf.LSTM(2, 3)
    >>> rf.safetensors.load(path, lstm)
    {'trained on': 'sums'}
    >>> folder.cleanup()
    """
    check_model(model)
    texts = dict(metadata or {})
    for key, value in texts.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(f"metadata: expected text by text, got {key!r}: {value!r}")
    # to_bytes writes memory in its own order, whatever the strides of an array.
    weights = {prefix + name: np.ascontiguousarray(array) for name, array in model.state_dict().items()}
    if not weights:
        raise ValueError(f"model: expected at least one parameter, got {type(model).__name__} without any")
    content = to_bytes(weights, texts or None)
    with written_whole(path) as file:
        file.write(content)


def load(path: str | os.PathLike[str], model: Module, *, prefix: str = "") -> dict[str, str]:
    """Read the parameters of a model from a safetensors file, such as one that holds a PyTorch state_dict.

    Parameters
    ----------
    path : str or path-like
    model : Module
        Takes over the parameters, of other floats than its own by a cast.
    prefix : str
        Only entries whose name begins with it are read, and go by the rest of their name: a recurrent layer
        out of a larger model's file, say ``prefix="encoder.lstm."``.

    Returns
    -------
    dict of str to str
        The file's metadata.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError
        `model` is no Module.
    ValueError
        It is no safetensors file, or does not fit; the model is as it was then.

    Examples
    --------
    See :func:`save`.
    """
    check_model(model)
    path = file_name(path)
    with open_regular(path):  # an OSError that names the file
        pass
    try:
        with safe_open(path, framework="np") as file:
            names = {name.removeprefix(prefix): name for name in file.keys() if name.startswith(prefix)}
            if not names:
                raise ValueError(f"prefix: expected one that names in {path} begin with, got {prefix!r}")
            weights = {}
            for ours, parameter in model.named_parameters():
                if ours not in names:
                    raise ValueError(f"{path}: expected an entry {prefix + ours}, got none")
                entry = file.get_slice(names[ours])
                shape = tuple(entry.get_shape())
                if shape != parameter.shape:
                    raise ValueError(f"{path}: {names[ours]}: expected shape {parameter.shape}, got {shape}")
                if entry.get_dtype() not in ("F16", "F32", "F64"):
                    raise ValueError(f"{path}: {names[ours]}: expected floats, got {entry.get_dtype()}")
                weights[ours] = np.asarray(file.get_tensor(names[ours]))
            unknown = names.keys() - weights.keys()
            if unknown:
                raise ValueError(f"{path}: {prefix + min(unknown)}: expected only the model's parameters")
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file ({error})") from error
    model.load_state_dict(weights)
    return dict(metadata)
