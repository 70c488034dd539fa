"""ONNX files from anywhere: damaged, huge or hostile ones are refused, and allocate nothing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from bridges.onnx_nodes import make_model
from helpers.arrays import normal

onnx = pytest.importorskip("onnx")
from bridges.onnx_files import changed_file, gru_file, saved_model  # noqa: E402

import rnnfast as rf  # noqa: E402
import rnnfast.onnx  # noqa: E402
from rnnfast.onnx import files, load, plan  # noqa: E402


def test_an_integer_is_no_path():
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(TypeError, match=r"^path: expected the name of a file .*, got 0$"):
            read(0)
    with pytest.raises(TypeError, match=r"^path: expected the name of a file"):
        rnnfast.onnx.load_layers(onnx.ModelProto())


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "sparse.onnx"
    path.touch()
    os.truncate(path, 2**36)  # holes: they take no room on the disk, and would take 2 GiB of memory
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(
            ValueError, match=rf"sparse.onnx: expected at most {2**31 - 1} bytes, got {2**36}$"
        ):
            read(path)


def test_a_huge_constant_is_not_computed(tmp_path):
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [make("ConstantOfShape", ["shape"], ["W"]), make("RNN", ["x", "W", "R"], ["y"], name="cell")]
    graph = onnx.helper.make_graph(
        nodes,
        "large",
        [value("x", onnx.TensorProto.FLOAT, ["T", "B", 3])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array([1, 2**40, 3]), "shape"),
            onnx.numpy_helper.from_array(normal(1, 4, 4), "R"),
        ],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    path = saved_model(tmp_path, onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))
    with pytest.raises(ValueError, match="node cell: W: expected an array that the file holds, got 'W'"):
        rnnfast.onnx.load_layers(path)
    assert rnnfast.onnx.prepare(path).paths == {"cell": "kernels"}


def test_damaged_files_are_read_or_refused(tmp_path):
    whole = gru_file(tmp_path).read_bytes()
    path = tmp_path / "damaged.onnx"
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for turn in range(400):
        data = bytearray(whole)
        if turn % 4 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, len(data), int(rng.integers(1, 6))):
                data[place] = int(rng.integers(256))
        path.write_bytes(data)
        for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
            try:
                read(path)
                outcomes["read"] += 1
            except ValueError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 100, b"PK\x03\x04" + bytes(50), b"text\n" * 9])
def test_a_file_that_is_no_model_is_refused(data, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"model\.onnx: "):
            read(path)


def test_pipes_devices_and_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        rnnfast.onnx.load_layers(tmp_path / "absent.onnx")
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    for path in (os.devnull, tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="expected a regular file"):
            rnnfast.onnx.load_layers(path)


def _enlarge(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".R"))
    tensor.dims[:] = [1, 3 * 2**30, 2**30]


def _negative(model):
    next(t for t in model.graph.initializer if t.name.endswith(".R")).dims[:] = [1, 9, -1]


def _packed(model):  # ONNX's reader makes room for as many as are declared
    tensor = model.graph.initializer.add(name="packed", data_type=onnx.TensorProto.INT4)
    tensor.dims[:] = [2**30, 2**20]
    tensor.raw_data = b"1234"


def _other_hidden_size(model):
    next(n for n in model.graph.node if n.op_type == "GRU").attribute[0].i = 2**40


def _shorten(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".W"))
    tensor.raw_data = tensor.raw_data[:-4]


def _sparse(model):
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "indices")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [2**40]))


def _no_weights(model):
    next(n for n in model.graph.node if n.op_type == "GRU").input[1] = ""


def _whole_numbers(model):
    tensor = next(t for t in model.graph.initializer if t.name.endswith(".W"))
    tensor.data_type = onnx.TensorProto.INT32


@pytest.mark.parametrize(
    "change",
    [_enlarge, _negative, _packed, _other_hidden_size, _shorten, _sparse, _no_weights, _whole_numbers],
)
def test_declared_sizes_that_the_file_lacks_allocate_nothing(change, tmp_path):
    path = changed_file(gru_file(tmp_path), change)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"gru\.onnx: "):
            read(path)


def external_file(tmp_path) -> Any:
    """A file whose weights are in another file beside it."""
    path = gru_file(tmp_path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    return path


def test_weights_that_many_nodes_share_are_limited(tmp_path, monkeypatch):
    inputs = {"X": normal(2, 1, 3), "W": normal(1, 4, 3), "R": normal(1, 4, 4)}
    model = make_model("RNN", {}, inputs, constant=("W", "R"))
    for n in range(20):
        copy = model.graph.node.add()
        copy.CopyFrom(model.graph.node[0])
        copy.name, copy.output[:] = f"copy {n}", [f"Y {n}", f"Y_h {n}"]
    path = saved_model(tmp_path, model)
    assert len(rnnfast.onnx.load_layers(path)) == len(rnnfast.onnx.prepare(path).paths) == 21
    for module in (files, load, plan):
        monkeypatch.setattr(module, "LARGEST", 1600)  # the file has less, the layers have 21 * 112 bytes
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match="expected at most 1600 bytes of weights"):
            read(path)
    monkeypatch.setattr(files, "LARGEST", 500)
    with pytest.raises(ValueError, match=r"model\.onnx: expected at most 500 bytes"):
        rnnfast.onnx.load_layers(path)


def test_weights_are_read_from_a_file_beside_the_model(tmp_path):
    model = rf.Sequential(rf.GRU(2, 3, num_layers=2, rng=0), rf.Linear(3, 2, rng=0))
    path = external_file(tmp_path)
    assert (tmp_path / "weights").stat().st_size > 0
    ((_, layer),) = rnnfast.onnx.load_layers(path).items()
    assert np.array_equal(layer.weight_hh_l1.data, model[0].weight_hh_l1.data)
    x = normal(3, 2, 2)
    np.testing.assert_allclose(rnnfast.onnx.prepare(path).run([x])["y"], model(x)[0], 1e-5, 1e-6)
    with pytest.raises(ValueError, match="expected its data in the model"):
        rnnfast.onnx.prepare(onnx.load(path, load_external_data=False))


@pytest.mark.parametrize(
    "entry",
    [
        {"location": "../weights"},
        {"location": "/etc/passwd"},
        {"location": "link"},
        {"location": "absent"},
        {"location": "."},
        {"location": ""},
        {"location": "wei\0ghts"},
        {"offset": "-4"},
        {"offset": "abc"},
        {"offset": "1000000000"},
        {"length": "1000000000000"},
        {"length": "-1"},
        {"length": "many"},
        {"offset": "0", "length": "0"},
    ],
    ids=str,
)
def test_weights_from_elsewhere_are_refused(entry, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = external_file(folder)
    (tmp_path / "weights").write_bytes(bytes(4096))
    (folder / "link").symlink_to(tmp_path / "weights")

    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name.endswith(".R"))
        for data in tensor.external_data:
            data.value = entry.get(data.key, data.value)

    changed_file(path, change)
    for read in (rnnfast.onnx.load_layers, rnnfast.onnx.prepare):
        with pytest.raises(ValueError, match=r"gru\.onnx: 0\.GRU\.R: "):
            read(path)


def test_tensors_that_claim_the_same_bytes_are_limited(tmp_path):
    def repeat(model):  # each of many tensors claims the whole file
        size = (tmp_path / "weights").stat().st_size
        first = model.graph.initializer[0]
        for data in first.external_data:
            data.value = {"offset": "0", "length": str(size // 4 * 4)}.get(data.key, data.value)
        first.dims[:] = [size // 4]
        for n in range(5):
            copy = model.graph.initializer.add()
            copy.CopyFrom(first)
            copy.name = f"copy {n}"

    path = changed_file(external_file(tmp_path), repeat)
    with pytest.raises(ValueError, match="no more than"):
        rnnfast.onnx.load_layers(path)


def one_node(operator: str, inputs: int, **attributes: Any) -> Any:
    """A model of one node, whose inputs are the graph's."""
    names = [f"x{n}" for n in range(inputs)]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, names, ["y"], name="odd", **attributes)],
        "one",
        [value(name, onnx.TensorProto.UNDEFINED, None) for name in names],
        [value("y", onnx.TensorProto.UNDEFINED, None)],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


