"""Memory is flat over many calls; where it runs out, nothing is half written and the next call is right."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from helpers.depth import times
from helpers.processes import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, sets RLIMIT_AS")

CALLS = times(3000, 100_000)
HANGS = times(120, 1800)  # seconds
FLAT = """
import os
import numpy as np
import rnnfast as rf

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

model = rf.Sequential(rf.LSTM(3, 8, rng=0), rf.GRU(8, 8, dropout=0.0, rng=1), rf.Linear(8, 2, rng=2))
x, targets = np.ones((6, 4, 3), np.float32), np.ones((6, 4, 2), np.float32)
optimizer, step = rf.optim.Adam(model.parameters(), lr=1e-4), model.stream(4)

def call(n):
    if n % 4 == 0:
        model(x, lengths=[6, 4, 2, 0])
    elif n % 4 == 1:
        optimizer.zero_grad()
        rf.loss_and_grad(model, "mse", x, targets, checkpoint=2 if n % 8 == 1 else None)
        optimizer.step()
    elif n % 4 == 2:
        step(x[0])
    else:
        try:
            model(x[..., :2])
        except ValueError:
            pass

for n in range({calls} // 10):
    call(n)
before = resident()
for n in range({calls}):
    call(n)
print((resident() - before) / 2**20)
"""


def test_memory_is_flat_over_many_calls(figure: Callable[[str], None]) -> None:
    done = run_python(FLAT.replace("{calls}", str(CALLS)), timeout=HANGS)
    assert done.returncode == 0, done.stderr
    grown = float(done.stdout)
    assert grown < 2
    figure(f"{CALLS} calls (evaluation, training, streams, refusals): {grown:.2f} MiB more memory")


EXHAUSTED = """
import resource, sys
import numpy as np
import rnnfast as rf

threads, rounds = int(sys.argv[1]), int(sys.argv[2])
rf.set_num_threads(threads)
model = rf.Sequential(rf.LSTM(16, 64, num_layers=2, rng=0), rf.Linear(64, 16, rng=1))
x = np.random.default_rng(0).normal(size=(100, 16, 16)).astype(np.float32)
soft, hard = resource.getrlimit(resource.RLIMIT_AS)

def space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

def held():
    return [parameter.data.copy() for parameter in model.parameters()]

def once(grads):
    y, state, tape = model.forward(x)
    dx, dstate = model.backward(tape, y, grads=grads)
    return [y, *state[0], dx, *dstate[0], *grads.values()]

def same(got, want):
    return len(got) == len(want) and all(map(np.array_equal, got, want))

want, weights = once({}), held()
outcomes = {"finished": 0, "no memory": 0}
for n in range(rounds):
    grads = {}
    given = grads
    if n % 2:
        given = {name: np.ones_like(parameter.data) for name, parameter in model.named_parameters()}
    unchanged = {name: array.copy() for name, array in given.items()}
    resource.setrlimit(resource.RLIMIT_AS, (space() + n * 16 * 2**20 // rounds, hard))
    try:
        got = once(given)
        outcomes["finished"] += 1
    except MemoryError:
        got = None
        outcomes["no memory"] += 1
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if got is None:
        assert given.keys() == unchanged.keys(), n
        assert same(list(given.values()), list(unchanged.values())), n
    elif given is grads:
        assert same(got, want), n
    assert same(held(), weights), n
    if n % 4 == 0:
        assert same(once({}), want), n
print(outcomes["finished"], outcomes["no memory"])
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pass_without_memory_writes_nothing_and_the_next_is_right(
    threads: int, figure: Callable[[str], None]
) -> None:
    rounds = times(12, 100)
    done = run_python(f"import sys\nsys.argv[1:] = ['{threads}', '{rounds}']\n{EXHAUSTED}", timeout=HANGS)
    assert done.returncode == 0, done.stderr
    finished, failed = map(int, done.stdout.split())
    assert min(finished, failed) > 0
    figure(
        f"memory runs out, {threads} threads: {failed} MemoryErrors in {rounds} passes, each next one right"
    )
