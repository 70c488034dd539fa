"""Checks of the files that a command will write, so that it fails at its beginning and not at its end."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from rnnfast.cli.errors import CommandError
from rnnfast.files import written_whole
from rnnfast.training.checkpoint import read_checkpoint

__all__ = ["check_apart", "check_place", "check_plot", "check_replaced", "write_text"]


def check_place(option: str, file: str) -> None:
    """Refuse a path whose folder is missing or cannot be written to, or which is not a regular file."""
    folder = Path(file).absolute().parent
    if not folder.is_dir():
        raise CommandError(f"{option} {file}: its folder does not exist")
    try:
        mode = os.stat(file).st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise CommandError(f"{option} {file}: {error.strerror or error}") from None
    else:
        if stat.S_ISDIR(mode):
            raise CommandError(f"{option} {file}: is a folder")
        if not stat.S_ISREG(mode):
            raise CommandError(f"{option} {file}: expected a regular file, got a pipe or a device")
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CommandError(f"{option} {file}: its folder: {error.strerror or error}") from None


def check_apart(files: Mapping[str, str | None]) -> None:
    """Refuse options that name the same file; `files` has the path of each option."""
    known: dict[str, str] = {}
    for option, file in files.items():
        if file is not None:
            first = known.setdefault(os.path.realpath(file), option)
            if first != option:
                raise CommandError(f"{option} {file}: is the same file as {first}")


def check_replaced(option: str, file: str, kind: str | None = None) -> None:
    """Refuse to replace a file that is no checkpoint, or a checkpoint of another kind."""
    if not Path(file).exists():
        return
    try:
        _, metadata = read_checkpoint(file)
    except (OSError, ValueError):
        raise CommandError(f"{option} {file}: exists, is no checkpoint, and is not replaced") from None
    if kind is not None and metadata.get("kind") != kind:
        raise CommandError(f"{option} {file}: exists, and is a checkpoint, but not of a {kind}")


def check_plot(file: str, extra: str) -> None:
    """Refuse a plot whose folder is missing, whose format is unknown, or without matplotlib (of `extra`)."""
    check_place("--plot", file)
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError(f'--plot needs matplotlib: pip install "rnnfast[{extra}]"')
    from matplotlib.figure import Figure

    known = Figure().canvas.get_supported_filetypes()
    suffix = Path(file).suffix.lower().removeprefix(".")
    if suffix and suffix not in known:
        raise CommandError(f"--plot {file}: expected a suffix out of {', '.join(known)}, got .{suffix}")


def write_text(option: str, file: str, text: str) -> None:
    """Write a text file, whole or not at all."""
    try:
        with written_whole(file) as target:
            target.write(text.encode("utf-8"))
    except OSError as error:
        raise CommandError(f"{option} {file}: {error.strerror or error}") from None
