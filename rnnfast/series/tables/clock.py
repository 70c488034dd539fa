"""The time of a table's rows: dates or numbers as positions on a line, and positions as dates or numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.tables.dates import Reading, is_clock_time, readings
from rnnfast.series.tables.errors import Argument, TableError
from rnnfast.series.tables.rulers import DAY, BusinessDays, Elapsed, Ruler, rulers
from rnnfast.series.tables.table import Table, numbers

__all__ = ["Clock", "Dates", "clock_of"]

EXACT = 2**53  # up to this, each whole number is a float64
LONGEST_HOLIDAY = 10  # business days
HOLIDAYS = 0.1  # the largest share of business days that are holidays


class Dates(NamedTuple):
    """How dates are read.

    Attributes
    ----------
    date_format : str or None
        As strptime has it.
    day_first : bool
        Dates like 01/02/2024 have the day first.
    usual_format : str or None
        The format to prefer where it fits all rows.
    step : str or None
        The step to expect where few rows do not tell, as :meth:`Clock.step_text` has it.
    """

    date_format: str | None = None
    day_first: bool = False
    usual_format: str | None = None
    step: str | None = None


class Clock:
    """The times of rows: positions on an axis, the step between them, and both as text.

    :func:`read_data` makes it. The positions of dates are whole numbers of a unit that suits the step. The
    positions of numbers are the numbers. Without a time, they are the numbers of the rows.

    Parameters
    ----------
    name : str
        Of the column; "row" without one.
    positions : ndarray [N]
    ruler : Ruler or None
        None: the positions are numbers.
    step : optional
        By default the commonest difference of positions.
    reading : str
        The date format that was chosen; empty where the dates have one meaning.
    ahead : ndarray, optional
        The positions of the next rows, as far as they are known.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> clock = rf.series.Clock("hour", np.array([0, 6, 12, 18]))
    >>> clock.labels(), clock.step_text(), clock.after(2).labels()
    (['0', '6', '12', '18'], '6', ['24', '30'])
    """

    def __init__(
        self,
        name: str,
        positions: NDArray[Any],
        ruler: Ruler | None = None,
        step: Any = None,
        reading: str = "",
        ahead: NDArray[Any] | None = None,
    ) -> None:
        self.name = name
        self.positions = positions
        self.reading = reading
        self._ruler = ruler
        self._ahead = positions[:0] if ahead is None else ahead
        self.step = self._commonest_step() if step is None else step

    def take(self, rows: NDArray[np.integer]) -> Clock:
        """The clock of some of the rows."""
        return Clock(self.name, self.positions[rows], self._ruler, reading=self.reading)

    def moved(self, positions: NDArray[Any]) -> Clock:
        """The same kind of clock, of the same step, at other positions."""
        return Clock(self.name, positions, self._ruler, self.step, self.reading)

    def after(self, count: int) -> Clock:
        """The clock of the next `count` steps: at the known positions, then at equal steps."""
        known = self._ahead[: checks.integer("count", count, 0)]
        last = known[-1] if len(known) else self.positions[-1]
        return self.moved(np.append(known, last + self.step * np.arange(1, count - len(known) + 1)))

    def followed_by(self, ahead: NDArray[Any]) -> Clock:
        """The same clock, with the positions of its next rows."""
        return Clock(self.name, self.positions, self._ruler, self.step, self.reading, ahead)

    def odd_steps(self) -> NDArray[np.integer]:
        """The rows after which the step is another than the commonest."""
        difference = np.abs(np.diff(self.positions) - self.step)
        return np.flatnonzero(difference > 1e-6 * abs(self.step))

    def skipped(self, row: int) -> int:
        """The steps that have no row between a row and the next."""
        steps = (self.positions[row + 1] - self.positions[row]) / self.step
        return round(steps) - 1 if steps > 1 and abs(steps - round(steps)) < 1e-6 else 0

    def at_daylight_saving(self, row: int) -> bool:
        """Whether local times skip or repeat an hour after a row as they do when daylight saving changes."""
        if not isinstance(self._ruler, Elapsed) or self._ruler.zone is not None or self.step >= DAY:
            return False
        before, after = self.axis()[[row, row + 1]]
        time = before - before.astype("datetime64[D]")
        sunday = not np.is_busday(before.astype("datetime64[D]"), weekmask="Mon Tue Wed Thu Fri Sat")
        jump = (after - before) - np.timedelta64(self.step, "us")
        return bool(sunday and time < np.timedelta64(4, "h") and abs(jump) == np.timedelta64(1, "h"))

    def on_business_days(self) -> bool:
        """Whether the steps are business days."""
        return isinstance(self._ruler, BusinessDays)

    def holidays(self) -> int:
        """The business days without a row, if they are as few and as short as holidays; else 0."""
        if not self.on_business_days() or self.step != 1:
            return 0
        missing = np.diff(self.positions) - 1
        few = missing.sum() <= max(HOLIDAYS * len(self.positions), 1)
        return int(missing.sum()) if few and 0 <= missing.min() and missing.max() <= LONGEST_HOLIDAY else 0

    def axis(self) -> NDArray[Any]:
        """The values of a plot's axis: datetime64 (local times) or numbers."""
        return self.positions if self._ruler is None else self._ruler.local(self.positions)[0]

    def labels(self, rows: NDArray[np.integer] | None = None) -> list[str]:
        """The times of rows (all) as text: numbers, or dates as ISO 8601 has them, with their offsets."""
        positions = self.positions if rows is None else self.positions[rows]
        if self._ruler is None:
            return [str(value) if isinstance(value, int) else f"{value:.10g}" for value in positions.tolist()]
        walls, offsets = self._ruler.local(positions)
        midnights = (walls == walls.astype("datetime64[D]")).all()
        hours = isinstance(self._ruler, Elapsed) and self.step % DAY != 0
        precision = next((p for p in "ms" if (walls == walls.astype(f"datetime64[{p}]")).all()), "us")
        unit = "D" if midnights and not hours and offsets is None else precision
        texts = [str(text) for text in np.datetime_as_string(walls.astype(f"datetime64[{unit}]"))]
        if offsets is None:
            return texts
        return [text + _offset_text(offset) for text, offset in zip(texts, offsets, strict=True)]

    def step_text(self) -> str:
        """The step as text: "1 hour", "3 months", "1 business day", "0.5"."""
        return f"{self.step:g}" if self._ruler is None else self._ruler.text(self.step)

    def season(self) -> int | None:
        """Steps of the season that dates suggest."""
        return None if self._ruler is None or self.step <= 0 else self._ruler.season(self.step)

    def keeps_offset(self) -> bool:
        """Whether rows have different offsets from UTC, so that the forecast can only keep the last."""
        return self._ruler is not None and self._ruler.zone is not None and self._ruler.zone.changes

    def _commonest_step(self) -> Any:
        differences = np.diff(np.unique(self.positions))  # also of unsorted rows and of long tables
        if not len(differences):
            return 1
        if differences.dtype.kind == "f":  # sums of decimals differ in their last bits
            digits = 9 - int(np.floor(np.log10(np.median(differences))))
            steps, counts = np.unique(differences.round(digits), return_counts=True)
        else:
            steps, counts = np.unique(differences, return_counts=True)
        return steps[counts.argmax()].item()


