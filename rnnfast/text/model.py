"""The model of a text that `train` makes and `sample` reads: layers, training, checkpoint, score."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.cli.errors import CommandError, Diverged
from rnnfast.nn import losses, optim, schedules
from rnnfast.text.alphabets import Alphabet, restored
from rnnfast.text.counting import fixed
from rnnfast.text.reading import Text, streams
from rnnfast.text.window import window_model
from rnnfast.training.checkpoint import model_arrays, read_checkpoint
from rnnfast.training.fit import evaluate, fit
from rnnfast.training.history import History
from rnnfast.training.run import Run

__all__ = [
    "CELLS",
    "CHECKPOINT",
    "DEFAULTS",
    "build",
    "check_converged",
    "held_out_bits",
    "load",
    "name_of",
    "perplexity",
    "train",
    "windows_of",
]

CHECKPOINT = "rnnfast-model.npz"  # where it goes, in the current directory, unless told otherwise
KIND = "text model"  # metadata["kind"] of the checkpoints that belong to this command
KINDS = (KIND, "character model")  # the second is from before there were bytes and words
CELLS = ("window", "rnn", "gru", "lstm")
EMBEDDING = 64  # size of a symbol's vector
DEFAULTS: dict[str, Any] = {
    "symbols": "characters",
    "vocabulary": None,
    "cell": "lstm",
    "window": 8,
    "hidden": 320,
    "layers": 1,
    "dropout": 0.25,
    "seq_len": 64,
    "batch": 16,
    "lr": 0.005,
    "epochs": 12,
    "minutes": None,
    "seed": 0,
}
ADDED = ("symbols", "vocabulary", "window")  # what checkpoints of character models may lack
WARMUP = 0.03  # the part of the run over which the learning rate rises; then it falls along a cosine
CLIP_NORM = 1.0
VALIDATION_STREAMS = 8  # the held-out text is read in so many streams after each epoch, and in one at the end


def build(symbols: int, chosen: dict[str, Any]) -> rf.Sequential:
    """Embedding, dropout, recurrent layers, dropout, and a linear layer that gives a logit for each symbol.

    The cell "window" is none: it is tanh layers, dropout after each, on a window of the last symbols.

    Parameters
    ----------
    symbols : int
        Size of the alphabet.
    chosen : dict
        The options, as in `DEFAULTS`, of which those of the model are read.

    Returns
    -------
    Sequential
        From integers [T, B] to logits [T, B, symbols].
    """
    rng = np.random.default_rng(chosen["seed"])
    cell, hidden, layers, dropout = (chosen[name] for name in ("cell", "hidden", "layers", "dropout"))
    if cell == "window":
        keywords = {"hidden": hidden, "layers": layers, "dropout": dropout}
        return window_model(symbols, chosen["window"], embedding=EMBEDDING, rng=rng, **keywords)
    recurrent = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}[cell]
    return rf.Sequential(
        rf.Embedding(symbols, EMBEDDING, rng=rng),
        rf.Dropout(dropout, rng=rng),
        recurrent(EMBEDDING, hidden, layers, dropout=dropout if layers > 1 else 0.0, rng=rng),
        rf.Dropout(dropout, rng=rng),
        rf.Linear(hidden, symbols, rng=rng),
    )


def name_of(chosen: dict[str, Any]) -> str:
    """What to call the model of these options."""
    layers = "" if chosen["layers"] == 1 else f"{chosen['layers']} layers of "
    cell = f"window of {chosen['window']}" if chosen["cell"] == "window" else chosen["cell"].upper()
    return f"{cell}, {layers}{chosen['hidden']} units"


def load(path: str) -> tuple[rf.Sequential, Alphabet, dict[str, Any]]:
    """The model, its alphabet and the metadata of a checkpoint that `rnnfast train` wrote.

    ``metadata["options"]`` has all options, those too that checkpoints of an older version lack.

    Raises
    ------
    CommandError
        If the file cannot be read, is damaged, or holds something else.
    """
    try:
        arrays, metadata = read_checkpoint(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if metadata.get("kind") not in KINDS:
        raise CommandError(f"{path}: an rnnfast checkpoint, but not one of `rnnfast train`")
    try:
        options = {name: DEFAULTS[name] for name in ADDED} | metadata["options"]
        alphabet = restored(options["symbols"], metadata["alphabet"])
        model = build(len(alphabet), options)
        model.load_state_dict(model_arrays(arrays))
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{path}: damaged: {error}") from None
    return model, alphabet, metadata | {"options": options}


def train(
    model: rf.Sequential,
    text: Text,
    chosen: dict[str, Any],
    *,
    judged: bool = True,
    output: str | None = None,
    resume: str | None = None,
) -> History:
    """Train a model as these options say.

    Parameters
    ----------
    model : Sequential
        As :func:`build` gives it.
    text : Text
    chosen : dict
        The options, as in `DEFAULTS`.
    judged : bool
        Score the held-out text after each epoch, and end with the parameters of the best score. Without it
        the held-out text is not looked at.
    output : str, optional
        The checkpoint.
    resume : str, optional
        A checkpoint to go on from.

    Returns
    -------
    History

    Raises
    ------
    Diverged
        If a loss or a gradient is not finite.
    CommandError
        If a checkpoint cannot be written or gone on from.
    """
    T = chosen["seq_len"]
    length = chosen["minutes"] or chosen["epochs"] * windows_of(text, chosen)
    schedule = schedules.warmup(WARMUP * length, then=schedules.cosine((1.0 - WARMUP) * length))
    held_out = text.held_out_from_before
    side_by_side = max(1, min(VALIDATION_STREAMS, len(held_out) // T))
    try:
        return fit(
            model,
            losses.cross_entropy,
            streams(text.training, chosen["batch"]),
            optim.Adam(model.parameters(), lr=chosen["lr"]),
            epochs=chosen["epochs"],
            minutes=chosen["minutes"],
            batch_size=None,
            shuffle=False,
            truncate=(T, T),
            validation=streams(held_out, side_by_side) if judged else None,
            schedule=schedules.in_minutes(schedule) if chosen["minutes"] else schedule,
            clip_norm=CLIP_NORM,
            checkpoint=output,
            metadata={
                "kind": KIND,
                "options": chosen,
                "alphabet": text.alphabet.recorded,
                "text": {"name": text.name, "files": text.files, "crc32": text.crc32},
            },
            resume=resume,
            describe=_describe(text.alphabet.short),
            rng=chosen["seed"],
        )
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None
    except FloatingPointError as error:
        raise Diverged(f"training diverged: {error} (--lr)") from None
    except ValueError as error:
        if resume is None or not str(error).startswith(f"{resume}: "):
            raise
        raise CommandError(str(error)) from None


def check_converged(history: History, text: Text) -> None:
    """Raise `Diverged` if the last epoch's loss is more than a bit above that of a uniform guess."""
    unit, bits = text.alphabet.short, history.loss[-1] / math.log(2) if history.loss else 0.0
    guess = math.log2(len(text.alphabet))
    if bits > guess + 1.0:
        raise Diverged(
            f"training diverged: the last epoch's loss is {fixed(bits)} bits/{unit}, a uniform guess over "
            f"{len(text.alphabet):,} symbols has {guess:.3f}; a lower --lr may help"
        )


def windows_of(text: Text, chosen: dict[str, Any]) -> int:
    """How many windows, an update each, one reading of the training part has."""
    steps = (len(text.training) - 1) // chosen["batch"]
    return -(-steps // chosen["seq_len"])


def held_out_bits(model: rf.Sequential, text: Text) -> float:
    """Bits per symbol over the held-out text, read from end to end."""
    held_out = streams(text.held_out_from_before, batch=1)
    return evaluate(model, losses.cross_entropy, held_out, truncate=(2000, 2000)) / math.log(2)


def perplexity(bits: float) -> float:
    """2**bits; from 2**64 on infinite, as nothing that was learned has such a one."""
    return 2.0**bits if bits < 64.0 else math.inf


def _describe(unit: str) -> Callable[[Run], str]:
    def describe(run: Run) -> str:
        bits, rate = run.mean / math.log(2), run.rate / 1000
        text = f"loss {fixed(run.mean, 2)}  {fixed(bits)} bits/{unit}  {rate:.1f}k {unit}s/s"
        return text if run.validation is None else f"{text}  held out {fixed(run.validation / math.log(2))}"

    return describe
