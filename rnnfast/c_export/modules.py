"""The modules of a model as calls of C functions, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from rnnfast.c_export.arrays import flushed
from rnnfast.c_export.cells import CELLS
from rnnfast.c_export.layer import Layer
from rnnfast.c_export.products import product
from rnnfast.c_export.refusals import ACTIVATIONS, RECURRENT, check_input, inside, named
from rnnfast.c_export.source import FLUSH, KEEP, Source
from rnnfast.nn import Dropout, Embedding, Linear, Module, Sequential
from rnnfast.nn.activation import Activation
from rnnfast.nn.layer_norm import LayerNorm
from rnnfast.nn.normal import LARGE, MIDDLE, SMALL
from rnnfast.nn.parallel import Parallel
from rnnfast.nn.residual import Residual

__all__ = ["Value", "Writer"]


class Value(NamedTuple):
    """What a module reads or gives: floats, or a token.

    Attributes
    ----------
    text : str
        Its expression in C.
    width : int
        How many floats; 0: it is a token.
    """

    text: str
    width: int


class Writer:
    """Adds modules to a header.

    Parameters
    ----------
    source : Source
    precision : str or None
        The precision of all products; None: that of each module.
    """

    def __init__(self, source: Source, precision: str | None) -> None:
        self.source = source
        self._precision = precision

    def add(self, module: Module, place: str, x: Value, y: str | None = None) -> Value:
        """Add a module that reads x; where it wrote its output is returned.

        Parameters
        ----------
        module : Module
        place : str
            Where it is in the model, as its parameters' names say: "0.module".
        x : Value
        y : str, optional
            Where the output must be; by default anywhere.
        """
        check_input(module, place, x.width)
        result = _ADD[type(module)](self, module, place, x, y)
        if y is None or result.text == y:
            return result
        self.source.call(None, f"NAME_copy({result.width}, {result.text}, {y});")
        return Value(y, result.width)

    def _precision_of(self, module: Any) -> str:
        return str(self._precision or module.matmul_precision)

    def _output(self, place: str, width: int, y: str | None) -> Value:
        """Where a module writes."""
        return Value(y or self.source.scratch(_field("y", place), width), width)

    def _sequential(self, module: Sequential, place: str, x: Value, y: str | None) -> Value:
        last = len(module) - 1
        for name, member in module.members():
            x = self.add(member, inside(place, name), x, y if name == str(last) else None)
        return x

    def _parallel(self, module: Parallel, place: str, x: Value, y: str | None) -> Value:
        parts = [self.add(member, inside(place, name), x) for name, member in module.members()]
        result = self._output(place, sum(part.width for part in parts), y)
        start = 0
        for part in parts:
            self.source.call(None, f"NAME_copy({part.width}, {part.text}, {result.text} + {start});")
            start += part.width
        return result

    def _residual(self, module: Residual, place: str, x: Value, y: str | None) -> Value:
        ((name, member),) = module.members()
        part = self.add(member, inside(place, name), x)
        if part.width != x.width:
            raise ValueError(
                f"model: {named(module, place)}: expected y of x's {x.width} numbers, got {part.width}"
            )
        result = self._output(place, x.width, y)
        self.source.need("residual")
        self.source.call(KEEP, f"NAME_sum({x.width}, {x.text}, {part.text}, {result.text});")
        return result

    def _dropout(self, module: Dropout, place: str, x: Value, y: str | None) -> Value:
        return x

    def _embedding(self, module: Embedding, place: str, x: Value, y: str | None) -> Value:
        V, N = module.weight.data.shape
        self.source.tokens = min(V, self.source.tokens or V)
        table = self.source.array(_joined(place, "weight"), module.weight.data, f"[{V}][{N}]")
        return Value(f"{table} + (ptrdiff_t){x.text} * {N}", N)

    def _linear(self, module: Linear, place: str, x: Value, y: str | None) -> Value:
        N, K = module.weight.data.shape
        name = partial(_joined, place)
        out = "y"
        multiply = product(
            self.source,
            name("weight"),
            flushed(module.weight.data),
            self._precision_of(module),
            sizes=("inputs", "outputs"),
            x="x",
            out=out,
            columns="of y",
        )
        start = "NAME_clear(outputs, y);"
        if module.bias is not None:
            bias = self.source.array(name("bias"), flushed(module.bias.data), f"[{N}]")
            start = f"NAME_copy(outputs, {bias}, y);"
        result = self._output(place, N, y)
        function = name("linear")
        self.source.function(
            [
                f"{named(module, place)}: y = b + W x.",
                "s INOUT: scratch memory; x [inputs] IN, y [outputs] OUT.",
            ],
            f"{function}(NAME_state *s, const float *x, float *y)",
            [f"enum {{ inputs = {K}, outputs = {N} }};", "(void)s;", start, multiply],
        )
        self.source.call(FLUSH, f"NAME_{function}(s, {x.text}, {result.text});")
        return result

    def _layer_norm(self, module: LayerNorm, place: str, x: Value, y: str | None) -> Value:
        name, N = partial(_joined, place), module.size
        self.source.need("layer_norm")
        weight = self.source.array(name("weight"), flushed(module.weight.data), f"[{N}]")
        bias = "NULL"
        if module.bias is not None:
            bias = self.source.array(name("bias"), flushed(module.bias.data), f"[{N}]")
        result = self._output(place, N, y)
        eps = module.eps if module.eps >= np.finfo(np.float64).tiny else 0.0
        arguments = f"{N}, {x.text}, {weight}, {bias}, {eps:.17e}, {result.text}"
        self.source.call(FLUSH, f"NAME_layer_norm({arguments});")
        return result

    def _activation(self, module: Activation, place: str, x: Value, y: str | None) -> Value:
        function = module.function
        if function == "gelu":
            self._tables_of_gelu()
        self.source.need(function)
        result = self._output(place, x.width, y)
        self.source.call(KEEP, f"NAME_{function}_of({x.width}, {x.text}, {result.text});")
        return result

    def _tables_of_gelu(self) -> None:
        """The coefficients of its rational functions, once."""
        for name, ratio in (("small", SMALL), ("middle", MIDDLE), ("large", LARGE)):
            for part, coefficients in zip(("above", "below"), ratio, strict=True):
                values = np.array(coefficients, np.float32)
                comment = f"[{len(values)}] of the error function"
                self.source.constants(f"{name}_{part}", values, comment)

    def _recurrent(self, module: Any, place: str, x: Value, y: str | None) -> Value:
        name, title, source = partial(_joined, place), named(module, place), self.source
        widths = module.info.widths(module.hidden_size, module.proj_size or module.hidden_size)
        fields = {
            part: source.part(_field(part, place), module.num_layers, width)
            for part, width in zip(module.parts, widths, strict=True)
        }
        for number in range(module.num_layers):
            layer = Layer(source, module, title, name, number, self._precision_of(module))
            function = name(f"l{number}")
            body = CELLS[layer.cell](layer)
            source.function(
                [f"{title}, layer {number}.  s INOUT, x [inputs] IN.", "", *layer.comment],
                f"{function}(NAME_state *s, const float *x)",
                [*_opening(layer, fields, number), "", *body],
            )
            source.call(FLUSH, f"NAME_{function}(s, {x.text});")
            x = Value(f"{fields['h']}[{number}]", layer.outputs)
        return x


def _opening(layer: Layer, fields: dict[str, str], number: int) -> list[str]:
    """The sizes of a layer, its part of the state and its scratch memory."""
    sizes = {"inputs": layer.inputs, "units": layer.units, "outputs": layer.outputs}
    if layer.cell == "slstm":
        sizes["head"] = layer.units // layer.heads
    pointers = [f"*{part} = {field}[{number}]" for part, field in fields.items()] + ["*gates = s->work.gates"]
    if layer.normed:
        pointers.append("*sums = s->work.sums")
    return [
        f"enum {{ {', '.join(f'{name} = {size}' for name, size in sizes.items())} }};",
        f"float {', '.join(pointers)};",
    ]


_Add = Callable[[Writer, Any, str, Value, "str | None"], Value]
_ADD: dict[type, _Add] = {
    Sequential: Writer._sequential,
    Parallel: Writer._parallel,
    Residual: Writer._residual,
    Embedding: Writer._embedding,
    Linear: Writer._linear,
    LayerNorm: Writer._layer_norm,
    Dropout: Writer._dropout,
    **dict.fromkeys(ACTIVATIONS, Writer._activation),
    **dict.fromkeys(RECURRENT, Writer._recurrent),
}


def _joined(place: str, name: str) -> str:
    """A name in C of something that belongs to the module at a place."""
    return f"{place.replace('.', '_')}_{name}" if place else name


def _field(name: str, place: str) -> str:
    """The name of a member of the state's struct."""
    return f"{name}_{place.replace('.', '_')}" if place else name
