"""Weights in safetensors files: round trips, PyTorch's own files, and files that do not fit."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.memory import assert_row_order
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf

pytest.importorskip("safetensors")

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rnnfast import safetensors


def lstm_and_linear(rng: int = 0) -> rf.Sequential:
    return rf.Sequential(rf.LSTM(2, 3, bidirectional=True, rng=rng), rf.Linear(6, 4, rng=rng + 1))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model, other = lstm_and_linear(), lstm_and_linear(7)
    other.matmul_precision = "bfloat16"
    safetensors.save(path, model, metadata={"a": "b"})
    assert os.listdir(tmp_path) == [path.name]
    assert load_file(path).keys() == model.state_dict().keys()
    assert safetensors.load(path, other) == {"a": "b"}
    assert_equal(other.state_dict(), model.state_dict())
    assert other.matmul_precision == "bfloat16"  # a safetensors file says nothing of it


def test_a_layer_out_of_a_larger_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    layer, other = rf.GRU(2, 3, rng=0), rf.GRU(2, 3, rng=1)
    entries = {f"encoder.gru.{name}": array for name, array in layer.state_dict().items()}
    save_file({**entries, "head.weight": np.ones((2, 2), np.int8)}, path)
    assert safetensors.load(path, other, prefix="encoder.gru.") == {}
    assert_equal(other.state_dict(), layer.state_dict())
    safetensors.save(tmp_path / "again.safetensors", layer, prefix="encoder.gru.")
    assert load_file(tmp_path / "again.safetensors").keys() == entries.keys()


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_are_cast(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "model.safetensors"
    weights = {name: array.astype(dtype) for name, array in lstm_and_linear().state_dict().items()}
    save_file(weights, path)
    model = lstm_and_linear(5)
    safetensors.load(path, model)
    assert_equal(model.state_dict(), {name: array.astype("float32") for name, array in weights.items()})


class InColumnOrder(rf.LSTM):
    """A layer that hands out arrays of other orders than rows first."""

    def state_dict(self) -> dict[str, np.ndarray]:
        arrays = {name: np.asfortranarray(array) for name, array in super().state_dict().items()}
        arrays["bias_ih_l0"] = np.repeat(arrays["bias_ih_l0"], 2)[::2]
        return arrays


def test_arrays_of_any_order_are_written(tmp_path: Path) -> None:
    model, other = InColumnOrder(2, 3, rng=0), rf.LSTM(2, 3, rng=1)
    assert not all(array.flags.c_contiguous for array in model.state_dict().values())
    safetensors.save(tmp_path / "model.safetensors", model)
    safetensors.load(tmp_path / "model.safetensors", other)
    assert_equal(model.state_dict(), other.state_dict())
    assert_equal(model.state_dict(), load_file(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("spaces", range(4))
def test_numbers_at_any_place_of_a_file_are_read(tmp_path: Path, spaces: int) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.save(path, lstm_and_linear(3))
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + length] + b" " * spaces
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    model = lstm_and_linear()
    safetensors.load(path, model)
    assert_equal(model.state_dict(), lstm_and_linear(3).state_dict())
    assert_row_order(model.state_dict())
    assert all(parameter.data.flags.aligned for parameter in model.parameters())


def test_a_file_of_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    path = tmp_path / "model.safetensors"
    lstm = torch.nn.LSTM(2, 3, num_layers=2)
    save_torch(lstm.state_dict(), path)
    layer = rf.LSTM(2, 3, num_layers=2)
    safetensors.load(path, layer)
    x = np.random.default_rng(0).standard_normal((4, 1, 2)).astype(np.float32)
    want = lstm(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(layer(x)[0], want, atol=1e-6)


def changed_entries(entries: dict[str, np.ndarray], **changes: Any) -> dict[str, np.ndarray]:
    """The entries with some replaced; None leaves one out. "__" means a dot."""
    entries = {**entries, **{name.replace("__", "."): array for name, array in changes.items()}}
    return {name: array for name, array in entries.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"1__bias": None}, "expected an entry 1.bias, got none"),
        ({"1__bias": np.zeros(5, np.float32)}, r"1\.bias: expected shape \(4,\), got \(5,\)"),
        ({"1__bias": np.zeros(4, np.int32)}, r"1\.bias: expected floats, got I32"),
        ({"more": np.zeros(4, np.float32)}, "more: expected only the model's parameters"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(changed_entries(lstm_and_linear().state_dict(), **changes), path)
    model = lstm_and_linear(5)
    before = model.state_dict()
    with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
        safetensors.load(path, model)
    assert_equal(model.state_dict(), before)


def test_wrong_models_and_paths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.save(path, lstm_and_linear())
    with pytest.raises(
        ValueError, match=r"^prefix: expected one that names in .* begin with, got 'encoder.'"
    ):
        safetensors.load(path, lstm_and_linear(), prefix="encoder.")
    with pytest.raises(FileNotFoundError):
        safetensors.load(tmp_path / "none.safetensors", lstm_and_linear())
    with pytest.raises(ValueError, match=r"^model: expected at least one parameter, got Dropout without any"):
        safetensors.save(tmp_path / "empty.safetensors", rf.Dropout(0.5))
    assert not (tmp_path / "empty.safetensors").exists()
    with pytest.raises(IsADirectoryError):
        safetensors.load(tmp_path, lstm_and_linear())
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match=r"expected a regular file: .*pipe"):
            safetensors.load(tmp_path / "pipe", lstm_and_linear())
    for call in (safetensors.load, safetensors.save):
        with pytest.raises(TypeError, match=r"^path: expected the name of a file"):
            call(0, lstm_and_linear())  # type: ignore[operator]
        with pytest.raises(TypeError, match=r"^model: expected a Module, got dict"):
            call(path, {"encoder": lstm_and_linear()})  # type: ignore[operator]
    with pytest.raises(TypeError, match=r"^metadata: expected text by text, got 'epochs': 3"):
        safetensors.save(path, lstm_and_linear(), metadata={"epochs": 3})  # type: ignore[dict-item]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_value_errors(tmp_path_factory: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    weights = data.draw(st.sampled_from(["float32", "bfloat16", "int8"]), "weights")
    safetensors.save(path, lstm_and_linear(), weights=weights)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1), "length") :]
    else:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        name = data.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})), "entry")
        header[name][data.draw(st.sampled_from(["shape", "data_offsets"]), "field")] = [2**62, 2**62]
        text = json.dumps(header).encode()
        content[: 8 + length] = struct.pack("<Q", len(text)) + text
    path.write_bytes(content)
    model = lstm_and_linear(3)
    before = model.state_dict()
    with pytest.raises(ValueError, match="expected"):
        safetensors.load(path, model)
    assert_equal(model.state_dict(), before)


# ---- fewer bits


def test_safetensors_itself_reads_files_with_any_text(tmp_path: Path) -> None:
    path, model, texts = tmp_path / "model.safetensors", lstm_and_linear(), {"a": 'b"ä\n', "": "\\u0041"}
    safetensors.save(path, model, metadata=texts, prefix='"ö".')
    assert_equal(load_file(path), {f'"ö".{name}': array for name, array in model.state_dict().items()})
    with safe_open(path, framework="np") as file:
        assert file.metadata() == texts


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_narrow_weights_are_those_of_a_checkpoint(tmp_path: Path, weights: str) -> None:
    model, ours, theirs = (lstm_and_linear(seed) for seed in (0, 3, 5))
    safetensors.save(tmp_path / "a", model, weights=weights, prefix="net.")
    rf.save(tmp_path / "b", model, weights=weights)
    model.matmul_precision = ours.matmul_precision = "bfloat16"
    safetensors.load(tmp_path / "a", ours, prefix="net.")
    rf.load(tmp_path / "b", theirs)
    assert_equal(ours.state_dict(), theirs.state_dict())
    assert_row_order(ours.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 1, 2)).astype(np.float32)
    assert np.array_equal(ours(x)[0], model(x)[0]) == (weights == "bfloat16")


def test_int8_is_two_entries_and_bfloat16_one(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    linear = rf.Linear(3, 2, rng=0)
    safetensors.save(path, linear, weights="int8")
    entries = load_file(path)
    assert {name: (array.dtype.name, array.shape) for name, array in entries.items()} == {
        "weight": ("int8", (2, 3)),
        "weight.max": ("float32", (2,)),
        "bias": ("float32", (2,)),
    }
    assert_equal(entries["weight.max"], np.abs(linear.weight.data).max(axis=1))
    safetensors.save(path, linear, weights="bfloat16")
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    header = json.loads(path.read_bytes()[8 : 8 + length])
    assert {name: entry["dtype"] for name, entry in header.items()} == {"weight": "BF16", "bias": "F32"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_files_in_bfloat16_go_to_and_come_from_pytorch(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    path = tmp_path / "model.safetensors"
    theirs = torch.nn.LSTM(2, 3).bfloat16()
    save_torch({"other": torch.ones(5), **theirs.state_dict()}, path)  # what is before them in the file
    layer = rf.LSTM(2, 3, dtype=dtype)
    with pytest.raises(ValueError, match="other: expected only"):
        safetensors.load(path, layer)
    save_torch(
        {f"lstm.{name}": array for name, array in theirs.state_dict().items()} | {"z": torch.ones(5)}, path
    )
    safetensors.load(path, layer, prefix="lstm.")
    for name, array in theirs.state_dict().items():
        assert_equal(layer.state_dict()[name], array.double().numpy().astype(dtype))
    if dtype == "float32":
        safetensors.save(path, layer, weights="bfloat16")
        assert torch.equal(load_torch(path)["weight_hh_l0"], theirs.weight_hh_l0)


def test_int8_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.save(path, lstm_and_linear(), weights="int8")
    entries = load_file(path)
    for change, message in (
        ({"1__weight__max": None}, r"1\.weight: expected floats, got I8 \(without an entry 1\.weight\.max\)"),
        ({"1__weight__max": np.ones(3, np.float32)}, r"1\.weight\.max: expected shape \(4,\), got \(3,\)"),
        ({"1__weight__max": np.ones(4)}, r"1\.weight\.max: expected F32, got F64"),
        ({"1__weight__max": np.full(4, np.nan, np.float32)}, r"1\.weight: expected finite maxima"),
        ({"1__weight": np.full((4, 6), -128, np.int8)}, r"1\.weight: expected integers from -127"),
        ({"1__weight": np.ones((6, 4), np.int8)}, r"1\.weight: expected shape \(4, 6\), got \(6, 4\)"),
        ({"1__bias__max": np.ones(4, np.float32)}, r"1\.bias\.max: expected only the model's parameters"),
    ):
        save_file(changed_entries(entries, **change), path)
        model = lstm_and_linear(5)
        with pytest.raises(ValueError, match=rf"model\.safetensors: {message}"):
            safetensors.load(path, model)
        assert_equal(model.state_dict(), lstm_and_linear(5).state_dict())


def test_narrow_files_refuse_what_checkpoints_refuse(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"^weights: expected one of float32, bfloat16, int8, got 'int4'"):
        safetensors.save(path, lstm_and_linear(), weights="int4")
    with pytest.raises(ValueError, match=r"^weights: expected 'float32' .* with float64, got 'int8'"):
        safetensors.save(path, rf.GRU(2, 3, dtype="float64"), weights="int8")
    assert not path.exists()
