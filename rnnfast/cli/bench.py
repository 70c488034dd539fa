"""`rnnfast bench`: a layer of the user's own shape, timed beside the reference and the installed peers."""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from rnnfast.cli.contenders import (
    GATES,
    check_equal,
    contenders,
    exact_results,
    limited_threads,
    make_problem,
)
from rnnfast.cli.errors import CommandError
from rnnfast.cli.options import positive, positive_integer, thread_counts
from rnnfast.cli.timing import interleave, median_ratio

__all__ = ["Row", "add_options", "compare", "run"]


class Row(NamedTuple):
    """What one contender took for one kind of work."""

    work: str  # "evaluation" | "training"
    contender: str
    threads: int
    seconds: float  # median
    ratio: float  # of its time to rnnfast's in the same round; median
    gflops: float  # 1e9 floating-point operations a second, matrix products only


def compare(
    cell: str,
    T: int,
    B: int,
    I: int,
    H: int,
    *,
    threads: int = 1,
    dtype: str = "float32",
    seconds: float = 2.0,
) -> list[Row]:
    """Time a layer of one direction, forward and forward+backward, beside the reference and installed peers.

    All contenders' results are compared with the reference's in float64 before anything is timed.

    Parameters
    ----------
    cell : {"rnn", "gru", "lstm"}
        The recurrent cell (rnn: tanh).
    T, B, I, H : int
        Steps, sequences, inputs, hidden units.
    threads : int, default 1
        For every contender.
    dtype : {"float32", "float64"}
        Of everything.
    seconds : float, default 2.0
        How long each of the two kinds of work is timed, roughly.

    Returns
    -------
    list of Row
        "evaluation" first, then "training"; rnnfast first in each.

    Raises
    ------
    AssertionError
        If a contender's results differ from the reference's.

    Examples
    --------
    >>> from rnnfast.cli.bench import compare
    >>> rows = compare("gru", T=20, B=2, I=8, H=16, seconds=0.1)
    >>> [(row.work, row.contender) for row in rows if row.contender == "rnnfast"]
    [('evaluation', 'rnnfast'), ('training', 'rnnfast')]
    """
    problem = make_problem(cell, T, B, I, H, dtype)
    products = 2.0 * T * B * GATES[cell] * H * (I + H)
    rows = []
    with limited_threads(threads):
        competing = contenders(problem, threads)
        expected = exact_results(problem)
        for work, share in (("evaluation", 1), ("training", 3)):
            calls: dict[str, Callable[[], Any]] = {}
            for contender in competing:
                if work == "evaluation" or contender.trains:
                    call = contender.evaluate if work == "evaluation" else contender.train
                    check_equal(contender.arrays(call()), expected, contender.name)
                    calls[contender.name] = call
            times = interleave(calls, seconds)
            for name in calls:
                median = statistics.median(times[name])
                ratio = median_ratio(times[name], times["rnnfast"])
                rows.append(Row(work, name, threads, median, ratio, share * products / median / 1e9))
    return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast bench`."""
    add = parser.add_argument
    add("--cell", choices=list(GATES), default="lstm", help="recurrent cell (lstm)")
    add("-T", type=positive_integer, default=100, metavar="T", help="steps (100)")
    add("-B", type=positive_integer, default=32, metavar="B", help="sequences side by side (32)")
    add("-I", type=positive_integer, default=128, metavar="I", help="inputs (128)")
    add("-H", type=positive_integer, default=256, metavar="H", help="hidden units (256)")
    add("--threads", type=thread_counts, default=[1], metavar="N,N…", help="one table for each number (1)")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(float32)")
    add("--seconds", type=positive, default=3.0, metavar="X", help="to spend on each half of a table (3)")


def run(options: argparse.Namespace) -> int:
    """Time a layer of a given shape beside the reference and the installed ones of torch and onnxruntime."""
    T, B, I, H = options.T, options.B, options.I, options.H
    print(f"{options.cell.upper()}, T={T} B={B} I={I} H={H}, {options.dtype}; results compared before timing")
    for threads in options.threads:
        try:
            rows = compare(
                options.cell, T, B, I, H, threads=threads, dtype=options.dtype, seconds=options.seconds
            )
        except AssertionError as error:
            raise CommandError(str(error)) from None
        print(f"\nthreads: {threads}")
        print(table(rows))
    print("\nx: how many times as long as rnnfast it took, the median over rounds in which each ran once.")
    print("training: forward and backward, with the gradients of input, states, weights and biases.")
    if importlib.util.find_spec("threadpoolctl") is None:
        print("NumPy's BLAS used its own number of threads: threadpoolctl, which sets it, is not installed.")
    return 0


def table(rows: list[Row]) -> str:
    """The rows of one number of threads as text: a line for each contender."""
    lines = [
        f"  {'':12}{'evaluation':>30}{'training':>32}",
        f"  {'':12}" + f"{'ms':>12}{'x':>8}{'GFLOP/s':>10}" * 2,
    ]
    for name in dict.fromkeys(row.contender for row in rows):
        line = f"  {name:12}"
        for row in rows:
            if row.contender == name:
                line += f"{row.seconds * 1e3:12.3f}{row.ratio:8.2f}{row.gflops:10.1f}"
        lines.append(line)
    return "\n".join(lines)
