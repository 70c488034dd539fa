"""What a header's text has: no line without end, only what the model needs, and the bytes of its weights."""

from __future__ import annotations

from pathlib import Path

import rnnfast as rf
from rnnfast.nn import Module


def text_of(model: Module, folder: Path) -> str:
    """The header of a model."""
    rf.export_c(model, folder / "model.h")
    return (folder / "model.h").read_text()


def test_the_comment_of_a_large_model_is_wrapped(tmp_path: Path) -> None:
    text = text_of(rf.Sequential(*(rf.Linear(2, 2, rng=0) for _ in range(20))), tmp_path)
    comment = text.partition("*/")[0]
    assert comment.count("Linear(2, 2") == 20
    assert max(map(len, comment.splitlines())) <= 120


def test_only_nonlinearities_that_need_it_have_the_exponential(tmp_path: Path) -> None:
    for kind, needs in (("relu", False), ("identity", False), ("tanh", True), ("sigmoid", True)):
        for layer in (rf.RNN, rf.IndRNN):
            text = text_of(layer(2, 3, nonlinearity=kind, rng=0), tmp_path)
            assert ("model_expm1" in text) == needs, (layer, kind)


def test_bytes_of_weights_are_those_of_the_model(tmp_path: Path) -> None:
    """The coefficients of a GELU are no weights, and are there once."""
    text = text_of(rf.Sequential(rf.Linear(2, 3, rng=0), rf.GELU(), rf.GELU()), tmp_path)
    assert "no allocation, 36 bytes of weights" in text
    assert text.count("float model_small_above[5]") == 1
