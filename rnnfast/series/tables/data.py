"""The series that a command forecasts: the columns of a table by their uses, and what is read from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError
from rnnfast.series.tables.clock import Clock, Dates, clock_of
from rnnfast.series.tables.long import key_of, only_rows, repeated_times, widen
from rnnfast.series.tables.rows import Rows
from rnnfast.series.tables.table import Table, listed, numbers, read_table
from rnnfast.series.tables.times import time_column

__all__ = ["Columns", "Data", "read_data"]


class Columns(NamedTuple):
    """What the columns of a table are for.

    Attributes
    ----------
    values : list of str or None
        To forecast. None: the only column of numbers.
    time : str or None
        A column, or several with a comma between that are one time together ("Date,Time", "year,quarter").
        None: the only column that has a time's name or dates; without any, the rows' own order.
    series : str or None
        The column that says which series each row of a long table is of.
    only : list of str or None
        Which of its names to take.
    covariates : tuple or list of str
        Known in advance. The rows at the end that have them, and nothing of `values`, are the future.
    """

    values: list[str] | None = None
    time: str | None = None
    series: str | None = None
    only: list[str] | None = None
    covariates: Sequence[str] = ()

    @property
    def beside_time(self) -> list[str]:
        """The columns that are named and are not the time."""
        return [*(self.values or []), *self.covariates, *([] if self.series is None else [self.series])]


class Data(NamedTuple):
    """Series, side by side, and their time.

    Attributes
    ----------
    path : str
    names : list of str, S of them
    values : ndarray [N, S]
    observed : ndarray of bool [N, S]
        False where a value was filled in.
    clock : Clock
    notes : list of str
        What was done to the rows.
    known : ndarray [N + F, S, K]
        K covariates of each row and series, and of F future rows.
    columns : list of str
        The table's columns that the series come from.
    only : list of str
        The names in the column of names that were taken; empty without such a column.
    """

    path: str
    names: list[str]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    clock: Clock
    notes: list[str]
    known: NDArray[np.float64]
    columns: list[str]
    only: list[str]


def read_data(
    path: str,
    columns: Columns,
    missing: str = "error",
    irregular: str = "error",
    *,
    dates: Dates = Dates(),  # noqa: B008, a tuple
    missing_values: Sequence[str] = (),
    note: str = "",
) -> Data:
    """Read the series of a file.

    Parameters
    ----------
    path : str
    columns : Columns
    missing, irregular : str
        A key of MISSING, of IRREGULAR.
    dates : Dates, optional
    missing_values : sequence of str
        What means a missing value, beside the usual texts.
    note : str, optional
        What to say beside the columns that there are, where one is not.

    Returns
    -------
    Data

    Raises
    ------
    CommandError
        Whatever prevents it, with its place in the file and what can be done.
    """
    table = read_table(path, missing_values)
    _check_names(table, columns, note)
    table, time, parts = time_column(table, columns.time, columns.beside_time, columns.series, note)
    _check_roles(columns, parts)
    values = columns.values or [_only_column(table, [*parts, *columns.beside_time])]
    columns = columns._replace(values=values, time=time)
    if columns.series is not None:
        table = only_rows(table, columns.series, columns.only, time)
    clock = clock_of(table, time, dates)
    kept: list[str] = []
    repeats = ""
    if columns.series is not None:
        table, clock, kept = widen(table, columns.series, columns.only, clock, [*values, *columns.covariates])
    elif irregular == "error":
        repeats = repeated_times(table, clock, [*parts, *columns.beside_time, *values])
    return _regular(table, clock, columns, kept, (missing, irregular, repeats))


def _regular(
    table: Table, clock: Clock, columns: Columns, kept: list[str], how: tuple[str, str, str]
) -> Data:
    """The series of a table that has a column for each, and for each of their covariates."""
    missing, irregular, repeats = how
    chosen = columns.values or []
    names, about = (
        [key_of(column, name) for column in part for name in kept] if kept else list(part)
        for part in (chosen, columns.covariates)
    )
    S = len(names)
    numbers_of = [_numbers(table, column) for column in [*names, *about]]
    if kept and len(chosen) == 1:
        names = kept
    rows = Rows(table.path, np.stack(numbers_of, axis=1), clock, table.places)
    notes = [rows.sort(), rows.make_regular(irregular, repeats)]
    future = rows.cut_future(S, about)
    end = rows.clock.positions[-1:]
    notes.append(rows.make_whole([*names, *about], missing))
    if len(future.values) and rows.clock.positions[-1:] != end:
        raise CommandError(f"{table.path}: the last row before the future has no value in some column")
    if rows.clock.keeps_offset() and not len(future.values):
        notes.append(f"offsets from UTC change; the forecast keeps the last: {rows.clock.labels()[-1][-6:]}")
    known = np.concatenate([rows.values[:, S:], future.values[:, S:]])
    own = max(1, len(kept))  # series that have covariates of their own
    known = known.reshape(len(known), len(columns.covariates), own).swapaxes(1, 2)
    return Data(
        table.path,
        names,
        rows.values[:, :S],
        rows.observed[:, :S],
        rows.clock.followed_by(future.clock.positions),
        [note for note in notes if note],
        np.tile(known, (1, S // own, 1)),
        chosen,
        kept,
    )


def _check_names(table: Table, columns: Columns, note: str) -> None:
    """Refuse columns that the table does not have; the time is looked for by itself."""
    named = [("--series", columns.series)]
    named += [("--column", name) for name in columns.values or []]
    named += [("--covariates", name) for name in columns.covariates]
    for option, name in named:
        if name is not None and name not in table.columns:
            raise CommandError(f"{option} {name}: {table.path} has the columns {listed(table.columns)}{note}")


def _check_roles(columns: Columns, parts: list[str]) -> None:
    """Refuse a column that has two uses; `parts` are the time."""
    values, covariates = columns.values or [], columns.covariates
    for option, names in (("--column", values), ("--covariates", covariates)):
        if len(set(names)) < len(names):
            raise CommandError(f"{option}: expected each column once, got {listed(names)}")
    for name in values:
        if name in parts:
            raise CommandError(f"--column {name}: is the --time")
    for option, names in (("--column", values), ("--time", parts), ("--covariates", covariates)):
        for name in names:
            if name == columns.series:
                raise CommandError(f"{option} {name}: is --series too")
            if name in covariates and option != "--covariates":
                raise CommandError(f"{option} {name}: is of --covariates too")


def _only_column(table: Table, others: list[str]) -> str:
    """The one column beside `others` that holds numbers, most of its values at least."""
    found = []
    for name, column in table.columns.items():
        values, other = numbers(column)
        if name not in others and np.count_nonzero(~np.isnan(values)) > np.count_nonzero(other):
            found.append(name)
    if len(found) != 1:
        several = f"several columns of numbers: {listed(found)}; choose with --column"
        none = f"no column of numbers among {listed(table.columns)}"
        raise CommandError(f"{table.path}: {several if found else none}")
    return found[0]


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    values, other = numbers(table.columns[name])
    if other.any():
        row = int(other.argmax())
        raise CommandError(
            f"{table.path}, {table.places[row]}, column {name!r}: expected a finite number, "
            f"got {str(table.columns[name].iloc[row])!r} ({other.sum()} such rows)"
        )
    return values
