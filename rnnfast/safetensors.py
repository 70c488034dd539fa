"""Weights in safetensors files, by the names that PyTorch gives them.

The format is safetensors' own library's; what is read is checked before the model is written.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from functools import cached_property
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.files import file_name, open_regular, written_whole
from rnnfast.nn.module import Module
from rnnfast.training.grad import check_model
from rnnfast.training.weights import Stored, stored, widened

try:
    from safetensors import SafetensorError, safe_open
except ModuleNotFoundError as error:
    if error.name != "safetensors":
        raise
    raise ImportError(
        'rnnfast.safetensors needs the package safetensors: pip install "rnnfast[safetensors]"'
    ) from error

__all__ = ["load", "save"]

DTYPES = {"float16": "F16", "float32": "F32", "float64": "F64", "uint16": "BF16", "int8": "I8"}
FLOATS = ("F16", "F32", "F64", "BF16")
MAXIMA = ".max"  # ends the name of the rows' maxima of a matrix in int8


def save(
    path: str | os.PathLike[str],
    model: Module,
    *,
    prefix: str = "",
    metadata: Mapping[str, str] | None = None,
    weights: str = "float32",
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
    weights : {"float32", "bfloat16", "int8"}
        How the matrices that products multiply are stored, as for :func:`rnnfast.save`. "bfloat16" is the
        format's BF16, which other libraries read. "int8" is I8 with a second entry, whose name ends with
        ``.max``: the largest magnitude m of each row of the matrix, which is I8 * (m / 127).

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError
        `model` is no Module, or metadata are no text.
    ValueError
        The model has no parameter, or `weights` does not fit it, as for :func:`rnnfast.save`.

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
    values = model.state_dict()
    if not values:
        raise ValueError(f"model: expected at least one parameter, got {type(model).__name__} without any")
    entries = _entries(stored(model, values, weights), prefix)
    with written_whole(path) as file:
        _write(file, entries, texts)


def load(path: str | os.PathLike[str], model: Module, *, prefix: str = "") -> dict[str, str]:
    """Read the parameters of a model from a safetensors file, such as one that holds a PyTorch state_dict.

    Parameters
    ----------
    path : str or path-like
    model : Module
        Takes over the parameters, of other floats than its own (BF16 included) by a cast. Its
        `matmul_precision` stays: a safetensors file holds weights alone.
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
    try:
        with open_regular(path) as raw, safe_open(path, framework="np") as file:
            names = {name.removeprefix(prefix): name for name in file.keys() if name.startswith(prefix)}
            if not names:
                raise ValueError(f"prefix: expected one that names in {path} begin with, got {prefix!r}")
            reader = _Reader(path, raw, file)
            weights, read = {}, set()
            for ours, parameter in model.named_parameters():
                if ours not in names:
                    raise ValueError(f"{path}: expected an entry {prefix + ours}, got none")
                weights[ours] = reader.parameter(names[ours], parameter.shape)
                read |= {ours, ours + MAXIMA} if reader.dtype(names[ours]) == "I8" else {ours}
            unknown = names.keys() - read
            if unknown:
                raise ValueError(f"{path}: {prefix + min(unknown)}: expected only the model's parameters")
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file ({error})") from error
    model.load_state_dict(weights)
    return dict(metadata)


def _entries(held: Mapping[str, Stored], prefix: str) -> dict[str, NDArray]:
    """The arrays of a file by name, those of many bytes first, in the format's order of memory and bytes."""
    entries = {
        prefix + name + ending: np.asarray(array, array.dtype.newbyteorder("<"), order="C")
        for name, (_, arrays) in held.items()
        for ending, array in zip(("", MAXIMA), arrays, strict=False)
    }
    return dict(sorted(entries.items(), key=lambda entry: (-entry[1].itemsize, entry[0])))


def _write(file: IO[bytes], entries: Mapping[str, NDArray], texts: Mapping[str, str]) -> None:
    header: dict[str, Any] = {"__metadata__": texts} if texts else {}
    end = 0
    for name, array in entries.items():
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (begin, end),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for array in entries.values():
        file.write(array.data)


class _Reader:
    """Parameters out of an open file that `safe_open` has checked."""

    def __init__(self, path: str, raw: IO[bytes], file: Any) -> None:
        self._path, self._raw, self._file = path, raw, file

    def dtype(self, name: str) -> str:
        return str(self._file.get_slice(name).get_dtype())

    def parameter(self, name: str, shape: tuple[int, ...]) -> NDArray:
        """The values of an entry and of its maxima, if it has some."""
        if self.dtype(name) != "I8":
            return self._array(name, shape, FLOATS, "floats")
        maxima = name + MAXIMA
        if maxima not in self._file.keys():
            raise ValueError(f"{self._path}: {name}: expected floats, got I8 (without an entry {maxima})")
        integers = self._array(name, shape, ("I8",), "I8")
        held = Stored("int8", (integers, self._array(maxima, shape[:-1], ("F32",), "F32")))
        return widened(f"{self._path}: {name}", held)

    def _array(self, name: str, shape: tuple[int, ...], known: tuple[str, ...], what: str) -> NDArray:
        entry = self._file.get_slice(name)
        came = tuple(entry.get_shape())
        if came != shape:
            raise ValueError(f"{self._path}: {name}: expected shape {shape}, got {came}")
        dtype = entry.get_dtype()
        if dtype not in known:
            raise ValueError(f"{self._path}: {name}: expected {what}, got {dtype}")
        if dtype == "BF16":  # safetensors gives it to NumPy only where another package has registered it
            return widened(name, Stored("bfloat16", (self._bits(name, shape),)))
        return np.asarray(self._file.get_tensor(name))

    @cached_property
    def _length(self) -> int:
        self._raw.seek(0)
        return int.from_bytes(self._raw.read(8), "little")

    @cached_property
    def _header(self) -> dict[str, Any]:
        length = self._length
        self._raw.seek(8)
        header: dict[str, Any] = json.loads(self._raw.read(length))
        return header

    def _bits(self, name: str, shape: tuple[int, ...]) -> NDArray:
        """An entry of BF16 as uint16."""
        begin, end = self._header[name]["data_offsets"]
        self._raw.seek(8 + self._length + begin)
        return np.frombuffer(self._raw.read(end - begin), "<u2", math.prod(shape)).reshape(shape)
