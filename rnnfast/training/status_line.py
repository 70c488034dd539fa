"""One line of text that says how far something is: redrawn on a terminal, written now and then elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO

__all__ = ["StatusLine", "bar", "clock"]

_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10.0
_WIDTH = 20  # of the bar itself
_COLUMNS = 80  # of a terminal that does not say how wide it is


class StatusLine:
    """Text on a stream, replaced by the next one on a terminal.

    Attributes
    ----------
    interval : float
        The seconds that a text should at least be shown.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._redraws = _is_terminal(stream)
        self.interval = _REDRAW_SECONDS if self._redraws else _LINE_SECONDS
        self._shown = ""

    def show(self, text: str) -> None:
        """Show a text; work continues if the stream fails (full disk, lost terminal, closed)."""
        with suppress(OSError, ValueError):
            if self._redraws:
                text = text[: _columns(self._stream) - 1]
                self._stream.write("\r" + text.ljust(len(self._shown)))
            elif text != self._shown:
                self._stream.write(text + "\n")
            self._shown = text
            self._stream.flush()

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        if self._redraws and self._shown:
            with suppress(OSError, ValueError):
                self._stream.write("\n")
                self._stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    """Whether the stream says that it is a terminal; a closed one does not."""
    with suppress(AttributeError, OSError, ValueError):
        return bool(stream.isatty())
    return False


def _columns(stream: TextIO) -> int:
    """The width of a terminal."""
    with suppress(AttributeError, OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    return _COLUMNS


def bar(share: float) -> str:
    """A bar that is filled to this share, 0 to 1."""
    filled = round(_WIDTH * min(share, 1.0))
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}]"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
