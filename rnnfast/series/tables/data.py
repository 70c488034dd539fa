"""The series of a file: the use of each column of its table, and the values that are read from them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.files import file_name
from rnnfast.series.tables.clock import Clock, Dates, clock_of
from rnnfast.series.tables.errors import Argument, MissingColumn, StepError, TableError
from rnnfast.series.tables.long import key_of, only_rows, repeated_times, widen
from rnnfast.series.tables.rows import IRREGULAR, MISSING, Rows
from rnnfast.series.tables.table import Table, listed, numbers, read_table
from rnnfast.series.tables.times import time_column

__all__ = ["Data", "read_data"]

SEASONS = 4  # the least seasons in a table whose dates suggest one


class Data(NamedTuple):
    """Series side by side, and their time. :func:`read_data` gives it.

    Attributes
    ----------
    path : str
        Of the file.
    names : list of str, S of them
    values : ndarray of float64 [N, S]
        Oldest first, without a missing value.
    observed : ndarray of bool [N, S]
        False where a value was filled in.
    clock : Clock
        The times of the rows.
    notes : list of str
        What was done to the rows of the file, as sentences.
    covariates : ndarray of float64 [N + F, S, K] or None
        K covariates of each row and series, and of F future rows. None without covariates.
    columns : list of str
        The table's columns that the series come from.
    only : list of str
        The names in the column of names that were taken. It is empty without such a column.
    reading : dict
        Keyword arguments of :func:`read_data` that read another file the same way. It holds what was found,
        such as the time's column and the format of its dates. JSON can hold it.

    Examples
    --------
    >>> import os, tempfile, rnnfast as rf
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "data.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("month,y\\n2024-01,5\\n2024-02,6\\n2024-03,8\\n")
    >>> data = rf.series.read_data(path)
    >>> data.names, data.values.tolist(), data.future, data.season
    (['y'], [[5.0], [6.0], [8.0]], 0, None)
    >>> data.clock.name, data.clock.step_text(), data.clock.after(2).labels()
    ('month', '1 month', ['2024-04-01', '2024-05-01'])
    >>> folder.cleanup()
    """

    path: str
    names: list[str]
    values: NDArray[np.float64]
    observed: NDArray[np.bool_]
    clock: Clock
    notes: list[str]
    covariates: NDArray[np.float64] | None
    columns: list[str]
    only: list[str]
    reading: dict[str, Any]

    @property
    def future(self) -> int:
        """F, the future rows that have covariates: no forecast that reads them goes further."""
        return 0 if self.covariates is None else len(self.covariates) - len(self.values)

    @property
    def season(self) -> int | None:
        """Steps of the season that the dates suggest, if there are at least four of it; else None."""
        suggested = self.clock.season()
        return suggested if suggested is not None and SEASONS * suggested <= len(self.values) else None


class _Uses(NamedTuple):
    """The uses of a table's columns. Without `values`, the only column of numbers has that use."""

    values: list[str]
    time: str | None
    series: str | None
    only: list[str]
    covariates: list[str]

    @property
    def beside_time(self) -> list[str]:
        """The columns that are named and are not the time."""
        return [*self.values, *self.covariates, *([] if self.series is None else [self.series])]


