"""Draws ladder_text.png: count models of many orders, beside the networks that `train --compare` trained.

The networks' figures are read from ladder_text.txt, which that command printed.
"""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure

from rnnfast.baselines import NGram
from rnnfast.cli.text import default_text

ORDERS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20)
SMOOTHINGS = {"witten-bell": "tab:blue", "kneser-ney": "tab:orange"}
NETWORKS = {"window": "tab:green", "RNN": "tab:red", "GRU": "tab:purple", "LSTM": "tab:brown"}
ROW = re.compile(r"^(\S.*? units)  +([\d,]+) +[\d.]+ +([\d.]+) ", re.MULTILINE)

text = default_text()
printed = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")

figure = Figure(figsize=(10, 4), layout="constrained")
by_order, by_size = figure.subplots(1, 2, sharey=True)
for smoothing, color in SMOOTHINGS.items():
    models = [NGram(text.training, len(text.alphabet), order, smoothing) for order in ORDERS]
    bits = [model.bits_per_symbol(text.held_out) for model in models]
    by_order.plot(ORDERS, bits, "o-", color=color, markersize=4)
    sizes = [model.grams for model in models]
    by_size.plot(sizes, bits, "o-", color=color, markersize=4, label=f"counts, {smoothing}")
for name, size, score in ROW.findall(printed):
    color = NETWORKS[re.split("[ ,]", name)[0]]
    by_order.axhline(float(score), color=color, linestyle="--")
    by_size.plot(int(size.replace(",", "")), float(score), "D", color=color, label=name)
by_order.set(xlabel="order: symbols of a gram", ylabel="held-out bits per character", ylim=(1.4, 2.7))
by_order.set_xticks([1, 5, 10, 15, 20])
by_size.legend(fontsize="small", loc="lower left")
by_size.set(xlabel="parameters, or counts", xscale="log")
for axes in (by_order, by_size):
    axes.grid(alpha=0.3)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
