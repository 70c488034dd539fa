"""The suite's results as Markdown tables and figures; matplotlib is imported only to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rnnfast.benchmark.cases import CASES, SMALL_BATCHES, STEPS, Case
from rnnfast.benchmark.problems import GATES

__all__ = ["class_table", "draw", "markdown"]

# The peers of evaluation. JAX is not among them, because it chooses its own number of threads.
FASTEST_OF = ("torch", "onnxruntime", "openvino")

# Shapes that belong together: name, cells, whether a named shape is in the class.
CLASSES: dict[str, list[tuple[str, tuple[str, ...], Callable[[str], bool]]]] = {
    "training": [
        ("LSTM, H to 64", ("lstm",), lambda case: CASES[case].H <= 64),
        ("LSTM, H from 100", ("lstm",), lambda case: CASES[case].H >= 100),
        ("GRU and RNN, H to 64", ("gru", "rnn"), lambda case: CASES[case].H <= 64),
        ("GRU and RNN, H from 200", ("gru", "rnn"), lambda case: CASES[case].H >= 200),
    ],
    "evaluation": [
        ("LSTM, H to 64", ("lstm",), lambda case: CASES[case].H <= 64),
        ("LSTM, H from 100", ("lstm",), lambda case: CASES[case].H >= 100 and case not in SMALL_BATCHES),
        ("LSTM, small batches", ("lstm",), lambda case: case in SMALL_BATCHES),
        ("GRU and RNN, H to 64", ("gru", "rnn"), lambda case: CASES[case].H <= 64),
        (
            "GRU and RNN, H from 100",
            ("gru", "rnn"),
            lambda case: CASES[case].H >= 100 and case not in SMALL_BATCHES,
        ),
        ("GRU and RNN, small batches", ("gru", "rnn"), lambda case: case in SMALL_BATCHES),
    ],
}

Rows = list[dict[str, Any]]

BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0}  # the background of text that crosses a line


def markdown(results: dict[str, Any]) -> str:
    """All tables of a run, complete or not."""
    facts = ", ".join(f"{name} {fact}" for name, fact in results["machine"].items())
    precision = results["precisions"][0]
    read = ", ".join(f"{speed:.0f} GB/s from {size}" for size, speed in results["read"].items())
    lines = [
        "# Benchmark suite",
        "",
        facts + ".",
        "",
        f"One thread: {results['peak']:.0f} GFLOP/s of multiply-adds on registers (the peak); reads {read}.",
        "",
        f"Columns named after a library: its time in multiples of that of rnnfast {precision}, medians over "
        "rounds. In brackets, below float32: the largest difference from the reference in float64, over the "
        "largest magnitude (of y; in training, of the gradients).",
        "",
        "Evaluation: rnnfast is a frozen layer, which packs its weights once, as onnxruntime, OpenVINO and "
        "torch's int8 do. In an unfrozen layer, each call packs them.",
        "",
        *[f"- {note}" for note in results["notes"]],
        *([""] if results["notes"] else []),
        f"## Geometric means, {precision}",
        "",
        *class_table(in_precision(results["rows"], precision)),
    ]
    for cell in GATES:
        for threads in sorted({row["threads"] for row in results["rows"] if row["cell"] == cell}):
            lines += ["", f"## {cell.upper()}, {threads} {'thread' if threads == 1 else 'threads'}"]
            for work in CLASSES:
                rows = [
                    row
                    for row in results["rows"]
                    if (row["cell"], row["threads"], row["work"]) == (cell, threads, work)
                ]
                lines += ["", *_table(work, rows, CASES, "ms", 1e3)] if rows else []
    if results["steps"]:
        lines += ["", "## One step a call"]
        for cell in GATES:
            for threads in sorted({row["threads"] for row in results["steps"] if row["cell"] == cell}):
                rows = [row for row in results["steps"] if (row["cell"], row["threads"]) == (cell, threads)]
                title = f"{cell.upper()}, threads: {threads}"
                lines += ["", *_table(title, rows, STEPS, "us", 1e6)]
    if results["scaling"]:
        lines += ["", "## Threads", "", *_scaling_table(results["scaling"])]
    return "\n".join(lines) + "\n"


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean of the logarithms."""
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def against(rows: Rows, work: str) -> dict[tuple[str, str, int], float]:
    """By (cell, case, threads): torch's ratio in training, that of the fastest peer in evaluation."""
    whom = ("torch",) if work == "training" else FASTEST_OF
    found: dict[tuple[str, str, int], float] = {}
    for row in rows:
        if row["work"] == work and row["contender"] in whom:
            key = row["cell"], row["case"], row["threads"]
            found[key] = min(row["ratio"], found.get(key, math.inf))
    return found