def clock_of(table: Table, name: str | None, dates: Dates) -> Clock:
    """The clock of a table's time column, or of its rows' numbers.

    Parameters
    ----------
    table : Table
    name : str or None
    dates : Dates

    Raises
    ------
    TableError
        A row without a time, or whose time is neither a date nor a number; dates that have two readings.
    """
    date_format, day_first, usual_format, step = dates
    if name is None:
        return Clock("row", np.arange(1, len(table.places) + 1))
    column = table.columns[name]
    values, other = numbers(column)
    found = [] if usual_format is None else readings(column, usual_format)
    if not found or found[0].misfits.any():
        found = readings(column, date_format, day_first)
    if not other.any() and date_format is None and not (found and _are_compact(name, values, found)):
        _refuse(table, name, np.isnan(values), "expected a time, got none")
        whole = (values % 1 == 0).all() and np.abs(values).max(initial=0.0) <= EXACT
        return Clock(name, values.astype(np.int64) if whole else values)
    if not found and is_clock_time(column):
        raise TableError(
            f"{table.path}: column {name!r} has clock times without a date, as {str(column.iloc[0])!r}; "
            "name the column of the dates too: ",
            Argument("time", f"DATE,{name}"),
        )
    if not found:
        rows = other if date_format is None else np.ones(len(other), bool)
        _refuse(table, name, rows, f"expected {_expected(date_format)}")
    _refuse(table, name, found[0].misfits, f"expected {_expected(date_format or found[0].format)}")
    _refuse(table, name, np.isnat(found[0].walls), "expected a time, got none")
    clocks = [_dated(name, reading, step) for reading in found]
    if len(clocks) > 1:
        regular = [clock for clock in clocks if not len(_distinct(clock).odd_steps())]
        clocks = regular if len(regular) == 1 else clocks
    if len(clocks) > 1:
        raise _two_readings(table.path, column, clocks)
    return clocks[0]


