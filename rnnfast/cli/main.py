"""The command line's entry: runs a command and turns what can go wrong into a line and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import rnnfast as rf
from rnnfast.cli import bench, forecast, info, sample, train
from rnnfast.cli.errors import FAILED, INTERRUPTED, CommandError

__all__ = ["main"]

COMMANDS = {"train": train, "sample": sample, "forecast": forecast, "bench": bench, "info": info}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of this process.

    Returns
    -------
    int
        The exit code: 0; 2 after an error that one line on stderr explains; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="rnnfast",
        description="Recurrent networks on the CPU.",
        epilog="Exit codes: 0 done, 2 an error that the line on stderr explains, 130 ended by Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"rnnfast {rf.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = (command.run.__doc__ or "").partition("\n")[0]
        command.add_options(commands.add_parser(name, help=about, description=about))
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show becomes a "?"
    try:
        code: int = COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return code
    except CommandError as error:
        print(f"rnnfast {options.command}: error: {error}", file=sys.stderr)
        return FAILED
    except MemoryError as error:
        print(f"rnnfast {options.command}: error: not enough memory: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`rnnfast sample … | head`): let Python's flush at exit write to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
