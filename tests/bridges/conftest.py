"""Fixtures of the C API: its modules are compiled once in a session, where there is a compiler."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the modules are compiled."""
    from bridges.plans import compile_modules

    folder = tmp_path_factory.mktemp("c_api")
    compile_modules(folder)
    return folder


@pytest.fixture(scope="session")
def bridge(built: Path) -> ModuleType:
    """The module that calls every function of the C API."""
    from bridges.plans import load_module

    return load_module(built, "bridge")