def class_table(rows: Rows) -> list[str]:
    """Geometric mean and lowest of the ratios in each class of shapes, for each number of threads."""
    lines = [
        "| work | against | shapes | threads | geometric mean | lowest |",
        "|---|---|---|--:|--:|---|",
    ]
    for work, classes in CLASSES.items():
        ratios = against(rows, work)
        whom = "torch" if work == "training" else "the fastest of " + ", ".join(FASTEST_OF)
        for title, cells, belongs in classes:
            for threads in sorted({key[2] for key in ratios}):
                chosen = {
                    (cell, case): ratio
                    for (cell, case, n), ratio in ratios.items()
                    if n == threads and cell in cells and belongs(case)
                }
                if chosen:
                    cell, case = min(chosen, key=lambda key: chosen[key])
                    lines.append(
                        f"| {work} | {whom} | {title} | {threads} | {geometric_mean(chosen.values()):.2f} "
                        f"| {chosen[cell, case]:.2f} ({cell} {case}) |"
                    )
    return lines


def in_precision(rows: Rows, precision: str) -> Rows:
    """The rows of one precision."""
    return [row for row in rows if row["precision"] == precision]


def _label(row: dict[str, Any]) -> str:
    return f"{row['contender']} {row['precision']}"


def _with_error(figure: str, row: dict[str, Any]) -> str:
    """A figure, with its error in brackets where the precision is below float32."""
    return figure if row["precision"] == "float32" else f"{figure} ({row['error']:.1%})"


