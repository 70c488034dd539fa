"""Finds the column of a table that is its time, or the columns that together are its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.series.tables.dates import is_clock_time, readings
from rnnfast.series.tables.errors import Argument, MissingColumn, TableError
from rnnfast.series.tables.table import Table, listed, names_in, numbers

__all__ = ["time_column"]

NAMES = {"time", "date", "datetime", "timestamp", "ds"}  # names of time columns with any content
COUNTS = {
    "t",
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
}  # names of time columns that hold rising numbers
PARTS = ("year", "month", "day", "hour", "minute", "second")  # names of the parts of a time, in this order
SHARES = {"quarter": "-Q", "week": "-W"}  # parts of a year, as ISO 8601 and statistics offices write them
SAMPLE = 1000  # the number of rows that decide whether a column may be the time


def time_column(
    table: Table, time: str | None, columns: list[str], series: str | None = None
) -> tuple[Table, str | None, list[str]]:
    """The table with its time in one column, the name of this, and the columns that it was made of.

    Parameters
    ----------
    table : Table
    time : str or None
        A column, or several with a comma between; None: the one that looks like a time, if there is one.
    columns : list of str
        Those that are not the time.
    series : str, optional
        The column of names of a long table, in which times repeat.

    Raises
    ------
    TableError
        There is no such column, or several may be the time.
    """
    if time is None:
        found = _likely(table, columns, series)
        if len(found) > 1 and not _belong_together(table, found):
            raise TableError(
                f"{table.path}: several columns may be the time: {listed(found)}; choose with ",
                Argument("time"),
                ", or join columns that are one time together: ",
                Argument("time", ",".join(found)),
            )
        time = ",".join(found) or None
    if time is None or time in table.columns:
        return table, time, [] if time is None else [time]
    parts = [part.strip() for part in time.split(",")]
    for part in parts:
        if part not in table.columns:
            raise MissingColumn(
                Argument("time", time), f": {table.path} has the columns {listed(table.columns)}"
            )
    joined = _joined([table.columns[part] for part in parts], [part.lower() for part in parts])
    return table._replace(columns=table.columns | {time: joined}), time, [*parts, time]


def _likely(table: Table, columns: list[str], series: str | None) -> list[str]:
    """The columns that have a time's name, or hold dates, beside `columns`."""
    found = []
    for name, column in table.columns.items():
        if name in columns:
            continue
        values, other = numbers(column)
        if other.any():
            sample = column.iloc[np.unique(np.linspace(0, len(column) - 1, SAMPLE).astype(int))]
            sample = sample.reset_index(drop=True)
            likely = name.lower() in NAMES or bool(readings(sample)) or is_clock_time(sample)
        else:
            likely = name.lower() in NAMES or (name.lower() in COUNTS and _rise(table, values, series))
        if likely:
            found.append(name)
    calendar = [name for name in table.columns if name.lower() in (*PARTS, *SHARES) and name not in columns]
    if len(calendar) > 1 and set(found) <= set(calendar) and _is_calendar([n.lower() for n in calendar]):
        return calendar
    return found


def _rise(table: Table, values: NDArray[np.float64], series: str | None) -> bool:
    """Whether numbers rise from row to row, of each series by itself."""
    if series is None:
        return bool((np.diff(values) > 0).all())
    groups = names_in(table.columns[series]).groupby(names_in(table.columns[series])).indices.values()
    return all(bool((np.diff(values[rows]) > 0).all()) for rows in groups)


def _belong_together(table: Table, names: list[str]) -> bool:
    """Whether columns are a date and a clock time, or a year and its parts."""
    if _is_calendar([name.lower() for name in names]):
        return True
    times = [is_clock_time(table.columns[name]) for name in names]
    return len(names) == 2 and times == [False, True] and not is_clock_time(table.columns[names[0]])


def _is_calendar(names: list[str]) -> bool:
    """Whether names are a year's and its quarter's, or its month's, and what follows without a gap."""
    if len(names) == 2 and "year" in names and set(names) & set(SHARES):
        return True
    return len(names) > 1 and sorted(names) == sorted(PARTS[: len(names)])


def _joined(columns: list[Any], names: list[str]) -> Any:
    """Columns as one text: "2024-01-31 00:15", or parts as they are with a space between."""
    texts = [_text(column) for column in columns]
    if _is_calendar(names) and not any(numbers(text.str.lstrip("QqWw"))[1].any() for text in texts):
        whole = {
            name: text.str.lstrip("QqWw").str.replace(r"\.0+$", "", regex=True).str.zfill(2)
            for name, text in zip(names, texts, strict=True)
        }
        for share, mark in SHARES.items():
            if share in whole:
                number = whole[share].str.lstrip("0") if share == "quarter" else whole[share]
                return whole["year"] + mark + number
        marks = dict(zip(PARTS, ("", "-", "-", " ", ":", ":"), strict=True))
        joined = sum((marks[name] + whole[name] for name in PARTS[1:] if name in whole), start=whole["year"])
        return joined + ":00" if len(names) == PARTS.index("hour") + 1 else joined
    return texts[0].str.cat(texts[1:], sep=" ").str.strip()


def _text(column: Any) -> Any:
    """A column as text: dates of a Parquet file without their time, which another column has."""
    if getattr(column.dtype, "kind", "O") == "M":
        return column.dt.strftime("%Y-%m-%d").fillna("")
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()
