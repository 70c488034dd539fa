"""`rnnfast bench`: a layer of the user's own shape, or the whole suite, timed beside the installed peers."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from functools import partial
from pathlib import Path

from rnnfast.benchmark.cases import CASES, CELLS, QUICK
from rnnfast.benchmark.compare import Row, compare
from rnnfast.benchmark.problems import PRECISIONS
from rnnfast.benchmark.suite import run_suite
from rnnfast.cli.errors import CommandError
from rnnfast.cli.options import positive, positive_integer, thread_counts

__all__ = ["add_options", "run", "table", "writes_files"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast bench`."""
    add = parser.add_argument
    add("--cell", choices=CELLS, help="recurrent cell (default: lstm; --suite: all)")
    add("-T", type=positive_integer, default=100, metavar="T", help="steps (default: 100)")
    add("-B", type=positive_integer, default=32, metavar="B", help="sequences in a batch (default: 32)")
    add("-I", type=positive_integer, default=128, metavar="I", help="inputs of a step (default: 128)")
    add("-H", type=positive_integer, default=256, metavar="H", help="hidden units (default: 256)")
    add(
        "--threads",
        type=thread_counts,
        metavar="N,N…",
        help="numbers of threads, a table for each (default: 1; --suite: 1,2)",
    )
    add(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="(default: float32; --suite: float32 alone)",
    )
    add(
        "--matmul-precision",
        choices=(*PRECISIONS, "all"),
        action="append",
        metavar="NAME",
        help=f"precision of matrix products, here and in the peers that have it: {', '.join(PRECISIONS)}, or "
        "all; may be repeated (default: float32)",
    )
    add(
        "--seconds",
        type=positive,
        metavar="X",
        help="seconds for each half of a table (default: 3; --quick: 0.3)",
    )
    add = parser.add_argument_group(
        "the suite", "all named shapes and cells, in place of one shape"
    ).add_argument
    add(
        "--suite",
        action="store_true",
        help="time all named shapes: about 40 minutes on two cores, with all other libraries installed, and "
        "about an hour with --matmul-precision all",
    )
    add("--quick", action="store_true", help="with --suite: few shapes and rounds, a few minutes")
    add(
        "--case",
        choices=CASES,
        action="append",
        metavar="NAME",
        help="with --suite: this shape alone; may be repeated",
    )
    add(
        "--output",
        default="bench-results",
        metavar="DIR",
        help="folder for tables and figures (default: bench-results)",
    )


def writes_files(options: argparse.Namespace) -> bool:
    """Whether the command writes files beside what it prints."""
    return bool(options.suite)


def run(options: argparse.Namespace) -> int:
    """Time a layer of a given shape, or all named shapes, in rnnfast, the reference and other libraries."""
    try:
        (_run_suite if options.suite else _run_shape)(options)
    except AssertionError as error:
        raise CommandError(str(error)) from None
    if importlib.util.find_spec("threadpoolctl") is None:
        print("NumPy's BLAS used its own number of threads, because threadpoolctl is not installed.")
    return 0


def _run_suite(options: argparse.Namespace) -> None:
    output = Path(options.output)
    try:
        run_suite(
            output,
            cases=options.case or (QUICK if options.quick else tuple(CASES)),
            cells=[options.cell] if options.cell else CELLS,
            threads=options.threads or [1, 2],
            precisions=_precisions(options),
            seconds=options.seconds or (0.3 if options.quick else 3.0),
            note=partial(print, file=sys.stderr),
        )
    except OSError as error:
        raise CommandError(f"--output {output}: {error.strerror or error}") from None
    print(f"Tables: {output / 'results.md'}")


def _precisions(options: argparse.Namespace) -> tuple[str, ...]:
    named = options.matmul_precision or ["float32"]
    return PRECISIONS if "all" in named else tuple(named)


def _run_shape(options: argparse.Namespace) -> None:
    precisions = _precisions(options)
    if options.dtype == "float64" and options.matmul_precision:
        raise CommandError("--matmul-precision: layers of --dtype float64 have products of float64 alone")
    cell, shape = options.cell or "lstm", (options.T, options.B, options.I, options.H)
    T, B, I, H = shape
    print(f"{cell.upper()}, T={T} B={B} I={I} H={H}, {options.dtype}; results compared before timing")
    for threads in options.threads or [1]:
        print(f"\nthreads: {threads}")
        rows = compare(
            cell,
            *shape,
            threads=threads,
            dtype=options.dtype,
            precisions=precisions,
            seconds=options.seconds or 3.0,
            note=lambda text: print(f"  {text}"),
        )
        print(table(rows))
    print(f"\nx: time in multiples of {rows[0].label}'s, the median over rounds in which each ran once.")
    print("evaluation: rnnfast is a frozen layer, which packs its weights once, as onnxruntime and OpenVINO")
    print("do. In an unfrozen layer, each call packs them.")
    print("training: forward and backward, with the gradients of input, weights and biases.")
    print("peak: speed as a share of the peak, which is multiply-adds on registers with as many threads,")
    print(f"in {options.dtype}.")
    print("error: the largest difference from the reference in float64, over the largest magnitude (of the")
    print("output; in training, of the gradients).")


def table(rows: list[Row]) -> str:
    """The rows of one number of threads as text: a line for each contender and precision."""
    works = list(dict.fromkeys(row.work for row in rows))
    lines = [
        f"  {'':22}" + "".join(f"{work:>45}" for work in works),
        f"  {'':22}" + f"{'ms':>12}{'x':>8}{'GFLOP/s':>10}{'peak':>6}{'error':>9}" * len(works),
    ]
    for label in dict.fromkeys(row.label for row in rows):
        line = f"  {label:22}"
        for row in rows:
            if row.label == label:
                line += f"{row.seconds * 1e3:12.3f}{row.ratio:8.2f}{row.gflops:10.1f}{row.share:6.2f}"
                line += f"{row.error:9.0e}"
        lines.append(line)
    return "\n".join(lines)
