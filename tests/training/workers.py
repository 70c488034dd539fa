"""Workers of `rf.fit` in threads of this process, and what each of them ends with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from helpers.threads import run_together


class _Shared:
    """What the threads of one team share."""

    def __init__(self, size: int) -> None:
        self.slots: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=30)  # a deadlock is an error


class ThreadComm:
    """A communicator between threads."""

    def __init__(self, rank: int, shared: _Shared) -> None:
        self.rank, self.size = rank, len(shared.slots)
        self.sent = 0  # bytes
        self.calls = 0
        self._shared = shared

    def allgather(self, arrays: list[np.ndarray]) -> list[list[np.ndarray]]:
        self.sent += sum(array.nbytes for array in arrays)
        self.calls += 1
        self._shared.slots[self.rank] = [np.array(array) for array in arrays]
        self.barrier()
        gathered = list(self._shared.slots)
        self.barrier()
        return gathered

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return self.allgather(arrays)[0]

    def barrier(self) -> None:
        self._shared.barrier.wait()


def in_threads(size: int, work: Callable[[ThreadComm], Any], here: int | None = None) -> list[Any]:
    """What each worker returns, or the exception that it ends with.

    Worker `here` runs in the calling thread: in the main one, where signals arrive.
    """
    shared = _Shared(size)
    found: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(ThreadComm(rank, shared))
        except BaseException as error:
            found[rank] = error

    others = threading.Thread(
        target=run_together, args=[lambda rank=rank: run(rank) for rank in range(size) if rank != here]
    )
    others.start()
    if here is not None:
        run(here)
    others.join()
    return found
