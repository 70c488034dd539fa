"""Rulers turn dates into whole numbers, one step apart from row to row, and numbers into dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.series.tables.dates import Zone

__all__ = ["DAY", "BusinessDays", "Elapsed", "Months", "Ruler", "rulers"]

UNITS = {"week": 604_800_000_000, "day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000}
UNITS |= {"second": 1_000_000, "millisecond": 1_000, "microsecond": 1}  # in microseconds
DAY = UNITS["day"]
SHORTEST_MONTH = 28 * DAY
DATE = "datetime64[D]"


class Ruler:
    """Positions of dates.

    Attributes
    ----------
    zone : Zone or None
    lengths : sequence of int
        Of the units of steps, in positions.
    """

    zone: Zone | None = None
    lengths: Sequence[int] = (1,)

    def local(self, positions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Local times at positions, and their offsets from UTC, if there are any."""
        walls = self._walls(positions)
        return walls, None if self.zone is None else self.zone.of_walls(walls)

    def text(self, step: int) -> str:
        """A step as text: "1 hour", "3 months"."""
        count, unit = self._measured(step)
        return f"{count} {unit}{'' if count == 1 else 's'}"

    def season(self, step: int) -> int | None:
        """Steps of the season that dates suggest: of a day, a week (for days), a year (weeks and months)."""
        raise NotImplementedError

    def step_of(self, text: str) -> int | None:
        """The step that a text names, None where this ruler has no such step."""
        count = text.partition(" ")[0]
        steps = [int(count) * length for length in self.lengths] if count.isdecimal() else []
        return next((step for step in steps if self.text(step) == text), None)

    def _walls(self, positions: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def _measured(self, step: int) -> tuple[int, str]:
        raise NotImplementedError


class Elapsed(Ruler):
    """Microseconds: of local time, where a day is a day, or of UTC, where an hour is an hour."""

    lengths = tuple(UNITS.values())

    def __init__(self, zone: Zone | None, utc: bool) -> None:
        self.zone, self.utc = zone, utc

    def local(self, positions: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if self.zone is None or not self.utc:
            return super().local(positions)
        instants = self._walls(positions)
        offsets = self.zone.of_instants(instants)
        return instants + offsets, offsets

    def season(self, step: int) -> int | None:
        if step == DAY:
            return 7
        if step == UNITS["week"]:
            return 52
        fits = UNITS["minute"] <= step < DAY and DAY % step == 0
        return DAY // step if fits else None

    def _walls(self, positions: NDArray[Any]) -> NDArray[Any]:
        return positions.astype("datetime64[us]")

    def _measured(self, step: int) -> tuple[int, str]:
        known = (unit for unit, length in UNITS.items() if unit != "week" and step % length == 0)
        unit = next(known, "microsecond")
        return step // UNITS[unit], unit


class BusinessDays(Ruler):
    """Days from Monday to Friday, all at one time of day."""

    def __init__(self, zone: Zone | None, time: np.timedelta64) -> None:
        self.zone, self._time = zone, time

    def season(self, step: int) -> int | None:
        return 5 if step == 1 else None

    def _walls(self, positions: NDArray[Any]) -> NDArray[Any]:
        return np.busday_offset("1970-01-01", positions, roll="forward").astype("datetime64[us]") + self._time

    def _measured(self, step: int) -> tuple[int, str]:
        return step, "business day"


class Months(Ruler):
    """Months, each at one place of its own: a day, the last day, the first or last business day.

    Parameters
    ----------
    zone : Zone or None
    time : numpy.timedelta64
        The time of day.
    place : str
        "day": of the month, or its last where it is shorter; "end": days before the last; "first", "last":
        business day.
    number : int
        The day, or the days before the last.
    """

    lengths = (1, 12)

    def __init__(self, zone: Zone | None, time: np.timedelta64, place: str, number: int = 0) -> None:
        self.zone, self._time, self._place, self._number = zone, time, place, number

    def text(self, step: int) -> str:
        business = f" ({self._place} business day)" if self._place in ("first", "last") else ""
        return super().text(step) + business

    def season(self, step: int) -> int | None:
        return 12 // step if step < 12 and 12 % step == 0 else None

    def days(self, months: NDArray[Any]) -> NDArray[Any]:
        """The days of months, as numbers of months since 1970."""
        first, beyond = (month.astype("datetime64[M]").astype(DATE) for month in (months, months + 1))
        if self._place == "day":
            return np.minimum(first + (self._number - 1), beyond - 1)
        if self._place == "end":
            return beyond - 1 - self._number
        if self._place == "first":
            return np.busday_offset(first, 0, roll="forward")
        return np.busday_offset(beyond, -1, roll="forward")

    def _walls(self, positions: NDArray[Any]) -> NDArray[Any]:
        return self.days(positions).astype("datetime64[us]") + self._time

    def _measured(self, step: int) -> tuple[int, str]:
        return (step // 12, "year") if step % 12 == 0 else (step, "month")


def rulers(
    walls: NDArray[Any], instants: NDArray[Any], zone: Zone | None
) -> list[tuple[Ruler, NDArray[np.int64]]]:
    """The rulers that dates fit, the likeliest first, and the dates' positions on each.

    Parameters
    ----------
    walls, instants : ndarray of datetime64[us] [N]
        Local times, and the same in UTC.
    zone : Zone or None
    """
    days = walls.astype(DATE)
    time = walls[0] - days[0]
    at_one_time = bool((walls - days == time).all())
    differences = np.diff(np.unique(walls.astype(np.int64)))
    fits: list[tuple[Ruler, NDArray[np.int64]]] = []
    later: list[tuple[Ruler, NDArray[np.int64]]] = []  # only short tables have this
    if at_one_time and differences.min(initial=SHORTEST_MONTH) >= SHORTEST_MONTH:
        months = walls.astype("datetime64[M]").astype(np.int64)
        found: list[tuple[Ruler, NDArray[np.int64]]] = [
            (ruler, months) for ruler in _months(zone, time, days, months)
        ]
        known = len(np.unique(differences)) > 1 or (len(differences) > 0 and differences[0] != SHORTEST_MONTH)
        fits, later = (found[:1], found[1:]) if known else ([], found)
    if at_one_time and np.is_busday(days).all():
        positions = np.busday_count("1970-01-01", days)
        steps, gaps = np.diff(np.sort(positions)), np.diff(np.sort(days)).astype(np.int64)
        weekend = (gaps[steps == 1] == 3).any()  # between neighbours
        (fits if weekend else later).append((BusinessDays(zone, time), positions))
    fits.append((Elapsed(zone, utc=False), walls.astype(np.int64)))
    if zone is not None:
        fits.append((Elapsed(zone, utc=True), instants.astype(np.int64)))
    return [*fits, *later]


def _months(
    zone: Zone | None, time: np.timedelta64, days: NDArray[Any], months: NDArray[np.int64]
) -> list[Months]:
    """Months, for each place of theirs that all days are at; the likeliest first."""
    first, beyond = (month.astype("datetime64[M]").astype(DATE) for month in (months, months + 1))
    number = int((days - first).astype(np.int64).max()) + 1
    if number > 28 and (days == beyond - 1).all():
        number = 31
    before_end = int((beyond - 1 - days)[0].astype(np.int64))
    places = [("day", number), ("end", before_end), ("last", 0), ("first", 0)]
    fits = (Months(zone, time, *place) for place in places)
    return [ruler for ruler in fits if (ruler.days(months) == days).all()]
