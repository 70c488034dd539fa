"""Draws ladder_text.png from ladder_text.txt, which `rnnfast train --compare` printed."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

NETWORKS = {"window": "tab:green", "RNN": "tab:red", "GRU": "tab:purple", "LSTM": "tab:brown"}
SMOOTHINGS = {"Witten-Bell": "tab:blue", "Kneser-Ney": "tab:orange"}
ROW = re.compile(r"^(\S.*?)  +([\d,]+) +[\d.]+ +([\d.]+) +[\d.]+$", re.MULTILINE)

table = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
rungs = {name: (int(size.replace(",", "")), float(bits)) for name, size, bits in ROW.findall(table)}

figure = Figure(figsize=(10, 4), layout="constrained")
by_order, by_size = figure.subplots(1, 2, sharey=True)
for smoothing, color in SMOOTHINGS.items():
    counting = {name: rung for name, rung in rungs.items() if name.endswith(smoothing)}
    orders = [
        {"unigram": 1, "bigram": 2}.get(name.split(",")[0]) or int(name.split("-")[0]) for name in counting
    ]
    sizes, bits = zip(*counting.values(), strict=True)
    by_order.plot(orders, bits, "o-", color=color, label=f"counts, {smoothing}")
    by_size.plot(sizes, bits, "o-", color=color)
for name, (size, bits) in rungs.items():
    if name.split()[0] in NETWORKS:
        color = NETWORKS[name.split()[0]]
        by_order.axhline(bits, color=color, linestyle="--", label=name)
        by_size.plot(size, bits, "D", color=color)
by_order.set(xlabel="order: symbols of a gram", ylabel="held-out bits per character", ylim=(1.4, 2.7))
by_order.set_title("counts gain with the order, or lose")
by_order.legend(fontsize="small")
by_size.set(xlabel="parameters, or counts", xscale="log", title="what it takes")
for axes in (by_order, by_size):
    axes.grid(alpha=0.3)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
