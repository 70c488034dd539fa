"""The workers of one call of `fit`: they exchange arrays, decide alike and end together.

Every exchange has a place in the run. A worker that ends with an error, or that Ctrl-C interrupts, says so in
the next exchange, whatever its place. So no worker waits for one that has ended.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.nn.module import Module

__all__ = ["Communicator", "Team", "WorkerError", "joined"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Communicator(Protocol):
    """What connects the workers of a run: the object that `rf.fit` takes as `comm`.

    :func:`rnnfast.distributed.mpi` gives one for MPI. Any object with these members will do. All workers call
    the methods in the same order. Arrays arrive as they were sent, with their dtype and shape.

    Attributes
    ----------
    rank : int
        The place of this worker, 0 to size - 1.
    size : int
        The number of workers.
    """

    rank: int
    size: int

    def allgather(self, arrays: list[NDArray]) -> list[list[NDArray]]:
        """The arrays of every worker, in order of rank; each may give others, in number and in shape."""

    def broadcast(self, arrays: list[NDArray]) -> list[NDArray]:
        """The arrays of worker 0; those of other workers are ignored."""

    def barrier(self) -> None:
        """Wait until every worker has called it. `fit` does not need it; programs may."""


class WorkerError(RuntimeError):
    """The run has ended because another worker failed, or because the workers are not alike."""


class Team:
    """All workers of a call, seen from one of them; an error on one of them ends the call on all.

    Parameters
    ----------
    comm : Communicator or None
        None: this process alone.

    Attributes
    ----------
    rank, size : int
        The place of this worker, and the number of workers.
    """

    def __init__(self, comm: Communicator | None) -> None:
        self.rank, self.size = 0, 1
        if comm is None:
            return
        for name in ("rank", "size", "allgather", "broadcast"):
            if not hasattr(comm, name):
                raise TypeError(
                    f"comm: expected an object with rank, size, allgather and broadcast, such as "
                    f"rnnfast.distributed.mpi() gives, got {type(comm).__name__} without {name}"
                )
        self._comm = comm
        self.size = checks.positive("comm.size", comm.size)
        self.rank = checks.integer("comm.rank", comm.rank, 0)
        if self.rank >= self.size:
            raise ValueError(f"comm.rank: expected less than comm.size = {self.size}, got {self.rank}")
        self._over = False  # there is nothing to exchange any more
        self._interrupted = False  # and every worker knows it

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.size > 1 and not self._over:
            self._gather({"error": f"{type(error).__name__}: {error}"}, ())

    def exchange(
        self, place: str, note: Any, arrays: Sequence[NDArray] = ()
    ) -> list[tuple[Any, list[NDArray]]]:
        """What every worker gives at this place of the run, in order of rank: its note and its arrays.

        A note is what JSON can hold.
        """
        if self.size == 1:
            return [(note, list(arrays))]
        messages, gathered = self._gather({"place": place, "note": note}, arrays)
        self._end_with_others(messages)
        if any(message.get("interrupted") for message in messages):
            self._interrupted = True
            raise KeyboardInterrupt
        places = [message["place"] for message in messages]
        for rank, other in enumerate(places):
            if other != places[0]:
                self._refuse(f"worker 0 is at {places[0]} and worker {rank} at {other}")
        return [(message["note"], each) for message, each in zip(messages, gathered, strict=True)]

    def interrupt(self) -> None:
        """Tell all workers that this one was interrupted, unless they know of an interruption."""
        if self.size > 1 and not (self._interrupted or self._over):
            self._interrupted = True
            messages, _ = self._gather({"interrupted": True}, ())
            self._end_with_others(messages)

    def agree(self, place: str, reason: str) -> str:
        """The first reason that any worker gives; "" if none does."""
        return next((found for found, _ in self.exchange(place, reason) if found), "")

    def compare(self, facts: Mapping[str, Any]) -> None:
        """Refuse facts that differ from those of worker 0."""
        first, *others = [note for note, _ in self.exchange("the start", dict(facts))]
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other[name] != value:
                    self._over = True
                    raise ValueError(
                        f"comm: expected the same arguments on every worker, got "
                        f"{name}={checks.shown(value)} on worker 0 and {checks.shown(other[name])} on "
                        f"worker {rank}"
                    )

    def compare_parameters(self, place: str, model: Module) -> None:
        """Refuse a model that has not the bits of worker 0's."""
        if self.size == 1:
            return
        sums = [note for note, _ in self.exchange(place, _checksum(model.parameters()))]
        for rank, other in enumerate(sums):
            if other != sums[0]:
                self._refuse(f"at {place} the parameters of worker {rank} are not those of worker 0")

    def first(self, note: Any, arrays: Mapping[str, NDArray]) -> tuple[Any, dict[str, NDArray]]:
        """The note and the arrays of worker 0."""
        head = _encoded({"note": note, "names": list(arrays)})
        self.exchange("the run of worker 0", None)  # where an error or Ctrl-C of before is told
        self._over = True
        text, *given = self._comm.broadcast([head, *arrays.values()])
        self._over = False
        message = _decoded(text)
        return message["note"], dict(zip(message["names"], given, strict=True))

    def _gather(
        self, message: Mapping[str, Any], arrays: Sequence[NDArray]
    ) -> tuple[list[dict[str, Any]], list[list[NDArray]]]:
        head = _encoded(message)  # an error here is told to others
        self._over = True  # if the communicator fails, there is no way to tell them
        gathered = self._comm.allgather([head, *arrays])
        self._over = False
        return [_decoded(text) for text, *_ in gathered], [each for _, *each in gathered]

    def _end_with_others(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """A WorkerError if any worker ended with an error."""
        for rank, message in enumerate(messages):
            if "error" in message:
                self._over = True
                raise WorkerError(f"worker {rank} of {self.size} ended with {message['error']}")

    def _refuse(self, problem: str) -> None:
        self._over = True  # on every worker: they all see the same
        raise WorkerError(
            f"comm: {problem}; expected every worker to have the same data, arguments and callbacks that "
            "change the model, and the same kind of processor and NumPy"
        )


def joined(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """`function`, called with a Team as its keyword `comm`: an error on one worker ends the call on all."""

    @wraps(function)
    def inside(*args: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        with Team(keywords.get("comm")) as team:  # type: ignore[arg-type]  # what is given is checked there
            keywords["comm"] = team
            return function(*args, **keywords)

    return inside


def _encoded(message: Mapping[str, Any]) -> NDArray:
    return np.frombuffer(json.dumps(message).encode(), np.uint8)


def _decoded(text: NDArray) -> dict[str, Any]:
    return json.loads(text.tobytes())


def _checksum(parameters: Iterable[Any]) -> int:
    value = 0
    for parameter in parameters:
        value = zlib.crc32(parameter.data, value)
    return value