def read_data(
    path: str | os.PathLike[str],
    columns: str | Sequence[str] | None = None,
    *,
    time: str | None = None,
    series: str | None = None,
    only: str | Sequence[str] = (),
    covariates: str | Sequence[str] = (),
    missing: str = "error",
    irregular: str = "error",
    date_format: str | None = None,
    day_first: bool = False,
    usual_format: str | None = None,
    step: str | None = None,
    missing_values: str | Sequence[str | float] = (),
) -> Data:
    """Read the series of a file, as ``rnnfast forecast`` does.

    Parameters
    ----------
    path : str or path-like
        A table: CSV, TSV or Parquet by its suffix, ``.gz`` behind it or not. Its first line names the
        columns.
    columns : str or sequence of str, optional
        What to forecast; by default the only column of numbers.
    time : str, optional
        The column of dates or numbers, or several with a comma between that are one time together
        (``"Date,Time"``, ``"year,quarter"``). By default the only column that has a time's name or dates;
        without any, the rows' own order.
    series : str, optional
        The column that says which series each row of a long table is of.
    only : str or sequence of str, optional
        Which names of that column to take; by default all.
    covariates : str or sequence of str, optional
        Columns that are known in advance. The rows at the end that have them, and nothing of `columns`, are
        the future.
    missing : {"error", "drop", "previous", "interpolate"}
        What becomes of missing values. They are an error, or their rows are left out, or the value before is
        repeated, or the gap is filled by a straight line.
    irregular : {"error", "resample", "ignore"}
        What becomes of steps of time that differ. They are an error, or there is one row for each step (the
        mean of the rows nearest to it; a step without any is missing), or the rows are taken as they are.
    date_format : str, optional
        Of the dates, as ``strptime`` has it; by default the one that fits all rows.
    day_first : bool, default False
        Dates like 01/02/2024 have the day first.
    usual_format : str, optional
        The format to prefer where it fits all rows.
    step : str, optional
        The step that the times have, as :meth:`Clock.step_text` gives it. Few rows may not tell it.
    missing_values : sequence of str or numbers, optional
        What means a missing value, beside empty cells and texts such as "NA".

    Returns
    -------
    Data
        Its `values` and `covariates` are what forecasters and :func:`backtest` take.

    Raises
    ------
    ImportError
        pandas is not installed, or for a Parquet file pyarrow.
    OSError
        The file cannot be read.
    TableError
        A ValueError: whatever prevents it, with its place in the file and what can be done.
    TypeError, ValueError
        An argument that cannot be.

    Examples
    --------
    A table is read, the ladder is compared on it, and the best rung is fitted to all rows and saved:

    >>> import os, tempfile, numpy as np, rnnfast as rf
    >>> folder = tempfile.TemporaryDirectory()
    >>> path, model = (os.path.join(folder.name, name) for name in ("data.csv", "model.npz"))
    >>> months = [f"{2010 + k // 12}-{k % 12 + 1:02}" for k in range(120)]
    >>> with open(path, "w") as file:
    ...     _ = file.write("\\n".join(["month,y", *(f"{t},{k % 12}" for k, t in enumerate(months))]))
    >>> data = rf.series.read_data(path)
    >>> rungs = rf.series.ladder(season=data.season)
    >>> how = {"horizon": 3, "covariates": data.covariates}
    >>> chosen = [rungs["last"], rungs["season"]]
    >>> scores = list(rf.series.backtest(data.values, chosen, observed=data.observed, **how))
    >>> best = rf.series.best_score(scores).forecaster.clone().fit(data.values, **how)
    >>> best.save(model, data.reading)

    Later, it forecasts from the rows of a newer file:

    >>> best, reading = rf.series.load_forecaster(model)
    >>> newer = rf.series.read_data(path, **reading)
    >>> best.name, newer.clock.after(3).labels(), best.predict(newer.values).mean[:, 0].round(6).tolist()
    ('last season(12)', ['2020-01-01', '2020-02-01', '2020-03-01'], [0.0, 1.0, 2.0])
    >>> folder.cleanup()
    """
    uses = _Uses(
        _names("columns", () if columns is None else columns),
        _text("time", time),
        _text("series", series),
        _names("only", only),
        _names("covariates", covariates),
    )
    if uses.only and uses.series is None:
        raise TableError(Argument("only"), ": needs ", Argument("series"), ", the column of names")
    missing = checks.one_of("missing", missing, MISSING)
    irregular = checks.one_of("irregular", irregular, IRREGULAR)
    day_first = checks.flag("day_first", day_first)
    formats = _text("date_format", date_format), _text("usual_format", usual_format)
    dates = Dates(formats[0], day_first, formats[1], _text("step", step))
    marks = _marks(missing_values)
    table = read_table(file_name(path), marks)
    data = _read(table, uses, dates, missing, irregular)
    if step is not None and data.clock.step_text() != step:
        raise StepError(data.path, data.clock.step_text(), step)
    data.reading["missing_values"] = marks
    return data


def _read(table: Table, uses: _Uses, dates: Dates, missing: str, irregular: str) -> Data:
    """The series of a table that is not yet checked."""
    _check_names(table, uses)
    table, found, parts = time_column(table, uses.time, uses.beside_time, uses.series)
    _check_roles(uses, parts)
    values = uses.values or [_only_column(table, [*parts, *uses.beside_time])]
    uses = uses._replace(values=values, time=found)
    if uses.series is not None:
        table = only_rows(table, uses.series, uses.only, found)
    clock = clock_of(table, found, dates)
    kept: list[str] = []
    repeats = ""
    if uses.series is not None:
        table, clock, kept = widen(table, uses.series, uses.only, clock, [*values, *uses.covariates])
    elif irregular == "error":
        repeats = repeated_times(table, clock, [*parts, *uses.beside_time, *values])
    reading: dict[str, Any] = {"columns": values, "time": found, "series": uses.series, "only": kept}
    reading |= {"covariates": uses.covariates, "missing": missing, "irregular": irregular}
    return _regular(table, clock, reading, repeats)


