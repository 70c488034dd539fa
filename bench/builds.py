"""Builds by several compilers: `python bench/builds.py FOLDER FOLDER…` prints Markdown.

Each folder is a clone of this repository with its module built in place, for example by
``CC=clang-16 LDSHARED="clang-16 -shared" python setup.py build_ext --inplace``. A figure is the processor
time of a call, on one thread, over that of the first folder. Each round starts new processes, because the
times of one build differ by several percent from process to process. Within a round the builds take turns,
and the least time of each counts, because other programs can only add to it. The figure is the ratio of the
medians of all rounds. Results have the same bits in all builds before they are timed.
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
from pathlib import Path
from typing import Any

SHAPES = [  # T, B, I, H
    (50, 16, 32, 32),
    (100, 1, 64, 64),
    (100, 32, 64, 64),
    (50, 32, 128, 128),
    (20, 32, 256, 256),
    (10, 64, 512, 512),
]
ROUNDS, TURNS, SECONDS = 15, 10, 0.01
ISAS = ("avx512", "avx2")
CASES = list(product(ISAS, ("LSTM", "GRU"), ("evaluation", "training"), SHAPES))
START = "import sys; sys.path[:0] = sys.argv[1:3]; import builds; builds.serve()"


def work_of(kind: str, work: str, shape: tuple[int, ...]) -> Callable[[], list[Any]]:
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
    """In a process with one build: answer a case by a checksum, a time to spend by the seconds of a call."""
    import rnnfast as rf
    from rnnfast import _core

    assert Path(rf.__file__).is_relative_to(Path(sys.argv[1]).resolve()), f"no clone: {sys.argv[1]}"
    rf.set_num_threads(1)
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, list):
            isa, *case = question
            _core.force_isa(isa)
            run = work_of(*case)
            print(zlib.crc32(b"".join(array.tobytes() for array in run())), flush=True)
        else:
            calls, end, begin = 0, time.perf_counter() + question, time.process_time()
            while not calls or time.perf_counter() < end:
                run()
                calls += 1
            print((time.process_time() - begin) / calls, flush=True)


class Build:
    """A process with the build of a folder."""

    def __init__(self, folder: str) -> None:
        here = str(Path(__file__).parent)
        command = [sys.executable, "-P", "-c", START, folder, here]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, question: Any) -> Any:
        """The answer of `serve`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()


def time_round(folders: list[str]) -> dict[tuple[Any, ...], list[float]]:
    """The seconds of each case with each build, from one process of each."""
    builds = [Build(folder) for folder in folders]
    seconds = {}
    for case in CASES:
        checksums = {build.ask(case) for build in builds}
        assert len(checksums) == 1, f"other bits: {case}"
        turns = [[build.ask(SECONDS) for build in builds] for _ in range(TURNS)]
        seconds[case] = [min(own) for own in zip(*turns, strict=True)]
    for build in builds:
        build.end()
    return seconds


def main(folders: list[str]) -> None:
    rounds = [time_round(folders) for _ in range(ROUNDS)]
    print("| | build | median | largest | its case |\n|---|---|--:|--:|---|")
    for isa, (n, folder) in product(ISAS, list(enumerate(folders))[1:]):
        ratios = {}
        for case in CASES:
            if case[0] == isa:
                first, own = (statistics.median(one[case][build] for one in rounds) for build in (0, n))
                ratios[" ".join(map(str, case[1:]))] = own / first
        worst = max(ratios, key=ratios.__getitem__)
        middle = statistics.median(ratios.values())
        print(f"| {isa} | {folder} | {middle:.2f} | {ratios[worst]:.2f} | {worst} |")


if __name__ == "__main__":
    main(sys.argv[1:])
