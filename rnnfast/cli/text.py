"""Shared by `train` and `sample`: texts and models, whose errors become errors of the command."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from rnnfast.cli.errors import CommandError, Diverged
from rnnfast.text import Text, TextModel, build, check_converged, default_text, load, read_text, train
from rnnfast.text.alphabets import Alphabet
from rnnfast.text.network import NOISE, REGULARIZED
from rnnfast.training import History

__all__ = [
    "CHECKPOINT",
    "DEFAULTS",
    "build_model",
    "check_training",
    "load_model",
    "noise_of",
    "read",
    "train_model",
]

CHECKPOINT = "rnnfast-model.npz"  # the default path of a checkpoint
BUILT = ("cell", "window", "hidden", "layers", "dropout", *NOISE, "layer_norm")
TRAINED = ("seq_len", "batch", "lr", "epochs", "minutes")


def _defaults() -> dict[str, Any]:
    """The options that a checkpoint keeps, and the library's own values for them."""
    chosen: dict[str, Any] = {}
    for function, names in ((Text, ("symbols", "vocabulary")), (build, BUILT), (train, TRAINED)):
        keywords = inspect.signature(function).parameters
        chosen |= {name: keywords[name].default for name in names}
    return chosen | {"seed": 0, "matmul_precision": "float32"}


DEFAULTS = _defaults()


def read(files: Sequence[str], symbols: str | Alphabet, vocabulary: int | None) -> Text:
    """The text of these files; without any, the default text."""
    try:
        return read_text(files, symbols, vocabulary) if files else default_text(symbols, vocabulary)
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror or error}") from None
    except (ImportError, ValueError) as error:
        raise CommandError(str(error)) from None


def load_model(path: str) -> TextModel:
    """The model of a checkpoint."""
    try:
        return load(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise CommandError(str(error)) from None


def build_model(alphabet: Alphabet, chosen: dict[str, Any]) -> TextModel:
    """A new model with these options, as in `DEFAULTS`."""
    options = {name: chosen[name] for name in BUILT}
    if chosen["cell"] not in REGULARIZED:  # of `--compare`
        options |= {**dict.fromkeys(NOISE, 0.0), "layer_norm": False}
    model = build(alphabet, **options, rng=chosen["seed"])
    model.model.matmul_precision = chosen["matmul_precision"]
    return model


def noise_of(chosen: dict[str, Any]) -> str:
    """What is printed of zoneout, recurrent dropout, weight dropout and layer normalization."""
    norm = "; layer norm" if chosen["layer_norm"] else ""
    return norm + "".join(f"; {name.replace('_', ' ')} {chosen[name]:g}" for name in NOISE if chosen[name])


def train_model(
    model: TextModel,
    text: Text,
    chosen: dict[str, Any],
    *,
    validate: bool = True,
    output: str | None = None,
    resume: str | None = None,
) -> History:
    """Train a model with these options, as in `DEFAULTS`."""
    keywords = {name: chosen[name] for name in TRAINED}
    try:
        return train(model, text, **keywords, validate=validate, checkpoint=output, resume=resume)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from None
    except FloatingPointError as error:
        raise Diverged(f"training diverged: {error} (--lr)") from None
    except ValueError as error:
        if resume is None or not str(error).startswith(f"{resume}: "):
            raise
        raise CommandError(str(error)) from None


def check_training(model: TextModel, history: History) -> None:
    """Raise `Diverged` if the training made the model worse than a guess."""
    try:
        check_converged(model, history)
    except FloatingPointError as error:
        raise Diverged(f"training diverged: {error}; a lower --lr may help") from None
