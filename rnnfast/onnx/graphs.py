"""What a graph must be to run, in checks of our own: names defined once, operators that ONNX has, no cycle.

onnx.checker is stricter than the engines: it refuses outputs without a shape, nodes in another order, graphs
without a name. Here only that is refused which cannot run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from onnx.defs import OpSchema

__all__ = [
    "NodeError",
    "check_attributes",
    "check_node",
    "declared_as",
    "failure_of",
    "graphs_of",
    "label",
    "nodes_of",
    "one_domain",
    "opsets_of",
    "settle",
    "values_read",
]

_FIELDS = {  # where an attribute of each type has its value
    "FLOAT": {"f"}, "INT": {"i"}, "STRING": {"s"}, "TENSOR": {"t"}, "GRAPH": {"g"}, "TYPE_PROTO": {"tp"},
    "SPARSE_TENSOR": {"sparse_tensor"}, "FLOATS": {"floats"}, "INTS": {"ints"}, "STRINGS": {"strings"},
    "TENSORS": {"tensors"}, "GRAPHS": {"graphs"}, "TYPE_PROTOS": {"type_protos"},
    "SPARSE_TENSORS": {"sparse_tensors"},
}  # fmt: skip
_ALIAS = "ai.onnx"  # the other spelling of ONNX's own domain


def graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside of a node."""
    for attribute in node.attribute:
        yield from attribute.graphs
        if attribute.HasField("g"):
            yield attribute.g


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of the graphs inside of nodes among them."""
    for node in graph.node:
        yield node
        for inner in graphs_of(node):
            yield from nodes_of(inner)


def label(node: onnx.NodeProto) -> str:
    """The node in an error: its name; of one without, its first output's."""
    return f"node {node.name or next(filter(None, node.output), node.op_type)}"


class NodeError(ValueError):
    """A node cannot run on its inputs; the message names it."""


def failure_of(node: onnx.NodeProto, inputs: Sequence[Any], error: Exception) -> NodeError:
    """What a run raises where an operator has raised `error`: it names the node, and says what came.

    Operators of ONNX's evaluator and of NumPy raise errors of any class, and most do not say where.

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.graphs import failure_of
    >>> node = onnx.helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2])
    >>> failure_of(node, [np.ones((3, 4), np.float32)], IndexError("axis 2 is out of bounds"))
    NodeError('node y: Transpose of float32 [3, 4]: axis 2 is out of bounds')
    """
    came = ", ".join(_came(value) for value in inputs if value is not None)
    cause = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return NodeError(f"{label(node)}: {node.op_type} of {came or 'no inputs'}: {cause}")


def _came(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {list(value.shape)}"
    return type(value).__name__


def declared_as(graph: onnx.GraphProto, element: int) -> set[str]:
    """The names of the values that a graph declares as tensors of this type, ``TensorProto.DOUBLE``."""
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == element}


