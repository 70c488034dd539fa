"""Makes the rows of a table a regular series: in order, at equal steps, without missing values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnfast.series.tables.clock import Clock
from rnnfast.series.tables.errors import Argument, TableError
from rnnfast.series.tables.packages import package
from rnnfast.series.tables.table import listed

__all__ = ["IRREGULAR", "MISSING", "Rows"]

MISSING = {  # the choices of `missing`, and their effect
    "error": "stop",
    "drop": "leave rows out; the others count as neighbours",
    "previous": "repeat the value before",
    "interpolate": "a straight line between the values before and after",
}
IRREGULAR = {  # the choices of `irregular`
    "error": "stop",
    "resample": "one row for each step, the mean of the rows nearest to it; a step without any is missing",
    "ignore": "use the rows as they are",
}
GROWTH = 100  # resampling makes at most this many times the rows


class Rows:
    """Rows of numbers, and their time.

    Parameters
    ----------
    path : str
        Of the file, for messages.
    values : ndarray [N, C]
    clock : Clock
    places : list of str
        Where each row is in the file.

    Attributes
    ----------
    observed : ndarray of bool [N, C]
        False where a value is missing, or was filled in.
    """

    def __init__(self, path: str, values: NDArray[np.float64], clock: Clock, places: list[str]) -> None:
        self.path = path
        self.values = values
        self.observed = ~np.isnan(values)
        self.clock = clock
        self.places = places

    def sort(self) -> str:
        """Put the rows in the order of time; return a note of it."""
        if (np.diff(self.clock.positions) >= 0).all():
            return ""
        self._take(np.argsort(self.clock.positions, kind="stable"))
        return f"rows put in the order of {self.clock.name}"

    def make_regular(self, how: str, repeats: str) -> str:
        """Make steps equal, by a key of IRREGULAR; return a note of it.

        `repeats` has the times that occur twice.
        """
        odd = self.clock.odd_steps()
        if not len(odd):
            return ""
        if len(self.places) > 1 and self.clock.positions[0] == self.clock.positions[-1]:
            (label,) = self.clock.labels(np.array([0]))
            raise TableError(f"{self.path}: {self.clock.name} is {label} in all {len(self.places)} rows")
        holidays = self.clock.holidays()
        if holidays and how != "resample":
            before, after = self.clock.labels(np.array([odd[0], odd[0] + 1]))
            days = "business day" if holidays == 1 else "business days"
            return (
                f"{holidays} {days} without a row (holidays, the first between {before} and {after}): "
                "the rows beside them count as neighbours"
            )
        count = f"{len(odd)} of {len(self.places) - 1} steps"
        if how == "ignore":
            return f"{count} are not {self.clock.step_text()}: ignored"
        if how == "error":
            why = self._why_irregular(int(odd[0]), count, repeats)
            raise TableError(f"{self.path}: {why}; ", *_ways("irregular", IRREGULAR))
        self._resample()
        return f"{count} are not {self.clock.step_text()}: resampled to {len(self.values):,} rows"

    def cut_future(self, S: int, covariates: list[str]) -> Rows:
        """Take away the rows at the end without a value of the first S columns, and return them."""
        N = len(self.values)
        if covariates:
            there = np.flatnonzero(self.observed[:, :S].any(axis=1))
            N = int(there[-1]) + 1 if len(there) else 0
        rows = np.arange(len(self.values))
        future = Rows(self.path, self.values[N:], self.clock.take(rows[N:]), self.places[N:])
        gaps = ~future.observed[:, S:]
        if gaps.any():
            row, column = np.argwhere(gaps)[0]
            raise TableError(
                f"{self.path}: column {covariates[column]!r} has no value in a future row, "
                f"{future.places[row]}"
            )
        if len(future.values):
            self._take(rows[:N])
        return future

    def make_whole(self, names: list[str], how: str) -> str:
        """Fill in missing values or drop their rows, by a key of MISSING; return a note of it."""
        gaps = np.isnan(self.values)
        rows = gaps.any(axis=1)
        if not rows.any():
            return ""
        if how == "error":
            row, column = np.argwhere(gaps)[0]
            raise TableError(
                f"{self.path}: {gaps.sum()} missing values, the first in column {names[column]!r}, "
                f"{self.places[row]}; ",
                *_ways("missing", MISSING),
            )
        if gaps.all(axis=0).any():
            raise TableError(f"{self.path}: column {names[int(gaps.all(axis=0).argmax())]!r} has no value")
        if how == "drop":
            if rows.all():
                raise TableError(f"{self.path}: no row has a value in all of {listed(names)}")
            self._take(np.flatnonzero(~rows))
            return f"{rows.sum()} rows with missing values dropped; the others count as neighbours"
        return self._fill(names, how)

    def _take(self, rows: NDArray[np.integer]) -> None:
        self.values, self.observed = self.values[rows], self.observed[rows]
        self.clock = self.clock.take(rows)
        self.places = [self.places[row] for row in rows]

    def _why_irregular(self, row: int, count: str, repeats: str) -> str:
        """The cause of the first odd step, which is after `row`."""
        before, after = self.clock.labels(np.array([row, row + 1]))
        skipped = self.clock.skipped(row)
        cause = f", {skipped:,} {'row is' if skipped == 1 else 'rows are'} missing there" if skipped else ""
        if self.clock.at_daylight_saving(row):
            cause += ", as when daylight saving changes: write times with their offsets or in UTC"
        return (
            f"{count}{f' ({repeats})' if repeats else ''} of {self.clock.name} are not "
            f"{self.clock.step_text()}, the first from {before} to {after} ({self.places[row + 1]}){cause}"
        )

    def _resample(self) -> None:
        """One row for each step: the mean of the rows nearest to it."""
        positions, step = self.clock.positions, self.clock.step
        steps = np.rint((positions - positions[0]) / step)
        if not steps[-1] < GROWTH * len(positions):
            labels = self.clock.labels()
            raise TableError(
                f"{self.path}: steps of {self.clock.step_text()} from {labels[0]} to {labels[-1]} would make "
                f"{steps[-1] + 1:,.10g} rows of {len(positions):,}; ",
                *_ways("irregular", {"ignore": IRREGULAR["ignore"]}),
            )
        nearest = steps.astype(np.int64)
        N = int(nearest[-1]) + 1
        frame = package("pandas").DataFrame(self.values)
        self.values = frame.groupby(nearest).mean().reindex(range(N)).to_numpy(np.float64, copy=True)
        self.observed = ~np.isnan(self.values)
        self.clock = self.clock.moved(positions[0] + step * np.arange(N))
        self.places = [f"{self.clock.name} {label}" for label in self.clock.labels()]

    def _fill(self, names: list[str], how: str) -> str:
        """Fill in missing values; rows at the ends without a value to fill from are left out."""
        known = ~np.isnan(self.values)
        first, last = int(known.argmax(axis=0).max()), len(known) - 1
        if how == "interpolate":
            last -= int(known[::-1].argmax(axis=0).max())
        if first > last:
            raise TableError(
                f"{self.path}: no row at which all of {listed(names)} have begun and none has ended"
            )
        cut = len(known) - (last - first + 1)
        self._take(np.arange(first, last + 1))
        count = np.isnan(self.values).sum()
        frame = package("pandas").DataFrame(self.values)
        self.values = (frame.ffill() if how == "previous" else frame.interpolate()).to_numpy(copy=True)
        text = f"{count} missing values filled ({how}), and not scored"
        if how == "interpolate":
            text += ", which uses values that came later"
        return text + (f"; {cut} rows at the ends left out" if cut else "")


def _ways(argument: str, ways: dict[str, str]) -> list[str | Argument]:
    """The choices of the argument other than an error, as parts of an error's text."""
    parts: list[str | Argument] = []
    for way, what in ways.items():
        if way != "error":
            parts += [" or " if parts else "", Argument(argument, way), f" ({what})"]
    return parts
