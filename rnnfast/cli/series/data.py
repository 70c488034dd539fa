"""The series that a command forecasts: columns chosen, rows in order, steps regular, no value missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.packages import package
from rnnfast.cli.errors import CommandError
from rnnfast.cli.series.clock import Clock, clock_of
from rnnfast.cli.series.table import Table, listed, numbers, read_table
from rnnfast.cli.series.times import time_column

__all__ = ["IRREGULAR", "MISSING", "Data", "read_data", "repeated_dates"]

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
    """

    path: str
    names: list[str]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    clock: Clock
    notes: list[str]


def read_data(
    path: str,
    columns: list[str] | None,
    time: str | None,
    missing: str,
    irregular: str,
    *,
    step: str | None = None,
    note: str = "",
    date_format: str | None = None,
    day_first: bool = False,
    kept_format: str | None = None,
    missing_values: Sequence[str] = (),
) -> Data:
    """Read the series of a file.

    Parameters
    ----------
    path : str
    columns : list of str or None
        None: the one column of numbers that there is.
    time : str or None
        A column, or several with a comma between that are one time together ("Date,Time", "year,quarter").
        None: the one column that has a time's name or dates; without any, the rows' own order.
    missing, irregular : str
        A key of MISSING, of IRREGULAR.
    step : str, optional
        The step that is expected, as :meth:`Clock.step_text` has it; by default the commonest.
    note : str, optional
        What to say beside the columns that there are, where one is not.
    date_format : str, optional
        Of the dates, as strptime has it.
    day_first : bool
        Dates like 01/02/2024 have the day first.
    kept_format : str, optional
        The format to prefer, of the table that a model was trained on.
    missing_values : sequence of str
        What stands for a missing value, beside the usual texts.

    Returns
    -------
    Data

    Raises
    ------
    CommandError
        Whatever stands in the way, with its place in the file and what can be done.
    """
    table = read_table(path, missing_values)
    for name in columns or []:
        if name not in table.columns:
            raise CommandError(f"--column {name}: {path} has the columns {listed(table.columns)}{note}")
    if columns is not None and len(set(columns)) < len(columns):
        raise CommandError(f"--column: expected each column once, got {listed(columns)}")
    table, time, parts = time_column(table, time, columns or [], note)
    if columns is not None and set(parts) & set(columns):
        raise CommandError(f"--column {next(name for name in columns if name in parts)}: is the --time")
    names = [_only_column(table, parts)] if columns is None else columns
    values = np.stack([_numbers(table, name) for name in names], axis=1)
    rows = _Rows(values, clock_of(table, time, step, date_format, day_first, kept_format), table.places)
    notes = [rows.sort(), rows.make_regular(path, irregular), rows.make_whole(path, names, missing)]
    if rows.clock.keeps_offset():
        notes.append(f"offsets from UTC change; the forecast keeps the last: {rows.clock.labels()[-1][-6:]}")
    return Data(path, names, rows.values, rows.observed, rows.clock, [note for note in notes if note])


def repeated_dates(clock: Clock, places: list[str]) -> str:
    """That rows of one clock, in its order, have the same time; empty where none have.

    Parameters
    ----------
    clock : Clock
    places : list of str
        Where the rows stand in their file.
    """
    twice = np.flatnonzero(np.diff(clock.positions) == 0)
    if not len(twice):
        return ""
    (label,) = clock.labels(twice[:1])
    return f"{len(twice)} of them none: {label} is there twice, {places[twice[0] + 1]}"


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
        if len(self.places) > 1 and self.clock.positions[0] == self.clock.positions[-1]:
            (label,) = self.clock.labels(np.array([0]))
            raise CommandError(f"{path}: {self.clock.name} is {label} in all {len(self.places)} rows")
        holidays = self.clock.holidays()
        if holidays and how != "resample":
            after, before = self.clock.labels(np.array([odd[0], odd[0] + 1]))
            days = "business day" if holidays == 1 else "business days"
            return (
                f"{holidays} {days} without a row (holidays, the first between {after} and {before}): "
                "the rows beside them count as neighbours"
            )
        count = f"{len(odd)} of {len(self.places) - 1} steps"
        if how == "ignore":
            return f"{count} are not {self.clock.step_text()}: ignored"
        if how == "error":
            raise CommandError(f"{path}: {self._why_irregular(odd, count)}; {_ways('irregular', IRREGULAR)}")
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
        pandas = package("pandas", "rnnfast forecast")
        means = pandas.DataFrame(self.values).groupby(places).mean().reindex(range(N))
        self.values = means.to_numpy(np.float64, copy=True)
        self.observed = ~np.isnan(self.values)
        self.clock = self.clock.moved(positions[0] + step * np.arange(N))
        self.places = [f"{self.clock.name} {label}" for label in self.clock.labels()]
        return f"{count} are not {self.clock.step_text()}: resampled to {N:,} rows"

    def _why_irregular(self, odd: NDArray[np.integer], count: str) -> str:
        """What the first odd step is, with its row."""
        row = int(odd[0])
        twice = repeated_dates(self.clock, self.places)
        before, after = self.clock.labels(np.array([row, row + 1]))
        skipped = self.clock.skipped(row)
        cause = f", {skipped:,} {'row is' if skipped == 1 else 'rows are'} missing there" if skipped else ""
        if self.clock.at_daylight_saving(row):
            cause += ", as when daylight saving changes: write times with their offsets or in UTC"
        return (
            f"{count}{f' ({twice})' if twice else ''} of {self.clock.name} are not {self.clock.step_text()}, "
            f"the first from {before} to {after} ({self.places[row + 1]}){cause}"
        )

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
            raise CommandError(
                f"{path}: no row at which all of {listed(names)} have begun and none has ended"
            )
        cut = len(gaps) - (last - first + 1)
        self._take(np.arange(first, last + 1))
        gaps = np.isnan(self.values)
        frame = package("pandas", "rnnfast forecast").DataFrame(self.values)
        self.values = (frame.ffill() if how == "previous" else frame.interpolate()).to_numpy(copy=True)
        text = f"{gaps.sum()} missing values filled ({how}), and not scored"
        if how == "interpolate":
            text += ", which uses values that came later"
        return text + (f"; {cut} rows at the ends left out" if cut else "")


def _only_column(table: Table, parts: list[str]) -> str:
    """The one column beside the time that holds numbers, most of its values at least."""
    found = []
    for name, column in table.columns.items():
        values, other = numbers(column)
        if name not in parts and np.count_nonzero(~np.isnan(values)) > np.count_nonzero(other):
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


def _ways(option: str, ways: dict[str, str]) -> str:
    """What the option offers beside stopping."""
    return " or ".join(f"--{option} {way} ({what})" for way, what in ways.items() if way != "error")