def _are_compact(name: str, values: NDArray[np.float64], found: list[Reading]) -> bool:
    """Whether whole numbers are dates: all like 20240131, or like 202401 if regular only as dates."""
    digits = np.log10(np.abs(values[~np.isnan(values)]).max(initial=1.0))
    if found[0].misfits.any() or np.isnat(found[0].walls).any():
        return False
    years = found[0].walls.astype("datetime64[Y]").astype(int) + 1970
    if not ((years >= 1800) & (years < 2200)).all():
        return False
    if digits >= 7:
        return True
    dates = _distinct(_dated(name, found[0]))
    return len(Clock(name, np.unique(values)).odd_steps()) > len(dates.odd_steps())


def _dated(name: str, reading: Reading, expected: str | None = None) -> Clock:
    """The clock of dates: on the ruler on which they are regular, else on that with the fewest odd steps."""
    best, fewest = None, -1
    for ruler, positions in rulers(reading.walls, reading.instants, reading.zone):
        wanted = None if expected is None else ruler.step_of(expected)
        alone = wanted is not None and len(np.unique(positions)) == 1
        clock = Clock(name, positions, ruler, wanted if alone else None, reading.format)
        if isinstance(ruler, Elapsed) and ruler.zone is not None and not ruler.utc and clock.step % DAY:
            continue  # hours have equal length in UTC only
        if alone or (expected is not None and clock.step_text() == expected):
            return clock
        if isinstance(ruler, BusinessDays) and clock.step != 1:
            continue
        odd = len(_distinct(clock).odd_steps())
        if best is None or odd < fewest:
            best, fewest = clock, odd
    assert best is not None  # elapsed time is always among them
    return best


def _distinct(clock: Clock) -> Clock:
    """The clock of the different times, in order: a long table repeats times."""
    return clock.moved(np.unique(clock.positions))


def _two_readings(path: str, column: Any, clocks: list[Clock]) -> TableError:
    """The error that dates have several readings, with the dates of each."""
    ways = [
        f"{clock.reading} (steps of {clock.step_text()}, {clock.labels()[-1]} the last)"
        for clock in map(_distinct, clocks)
    ]
    return TableError(
        f"{path}: column {clocks[0].name!r} can be read in {len(clocks)} ways, as {column.iloc[0]!r}: "
        f"{' or '.join(ways)}; choose with ",
        Argument("date_format", clocks[0].reading),
        ", or ",
        Argument("day_first"),
    )


def _expected(form: str | None) -> str:
    return "a date or a number" + (f", as {form}" if form else "")


def _offset_text(offset: np.timedelta64) -> str:
    minutes = int(offset / np.timedelta64(1, "m"))
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _refuse(table: Table, name: str, rows: NDArray[np.bool_], expected: str) -> None:
    if rows.any():
        row = int(rows.argmax())
        got = "" if expected.endswith("none") else f", got {str(table.columns[name].iloc[row])!r}"
        raise TableError(f"{table.path}, {table.places[row]}, column {name!r}: {expected}{got}")
