"""Builds by several compilers: `python bench/builds.py FOLDER FOLDER…` prints Markdown.

Each folder is a clone of this repository with its module built in place, for example by
``CC=clang-16 LDSHARED="clang-16 -shared" python setup.py build_ext --inplace``. Figures are the time over
that of the first folder, on one thread: medians of rounds in which all builds take turns, of processor time.
Results have the same bits in all builds before they are timed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from itertools import product
from typing import Any

SHAPES = [  # T, B, I, H
    (50, 16, 32, 32),
    (100, 1, 64, 64),
    (100, 32, 64, 64),
    (50, 32, 128, 128),
    (20, 32, 256, 256),
    (10, 64, 512, 512),
]
ROUNDS, SECONDS = 11, 0.1
START = "import sys; sys.path[:0] = sys.argv[1:3]; import builds; builds.serve()"


def work_of(kind: str, work: str, shape: list[int]) -> Callable[[], list[Any]]:
    """A function that evaluates or trains a layer, and returns arrays."""
    import numpy as np

    import rnnfast as rf

    T, B, I, H = shape
    rng = np.random.default_rng(0)
    layer = getattr(rf, kind)(I, H, rng=0)
    x, dy = (rng.standard_normal((T, B, N), dtype=np.float32) for N in (I, H))
    if work == "evaluation":
        return lambda: [layer(x)[0]]

    def train() -> list[Any]:
        grads: dict[str, Any] = {}
        y, _, tape = layer.forward(x)
        dx, _ = layer.backward(tape, dy, grads=grads)
        return [y, dx, *grads.values()]

    return train


def serve() -> None:
    """In a process with one build: answer each case of a line with a checksum and the seconds of a call."""
    import rnnfast as rf
    from rnnfast import _core

    rf.set_num_threads(1)
    for line in sys.stdin:
        isa, *case, seconds = json.loads(line)
        _core.force_isa(isa)
        run = work_of(*case)
        checksum = zlib.crc32(b"".join(array.tobytes() for array in run()))
        calls, end, begin = 0, time.perf_counter() + seconds, time.process_time()
        while time.perf_counter() < end:
            run()
            calls += 1
        print(json.dumps([checksum, (time.process_time() - begin) / max(calls, 1)]), flush=True)


def main(folders: list[str]) -> None:
    here = __file__.rpartition("/")[0] or "."
    workers = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", START, folder, here],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in folders
    ]

    def ask(worker: Any, *case: Any) -> list[Any]:
        worker.stdin.write(json.dumps(case) + "\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    print("| | build | median | largest | its case |\n|---|---|--:|--:|---|")
    for isa in ("avx512", "avx2"):
        ratios: dict[str, dict[str, float]] = {folder: {} for folder in folders[1:]}
        for case in product(("LSTM", "GRU"), ("evaluation", "training"), SHAPES):
            checksums = {ask(worker, isa, *case, 0)[0] for worker in workers}
            assert len(checksums) == 1, f"other bits: {isa} {case}"
            rounds = [[ask(worker, isa, *case, SECONDS)[1] for worker in workers] for _ in range(ROUNDS)]
            for n, folder in enumerate(folders[1:], 1):
                ratios[folder][" ".join(map(str, case))] = statistics.median(
                    one[n] / one[0] for one in rounds
                )
        for folder, own in ratios.items():
            case = max(own, key=own.__getitem__)
            print(
                f"| {isa} | {folder} | {statistics.median(own.values()):.2f} | {own[case]:.2f} | {case} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
