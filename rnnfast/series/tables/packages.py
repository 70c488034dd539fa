"""Packages that only tables need, imported when a table is read."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["package"]


def package(name: str, who: str = "rnnfast.series") -> ModuleType:
    """The module `name`; if it is absent, an ImportError that says what needs it and what installs it."""
    try:
        return import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        raise ImportError(f'{who} needs {root}: pip install "rnnfast[forecast]"') from error
