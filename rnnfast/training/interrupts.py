"""Ctrl-C during training: kept back while something is written that must be whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Ctrl-C, kept back while something is written that must be whole; pressed twice, it is not."""

    def __init__(self) -> None:
        self._holding = False
        self._pending = False
        self._previous: Any = None

    def __enter__(self) -> Interrupts:
        import signal

        # A handler of the caller is not replaced, and only the main thread may set one.
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if default and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import signal

        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _receive(self, signum: int, frame: Any) -> None:
        if not self._holding or self._pending:
            raise KeyboardInterrupt
        self._pending = True

    def hold(self) -> None:
        """Keep Ctrl-C back from here on."""
        self._holding = True

    def release(self) -> bool:
        """Keep it back no longer; whether it was pressed."""
        pending, self._pending, self._holding = self._pending, False, False
        return pending

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep Ctrl-C back until the end of the block."""
        self.hold()
        try:
            yield
        finally:
            pending = self.release()
        if pending:
            raise KeyboardInterrupt
