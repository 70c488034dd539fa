"""The picture of a forecast: the end of each series, the means that follow it, and their intervals."""

from __future__ import annotations

from typing import Any

from rnnfast.series.forecaster import Forecast
from rnnfast.series.tables.data import Data

__all__ = ["draw"]

PANELS = 8  # series, at most
SHOWN = 6  # times the horizon is shown of the past, and at least
LEAST = 60  # rows


def draw(file: str, data: Data, forecast: Forecast, name: str, level: float) -> None:
    """Write a plot of a forecast; the file's suffix says in what format.

    Parameters
    ----------
    file : str
    data : Data
    forecast : Forecast
        mean, lower and upper ``[horizon, S]``.
    name : str
        The forecaster's.
    level : float
        The intervals'.
    """
    from matplotlib.figure import Figure

    horizon = len(forecast.mean)
    shown = slice(-max(LEAST, SHOWN * horizon), None)
    past, future = data.clock.axis()[shown], data.clock.after(horizon).axis()
    panels = min(PANELS, len(data.names))
    figure = Figure(figsize=(9, 1.2 + 2.4 * panels), layout="constrained")
    rows: Any = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for s, axes in enumerate(rows):
        axes.plot(past, data.values[shown, s], color="0.35", linewidth=1.0)
        axes.plot(future, forecast.mean[:, s], color="C0", label=name)
        axes.fill_between(
            future,
            forecast.lower[:, s],
            forecast.upper[:, s],
            color="C0",
            alpha=0.25,
            linewidth=0,
            label=f"{level:.0%} interval",
        )
        axes.set_ylabel(data.names[s])
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize="small")
    rows[-1].set_xlabel(data.clock.name)
    figure.savefig(file, dpi=120)