def values_read(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, those that its inner graphs take from around it included."""
    names = {name for name in node.input if name}
    for inner in graphs_of(node):
        names |= _read_from_around(inner)
    return names


def _read_from_around(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in graph.output}
    for node in graph.node:
        names |= values_read(node)
    return names - _defined(graph)


def _defined(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.initializer)}
    return names.union(*(node.output for node in graph.node))


def one_domain(nodes: Iterator[onnx.NodeProto]) -> None:
    """Write the domain ``ai.onnx`` of nodes as ONNX does, as an empty one; in place."""
    for node in nodes:
        if node.domain == _ALIAS:
            node.domain = ""


def opsets_of(imports: Iterator[onnx.OperatorSetIdProto] | list[onnx.OperatorSetIdProto]) -> dict[str, int]:
    """The version of each domain; ``ai.onnx`` is the empty one, as which it counts where both are there."""
    found: dict[str, int] = {}
    for opset in imports:
        if opset.domain != _ALIAS:
            found[opset.domain] = opset.version
    for opset in imports:
        if opset.domain == _ALIAS:
            found.setdefault("", opset.version)
    return found


def settle(graph: onnx.GraphProto, opsets: dict[str, int], around: frozenset[str] = frozenset()) -> None:
    """Check a graph and those inside of it, and put its nodes into an order that can run; in place.

    Parameters
    ----------
    graph : onnx.GraphProto
        Its domains are already spelt one way.
    opsets : dict of str to int
    around : frozenset of str
        The names that it may use without defining them.

    Raises
    ------
    ValueError
        A name is defined twice or not at all, nodes read one another in a circle, or a node is not what its
        operator's definition says.

    Examples
    --------
    >>> import onnx
    >>> from rnnfast.onnx.graphs import settle
    >>> make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    >>> nodes = [make("Neg", ["a"], ["y"]), make("Abs", ["x"], ["a"])]
    >>> ends = [[value(name, onnx.TensorProto.FLOAT, None)] for name in "xy"]
    >>> graph = onnx.helper.make_graph(nodes, "unsorted", *ends)
    >>> settle(graph, {"": 17})
    >>> [node.op_type for node in graph.node]
    ['Abs', 'Neg']
    """
    known = set(around)
    given = [value.name for value in graph.input]
    _define(given, set(), "graph: input")
    _define([tensor.name for tensor in graph.initializer], set(), "graph: initializer")
    own = {*given, *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        check_node(node, opsets)
        _define([name for name in node.output if name], own, f"{label(node)}: output")
    known |= own
    _sort(graph, known)
    for value in graph.output:
        if value.name not in known:
            raise ValueError(f"graph: output {value.name!r}: expected a value that the graph defines")
    for node in graph.node:
        for inner in graphs_of(node):
            settle(inner, opsets, frozenset(known))


def _define(names: list[str], own: set[str], what: str) -> None:
    for name in names:
        if name in own or not name or not isinstance(name, str):
            raise ValueError(f"{what} {name!r}: expected a name that nothing else has")
        own.add(name)


def _sort(graph: onnx.GraphProto, known: set[str]) -> None:
    """Put each node behind those whose values it reads; a stable order."""
    nodes = list(graph.node)
    makers = {name: n for n, node in enumerate(nodes) for name in node.output if name}
    readers: dict[int, list[int]] = {}
    waits = []
    for n, node in enumerate(nodes):
        names = values_read(node)
        for name in names - known:
            raise ValueError(f"{label(node)}: input {name!r}: expected a value that the graph defines")
        before = {makers[name] for name in names if name in makers}
        waits.append(len(before))
        for maker in before:
            readers.setdefault(maker, []).append(n)
    if all(makers[name] < n for n, node in enumerate(nodes) for name in values_read(node) & makers.keys()):
        return
    order = [n for n, count in enumerate(waits) if not count]
    for n in order:  # it grows
        for reader in readers.get(n, ()):
            waits[reader] -= 1
            if not waits[reader]:
                order.append(reader)
    if len(order) < len(nodes):
        stuck = next(node for node, count in zip(nodes, waits, strict=True) if count)
        raise ValueError(f"{label(stuck)}: expected inputs that do not depend on its outputs")
    copies = [onnx.NodeProto.FromString(nodes[n].SerializeToString()) for n in order]
    del graph.node[:]
    graph.node.extend(copies)


def check_node(node: onnx.NodeProto, opsets: dict[str, int]) -> None:
    """Raise a ValueError where a node of ONNX's own domain is not what its operator's definition says.

    Examples
    --------
    >>> import onnx
    >>> from rnnfast.onnx.graphs import check_node
    >>> check_node(onnx.helper.make_node("Neg", ["x"], ["y"], alpha=1.0), {"": 17})
    Traceback (most recent call last):
        ...
    ValueError: node y: alpha: Neg of opset 17 has no such attribute
    """
    texts = [
        node.op_type,
        node.domain,
        node.name,
        *node.input,
        *node.output,
        *(a.name for a in node.attribute),
    ]
    for text in texts:
        if not isinstance(text, str):  # bytes that are no UTF-8
            raise ValueError(f"{label(node)}: expected names that are text, got {text!r}")
    if node.domain != "":
        return
    if "" not in opsets:
        raise ValueError(f"{label(node)}: expected an opset import of ONNX's own domain, got none")
    version = opsets[""]
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        raise ValueError(f"{label(node)}: opset {version} has no operator {node.op_type!r}") from None
    of = f"{node.op_type} of opset {version}"
    if schema.deprecated:
        raise ValueError(f"{label(node)}: {of} is not in use any more")
    for what, names, least, most in (
        ("inputs", node.input, schema.min_input, schema.max_input),
        ("outputs", node.output, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            raise ValueError(f"{label(node)}: {of} has {least} to {most} {what}, got {len(names)}")
    for formal, name in zip(schema.inputs, node.input, strict=False):
        if not name and formal.option == OpSchema.FormalParameterOption.Single:
            raise ValueError(f"{label(node)}: {formal.name}: {of} needs this input")
    check_attributes(node, schema, of)


def check_attributes(node: onnx.NodeProto, schema: OpSchema, of: str) -> None:
    """Raise a ValueError where an attribute is not what the operator's definition says; `of` names that."""
    given = set()
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None:
            raise ValueError(f"{label(node)}: {attribute.name}: {of} has no such attribute")
        if attribute.name in given:
            raise ValueError(f"{label(node)}: {attribute.name}: expected this attribute once")
        fields = {field.name for field, _ in attribute.ListFields()} - {"name", "type", "doc_string"}
        if attribute.type != known.type.value or not fields <= _FIELDS[known.type.name]:
            raise ValueError(f"{label(node)}: {attribute.name}: expected {known.type.name} and nothing else")
        given.add(attribute.name)
    for name, known in schema.attributes.items():
        if known.required and name not in given:
            raise ValueError(f"{label(node)}: {name}: {of} needs this attribute")
