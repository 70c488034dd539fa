"""What the kernels cannot do in torch: calls that torch's own code runs, transforms that a module refuses."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch.autograd import forward_ad
from torch.fx import Proxy

from rnnfast.torch.tensors import FLOATS, PLAIN

__all__ = [
    "FallbackWarning",
    "Obstacle",
    "fits_a_graph",
    "in_onnx_export",
    "in_transform",
    "node_of",
    "obstacle",
    "obstacle_around",
    "packed_in_transform",
    "proxies_in",
    "refuse_beyond",
    "unscriptable",
    "untraced",
    "warn_of",
    "warn_of_quantization",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_RESTORE = "take torch.nn's modules by rnnfast.torch.restore(model)"
# Python's own memory of warnings is lost whenever some code, torch's too, changes filters.
_said: set[str] = set()


class FallbackWarning(UserWarning):
    """torch's own code ran a module of `rnnfast.torch`, or quantization did not see it.

    The message gives the reason and the remedy, once for each reason. As an error it finds the place::

        warnings.simplefilter("error", rnnfast.torch.FallbackWarning)
    """


class Obstacle(NamedTuple):
    """Why the kernels cannot run, in a few words, and what to do about it."""

    reason: str
    remedy: str


def obstacle(tensors: Iterable[torch.Tensor | None], also: Collection[torch.dtype] = ()) -> Obstacle | None:
    """What keeps the kernels from running on these tensors now; None if nothing does.

    The caller casts floats of the dtypes `also`, so they are no obstacle.
    """
    found = obstacle_around()
    if found is not None:
        return found
    for tensor in tensors:
        if tensor is not None:
            found = _obstacle_in(tensor, also)
            if found is not None:
                return found
    return None


def obstacle_around() -> Obstacle | None:
    """A transform or mode of torch that needs torch's own operations."""
    if torch._C._len_torch_dispatch_stack():
        return Obstacle("a torch dispatch mode", f"call the module outside of it, or {_RESTORE}")
    if torch.jit.is_tracing():
        return Obstacle("torch.jit.trace", f"{_RESTORE} before tracing")
    if forward_ad._current_level >= 0:
        return Obstacle("forward-mode differentiation", f"take reverse mode, or {_RESTORE}")
    return None


def _obstacle_in(tensor: torch.Tensor, also: Collection[torch.dtype]) -> Obstacle | None:
    """What the kernels cannot read about a tensor."""
    if type(tensor) not in PLAIN:
        return Obstacle(f"a {type(tensor).__name__}", f"give plain tensors, or {_RESTORE}")
    if not tensor.is_cpu:
        return Obstacle(f"a tensor on {tensor.device.type}", f"move it to the CPU, or {_RESTORE}")
    if tensor.dtype not in FLOATS and tensor.dtype not in also:
        return Obstacle(
            f"a tensor of {tensor.dtype}",
            f"keep module and input in float32 (torch.autocast gives lower results), or {_RESTORE}",
        )
    if tensor.layout is not torch.strided:
        return Obstacle(f"a tensor of layout {tensor.layout}", f"call to_dense() on it, or {_RESTORE}")
    return None


def in_transform() -> bool:
    """Whether a transform of torch.func looks at what is called."""
    return torch._C._are_functorch_transforms_active()


def packed_in_transform() -> TypeError:
    """The error for packed sequences, of which the operators know nothing."""
    return TypeError(
        "input: expected padded sequences, with the keyword lengths, inside of a transform of torch.func; "
        f"got a PackedSequence; or {_RESTORE}"
    )


def in_onnx_export() -> bool:
    """Whether torch.onnx's exporter traces, which knows torch's own modules alone."""
    return "torch.onnx" in sys.modules and torch.onnx.is_in_onnx_export()


# torch.compile takes what it returns for a constant; torch's own function is False wherever it traces.
in_onnx_export._dynamo_marked_constant = True  # type: ignore[attr-defined]


def fits_a_graph(x: Any, hx: Any, weights: Iterable[torch.Tensor]) -> bool:
    """Whether an operator can run a call of these arguments that a graph is made of.

    Otherwise torch.compile ends its graph before the call.
    """
    if in_transform():
        return False
    parts = hx if isinstance(hx, (tuple, list)) else () if hx is None else (hx,)
    floats = (*FLOATS, torch.bfloat16, torch.float16) if torch.is_autocast_enabled("cpu") else FLOATS
    for tensor in (x, *parts, *weights):
        if not isinstance(tensor, torch.Tensor):
            return False
        if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.dtype not in floats:
            return False
    return True


def warn_of(what: Obstacle) -> None:
    """Say that torch's own code runs, why, and what to do, unless it has been said."""
    _say(
        f"torch's own code runs, not rnnfast's kernels, because of {what.reason}: {what.remedy}",
        what.reason,
    )


def warn_of_quantization() -> None:
    """Say that quantization passes over rnnfast's modules, and what to do, unless it has been said."""
    _say(
        "torch.ao.quantization leaves rnnfast's modules in floating point, because it knows torch.nn's "
        f"alone: to quantize them, {_RESTORE} before",
        "torch.ao.quantization",
    )


def _say(text: str, key: str) -> None:
    if key not in _said:
        warnings.warn(f"rnnfast.torch: {text}", FallbackWarning, stacklevel=1)
        _said.add(key)


def refuse_beyond(beyond: Iterable[str], reason: str) -> None:
    """A TypeError if anything is given that is beyond torch's code, which has to run because of `reason`."""
    names = ", ".join(beyond)
    if names:
        remedy = "; set it to 'float32' to have torch's own code run" if names == "matmul_precision" else ""
        raise TypeError(
            f"{names}: expected plain tensors of float32 or float64 on the CPU, outside of torch's "
            f"transforms, as torch.nn does not know it; got {reason}{remedy}"
        )


def unscriptable(module: torch.nn.Module) -> TypeError:
    """The error for torch.jit.script, which compiles Python that it can read."""
    return TypeError(
        f"torch.jit.script: expected modules that it can compile, got rnnfast's {type(module).__name__}; "
        f"{_RESTORE} before"
    )


def proxies_in(*arguments: Any) -> list[Proxy]:
    """The arguments of a call that torch.fx traces, also inside a state or packed sequences."""
    found: list[Proxy] = []
    for argument in arguments:
        if argument is None or type(argument) in PLAIN:
            continue
        if isinstance(argument, Proxy):
            found.append(argument)
        elif isinstance(argument, (tuple, list)):
            found += [part for part in argument if isinstance(part, Proxy)]
    return found


def node_of(module: torch.nn.Module, proxies: Sequence[Proxy], *args: Any, **kwargs: Any) -> Proxy:
    """A call as one node of the graph that torch.fx traces, as it has calls of torch's own modules."""
    tracer = proxies[0].tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), args, kwargs)


def untraced(function: _Function) -> _Function:
    """A function that torch.compile does not look into: one graph ends before it, another begins after it."""
    outside = torch._disable_dynamo(function)  # when called, it imports torch._dynamo: seconds
    # What torch.compile(fullgraph=True) says.
    outside._torchdynamo_disable = True
    outside._torchdynamo_disable_msg = (
        "rnnfast's operators in a graph take padded sequences (with lengths=) of float32 or float64 on the "
        f"CPU, outside of torch.func's transforms; give these, compile without fullgraph=True, or {_RESTORE}"
    )

    @wraps(function)
    def call(*args: Any) -> Any:
        return outside(*args) if "torch._dynamo" in sys.modules else function(*args)

    return call  # type: ignore[return-value]
