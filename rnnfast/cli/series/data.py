"""The series that a command forecasts: columns chosen, rows in order, steps regular, no value missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError
from rnnfast.cli.series.clock import NAMES, Clock, dates_of
from rnnfast.cli.series.long import check_repeats, key_of, widen
from rnnfast.cli.series.table import Table, numbers, read_table

__all__ = ["IRREGULAR", "MISSING", "Data", "read_data"]

MISSING = {  # what --missing may be, and what it does
    "error": "stop",
    "drop": "leave rows out; the others count as neighbours",
    "previous": "repeat the value before",
    "interpolate": "a straight line between the values before and after",
}
IRREGULAR = {  # what --irregular may be
    "error": "stop",
    "resample": "one row for each step, the mean of the rows nearest to it; a step without any is missing",
    "ignore": "take the rows as they stand",
}
LOOK = 100  # rows that say whether a column holds dates
GROWTH = 100  # times as many rows that resampling may make, at most


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
    columns: list[str] | None,
    time: str | None,
    missing: str,
    irregular: str,
    *,
    series: str | None = None,
    only: list[str] | None = None,
    covariates: list[str] | None = None,
    step: str | None = None,
    note: str = "",
) -> Data:
    """Read the series of a file.

    Parameters
    ----------
    path : str
    columns : list of str or None
        None: the one column of numbers that there is.
    time : str or None
        None: the one column that has a time's name or dates; without any, the rows' own order.
    missing, irregular : str
        A key of MISSING, of IRREGULAR.
    series : str, optional
        The column that says which series each row of a long table is of.
    only : list of str, optional
        Which of its names to take.
    covariates : list of str, optional
        Columns that are known in advance. The rows at the end that have them, and nothing of `columns`, are
        the future.
    step : str, optional
        The step that is expected, as :meth:`Clock.step_text` has it; by default the commonest.
    note : str, optional
        What to say beside the columns that there are, where one is not.

    Returns
    -------
    Data

    Raises
    ------
    CommandError
        Whatever stands in the way, with its place in the file and what can be done.
    """
    table = read_table(path)
    covariates = covariates or []
    beside = [*covariates, *([] if series is None else [series])]
    named = [("--time", time), ("--series", series)]
    named += [("--column", name) for name in columns or []] + [("--covariates", name) for name in covariates]
    for option, name in named:
        if name is not None and name not in table.columns:
            raise CommandError(f"{option} {name}: {path} has the columns {_list(table.columns)}{note}")
    if time is None:
        time = _only_time(table, [*(columns or []), *beside])
    _check_roles(columns or [], time, series, covariates)
    if series is None and irregular == "error":
        check_repeats(table, time, [*(columns or []), *covariates])
    names = [_only_column(table, {time, *beside})] if columns is None else columns
    kept: list[str] = []
    chosen, columns, about = names, names, covariates  # `columns` and `about` are read from now on
    if series is not None:
        table, kept = widen(table, series, only, time, [*names, *covariates])
        columns, about = (
            [key_of(column, name) for column in part for name in kept] for part in (names, about)
        )
        names = kept if len(names) == 1 else columns
    values = np.stack([_numbers(table, column) for column in [*columns, *about]], axis=1)
    rows = _Rows(values, Clock.of(table, time, step), table.places)
    S = len(names)
    notes = [rows.sort(), rows.make_regular(path, irregular)]
    future = rows.cut_future(path, S, about)
    end = rows.clock.positions[-1:]
    notes.append(rows.make_whole(path, [*names, *about], missing))
    if len(future) and rows.clock.positions[-1:] != end:
        raise CommandError(f"{path}: the last row before the future has no value in some column")
    known = np.concatenate([rows.values[:, S:], future])
    own = max(1, len(kept))  # series that have covariates of their own
    known = known.reshape(len(known), len(covariates), own).swapaxes(1, 2)
    return Data(
        path,
        names,
        rows.values[:, :S],
        rows.observed[:, :S],
        rows.clock,
        [note for note in notes if note],
        np.tile(known, (1, S // own, 1)),
        chosen,
        kept,
    )


class _Rows:
    """Rows on the way to a regular series."""

    def __init__(self, values: NDArray[np.float64], clock: Clock, places: list[str]) -> None:
        self.values = values
        self.observed = ~np.isnan(values)
        self.clock = clock
        self.places = places

    def _take(self, rows: NDArray[np.integer]) -> None:
        self.values, self.observed = self.values[rows], self.observed[rows]
        self.clock = self.clock.take(rows)
        self.places = [self.places[row] for row in rows]

    def sort(self) -> str:
        if (np.diff(self.clock.positions) >= 0).all():
            return ""
        self._take(np.argsort(self.clock.positions, kind="stable"))
        return f"rows put in the order of {self.clock.name}"

    def make_regular(self, path: str, how: str) -> str:
        odd = self.clock.odd_steps()
        if not len(odd):
            return ""
        count = f"{len(odd)} of {len(self.places) - 1} steps"
        if how == "ignore":
            return f"{count} are not {self.clock.step_text()}: ignored"
        if how == "error":
            row = int(odd[0])
            twice = np.flatnonzero(np.diff(self.clock.positions) == 0)
            if len(twice):
                label = self.clock.take(twice[:1]).labels()[0]
                count += f" ({len(twice)} of them none: {label} is there twice, {self.places[twice[0] + 1]})"
            before, after = self.clock.take(np.array([row, row + 1])).labels()
            raise CommandError(
                f"{path}: {count} of {self.clock.name} are not {self.clock.step_text()}, the first from "
                f"{before} to {after} ({self.places[row + 1]}); {_ways('irregular', IRREGULAR)}"
                + (
                    "; only weekends are left out: ignore is what fits"
                    if self.clock.on_business_days()
                    else ""
                )
            )
        positions, step = self.clock.positions, self.clock.step
        numbers_of_steps = np.rint((positions - positions[0]) / step)
        if not numbers_of_steps[-1] < GROWTH * len(positions):
            labels = self.clock.labels()
            raise CommandError(
                f"{path}: steps of {self.clock.step_text()} from {labels[0]} to {labels[-1]} would make "
                f"{numbers_of_steps[-1] + 1:,.10g} rows of {len(positions):,}; "
                f"--irregular ignore ({IRREGULAR['ignore']})"
            )
        places = numbers_of_steps.astype(np.int64)
        N = int(places[-1]) + 1
        known = ~np.isnan(self.values)
        sums, counts = np.zeros((N, self.values.shape[1])), np.zeros((N, self.values.shape[1]))
        np.add.at(sums, places, np.where(known, self.values, 0.0))
        np.add.at(counts, places, known)
        self.observed = counts > 0
        self.values = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        self.clock = self.clock.moved(positions[0] + step * np.arange(N))
        self.places = [f"{self.clock.name} {label}" for label in self.clock.labels()]
        return f"{count} are not {self.clock.step_text()}: resampled to {N:,} rows"

    def cut_future(self, path: str, S: int, covariates: list[str]) -> NDArray[np.float64]:
        """Take away the rows at the end without a value of the S series, and return their covariates."""
        if not covariates:
            return self.values[:0, S:]
        there = np.flatnonzero((~np.isnan(self.values[:, :S])).any(axis=1))
        N = int(there[-1]) + 1 if len(there) else 0
        future = self.values[N:, S:]
        if np.isnan(future).any():
            row, column = np.argwhere(np.isnan(future))[0]
            raise CommandError(
                f"{path}: column {covariates[column]!r} has no value in a future row, {self.places[N + row]}"
            )
        self._take(np.arange(N))
        return future

    def make_whole(self, path: str, names: list[str], how: str) -> str:
        gaps = np.isnan(self.values)
        rows = gaps.any(axis=1)
        if not rows.any():
            return ""
        if how == "error":
            row, column = np.argwhere(gaps)[0]
            raise CommandError(
                f"{path}: {gaps.sum()} missing values, the first in column {names[column]!r}, "
                f"{self.places[row]}; {_ways('missing', MISSING)}"
            )
        if gaps.all(axis=0).any():
            raise CommandError(f"{path}: column {names[int(gaps.all(axis=0).argmax())]!r} has no value")
        if how == "drop":
            self._take(np.flatnonzero(~rows))
            return f"{rows.sum()} rows with missing values dropped; the others count as neighbours"
        # Gaps at an end of the table have no value on one side.
        known = ~gaps
        first = int(known.argmax(axis=0).max())
        last = len(gaps) - 1
        if how == "interpolate":
            last -= int(known[::-1].argmax(axis=0).max())
        if first > last:
            raise CommandError(f"{path}: no row at which all of {_list(names)} have begun and none has ended")
        cut = len(gaps) - (last - first + 1)
        self._take(np.arange(first, last + 1))
        gaps = np.isnan(self.values)
        at = np.arange(len(self.values))
        for column, missing in zip(self.values.T, gaps.T, strict=True):
            if how == "previous":
                column[:] = column[np.maximum.accumulate(np.where(missing, 0, at))]
            else:
                column[missing] = np.interp(at[missing], at[~missing], column[~missing])
        text = f"{gaps.sum()} missing values filled ({how}), and not scored"
        if how == "interpolate":
            text += ", which uses values that came later"
        return text + (f"; {cut} rows at the ends left out" if cut else "")


def _check_roles(columns: list[str], time: str | None, series: str | None, covariates: list[str]) -> None:
    """Refuse a column that has two uses."""
    for option, names in (("--column", columns), ("--covariates", covariates)):
        if len(set(names)) < len(names):
            raise CommandError(f"{option}: expected each column once, got {_list(names)}")
    if time in columns:
        raise CommandError(f"--column {time}: is the --time")
    times = [] if time is None else [time]
    for option, names in (("--column", columns), ("--time", times), ("--covariates", covariates)):
        for name in names:
            if name == series:
                raise CommandError(f"{option} {name}: is --series too")
            if name in covariates and option != "--covariates":
                raise CommandError(f"{option} {name}: is of --covariates too")


def _only_time(table: Table, columns: list[str]) -> str | None:
    """The table's one column that has a time's name or holds dates; None without any."""
    found = []
    for name, column in table.columns.items():
        if name in columns:
            continue
        beginning = column.head(LOOK)
        looks_like_dates = numbers(beginning)[1].any() and not dates_of(beginning)[1].any()
        if name.lower() in NAMES or looks_like_dates:
            found.append(name)
    if len(found) > 1:
        raise CommandError(
            f"{table.path}: several columns may be the time: {_list(found)}; choose with --time"
        )
    return found[0] if found else None


def _only_column(table: Table, others: set[str | None]) -> str:
    """The one column beside `others` that holds numbers, most of its values at least."""
    found = []
    for name, column in table.columns.items():
        values, other = numbers(column)
        if name not in others and np.count_nonzero(~np.isnan(values)) > np.count_nonzero(other):
            found.append(name)
    if len(found) != 1:
        several = f"several columns of numbers: {_list(found)}; choose with --column"
        none = f"no column of numbers among {_list(table.columns)}"
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


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) if " " in name or "," in name else name for name in names)


def _ways(option: str, ways: dict[str, str]) -> str:
    """What the option offers beside stopping."""
    return " or ".join(f"--{option} {way} ({what})" for way, what in ways.items() if way != "error")
