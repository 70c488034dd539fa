"""`rnnfast forecast`: dates of all kinds are a clock, in one column or several."""

from __future__ import annotations

import re

import pytest
from helpers.tables import dates, fails_last, forecast_last, offsets, pandas, values, write_rows

from rnnfast.cli.main import main

pytestmark = pytest.mark.usefixtures("folder")


CASES = {
    # the whole column decides
    "months, day first": (dates("2020-01-01", 48, "MS", "%d/%m/%Y"), [], "1 month", "2024-01-01"),
    "months, month first": (dates("2020-01-01", 48, "MS", "%m/%d/%Y"), [], "1 month", "2024-01-01"),
    "quarter-hours of one day": (
        dates("2024-04-01", 96, "15min", "%d/%m/%Y %H:%M"),
        ["--day-first"],
        "15 minutes",
        "2024-04-02T00:00",
    ),
    "quarter-hours by format": (
        dates("2024-04-01", 96, "15min", "%d/%m/%Y %H:%M"),
        ["--date-format", "%m/%d/%Y %H:%M"],
        "15 minutes",
        "2024-01-05T00:00",
    ),
    "quarter-hours by format of the date": (
        dates("2024-04-01", 96, "15min", "%d/%m/%Y %H:%M"),
        ["--date-format", "%d/%m/%Y"],
        "15 minutes",
        "2024-04-02T00:00",
    ),
    "quarter-hours of many days": (
        dates("2024-04-01", 1440, "15min", "%d/%m/%Y %H:%M"),
        [],
        "15 minutes",
        "2024-04-16T00:00",
    ),
    "days with points": (dates("2023-01-01", 120, "D", "%d.%m.%Y"), [], "1 day", "2023-05-01"),
    "days of America": (dates("2023-01-01", 120, "D", "%m/%d/%Y"), [], "1 day", "2023-05-01"),
    "one digit": (
        [f"{day.month}/{day.day}/{day.year}" for day in pandas.date_range("2023-01-01", periods=60)],
        [],
        "1 day",
        "2023-03-02",
    ),
    "two-digit years": (dates("2023-01-20", 60, "D", "%d.%m.%y"), [], "1 day", "2023-03-21"),
    "climate of Jena": (
        dates("2009-01-01 00:10", 2000, "10min", "%d.%m.%Y %H:%M:%S"),
        [],
        "10 minutes",
        "2009-01-14T21:30",
    ),
    "afternoons": (dates("2024-01-01", 60, "h", "%m/%d/%Y %I:%M %p"), [], "1 hour", "2024-01-03T12:00"),
    "24:00": (
        [
            t.replace("2024-01-02 00:00", "2024-01-01 24:00")
            for t in dates("2024-01-01", 60, "h", "%Y-%m-%d %H:%M")
        ],
        [],
        "1 hour",
        "2024-01-03T12:00",
    ),
    "midnights without a time": (
        [t.removesuffix(" 00:00") for t in dates("2024-01-20", 60, "h", "%d.%m.%Y %H:%M")],
        [],
        "1 hour",
        "2024-01-22T12:00",
    ),
    "names of months": (dates("2020-01-15", 40, "D", "%d-%b-%Y"), [], "1 day", "2020-02-24"),
    "names of months alone": (dates("2020-01-01", 40, "MS", "%b-%y"), [], "1 month", "2023-05-01"),
    "months and years": (dates("2020-01-01", 40, "MS", "%m/%Y"), [], "1 month", "2023-05-01"),
    "compact days": (dates("2020-01-15", 40, "D", "%Y%m%d"), [], "1 day", "2020-02-24"),
    "compact months": (dates("2020-01-01", 40, "MS", "%Y%m"), [], "1 month", "2023-05-01"),
    "years stay numbers": ([str(year) for year in range(1980, 2020)], [], "1", "2020"),
    "quarters": ([f"{2000 + k // 4}Q{k % 4 + 1}" for k in range(40)], [], "3 months", "2010-01-01"),
    "quarters first": ([f"Q{k % 4 + 1} {2000 + k // 4}" for k in range(40)], [], "3 months", "2010-01-01"),
    "statistics offices": (
        [f"{2000 + k // 12}M{k % 12 + 1:02}" for k in range(40)],
        [],
        "1 month",
        "2003-05-01",
    ),
    # months at one place
    "the 29th": (dates("2020-01-29", 1, "D"), None, "1 month", "2023-05-29"),
    "the 30th": (dates("2020-01-30", 1, "D"), None, "1 month", "2023-05-30"),
    "the 31st": (dates("2020-01-31", 1, "D"), None, "1 month", "2023-05-31"),
    "the 15th": (dates("2020-01-15", 1, "D"), None, "1 month", "2023-05-15"),
    "last days": (dates("2020-01-31", 40, "ME"), [], "1 month", "2023-05-31"),
    "last business days": (dates("2020-01-31", 40, "BME"), [], "1 month (last business day)", "2023-05-31"),
    "last business days, not last": (
        dates("2020-01-31", 39, "BME"),
        [],
        "1 month (last business day)",
        "2023-04-28",
    ),
    "first business days": (dates("2020-01-01", 40, "BMS"), [], "1 month (first business day)", "2023-05-01"),
    "ends of quarters": (dates("2020-03-31", 40, "QE"), [], "3 months", "2030-03-31"),
    "last moments": (
        dates("2020-01-31 23:59:59", 40, "ME", "%Y-%m-%d %H:%M:%S"),
        [],
        "1 month",
        "2023-05-31T23:59:59",
    ),
    "weeks": (dates("2021-01-04", 40, "W-MON"), [], "7 days", "2021-10-11"),
    # zones and offsets
    "hours in UTC": (
        dates("2024-01-01", 60, "h", "%Y-%m-%dT%H:%M:%SZ"),
        [],
        "1 hour",
        "2024-01-03T12:00+00:00",
    ),
    "hours without minutes": (
        dates("2024-01-01", 60, "h", "%Y-%m-%dT%HZ"),
        [],
        "1 hour",
        "2024-01-03T12:00+00:00",
    ),
    "hours with an offset": (
        [t + "-03:30" for t in dates("2024-01-01", 60, "h", "%Y-%m-%d %H:%M")],
        [],
        "1 hour",
        "2024-01-03T12:00-03:30",
    ),
    "hours across daylight saving": (
        offsets("2024-03-30", 60, "h"),
        [],
        "1 hour",
        "2024-04-01T13:00+02:00",
    ),
    "local midnights": (offsets("2024-03-01", 60, "D"), [], "1 day", "2024-04-30T00:00+02:00"),
    "local months": (offsets("2020-01-01", 40, "MS"), [], "1 month", "2023-05-01T00:00+02:00"),
    "midnights of UTC in local time": (
        [
            t.tz_convert("Europe/Berlin").isoformat()
            for t in pandas.date_range("2024-03-01", periods=60, tz="UTC")
        ],
        [],
        "1 day",
        "2024-04-30T02:00+02:00",
    ),
    # business days
    "business days": (dates("2024-01-01", 40, "B"), [], "1 business day", "2024-02-26"),
    "business days, day first": (
        dates("2024-01-01", 40, "B", "%d/%m/%Y"),
        [],
        "1 business day",
        "2024-02-26",
    ),
    "closing times": (
        dates("2024-01-01 16:00", 40, "B", "%Y-%m-%d %H:%M"),
        [],
        "1 business day",
        "2024-02-26T16:00",
    ),
    "holidays": (
        [t for t in dates("2024-01-02", 60, "B") if t not in ("2024-01-15", "2024-02-19")],
        [],
        "1 business day",
        "2024-03-26",
    ),
}


