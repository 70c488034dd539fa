"""`rnnfast sample`: text from a model that `rnnfast train` made."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rnnfast as rf
from rnnfast.cli.errors import CommandError
from rnnfast.cli.options import non_negative, positive_integer, probability, seed, whole_number
from rnnfast.text.alphabets import Alphabet
from rnnfast.text.model import CHECKPOINT, load

__all__ = ["TEMPERATURE", "add_options", "generate", "run", "writes_files"]

TEMPERATURE = 0.8  # unless --temperature says otherwise
RANDOM = ("temperature", "top_k", "top_p", "seed")  # the options that a beam search has no use for


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
        default=500,
        metavar="N",
        help="number of symbols: characters, bytes or words (default: 500)",
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
    model, alphabet, _ = load(options.checkpoint)
    unknown = alphabet.missing(options.prompt)
    if unknown:
        raise CommandError(f"--prompt: the model knows no {', '.join(map(repr, unknown))}")
    given: dict[str, Any] = {
        name: getattr(options, name) for name in RANDOM if getattr(options, name) is not None
    }
    if options.beam is not None:
        for name in given:
            raise CommandError(f"--{name.replace('_', '-')}: not with --beam, which draws no random numbers")
        _print_likeliest(model, alphabet, options)
        return 0
    print(options.prompt, end="", flush=True)
    for piece in generate(model, alphabet, prompt=options.prompt, length=options.length, **given):
        print(piece, end="", flush=True)
    print()
    return 0


def generate(
    model: rf.Sequential,
    alphabet: Alphabet,
    *,
    prompt: str = "",
    length: int = 300,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """Text that the model writes, symbol by symbol.

    Parameters
    ----------
    model, alphabet
        As `load` gives them.
    prompt : str
        What the model reads first; when empty, a newline (or the alphabet's first symbol).
    length : int
        How many symbols to draw.
    temperature, top_k, top_p
        As for :func:`rnnfast.text.sampling.distribution`.
    seed : int, optional
        The same seed, the same text.

    Yields
    ------
    str
        Mostly the text of one symbol.
    """
    numbers = rf.sampling.generate(
        model,
        _first(alphabet, prompt),
        length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        exclude=_unwritable(alphabet),
        rng=seed,
    )
    yield from alphabet.decode(numbers)


def _print_likeliest(model: rf.Sequential, alphabet: Alphabet, options: argparse.Namespace) -> None:
    best = rf.sampling.beam_search(
        model,
        _first(alphabet, options.prompt),
        options.length,
        options.beam,
        exclude=_unwritable(alphabet),
    )[0]
    print(options.prompt + "".join(alphabet.decode(best.symbols)), flush=True)
    each = -best.log_probability / math.log(2) / max(len(best.symbols), 1)
    print(
        f"{len(best.symbols)} {alphabet.unit}s, log probability {best.log_probability:.3f}:"
        f" {each:.3f} bits/{alphabet.short}",
        file=sys.stderr,
    )


def _first(alphabet: Alphabet, prompt: str) -> NDArray[np.int64]:
    """The numbers of the prompt, or of the substitute for an empty one."""
    if prompt:
        return alphabet.encode(prompt)
    return np.zeros(1, np.int64) if alphabet.missing("\n") else alphabet.encode("\n")


def _unwritable(alphabet: Alphabet) -> tuple[int, ...]:
    """The symbols that have no text."""
    return () if alphabet.unknown is None else (alphabet.unknown,)
