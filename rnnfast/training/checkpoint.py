"""Checkpoints: one `.npz` of arrays and JSON, written whole or not at all, checked whole before it is used.

The file is an uncompressed ``.npz``: an entry ``rnnfast`` with a JSON header (format, version, metadata),
``model.<parameter>`` (or, with fewer bits, the entries of :mod:`rnnfast.training.weights`),
``matmul_precision`` with rows of a module's name and its precision, and ``optimizer.<key>``. Readers ignore
entries that they do not know outside ``model.`` and ``optimizer.``. Nothing is ever unpickled. Since compressed entries are
refused, no entry can be larger than the file that declares it; what is read is held against the model's own
shapes, or against the machine's memory, before it is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array
from rnnfast.files import file_name, open_regular, written_whole
from rnnfast.nn.containers import ModuleDict
from rnnfast.nn.module import Module
from rnnfast.nn.optim import Optimizer
from rnnfast.training.weights import HasForm, entries_of, expected_entries, stored, weights_of

if TYPE_CHECKING:
    import zipfile

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

_FORMAT = "rnnfast checkpoint"
_VERSION = 1
_HEADER = "rnnfast"
PRECISIONS = "matmul_precision"  # the name of the entry
_MOST_METADATA = 2**28  # bytes of the JSON header
_KINDS = "biufU"  # bool, integers, floats, text: nothing that needs pickle


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
        The others suit a model that is only evaluated: they take half or a quarter of the bytes. A model that
        is loaded from the file has the bits of this one if both evaluate in the `matmul_precision` of the same
        name. Biases, embeddings and a matrix that an embedding shares are stored as they are.
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
            f"weights: expected 'float32' (its default) with an optimizer, got {weights!r}; training continues "
            "from exact weights, so save a file to evaluate with without the optimizer"
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
        reader = _Reader(path, file)
        check_weights(path, reader.entries, "model.", module)
        entries = reader.read("model.")
        precisions = reader.read(PRECISIONS, most=_MOST_METADATA).get("")
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


def write_checkpoint(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray], metadata: Mapping[str, Any]
) -> None:
    """Write named arrays and metadata as a checkpoint file, atomically.

    Parameters
    ----------
    path : str or path-like
        The file; taken as it is.
    arrays : mapping of str to ndarray
        Numbers, bools or text of any shape.
    metadata : mapping
        Anything JSON can hold.

    Raises
    ------
    OSError
        The file cannot be written.
    TypeError, ValueError
        An array of objects, the header's name, or metadata that JSON cannot hold or that are too long.

    Examples
    --------
    See :func:`read_checkpoint`.
    """
    import json
    import zipfile

    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) for name in arrays):
        raise TypeError(f"arrays: expected a mapping of names to arrays, got {type(arrays).__name__}")
    entries = {name: as_array(f"arrays[{name!r}]", array) for name, array in arrays.items()}
    for name, array in entries.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"arrays[{name!r}]: expected numbers, bools or text, got {array.dtype}")
    if _HEADER in entries:
        raise ValueError(f"arrays: {_HEADER!r} is the header's own name")
    try:
        text = json.dumps({"format": _FORMAT, "version": _VERSION, "metadata": dict(metadata)})
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata: expected what JSON can hold ({error})") from error
    if len(text) > _MOST_METADATA:
        raise ValueError(f"metadata: expected at most {_MOST_METADATA} characters of JSON, got {len(text)}")
    entries = {_HEADER: np.frombuffer(text.encode(), np.uint8), **entries}

    with written_whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in entries.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """Read all of a checkpoint file.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    arrays : dict of str to ndarray
    metadata : dict

    Raises
    ------
    OSError
        The file cannot be read, or is no regular file.
    ValueError
        It is no checkpoint, of another version, or damaged: one line that opens with the path.

    Examples
    --------
    >>> import os, tempfile, numpy as np
    >>> from rnnfast.training import read_checkpoint, write_checkpoint
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "numbers.npz")
    ...     write_checkpoint(path, {"x": np.array([1, 2])}, {"unit": "m"})
    ...     read_checkpoint(path)
    ({'x': array([1, 2])}, {'unit': 'm'})
    """
    with open_regular(path) as file:
        reader = _Reader(path, file)
        return reader.read(""), reader.metadata


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


class Entry(NamedTuple):
    """What an array's header declares."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


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


