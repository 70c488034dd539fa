"""The errors of tables. Their text marks the names of arguments, so that a program can replace them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Argument", "MissingColumn", "StepError", "TableError"]


@dataclass(frozen=True)
class Argument:
    """An argument of :func:`read_data` in an error.

    Attributes
    ----------
    name : str
        The argument's.
    value : object, optional
        What it was, or should be.

    Examples
    --------
    >>> from rnnfast.series.tables import Argument
    >>> print(Argument("columns"), Argument("time", "Date,Time"))
    columns time='Date,Time'
    """

    name: str
    value: object = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value!r}"


class TableError(ValueError):
    """A file that is no table, or whose columns cannot be read as the arguments say.

    Parameters
    ----------
    *parts : str or Argument
        The message, piece by piece. A program with other names for the arguments finds them in ``args``.

    Examples
    --------
    >>> from rnnfast.series.tables import Argument, TableError
    >>> error = TableError("data.csv: several columns of numbers: y, z; choose with ", Argument("columns"))
    >>> print(error)
    data.csv: several columns of numbers: y, z; choose with columns
    >>> error.args[1].name
    'columns'
    """

    def __init__(self, *parts: str | Argument) -> None:
        super().__init__(*parts)

    def __str__(self) -> str:
        return "".join(str(part) for part in self.args)


class MissingColumn(TableError):
    """A named column that the table does not have.

    Examples
    --------
    >>> from rnnfast.series.tables import Argument, MissingColumn
    >>> print(MissingColumn(Argument("columns", "x"), ": data.csv has the columns day, y"))
    columns='x': data.csv has the columns day, y
    """


class StepError(TableError):
    """Times at other steps than the expected ones.

    Parameters
    ----------
    path : str
        Of the table.
    found, expected : str
        The steps, as :meth:`Clock.step_text` gives them.

    Attributes
    ----------
    found, expected : str

    Examples
    --------
    >>> from rnnfast.series.tables import StepError
    >>> print(StepError("data.csv", "1 hour", "1 day"))
    data.csv: has steps of 1 hour, expected step='1 day'
    """

    def __init__(self, path: str, found: str, expected: str) -> None:
        self.args = (path, found, expected)
        self.found, self.expected = found, expected

    def __str__(self) -> str:
        path, found, expected = self.args
        return f"{path}: has steps of {found}, expected {Argument('step', expected)}"
