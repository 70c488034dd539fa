"""The adding problem: how far back can a cell learn to look, and what does that depend on?

Two inputs a step: a number in [0, 1], and a marker that is 1 at two of the T steps, one in each half. Asked
for at the end: the sum of the two marked numbers. Who always says 1 has a mean squared error of 1/6; below
0.01 is solved. Every batch is new, and none is easier than another. After Hochreiter and Schmidhuber, "Long
short-term memory" (1997); `irnn`, a rectified RNN that starts from the identity, is from Le, Jaitly and
Hinton, "A simple way to initialize recurrent networks of rectified linear units" (2015).

    python examples/adding_problem.py --steps 200
    python examples/adding_problem.py --cell lstm-forget irnn --no-clip
    python examples/adding_problem.py --table
"""

import argparse

import numpy as np

import rnnfast as rf

CELLS = ("rnn", "rnn-orthogonal", "irnn", "lstm", "lstm-forget", "gru", "gru-orthogonal")
parser = argparse.ArgumentParser()
parser.add_argument("--cell", nargs="+", choices=CELLS, default=["rnn", "lstm-forget", "gru"])
parser.add_argument("--steps", type=int, default=400, help="T, the length of the sequences")
parser.add_argument("--seconds", type=float, default=120, help="of training, for each cell at most")
parser.add_argument("--matmul-precision", choices=("float32", "bfloat16"), default="float32")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--no-clip", action="store_true", help="leave the gradients as they are")
parser.add_argument("--table", action="store_true", help="all cells, clipped and not, at growing T")
parser.add_argument("--figure", default="adding_problem.png")
options = parser.parse_args()

B, H = 32, 32  # sequences of a batch, hidden units
S = 10 * options.seed  # the seeds are S + 1, S + 2 and so on
UPDATES = 50  # of the weights, between two looks at sequences held out
SOLVED = 0.01


def sequences(T: int, B: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x [T, B, 2], the numbers and the markers; targets [B, 1]."""
    x = np.zeros((T, B, 2), np.float32)
    x[:, :, 0] = rng.random((T, B))
    row = np.arange(B)
    first, second = rng.integers(0, T // 2, B), rng.integers(T // 2, T, B)
    x[first, row, 1] = x[second, row, 1] = 1.0
    return x, (x[first, row, 0] + x[second, row, 0])[:, None]


def recurrent(name: str) -> rf.RNN | rf.LSTM | rf.GRU:
    """The layer of one of CELLS, with the weights that it starts from."""
    if name == "irnn":
        layer = rf.RNN(2, H, nonlinearity="relu", rng=S + 1)
        rf.init.recurrent(layer, rng=S + 2)  # biases of zero
        rf.init.identity(layer.weight_hh_l0)
        return layer
    cell, _, start = name.partition("-")
    layer = {"rnn": rf.RNN, "lstm": rf.LSTM, "gru": rf.GRU}[cell](2, H, rng=S + 1)
    if start == "orthogonal":
        rf.init.recurrent(layer, rng=S + 2)
    elif start == "forget":
        rf.init.forget_bias(layer, 3.0)
    return layer


def train(name: str, T: int, clip: bool) -> list[tuple[int, float, float]]:
    """Updates, seconds and error on sequences held out, as training went; the last error is on fresh ones."""
    rng = np.random.default_rng(S + 3)
    held_out = sequences(T, 500, rng)
    model = rf.Sequential(recurrent(name), rf.Last(), rf.Linear(H, 1, rng=S + 5))
    model.matmul_precision = options.matmul_precision
    curve = [(0, 0.0, rf.losses.mse(model(held_out[0])[0], held_out[1])[0])]

    def watch(run):
        if run.event == "epoch":
            curve.append((run.step, run.seconds, run.validation))
            if run.validation < 0.8 * SOLVED:  # a margin for fresh ones
                run.stop()

    try:
        rf.fit(
            model,
            rf.losses.mse,
            lambda epoch: (sequences(T, B, rng) for _ in range(UPDATES)),
            rf.optim.Adam(model.parameters(), lr=0.001 if "rnn" in name else 0.01),
            minutes=options.seconds / 60,
            validation=[held_out],
            clip_norm=1.0 if clip else None,
            callbacks=[watch],
            progress=False,
        )
        x, targets = sequences(T, 2000, rng)
        error = rf.losses.mse(model(x)[0], targets)[0]
    except FloatingPointError:  # a gradient or a loss that is no number any more
        error = np.nan
    return [*curve, (*curve[-1][:2], error)]


def ended(error: float) -> str:
    return "diverged" if np.isnan(error) else f"{'solved' if error < SOLVED else 'not solved'}: {error:.4f}"


def table() -> None:
    """Updates until a T was solved, or the error after how many. Then no greater one is tried."""
    lengths = (50, 100, 200, 400)
    print("| cell | clipped | " + " | ".join(f"T = {T}" for T in lengths) + " |")
    print("|---|---|" + "--:|" * len(lengths))
    unclipped = ("irnn", "lstm-forget", "gru")
    for name, clip in [(name, True) for name in CELLS] + [(name, False) for name in unclipped]:
        print(f"| {name} | {'yes' if clip else 'no'} |", end="", flush=True)
        error = 0.0
        for T in lengths:
            entry = ""
            if error < SOLVED:
                updates, _, error = train(name, T, clip)[-1]
                entry = f"{updates}" if error < SOLVED else f"{ended(error)} after {updates}"
            print(f" {entry} |", end="", flush=True)
        print()


def figure(curves: dict[str, list[tuple[int, float, float]]]) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return print("no figure: matplotlib is not installed")
    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.add_subplot(
        xlabel="seconds of training", ylabel="mean squared error, held out", yscale="log"
    )
    for name, curve in curves.items():
        _, seconds, errors = zip(*curve[:-1], strict=True)
        axes.plot(seconds, errors, label=name)
    axes.axhline(1 / 6, color="0.6", linestyle=":", label="always 1")
    axes.axhline(SOLVED, color="0.6", linestyle="--", label="solved")
    axes.set_title(f"the adding problem, T = {options.steps}")
    axes.legend()
    drawn.savefig(options.figure, dpi=110)
    print("figure:", options.figure)


np.seterr(over="ignore")  # rf.fit tells of gradients and losses that explode
if options.table:
    table()
else:
    curves = {}
    for name in options.cell:
        curves[name] = train(name, options.steps, not options.no_clip)
        updates, seconds, error = curves[name][-1]
        print(f"{name:15} {ended(error)} after {updates} updates, {seconds:.0f} s", flush=True)
    figure(curves)