class _Reader:
    """An open checkpoint: its directory, checked, and its metadata; arrays on request."""

    def __init__(self, path: str | os.PathLike[str], file: IO[bytes]) -> None:
        import json
        import zipfile

        self._path = file_name(path)
        with _as_value_errors(self._path):
            if not zipfile.is_zipfile(file):
                raise ValueError("no .npz file")
            self._archive = zipfile.ZipFile(file)
            self._check_directory(os.fstat(file.fileno()).st_size)
            self.entries: dict[str, Entry] = {}
            for info in self._archive.infolist():
                with self._archive.open(info) as member:
                    self.entries[info.filename.removesuffix(".npy")] = _read_entry(info, member)
            if _HEADER not in self.entries:
                raise ValueError(f"no {_HEADER!r} entry")
            if self.entries[_HEADER].size > _MOST_METADATA:
                raise ValueError(f"more than {_MOST_METADATA} bytes of metadata")
            header = json.loads(self._array(_HEADER).tobytes())
            if not isinstance(header, dict) or header.get("format") != _FORMAT:
                raise ValueError(f"expected the format {_FORMAT!r}")
            if header.get("version") != _VERSION:
                raise ValueError(f"expected version {_VERSION}, got {header.get('version')!r}")
            if not isinstance(header.get("metadata"), dict):
                raise ValueError("no metadata")
        del self.entries[_HEADER]
        self.metadata: dict[str, Any] = header["metadata"]

    def _check_directory(self, file_size: int) -> None:
        """Nothing compressed, encrypted or doubled, and no more bytes declared than there are."""
        infos = self._archive.infolist()
        for info in infos:
            if info.compress_type != 0 or info.compress_size != info.file_size or info.flag_bits & 1:
                raise ValueError(f"{info.filename}: expected it neither compressed nor encrypted")
            if not info.filename.endswith(".npy"):
                raise ValueError(f"{info.filename}: expected .npy entries only")
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("two entries of one name")
        if sum(info.file_size for info in infos) > file_size:
            raise ValueError("more bytes declared than the file has")

    def read(self, prefix: str, most: int | None = None) -> dict[str, NDArray]:
        """The arrays whose names open with `prefix`, without it; of `most` bytes, or what memory there is."""
        names = [name for name in self.entries if name.startswith(prefix)]
        size, most = sum(self.entries[name].size for name in names), _memory() if most is None else most
        if size > most:
            place = f"{prefix}*" if prefix else "all"
            raise ValueError(f"{self._path}: expected at most {most} bytes in {place}, got {size}")
        with _as_value_errors(self._path):
            return {name.removeprefix(prefix): self._array(name) for name in names}

    def _array(self, name: str) -> NDArray:
        dtype, shape, fortran = self.entries[name]
        data = self._archive.read(f"{name}.npy")  # compares the checksum
        count = math.prod(shape)
        flat = np.frombuffer(data, dtype, count, len(data) - count * dtype.itemsize)
        return np.array(flat.reshape(shape, order="F" if fortran else "C"), order="C")


def _read_entry(info: zipfile.ZipInfo, member: IO[bytes]) -> Entry:
    """The declaration of one ``.npy`` member, if its data has just the size declared."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ValueError(f"{info.filename}: expected .npy version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"{info.filename}: expected numbers, bools or text, got {dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
        raise ValueError(f"{info.filename}: {dtype} of shape {shape} does not match {info.file_size} bytes")
    return Entry(dtype, shape, fortran)


def _memory() -> int:
    """Bytes of this machine's memory; more than any has where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return 2**62
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _as_value_errors(path: str) -> Iterator[None]:
    """Whatever a damaged file provokes becomes a ValueError of one line that opens with the path."""
    import struct
    import zipfile

    try:
        yield
    except (
        ArithmeticError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        SyntaxError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        cause = str(error).split("\n", 1)[0] or type(error).__name__
        raise ValueError(f"{path}: no readable rnnfast checkpoint ({cause})") from error
