"""Mutated files are read, or refused by a sentence; nothing is written then, little memory is allocated."""

from __future__ import annotations

import faulthandler
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.depth import LONG, times
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reliability import mutations

import rnnfast as rf

resource = pytest.importorskip("resource")  # not on Windows

ROOM = 2**30  # bytes that a test may allocate beyond what the process has
mutants = given(rng=st.randoms(use_true_random=False))
many = settings(
    max_examples=times(60, 2000),
    derandomize=not LONG,  # so that a short run finds as many readable mutants each time
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Ends the process with a traceback if a reader hangs, and gives it little memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, hard))
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def either(rng: Random, *ways: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    return ways[0] if rng.random() < 0.25 else ways[1]


@contextmanager
def refused_clearly(outcomes: Counter[str], path: Path) -> Iterator[None]:
    """Counts what is read; an error is a ValueError or TypeError of one line, which names the file."""
    try:
        yield
    except (TypeError, ValueError) as error:
        outcomes["refused"] += 1
        message = str(error)
        assert message.startswith(f"{path}: ") or f" in {path} " in message, message
        assert "\n" not in message
    else:
        outcomes["read"] += 1


def says(name: str, outcomes: Counter[str]) -> str:
    return f"{name}: {outcomes.total()} mutants, {outcomes['refused']} refused, {outcomes['read']} read"


def trained(seed: int = 0) -> tuple[rf.Sequential, rf.optim.Optimizer]:
    """A model and its optimizer after one update."""
    model = rf.Sequential(rf.LSTM(2, 3, rng=seed), rf.Linear(3, 2, rng=seed + 1))
    optimizer = rf.optim.Adam(model.parameters())
    rf.loss_and_grad(model, "mse", np.ones((4, 2, 2), np.float32), np.ones((4, 2, 2), np.float32))
    optimizer.step()
    return model, optimizer


def kept(model: rf.Module, optimizer: rf.optim.Optimizer | None = None) -> list[bytes]:
    """All that a reader may write."""
    state = {} if optimizer is None else optimizer.state_dict()
    return [np.asarray(value).tobytes() for value in (*model.state_dict().values(), *state.values())]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_mutated_checkpoints(tmp_path: Path, figure: Callable[[str], None]) -> None:
    path, whole = tmp_path / "model.npz", []
    for weights in ("float32", "int8"):
        rf.save(
            path, *trained()[: 2 if weights == "float32" else 1], weights=weights, metadata={"a": [1, "b"]}
        )
        whole.append(path.read_bytes())
    model, optimizer = trained(7)
    for data in whole:
        path.write_bytes(data)
        rf.load(path, model)
    outcomes: Counter[str] = Counter()

    @many
    @mutants
    def read(rng: Random) -> None:
        mutate = either(rng, mutations.mutated_bytes, mutations.mutated_npz)
        path.write_bytes(mutate(rng.choice(whole), rng))
        before, refusals = kept(model, optimizer), outcomes["refused"]
        with refused_clearly(outcomes, path):
            rf.load(path, model, *[optimizer][: rng.randint(0, 1)])
        if outcomes["refused"] > refusals:
            assert kept(model, optimizer) == before

    read()
    assert min(outcomes["read"], outcomes["refused"]) > 0
    figure(says("checkpoints", outcomes))


def test_mutated_safetensors(tmp_path: Path, figure: Callable[[str], None]) -> None:
    pytest.importorskip("safetensors")
    from rnnfast import safetensors

    path, whole = tmp_path / "model.safetensors", []
    for weights in ("float32", "bfloat16", "int8"):
        safetensors.save(path, trained()[0], weights=weights, metadata={"a": "b"})
        whole.append(path.read_bytes())
    model, _ = trained(7)
    for data in whole:
        path.write_bytes(data)
        safetensors.load(path, model)
    outcomes: Counter[str] = Counter()

    @many
    @mutants
    def read(rng: Random) -> None:
        mutate = either(rng, mutations.mutated_bytes, mutations.mutated_safetensors)
        path.write_bytes(mutate(rng.choice(whole), rng))
        before, refusals = kept(model), outcomes["refused"]
        with refused_clearly(outcomes, path):
            safetensors.load(path, model)
        if outcomes["refused"] > refusals:
            assert kept(model) == before

    read()
    assert min(outcomes["read"], outcomes["refused"]) > 0
    figure(says("safetensors", outcomes))


def exported(path: Path) -> list[tuple[bytes, Any]]:
    """Three models as ONNX files, each with an input."""
    x = np.ones((5, 2, 2), np.float32)
    models: list[tuple[rf.Module, Any]] = [
        (rf.Sequential(rf.GRU(2, 3, num_layers=2, rng=0), rf.Linear(3, 2, rng=0)), x),
        (rf.LSTM(2, 3, 2, bidirectional=True, rng=0), x),
        (
            rf.Sequential(
                rf.Embedding(7, 2, rng=0),
                rf.RNN(2, 3, batch_first=True, rng=0),
                rf.Last(batch_first=True),
                rf.Linear(3, 2, rng=0),
            ),
            np.ones((2, 5), np.int64),
        ),
    ]
    files = []
    for model, example in models:
        rf.onnx.export(model, path)  # type: ignore[attr-defined]
        files.append((path.read_bytes(), example))
    return files


@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_mutated_onnx_models(tmp_path: Path, figure: Callable[[str], None]) -> None:
    pytest.importorskip("onnx")
    import rnnfast.onnx
    from rnnfast.onnx.graphs import NodeError

    path = tmp_path / "model.onnx"
    whole = exported(path)
    for data, x in whole:
        path.write_bytes(data)
        rnnfast.onnx.load_layers(path)
        rnnfast.onnx.prepare(path).run([x])
    outcomes: Counter[str] = Counter()
    runs: Counter[str] = Counter()

    @many
    @mutants
    def read(rng: Random) -> None:
        mutate = either(rng, mutations.mutated_bytes, mutations.mutated_onnx)
        data, x = rng.choice(whole)
        path.write_bytes(mutate(data, rng))
        with refused_clearly(outcomes, path):
            rnnfast.onnx.load_layers(path)
        with refused_clearly(outcomes, path):
            run(rnnfast.onnx.prepare(path), x)

    def run(prepared: Any, x: Any) -> None:
        runs["all"] += 1
        try:
            prepared.run([x])
        except MemoryError:  # of a size that the model computes
            runs["no memory"] += 1
        except Exception as error:
            runs["refused"] += 1
            named = ("node ", "inputs: ", *(f"{name}: " for name in prepared.inputs))
            if type(error) not in (TypeError, ValueError, NodeError) or not str(error).startswith(named):
                raise  # such as NumPy's AxisError

    read()
    assert min(outcomes["read"], outcomes["refused"]) > 0
    figure(f"{says('ONNX, two readers', outcomes)}; of {runs['all']} runs {runs['refused']} refused")
