"""Tables as files, and what `rnnfast forecast` prints and writes of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from helpers.commands import fails as command_fails

from rnnfast.cli.main import main

pandas = pytest.importorskip("pandas")

LAST = ["--rung", "last", "--horizon", "2"]


def write(name, columns, **how):
    """A table of columns."""
    frame = pandas.DataFrame(columns)
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
        frame.to_parquet(name, **how)
    else:
        frame.to_csv(name, index=False, **how)


def write_rows(times, head="date,y", name="data.csv"):
    """A table of times (a text for each row, with a comma where several columns are meant) and values."""
    times = list(times)
    lines = [f"{time},{value}" for time, value in zip(times, values(len(times)), strict=True)]
    with open(name, "w") as file:
        file.write("\n".join([head, *lines, ""]))


def values(count):
    return [f"{value:.4f}" for value in np.sin(0.5 * np.arange(count)) + 0.01 * np.arange(count)]


def days(count=120, start="2024-01-01"):
    return pandas.date_range(start, periods=count, freq="D")


def dates(start, count, freq, form="%Y-%m-%d", **how):
    """Dates as text."""
    return pandas.date_range(start, periods=count, freq=freq, **how).strftime(form)


def offsets(start, count, freq, zone="Europe/Berlin"):
    """ISO 8601 with the offsets of a zone."""
    return [time.isoformat() for time in pandas.date_range(start, periods=count, freq=freq, tz=zone)]


def rows(path):
    """The rows of a CSV file, as dicts."""
    with open(path) as file:
        return list(csv.DictReader(file))


def forecast(capsys, *arguments):
    """What a run prints."""
    assert main(["forecast", *arguments]) == 0
    return capsys.readouterr().out


def forecast_rows(capsys, *arguments):
    """What a run prints, and the rows that it writes."""
    printed = forecast(capsys, *arguments, "--output", "out.csv")
    return printed, rows("out.csv")


def forecast_last(capsys, *arguments, file="data.csv"):
    """What the last value's forecast of a file prints, and the first row that it writes."""
    printed, lines = forecast_rows(capsys, file, *LAST, *arguments)
    return printed, list(lines[0].values())


def fails(capsys, *arguments):
    """The one line that a run ends with."""
    return command_fails(capsys, "forecast", *arguments)


def fails_last(capsys, *arguments, file="data.csv"):
    """The one line that a forecast of a file by its last value ends with."""
    return fails(capsys, file, *LAST, *arguments)
