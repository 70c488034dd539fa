"""Model files for the tests of the ONNX bridge: written, and changed in place."""

from __future__ import annotations

from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402


def saved_model(tmp_path, model) -> Any:
    """The file of a model."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def gru_file(tmp_path) -> Any:
    """A file of two GRU layers and a linear one."""
    path = tmp_path / "gru.onnx"
    rnnfast.onnx.export(rf.Sequential(rf.GRU(2, 3, num_layers=2, rng=0), rf.Linear(3, 2, rng=0)), path)
    return path


def changed_file(path: Any, change: Any) -> Any:
    """The file with its model changed in place."""
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path
