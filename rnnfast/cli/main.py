"""The entry of the command line: it runs a command; errors become a line on stderr and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

import rnnfast as rf
from rnnfast.cli import bench, export, forecast, info, sample, train
from rnnfast.cli.errors import FAILED, INTERRUPTED, READER_LEFT, CommandError
from rnnfast.cli.output import Output

__all__ = ["main"]

COMMANDS = {
    "train": train,
    "sample": sample,
    "export": export,
    "forecast": forecast,
    "bench": bench,
    "info": info,
}
EXIT_CODES = (
    "Exit codes: 0 success; 2 an error, explained by a line on stderr; 130 Ctrl-C; 141 the reader of "
    "stdout left early (files are still written)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of this process.

    Returns
    -------
    int
        The exit code: 0; 2 after an error that one line on stderr explains; 130 after Ctrl-C; 141 if the
        reader of stdout left. A command that writes files writes them in that case too.
    """
    output = Output(sys.stdout or open(os.devnull, "w", encoding="utf-8"))
    with contextlib.redirect_stdout(output):
        name = "rnnfast"
        try:
            options = _parsed(arguments)
            name = f"rnnfast {options.command}"
            output.goes_on = COMMANDS[options.command].writes_files(options)
            code: int = COMMANDS[options.command].run(options)
            output.flush()
        except CommandError as error:
            return _ended(FAILED, f"{name}: error: {error}")
        except MemoryError as error:
            return _ended(FAILED, f"{name}: error: not enough memory: {error}")
        except KeyboardInterrupt:
            return _ended(INTERRUPTED, "\nInterrupted.")
        except BrokenPipeError:
            return READER_LEFT
        if output.reader_left:
            return _ended(READER_LEFT, f"{name}: the reader of stdout left; the files are written")
        return code


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rnnfast", description="Recurrent networks on the CPU.", epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"rnnfast {rf.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = (command.run.__doc__ or "").partition("\n")[0]
        command.add_options(commands.add_parser(name, help=about, description=about))
    try:
        return parser.parse_args(arguments)
    except SystemExit:  # after --help and --version, which print
        sys.stdout.flush()
        raise


def _ended(code: int, reason: str) -> int:
    """Print why a command ended, and return its exit code."""
    with contextlib.suppress(CommandError, BrokenPipeError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):  # nobody reads stderr
        print(reason, file=sys.stderr)
    return code