X = np.ones((3, 4), np.float32)
CANNOT_RUN = {  # attributes and inputs that NumPy refuses, by errors of several classes
    "Transpose": ({"perm": [0, 7]}, [X]),
    "Concat": ({"axis": 5}, [X, X]),
    "Gather": ({"axis": 3}, [X, np.array([0])]),
    "GatherElements": ({"axis": 9}, [X, np.zeros((3, 4), np.int64)]),
    "Squeeze": ({}, [X, np.array([[0]])]),
    "Unsqueeze": ({}, [X, np.array([9])]),
    "Reshape": ({}, [X, np.array([5, 5])]),
    "Slice": ({}, [X, np.array([0]), np.array([1]), np.array([4])]),
    "Expand": ({}, [X, np.array([7, 7])]),
    "Add": ({}, [X, np.ones((5, 6), np.float32)]),
    "MatMul": ({}, [X, np.array("a", object)]),
    "Softmax": ({"axis": 4}, [X]),
}


@pytest.mark.parametrize("operator", CANNOT_RUN)
def test_a_node_that_cannot_run_is_named_with_what_it_got(operator):
    attributes, inputs = CANNOT_RUN[operator]
    prepared = rnnfast.onnx.prepare(one_node(operator, len(inputs), **attributes))
    node = onnx.helper.make_node(operator, prepared.inputs, ["y"], name="odd", **attributes)
    for run in (prepared.run, lambda given: rnnfast.onnx.run_node(node, given, opset_version=17)):
        with pytest.raises(ValueError, match=rf"^node odd: {operator} of \w+ \[[\d, ]*\].*: .") as caught:
            run(inputs)
        assert not isinstance(caught.value, (IndexError, np.exceptions.AxisError))
        assert "\n" not in str(caught.value)


def test_a_constant_of_what_cannot_be_computed_waits_for_the_run():
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    constant = onnx.numpy_helper.from_array
    nodes = [make("Gather", ["W", "far"], ["part"]), make("ConstantOfShape", ["part"], ["y"], name="odd")]
    graph = onnx.helper.make_graph(
        nodes,
        "two",
        [],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [constant(np.array([2, 3]), "W"), constant(np.array([7]), "far")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    prepared = rnnfast.onnx.prepare(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))
    with pytest.raises(ValueError, match=r"^node part: Gather of int64 \[2\], int64 \[1\]: "):
        prepared.run([])
