"""The errors of a command, which become a line on stderr, and its exit codes."""

from __future__ import annotations

__all__ = ["FAILED", "INTERRUPTED", "READER_LEFT", "CommandError", "Diverged"]

FAILED = 2  # the exit code after a CommandError
INTERRUPTED = 130  # after Ctrl-C, as in shells: 128 + SIGINT
READER_LEFT = 141  # after a closed pipe, as in shells: 128 + SIGPIPE


class CommandError(Exception):
    """An error that the user can correct: an unreadable file, a foreign checkpoint, contradicting options."""


class Diverged(CommandError):
    """Training that made a model worse than a guess."""
