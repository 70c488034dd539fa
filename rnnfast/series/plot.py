"""The plot of a forecast: the end of each series, the means after it, and their intervals."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.series.intervals import Forecast
from rnnfast.series.tables.data import Data
from rnnfast.series.tables.packages import package

__all__ = ["draw_forecast"]

PANELS = 8  # the most series
SHOWN = 6  # the rows of the past that are shown, in multiples of the horizon
LEAST = 60  # the least rows of the past that are shown


def draw_forecast(
    path: str | os.PathLike[str],
    data: Data,
    forecast: Forecast,
    *,
    name: str = "forecast",
    level: float = 0.9,
) -> None:
    """Draw a forecast after the end of its series, with its intervals, for the first eight series.

    Parameters
    ----------
    path : str or path-like
        The file to write; its suffix says in what format (``.png``, ``.svg``, ``.pdf``).
    data : Data
        The series that were forecast, and their times.
    forecast : Forecast
        mean, lower and upper ``[horizon]``, or ``[horizon, S]``, of what follows `data`.
    name : str, default "forecast"
        What the legend calls it.
    level : float, default 0.9
        The level of the intervals, for the legend.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    OSError
        The file cannot be written.
    TypeError, ValueError
        An argument of another kind, a forecast of another number of series, a level that is none, or a suffix
        of no known format.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> folder = tempfile.TemporaryDirectory()
    >>> path, picture = (os.path.join(folder.name, name) for name in ("data.csv", "forecast.png"))
    >>> with open(path, "w") as file:
    ...     _ = file.write("\\n".join(["y", *(str(k % 7) for k in range(70))]))
    >>> data = rf.series.read_data(path)
    >>> model = rf.series.SeasonalLastValue(7).fit(data.values, horizon=5)
    >>> rf.series.draw_forecast(picture, data, model.predict(data.values, level=0.8), level=0.8)
    >>> os.path.exists(picture)
    True
    >>> folder.cleanup()
    """
    checks.instance("data", data, Data)
    checks.instance("forecast", forecast, Forecast)
    checks.string("name", name)
    file, S = file_name(path), len(data.names)
    horizon = len(forecast.mean)
    if np.shape(forecast.mean) not in ((horizon, S), *([(horizon,)] if S == 1 else [])):
        raise ValueError(
            f"forecast: expected shape [horizon, {S}], as data has {S} series, got {np.shape(forecast.mean)}"
        )
    level = checks.fraction("level", level)
    mean, lower, upper = (part.reshape(horizon, S) for part in forecast)
    figure = package("matplotlib.figure").Figure
    shown = slice(-max(LEAST, SHOWN * horizon), None)
    past, future = data.clock.axis()[shown], data.clock.after(horizon).axis()
    panels = min(PANELS, S)
    page = figure(figsize=(9, 1.2 + 2.4 * panels), layout="constrained")
    rows: Any = page.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    band: dict[str, Any] = {"color": "C0", "alpha": 0.25, "linewidth": 0, "label": f"{level:.0%} interval"}
    for s, axes in enumerate(rows):
        axes.plot(past, data.values[shown, s], color="0.35", linewidth=1.0)
        axes.plot(future, mean[:, s], color="C0", label=name)
        axes.fill_between(future, lower[:, s], upper[:, s], **band)
        axes.set_ylabel(data.names[s])
    page.legend(*rows[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize="small")
    rows[-1].set_xlabel(data.clock.name)
    page.savefig(file, dpi=120)
