"""torch.compile sees rnnfast's modules, as it sees any module but torch's own RNN, LSTM and GRU.

torch._dynamo ends its graph at every instance of these three classes, unless its option `allow_rnn` is set,
because it would trace all their steps. The modules here are instances of them, and one node of a graph. So
the option is set while torch._dynamo looks at one of them, and at no other time. torch._dynamo takes seconds
to import, so this waits until something imports it.
"""

from __future__ import annotations

from functools import partial, wraps
from types import ModuleType
from typing import Any

from rnnfast.imports import after_import

__all__ = ["show"]

_BUILDER = "torch._dynamo.variables.builder"


def show(kind: type) -> None:
    """Have torch._dynamo look into modules of this class."""
    after_import(_BUILDER, partial(_open, kind=kind))


def _open(builder: ModuleType, kind: type) -> None:
    """Set the option wherever the builder wraps an instance of `kind`."""
    inner = getattr(builder.VariableBuilder, "wrap_module", None)
    if inner is None or not hasattr(builder.config, "allow_rnn"):
        return  # another version of torch, which may see them as it is

    @wraps(inner)
    def wrap_module(self: Any, value: Any) -> Any:
        if not isinstance(value, kind):
            return inner(self, value)
        with builder.config.patch(allow_rnn=True):
            return inner(self, value)

    builder.VariableBuilder.wrap_module = wrap_module
