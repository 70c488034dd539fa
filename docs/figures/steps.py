"""Draws steps.png: the time of one step a call in each library, from the tables of docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

here = Path(__file__).parent
page = (here.parent / "performance.md").read_text(encoding="utf-8")
section = page.partition("\n## One step a call\n")[2].partition("\n## ")[0]
HEAD = r"^\| (RNN|GRU|LSTM), threads: 1 \| T, B, I, H (.*)\n\|[-:|]+\n"
TABLE = re.compile(HEAD + r"((?:\|.*\n?)+)", re.MULTILINE)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| \n").split("|")]


figure = Figure(figsize=(12, 3.8), layout="constrained")
axes = figure.subplots(1, 3, sharey=True)
tables = {cell: (cells(head), body) for cell, head, body in TABLE.findall(section)}
for plot, cell in zip(axes, ("RNN", "GRU", "LSTM"), strict=True):
    (_, _, *peers), body = tables[cell]
    shapes, *rows = zip(*[cells(line) for line in body.splitlines()], strict=True)
    times = [float(time) for time in rows[1]]
    bars = {"rnnfast": times}
    for peer, ratios in zip(peers, rows[3:], strict=True):
        bars[peer] = [time * float(ratio) for time, ratio in zip(times, ratios, strict=True)]
    for k, (name, heights) in enumerate(bars.items()):
        places = [shape + (k - 1.5) * 0.2 for shape in range(len(shapes))]
        plot.bar(places, heights, 0.2, label=name)
    plot.set(
        title=f"{cell}, one thread",
        xticks=range(len(shapes)),
        xticklabels=shapes,
        yscale="log",
        ylim=(0.4, 1500),
    )
axes[0].set_ylabel("us a step")
axes[0].legend()
figure.savefig(here / "steps.png", dpi=100)
