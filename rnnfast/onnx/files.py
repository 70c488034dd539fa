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
from typing import IO, NamedTuple

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError

from rnnfast.files import file_name
from rnnfast.onnx.graphs import graphs_of, nodes_of, one_domain, opsets_of, settle

__all__ = ["LARGEST", "Model", "check_model", "read_model"]

LARGEST = 2**31 - 1  # bytes of a model, its external data included: what protobuf allows
_OLDEST = 7  # the first opset with recurrent nodes as they are now
_DEEPEST = 100  # calls of local functions inside of one another
_MOST_NODES = 2**20  # after local functions are written out


class Model(NamedTuple):
    """A checked model.

    Attributes
    ----------
    graph : onnx.GraphProto
        Without its initializers, its nodes in an order that can run; local functions are written out.
    opsets : dict of str to int
        The version of each domain; ONNX's own is the empty one.
    arrays : dict of str to ndarray
        The initializers.
    """

    graph: onnx.GraphProto
    opsets: dict[str, int]
    arrays: dict[str, np.ndarray]


def read_model(path: str | os.PathLike[str]) -> Model:
    """The model in a file, checked whole, with its external data.

    Raises
    ------
    OSError
        The file cannot be read.
    TypeError
        `path` is no path; a file descriptor is none.
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
    path = file_name(path)
    try:
        with _open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LARGEST:
                raise ValueError(f"expected at most {LARGEST} bytes, got {size}")
            data = file.read(size)
        try:
            model = onnx.ModelProto.FromString(data)
        except DecodeError as error:
            raise ValueError("expected an ONNX model, got bytes that are none") from error
        _read_external(model, os.path.dirname(os.path.realpath(path)), LARGEST - len(data))
        return check_model(model)
    except ValueError as error:
        raise ValueError(f"{path}: {_one_line(error)}") from error


def _open_regular(path: str) -> IO[bytes]:
    """A regular file, open; a ValueError where it is none. It never waits, as to open a pipe would."""
    if stat.S_ISREG(os.stat(path).st_mode):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # of what was opened
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
    raise ValueError("expected a regular file")


def check_model(model: onnx.ModelProto) -> Model:
    """`model`, its local functions written out in place of their calls, if it can run; it is not changed.

    Raises
    ------
    ValueError
        It cannot: an opset that is too old or too new, a tensor with another number of elements than it
        declares, and what `graphs.settle` finds.

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
    if not model.ir_version or not model.opset_import or not model.HasField("graph"):
        raise ValueError("model: expected an IR version, opset imports and a graph, got a model without")
    for tensor in _tensors(model):
        _check_tensor(tensor)
    opsets = opsets_of(model.opset_import)
    newest = onnx.defs.onnx_opset_version()
    if opsets.get("", newest) < _OLDEST:
        raise ValueError(f"model: expected opset {_OLDEST} or newer, got {opsets['']}")
    if opsets.get("", newest) > newest:
        raise ValueError(f"model: expected opset {newest} or older, which onnx has, got {opsets['']}")
    if model.functions:
        model = _inlined(model)
    graph = onnx.GraphProto(
        name=model.graph.name,
        node=model.graph.node,
        input=model.graph.input,
        output=model.graph.output,
        value_info=model.graph.value_info,
    )
    one_domain(nodes_of(graph))
    names = [tensor.name for tensor in model.graph.initializer]
    twice = [name for name, count in Counter(names).items() if count > 1 or not name]
    if twice:
        raise ValueError(f"graph: initializer {twice[0]!r}: expected a name that nothing else has")
    taken = {name for node in graph.node for name in node.output}
    for name in names:
        if name in taken:
            raise ValueError(f"graph: initializer {name!r}: expected a name that nothing else has")
    settle(graph, opsets, frozenset(names))
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return Model(graph, opsets, arrays)


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model, its local functions written out in place of their calls."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for owner in (copied, *copied.functions):
        own = opsets_of(owner.opset_import)
        del owner.opset_import[:]
        owner.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in own.items())
    bodies = {(function.domain, function.name): function for function in copied.functions}
    one_domain(nodes_of(copied.graph))
    for function in copied.functions:
        one_domain(node for outer in function.node for node in (outer, *_nodes_inside(outer)))
    sizes: dict[tuple[str, str], int] = {}

    def size_of(nodes: Iterator[onnx.NodeProto], open_calls: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in open_calls or len(open_calls) > _DEEPEST:
                raise ValueError(f"function {key[1]}: expected no call of itself, nor calls {_DEEPEST} deep")
            if key in bodies and key not in sizes:
                inner = (node for outer in bodies[key].node for node in (outer, *_nodes_inside(outer)))
                sizes[key] = size_of(inner, (*open_calls, key))
            total += sizes.get(key, 1)
            if total > _MOST_NODES:
                raise ValueError(f"model: expected at most {_MOST_NODES} nodes, functions written out")
        return total

    size_of(nodes_of(copied.graph), ())
    try:
        return onnx.inliner.inline_local_functions(copied)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(f"model: {_one_line(error)}") from error


def _nodes_inside(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    for graph in graphs_of(node):
        yield from nodes_of(graph)


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
            graphs += graphs_of(node)
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
    """Read the tensors' data from files of `folder` into the model."""
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
        with _open_regular(path) as file:
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
