"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["written_whole"]


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A new file to write into, which takes the name `path` once all is written and on the disk.

    Until then it stands beside `path` under another name. Whatever happens, `path` is the old file or the
    whole new one; a link goes on pointing where it did.

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
        The file cannot be written.

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
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    draft = os.path.join(folder, f".{name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
    try:
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        if os.path.exists(draft):
            os.remove(draft)
        raise
    if hasattr(os, "O_DIRECTORY"):  # POSIX: the new name itself reaches the disk with its folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