def monthly(first, count=40):
    """Texts of a day of each month, or the last one where the month is shorter."""
    date = pandas.Timestamp(first)
    return [(date + pandas.DateOffset(months=k)).strftime("%Y-%m-%d") for k in range(count)]


@pytest.mark.parametrize(("times", "arguments", "step", "after"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("name", ["date", "when"])
def test_the_clock_of_dates(capsys, times, arguments, step, after, name):
    times = monthly(times[0]) if arguments is None else times
    write_rows(times, f"{name},y")
    compact = name == "when" and re.fullmatch(r"\d+", times[0])
    printed, written = forecast_last(capsys, *(arguments or []), *(["--time", name] if compact else []))
    assert f"{len(times):,} rows, {name} " in printed
    assert f"in steps of {step}\n" in printed
    assert written[0] == after
    assert re.search(rf"^ *{re.escape(after)} ", printed, re.MULTILINE)


@pytest.mark.parametrize("count", [12, 3])
def test_two_readings_that_fit_are_an_error(capsys, count):
    write_rows(dates("2020-01-01", count, "MS", "%d/%m/%Y"))
    error = fails_last(capsys)
    assert "column 'date' can be read in 2 ways, as '01/01/2020': %m/%d/%Y (steps of 1 day, 2020-01-" in error
    assert "or %d/%m/%Y (steps of 1 month, 2020-" in error
    assert "choose with --date-format '%m/%d/%Y', or --day-first" in error


def test_one_day_of_quarter_hours_is_not_guessed(capsys):
    write_rows(dates("2024-04-01", 96, "15min", "%d/%m/%Y %H:%M"))
    assert "can be read in 2 ways" in fails_last(capsys)


def test_a_row_that_the_others_do_not_fit_is_named(capsys):
    times = list(dates("2023-01-20", 40, "D", "%d.%m.%Y"))
    times[30] = "30.02.2023"
    write_rows(times, "when,y")
    assert "line 32, column 'when': expected a date or a number, as %d.%m.%Y, got '30.02.2023'" in fails_last(
        capsys
    )
    write_rows(dates("2023-01-01", 40, "D", "%d.%m.%Y"))
    assert "line 14, column 'date': expected a date or a number, as %m.%d.%Y" in fails_last(
        capsys, "--date-format", "%m.%d.%Y"
    )
    write_rows(range(1990, 2030))
    assert "line 2, column 'date': expected a date or a number, as %d.%m.%Y, got '1990'" in fails_last(
        capsys, "--date-format", "%d.%m.%Y"
    )
    assert "--date-format %Q: " in fails_last(capsys, "--date-format", "%Q")
    times = offsets("2024-01-01", 40, "h")
    times[5] = "2024-01-01T05:00:00"
    write_rows(times)
    assert "line 7, column 'date': expected a date or a number, got '2024-01-01T05:00:00'" in fails_last(
        capsys
    )


JOINED = {
    "date and time": ("Date,Time,y", dates("2024-01-20", 60, "h", "%d.%m.%Y,%H:%M:%S"), "2024-01-22T12:00"),
    "year and quarter": ("year,quarter,y", [f"{2000 + k // 4},{k % 4 + 1}" for k in range(40)], "2010-01-01"),
    "year and Q1": ("Year,Quarter,y", [f"{2000 + k // 4},Q{k % 4 + 1}" for k in range(40)], "2010-01-01"),
    "year and month": ("year,month,y", [f"{2000 + k // 12},{k % 12 + 1}" for k in range(40)], "2003-05-01"),
    "year and week": ("year,week,y", [f"{2019 + k // 52},{k % 52 + 1}" for k in range(100)], "2020-11-30"),
    "names of months": ("year,month,y", dates("2000-01-01", 40, "MS", "%Y,%b"), "2003-05-01"),
    "to the day": ("day,month,year,y", dates("2024-01-01", 60, "D", "%d,%m,%Y"), "2024-03-01"),
    "to the hour": ("year,month,day,hour,y", dates("2024-01-01", 60, "h", "%Y,%m,%d,%H"), "2024-01-03T12:00"),
}


@pytest.mark.parametrize(("head", "times", "after"), JOINED.values(), ids=JOINED)
def test_several_columns_are_one_time(capsys, head, times, after):
    write_rows(times, head)
    name = head.removesuffix(",y")
    for arguments in ([], ["--time", name]):
        printed, written = forecast_last(capsys, *arguments)
        assert written[0] == after
        assert f"{name} " in printed
    forecast_last(capsys, "--save", "m.npz")
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0


def test_columns_of_other_names_are_joined_on_request(capsys):
    write_rows(dates("2024-01-20", 60, "h", "%d.%m.%Y,%H:%M"), "d,z,y")
    assert forecast_last(capsys, "--time", "d,z")[1][0] == "2024-01-22T12:00"
    assert "--time d,x: data.csv has the columns d, z, y" in fails_last(capsys, "--time", "d,x")
    assert "--column z: is the --time" in fails_last(capsys, "--time", "d,z", "--column", "z")


def test_clock_times_alone_are_no_time(capsys):
    write_rows(dates("2024-01-20", 60, "15min", "%H:%M:%S"), "T,y")
    error = fails_last(capsys)
    assert "column 'T' has clock times without a date, as '00:00:00'" in error
    assert "--time DATE,T" in error


def test_temperatures_named_t_are_no_time(capsys):
    pandas.DataFrame({"date": dates("2024-01-20", 60, "D"), "T": values(60)}).to_csv("data.csv", index=False)
    printed, written = forecast_last(capsys)
    assert written[:2] == ["2024-03-20", "T"]
    assert "data.csv: T\n" in printed


def test_equal_dates_are_no_clock(capsys):
    write_rows(["2024-01-01"] * 40)
    for how in ("error", "ignore", "resample"):
        assert "date is 2024-01-01T00:00 in all 40 rows" in fails_last(capsys, "--irregular", how)
