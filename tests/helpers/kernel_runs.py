"""Proof that rnnfast's kernels have run, and not the code that they stand in for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rnnfast import _core

__all__ = ["kernels_run"]


@contextmanager
def kernels_run(passes: int | None = None) -> Iterator[None]:
    """Whatever is inside must run rnnfast's kernels; with `passes`, so often."""
    before = _core.runs_so_far()
    yield
    ran = _core.runs_so_far() - before
    assert ran == passes if passes is not None else ran, f"{ran} passes of rnnfast"
