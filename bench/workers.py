"""Two workers of one thread beside one process of two threads: `python bench/workers.py` prints Markdown.

All train the same model on the same batches with `rf.fit`. With two shards, one process has the bits of the
workers. Without shards, it need not cut its batches. They run in turn; a figure is the median of its rounds.
Needs mpi4py and mpich.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import zlib
from operator import truediv

import numpy as np

import rnnfast as rf
from rnnfast.benchmark.machine import describe

SHAPES = [(50, 64), (100, 128), (100, 256)]  # T, H
RUNS = (2, 2), (1, 1), (2, 1)  # shards and workers
BATCH, WIDTH, ROUNDS, SECONDS = 32, 32, 5, 3.0


def train(T: int, H: int, steps: int, shards: int, comm: object) -> tuple[float, int]:
    """Seconds of a step, and a checksum of the weights."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, BATCH * steps, WIDTH), dtype=np.float32)
    targets = rng.integers(0, 10, (T, BATCH * steps))
    model = rf.Sequential(rf.LSTM(WIDTH, H, rng=0), rf.Linear(H, 10, rng=1))
    optimizer = rf.optim.Adam(model.parameters(), lr=0.001)
    options = {"batch_size": BATCH, "progress": False, "rng": 2, "shards": shards, "comm": comm}
    rf.fit(model, "cross_entropy", (x[:, :BATCH], targets[:, :BATCH]), optimizer, epochs=2, **options)
    begin = time.perf_counter()
    rf.fit(model, "cross_entropy", (x, targets), optimizer, epochs=1, **options)
    seconds = (time.perf_counter() - begin) / steps
    return seconds, zlib.crc32(b"".join(parameter.data.tobytes() for parameter in model.parameters()))


def measured(T: int, H: int, steps: int, shards: int, workers: int) -> tuple[float, str]:
    """What a process, or two, of this file print: seconds of a step, and the checksum."""
    own = [sys.executable, "-m", "mpi4py", __file__] if workers > 1 else [sys.executable, __file__]
    before = ["mpiexec", "-n", str(workers)] if workers > 1 else []
    environment = os.environ | {"RNNFAST_NUM_THREADS": str(2 // workers)}
    command = [*before, *own, str(T), str(H), str(steps), str(shards), str(workers)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds, checksum = done.stdout.split()
    return float(seconds), checksum


def main() -> None:
    print(", ".join(f"{name} {version}" for name, version in describe(("mpi4py",)).items()))
    print("\n| T, H | two workers | one process | one process, shards=2 | over one | over one with shards |")
    print("|---|--:|--:|--:|--:|--:|")
    for T, H in SHAPES:
        first = {run: measured(T, H, 5, *run) for run in RUNS}
        assert first[2, 2][1] == first[2, 1][1]  # the same bits
        steps = max(5, round(SECONDS / first[1, 1][0]))
        rounds = [[measured(T, H, steps, *run) for run in RUNS] for _ in range(ROUNDS)]
        two, one, cut = ([run[n][0] for run in rounds] for n in range(3))
        times = " | ".join(f"{statistics.median(values) * 1e3:.1f} ms" for values in (two, one, cut))
        ratios = " | ".join(f"{statistics.median(map(truediv, values, two)):.2f}" for values in (one, cut))
        print(f"| {T}, {H} | {times} | {ratios} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        T, H, steps, shards, workers = map(int, sys.argv[1:])
        comm = None
        if workers > 1:
            from rnnfast.distributed import mpi

            comm = mpi()
        seconds, checksum = train(T, H, steps, shards, comm)
        if comm is None or comm.rank == 0:
            print(seconds, f"{checksum:08x}")
    else:
        main()
