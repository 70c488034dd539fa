"""Draws ladder_text.png: count models of many orders, beside networks."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from rnnfast.text import NGram, default_text

ORDERS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20)
SMOOTHINGS = {"witten-bell": "tab:blue", "kneser-ney": "tab:orange"}
NETWORKS = {  # parameters, held-out bits and color: what `rnnfast train --compare` trained, and a larger LSTM
    "window of 8": (204_200, 1.850, "tab:green"),
    "RNN": (163_560, 1.876, "tab:red"),
    "GRU": (410_600, 1.638, "tab:purple"),
    "LSTM": (534_120, 1.598, "tab:brown"),
    "LSTM, 512 units": (1_243_752, 1.552, "black"),
}

text = default_text()

figure = Figure(figsize=(10, 4), layout="constrained")
by_order, by_size = figure.subplots(1, 2, sharey=True)
for smoothing, color in SMOOTHINGS.items():
    models = [NGram(text.training, len(text.alphabet), order, smoothing) for order in ORDERS]
    bits = [model.bits_per_symbol(text.held_out) for model in models]
    by_order.plot(ORDERS, bits, "o-", color=color, markersize=4)
    sizes = [model.grams for model in models]
    by_size.plot(sizes, bits, "o-", color=color, markersize=4, label=f"counts, {smoothing}")
for name, (size, score, color) in NETWORKS.items():
    by_order.axhline(score, color=color, linestyle="--")
    by_size.plot(size, score, "D", color=color, label=name)
by_order.set(xlabel="order: symbols of a gram", ylabel="held-out bits per character", ylim=(1.4, 2.7))
by_order.set_xticks([1, 5, 10, 15, 20])
by_size.legend(fontsize="small", loc="lower left")
by_size.set(xlabel="parameters, or counts", xscale="log")
for axes in (by_order, by_size):
    axes.grid(alpha=0.3)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