def _table(title: str, rows: Rows, cases: dict[str, Case], unit: str, scale: float) -> list[str]:
    base, *others = dict.fromkeys(map(_label, rows))
    lines = [
        f"| {title} | T, B, I, H | {base}, {unit} | of the peak | {' | '.join(others)} |",
        "|---|---|--:|--:|" + "--:|" * len(others),
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        by_label = {_label(row): row for row in rows if row["case"] == case}
        ours = by_label[base]
        time = _with_error(f"{ours['seconds'] * scale:.3g}", ours)
        ratios = [
            _with_error(f"{by_label[label]['ratio']:.2f}", by_label[label]) if label in by_label else ""
            for label in others
        ]
        lines.append(
            f"| {case} | {', '.join(map(str, cases[case]))} | {time} | {ours['share']:.2f} "
            f"| {' | '.join(ratios)} |"
        )
    return lines


def _scaling_table(rows: Rows) -> list[str]:
    names = list(rows[0]["speedups"])
    lines = [
        "How many times as fast rnnfast is with more threads, in the same rounds.",
        "",
        "| cell | shape | " + " | ".join(f"{work}, {name}" for work in CLASSES for name in names) + " |",
        "|---|---|" + "--:|" * (len(names) * len(CLASSES)),
    ]
    for cell, case in dict.fromkeys((row["cell"], row["case"]) for row in rows):
        found = {row["work"]: row["speedups"] for row in rows if (row["cell"], row["case"]) == (cell, case)}
        figures = [f"{found[work][name]:.2f}" if work in found else "" for work in CLASSES for name in names]
        lines.append(f"| {cell} | {case} | {' | '.join(figures)} |")
    return lines


def intensity(cell: str, shape: Case, work: str) -> float:
    """Floating-point operations for each byte that has to move.

    The bytes are those of the recurrent weights once in every step (they stay in some cache), and of x, y and
    the gates of each step and sequence. Training adds their gradients, and reads them again.
    """
    T, B, I, H = shape
    G = GATES[cell]
    flops = 2.0 * T * B * G * H * (I + H)
    if work == "evaluation":
        return flops / (4.0 * (T * G * H * H + T * B * (I + H)))
    return 3.0 * flops / (4.0 * (2 * T * G * H * H + T * B * (3 * I + 3 * H + 4 * (G + 1) * H)))


def draw(results: dict[str, Any], output: Path) -> None:
    """Draw ratios.png, if there are ratios, and roofline.png, of the first precision. Needs matplotlib."""
    results = results | {"rows": in_precision(results["rows"], results["precisions"][0])}
    if any(against(results["rows"], work) for work in CLASSES):
        _draw_ratios(results["rows"]).savefig(output / "ratios.png", dpi=100)
    _draw_roofline(results).savefig(output / "roofline.png", dpi=110)


def _draw_ratios(rows: Rows) -> Any:
    """A heat map of ratios by shape, cell and threads, for each kind of work."""
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row["case"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    columns = [(cell, n) for cell in GATES for n in threads if any(row["cell"] == cell for row in rows)]
    figure = Figure(figsize=(2.6 + 1.5 * len(columns), 1.6 + 0.36 * len(cases)), layout="constrained")
    titles = {"training": "training, torch / rnnfast", "evaluation": "evaluation, the fastest peer / rnnfast"}
    for axes, (work, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        ratios = against(rows, work)
        grid = [[math.log2(ratios.get((cell, case, n), math.nan)) for cell, n in columns] for case in cases]
        image = axes.imshow(grid, cmap="RdYlGn", norm=TwoSlopeNorm(0.0, -1.5, 5.0), aspect="auto")
        for i, case in enumerate(cases):
            for k, (cell, n) in enumerate(columns):
                ratio = ratios.get((cell, case, n), math.nan)
                text = f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.2f}"
                axes.text(k, i, text.replace("nan", ""), ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(columns)), [f"{cell.upper()}\n{n} thr." for cell, n in columns], fontsize=8)
        axes.set_yticks(range(len(cases)), [f"{c}  {tuple(CASES[c])}" for c in cases], fontsize=8)
        axes.set_title(title, fontsize=10)
    bar = figure.colorbar(image, ax=figure.axes, ticks=[-1, 0, 1, 2, 3, 4, 5], pad=0.01)
    bar.ax.set_yticklabels(["1/2", "1", "2", "4", "8", "16", "32"], fontsize=8)
    return figure


def _draw_roofline(results: dict[str, Any]) -> Any:
    """GFLOP/s of rnnfast on one thread over flops per byte, under the run's own peak and bandwidths."""
    from matplotlib.figure import Figure

    peak, low, high = results["peak"], 0.06, 256.0
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    for axes, work in zip(figure.subplots(1, 2, sharey=True), CLASSES, strict=True):
        axes.set(xscale="log", yscale="log", title=f"{work}, one thread", xlim=(low, high))
        axes.set_xlabel("flops per byte that has to move")
        axes.axhline(peak, color="0.3", linewidth=1)
        axes.annotate(f"{peak:.0f} GFLOP/s", (low * 1.1, peak * 1.08), color="0.3", fontsize=8)
        for place, (size, speed) in enumerate(results["read"].items()):
            axes.plot([low, peak / speed], [low * speed, peak], "0.6", linewidth=1, zorder=0)
            at, text = (low * 1.2, low * 1.2 * speed), f"{size}: {speed:.0f} GB/s"
            axes.text(*at, text, color="0.4", fontsize=7, va="top" if place else "bottom", bbox=BOX)
        for cell, colour in zip(GATES, ("tab:green", "tab:blue", "tab:red"), strict=True):
            wanted = ("rnnfast", 1, work, cell)
            points = {
                row["case"]: (intensity(cell, CASES[row["case"]], work), row["gflops"])
                for row in results["rows"]
                if (row["contender"], row["threads"], row["work"], row["cell"]) == wanted
            }
            if points:
                axes.plot(
                    *zip(*points.values(), strict=True), "o", color=colour, markersize=4, label=cell.upper()
                )
            for case, at in points.items() if cell == "lstm" else ():
                axes.annotate(case, at, (4, -8), textcoords="offset points", fontsize=6.5, color=colour)
        if axes.get_legend_handles_labels()[0]:  # none in a precision without training
            axes.legend(loc="lower right", fontsize=8)
    figure.axes[0].set_ylabel("GFLOP/s in matrix products")
    return figure
