"""The time of a table's rows: dates or numbers as positions on a line, and positions as dates or numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.packages import package
from rnnfast.cli.errors import CommandError
from rnnfast.cli.series.table import Table, numbers

__all__ = ["Clock", "dates_of"]

NAMES = {"time", "date", "datetime", "timestamp", "year", "month", "day", "ds", "t"}  # of time columns
UNITS = {"week": 604_800_000_000, "day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000}
UNITS |= {"second": 1_000_000, "millisecond": 1_000, "microsecond": 1}  # in microseconds
EXACT = 2**53  # up to which each whole number is a float64
MONTH = 28 * UNITS["day"]  # no month is shorter


class Clock:
    """A time axis: positions, which are regular if their differences are all the same.

    Positions are microseconds, or months where all dates stand at one place of their months, or the numbers
    of a column of numbers, or the rows' own numbers where there is no time.

    Parameters
    ----------
    name : str
        Of the column; "row" without one.
    positions : ndarray [N]
    months_at : numpy.timedelta64 or None
        Positions are months; how far behind a month's beginning (below zero: its end) the dates stand.
    dates : bool
        Positions are dates.
    step : optional
        By default the commonest difference of positions.
    """

    def __init__(
        self,
        name: str,
        positions: NDArray[Any],
        months_at: np.timedelta64 | None = None,
        dates: bool = False,
        step: Any = None,
    ) -> None:
        self.name = name
        self.positions = positions
        self._months_at = months_at
        self._dates = dates
        self.step = self._commonest_step() if step is None else step

    @classmethod
    def of(cls, table: Table, name: str | None, step: str | None = None) -> Clock:
        """The clock of a table's time column, or of its rows' numbers.

        `step`, as :meth:`step_text` has it, is what to expect where few rows do not tell: a month, or any
        step of a single row.

        Raises
        ------
        CommandError
            A row without a time, or whose time is neither a date nor a number.
        """
        if name is None:
            return cls("row", np.arange(1, len(table.places) + 1))
        values, other = numbers(table.columns[name])
        if not other.any():
            _refuse(table, name, np.isnan(values), "expected a time, got none")
            whole = (values % 1 == 0).all() and np.abs(values).max(initial=0.0) <= EXACT
            return cls(name, values.astype(np.int64) if whole else values)
        dates, other = dates_of(table.columns[name])
        _refuse(table, name, other, "expected a date or a number")
        _refuse(table, name, np.isnat(dates), "expected a time, got none")
        positions = dates.astype(np.int64)
        differences = np.diff(np.unique(positions))
        count, _, unit = (step or "").removesuffix("s").partition(" ")
        differ = len(differences) > 1 and np.ptp(differences) > 0
        if differences.min(initial=MONTH) >= MONTH and (differ or unit in ("month", "year")):
            months = dates.astype("datetime64[M]")
            for border in (months, months + 1):  # all so long after a month's begin, or before its end
                offsets = dates - border.astype(dates.dtype)
                if (offsets == offsets[0]).all():
                    alone = int(count) * (12 if unit == "year" else 1) if step and len(months) == 1 else None
                    return cls(name, months.astype(np.int64), offsets[0], dates=True, step=alone)
        alone = int(count) * UNITS[unit] if unit in UNITS and len(positions) == 1 else None
        return cls(name, positions, dates=True, step=alone)

    def take(self, rows: NDArray[np.integer]) -> Clock:
        """The clock of some of the rows."""
        return Clock(self.name, self.positions[rows], self._months_at, self._dates)

    def moved(self, positions: NDArray[Any]) -> Clock:
        """The same kind of clock, of the same step, at other positions."""
        return Clock(self.name, positions, self._months_at, self._dates, self.step)

    def after(self, count: int) -> Clock:
        """The clock that goes on for `count` steps."""
        return self.moved(self.positions[-1] + self.step * np.arange(1, count + 1))

    def odd_steps(self) -> NDArray[np.integer]:
        """The rows after which the step is another than the commonest."""
        difference = np.abs(np.diff(self.positions) - self.step)
        return np.flatnonzero(difference > 1e-6 * abs(self.step))

    def on_business_days(self) -> bool:
        """Whether the steps are days, Mondays to Fridays alone."""
        if not self._dates or self._months_at is not None or self.step != UNITS["day"]:
            return False
        days = self.axis().astype("datetime64[D]")
        return bool(np.is_busday(days).all() and (np.busday_count(days[:-1], days[1:]) == 1).all())

    def axis(self) -> NDArray[Any]:
        """What a plot's axis shows: datetime64 or numbers."""
        if self._months_at is not None:
            months = self.positions + (self._months_at < np.timedelta64(0))  # whose begin is the border
            return months.astype("datetime64[M]").astype("datetime64[us]") + self._months_at
        return self.positions.astype("datetime64[us]") if self._dates else self.positions

    def labels(self) -> list[str]:
        """The times as text: numbers, or dates as ISO 8601 has them, in UTC where the file had zones."""
        axis = self.axis()
        if not self._dates:
            return [str(value) if isinstance(value, int) else f"{value:.10g}" for value in axis.tolist()]
        whole_days = (axis == axis.astype("datetime64[D]")).all() and self.step % UNITS["day"] == 0
        days_or_months = whole_days or self._months_at is not None
        precision = next((p for p in "ms" if (axis == axis.astype(f"datetime64[{p}]")).all()), "us")
        unit = "D" if days_or_months else precision
        return [str(value) for value in np.datetime_as_string(axis.astype(f"datetime64[{unit}]"))]

    def step_text(self) -> str:
        """The step as text: "1 hour", "3 months", "0.5"."""
        if not self._dates:
            return f"{self.step:g}"
        if self._months_at is not None:
            count, unit = (self.step // 12, "year") if self.step % 12 == 0 else (self.step, "month")
        else:
            known = (unit for unit, length in UNITS.items() if unit != "week" and self.step % length == 0)
            unit = next(known, "microsecond")
            count = self.step // UNITS[unit]
        return f"{count} {unit}{'' if count == 1 else 's'}"

    def season(self) -> int | None:
        """Steps of the season that dates suggest: of a day, a week (for days), a year (weeks and months)."""
        if not self._dates or self.step <= 0:
            return None
        if self._months_at is not None:
            return 12 // self.step if self.step < 12 and 12 % self.step == 0 else None
        if self.step == UNITS["day"]:
            return 7
        if self.step == UNITS["week"]:
            return 52
        fits = UNITS["minute"] <= self.step < UNITS["day"] and UNITS["day"] % self.step == 0
        return UNITS["day"] // self.step if fits else None

    def _commonest_step(self) -> Any:
        differences = np.diff(self.positions)
        differences = differences[differences > 0]
        if not len(differences):
            return 1
        if differences.dtype.kind == "f":  # sums of decimals differ in their last bits
            digits = 9 - int(np.floor(np.log10(np.median(differences))))
            steps, counts = np.unique(differences.round(digits), return_counts=True)
        else:
            steps, counts = np.unique(differences, return_counts=True)
        return steps[counts.argmax()].item()


def dates_of(column: Any) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """A column's dates in UTC, NaT where one is missing, and where it has something else (NaT there too)."""
    pandas = package("pandas", "rnnfast forecast")
    given = column.notna() & (column.astype(str).str.strip() != "")
    weeks = column.astype(str).str.strip().str.replace("-", "", regex=False)  # ISO 8601's, by their Mondays
    if given.any() and weeks[given].str.fullmatch(r"\d{4}W\d\d").all():
        found = pandas.to_datetime(weeks.where(given) + "1", format="%GW%V%u", utc=True, errors="coerce")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of dates in no one format, which are NaT then
            found = pandas.to_datetime(column.where(given), utc=True, errors="coerce")
    dates = found.dt.tz_localize(None).to_numpy("datetime64[us]")
    return dates, np.isnat(dates) & given.to_numpy(bool)


def _refuse(table: Table, name: str, rows: NDArray[np.bool_], expected: str) -> None:
    if rows.any():
        row = int(rows.argmax())
        got = "" if expected.endswith("none") else f", got {str(table.columns[name].iloc[row])!r}"
        raise CommandError(f"{table.path}, {table.places[row]}, column {name!r}: {expected}{got}")
