"""`rnnfast train --compare`: every kind of model of one text in a table, from counting to the LSTM."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import rnnfast as rf
from rnnfast.cli.errors import INTERRUPTED, Diverged
from rnnfast.text.counting import LONGEST, best_kneser_ney, fixed, gram_name, margin
from rnnfast.text.model import build, check_converged, held_out_bits, name_of, perplexity, train
from rnnfast.text.ngram import NGram
from rnnfast.text.reading import Text

__all__ = ["compare"]

SMOOTHINGS = {"witten-bell": "Witten-Bell", "kneser-ney": "Kneser-Ney"}
ORDERS = (3, 5, 8)  # beyond the unigram and the bigram
RATES = {"window": 0.005, "rnn": 0.002, "gru": 0.002, "lstm": 0.005}  # they suit each on the default text


def compare(text: Text, chosen: dict[str, Any], *, cells: Sequence[str]) -> int:
    """Print the ladder, a rung as soon as it is scored.

    Parameters
    ----------
    text : Text
    chosen : dict
        The options of the networks, as in `textmodel.DEFAULTS`; ``cell`` is not read, and where ``lr`` is
        None each has the learning rate of `RATES`.
    cells : sequence of str
        The networks.

    Returns
    -------
    int
        The exit code: 0, or that after Ctrl-C, which ends it with the rungs done so far.

    Raises
    ------
    Diverged
        If the training of a network did, once all is printed.
    """
    rates = {cell: chosen["lr"] or RATES[cell] for cell in cells}
    _print_terms(text, chosen, rates)
    counting = _count(text)
    networks: dict[str, float] = {}
    diverged: list[str] = []
    for cell, rate in rates.items():
        options = {**chosen, "cell": cell, "lr": rate}
        name, network = name_of(options), build(len(text.alphabet), options)
        try:
            history = train(network, text, options, judged=False)
            if history.interrupted:
                print(f"\nInterrupted: {name} and what comes after it are missing.")
                return INTERRUPTED
            size = sum(parameter.size for parameter in network.parameters())
            networks[name] = bits = held_out_bits(network, text)
            _print_rung(text, name, size, history.seconds[-1], bits)
            check_converged(history, text)
        except Diverged as error:
            print(f"{name:24}{error}", flush=True)
            diverged.append(name)
    best = best_kneser_ney(text)
    _print_summary(text, counting | {best.name: best.bits}, networks)
    if diverged:
        raise Diverged(f"training diverged: {'; '.join(diverged)}; a lower --lr may help")
    return 0


def _count(text: Text) -> dict[str, float]:
    """Print the rungs that count; their bits per symbol by name."""
    counting: dict[str, float] = {}
    for smoothing, name in SMOOTHINGS.items():
        for order in (1, 2, *ORDERS):
            rung = f"{gram_name(order)}, {name}"
            began = time.perf_counter()
            model = NGram(text.training, len(text.alphabet), order, smoothing)
            seconds = time.perf_counter() - began
            counting[rung] = bits = model.bits_per_symbol(text.held_out)
            _print_rung(text, rung, model.grams, seconds, bits)
    return counting


def _print_terms(text: Text, chosen: dict[str, Any], rates: dict[str, float]) -> None:
    """What the networks have in common, and the table's head."""
    unit = text.alphabet.short
    length = f"{chosen['minutes']:g} minutes each" if chosen["minutes"] else f"{chosen['epochs']} epochs each"
    print(
        f"networks    {length}, {chosen['batch']} streams x {chosen['seq_len']} {text.alphabet.unit}s;"
        f" dropout {chosen['dropout']:g}; threads: {rf.get_num_threads()}\n"
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
    """A column that a table of characters has already."""
    return "" if text.alphabet.unit == "character" else column


def _print_summary(text: Text, counting: dict[str, float], networks: dict[str, float]) -> None:
    counted = min(counting, key=counting.__getitem__)
    print(
        f"\nbest count model  {counted}: {counting[counted]:.3f} bits/{text.alphabet.short}"
        f" (orders of Kneser-Ney up to {LONGEST} were tried)"
    )
    for name, bits in networks.items():
        print(f"  {name:22}  {margin(bits, counting[counted])} it")
