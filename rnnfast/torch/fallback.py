"""Where torch and rnnfast part: calls that the kernels cannot run, functions that torch cannot compile."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad

_Function = TypeVar("_Function", bound=Callable[..., Any])
_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
_FLOATS = frozenset({torch.float32, torch.float64})
# Python's own memory of warnings is lost whenever some code, torch's too, changes filters.
_said: set[str] = set()


class FallbackWarning(UserWarning):
    """A module of `rnnfast.torch` was run by torch's own code; the message says why.

    It is given once for each reason. As an error it finds the place::

        warnings.simplefilter("error", rnnfast.torch.FallbackWarning)
    """


def obstacle(tensors: Iterable[torch.Tensor | None]) -> str | None:
    """Why the kernels cannot run on these tensors now, in a few words; None if they can."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func"
    if torch._C._len_torch_dispatch_stack():
        return "a torch dispatch mode"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN:
            return f"a {type(tensor).__name__}"
        if not tensor.is_cpu:
            return f"a tensor on {tensor.device.type}"
        if tensor.dtype not in _FLOATS:
            return f"a tensor of {tensor.dtype}"
        if tensor.layout is not torch.strided:
            return f"a tensor of layout {tensor.layout}"
    return None


def warn_of(reason: str) -> None:
    """Say that torch's own code runs, and why, unless it has been said."""
    if reason not in _said:
        text = f"rnnfast.torch: torch's own code runs, not rnnfast's kernels, because of {reason}"
        warnings.warn(text, FallbackWarning, stacklevel=1)
        _said.add(reason)


def node_of(module: torch.nn.Module, input: torch.fx.Proxy, *args: Any, **kwargs: Any) -> torch.fx.Proxy:
    """A call as one node of the graph that torch.fx traces, as it has calls of torch's own modules."""
    tracer = input.tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(module), (input, *args), kwargs)


def untraced(function: _Function) -> _Function:
    """A function that torch.compile does not look into: one graph ends before it, another begins after it."""
    outside = torch._disable_dynamo(function)  # when called, it imports torch._dynamo: seconds

    @wraps(function)
    def call(*args: Any) -> Any:
        return outside(*args) if "torch._dynamo" in sys.modules else function(*args)

    return call  # type: ignore[return-value]
