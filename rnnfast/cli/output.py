"""The stdout of a command, whose reader may leave and whose disk may be full."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rnnfast.cli.errors import CommandError

__all__ = ["Output"]


class Output:
    """Replaces `sys.stdout` while a command runs.

    A full disk raises a `CommandError`. A reader that left (`| head -1`) raises a `BrokenPipeError`, unless
    `goes_on` is set: then all further text is dropped. After either, the stream's descriptor is the null
    device, so that Python's flush at exit cannot fail again.

    Parameters
    ----------
    stream : text file
        What to write to. A character that it cannot encode becomes a "?".

    Attributes
    ----------
    goes_on : bool
        Whether the command continues without a reader, because it writes files too.
    reader_left : bool
        Whether the reader left.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.goes_on = False
        self.reader_left = False
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        """Write text, or drop it if its reader has left."""
        with self._failing():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the text that was written."""
        with self._failing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._give_up()
            self.reader_left = True
            if not self.goes_on:
                raise
        except OSError as error:
            self._give_up()
            raise CommandError(f"stdout: {error.strerror or error}") from None

    def _give_up(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
