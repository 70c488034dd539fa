"""How a command ends when it does not end well: the error that becomes a line on stderr, the exit codes."""

from __future__ import annotations

__all__ = ["FAILED", "INTERRUPTED", "READER_LEFT", "CommandError", "Diverged"]

FAILED = 2  # the exit code after a CommandError
INTERRUPTED = 130  # after Ctrl-C: what shells give a program that it ended
READER_LEFT = 141  # what shells give a program that a closed pipe ended


class CommandError(Exception):
    """Something the user can put right: an unreadable file, a foreign checkpoint, options that contradict."""


class Diverged(CommandError):
    """Training that made a model worse than a guess."""
