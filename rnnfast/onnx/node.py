"""What a recurrent node says: its attributes, checked, and what they come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onnx.defs import get_schema
from onnx.helper import get_attribute_value

from rnnfast.onnx.activations import Activation, read_activations
from rnnfast.onnx.graphs import check_attributes

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["INPUTS", "OPERATORS", "QUANTIZED", "Node", "is_recurrent", "name_of", "names_of", "read_node"]

OPERATORS = ("RNN", "LSTM", "GRU")
QUANTIZED = ("com.microsoft", "DynamicQuantizeLSTM")  # domain and operator of onnxruntime's LSTM of integers
_SAME = ("X", "W", "R", "B", "sequence_lens", "initial_h")
_LSTM = (*_SAME, "initial_c", "P")
_SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
INPUTS = {"RNN": _SAME, "GRU": _SAME, "LSTM": _LSTM, QUANTIZED[1]: (*_LSTM, *_SCALES)}
_DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_COMMON = frozenset(
    {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"}
)
_OWN = {"RNN": frozenset(), "LSTM": frozenset({"input_forget"}), "GRU": frozenset({"linear_before_reset"})}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

# What the kernels compute, by our name of a RNN's function; the gates of the other two have no choice.
_NONLINEARITIES = {
    Activation("Tanh"): "tanh",
    Activation("Relu"): "relu",
    Activation("Sigmoid"): "sigmoid",
    Activation("Affine", 1.0, 0.0): "identity",
}


class Node(NamedTuple):
    """The attributes of a recurrent node.

    Attributes
    ----------
    operator : {"RNN", "LSTM", "GRU"}
    hidden_size : int or None
        H; None where the node leaves it to R's shape.
    reverse : tuple of bool
        Of each direction, whether it runs from the last step to the first: its length is D.
    activations : tuple of tuple of Activation
        Of each direction f (RNN), f and g (GRU), or f, g and h (LSTM).
    clip : float or None
        Bounds the pre-activations to -clip .. clip.
    batch_first : bool
        ``layout=1``.
    linear_before_reset, input_forget : bool
    """

    operator: str
    hidden_size: int | None
    reverse: tuple[bool, ...]
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None
    batch_first: bool
    linear_before_reset: bool
    input_forget: bool

    @property
    def without_kernel(self) -> str | None:
        """What of this node the kernels do not compute; None where they compute all of it."""
        default = tuple(Activation(name) for name in _DEFAULTS[self.operator])
        for functions in self.activations:
            covered = functions[0] in _NONLINEARITIES if self.operator == "RNN" else functions == default
            if not covered:
                return f"activations {', '.join(function.name for function in functions)}"
        return None if self.clip is None else f"clip {self.clip:g}"

    def check_state(self, name: str, shape: Sequence[int | None], hidden_size: int | None = None) -> None:
        """Raise a ValueError where a part of the initial state cannot be of this shape.

        Of None in `shape` nothing is known; of `hidden_size`, if the node has none and it is None.
        """
        D, H = len(self.reverse), hidden_size or self.hidden_size
        expected = [None, D, H] if self.batch_first else [D, None, H]
        fits = len(shape) == 3 and all(
            None in (want, got) or want == got for want, got in zip(expected, shape, strict=True)
        )
        if not fits:
            words = ["B" if want is None else want for want in expected[:2]] + ["H" if H is None else H]
            got = ["any" if size is None else size for size in shape]
            raise ValueError(f"{name}: expected shape {words}, got {got}".replace("'", ""))

    def options(self, direction: int) -> dict[str, Any]:
        """The options of the cell that computes one direction, by the names that layers have for them."""
        if self.operator == "RNN":
            return {"nonlinearity": _NONLINEARITIES[self.activations[direction][0]]}
        if self.operator == "LSTM":
            return {"coupled_gates": self.input_forget}
        return {"reset_after": self.linear_before_reset}


def read_node(proto: NodeProto) -> Node:
    """The attributes of a RNN, LSTM or GRU node, as opsets 7 to 22 define them, or of a DynamicQuantizeLSTM.

    Raises
    ------
    ValueError
        An attribute is unknown or has a value that ONNX does not allow; the message names the node and it.

    Examples
    --------
    >>> import onnx
    >>> from rnnfast.onnx.node import read_node
    >>> proto = onnx.helper.make_node("GRU", ["x", "w", "r"], ["y"], direction="reverse", hidden_size=5)
    >>> node = read_node(proto)
    >>> node.hidden_size, node.reverse, node.linear_before_reset, node.without_kernel
    (5, (True,), False, None)
    """
    if proto.op_type == QUANTIZED[1]:
        check_attributes(proto, get_schema("LSTM", 7, ""), QUANTIZED[1])  # which has the same ones
    try:
        return _read(proto)
    except ValueError as error:
        raise ValueError(f"node {name_of(proto)}: {error}") from error


def is_recurrent(proto: NodeProto) -> bool:
    """Whether it is one of the nodes that `read_node` reads."""
    return (proto.domain == "" and proto.op_type in OPERATORS) or (proto.domain, proto.op_type) == QUANTIZED


def name_of(proto: NodeProto) -> str:
    """The node's name; of one without, its first output's."""
    return proto.name or _output(proto)


def names_of(protos: Sequence[NodeProto]) -> list[str]:
    """A name for each node: its own, if no other has it, else its first output's."""
    count = Counter(proto.name for proto in protos)
    return [name_of(proto) if count[proto.name] == 1 else _output(proto) for proto in protos]


