"""Arrays in memory: unaligned ones to give, a watch over what the kernels get, a check of what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnnfast import _core

ENTRIES = ("backward", "forward", "linear_backward", "linear_forward", "run_stack")


def unaligned(array: Any) -> np.ndarray:
    """A copy, C-contiguous, one byte beyond an aligned address."""
    array = np.asarray(array)
    copy: np.ndarray = np.ndarray(array.shape, array.dtype, bytearray(array.nbytes + 1), 1)
    copy[...] = array
    assert not copy.flags.aligned
    return copy


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    """All arrays of a result or of arguments, those of tokens' tables too."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, _core.Embedded):
        yield from (value.table, value.tokens)
    elif isinstance(value, _core.Cell):
        yield from value.weights.values()
    elif isinstance(value, _core.Tape):
        yield from arrays_in((value.cell, value.x, value.initial, value.y, value.gates, value.steps))
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(part)


def assert_row_order(value: Any) -> None:
    """Every array in `value` is C-contiguous, and there is one."""
    arrays = list(arrays_in(value))
    assert arrays
    for array in arrays:
        assert array.flags.c_contiguous, f"{array.shape} with strides {array.strides}"


def watch_alignment(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on, a compiled entry that gets an unaligned array fails; gives the names of those called."""
    called: list[str] = []

    def watched(name: str) -> Any:
        entry = getattr(_core, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            called.append(name)
            for array in arrays_in((arguments, keywords)):
                assert array.flags.aligned, f"{name}: an unaligned array of {array.shape}"
            return entry(*arguments, **keywords)

        return call

    for name in ENTRIES:
        monkeypatch.setattr(_core, name, watched(name))
    return called
