"""A table as its file has it: CSV, TSV or Parquet, columns by name, each row with its place in the file."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnnfast.files import open_regular
from rnnfast.series.tables.errors import TableError
from rnnfast.series.tables.packages import package

__all__ = ["Table", "is_missing", "listed", "names_in", "numbers", "read_table"]

MISSING = {"", "na", "n/a", "nan", "null", "none", "nat", "?", "-"}  # no value, in any case of letters
SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = {".parquet", ".pq"}
POINT = r"[+-]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d*)?"  # 1,234.5
COMMA = r"[+-]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,\d*)?"  # 1.234,5
UNREADABLE = (  # what pandas, pyarrow, csv and gzip raise for a damaged file, or derive from
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    csv.Error,
    zlib.error,
)
UNNAMED = r"Unnamed: \d+"  # pandas' names of a column without a name


class Table(NamedTuple):
    """Columns of text or numbers.

    Attributes
    ----------
    path : str
    columns : dict of str to pandas.Series
    places : list of str
        The place of each row in the file, as messages name it: "line 2".
    """

    path: str
    columns: dict[str, Any]
    places: list[str]


def read_table(path: str, missing_values: Sequence[str] = ()) -> Table:
    """Read a file by its suffix, ``.gz`` behind it or not.

    Parameters
    ----------
    path : str
    missing_values : sequence of str
        Numbers or texts that mean a missing value, in all columns.

    Raises
    ------
    ImportError
        pandas is not installed, or for a Parquet file pyarrow.
    OSError
        The file cannot be read.
    TableError
        It is no table, or its first line names no columns.
    """
    file = Path(path)
    suffix = "".join(part for part in file.suffixes if part.lower() != ".gz")[-8:].lower()
    suffix = "." + suffix.rpartition(".")[2]
    if suffix not in SEPARATORS and suffix not in PARQUET:
        raise TableError(f"{path}: expected a file .csv, .tsv or .parquet")
    pandas = package("pandas")
    if suffix in PARQUET:
        package("pyarrow", "a Parquet file")
    try:
        open_regular(path).close()  # a device may have no end, and a pipe can be read only once
        frame = pandas.read_parquet(path) if suffix in PARQUET else _read_text(pandas, path, suffix)
    except OSError as error:
        if error.errno is not None:
            raise
        raise TableError(f"{path}: {error}") from None
    except TableError:
        raise
    except UNREADABLE as error:
        raise TableError(f"{path}: no readable table: {str(error).strip().splitlines()[0]}") from None
    frame, places = _rows_of_parquet(pandas, frame) if suffix in PARQUET else _rows_of_text(path, frame)
    if not len(frame):
        raise TableError(f"{path}: expected rows, got none")
    names = [str(name) for name in frame.columns]
    stripped = [name.strip() for name in names]
    if len(set(stripped)) == len(names):
        names = stripped
    decimal_comma = suffix not in PARQUET and _separator(path, suffix) != ","
    columns = {}
    for k, name in enumerate(names):
        column = _without(frame.iloc[:, k].reset_index(drop=True), missing_values)
        if re.fullmatch(UNNAMED, name):
            if k == 0 and len(names) > 1 and _counts_rows(column):
                continue
            name = f"column {k + 1}"
        columns[name] = _with_points(column, decimal_comma)
    return Table(path, columns, places)


def _rows_of_parquet(pandas: Any, frame: Any) -> tuple[Any, list[str]]:
    """The rows with their index as a column, and their places."""
    if not isinstance(frame.index, pandas.RangeIndex):  # pandas wrote its index to the file
        frame = frame.reset_index(names=frame.index.name or "time")
    for name, kind in frame.dtypes.items():
        if isinstance(kind, pandas.PeriodDtype):
            frame[name] = frame[name].dt.to_timestamp()
    return frame, [f"row {row + 1}" for row in range(len(frame))]


def _rows_of_text(path: str, frame: Any) -> tuple[Any, list[str]]:
    """The rows without blank lines, and their places."""
    names = [str(name) for name in frame.columns]
    if names and all(_is_number(name) for name in names):
        raise TableError(f"{path}: expected a first line that names the columns, got {', '.join(names)}")
    filled = (frame != "").any(axis=1).to_numpy(copy=True)
    if len(names) == 1 and filled.any():  # a blank line is a missing value, except at the end
        filled[: np.flatnonzero(filled)[-1]] = True
    frame = frame[filled]
    return frame, [f"line {row + 2}" for row in frame.index]


def _separator(path: str, suffix: str) -> str:
    """The separator of the values of a row: spreadsheets of some countries write semicolons."""
    if suffix != ".csv":
        return SEPARATORS[suffix]
    opened = gzip.open if path.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    fields = {mark: len(next(csv.reader([line], delimiter=mark), [])) for mark in ",;"}
    return max(fields, key=lambda mark: fields[mark])


def _read_text(pandas: Any, path: str, suffix: str) -> Any:
    how = {"sep": _separator(path, suffix), "dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    how |= {"skip_blank_lines": False, "skipinitialspace": True}
    names = pandas.read_csv(path, nrows=0, index_col=False, **how).columns
    try:
        frame = pandas.read_csv(path, header=None, **how)  # the first line sets the number of values of a row
    except pandas.errors.ParserError as error:
        counts = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if counts is None:
            raise
        raise TableError(
            f"{path}, line {counts[2]}: expected {counts[1]} values, as the first line has, got {counts[3]}; "
            "put values that hold a comma in quotes, or write decimals with a point, or separate the columns "
            "by semicolons"
        ) from None
    frame = frame.iloc[1:].reset_index(drop=True).fillna("")
    frame.columns = names
    return frame


def _counts_rows(column: Any) -> bool:
    """Whether a column holds 0, 1, 2, … or 1, 2, 3, …: the index that pandas wrote beside the columns."""
    values, _ = numbers(column)
    return any(np.array_equal(values, np.arange(len(values)) + start) for start in (0, 1))


def _without(column: Any, missing_values: Sequence[str]) -> Any:
    """A column in which values that mean "missing" are missing."""
    for value in missing_values:
        same = column.astype(str).str.strip() == value
        if _is_number(value):
            same |= numbers(column)[0] == float(value)
        column = column.mask(same)
    return column


def _with_points(column: Any, decimal_comma: bool) -> Any:
    """Text like "1,234.5", "1.234,5" or "1,5" as numbers with a point, where all values are written so.

    One comma before three digits may be either mark: it is a decimal comma where columns are separated by
    other marks, and stays as it is if nothing in the column says more.
    """
    if getattr(column.dtype, "kind", "O") in "iufbmM":
        return column
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    given = text[~is_missing(text)]
    commas = given.str.count(",")
    if not commas.any():
        points = given.str.count(r"\.") > 1  # "1.234.567" beside "890"
        grouped = points.any() and given.str.fullmatch(COMMA).all()
        return text.str.replace(".", "", regex=False) if grouped else column
    groups = given.str.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}")
    if given.str.fullmatch(COMMA).all() and (decimal_comma or not groups[commas > 0].all()):
        plain = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    elif given.str.fullmatch(POINT).all() and not groups.all():
        plain = text.str.replace(",", "", regex=False)
    else:
        return column
    return plain.where(~is_missing(text), "")


def is_missing(text: Any) -> Any:
    """Where a column of text has a missing value."""
    return text.str.lower().isin(MISSING)


def numbers(column: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A column's numbers, NaN where a value is missing, and where it has something else (NaN there too)."""
    pandas = package("pandas")
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iuf":
        values = column.to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isinf(values), np.nan, values), np.isinf(values)
    if kind in "bmM":
        return np.full(len(column), np.nan), np.ones(len(column), bool)
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    missing = is_missing(text).to_numpy(bool)
    values = pandas.to_numeric(text.where(~missing, "nan"), errors="coerce").to_numpy(np.float64)
    values = np.where(np.isinf(values), np.nan, values)
    return values, np.isnan(values) & ~missing


def names_in(column: Any) -> Any:
    """A column of names as text, without spaces around it."""
    return column.astype(str).str.strip()


def listed(names: Iterable[str]) -> str:
    """Names as messages show them."""
    return ", ".join(repr(name) if " " in name or "," in name else name for name in names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
