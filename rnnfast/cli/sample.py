"""`rnnfast sample`: text from a model that `rnnfast train` made."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

from rnnfast import _core
from rnnfast.cli.errors import CommandError
from rnnfast.cli.options import non_negative, positive_integer, probability, seed, whole_number
from rnnfast.cli.text import CHECKPOINT, load_model
from rnnfast.text import TextModel

__all__ = ["TEMPERATURE", "add_options", "run", "writes_files"]

LENGTH, TEMPERATURE = 500, 0.8  # the defaults of --length and --temperature
RANDOM = ("temperature", "top_k", "top_p", "seed")  # the options that beam search does not take


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast sample`."""
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="?",
        default=CHECKPOINT,
        metavar="CHECKPOINT",
        help=f"a file of `rnnfast train` (default: {CHECKPOINT})",
    )
    add("--prompt", default="", metavar="TEXT", help="text that the model reads first and continues")
    add(
        "--length",
        type=whole_number,
        default=LENGTH,
        metavar="N",
        help=f"number of symbols: characters, bytes or words (default: {LENGTH})",
    )
    add(
        "--temperature",
        type=non_negative,
        metavar="X",
        help=f"low: close to the text, high: varied, 0: the likeliest symbol (default: {TEMPERATURE})",
    )
    add("--top-k", type=positive_integer, metavar="K", help="sample from the K likeliest symbols only")
    add(
        "--top-p",
        type=probability,
        metavar="P",
        help="nucleus sampling: from the fewest symbols that together have probability P",
    )
    add(
        "--seed", type=seed, metavar="N", help="seed of the random numbers: the same seed gives the same text"
    )
    add(
        "--matmul-precision",
        choices=_core.PRECISIONS,
        help="of what products multiply (default: that of the checkpoint)",
    )
    add(
        "--beam",
        type=positive_integer,
        metavar="N",
        help="beam search of this width for the likeliest text, in place of sampling",
    )


def writes_files(options: argparse.Namespace) -> bool:
    """The command only prints."""
    return False


def run(options: argparse.Namespace) -> int:
    """Print text from a trained model, sampled symbol by symbol or found by beam search."""
    model = load_model(options.checkpoint)
    if options.matmul_precision is not None:
        model.model.matmul_precision = options.matmul_precision
    unknown = model.alphabet.missing(options.prompt)
    if unknown:
        raise CommandError(f"--prompt: the model knows no {', '.join(map(repr, unknown))}")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in RANDOM if getattr(options, name) is not None
    }
    if options.beam is not None:
        for name in given:
            raise CommandError(f"--{name.replace('_', '-')}: not with --beam, which draws no random numbers")
        _print_likeliest(model, options)
        return 0
    rules = {"temperature": TEMPERATURE} | given
    rng = rules.pop("seed", None)
    print(options.prompt, end="", flush=True)
    for piece in model.pieces(options.prompt, options.length, **rules, rng=rng):
        print(piece, end="", flush=True)
    print()
    return 0


def _print_likeliest(model: TextModel, options: argparse.Namespace) -> None:
    best = model.beam_search(options.prompt, options.length, options.beam)[0]
    print(options.prompt + best.text, flush=True)
    each = -best.log_probability / math.log(2) / max(len(best.symbols), 1)
    print(
        f"{len(best.symbols)} {model.alphabet.unit}s, log probability {best.log_probability:.3f}:"
        f" {each:.3f} bits/{model.alphabet.short}",
        file=sys.stderr,
    )
