"""The fixture of the tests that run over all cells."""

from __future__ import annotations

import pytest
from modules.small_layers import CELLS


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param
