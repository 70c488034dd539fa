"""Tables of time series: files are read, dates are recognized, rows are made regular and complete.

data      reads the series of a file: the use of each column, and all the steps below
table     the file itself: CSV, TSV or Parquet as columns of text or numbers
times     the column that is the time, or the columns that together are the time
dates     the formats that fit a column of dates, and the offsets from UTC that it names
rulers    dates as whole numbers, one step apart from row to row
clock     the times of rows, the step between them, and the times after them
long      long tables, which have several rows for one time, made wide
pivot     the same for arrays
rows      rows in order, at equal steps, without missing values
errors    errors that name arguments
packages  imports of packages that only tables need
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
