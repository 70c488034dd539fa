"""Export to ONNX: what onnxruntime computes, names and shapes, what is refused, whole files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.memory import arrays_in

onnx = pytest.importorskip("onnx")

import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402

VARIANTS = {
    "rnn": (rf.RNN, {}),
    "rnn-relu": (rf.RNN, {"nonlinearity": "relu"}),
    "rnn-identity": (rf.RNN, {"nonlinearity": "identity"}),
    "gru": (rf.GRU, {}),
    "gru-reset-before": (rf.GRU, {"reset_after": False}),
    "lstm": (rf.LSTM, {}),
    "lstm-peephole": (rf.LSTM, {"peephole": True}),
    "lstm-coupled": (rf.LSTM, {"coupled_gates": True}),
    "lstm-both": (rf.LSTM, {"coupled_gates": True, "peephole": True}),
}


def assert_runs(path: Any, given: list[dict[str, np.ndarray]], wanted: list[Any]) -> None:
    """One session of onnxruntime, and `prepare`, give for each of `given` the (y, state) wanted."""
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    prepared = rnnfast.onnx.prepare(path)
    assert set(prepared.paths.values()) <= {"kernels"}
    for inputs, (y, state) in zip(given, wanted, strict=True):
        want = [y, *arrays_in(state)]
        for got in (session.run(None, inputs), prepared.run(inputs)):
            assert len(got) == len(want)
            for array, expected in zip(got, want, strict=True):
                assert array.shape == expected.shape
                assert array.dtype == expected.dtype
                np.testing.assert_allclose(array, expected, 1e-5, 2e-6)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("stack", [(1, False, False), (2, True, True)], ids=["one", "stack"])
def test_exported_layers_run_in_onnxruntime_and_load_again(name, stack, tmp_path):
    kind, options = VARIANTS[name]
    L, bidirectional, batch_first = stack
    layer = kind(
        3,
        5,
        L,
        bias=L > 1,
        bidirectional=bidirectional,
        batch_first=batch_first,
        dropout=0.3,
        rng=0,
        **options,
    )
    path = tmp_path / "layer.onnx"
    for states in (False, True):
        rnnfast.onnx.export(layer, path, states=states, lengths=L > 1)
        given, wanted = [], []
        for T, B in ((4, 2), (1, 1), (6, 3)):  # T and B are free
            x = normal(*((B, T) if batch_first else (T, B)), 3)
            lengths = {"lengths": np.arange(1, B + 1).clip(max=T).astype(np.int32)} if L > 1 else {}
            parts = {}
            if states:
                names = [f"{part}_0" for part in layer.parts]
                parts = {key: normal(L * (1 + bidirectional), B, 5, seed=n) for n, key in enumerate(names)}
            given.append({"x": x, **lengths, **parts})
            initial = tuple(parts.values()) or None
            wanted.append(layer(x, initial[0] if initial and len(initial) == 1 else initial, **lengths))
        assert_runs(path, given, wanted)
    ((_, loaded),) = rnnfast.onnx.load_layers(path).items()
    assert type(loaded) is kind
    assert loaded.dtype == np.float32
    for option in ("num_layers", "bidirectional", "bias", "input_size", "hidden_size", *options):
        assert getattr(loaded, option) == getattr(layer, option)
    weights = loaded.state_dict()
    assert weights.keys() == layer.state_dict().keys()
    for key, array in layer.state_dict().items():
        assert np.array_equal(weights[key], array), key


MODELS = {
    "tokens": lambda: rf.Sequential(rf.Embedding(7, 4, rng=0), rf.GRU(4, 5, rng=1), rf.Linear(5, 3, rng=2)),
    "nested": lambda: rf.Sequential(
        rf.Sequential(rf.LSTM(3, 4, num_layers=2, rng=0), rf.Dropout(0.5)), rf.RNN(4, 2, rng=1)
    ),
    "last": lambda: rf.Sequential(rf.LSTM(3, 4, rng=0), rf.Last(), rf.Linear(4, 2, bias=False, rng=1)),
    "last-of-both": lambda: rf.Sequential(
        rf.Linear(3, 4, rng=2),
        rf.GRU(4, 5, bidirectional=True, batch_first=True, rng=0),
        rf.Last(batch_first=True, bidirectional=True),
    ),
    "none-recurrent": lambda: rf.Sequential(rf.Dropout(0.5), rf.Linear(3, 2, rng=0)),
}


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_exported_models_run_in_onnxruntime(name, lengths, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(model, path, lengths=lengths)
    given, wanted = [], []
    for T, B in ((5, 2), (2, 3)):
        shape = (B, T) if name == "last-of-both" else (T, B)
        x = normal(*shape, 3)
        if name == "tokens":
            x = np.random.default_rng(0).integers(0, 7, shape)
        own = {"lengths": np.array([T, 1, 2][:B], np.int32)} if lengths else {}
        given.append({"x": x, **own})
        wanted.append(model(x, **own))
    assert_runs(path, given, wanted)


def test_names_and_shapes_are_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(MODELS["nested"](), path, states=True, lengths=True)
    graph = onnx.load(path).graph
    shapes = {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert list(shapes) == ["x", "lengths", "0.0.h_0", "0.0.c_0", "1.h_0", "y", "0.0.h_n", "0.0.c_n", "1.h_n"]
    assert (shapes["x"], shapes["y"]) == (["T", "B", 3], ["T", "B", 2])
    assert shapes["0.0.h_0"] == shapes["0.0.h_n"] == [2, "B", 4]
    assert shapes["1.h_0"] == shapes["1.h_n"] == [1, "B", 2]
    assert list(rnnfast.onnx.load_layers(path)) == ["0.0.LSTM", "1.RNN"]


def test_float64_is_exported_without_rounding(tmp_path):
    layer = rf.GRU(3, 4, dtype="float64", rng=0)
    path = tmp_path / "layer.onnx"
    rnnfast.onnx.export(layer, path)
    x = normal(5, 2, 3).astype(np.float64)
    assert np.array_equal(rnnfast.onnx.prepare(path).run([x])["y"], layer(x)[0])
    assert rnnfast.onnx.load_layers(path)["GRU"].dtype == np.float64


class UserLinear(rf.Linear):
    """A module that ONNX knows nothing of."""


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (rf.LSTM(3, 4, proj_size=2), ValueError, "model: LSTM : proj_size: expected 0"),
        (rf.Sequential(rf.LSTM(3, 4, cell_clip=1.0)), ValueError, "model: LSTM 0: cell_clip: expected None"),
        (rf.Sequential(rf.GRU(3, 4, zoneout=0.1)), ValueError, "model: GRU 0: zoneout: expected 0.0"),
        (rf.LSTM(3, 4, zoneout=(0.1, 0.0)), ValueError, "model: LSTM : zoneout: expected 0.0"),
        (UserLinear(3, 4), TypeError, "got UserLinear"),
        (rf.Sequential(rf.RNN(3, 4), UserLinear(4, 4)), TypeError, "got UserLinear at 1"),
        (rf.Sequential(rf.RNN(3, 4), rf.Last(), rf.RNN(4, 4)), ValueError, "model: RNN 2: expected a seq"),
        (rf.Sequential(rf.RNN(3, 4), rf.Embedding(4, 4)), ValueError, "expected an Embedding at its beg"),
        (rf.Sequential(rf.RNN(3, 4), rf.Linear(4, 4, dtype="float64")), ValueError, "expected one dtype"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_models_that_onnx_cannot_express_are_refused(model, kind, words, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what was there")
    with pytest.raises(kind, match=words):
        rnnfast.onnx.export(model, path)
    assert path.read_bytes() == b"what was there"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.export(rf.RNN(2, 3, rng=0), path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        rnnfast.onnx.export(rf.RNN(2, 4, rng=0), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
