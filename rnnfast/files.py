"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["written_whole"]


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file to write into, which takes the name `path` once all is written and on the disk.

    Until then it stands beside `path` under another name. Whatever happens, `path` is the old file or the
    whole new one; a link goes on pointing where it did, and the new file has the old one's mode.

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
    mode = _mode_of(path)
    target = os.path.realpath(path)
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
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    if hasattr(os, "O_DIRECTORY"):  # POSIX: the new name itself reaches the disk with its folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mode_of(path: str | os.PathLike[str]) -> int | None:
    """The mode of the regular file that is there; None if there is nothing."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "expected a regular file", os.fspath(path))
    return stat.S_IMODE(status.st_mode)
