"""Fixtures that choose the kernels and the threads of a test, and put back what they found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from rnnfast import _core, functional


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once with the kernels of every instruction set that this machine has."""
    before = _core.get_isa()
    _core.force_isa(request.param)
    yield request.param
    _core.force_isa(before)


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts kernels, threads and their split back after a test that changes them as it goes."""
    isa, threads = _core.get_isa(), _core.get_num_threads()
    yield
    _core.force_isa(isa)
    _core.set_num_threads(threads)
    _core.force_split(None)


@pytest.fixture
def dirty_memory() -> None:
    """Leaves NaN in the scratch memory of the next call, which must write there before it reads."""
    x, weight, bias = (np.full(shape, np.nan, np.float32) for shape in ((2, 8, 100), (400, 100), (400,)))
    *_, tape = functional.lstm_forward(x, weight, weight, bias, bias)
    functional.lstm_backward(tape, None, None)