def _output(proto: NodeProto) -> str:
    return next(filter(None, proto.output), proto.op_type)


def _read(proto: NodeProto) -> Node:
    keys = INPUTS[proto.op_type]
    inputs = dict(zip(keys, proto.input, strict=False))
    needed = [key for key in keys if key in ("X", "W", "R", *_SCALES)]
    if len(proto.input) > len(keys) or not all(inputs.get(key) for key in needed):
        expected = f"{', '.join(needed[:-1])} and {needed[-1]}"
        raise ValueError(f"inputs: expected {expected}, got {list(proto.input)}")
    operator = "LSTM" if proto.op_type == QUANTIZED[1] else proto.op_type
    given: dict[str, Any] = {}
    for attribute in proto.attribute:
        if attribute.name not in _COMMON | _OWN[operator]:
            raise ValueError(f"{attribute.name}: not an attribute of {operator} in opset 7 to 22")
        given[attribute.name] = get_attribute_value(attribute)
    direction = _text("direction", given.get("direction", b"forward"))
    if direction not in _DIRECTIONS:
        raise ValueError(f"direction: expected one of {', '.join(_DIRECTIONS)}, got {direction!r}")
    reverse = _DIRECTIONS[direction]
    hidden_size = given.get("hidden_size")
    if hidden_size is not None and hidden_size < 1:
        raise ValueError(f"hidden_size: expected at least 1, got {hidden_size}")
    clip = given.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip: expected a positive number, got {clip}")
    flags = {name: given.get(name, 0) for name in ("layout", "linear_before_reset", "input_forget")}
    for name, flag in flags.items():
        if flag not in (0, 1):
            raise ValueError(f"{name}: expected 0 or 1, got {flag}")
    default, D = _DEFAULTS[operator], len(reverse)
    names = [_text("activations", name) for name in given.get("activations", [])] or default * D
    if len(names) != len(default) * D:
        raise ValueError(f"activations: expected {len(default) * D} of them, got {len(names)}")
    functions = read_activations(names, given.get("activation_alpha", []), given.get("activation_beta", []))
    each = len(default)
    return Node(
        operator,
        hidden_size,
        reverse,
        tuple(tuple(functions[d * each : (d + 1) * each]) for d in range(D)),
        None if clip == float("inf") else clip,
        bool(flags["layout"]),
        bool(flags["linear_before_reset"]),
        bool(flags["input_forget"]),
    )


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name}: expected text, got {value!r}") from None
