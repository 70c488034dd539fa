"""The output of `rnnfast forecast`: data, scores and forecasts as text, forecasts as CSV."""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError
from rnnfast.series.arrays import flat_columns
from rnnfast.series.intervals import Forecast
from rnnfast.series.ladder import TEST, Score, score_table, simplest_score
from rnnfast.series.tables.data import Data

__all__ = [
    "Forecasts",
    "as_csv",
    "print_data",
    "print_doubts",
    "print_flat",
    "print_forecast",
    "print_scores",
]

LINES = 24  # steps of a forecast that are printed
SERIES = 8  # series whose forecasts are printed
NAMES = 12  # names that are listed


class Forecasts(NamedTuple):
    """The forecasts of all series, as they are printed and written."""

    interval: Forecast  # parts [horizon, S]
    probabilities: list[float]
    quantiles: NDArray[np.float64]  # [Q, horizon, S]
    bias: NDArray[np.float64]  # [horizon, S]
    one_sided: NDArray[np.bool_]  # [S]
    exact: NDArray[np.bool_]  # [S]


def as_csv(data: Data, forecasts: Forecasts) -> str:
    """One line for each series and step: forecast, interval, quantiles."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [f"q{p:g}" for p in forecasts.probabilities]
    writer.writerow([data.clock.name, "column", "forecast", "lower", "upper", *heads])
    parts = [*forecasts.interval, *forecasts.quantiles]
    labels = data.clock.after(len(parts[0])).labels()
    for s, name in enumerate(data.names):
        for label, *row in zip(labels, *(part[:, s] for part in parts), strict=True):
            writer.writerow([label, name, *(f"{value:.10g}" for value in row)])
    return text.getvalue()


def print_data(data: Data) -> None:
    """Print the file, its series, its time, and the changes to its rows."""
    labels = data.clock.labels(np.array([0, len(data.values) - 1]))
    more = len(data.names) - NAMES
    names = ", ".join(data.names[:NAMES]) + (f" and {more} more" if more > 0 else "")
    print(f"data        {data.path}: {names}")
    print(
        f"            {len(data.values):,} rows, {data.clock.name} {labels[0]} to {labels[1]} in steps of "
        f"{data.clock.step_text()}"
    )
    for note in data.notes:
        print(f"            {note}")


def print_flat(data: Data) -> None:
    """Print which columns do not vary; an error if none does."""
    flat = flat_columns(data.values)
    for name, column in zip(data.names, data.values.T, strict=True):
        if (column == column[0]).all():
            text = f"column {name!r} is {column[0]:g} in all {len(column)} rows"
            if flat.all():
                raise CommandError(f"{data.path}: {text}")
            print(f"            {text}: so is its forecast")


def print_scores(data: Data, scores: list[Score], horizon: int, level: float) -> None:
    """Print the table of the ladder."""
    test = round(TEST * len(data.values))
    unit = "of the column" if len(data.names) == 1 else "of each column's standard deviation"
    steps = "step" if horizon == 1 else "steps"
    print(f"            the last {test:,} are the test rows: {horizon} {steps} ahead from each of them")
    print(f"\n{score_table(scores)}\n")
    print(f"Errors: root mean squares in the unit {unit}. Intervals aim to cover {level:.0%}.")
    fewest = simplest_score(scores).forecaster.label
    print(f"* has the lowest over all steps; the fewest parameters within 5% of it: {fewest}")


def print_forecast(data: Data, forecasts: Forecasts, level: float) -> None:
    """Print a table of the first steps for each series."""
    horizon = len(forecasts.interval.mean)
    labels = data.clock.after(horizon).labels()
    width = max(len(label) for label in [*labels, data.clock.name])
    shown = min(LINES, horizon)
    for s, name in enumerate(data.names[:SERIES]):
        digits = _digits(data.values[:, s])
        mean, lower, upper = (_texts(part[:, s], digits) for part in forecasts.interval)
        columns = [[data.clock.name, *labels], [f"  {name:>14}", *(f"  {text:>14}" for text in mean)]]
        if forecasts.one_sided[s]:
            columns.append(["  correction", *(f"  {bias:>+10.3g}" for bias in forecasts.bias[:, s])])
        for p, quantile in zip(forecasts.probabilities, forecasts.quantiles, strict=True):
            texts = [f"q{p:g}", *_texts(quantile[:, s], digits)]
            columns.append([f"  {text:>10}" for text in texts])
        if not forecasts.probabilities:
            intervals = [f"    {low} to {high}" for low, high in zip(lower, upper, strict=True)]
            columns.append([f"    {level:.0%} interval", *intervals])
        for time, *row in list(zip(*columns, strict=True))[: 1 + shown]:
            print(f"{time:>{width}}{''.join(row)}")
        if horizon > shown:
            print(f"{'…':>{width}}  {horizon - shown} more: --output FILE has them all")
    if len(data.names) > SERIES:
        print(f"{len(data.names) - SERIES} more series: --output FILE has them all")


def _texts(values: NDArray[np.float64], digits: int) -> list[str]:
    return [f"{value:.{digits}g}" for value in values]


def print_doubts(data: Data, forecasts: Forecasts, bounded: float, level: float) -> None:
    """Print the limits of intervals and quantiles: too few residuals, bias, width 0."""
    if forecasts.one_sided.any():
        print(
            "\ncorrection: nine tenths of the validation part's outcomes or more were on one side of the "
            "forecasts, by so much in the median. The intervals allow for this bias, the forecasts do not: "
            "--quantiles 0.5 adds it."
        )
    exact = forecasts.exact & ~flat_columns(data.values)
    if exact.any():
        names = ", ".join(name for name, here in zip(data.names, exact, strict=True) if here)
        print(
            f"\nThe intervals of {names} have width 0: all errors of the validation part were the same. "
            "They promise nothing."
        )
    level = max([level, *(abs(2 * p - 1) for p in forecasts.probabilities)])
    if level > bounded:
        print(
            f"\nThe intervals are to hold {level:.0%}, but are made of too few errors of the past "
            f"for more than {bounded:.0%}."
        )


def _digits(column: NDArray[np.float64]) -> int:
    """Enough significant digits to show a thousandth of the column's range, and at least 6."""
    size, spread = np.abs(column).max(), np.ptp(column)
    return max(6, min(15, 4 + int(np.ceil(np.log10(size / spread))))) if spread > 0.0 else 6
