"""The fixtures of tests that hold for every forecaster."""

from __future__ import annotations

import pytest
from helpers.forecasters import NETWORKS, PLAIN, made


@pytest.fixture(params=[*PLAIN, *NETWORKS])
def forecaster(request):
    return made(request.param)
