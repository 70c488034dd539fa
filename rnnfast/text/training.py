"""The training of a text model: truncated backpropagation, with a progress line in bits per symbol."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from rnnfast import checks
from rnnfast.nn import losses, optim, schedules
from rnnfast.text.model import KIND, TextModel
from rnnfast.text.reading import Text, streams
from rnnfast.text.scores import fixed
from rnnfast.training.fit import fit
from rnnfast.training.history import History
from rnnfast.training.progress import Progress
from rnnfast.training.run import Run

__all__ = ["check_converged", "symbols_needed", "train", "windows_of"]

WARMUP = 0.03  # the part of the run over which the learning rate rises; then it falls along a cosine
CLIP_NORM = 1.0
VALIDATION_SEQUENCES = 8  # parallel sequences into which the held-out text is divided after each epoch


def train(
    model: TextModel,
    text: Text,
    *,
    seq_len: int = 64,
    batch: int = 16,
    lr: float = 0.005,
    epochs: int | None = 12,
    minutes: float | None = None,
    validate: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: Progress = True,
) -> History:
    """Train a text model on the training part of a text, as ``rnnfast train`` does.

    Truncated backpropagation through time by Adam, with the gradients clipped at norm 1. The learning rate
    rises over the first 3% of the run and then falls along a cosine.

    Parameters
    ----------
    model : TextModel
    text : Text
        A text in the model's alphabet.
    seq_len : int, default 64
        Steps of backpropagation through time.
    batch : int, default 16
        Parallel sequences that the text is divided into.
    lr : float, default 0.005
        The highest learning rate of Adam.
    epochs : int or None, default 12
        The number of epochs, those before a `resume` included. Not used with `minutes`.
    minutes : float, optional
        Minutes of wall clock time to train, instead of `epochs`.
    validate : bool, default True
        Score the held-out part after each epoch, and end with the weights of the best score. If False, the
        held-out part is not read.
    checkpoint : path, optional
        A file written after each epoch, every ten minutes, and at the end. :func:`rnnfast.text.load` reads
        it, and so does ``rnnfast sample``.
    resume : path, optional
        A checkpoint from which the run continues, as if it had not stopped. The text, `seq_len` and `batch`
        must be the same.
    progress : bool or callable, default True
        Show progress on stderr, or by ``progress(run)``, as :func:`rnnfast.fit` does.

    Returns
    -------
    History
        The losses are in nats per symbol. Ctrl-C ends the run cleanly, with ``history.interrupted`` True.

    Raises
    ------
    FloatingPointError
        If a loss or a gradient is not finite, before the update.
    OSError
        If a checkpoint cannot be read or written.
    TypeError, ValueError
        If an argument is of the wrong kind or out of range, the text is too short or in another alphabet, or
        `resume` is damaged or from another run.

    Examples
    --------
    >>> import rnnfast as rf
    >>> text = rf.text.Text("what is written twice is easily read twice. " * 60)
    >>> model = rf.text.build(text.alphabet, cell="gru", hidden=32, dropout=0, rng=0)
    >>> history = rf.text.train(model, text, seq_len=16, batch=4, lr=0.02, epochs=6, progress=False)
    >>> model.bits_per_symbol(text.held_out_from_before) < rf.text.ngram_score(text, order=1).bits
    True
    >>> model.generate("what is ", length=30, temperature=0.1, rng=0)
    'written twice is easily read t'
    """
    _check_model(model, text)
    T, B = checks.positive("seq_len", seq_len), checks.positive("batch", batch)
    lr = checks.above_zero("lr", lr)
    minutes = None if minutes is None else checks.above_zero("minutes", minutes)
    epochs = None if minutes is not None else checks.positive("epochs", epochs)
    checks.flag("validate", validate)
    if checkpoint is not None:
        model.check_built()
    needed = symbols_needed(T, B)
    if len(text.training) < needed:
        raise ValueError(
            f"text: expected at least {needed:,} symbols to train on (batch * seq_len + 1), got "
            f"{len(text.training):,}"
        )
    limits = {"epochs": epochs, "minutes": minutes}
    vocabulary = text.vocabulary or model.options.get("vocabulary")
    trained = {"vocabulary": vocabulary, "seq_len": T, "batch": B, "lr": lr, **limits}
    metadata = {
        "kind": KIND,
        "options": model.options | trained,
        "alphabet": model.alphabet.recorded,
        "text": {"name": text.name, "files": text.files, "crc32": text.crc32},
    }
    length = minutes or (epochs or 0) * windows_of(text, T, B)
    schedule = schedules.warmup(WARMUP * length, then=schedules.cosine((1.0 - WARMUP) * length))
    history = fit(
        model.model,
        losses.cross_entropy,
        streams(text.training, B),
        optim.Adam(model.model.parameters(), lr=lr),
        epochs=epochs,
        minutes=minutes,
        batch_size=None,
        shuffle=False,
        truncate=(T, T),
        validation=_validation(text, T) if validate else None,
        schedule=schedules.in_minutes(schedule) if minutes else schedule,
        clip_norm=CLIP_NORM,
        checkpoint=checkpoint,
        metadata=metadata,
        resume=resume,
        describe=_describe(text.alphabet.short),
        progress=progress,
        rng=model.options.get("seed"),
    )
    model.metadata = metadata
    return history


def check_converged(model: TextModel, history: History) -> None:
    """Raise an error if a training ended worse than a guess.

    Parameters
    ----------
    model : TextModel
    history : History
        Of the training of this model.

    Raises
    ------
    FloatingPointError
        If the last epoch's loss is more than one bit per symbol above that of a uniform guess.
    TypeError
        If an argument is of the wrong kind.

    Examples
    --------
    >>> import rnnfast as rf
    >>> model = rf.text.build(rf.text.Characters("abc"), cell="rnn", hidden=4, rng=0)
    >>> history = rf.training.History()
    >>> history.loss.append(5.0)
    >>> rf.text.check_converged(model, history)
    Traceback (most recent call last):
    ...
    FloatingPointError: the last epoch's loss is 7.213 bits/char, a uniform guess over 4 symbols has 2.000
    """
    checks.instance("model", model, TextModel)
    checks.instance("history", history, History)
    bits = history.loss[-1] / math.log(2) if history.loss else 0.0
    guess = math.log2(len(model.alphabet))
    if bits > guess + 1.0:
        raise FloatingPointError(
            f"the last epoch's loss is {fixed(bits)} bits/{model.alphabet.short}, a uniform guess over "
            f"{len(model.alphabet):,} symbols has {guess:.3f}"
        )


def symbols_needed(seq_len: int, batch: int) -> int:
    """How many symbols a text needs for one truncation window of all sequences."""
    return batch * seq_len + 1


def windows_of(text: Text, seq_len: int, batch: int) -> int:
    """How many truncation windows, each with an update, an epoch has."""
    steps = (len(text.training) - 1) // batch
    return -(-steps // seq_len)


def _check_model(model: Any, text: Any) -> None:
    checks.instance("model", model, TextModel)
    checks.instance("text", text, Text)
    if not text.alphabet.same_as(model.alphabet):
        raise ValueError(
            f"text: expected one in the model's alphabet of {len(model.alphabet):,} {model.alphabet.unit}s, "
            f"got another of {len(text.alphabet):,} {text.alphabet.unit}s; read it with "
            "symbols=model.alphabet"
        )


def _validation(text: Text, seq_len: int) -> tuple[Any, Any]:
    held_out = text.held_out_from_before
    return streams(held_out, max(1, min(VALIDATION_SEQUENCES, len(held_out) // seq_len)))


def _describe(unit: str) -> Callable[[Run], str]:
    def describe(run: Run) -> str:
        bits, rate = run.mean / math.log(2), run.rate / 1000
        text = f"loss {fixed(run.mean, 2)}  {fixed(bits)} bits/{unit}  {rate:.1f}k {unit}s/s"
        return text if run.validation is None else f"{text}  held out {fixed(run.validation / math.log(2))}"

    return describe
