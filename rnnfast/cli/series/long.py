"""Long tables: several rows of one time, as a column says which series each is of; made wide, or named."""

from __future__ import annotations

import numpy as np

from rnnfast.baselines.series.long import pivot
from rnnfast.baselines.series.packages import package
from rnnfast.cli.errors import CommandError
from rnnfast.cli.series.table import Table

__all__ = ["check_repeats", "key_of", "widen"]

FEW = 2  # rows that each name of a column of names has, at least, on average


def widen(
    table: Table, series: str, only: list[str] | None, time: str | None, columns: list[str]
) -> tuple[Table, list[str]]:
    """A table with a column for each name of the column `series`, and a row for each time.

    Parameters
    ----------
    table : Table
    series : str
        The column of names.
    only : list of str or None
        The names to take, in this order; None: all, in the order of their first rows.
    time : str or None
        The column of times.
    columns : list of str
        Those to make wide.

    Returns
    -------
    table : Table
        The time, and for each of `columns` and each name a column, called :func:`key_of` them.
    names : list of str

    Raises
    ------
    CommandError
        No time, a name that is not there, or two rows of one name and time.
    """
    pandas = package("pandas", "rnnfast forecast")
    if time is None:
        raise CommandError(f"--series {series}: needs a column of times; choose with --time")
    who = table.columns[series].astype(str).str.strip()
    there = list(dict.fromkeys(who))
    for name in only or []:
        if name not in there:
            raise CommandError(f"--only {name}: column {series!r} has {_some(there)}")
    names = there if only is None else only
    rows = np.flatnonzero(who.isin(names).to_numpy(bool))
    when, _ = pandas.factorize(table.columns[time].iloc[rows].astype(str))
    which = np.array([names.index(name) for name in who.iloc[rows]], int)
    try:
        wide = pivot(when, which, rows)
    except ValueError:
        twice = int(rows[pandas.Series(list(zip(when, which, strict=True))).duplicated().argmax()])
        raise CommandError(
            f"{table.path}, {table.places[twice]}: {series} {who.iloc[twice]!r} has the {time} "
            f"{table.columns[time].iloc[twice]} twice"
        ) from None
    first = np.nanmin(wide.series, axis=1).astype(int)
    made = {time: table.columns[time].iloc[first].reset_index(drop=True)}
    for column in columns:
        for name in names:
            row = wide.series[:, wide.names.index(names.index(name))]
            values = table.columns[column].iloc[np.where(np.isnan(row), 0, row).astype(int)]
            kept = values.reset_index(drop=True).where(~np.isnan(row))
            made[key_of(column, name)] = kept
    return Table(table.path, made, [table.places[row] for row in first]), names


def key_of(column: str, name: str) -> str:
    """What a column is called that holds one name's part of `column`."""
    return f"{column} of {name}"


def check_repeats(table: Table, time: str | None, columns: list[str]) -> None:
    """Refuse a table in which times repeat because a column holds the names of several series."""
    if time is None:
        return
    times = table.columns[time].astype(str)
    if not times.duplicated().any():
        return
    found = []
    for name, column in table.columns.items():
        text = column.astype(str)
        several = name != time and name not in columns and len(text) >= FEW * text.nunique() > FEW
        if several and not (times + "\0" + text).duplicated().any():
            found.append((text.nunique(), name))
    if found:
        _, name = min(found)
        twice = times[times.duplicated()].iloc[0]
        raise CommandError(
            f"{table.path}: the column {name!r} repeats dates: {time} {twice} is in {(times == twice).sum()} "
            f"rows. Take --series {name}: one model of all of them, and a forecast for each"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