def _regular(table: Table, clock: Clock, reading: dict[str, Any], repeats: str) -> Data:
    """The series of a wide table, which has a column for each series and each covariate."""
    columns, kept = reading["columns"], reading["only"]
    names, about = (
        [key_of(column, name) for column in part for name in kept] if kept else list(part)
        for part in (columns, reading["covariates"])
    )
    S = len(names)
    numbers_of = [_numbers(table, column) for column in [*names, *about]]
    if kept and len(columns) == 1:
        names = kept
    rows = Rows(table.path, np.stack(numbers_of, axis=1), clock, table.places)
    notes = [rows.sort(), rows.make_regular(reading["irregular"], repeats)]
    future = rows.cut_future(S, about)
    end = rows.clock.positions[-1:]
    notes.append(rows.make_whole([*names, *about], reading["missing"]))
    if len(future.values) and rows.clock.positions[-1:] != end:
        raise TableError(f"{table.path}: the last row before the future has no value in some column")
    if rows.clock.keeps_offset() and not len(future.values):
        notes.append(f"offsets from UTC change; the forecast keeps the last: {rows.clock.labels()[-1][-6:]}")
    return Data(
        table.path,
        names,
        rows.values[:, :S],
        rows.observed[:, :S],
        rows.clock.followed_by(future.clock.positions),
        [note for note in notes if note],
        _covariates(np.concatenate([rows.values[:, S:], future.values[:, S:]]), S, max(1, len(kept))),
        columns,
        kept,
        reading | {"usual_format": rows.clock.reading or None, "step": rows.clock.step_text()},
    )


def _covariates(known: NDArray[np.float64], S: int, own: int) -> NDArray[np.float64] | None:
    """Columns [N + F, K * own] as covariates [N + F, S, K]; `own` is S, or 1 if the series share them."""
    if not known.shape[1]:
        return None
    each = known.reshape(len(known), -1, own).swapaxes(1, 2)
    return np.tile(each, (1, S // own, 1))


def _names(argument: str, value: Any) -> list[str]:
    """One name or several as a list."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}: expected a name or a list of names, got {checks.shown(value)}")
    return list(names)


def _marks(values: Any) -> list[str]:
    """The texts that mean a missing value."""
    several = [values] if isinstance(values, str) else values
    if not isinstance(several, Sequence) or not all(
        isinstance(v, (str, int, float, np.number)) for v in several
    ):
        raise TypeError(f"missing_values: expected a list of numbers or texts, got {checks.shown(values)}")
    return [str(value) for value in several]


def _text(argument: str, value: Any) -> str | None:
    """Text, or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{argument}: expected text or None, got {checks.shown(value)}")
    return value


def _check_names(table: Table, uses: _Uses) -> None:
    """Refuse columns that the table does not have. The time is checked elsewhere."""
    named = [] if uses.series is None else [Argument("series", uses.series)]
    named += [Argument("columns", name) for name in uses.values]
    named += [Argument("covariates", name) for name in uses.covariates]
    for argument in named:
        if argument.value not in table.columns:
            raise MissingColumn(argument, f": {table.path} has the columns {listed(table.columns)}")


def _check_roles(uses: _Uses, parts: list[str]) -> None:
    """Refuse a column that has two uses; `parts` are the time."""
    values, covariates = uses.values, uses.covariates
    for argument, names in (("columns", values), ("covariates", covariates)):
        if len(set(names)) < len(names):
            raise TableError(Argument(argument), f": expected each column once, got {listed(names)}")
    for name in values:
        if name in parts:
            raise TableError(Argument("columns", name), ": is the ", Argument("time"))
    for argument, names in (("columns", values), ("time", parts), ("covariates", covariates)):
        for name in names:
            if name == uses.series:
                raise TableError(Argument(argument, name), ": is ", Argument("series"), " too")
            if name in covariates and argument != "covariates":
                raise TableError(Argument(argument, name), ": is of ", Argument("covariates"), " too")


def _only_column(table: Table, others: list[str]) -> str:
    """The one column beside `others` that holds numbers, most of its values at least."""
    found = []
    for name, column in table.columns.items():
        values, other = numbers(column)
        if name not in others and np.count_nonzero(~np.isnan(values)) > np.count_nonzero(other):
            found.append(name)
    if not found:
        raise TableError(f"{table.path}: no column of numbers among {listed(table.columns)}")
    if len(found) > 1:
        text = f"{table.path}: several columns of numbers: {listed(found)}; choose with "
        raise TableError(text, Argument("columns"))
    return found[0]


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    values, other = numbers(table.columns[name])
    if other.any():
        row = int(other.argmax())
        raise TableError(
            f"{table.path}, {table.places[row]}, column {name!r}: expected a finite number, "
            f"got {str(table.columns[name].iloc[row])!r} ({other.sum()} such rows)"
        )
    return values
