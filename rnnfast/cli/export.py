"""`rnnfast export`: a trained model as a file for another program."""

from __future__ import annotations

import argparse

import rnnfast as rf
from rnnfast import _core
from rnnfast.cli.errors import CommandError
from rnnfast.cli.files import check_apart, check_place
from rnnfast.cli.text import load_model

__all__ = ["add_options", "run", "writes_files"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast export`."""
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="a file of `rnnfast train`")
    add("--c", required=True, metavar="FILE", help="the C header to write")
    add(
        "--name",
        metavar="NAME",
        help="what all names in the header begin with (default: the file's name without its suffix)",
    )
    add(
        "--matmul-precision",
        choices=_core.PRECISIONS,
        help="precision of the weights in products (default: that of the checkpoint)",
    )


def writes_files(options: argparse.Namespace) -> bool:
    """The command writes the header."""
    return True


def run(options: argparse.Namespace) -> int:
    """Write a trained model as one C header with its weights, without dependencies."""
    check_place("--c", options.c)
    check_apart({"CHECKPOINT": options.checkpoint, "--c": options.c})
    model = load_model(options.checkpoint)
    try:
        rf.export_c(model.model, options.c, name=options.name, matmul_precision=options.matmul_precision)
    except OSError as error:
        raise CommandError(f"--c {options.c}: {error.strerror or error}") from None
    except ValueError as error:
        which = "--" if str(error).startswith("name: ") else f"{options.checkpoint}: "
        raise CommandError(f"{which}{error}") from None
    print(f"{options.c}: {model.name}; a step reads a number of 0 to {len(model.alphabet) - 1}", end="")
    print(f" (a {model.alphabet.unit}) and writes {len(model.alphabet)} logits")
    return 0
