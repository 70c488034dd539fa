"""The networks of text models: they read the numbers of symbols and give logits of the next symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnfast import checks
from rnnfast.nn import Dropout, Embedding, Linear, Sequential
from rnnfast.recurrent import GRU, LSTM, RNN, SLSTM, MinGRU, MinLSTM
from rnnfast.text.window import window_model

__all__ = ["CELLS", "NOISE", "REGULARIZED", "name_of", "network", "parameters_at_least"]

RECURRENT = {"rnn": RNN, "mingru": MinGRU, "minlstm": MinLSTM, "gru": GRU, "lstm": LSTM, "slstm": SLSTM}
CELLS = ("window", *RECURRENT)
NOISE = ("zoneout", "recurrent_dropout", "weight_dropout")
REGULARIZED = ("rnn", "gru", "lstm")  # the cells that take NOISE and layer normalization
EMBEDDING = 64  # size of a symbol's vector


def network(symbols: int, options: Mapping[str, Any]) -> Sequential:
    """Embedding, dropout, recurrent layers, dropout, and a linear layer.

    The cell "window" has no recurrent layers. It has tanh layers on a window of the last symbols, each with
    dropout after it.

    Parameters
    ----------
    symbols : int
        V, the size of the alphabet.
    options : mapping
        "cell", "window", "hidden", "layers", "dropout", "zoneout", "recurrent_dropout", "weight_dropout",
        "layer_norm" and "seed", as for :func:`rnnfast.text.build`.

    Returns
    -------
    Sequential
        From integers [T, B] to logits [T, B, V].
    """
    rng = np.random.default_rng(options["seed"])
    cell, hidden, layers, dropout = (options[name] for name in ("cell", "hidden", "layers", "dropout"))
    if cell == "window":
        keywords = {"hidden": hidden, "layers": layers, "dropout": dropout}
        return window_model(symbols, options["window"], embedding=EMBEDDING, rng=rng, **keywords)
    recurrent = RECURRENT[cell]
    names = (*NOISE, "layer_norm") if cell in REGULARIZED else ()
    further = {name: options[name] for name in names}
    return Sequential(
        Embedding(symbols, EMBEDDING, rng=rng),
        Dropout(dropout, rng=rng),
        recurrent(EMBEDDING, hidden, layers, dropout=dropout if layers > 1 else 0.0, rng=rng, **further),
        Dropout(dropout, rng=rng),
        Linear(hidden, symbols, rng=rng),
    )


def parameters_at_least(symbols: int, options: Mapping[str, Any]) -> int:
    """A lower bound of the parameters of :func:`network`, before it takes any memory.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the options lack one, or one is of the wrong kind or out of range.
    """
    cell = checks.one_of("cell", options["cell"], CELLS)
    window, hidden, layers = (checks.positive(name, options[name]) for name in ("window", "hidden", "layers"))
    without_recurrent_weight = ("mingru", "minlstm")
    width = (
        EMBEDDING * window if cell == "window" else EMBEDDING if cell in without_recurrent_weight else hidden
    )
    return hidden * (width + hidden * (layers - 1) + symbols)


def name_of(options: Mapping[str, Any]) -> str:
    """The name of a network with these options, as tables print it."""
    layers = "" if options["layers"] == 1 else f"{options['layers']} layers of "
    window = options["cell"] == "window"
    cell = f"window of {options['window']}" if window else RECURRENT[options["cell"]].__name__
    return f"{cell}, {layers}{options['hidden']} units"
