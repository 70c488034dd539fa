"""Memory, import time, decayed states, cost as T, B, H grow: `python bench/facts.py` prints Markdown.

Memory is what the system counts (kernels' buffers are not Python's): each figure has a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import rnnfast as rf
from rnnfast.benchmark.timing import interleave, median_ratio

LAYERS = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}

MEMORY = """
import resource, sys
import numpy as np, rnnfast as rf
cell, how, T, B, I, H = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
rf.set_num_threads(1)
layer = getattr(rf, cell.upper())(I, H, rng=0)
call = layer if how == "evaluation" else layer.forward
x = np.random.default_rng(0).standard_normal((T, B, I), dtype=np.float32)
kept = call(x[:1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kept = call(x)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
unit = 1 if sys.platform == "darwin" else 1024
print(grown * unit - kept[0].nbytes)
"""

IMPORT = """
import time, numpy
begin = time.process_time()
import rnnfast
print(1e3 * (time.process_time() - begin))
"""


def printed(program: str, *arguments: object) -> float:
    """The number that a program prints in a process of its own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory() -> None:
    """Working memory of evaluation by T; what training saves, in floats per step, sequence and unit."""
    print("B 8, I = H = 128; beyond x and y:\n")
    print("| evaluation | T 250 | T 1000 | T 4000 | T 16000 | saved for backward, floats a step and unit |")
    print("|---|--:|--:|--:|--:|--:|")
    for cell in LAYERS:
        sizes = [printed(MEMORY, cell, "evaluation", T, 8, 128, 128) for T in (250, 1000, 4000, 16000)]
        saved = printed(MEMORY, cell, "training", 4000, 8, 128, 128) / 4 / (4000 * 8 * 128)
        print(f"| {cell} | " + " | ".join(f"{size / 2**20:.2f} MB" for size in sizes) + f" | {saved:.2f} |")


def import_time() -> None:
    """Milliseconds that `import rnnfast` takes after `import numpy`."""
    times = [printed(IMPORT) for _ in range(15)]
    print(f"\nimport rnnfast, after numpy: {statistics.median(times):.1f} ms of the processor")


def layer_calls(cell: str, T: int, B: int, H: int, scale: float = 1.0) -> dict[str, Callable[[], Any]]:
    """Evaluation and training of a layer with I = H; x, the initial state and dy have the size of `scale`."""
    layer = LAYERS[cell](H, H, rng=0, bias=scale == 1.0)
    rng = np.random.default_rng(0)
    x, dy = (np.float32(scale) * rng.standard_normal((T, B, H), dtype=np.float32) for _ in range(2))

    def train() -> None:
        _, _, tape = layer.forward(x)
        layer.backward(tape, dy)

    return {"evaluation": partial(layer, x), "training": train}


def decayed() -> None:
    """Times with all values near 1e-40 over those with ordinary ones, without biases on either side."""
    print("\n| all values near 1e-40, over ordinary values, T 100, B 8, I = H = 64 | evaluation | training |")
    print("|---|--:|--:|")
    for cell in LAYERS:
        ratios = []
        ordinary, tiny = layer_calls(cell, 100, 8, 64, 0.99), layer_calls(cell, 100, 8, 64, 1e-40)
        for work in ordinary:
            times = interleave({"ordinary": ordinary[work], "tiny": tiny[work]}, 1.0, alone=True)
            ratios.append(median_ratio(times["tiny"], times["ordinary"]))
        print(f"| {cell} | {ratios[0]:.2f} | {ratios[1]:.2f} |")


def growth() -> None:
    """Microseconds per step of all sequences as one dimension grows and the others stay."""
    axes = {
        "T": ("B 16, I = H = 128", [(T, 16, 128) for T in (1, 10, 100, 1000, 10000)]),
        "B": ("T 100, I = H = 128", [(100, B, 128) for B in (1, 2, 4, 8, 16, 32, 64, 128)]),
        "H": ("T 50, B 16, I = H", [(50, 16, H) for H in (16, 32, 64, 128, 256, 512, 1024)]),
    }
    for axis, (others, shapes) in axes.items():
        place = "TBH".index(axis)
        heads = [f"{axis} {shape[place]}" for shape in shapes]
        print(f"\n| LSTM, us a step, {others} | " + " | ".join(heads) + " |")
        print("|---|" + "--:|" * len(shapes))
        calls = [layer_calls("lstm", *shape) for shape in shapes]
        for work in ("evaluation", "training"):
            times = interleave({str(k): call[work] for k, call in enumerate(calls)}, 4.0, alone=True)
            steps = [statistics.median(times[str(k)]) / shape[0] * 1e6 for k, shape in enumerate(shapes)]
            print(f"| {work} | " + " | ".join(f"{step:.3g}" for step in steps) + " |")


if __name__ == "__main__":
    rf.set_num_threads(1)
    memory()
    import_time()
    decayed()
    growth()
