"""Files as exporters write them: their layers come back to the bit, and they run, small and large."""

from __future__ import annotations

import contextlib
import io
import logging
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
import rnnfast.onnx  # noqa: E402
from rnnfast.onnx import recurrence  # noqa: E402
from rnnfast.onnx.weights import from_onnx  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def exported(module: Any, path: Any, *inputs: Any, **options: Any) -> Any:
    """The file that torch's default exporter writes of a module."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(module.eval(), inputs, path, verbose=False, **options)
    return path


def recurrent(kind: str, I: int, H: int, L: int = 1, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(I, H, L, **options)


def assert_weights_of_torch(layer: Any, module: Any) -> None:
    mine, theirs = layer.state_dict(), module.state_dict()
    if not any(name.startswith("bias") for name in theirs):  # the exporter writes zeros
        assert all(not array.any() for name, array in mine.items() if name.startswith("bias"))
        mine = {name: array for name, array in mine.items() if not name.startswith("bias")}
    assert mine.keys() == theirs.keys()
    for name, array in theirs.items():
        assert np.array_equal(mine[name], array.numpy()), name


def torch_outputs(module: Any, x: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        y, state = module(torch.from_numpy(x))
    return [array.numpy() for array in (y, *(state if isinstance(state, tuple) else (state,)))]


SHAPES = {
    "small": (3, 4, 1, {}),
    "just-folded": (8, 45, 1, {}),
    "just-not-folded": (8, 46, 1, {}),
    "large": (64, 64, 2, {}),
    "both-directions": (48, 72, 2, {"bidirectional": True}),
    "no-bias": (16, 64, 2, {"bias": False}),
    "no-bias-small": (3, 4, 1, {"bias": False}),
    "batch-first": (32, 64, 2, {"batch_first": True, "bidirectional": True}),
}


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])  # of an RNN it writes no node, but each step
@pytest.mark.parametrize("name", SHAPES)
def test_files_of_the_default_exporter(kind, name, tmp_path):
    I, H, L, options = SHAPES[name]
    module = recurrent(kind, I, H, L, **options)
    x = normal(3, 4, I)
    path = exported(module, tmp_path / "model.onnx", torch.from_numpy(x))
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert layer.num_layers == L
    assert_weights_of_torch(layer, module)
    prepared = rnnfast.onnx.prepare(path)
    assert set(prepared.paths.values()) == {"kernels"}
    for got, want in zip(prepared.run([x]), torch_outputs(module, x), strict=True):
        assert got.flags.c_contiguous
        np.testing.assert_allclose(got, want, 1e-5, 2e-6)


@pytest.mark.parametrize(
    ("kind", "options"), [("LSTM", {}), ("GRU", {"bidirectional": True, "batch_first": True})]
)
def test_dynamic_axes_leave_a_stack_one_layer(kind, options, tmp_path):
    module = recurrent(kind, 8, 48, 2, **options)
    auto = torch.export.Dim.AUTO
    path = exported(
        module, tmp_path / "model.onnx", torch.randn(3, 5, 8), dynamic_shapes=({0: auto, 1: auto},)
    )
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert layer.num_layers == 2
    assert_weights_of_torch(layer, module)
    x = normal(*((6, 4, 8) if options else (3, 7, 8)))  # the exporter fixes T where it comes first
    for got, want in zip(rnnfast.onnx.prepare(path).run([x]), torch_outputs(module, x), strict=True):
        np.testing.assert_allclose(got, want, 1e-5, 2e-6)


def test_weights_of_the_default_exporter_are_made_ready_once(tmp_path, monkeypatch):
    path = exported(recurrent("LSTM", 16, 64, 2), tmp_path / "model.onnx", torch.randn(1, 1, 16))
    ready = []

    def counted(node, weights, direction):
        ready.append(direction)
        return from_onnx(node, weights, direction)

    monkeypatch.setattr(recurrence, "from_onnx", counted)
    prepared = rnnfast.onnx.prepare(path)
    for _ in range(3):
        prepared.run([normal(1, 1, 16)])
    assert ready == [0, 0]


def test_weights_beside_the_file_of_the_default_exporter(tmp_path):
    module = recurrent("GRU", 16, 64)
    path = exported(module, tmp_path / "model.onnx", torch.randn(2, 1, 16), external_data=True)
    assert (tmp_path / "model.onnx.data").stat().st_size > 0
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert_weights_of_torch(layer, module)


def test_a_projection_has_no_layer_and_no_run(tmp_path):
    module = recurrent("LSTM", 8, 16, proj_size=4)
    path = exported(module, tmp_path / "model.onnx", torch.randn(2, 3, 8))
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"model\.onnx: node .*initial_c: expected shape"):
            read(path)
