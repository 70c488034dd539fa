"""The contenders: rnnfast's layer, its reference, a NumPy loop and the installed peers, on equal threads."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import rnnfast as rf
from rnnfast import _core
from rnnfast.benchmark.loop import NumpyLoop
from rnnfast.benchmark.peers import PEERS
from rnnfast.benchmark.problems import PRECISIONS, Contender, NotOffered, Problem, Reference
from rnnfast.recurrent import Recurrent

__all__ = [
    "OURS",
    "Note",
    "Rnnfast",
    "Unfrozen",
    "absent_peers",
    "contenders",
    "ignored",
    "installed",
    "limited_threads",
]

LAYERS: dict[str, type[Recurrent]] = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}


class Rnnfast(Contender):
    """The layer of this library, in evaluation a frozen one: the sessions of peers have constant weights."""

    name = "rnnfast"
    precisions = ("float64", *PRECISIONS)
    trains_in = ("float64", *_core.TRAINABLE)

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        super().__init__(problem, threads)
        I, dtype = problem.x.shape[2], problem.x.dtype.name
        self.layer = LAYERS[problem.cell](I, problem.dy.shape[2], dtype=dtype)
        if problem.precision != dtype:
            self.layer.matmul_precision = problem.precision
        self.layer.load_state_dict({f"{name}_l0": array for name, array in problem.weights.items()})
        self.frozen = copy.deepcopy(self.layer)
        self.frozen.freeze()
        self.x, self.dy = problem.x, problem.dy

    def evaluate(self) -> Any:
        return self.frozen(self.x)

    def train(self) -> Any:
        self.layer.zero_grad()
        y, state, tape = self.layer.forward(self.x)
        dx, _ = self.layer.backward(tape, self.dy)
        return y, state, dx, {name: p.grad for name, p in self.layer.named_parameters()}

    def stepper(self) -> Callable[[], Any]:
        stream, x_t = self.layer.stream(self.x.shape[1]), self.x[0]
        return lambda: stream(x_t)


class Unfrozen(Rnnfast):
    """Evaluation by a layer whose weights may change: each call packs them."""

    name = "unfrozen"
    trains_in = ()
    steps = False  # streams pack once in any case

    def evaluate(self) -> Any:
        return self.layer(self.x)


Note = Callable[[str], None]  # takes a line of text


def ignored(text: str) -> None:
    """Take a note, and do nothing."""


OURS = (Rnnfast, Unfrozen, Reference, NumpyLoop)


def installed(precision: str, *, with_numpy: bool = True) -> list[type[Contender]]:
    """The contenders with a precision here: rnnfast first, then those on NumPy if wanted, then peers."""
    known = [*(OURS if with_numpy else (Rnnfast, Unfrozen)), *PEERS]
    return [Known for Known in known if precision in Known.precisions and _installed(*Known.needs)]


def contenders(
    problem: Problem,
    threads: int,
    *,
    precisions: Sequence[str] | None = None,
    with_numpy: bool = True,
    note: Note = ignored,
) -> list[Contender]:
    """All that are installed, for one problem; make and run them in `limited_threads`.

    They come for each precision in turn, by default for that of the problem alone. `note` gets a line for
    each peer whose library does not run the cell in a precision.
    """
    found: list[Contender] = []
    for precision in precisions or (problem.precision,):
        for Known in installed(precision, with_numpy=with_numpy):
            try:
                found.append(Known(problem.at(precision), threads))
            except NotOffered as reason:
                note(f"{Known.name} {precision}: left out, {reason}")
    return found


def absent_peers() -> dict[str, str]:
    """Each peer that cannot run here, and the packages it needs."""
    return {Peer.name: " and ".join(Peer.needs) for Peer in PEERS if not _installed(*Peer.needs)}


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """In the block, rnnfast, torch and (with threadpoolctl) NumPy's BLAS use this number of threads."""
    with contextlib.ExitStack() as undo:
        undo.callback(rf.set_num_threads, rf.get_num_threads())
        rf.set_num_threads(threads)
        if _installed("torch"):
            torch = import_module("torch")
            undo.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if _installed("threadpoolctl"):
            threadpoolctl = import_module("threadpoolctl")
            undo.enter_context(threadpoolctl.threadpool_limits(threads, user_api="blas"))
        yield


def _installed(*packages: str) -> bool:
    return all(find_spec(package) is not None for package in packages)
