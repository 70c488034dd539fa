"""What the operators between two recurrent nodes make of the first one's Y: which axis is where.

Exporters put Y [T, D, B, H] into the next node's [T, B, D*H] in many ways: by Squeeze, by Transpose and
Reshape, by a shape that is written down or computed from Y's own. Here the axes of Y are followed through
these operators, with sizes that are numbers or names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, pairwise
from typing import Any, NamedTuple

import numpy as np
import onnx

from rnnfast.onnx.node import Node

__all__ = ["Groups", "Laid", "Shapes", "Size"]

Array = np.ndarray

_MOST = 8  # more axes, or integers in a shape, than any array between two layers has


class Size(NamedTuple):
    """The size of an axis: a number times sizes that only have names, in sorted order."""

    number: int
    names: tuple[str, ...] = ()

    def times(self, other: Size) -> Size:
        return Size(self.number * other.number, tuple(sorted(self.names + other.names)))


_ONE = Size(1)
Sizes = tuple[Size, ...]
Groups = tuple[
    tuple[str, ...], ...
]  # of each axis the axes of Y, "T", "B", "D" and "H", that are laid out in it


class Laid(NamedTuple):
    """A value that is some node's Y, laid out anew."""

    name: str  # the node's
    axes: Groups
    sizes: dict[str, Size]  # of T, B, D, H

    def size(self, axis: tuple[str, ...]) -> Size:
        total = _ONE
        for part in axis:
            total = total.times(self.sizes[part])
        return total

    def reads_as(self, axes: Groups) -> bool:
        """Whether it is laid out as `axes`; axes of one element make no difference."""
        return self._plain(self.axes) == self._plain(axes)

    def _plain(self, axes: Groups) -> Groups:
        return tuple(tuple(part for part in axis if self.sizes[part] != _ONE) for axis in axes)


