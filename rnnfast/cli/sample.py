"""`rnnfast sample`: text from a character model that `rnnfast train` made."""

from __future__ import annotations

import argparse

from rnnfast.cli.charmodel import generate, load
from rnnfast.cli.errors import CommandError
from rnnfast.cli.options import non_negative, positive_integer, seed, whole_number
from rnnfast.cli.train import CHECKPOINT

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast sample`."""
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="?",
        default=CHECKPOINT,
        metavar="CHECKPOINT",
        help=f"from `rnnfast train` ({CHECKPOINT})",
    )
    add("--prompt", default="", metavar="TEXT", help="what the model reads first and goes on from")
    add("--length", type=whole_number, default=500, metavar="N", help="characters to draw (500)")
    add(
        "--temperature",
        type=non_negative,
        default=0.8,
        metavar="X",
        help="low: safe, high: wild, 0: likeliest (0.8)",
    )
    add("--top-k", type=positive_integer, metavar="K", help="draw among the K likeliest characters only")
    add("--seed", type=seed, metavar="N", help="the same seed, the same text")


def run(options: argparse.Namespace) -> int:
    """Print text drawn from a trained character model, character by character."""
    model, alphabet, _ = load(options.checkpoint)
    unknown = sorted(set(options.prompt) - set(alphabet.characters))
    if unknown:
        raise CommandError(f"--prompt: the model's text has no {', '.join(map(repr, unknown))}")
    print(options.prompt, end="", flush=True)
    for character in generate(
        model,
        alphabet,
        prompt=options.prompt,
        length=options.length,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
    ):
        print(character, end="", flush=True)
    print()
    return 0
