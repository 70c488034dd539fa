"""Which model do the sunspots need? Climb the ladder from the last value to the LSTM, and draw the forecasts.

The yearly numbers of sunspots since 1700 go up and down in about eleven years. Every model learns from the
same years and is tested on the same last fifth. `pip install "rnnfast[examples]"` brings what this needs.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from statsmodels.datasets import sunspots

import rnnfast as rf

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, default=1500, help="of the networks' weights, at most")
options = parser.parse_args()

data = sunspots.load_pandas().data
years, series = data["YEAR"].to_numpy(int), data["SUNACTIVITY"].to_numpy()
HORIZON = 11  # years ahead

rungs = rf.series.ladder(lags=24, season=11, updates=options.updates)
scores = dict(zip(rungs, rf.series.backtest(series, rungs.values(), horizon=HORIZON), strict=True))
print(rf.series.score_table(list(scores.values())))
best = rf.series.best_score(list(scores.values()))
print(f"\n* lowest error over {HORIZON} years; errors in sunspots, intervals of 90%")

figure = Figure(figsize=(9, 6), layout="constrained")
errors, ahead = figure.subplots(2, 1)
for name in ("last", "season", "ar", "mlp", "tanh", "lstm"):
    score = scores[name]
    errors.plot(range(1, HORIZON + 1), score.by_step, marker="o", markersize=3, label=score.forecaster.label)
errors.set(xlabel="years ahead", ylabel="error", ylim=(0, None), title="the further, the harder")
errors.legend(fontsize="small", ncols=2)

# The best one forecasts the last cycles from the years before them, each from its first year.
shown = slice(-80, None)
ahead.plot(years[shown], series[shown], color="0.35", label="sunspots")
origins = np.arange(len(series) - 5 * HORIZON, len(series) - HORIZON + 1, HORIZON)
for origin, mean, lower, upper in zip(origins, *best.forecaster.roll(series, origins), strict=True):
    steps = years[origin : origin + HORIZON]
    ahead.plot(steps, mean, color="C0", label=best.forecaster.label if origin == origins[0] else None)
    ahead.fill_between(steps, lower, upper, color="C0", alpha=0.2, linewidth=0)
ahead.set(xlabel="year", ylabel="sunspots", title=f"{HORIZON} years at once, with 90% intervals")
ahead.legend(fontsize="small", loc="upper left")
path = Path("sunspots.png")
figure.savefig(path, dpi=100)
print(f"drawn: {path}")
