"""The copying problem: five symbols are shown, and asked for in the same order after a delay.

Nothing but remembering is called for. There are eight symbols, so who guesses has an eighth right; solved is
99%, of sequences never seen. After Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks"
(2016), with half as many symbols to remember, and a loss that counts the answer alone. `linear` is an RNN
without a nonlinearity: with an orthogonal W_hh it loses nothing of what it has read.

    python examples/copy_memory.py --delay 100
    python examples/copy_memory.py --table
"""

import argparse
from functools import partial

import numpy as np

import rnnfast as rf

CELLS = ("rnn", "rnn-orthogonal", "linear-orthogonal", "irnn", "lstm", "lstm-forget", "gru")
parser = argparse.ArgumentParser()
parser.add_argument("--cell", nargs="+", choices=CELLS, default=CELLS)
parser.add_argument("--delay", type=int, default=30, help="steps between the symbols and the answer")
parser.add_argument("--seconds", type=float, default=30, help="of training, for each cell at most")
parser.add_argument("--no-clip", action="store_true", help="leave the gradients as they are")
parser.add_argument("--table", action="store_true", help="all cells, clipped and not, at growing delays")
parser.add_argument("--figure", default="copy_memory.png")
options = parser.parse_args()

B, H = 32, 64  # sequences of a batch, hidden units
SYMBOLS, SHOWN = 8, 5  # how many there are, how many are to be remembered
WAIT, ANSWER = SYMBOLS, SYMBOLS + 1  # two more, which fill the delay and end it
UPDATES = 50  # of the weights, between two looks at sequences held out
SOLVED = 0.99
RATES = {"rnn": 0.002, "linear": 0.0003, "irnn": 0.002, "lstm": 0.005, "gru": 0.01}


def sequences(delay: int, B: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x [T, B, SYMBOLS + 2], a 1 for each step's symbol; targets [SHOWN, B], those of the last steps."""
    targets = rng.integers(0, SYMBOLS, (SHOWN, B))
    seen = np.full((SHOWN + delay + SHOWN, B), WAIT)
    seen[:SHOWN], seen[-SHOWN] = targets, ANSWER
    return np.eye(SYMBOLS + 2, dtype=np.float32)[seen], targets


def answer_loss(y: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """The cross entropy of the last steps of y [T, B, SYMBOLS], and its gradient in all of y."""
    dy = np.zeros_like(y)
    loss, dy[-SHOWN:] = rf.losses.cross_entropy(y[-SHOWN:], targets)
    return loss, dy


def recurrent(name: str) -> rf.RNN | rf.LSTM | rf.GRU:
    """The layer of one of CELLS, as it is before training."""
    cell, _, start = name.partition("-")
    slope = {"linear": "identity", "irnn": "relu"}.get(cell, "tanh")
    kind = {"lstm": rf.LSTM, "gru": rf.GRU}.get(cell, partial(rf.RNN, nonlinearity=slope))
    layer = kind(SYMBOLS + 2, H, rng=1)
    if start == "orthogonal" or cell == "irnn":
        rf.init.recurrent(layer, rng=2)  # biases become zero
    if cell == "irnn":
        rf.init.identity(layer.weight_hh_l0)
    if start == "forget":
        rf.init.forget_bias(layer, 3.0)
    return layer


def right(model: rf.Sequential, x: np.ndarray, targets: np.ndarray) -> float:
    return np.mean(model(x)[0][-SHOWN:].argmax(axis=-1) == targets)


def train(name: str, delay: int, clip: bool) -> list[tuple[int, float, float]]:
    """Updates, seconds, share of symbols right, as training went; the last share is of fresh sequences."""
    rng = np.random.default_rng(3)
    held_out = sequences(delay, 500, rng)
    model = rf.Sequential(recurrent(name), rf.Linear(H, SYMBOLS, rng=5))
    curve = [(0, 0.0, right(model, *held_out))]

    def watch(run):
        if run.event == "epoch":
            curve.append((run.step, run.seconds, right(model, *held_out)))
            if 1 - curve[-1][2] < 0.5 * (1 - SOLVED):  # a margin for fresh ones
                run.stop()

    try:
        rf.fit(
            model,
            answer_loss,
            lambda epoch: (sequences(delay, B, rng) for _ in range(UPDATES)),
            rf.optim.Adam(model.parameters(), lr=RATES[name.partition("-")[0]]),
            minutes=options.seconds / 60,
            clip_norm=1.0 if clip else None,
            callbacks=[watch],
            progress=False,
        )
        share = right(model, *sequences(delay, 2000, rng))
    except FloatingPointError:  # a gradient or a loss that is no number any more
        share = np.nan
    return [*curve, (*curve[-1][:2], share)]


def ended(share: float) -> str:
    return "diverged" if np.isnan(share) else f"{'solved' if share > SOLVED else 'not solved'}: {share:.1%}"


def table() -> None:
    """Updates until a delay was solved, or what was right after how many. Then no greater one is tried."""
    delays = (10, 30, 100, 300)
    print("| cell | clipped | " + " | ".join(f"delay {delay}" for delay in delays) + " |")
    print("|---|---|" + "--:|" * len(delays))
    unclipped = ("linear-orthogonal", "irnn", "lstm-forget", "gru")
    for name, clip in [(name, True) for name in CELLS] + [(name, False) for name in unclipped]:
        print(f"| {name} | {'yes' if clip else 'no'} |", end="", flush=True)
        share = 1.0
        for delay in delays:
            entry = ""
            if share > SOLVED:
                updates, _, share = train(name, delay, clip)[-1]
                entry = f"{updates}" if share > SOLVED else f"{ended(share)} after {updates}"
            print(f" {entry} |", end="", flush=True)
        print()


def figure(curves: dict[str, list[tuple[int, float, float]]]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return print("no figure: matplotlib is not installed")
    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.add_subplot(xlabel="seconds of training", ylabel="symbols right, held out")
    axes.set(title=f"the copying problem, delay {options.delay}", ylim=(0, 1.02))
    for name, curve in curves.items():
        _, seconds, shares = zip(*curve[:-1], strict=True)
        axes.plot(seconds, shares, label=name)
    axes.axhline(1 / SYMBOLS, color="0.6", linestyle=":", label="guessing")
    drawn.legend(loc="outside right upper", fontsize="small")
    drawn.savefig(options.figure, dpi=110)
    print("figure:", options.figure)


np.seterr(over="ignore")  # rf.fit tells of gradients and losses that explode
if options.table:
    table()
else:
    curves = {}
    for name in options.cell:
        curves[name] = train(name, options.delay, not options.no_clip)
        updates, seconds, share = curves[name][-1]
        print(f"{name:17} {ended(share)} after {updates} updates, {seconds:.0f} s", flush=True)
    figure(curves)
