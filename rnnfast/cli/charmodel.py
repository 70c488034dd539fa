"""The character model that `train` trains and `sample` reads: its layers, its checkpoint, its sampling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.cli.errors import CommandError
from rnnfast.cli.text import Alphabet
from rnnfast.training.checkpoint import model_arrays, read_checkpoint

__all__ = ["CELLS", "KIND", "build", "generate", "load"]

KIND = "character model"  # metadata["kind"] of the checkpoints that belong to this command
CELLS = ("rnn", "gru", "lstm")
EMBEDDING = 64  # size of the vector that stands for a character


def build(
    symbols: int, *, cell: str, hidden: int, layers: int, dropout: float = 0.0, seed: int = 0
) -> rf.Sequential:
    """Embedding, dropout, recurrent layers, dropout, and a linear layer that gives a logit for each symbol.

    Parameters
    ----------
    symbols : int
        Size of the alphabet.
    cell : {"rnn", "gru", "lstm"}
        The recurrent cell.
    hidden, layers : int
        Units of a recurrent layer, and how many layers stand on one another.
    dropout : float
        Rate of dropout after the embedding, between the layers, and after them.
    seed : int
        Of the weights and the masks.

    Returns
    -------
    Sequential
        From integers [T, B] to logits [T, B, symbols].
    """
    rng = np.random.default_rng(seed)
    recurrent = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}[cell]
    return rf.Sequential(
        rf.Embedding(symbols, EMBEDDING, rng=rng),
        rf.Dropout(dropout, rng=rng),
        recurrent(EMBEDDING, hidden, layers, dropout=dropout if layers > 1 else 0.0, rng=rng),
        rf.Dropout(dropout, rng=rng),
        rf.Linear(hidden, symbols, rng=rng),
    )


def load(path: str) -> tuple[rf.Sequential, Alphabet, dict[str, Any]]:
    """The model, its alphabet and the metadata of a checkpoint that `rnnfast train` wrote.

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
    if metadata.get("kind") != KIND:
        raise CommandError(f"{path}: an rnnfast checkpoint, but not one of `rnnfast train`")
    try:
        alphabet = Alphabet(metadata["alphabet"])
        options = metadata["options"]
        model = build(
            len(alphabet),
            seed=options["seed"],
            **{name: options[name] for name in ("cell", "hidden", "layers", "dropout")},
        )
        model.load_state_dict(model_arrays(arrays))
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{path}: damaged: {error}") from None
    return model, alphabet, metadata


def generate(
    model: rf.Sequential,
    alphabet: Alphabet,
    *,
    prompt: str = "",
    length: int = 300,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """Characters that the model draws one after the other, each from its distribution given all before it.

    Parameters
    ----------
    model, alphabet
        As `load` gives them.
    prompt : str
        What the model reads first; when empty, a newline (or the alphabet's first character).
    length : int
        How many characters to draw.
    temperature : float
        Divides the logits: below 1 safer, above 1 wilder, 0 always the likeliest character.
    top_k : int, optional
        Draw among the k likeliest characters only.
    seed : int, optional
        The same seed, the same characters.

    Yields
    ------
    str
        One character.
    """
    characters = alphabet.characters
    prompt = prompt or ("\n" if "\n" in characters else characters[0])
    rng = np.random.default_rng(seed)
    step = model.stream()
    for symbol in alphabet.encode(prompt):
        logits = step(symbol[None])
    for _ in range(length):
        drawn = _draw(logits[0, : len(characters)].astype(np.float64), temperature, top_k, rng)
        yield characters[drawn]
        logits = step(np.array([drawn]))


def _draw(logits: np.ndarray, temperature: float, top_k: int | None, rng: np.random.Generator) -> int:
    if temperature == 0.0:
        return int(logits.argmax())
    if top_k is not None and top_k < len(logits):
        logits = np.where(logits >= np.partition(logits, -top_k)[-top_k], logits, -np.inf)
    p = np.exp((logits - logits.max()) / temperature)
    return int(rng.choice(len(p), p=p / p.sum()))
