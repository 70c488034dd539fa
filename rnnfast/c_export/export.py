"""A trained model as one C header."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rnnfast import checks
from rnnfast.c_export.header import header
from rnnfast.c_export.modules import Value, Writer
from rnnfast.c_export.refusals import check_modules, input_width, reads_tokens
from rnnfast.c_export.source import Source
from rnnfast.files import file_name, written_whole
from rnnfast.nn import Module

__all__ = ["export_c"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


def export_c(
    model: Module,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    matmul_precision: str | None = None,
) -> None:
    """Write a model as one C header that computes what its stream does, step by step.

    The header is C11 (and C++) without dependencies: no library, no allocation. The weights are in it. With
    the name "model", it has the struct ``model_state`` and three functions:

    - ``model_init(&state)`` before the first step,
    - ``model_step(&state, x, y)``, which reads ``x[model_inputs]`` and writes ``y[model_outputs]``,
    - ``model_reset(&state)`` before a new sequence.

    A model that begins with an `Embedding` reads a token: ``model_step(&state, token, y)`` returns 0, or -1
    if there is no such token; it does nothing then.

    Parameters
    ----------
    model : Module
        RNN, LSTM, GRU, IndRNN, MinGRU, MinLSTM or SLSTM in one direction, Linear, Embedding, LayerNorm, an
        activation, Dropout (which does nothing), or Sequential, Parallel and Residual of them. In float32.
    path : str or path-like
        The file, by convention ``*.h``. It is written whole or not at all.
    name : str, optional
        What all names in the header begin with, so that several headers fit into one program: letters, digits
        and underscores. By default the file's name without its suffix. In one program, no name may be
        another name plus "_" and more: "model" and "model_0" clash.
    matmul_precision : {"float32", "bfloat16", "int8"}, optional
        The precision of the weights in all products; by default each module's own. Weights
        take 4, 2 and 1 bytes each.

    Raises
    ------
    TypeError
        `model` is no module, or an argument is of the wrong kind.
    ValueError
        The model has what the header cannot have: another module, two directions, float64, numbers that are
        not finite, sizes that do not fit. Or `name` is no name of C, or `matmul_precision` is unknown.
        Nothing is written.
    OSError
        The file cannot be written.

    Notes
    -----
    Each step has the bits of ``model.stream()``, on any processor, unless a result is at the edge of
    underflow, or an option of the compiler relaxes IEEE arithmetic. Exceptions are the modules Tanh, Sigmoid,
    GELU and SiLU, which NumPy computes here: they differ by rounding. Where Sigmoid and SiLU are nearly
    zero, for x below -87, their absolute error is below 1e-36, but their relative error is not small.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> model = rf.Sequential(rf.GRU(3, 8, rng=0), rf.Linear(8, 2, rng=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gate.h")
    ...     rf.export_c(model, path)
    ...     text = open(path).read()
    >>> [line for line in text.splitlines() if "void gate_step(" in line]
    ['gate_APART void gate_step(gate_state *s, const float *x, float *y)']
    """
    checks.instance("model", model, Module)
    if matmul_precision is not None:
        checks.one_of("matmul_precision", matmul_precision, ("float32", "bfloat16", "int8"))
    prefix = _checked_name(name, path)
    check_modules(model)
    source = Source()
    token = reads_tokens(model)
    width = 0 if token else input_width(model)
    if not token and not width:
        raise ValueError(
            "model: expected a module that says how many numbers x has, such as Linear, got none"
        )
    result = Writer(source, matmul_precision).add(model, "", Value("token" if token else "x", width), "y")
    text = header(source, repr(model), width, result.width)
    with written_whole(path) as file:
        file.write(re.sub(r"\bNAME(?=_)", prefix, text).encode("ascii"))


def _checked_name(name: str | None, path: str | os.PathLike[str]) -> str:
    """The prefix of all names."""
    chosen = Path(file_name(path)).stem if name is None else checks.instance("name", name, str)
    if not _NAME.fullmatch(chosen):
        origin = f"{chosen!r}, which the file's name gives" if name is None else repr(chosen)
        raise ValueError(f"name: expected letters, digits and underscores, a letter first, got {origin}")
    return chosen
