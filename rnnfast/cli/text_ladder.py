"""`rnnfast train --compare`: a table of all kinds of text models, from n-grams to the LSTM, on one text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import rnnfast as rf
from rnnfast.cli.errors import INTERRUPTED, Diverged
from rnnfast.cli.text import build_model, check_training, noise_of, train_model
from rnnfast.text import NGram, NGramScore, Text, best_ngram, perplexity
from rnnfast.text.scores import LONGEST, SMOOTHINGS, fixed

__all__ = ["LADDER", "compare", "margin"]

ORDERS = (3, 5, 8)  # beyond the unigram and the bigram
LADDER = ("window", "rnn", "gru", "lstm")  # the networks that a ladder has unless it is asked for one
RATES = {  # the best tried on the default text
    "window": 0.005,
    "rnn": 0.002,
    "mingru": 0.005,
    "minlstm": 0.005,
    "gru": 0.002,
    "lstm": 0.005,
}


def compare(text: Text, chosen: dict[str, Any], *, cells: Sequence[str]) -> int:
    """Print the ladder, each rung as soon as it is scored.

    Parameters
    ----------
    text : Text
    chosen : dict
        The options of the networks, as in `rnnfast.cli.text.DEFAULTS`. ``cell`` is not read. If ``lr`` is
        None, each network has the learning rate of `RATES`, and one without any that of the LSTM.
    cells : sequence of str
        The networks.

    Returns
    -------
    int
        The exit code: 0, or `INTERRUPTED` if Ctrl-C ended the ladder early.

    Raises
    ------
    Diverged
        If the training of a network diverged; raised when everything is printed.
    """
    rates = {cell: chosen["lr"] or RATES.get(cell, RATES["lstm"]) for cell in cells}
    _print_terms(text, chosen, rates)
    counting = _count(text)
    networks: dict[str, float] = {}
    diverged: list[str] = []
    for cell, rate in rates.items():
        options = {**chosen, "cell": cell, "lr": rate}
        model = build_model(text.alphabet, options)
        try:
            history = train_model(model, text, options, validate=False)
            if history.interrupted:
                print(f"\nInterrupted: {model.name} and what comes after it are missing.")
                return INTERRUPTED
            networks[model.name] = bits = model.bits_per_symbol(text.held_out_from_before)
            _print_rung(text, model.name, model.size, history.seconds[-1], bits)
            check_training(model, history)
        except Diverged as error:
            print(f"{model.name:24}{error}", flush=True)
            diverged.append(model.name)
    best = best_ngram(text)
    _print_summary(text, counting | {best.name: best.bits}, networks)
    if diverged:
        raise Diverged(f"training diverged: {'; '.join(diverged)}; a lower --lr may help")
    return 0


def margin(bits: float, other: float) -> str:
    """The difference of two scores, in words."""
    return f"{fixed(abs(other - bits))} bits {'below' if bits < other else 'above'}"


def _count(text: Text) -> dict[str, float]:
    """Print the rungs of count models, and return their bits per symbol by name."""
    counting: dict[str, float] = {}
    for smoothing in SMOOTHINGS:
        for order in (1, 2, *ORDERS):
            began = time.perf_counter()
            model = NGram(text.training, len(text.alphabet), order, smoothing)
            seconds = time.perf_counter() - began
            score = NGramScore(order, smoothing, model.bits_per_symbol(text.held_out))
            counting[score.name] = score.bits
            _print_rung(text, score.name, model.grams, seconds, score.bits)
    return counting


def _print_terms(text: Text, chosen: dict[str, Any], rates: dict[str, float]) -> None:
    """Print the settings of all networks, and the head of the table."""
    unit = text.alphabet.short
    length = f"{chosen['minutes']:g} minutes each" if chosen["minutes"] else f"{chosen['epochs']} epochs each"
    print(
        f"networks    {length}, {chosen['batch']} sequences x {chosen['seq_len']} {text.alphabet.unit}s;"
        f" dropout {chosen['dropout']:g}{noise_of(chosen)}; threads: {rf.get_num_threads()}\n"
        f"            learning rates: {', '.join(f'{cell} {rate:g}' for cell, rate in rates.items())};"
        f" the held-out text is read once, at the end"
    )
    for heads in (
        ("\n", "parameters", "training", "bits", "perplexity", "bits"),
        ("", "or counts", "seconds", f"per {unit}", f"per {unit}", "per char"),
    ):
        first, size, seconds, bits, perplexity, per_character = heads
        print(
            f"{first}{'':24}{size:>12}{seconds:>10}{bits:>10}{perplexity:>12}"
            + _if_not_characters(text, f"{per_character:>10}")
        )


def _print_rung(text: Text, name: str, size: int, seconds: float, bits: float) -> None:
    per_character = _if_not_characters(text, f"{fixed(text.bits_per_character(bits)):>10}")
    scores = f"{fixed(bits):>10}{perplexity(bits):12.2f}{per_character}"
    print(f"{name:24}{size:12,}{seconds:10.1f}{scores}", flush=True)


def _if_not_characters(text: Text, column: str) -> str:
    """The column, or nothing in a table of characters, which has it already."""
    return "" if text.alphabet.unit == "character" else column


def _print_summary(text: Text, counting: dict[str, float], networks: dict[str, float]) -> None:
    counted = min(counting, key=counting.__getitem__)
    print(
        f"\nbest count model  {counted}: {counting[counted]:.3f} bits/{text.alphabet.short}"
        f" (orders of Kneser-Ney up to {LONGEST} were tried)"
    )
    for name, bits in networks.items():
        print(f"  {name:22}  {margin(bits, counting[counted])} it")
