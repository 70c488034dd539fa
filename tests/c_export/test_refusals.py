"""What cannot be exported is refused with an error that names it, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import fails

import rnnfast as rf
from rnnfast.cli.main import main
from rnnfast.nn import Module


class Mine(rf.GRU):
    """A layer of a user, which may compute something else."""


def overflowing(module: Module, *names: str) -> Module:
    """A layer whose parameters of these names are finite, but their sum is not."""
    for name, parameter in module.named_parameters():
        if name in names:
            parameter.data[1] = 3e38
    return module


def damaged() -> Module:
    """A model that diverged."""
    model = rf.Linear(2, 3, rng=0)
    model.weight.data[1, 1] = np.inf
    return model


REFUSED: dict[str, tuple[Module, str]] = {
    "two directions": (
        rf.Sequential(rf.Linear(2, 3), rf.GRU(3, 4, bidirectional=True)),
        "model: GRU at 1: expected one direction, got bidirectional=True",
    ),
    "float64": (rf.GRU(3, 4, dtype="float64"), "model: GRU: expected float32, got weight_ih_l0 in float64"),
    "a module without steps": (rf.Sequential(rf.GRU(3, 4), rf.Last()), "model: expected .*, got Last at 1"),
    "a module of a user": (rf.Residual(Mine(3, 3)), "model: expected .*, got Mine at module"),
    "no finite numbers": (damaged(), "model: Linear: expected finite numbers, got others in weight"),
    "a sum of biases": (
        rf.Sequential(rf.Linear(2, 3), overflowing(rf.GRU(3, 4, rng=0), "bias_ih_l0", "bias_hh_l0")),
        "model: GRU at 1: expected a finite sum bias_ih_l0 [+] bias_hh_l0, got an overflow",
    ),
    "a sum of shifts": (
        overflowing(rf.LSTM(3, 4, 2, layer_norm=True, rng=0), "ln_ih_bias_l1", "bias_hh_l1"),
        "model: LSTM: expected a finite sum .*ln_ih_bias_l1.*, got an overflow",
    ),
    "no sizes": (rf.ReLU(), "model: expected a module that says how many numbers x has"),
    "sizes": (
        rf.Sequential(rf.Linear(2, 3), rf.GRU(4, 4)),
        "model: GRU at 1: expected x of 4 numbers, got 3",
    ),
    "sizes of a sum": (rf.Residual(rf.Linear(2, 3)), "model: Residual: expected y of x's 2 numbers, got 3"),
    "a token for numbers": (
        rf.Parallel(rf.Embedding(3, 2), rf.Linear(3, 2)),
        "model: Linear at 1: expected floats as its input, got a token",
    ),
    "numbers for a token": (
        rf.Sequential(rf.Linear(2, 3), rf.Embedding(3, 2)),
        "model: Embedding at 1: expected a token as its input, got floats",
    ),
    "an embedding that is not the first": (
        rf.Sequential(rf.Dropout(0.1), rf.Embedding(3, 2)),
        "model: Embedding at 1: expected a token as its input, got floats; an Embedding must come first",
    ),
    "a sum with a token": (
        rf.Residual(rf.Embedding(3, 2)),
        "model: Residual: expected a module that reads floats, got Embedding at module, which reads a token",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_models(tmp_path: Path, case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        rf.export_c(model, tmp_path / "model.h")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"name": "3d"},
            ValueError,
            "name: expected letters, digits and underscores, a letter first, got '3d'",
        ),
        ({"name": "größe"}, ValueError, "name: expected letters, digits and underscores"),
        ({"name": "a b"}, ValueError, "name: expected letters, digits and underscores"),
        ({"name": 3}, TypeError, "name"),
        (
            {"matmul_precision": "float16"},
            ValueError,
            "matmul_precision: expected one of float32, bfloat16, int8",
        ),
    ],
)
def test_arguments(tmp_path: Path, keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rf.export_c(rf.GRU(3, 4), tmp_path / "model.h", **keywords)
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model: expected a Module"):
        rf.export_c({}, tmp_path / "model.h")
    with pytest.raises(ValueError, match="got 'my-model', which the file's name gives"):
        rf.export_c(rf.GRU(3, 4), tmp_path / "my-model.h")


def test_an_old_header_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.h"
    path.write_text("old")
    with pytest.raises(ValueError, match="float64"):
        rf.export_c(rf.GRU(3, 4, dtype="float64"), path)
    assert path.read_text() == "old"
    rf.export_c(rf.GRU(3, 4), path)
    assert path.read_text().startswith("/* A model of rnnfast")


def test_the_model_keeps_its_precision(tmp_path: Path) -> None:
    model = rf.GRU(3, 4, rng=0)
    rf.export_c(model, tmp_path / "model.h", matmul_precision="int8")
    assert model.matmul_precision == "float32"
    assert "model_product_int8" in (tmp_path / "model.h").read_text()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    alphabet = rf.text.Characters("abcdef ")
    rf.text.build(alphabet, cell="gru", hidden=8, rng=0).save(folder / "text.npz")
    rf.text.build(alphabet, cell="window", hidden=8, rng=0).save(folder / "window.npz")
    return folder / "text.npz"


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = tmp_path / "letters.h"
    assert main(["export", str(checkpoint), "--c", str(header), "--matmul-precision", "int8"]) == 0
    assert (
        "GRU, 8 units; a step reads a number of 0 to 7 (a character) and writes 8 logits"
        in capsys.readouterr().out
    )
    text = header.read_text()
    assert "enum { letters_tokens = 8, letters_outputs = 8 };" in text
    assert "letters_product_int8" in text


def test_the_command_refuses(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = tmp_path / "model.h"
    window = checkpoint.with_name("window.npz")
    assert "window.npz: model: expected" in fails(capsys, "export", window, "--c", header)
    assert "--name: expected letters" in fails(capsys, "export", checkpoint, "--c", header, "--name", "a-b")
    assert "is the same file as" in fails(capsys, "export", checkpoint, "--c", checkpoint)
    assert "its folder does not exist" in fails(
        capsys, "export", checkpoint, "--c", tmp_path / "none" / "model.h"
    )
    assert "No such file" in fails(capsys, "export", "missing.npz", "--c", header)
    assert not header.exists()
