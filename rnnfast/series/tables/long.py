"""Long tables, where a column names the series of each row: made wide, or reported."""

from __future__ import annotations

import numpy as np

from rnnfast.series.tables.clock import Clock
from rnnfast.series.tables.errors import Argument, TableError
from rnnfast.series.tables.packages import package
from rnnfast.series.tables.pivot import pivot
from rnnfast.series.tables.table import Table, names_in

__all__ = ["key_of", "only_rows", "repeated_times", "widen"]

FEW = 2  # the least rows of a name in a column of names, on average


def only_rows(table: Table, series: str, only: list[str], time: str | None) -> Table:
    """The rows of a long table that are of some names in its column `series`.

    Parameters
    ----------
    table : Table
    series : str
        The column of names.
    only : list of str
        The names to take; empty: all.
    time : str or None
        The column of times.

    Raises
    ------
    TableError
        No time, or a name that is not there.
    """
    if time is None:
        raise TableError(
            Argument("series", series), ": needs a column of times; choose with ", Argument("time")
        )
    if not only:
        return table
    who = names_in(table.columns[series])
    there = list(dict.fromkeys(who))
    for name in only:
        if name not in there:
            raise TableError(Argument("only", name), f": column {series!r} has {_some(there)}")
    rows = np.flatnonzero(who.isin(only).to_numpy(bool))
    columns = {name: column.iloc[rows].reset_index(drop=True) for name, column in table.columns.items()}
    return Table(table.path, columns, [table.places[row] for row in rows])


def widen(
    table: Table, series: str, only: list[str], clock: Clock, columns: list[str]
) -> tuple[Table, Clock, list[str]]:
    """A table with a column for each name of the column `series`, and a row for each time.

    Parameters
    ----------
    table : Table
    series : str
        The column of names.
    only : list of str
        The names, in the order to take them; empty: all, in the order of their first rows.
    clock : Clock
        Of the table's rows.
    columns : list of str
        Those to make wide.

    Returns
    -------
    table : Table
        For each of `columns` and each name a column, called :func:`key_of` them.
    clock : Clock
        Of its rows, which are in order.
    names : list of str

    Raises
    ------
    TableError
        Two rows of one name and time.
    """
    who = names_in(table.columns[series])
    names = only or list(dict.fromkeys(who))
    which = np.array([names.index(name) for name in who], int)
    try:
        wide = pivot(clock.positions, which, np.arange(len(who)))
    except ValueError:
        pairs = package("pandas").DataFrame({"at": clock.positions, "who": which})
        twice = int(pairs.duplicated().argmax())
        (label,) = clock.labels(np.array([twice]))
        raise TableError(
            f"{table.path}, {table.places[twice]}: {series} {who.iloc[twice]!r} has the {clock.name} "
            f"{label} twice"
        ) from None
    made = {}
    for column in columns:
        for name in names:
            row = wide.series[:, wide.names.index(names.index(name))]
            values = table.columns[column].iloc[np.where(np.isnan(row), 0, row).astype(int)]
            made[key_of(column, name)] = values.reset_index(drop=True).where(~np.isnan(row))
    first = np.nanmin(wide.series, axis=1).astype(int)
    places = [table.places[row] for row in first]
    return Table(table.path, made, places), clock.moved(clock.positions[first]), names


def key_of(column: str, name: str) -> str:
    """The name of the column that holds one name's values of `column`."""
    return f"{column} of {name}"


def repeated_times(table: Table, clock: Clock, taken: list[str]) -> str:
    """Which time is there twice; empty where none is.

    Parameters
    ----------
    table : Table
    clock : Clock
        Of its rows.
    taken : list of str
        Columns that are no column of names: the time, and what is forecast.

    Raises
    ------
    TableError
        Times repeat because a column holds the names of several series.
    """
    order = np.argsort(clock.positions, kind="stable")
    twice = np.flatnonzero(np.diff(clock.positions[order]) == 0)
    if not len(twice):
        return ""
    row = int(order[twice[0] + 1])
    (label,) = clock.labels(np.array([row]))
    name = _column_of_names(table, clock, taken)
    if name is not None:
        count = np.count_nonzero(clock.positions == clock.positions[row])
        raise TableError(
            f"{table.path}: the column {name!r} repeats dates: {clock.name} {label} is in {count} rows. ",
            "Take ",
            Argument("series", name),
            ": one model of all of them, and a forecast for each",
        )
    return f"{len(twice)} of them none: {label} is there twice, {table.places[row]}"


def _column_of_names(table: Table, clock: Clock, taken: list[str]) -> str | None:
    """The column of the fewest values that tells the rows of each time apart."""
    frame = package("pandas").DataFrame({"at": clock.positions})
    found = []
    for name, column in table.columns.items():
        text = names_in(column)
        several = name not in taken and len(text) >= FEW * text.nunique() > FEW
        if several and not frame.assign(who=text).duplicated().any():
            found.append((text.nunique(), name))
    return min(found)[1] if found else None


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
