"""Model files and models, checked before anything of them is used.

A file comes from anywhere. Nothing is allocated for what a tensor only declares: its bytes must be there.
Weights kept beside the file ("external data") are read from its own folder alone, and no more of them than
that folder's files hold.
"""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from collections.abc import Iterator

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

LARGEST = 2**31 - 1  # bytes of a model, its external data included: what protobuf allows
_OLDEST = 7  # the first opset with recurrent nodes as they are now


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model in a file, checked whole, with its external data.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It holds no valid model of opset 7 or newer, is larger than 2 GiB, or refers to data outside of its
        folder; one line that opens with the path.

    Examples
    --------
    >>> import os, tempfile
    >>> from rnnfast.onnx.files import read_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.onnx")
    ...     with open(path, "wb") as file:
    ...         written = file.write(b"not a model")
    ...     try:
    ...         read_model(path)
    ...     except ValueError as error:
    ...         print(str(error).removeprefix(path))
    : expected an ONNX model, got bytes that are none
    """
    status = os.stat(path)
    try:
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("expected a regular file")
        if status.st_size > LARGEST:
            raise ValueError(f"expected at most {LARGEST} bytes, got {status.st_size}")
        with open(path, "rb") as file:
            data = file.read()
        try:
            model = onnx.ModelProto.FromString(data)
        except DecodeError as error:
            raise ValueError("expected an ONNX model, got bytes that are none") from error
        _read_external(model, os.path.dirname(os.path.realpath(path)), LARGEST - len(data))
        return check_model(model)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {_one_line(error)}") from error


def check_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, its local functions written out in place of their calls, if it is valid.

    Raises
    ------
    ValueError
        It is not: what ONNX's own checker finds, an opset that is too old, a tensor with another number of
        elements than it declares.

    Examples
    --------
    >>> import onnx
    >>> from rnnfast.onnx.files import check_model
    >>> graph = onnx.helper.make_graph([], "empty", [], [])
    >>> model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 6)])
    >>> check_model(model)
    Traceback (most recent call last):
        ...
    ValueError: model: expected opset 7 or newer, got 6
    """
    for tensor in _tensors(model):
        _check_tensor(tensor)
    try:
        onnx.checker.check_model(model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        raise ValueError(f"model: {_one_line(error)}") from error
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version < _OLDEST:
            raise ValueError(f"model: expected opset {_OLDEST} or newer, got {opset.version}")
    return model


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of the graphs inside of nodes among them."""
    for node in graph.node:
        yield node
        for inner in _graphs(node):
            yield from nodes_of(inner)


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors of a model; a ValueError where one is sparse, as its size is then only declared."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        for graph in graphs:
            if graph.sparse_initializer:
                raise ValueError("model: expected dense tensors, got a sparse initializer")
            yield from graph.initializer
            nodes += graph.node
        graphs = []
        for node in nodes:
            graphs += _graphs(node)
            for attribute in node.attribute:
                if attribute.sparse_tensors or attribute.HasField("sparse_tensor"):
                    raise ValueError(f"{attribute.name}: expected a dense tensor, got a sparse one")
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
        nodes = []


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Raise a ValueError where a tensor declares other elements than it holds."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{tensor.name}: expected its data in the model, got a reference to another file")
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or count > 8 * tensor.ByteSize():
        raise ValueError(
            f"{tensor.name}: shape {list(tensor.dims)} does not match its {tensor.ByteSize()} bytes"
        )
    try:
        onnx.numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{tensor.name}: {_one_line(error)}") from error


def _read_external(model: onnx.ModelProto, folder: str, allowed: int) -> None:
    """Take the tensors' data that stand in files of `folder` into the model."""
    read: Counter[str] = Counter()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        location = where.get("location", "")
        path = os.path.realpath(os.path.join(folder, location.replace("\0", "")))
        if "\0" in location or os.path.commonpath([folder, path]) != folder or not os.path.isfile(path):
            raise ValueError(
                f"{tensor.name}: expected its data in a file of the model's folder, got {location!r}"
            )
        size = os.path.getsize(path)
        first = _number(tensor, where, "offset", 0)
        length = _number(tensor, where, "length", size - first)
        read[path] += length
        there = 0 <= first <= first + length <= size and read[path] <= size
        if not there or sum(read.values()) > allowed:
            raise ValueError(
                f"{tensor.name}: expected {length} bytes at {first} of {location!r} "
                f"({size} bytes), and no more than {allowed} in all"
            )
        with open(path, "rb") as file:
            file.seek(first)
            tensor.raw_data = file.read(length)
        del tensor.external_data[:]
        tensor.ClearField("data_location")


def _number(tensor: onnx.TensorProto, where: dict[str, str], key: str, default: int) -> int:
    """A number from what a tensor says of its external data."""
    try:
        return int(where.get(key, default))
    except ValueError:
        raise ValueError(f"{tensor.name}: {key}: expected a whole number, got {where[key]!r}") from None


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
