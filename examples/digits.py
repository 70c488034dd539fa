"""Handwritten digits read row by row: eight steps of eight pixels, and an answer after the last.

The 1797 digits that come with scikit-learn (pip install "rnnfast[examples]"), in three parts: one to learn
from, one to choose the best epoch by, one to judge by at the end. The figure shows the cell that was best on
the second.
"""

import argparse
import sys

import numpy as np

import rnnfast as rf

try:
    from sklearn.datasets import load_digits
except ImportError:
    sys.exit('digits.py needs scikit-learn: pip install "rnnfast[examples]"')

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--matmul-precision", choices=("float32", "bfloat16"), default="float32")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--figure", default="digits.png")
options = parser.parse_args()

H = 64
S = 10 * options.seed  # the seeds are S + 1, S + 2 and so on
images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
x = (images[order].reshape(-1, 8, 8) / 16).astype(np.float32)  # [N, T, I], the top row first
targets = labels[order]
train, held_out, test = slice(0, 1100), slice(1100, 1400), slice(1400, None)


def figure(cell: str, answers: np.ndarray) -> None:
    """How often each digit of the test was taken for which, and the first that were misread."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return print("no figure: matplotlib is not installed")
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (targets[test], answers), 1)
    drawn = Figure(figsize=(8, 4), layout="constrained")
    left, right = drawn.subfigures(1, 2, width_ratios=(5, 4))
    axes = left.add_subplot(
        xlabel="answer", ylabel="digit", title=f"{cell}, test", xticks=range(10), yticks=range(10)
    )
    axes.imshow(counts, cmap="Blues")
    for digit, answer in zip(*np.nonzero(counts), strict=True):
        color = "white" if digit == answer else "black"
        axes.text(answer, digit, counts[digit, answer], ha="center", va="center", color=color)
    right.suptitle("misread")
    misread = np.flatnonzero(answers != targets[test])[:9]
    for place, axes in zip(misread, right.subplots(3, 3).flat, strict=False):
        axes.imshow(x[test][place], cmap="gray_r")
        axes.set_title(f"{targets[test][place]} as {answers[place]}", fontsize="medium")
    for axes in right.axes:
        axes.axis("off")
    drawn.savefig(options.figure, dpi=110)
    print("figure:", options.figure)


lowest = np.inf
for cell in (rf.RNN, rf.LSTM, rf.GRU):
    model = rf.Sequential(
        cell(8, H, batch_first=True, rng=S + 1),
        rf.Last(batch_first=True),
        rf.Dropout(0.2, rng=S + 2),
        rf.Linear(H, 10, rng=S + 3),
    )
    model.matmul_precision = options.matmul_precision
    history = rf.fit(
        model,
        rf.losses.cross_entropy,
        (x[train], targets[train]),
        rf.optim.AdamW(model.parameters(), lr=0.005),
        epochs=options.epochs,
        validation=(x[held_out], targets[held_out]),
        schedule=rf.schedules.cosine(options.epochs * len(x[train]) / 32),  # 32 digits an update
        clip_norm=1.0,
        progress=False,
        rng=S + 4,
    )
    said = model(x[test])[0].argmax(axis=-1)
    right = np.mean(said == targets[test])
    print(
        f"{cell.__name__:5} {right:.1%} of {len(said)} right, {history.seconds[-1]:.1f} s of training",
        flush=True,
    )
    if history.best < lowest:
        lowest, shown = history.best, (cell.__name__, said)
figure(*shown)
