"""The contenders: rnnfast's layer, its reference, a NumPy loop and the installed peers, on equal threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import rnnfast as rf
from rnnfast.benchmark.loop import NumpyLoop
from rnnfast.benchmark.peers import PEERS
from rnnfast.benchmark.problems import Contender, Problem, Reference
from rnnfast.recurrent import Recurrent

__all__ = ["Rnnfast", "absent_peers", "contenders", "installed", "limited_threads"]

LAYERS: dict[str, type[Recurrent]] = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}


class Rnnfast(Contender):
    """The layer of this library."""

    name = "rnnfast"

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        I = problem.x.shape[2]
        self.layer = LAYERS[problem.cell](I, problem.dy.shape[2], dtype=problem.x.dtype.name)
        self.layer.load_state_dict({f"{name}_l0": array for name, array in problem.weights.items()})
        self.x, self.dy = problem.x, problem.dy

    def evaluate(self) -> Any:
        return self.layer(self.x)

    def train(self) -> Any:
        self.layer.zero_grad()
        y, state, tape = self.layer.forward(self.x)
        dx, _ = self.layer.backward(tape, self.dy)
        return y, state, dx, {name: p.grad for name, p in self.layer.named_parameters()}

    def stepper(self) -> Callable[[], Any]:
        stream, x_t = self.layer.stream(self.x.shape[1]), self.x[0]
        return lambda: stream(x_t)


def installed(dtype: str, *, with_numpy: bool = True) -> list[type[Contender]]:
    """The contenders that can run a dtype here: rnnfast first, then those on NumPy if wanted, then peers."""
    known = [Rnnfast, *((Reference, NumpyLoop) if with_numpy else ()), *PEERS]
    return [Known for Known in known if dtype in Known.dtypes and _installed(*Known.needs)]


def contenders(problem: Problem, threads: int, *, with_numpy: bool = True) -> list[Contender]:
    """All that are installed, for one problem; make and run them in `limited_threads`."""
    return [Known(problem, threads) for Known in installed(problem.x.dtype.name, with_numpy=with_numpy)]


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
