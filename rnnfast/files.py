"""Files: read only where they are regular ones, written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["file_name", "open_regular", "written_whole"]


def file_name(path: str | os.PathLike[str]) -> str:
    """The name of a file as text.

    Parameters
    ----------
    path : str or path-like
        A number is refused: Python would take it for the descriptor of an open file, and close that.

    Raises
    ------
    TypeError, ValueError
        `path` is no name of a file.

    Examples
    --------
    >>> from pathlib import Path
    >>> from rnnfast.files import file_name
    >>> file_name(Path("model.npz"))
    'model.npz'
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path: expected the name of a file (text or path-like), got {path!r}")
    name = os.fsdecode(path)
    if "\0" in name:
        raise ValueError(f"path: expected the name of a file, got {name!r}")
    return name


def open_regular(path: str | os.PathLike[str], most: int | None = None) -> IO[bytes]:
    """Open a regular file for reading bytes.

    Anything else is refused before it is opened: a folder has no bytes, a pipe may wait forever for its
    writer, and a device may never end.

    Parameters
    ----------
    path : str or path-like
        The file, or a link to it.
    most : int, optional
        The largest size in bytes that the file may have.

    Returns
    -------
    file
        Open for reading bytes; the caller closes it.

    Raises
    ------
    OSError
        The file cannot be read, or is no regular file. The error names `path`.
    TypeError
        `path` is no name of a file.
    ValueError
        The file is larger than `most`.

    Examples
    --------
    >>> import os, tempfile
    >>> from rnnfast.files import open_regular
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "numbers.txt")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(b"1 2 3")
    >>> with open_regular(path, most=100) as file:
    ...     file.read()
    b'1 2 3'
    >>> folder.cleanup()
    """
    name = file_name(path)
    _check_regular(name, os.stat(name))
    file = open(name, "rb", opener=_open_at_once)
    try:
        status = os.fstat(file.fileno())  # the name may have been given to another file since
        _check_regular(name, status)
        if most is not None and status.st_size > most:
            raise ValueError(f"{name}: expected a file of at most {most} bytes, got {status.st_size}")
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file to write into. It gets the name `path` when everything is written and on the disk.

    Until then it has another name in the same folder. In every case, `path` is the old file or the whole new
    one. A link still points to the same place, and the new file has the mode of the old one.

    Parameters
    ----------
    path : str or path-like
        The file; taken as it is.

    Yields
    ------
    file
        Open for writing bytes.

    Raises
    ------
    OSError
        The file cannot be written, or `path` is there and no regular file (a folder, a pipe, a device). The
        error names `path`.
    TypeError
        `path` is no name of a file.

    Examples
    --------
    >>> import os, tempfile
    >>> from rnnfast.files import written_whole
    >>> folder = tempfile.TemporaryDirectory()
    >>> with written_whole(os.path.join(folder.name, "numbers.txt")) as file:
    ...     _ = file.write(b"1 2 3")
    >>> os.listdir(folder.name)
    ['numbers.txt']
    >>> folder.cleanup()
    """
    name = file_name(path)
    mode = _mode_of(name)
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    draft = os.path.join(folder, f".rnnfast-{os.urandom(8).hex()}.tmp")
    try:
        with open(draft, "xb") as file:
            if mode is not None:
                os.chmod(draft, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException as error:
        if os.path.exists(draft):
            os.remove(draft)
        if isinstance(error, OSError) and error.errno and error.filename in (None, draft):
            raise OSError(error.errno, error.strerror, name) from error
        raise
    if hasattr(os, "O_DIRECTORY"):  # POSIX: the new name itself reaches the disk with its folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mode_of(name: str) -> int | None:
    """The mode of the regular file that is there; None if there is nothing."""
    try:
        status = os.stat(name)
    except FileNotFoundError:
        return None
    _check_regular(name, status)
    return stat.S_IMODE(status.st_mode)


def _check_regular(name: str, status: os.stat_result) -> None:
    """Refuse what is no regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file", name)


def _open_at_once(name: str, flags: int) -> int:
    """A descriptor of `name`; where that has become a pipe, there is no wait for its writer."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
