"""Dates of a column of text: the readings that fit all of its rows, with the offsets that the text names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.series.tables.errors import Argument, TableError
from rnnfast.series.tables.packages import package
from rnnfast.series.tables.table import is_missing, numbers

__all__ = ["Reading", "Zone", "is_clock_time", "readings"]

TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AaPp][Mm])?"
OFFSET = r"Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?"
PARTS = rf"^(.+?)(?:[T ,]\s*({TIME}|(?<=\dT)\d{{2}})\s*({OFFSET})?)?$"  # date, time, offset
WEEK, QUARTER = r"(\d{4})-?W(\d{2})", r"(\d{4})[- ]?Q([1-4])|Q([1-4])[-/ ]?(\d{4})"
NAMED = (
    "%b %Y",
    "%B %Y",
    "%b-%Y",
    "%B-%Y",
    "%b-%y",
    "%b %y",
    "%d-%b-%y",
    "%d %b %y",
    "%Y %b",
    "%Y %B",
    "%Y-%b",
)  # months by name
COMPACT = {8: "%Y%m%d", 6: "%Y%m"}  # dates that look like whole numbers, by their digits
SAMPLES = 8  # the number of rows from which formats are guessed


class Zone:
    """The offsets from UTC that a column has, or those of a named zone.

    Parameters
    ----------
    walls, offsets : ndarray [N]
        Local times as datetime64 and how far they are ahead of UTC, as timedelta64.
    named : tzinfo, optional
        Knows the offsets of all times. Without it, the offset of the last row before a time holds.
    """

    def __init__(self, walls: NDArray[Any], offsets: NDArray[Any], named: Any = None) -> None:
        order = np.argsort(walls - offsets, kind="stable")
        self._walls, self._offsets, self._named = walls[order], offsets[order], named

    @property
    def changes(self) -> bool:
        """Whether rows have different offsets, and no named zone says when they change."""
        return self._named is None and bool((self._offsets != self._offsets[0]).any())

    def of_instants(self, instants: NDArray[Any]) -> NDArray[Any]:
        """The offsets at times in UTC."""
        if self._named is None:
            return self._known(self._walls - self._offsets, instants)
        local = package("pandas").DatetimeIndex(instants).tz_localize("UTC")
        local = local.tz_convert(self._named).tz_localize(None)
        return local.to_numpy("datetime64[us]") - instants

    def of_walls(self, walls: NDArray[Any]) -> NDArray[Any]:
        """The offsets at local times."""
        if self._named is None:
            return self._known(self._walls, walls)
        local = package("pandas").DatetimeIndex(walls)
        ambiguous = np.ones(len(walls), bool)  # the first of two hours with the same name
        aware = local.tz_localize(self._named, ambiguous=ambiguous, nonexistent="shift_forward")
        shifted = aware.tz_localize(None).to_numpy("datetime64[us]")
        return shifted - aware.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")

    def _known(self, times: NDArray[Any], at: NDArray[Any]) -> NDArray[Any]:
        return self._offsets[np.maximum(np.searchsorted(times, at, side="right") - 1, 0)]


class Reading(NamedTuple):
    """One way to read a column.

    Attributes
    ----------
    format : str
        As strptime has it; empty where the text has one meaning.
    walls : ndarray of datetime64[us] [N]
        Local times; NaT where one is missing or does not fit.
    instants : ndarray of datetime64[us] [N]
        The same in UTC, if the zone is known.
    zone : Zone or None
    misfits : ndarray of bool [N]
        Rows that this reading does not fit.
    """

    format: str
    walls: NDArray[np.datetime64]
    instants: NDArray[np.datetime64]
    zone: Zone | None
    misfits: NDArray[np.bool_]


def readings(column: Any, date_format: str | None = None, day_first: bool = False) -> list[Reading]:
    """The readings that fit all rows; without any, the one that fits the most rows, if it fits half of them.

    Parameters
    ----------
    column : pandas.Series
    date_format : str, optional
        The only format to try, as strptime has it.
    day_first : bool
        The day comes before the month.
    """
    if getattr(column.dtype, "kind", "O") == "M":
        return [_native(column)]
    text = _as_text(column)
    given = text.notna().to_numpy(bool)
    parts = text.astype(str).str.extract(PARTS).where(text.notna())
    offsets = _offsets(parts[2]) if parts[2].notna().any() else None
    found: list[Reading] = []
    for form, dates in _candidates(text, parts, date_format, day_first):
        walls = dates.to_numpy("datetime64[us]")
        misfits = np.isnat(walls) & given
        instants, zone = walls, None
        if offsets is not None:
            instants = walls - offsets
            misfits |= np.isnat(offsets) & given
            fits = ~np.isnat(walls) & ~np.isnat(offsets)
            zone = Zone(walls[fits], offsets[fits]) if fits.any() else None
        if not any(np.array_equal(walls, other.walls, equal_nan=True) for other in found):
            found.append(Reading(form, walls, instants, zone, misfits))
    whole = [reading for reading in found if not reading.misfits.any()]
    if whole or not found or not given.any():
        return whole
    best = min(found, key=lambda reading: np.count_nonzero(reading.misfits))
    return [best] if 2 * np.count_nonzero(best.misfits) <= np.count_nonzero(given) else []


def is_clock_time(column: Any) -> bool:
    """Whether a column holds times of day, and no dates."""
    text = _as_text(column).dropna()
    return bool(len(text)) and bool(text.str.fullmatch(rf"(?:{TIME})\s*(?:{OFFSET})?").all())


def _as_text(column: Any) -> Any:
    """Text without space around it, None where a value is missing."""
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    return text.where(~is_missing(text)).astype(object)


def _native(column: Any) -> Reading:
    """The dates of a column that holds dates already."""
    named = getattr(column.dtype, "tz", None)
    local = column if named is None else column.dt.tz_localize(None)
    walls = local.to_numpy("datetime64[us]")
    instants, zone = walls, None
    if named is not None:
        instants = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
        fits = ~np.isnat(walls)
        zone = Zone(walls[fits], (walls - instants)[fits], named)
    return Reading("", walls, instants, zone, np.zeros(len(walls), bool))


def _offsets(text: Any) -> NDArray[Any]:
    """Offsets from UTC, NaT in rows without."""
    digits = text.str.extract(r"^([+-])(\d{2}):?(\d{2})?$")
    minutes = 60.0 * digits[1].astype(float) + digits[2].astype(float).fillna(0.0)
    minutes = (minutes * np.where(digits[0] == "-", -1.0, 1.0)).fillna(0.0).to_numpy()  # 0: Z
    offsets = (60_000_000 * minutes).astype("timedelta64[us]")
    offsets[text.isna()] = np.timedelta64("NaT")
    return offsets


def _candidates(text: Any, parts: Any, date_format: str | None, day_first: bool) -> Iterator[tuple[str, Any]]:
    """Formats, and the dates that each makes of the text."""
    if date_format is not None:
        form = date_format.replace("%z", "").strip()
        if re.search("%[HIfMSpXcT]", form):
            wall = text.where(parts[2].isna(), text.str.replace(rf"\s*(?:{OFFSET})$", "", regex=True))
            yield date_format, _parsed(wall, form)
        else:
            yield date_format, _parsed(parts[0], form) + _times(parts[1])
        return
    times = _times(parts[1])
    dates = _plain(parts[0].astype(object))
    iso = _parsed(dates, "ISO8601").mask(dates.str.contains(r"(?:Z|[+-]\d\d:\d\d)$", na=False))
    length = dates.dropna().astype(str).str.len()
    compact = COMPACT.get(int(length.iloc[0])) if len(length) and numbers(dates)[1].sum() == 0 else None
    if compact is not None:
        yield "", _parsed(dates, compact) + times
    elif (iso.notna() | dates.isna()).all():
        yield "", iso + times
    else:
        for form in _formats(dates.dropna(), day_first):
            yield form, _parsed(dates, form) + times
        yield "", iso + times


def _parsed(text: Any, form: str) -> Any:
    """Dates in one format, NaT where it does not fit."""
    pandas = package("pandas")
    try:
        found = pandas.to_datetime(text, format=form, errors="coerce", utc=True)
    except ValueError as error:
        raise TableError(Argument("date_format"), f" {form}: {error}") from None
    return found.dt.tz_localize(None).astype("datetime64[us]")


def _times(text: Any) -> Any:
    """Times of day as differences from midnight (zero where there is none)."""
    pandas = package("pandas")
    codes, clocks = pandas.factorize(text.fillna("0").str.replace(",", ".", regex=False))
    digits = pandas.Series(clocks).str.extract(r"^(\d+)(?::(\d+))?(?::([\d.]+))?\s*([AaPp])?")
    hours, minutes, seconds = (digits[part].astype(float).fillna(0.0) for part in range(3))
    half = digits[3].str.lower()
    hours = hours.where(half.isna(), hours % 12 + 12 * (half == "p"))
    total = (1e6 * (3600 * hours + 60 * minutes + seconds)).round()
    right = (minutes < 60) & (seconds < 60) & (total <= 24 * 3.6e9)  # 24:00 is the beginning of the next day
    times = pandas.to_timedelta(total.where(right), unit="us").astype("timedelta64[us]")
    return pandas.Series(times.to_numpy()[codes], index=text.index)


def _plain(dates: Any) -> Any:
    """Weeks, quarters and months of statistics offices ("2024M01") as the day that they begin on."""
    given = dates.dropna().astype(str)
    if not len(given):
        return dates
    if given.str.fullmatch(WEEK).all():
        week = given.str.replace("-", "", regex=False) + "1"
        return _parsed(week, "%GW%V%u").dt.strftime("%Y-%m-%d").reindex(dates.index).astype(object)
    if given.str.fullmatch(QUARTER).all():
        parts = given.str.extract(QUARTER)
        month = 3 * parts[1].fillna(parts[2]).astype(int) - 2
        plain = parts[0].fillna(parts[3]) + "-" + month.astype(str).str.zfill(2)
        return plain.reindex(dates.index).astype(object)
    if given.str.fullmatch(r"\d{4}M\d{1,2}").all():
        plain = given.str.slice(0, 4) + "-" + given.str.slice(5).str.zfill(2)
        return plain.reindex(dates.index).astype(object)
    return dates


def _formats(dates: Any, day_first: bool) -> list[str]:
    """Formats that rows of text suggest, the month before the day first."""
    pandas = package("pandas")
    found: dict[str, None] = {}
    for row in np.unique(np.linspace(0, len(dates) - 1, SAMPLES).astype(int)) if len(dates) else []:
        text = str(dates.iloc[row])
        numeric = re.fullmatch(r"(\d{1,4})([-/. ])(\d{1,2})\2(\d{1,4})\.?", text)
        month = re.fullmatch(r"(\d{1,4})([-/. ])(\d{1,4})", text)
        if numeric is not None:
            orders = _orders(numeric[1], numeric[4], day_first)
            found |= dict.fromkeys(numeric[2].join(order) for order in orders)
        elif month is not None:
            found |= dict.fromkeys(month[2].join(order) for order in (("%m", "%Y"), ("%Y", "%m")))
        elif re.search("[A-Za-z]", text):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                guessed = pandas.tseries.api.guess_datetime_format(text, dayfirst=day_first)
            found |= dict.fromkeys([*([guessed] if guessed else []), *NAMED])
    return list(found)


def _orders(first: str, last: str, day_first: bool) -> list[tuple[str, str, str]]:
    """The orders that year, month and day may have, by the digits of the first and the last of them."""
    if len(first) == 4:
        return [("%Y", "%m", "%d")]
    year = "%Y" if len(last) == 4 else "%y"
    orders = [("%d", "%m", year)] if day_first else [("%m", "%d", year), ("%d", "%m", year)]
    return orders if year == "%Y" or day_first else [*orders, ("%y", "%m", "%d")]
