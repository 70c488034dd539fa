"""The text by which a call of an operator names its layer, such as ``GRU(input_size=3, hidden_size=4)``.

A graph keeps this text: torch.compile's, and the file that torch.export saves.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

import rnnfast
from rnnfast import checks
from rnnfast.recurrent import Recurrent
from rnnfast.torch.memory import layer_over

__all__ = ["Named", "named", "text_of"]

_FLOAT32 = np.dtype("float32")
_NUMBERS = ("dropout", "cell_clip", "forget_bias", "checkpoint")
_WORDS = {"True": True, "False": False, "None": None}
_KINDS = {"RNN": rnnfast.RNN, "LSTM": rnnfast.LSTM, "GRU": rnnfast.GRU}


class Named(NamedTuple):
    """What a text names.

    Attributes
    ----------
    layer : Recurrent
        With zeros for weights, which take no memory and which nobody reads.
    step : bool
        Whether it is a cell.
    precision : str
        Of the products.
    checkpoint : int, bool or None
        The layer's keyword.
    """

    layer: Recurrent
    step: bool
    precision: str
    checkpoint: bool | int | None


def text_of(kind: str, options: Mapping[str, Any]) -> str:
    """The text for a layer or a cell (``GRUCell``) with these options.

    torch.compile traces this function. It takes numbers for variables, and their ``hex()`` for constants.
    """
    words = []
    for name, value in options.items():
        number = name in _NUMBERS and value is not None and not isinstance(value, bool)
        words.append(name + "=" + (float(value).hex() if number else f"{value}"))
    return kind + "(" + ", ".join(words) + ")"


@lru_cache(maxsize=256)
def named(text: str) -> Named:
    """What a text names.

    Raises
    ------
    ValueError
        If it is no text of `text_of`.
    """
    kind, _, rest = text.partition("(")
    name = kind.removesuffix("Cell")
    try:
        options = dict(_option(word) for word in rest.removesuffix(")").split(", "))
        precision = checks.precision("matmul_precision", options.pop("matmul_precision"), _FLOAT32)
        checkpoint = checks.checkpoint(options.pop("checkpoint", None))
        layer = _KINDS[name](rng=0, **options)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"layer: expected such as 'GRU(input_size=3, …)', got {text!r}: {error}") from error
    zeros = [np.broadcast_to(_FLOAT32.type(0), parameter.shape) for parameter in layer.parameters()]
    return Named(layer_over(layer, zeros), name != kind, precision, checkpoint)


def _option(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    if value in _WORDS:
        return name, _WORDS[value]
    if name in _NUMBERS:
        number = float.fromhex(value)
        return name, int(number) if name == "checkpoint" and number.is_integer() else number
    return name, int(value) if value.isdecimal() else value
