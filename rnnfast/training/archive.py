"""Files of arrays and JSON: uncompressed ``.npz``, written whole or not at all, checked before they are read.

An entry ``rnnfast`` is a JSON header: format, version, metadata. Nothing is ever unpickled. Since compressed
entries are refused, no entry can be larger than the file that declares it. What is read is held against a
limit of the caller's, or against the machine's memory, before it is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.checks import as_array
from rnnfast.files import file_name, open_regular, written_whole

if TYPE_CHECKING:
    import zipfile

__all__ = ["MOST_TEXT", "Reader", "read_checkpoint", "write_checkpoint"]

_FORMAT = "rnnfast checkpoint"
_VERSION = 1
_HEADER = "rnnfast"
MOST_TEXT = 2**28  # bytes of the JSON header
_KINDS = "biufU"  # bool, integers, floats, text: nothing that needs pickle


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
    if len(text) > MOST_TEXT:
        raise ValueError(f"metadata: expected at most {MOST_TEXT} characters of JSON, got {len(text)}")
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
        reader = Reader(path, file)
        return reader.read(""), reader.metadata


class Entry(NamedTuple):
    """What an array's header declares."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


class Reader:
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
            if self.entries[_HEADER].size > MOST_TEXT:
                raise ValueError(f"more than {MOST_TEXT} bytes of metadata")
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
    """Whatever a damaged file provokes becomes a ValueError of one line that opens with the path.

    NumPy, zipfile and json raise errors of many classes: tokenize.TokenError is among them.
    """
    try:
        yield
    except Exception as error:
        cause = str(error).split("\n", 1)[0] or type(error).__name__
        raise ValueError(f"{path}: no readable rnnfast checkpoint ({cause})") from error
