"""torch.compile sees rnnfast's modules, as it sees any module but torch's own RNN, LSTM and GRU.

torch._dynamo ends its graph at every instance of these three classes, unless its option `allow_rnn` is set,
because it would trace all their steps. The modules here are instances of them, and one node of a graph. So
the option is set while torch._dynamo looks at one of them, and at no other time. torch._dynamo takes seconds
to import, so this waits until something imports it.
"""

from __future__ import annotations

import sys
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["show"]

_BUILDER = "torch._dynamo.variables.builder"


def show(kind: type) -> None:
    """Have torch._dynamo look into modules of this class."""
    builder = sys.modules.get(_BUILDER)
    if builder is None:
        sys.meta_path.insert(0, _Finder(kind))
    else:
        _open(builder, kind)


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


class _Finder(MetaPathFinder):
    """Finds the builder as all other finders do, and opens it after it was loaded."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != _BUILDER:
            return None
        others = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Opening(spec.loader, self._kind)
        return spec


class _Opening(Loader):
    """Another loader, and `_open` after it."""

    def __init__(self, loader: Loader, kind: type) -> None:
        self._loader, self._kind = loader, kind

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        module.__loader__ = spec.loader = self._loader
        self._loader.exec_module(module)
        _open(module, self._kind)
