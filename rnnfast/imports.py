"""What is to be done when another package's module has been imported, without importing it here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["after_import"]


def after_import(name: str, function: Callable[[ModuleType], object]) -> None:
    """Call `function` with the module of this name: now if it is loaded, else once it has been loaded."""
    loaded = sys.modules.get(name)
    if loaded is None:
        sys.meta_path.insert(0, _Finder(name, function))
    else:
        function(loaded)


class _Finder:
    """Finds a module as the finders after it do, and calls `function` once it is loaded; then it is gone."""

    def __init__(self, name: str, function: Callable[[ModuleType], object]) -> None:
        self._name, self._function = name, function

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        finders = list(sys.meta_path)  # another thread may end an import meanwhile
        if name != self._name or self not in finders:
            return None
        after = finders[finders.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in after if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # in all that imports use
        return spec

    def loaded(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._function(module)


class _Loader:
    """Another loader, which tells a finder when the module is loaded."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader, self._finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.loaded(module)
