"""Draws ladder_sunspots.png and ladder_bucket.png and prints the tables of docs/ladder/series.md.

It takes a few minutes; it needs `pip install "rnnfast[forecast]" statsmodels`, which has the sunspots.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from statsmodels.datasets import sunspots

import rnnfast as rf
from rnnfast.series import AutoRegression, Convolution, Perceptron, Score, backtest, ladder

SEEDS = range(5)
HORIZON = 11
WINDOWS = (6, 12, 18, 24, 32, 48)
UPDATES = 4000  # for the bucket, whose series is long enough for them
HERE = Path(__file__).parent


def bucket(N: int, full: float = 10.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rain fills a bucket that spills when it is full: the series, and the best forecast there can be."""
    rng = np.random.default_rng(seed)
    series, expected, level = np.empty(N), np.empty(N), 0.0
    for t in range(N):
        expected[t] = 0.5 + 5.0 * np.clip(
            level + 1.0 - full, 0.0, 1.0
        )  # the probability of a spill times its size
        rain = rng.uniform()
        level += rain
        series[t] = rain
        if level >= full:
            series[t] += 5.0
            level -= full
    return series, expected


def rows(runs: list[list[Score]], horizon: int) -> None:
    """Print a Markdown table: each rung's median over the runs, its range where they differ."""
    for scores in zip(*runs, strict=True):
        columns = [[score.one_step for score in scores], [score.all_steps for score in scores]]
        cells = []
        for values in columns[: 1 + (horizon > 1)]:
            low, middle, high = (f"{value:.3g}" for value in np.quantile(values, [0.0, 0.5, 1.0]))
            cells.append(middle if low == high else f"{middle} ({low} to {high})")
        first = scores[0]
        differences = sorted({score.forecaster.difference for score in scores})
        seconds = np.median([score.seconds for score in scores])
        coverage = np.median([score.coverage for score in scores])
        taken = ", ".join(map(str, differences))
        parts = [
            first.forecaster.name,
            taken,
            f"{first.parameters:,}",
            f"{seconds:.2f}",
            *cells,
            f"{coverage:.0%}",
        ]
        print(f"| {' | '.join(parts)} |", flush=True)


def draw_sunspots() -> None:
    data = sunspots.load_pandas().data
    years, series = data["YEAR"].to_numpy(int), data["SUNACTIVITY"].to_numpy()
    runs = [
        list(backtest(series, ladder(lags=24, season=11).values(), horizon=HORIZON, rng=seed))
        for seed in SEEDS
    ]
    rows(runs, HORIZON)

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    errors, ahead = figure.subplots(1, 2)
    for place, name in enumerate(ladder(lags=24, season=11)):
        if name in ("convolution", "markov", "linear", "sigmoid"):
            continue
        by_step = np.median([run[place].by_step for run in runs], axis=0)
        label = runs[0][place].forecaster.name
        errors.plot(range(1, HORIZON + 1), by_step, marker="o", markersize=3, label=label)
    errors.set(xlabel="years ahead", ylabel="root mean squared error", ylim=(0, 150))
    errors.legend(fontsize="small", ncols=2, loc="upper left")
    forecaster = runs[0][list(ladder(season=11)).index("tanh")].forecaster
    ahead.plot(years[-70:], series[-70:], color="0.35", linewidth=1.0)
    origins = np.arange(len(series) - 5 * HORIZON, len(series) - HORIZON + 1, HORIZON)
    for origin, mean, lower, upper in zip(origins, *forecaster.roll(series, origins), strict=True):
        ahead.plot(years[origin : origin + HORIZON], mean, color="C0")
        ahead.fill_between(years[origin : origin + HORIZON], lower, upper, color="C0", alpha=0.2, linewidth=0)
    title = f"{forecaster.name}: {HORIZON} years from each of {len(origins)} origins"
    ahead.set(xlabel="year", ylabel="sunspots", title=title)
    figure.savefig(HERE / "ladder_sunspots.png", dpi=110)


def draw_bucket() -> None:
    series, expected = bucket(6000)
    held_out = slice(4800, None)
    floor = np.sqrt(np.mean((series - expected)[held_out] ** 2))
    print(f"\nthe best there can be: {floor:.3f}")
    full = list(backtest(series, ladder(lags=12, updates=UPDATES, difference=0).values()))
    rows([full], 1)
    kinds = {
        "AR": AutoRegression,
        "MLP": lambda W: Perceptron(W, updates=UPDATES),
        "convolution": lambda W: Convolution(W, updates=UPDATES),
    }
    by_window = {name: list(backtest(series, map(make, WINDOWS))) for name, make in kinds.items()}
    print()
    for W, *scores in zip(WINDOWS, *by_window.values(), strict=True):
        cells = (f"{score.parameters:,} | {score.one_step:.3f}" for score in scores)
        print(f"| {W} | {' | '.join(cells)} |")

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    shown, errors, costs = figure.subplots(1, 3)
    lstm, ar = full[-1], full[2]
    part = slice(5700, 5780)
    shown.plot(np.arange(80), series[part], color="0.35", linewidth=1.0, label="rain and spills")
    for score in (ar, lstm):
        mean = score.forecaster.roll(series, np.arange(part.start, part.stop), 1).mean[:, 0]
        shown.plot(np.arange(80), mean, label=f"{score.forecaster.name}, one step ahead")
    shown.set(xlabel="step", ylim=(-0.5, 8.5))
    shown.legend(fontsize="small", loc="upper left")
    for name, scores in by_window.items():
        errors.plot(WINDOWS, [score.one_step for score in scores], marker="o", markersize=3, label=name)
        costs.semilogy(WINDOWS, [score.parameters for score in scores], marker="o", markersize=3, label=name)
    for place, score in enumerate((full[-4], full[-2], full[-1])):  # sigmoid, GRU, LSTM
        keywords = {"color": f"C{place + 3}", "linestyle": "--", "label": score.forecaster.name}
        errors.axhline(score.one_step, **keywords)
        costs.axhline(score.parameters, **keywords)
    errors.axhline(floor, color="0.6", linestyle=":", label="the best there can be")
    errors.set(xlabel="window", ylabel="root mean squared error, one step")
    costs.set(xlabel="window", ylabel="parameters")
    for axes in (errors, costs):
        axes.legend(fontsize="x-small", ncols=2)
    errors.set_ylim(0.7, 1.32)
    costs.set_ylim(None, 1e5)
    figure.savefig(HERE / "ladder_bucket.png", dpi=110)


print(f"rnnfast {rf.__version__}, seeds {list(SEEDS)}")
draw_sunspots()
draw_bucket()