class Shapes:
    """The layouts and sizes of a graph's values, as far as they can be told.

    Parameters
    ----------
    graph : onnx.GraphProto
        Its nodes in order.
    constants : mapping of str to ndarray
    recurrent : mapping of str to (str, Node, int)
        By the name of its first output: a recurrent node's name, its attributes, and its H.

    Attributes
    ----------
    laid : dict of str to Laid
        The values that are some node's Y, laid out anew.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        constants: Mapping[str, Array],
        recurrent: Mapping[str, tuple[str, Node, int]],
    ) -> None:
        self.laid: dict[str, Laid] = {}
        self._recurrent = recurrent
        self._sizes: dict[str, Sizes] = {name: _numbers(array.shape) for name, array in constants.items()}
        self._integers: dict[str, Sizes] = {
            name: _numbers(array.ravel().tolist())
            for name, array in constants.items()
            if array.dtype == np.int64 and array.size <= _MOST
        }
        for value in (*graph.input, *graph.value_info, *graph.output):
            declared = value.type.tensor_type
            if declared.HasField("shape") and len(declared.shape.dim) <= _MOST:
                self._sizes.setdefault(value.name, _declared(value.name, declared.shape.dim))
        for node in graph.node:
            self._follow(node)

    def of(self, name: str) -> Sizes | None:
        """The sizes of a value's axes; None where not even their number can be told."""
        laid = self.laid.get(name)
        return self._sizes.get(name) if laid is None else tuple(map(laid.size, laid.axes))

    def _follow(self, node: onnx.NodeProto) -> None:
        output = next(iter(node.output), "")
        if output in self._recurrent:
            self._add_recurrent(node, output)
            return
        step = _STEPS.get(node.op_type)
        if step is None or node.domain or not output:
            return
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        step(self, node, attributes, output)

    def _add_recurrent(self, node: onnx.NodeProto, Y: str) -> None:
        name, attributes, H = self._recurrent[Y]
        axes: Groups = (("B",), ("T",), ("D",), ("H",))
        if not attributes.batch_first:
            axes = (("T",), ("D",), ("B",), ("H",))
        sizes = {"D": Size(len(attributes.reverse)), "H": Size(H)}
        x = self.of(node.input[0])
        if x is None or len(x) != 3:
            x = tuple(Size(1, (f"{node.input[0]}.{axis}",)) for axis in range(3))
        sizes |= zip("BT" if attributes.batch_first else "TB", x[:2], strict=True)
        self._lay(Y, Laid(name, axes, sizes))

    def _lay(self, name: str, laid: Laid) -> None:
        """Note how a value is laid out; numbers that are declared for it go before names."""
        for axis, size in zip(laid.axes, self._sizes.get(name, ()), strict=False):
            if len(axis) == 1 and laid.sizes[axis[0]].names and not size.names:
                laid = laid._replace(sizes={**laid.sizes, axis[0]: size})
        self.laid[name] = laid

    def _identity(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        if node.op_type == "Identity" and node.input[0] in self.laid:
            self._lay(output, self.laid[node.input[0]])
        elif node.input[0] in self._integers:
            self._integers[output] = self._integers[node.input[0]]

    def _transpose(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        laid = self.laid.get(node.input[0])
        if laid is not None:
            places = range(len(laid.axes))
            order = attributes.get("perm", places[::-1])
            if sorted(order) == list(places):
                self._lay(output, laid._replace(axes=tuple(laid.axes[place] for place in order)))

    def _squeeze(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        laid = self.laid.get(node.input[0])
        if laid is None:
            self._identity(node, attributes, output)
            return
        axes = attributes.get("axes")
        if len(node.input) > 1:
            given = self._integers.get(node.input[1])
            axes = None if given is None else [size.number for size in given if not size.names]
        if axes is not None:
            gone = {axis % len(laid.axes) for axis in axes}
            if all(laid.size(laid.axes[axis]) == _ONE for axis in gone):
                left = tuple(axis for place, axis in enumerate(laid.axes) if place not in gone)
                self._lay(output, laid._replace(axes=left))

    def _reshape(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        laid, shape = self.laid.get(node.input[0]), self._integers.get(node.input[1])
        if laid is None:
            self._identity(node, attributes, output)
        elif shape is not None and len(shape) <= len(laid.axes):
            axes = _regrouped(laid, shape, attributes.get("allowzero", 0) == 0)
            if axes is not None:
                self._lay(output, laid._replace(axes=axes))

    def _shape(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        sizes = self.of(node.input[0])
        if sizes is not None:
            self._integers[output] = sizes[attributes.get("start", 0) : attributes.get("end")]

    def _slice(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        bounds = [self._integers.get(name) for name in node.input[1:]]
        one = all(b is not None and len(b) == 1 and not b[0].names for b in bounds) and len(bounds) >= 2
        first = [b[0].number for b in bounds if b] if one else []
        if not first or (len(first) > 3 and first[3] != 1) or (len(first) > 2 and first[2] != 0):
            return
        part = slice(first[0], first[1])
        if node.input[0] in self._integers:
            self._integers[output] = self._integers[node.input[0]][part]
        elif self._sizes.get(node.input[0]):
            size, *others = self._sizes[node.input[0]]
            if not size.names:
                self._sizes[output] = (Size(len(range(size.number)[part])), *others)

    def _gather(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        values, places = (self._integers.get(name) for name in node.input)
        if values is not None and places is not None and attributes.get("axis", 0) == 0:
            numbers = [place.number for place in places if not place.names]
            if len(numbers) == len(places) and all(-len(values) <= n < len(values) for n in numbers):
                self._integers[output] = tuple(values[n] for n in numbers)

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        parts = [self._integers.get(name) for name in node.input]
        joined = sum((part for part in parts if part is not None), ())
        if None not in parts and len(joined) <= _MOST:
            self._integers[output] = joined

    def _mul(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        left, right = (self._integers.get(name) for name in node.input)
        if left is not None and right is not None and len(left) == len(right):
            self._integers[output] = tuple(a.times(b) for a, b in zip(left, right, strict=True))

    def _expand(self, node: onnx.NodeProto, attributes: dict[str, Any], output: str) -> None:
        """Only of a number: what is larger may have a larger axis than the shape says."""
        shape = self._integers.get(node.input[-1])
        scalar = node.op_type == "ConstantOfShape" or self._sizes.get(node.input[0]) == ()
        if shape is not None and scalar:
            self._sizes[output] = shape


_STEPS: dict[str, Any] = {
    "Cast": Shapes._identity,
    "Concat": Shapes._concat,
    "ConstantOfShape": Shapes._expand,
    "Expand": Shapes._expand,
    "Gather": Shapes._gather,
    "Identity": Shapes._identity,
    "Mul": Shapes._mul,
    "Reshape": Shapes._reshape,
    "Shape": Shapes._shape,
    "Slice": Shapes._slice,
    "Squeeze": Shapes._squeeze,
    "Transpose": Shapes._transpose,
    "Unsqueeze": Shapes._identity,
}


def _numbers(values: Sequence[int]) -> Sizes:
    return tuple(Size(int(value)) for value in values)


def _declared(name: str, dims: Any) -> Sizes:
    return tuple(
        Size(dim.dim_value) if dim.HasField("dim_value") else Size(1, (dim.dim_param or f"{name}.{axis}",))
        for axis, dim in enumerate(dims)
    )


def _regrouped(laid: Laid, shape: Sizes, zero_copies: bool) -> Groups | None:
    """The axes after a Reshape to `shape`: those of Y in order, cut by sizes; None if these do not tell."""
    wanted: list[Size | None] = []
    for place, size in enumerate(shape):
        if size == Size(0) and zero_copies:
            size = laid.size(laid.axes[place])
        wanted.append(None if size == Size(-1) else size)
    parts = [part for axis in laid.axes for part in axis]
    for cuts in combinations_with_replacement(range(len(parts) + 1), len(shape) - 1) if shape else ():
        bounds = (0, *cuts, len(parts))
        axes = tuple(tuple(parts[a:b]) for a, b in pairwise(bounds))
        if all(size is None or laid.size(axis) == size for axis, size in zip(axes, wanted, strict=True)):
            return axes
    return None
