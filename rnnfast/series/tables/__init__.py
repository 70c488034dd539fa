"""Tables of time series: read from files, their times understood, their rows made regular and whole.

data      reads the series of a file: what each column is for, and all the steps below
table     the file itself: CSV, TSV or Parquet as columns of text or numbers
times     the column that is the time, or the columns that are one time together
dates     the formats that fit a column of dates, and the offsets from UTC that it names
rulers    dates as whole numbers that differ by one step from row to row
clock     the times of rows, the step between them, and the times after them
long      long tables, which have several rows of one time, made wide
pivot     the same for arrays
rows      rows in order, at equal steps, without missing values
errors    errors that name arguments
packages  imports of what only tables need
"""

from rnnfast.series.tables.clock import Clock
from rnnfast.series.tables.data import Data, read_data
from rnnfast.series.tables.errors import Argument, MissingColumn, StepError, TableError
from rnnfast.series.tables.pivot import Wide, pivot

__all__ = [
    "Argument",
    "Clock",
    "Data",
    "MissingColumn",
    "StepError",
    "TableError",
    "Wide",
    "pivot",
    "read_data",
]
