"""How `rnnfast forecast` reads tables: dates of all kinds, their clock, numbers, missing values."""

from __future__ import annotations

import csv
import datetime
import re

import numpy as np
import pytest

from rnnfast.cli.main import main
from rnnfast.series import read_data
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

pandas = pytest.importorskip("pandas")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(count):
    return [f"{value:.4f}" for value in np.sin(0.5 * np.arange(count)) + 0.01 * np.arange(count)]


def table(times, head="date,y", name="data.csv"):
    """A table of times (a text for each row, with a comma where several columns are meant) and values."""
    times = list(times)
    lines = [f"{time},{value}" for time, value in zip(times, values(len(times)), strict=True)]
    with open(name, "w") as file:
        file.write("\n".join([head, *lines, ""]))


def forecast(capsys, *arguments, file="data.csv"):
    """What is printed, and the first row of what is written."""
    assert (
        main(["forecast", file, "--rung", "last", "--horizon", "2", "--output", "out.csv", *arguments]) == 0
    )
    with open("out.csv") as written:
        return capsys.readouterr().out, next(csv.reader(list(written)[1:]))


def fails(capsys, *arguments, file="data.csv"):
    assert main(["forecast", file, "--rung", "last", "--horizon", "2", *arguments]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    return error


def dates(start, count, freq, form="%Y-%m-%d", **how):
    return pandas.date_range(start, periods=count, freq=freq, **how).strftime(form)


def offsets(start, count, freq, zone="Europe/Berlin"):
    """ISO 8601 with the offsets of a zone."""
    return [time.isoformat() for time in pandas.date_range(start, periods=count, freq=freq, tz=zone)]


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
    table(times, f"{name},y")
    compact = name == "when" and re.fullmatch(r"\d+", times[0])
    printed, written = forecast(capsys, *(arguments or []), *(["--time", name] if compact else []))
    assert f"{len(times):,} rows, {name} " in printed
    assert f"in steps of {step}\n" in printed
    assert written[0] == after
    assert re.search(rf"^ *{re.escape(after)} ", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("times", "how", "step", "after"),
    [
        (dates("2020-01-01", 12, "MS", "%d/%m/%Y"), {"day_first": True}, "1 month", "2021-01-01"),
        (dates("2020-01-01", 12, "MS", "%d/%m/%Y"), {"date_format": "%m/%d/%Y"}, "1 day", "2020-01-13"),
        (["2021-01-01", "2022-01-01", "2023-01-01"], {}, "1 year", "2024-01-01"),
        (["2023-07-01", "2023-08-01", "2023-09-01"], {}, "1 month", "2023-10-01"),
        (["2023-04-30", "2023-06-30"], {}, "2 months", "2023-08-31"),
        (["2024-01-01", "2024-01-02", "2024-01-03"], {}, "1 day", "2024-01-04"),
        (["2024-01-05", "2024-01-08", "2024-01-09"], {}, "1 business day", "2024-01-10"),
        (["2024-02-29", "2024-03-29", "2024-04-30"], {}, "1 month (last business day)", "2024-05-31"),
        (["2023-02-01", "2023-03-01"], {}, "28 days", "2023-03-29"),
    ],
)
def test_the_clock_of_few_dates(times, how, step, after):
    table(times)
    data = read_data("data.csv", "y", time="date", **how)
    assert data.clock.step_text() == step
    assert data.clock.after(1).labels() == [after]


@pytest.mark.parametrize("count", [12, 3])
def test_two_readings_that_fit_are_an_error(capsys, count):
    table(dates("2020-01-01", count, "MS", "%d/%m/%Y"))
    error = fails(capsys)
    assert "column 'date' can be read in 2 ways, as '01/01/2020': %m/%d/%Y (steps of 1 day, 2020-01-" in error
    assert "or %d/%m/%Y (steps of 1 month, 2020-" in error
    assert "choose with --date-format '%m/%d/%Y', or --day-first" in error


def test_one_day_of_quarter_hours_is_not_guessed(capsys):
    table(dates("2024-04-01", 96, "15min", "%d/%m/%Y %H:%M"))
    assert "can be read in 2 ways" in fails(capsys)


def test_a_row_that_the_others_do_not_fit_is_named(capsys):
    times = list(dates("2023-01-20", 40, "D", "%d.%m.%Y"))
    times[30] = "30.02.2023"
    table(times, "when,y")
    assert "line 32, column 'when': expected a date or a number, as %d.%m.%Y, got '30.02.2023'" in fails(
        capsys
    )
    table(dates("2023-01-01", 40, "D", "%d.%m.%Y"))
    assert "line 14, column 'date': expected a date or a number, as %m.%d.%Y" in fails(
        capsys, "--date-format", "%m.%d.%Y"
    )
    table(range(1990, 2030))
    assert "line 2, column 'date': expected a date or a number, as %d.%m.%Y, got '1990'" in fails(
        capsys, "--date-format", "%d.%m.%Y"
    )
    assert "--date-format %Q: " in fails(capsys, "--date-format", "%Q")
    times = offsets("2024-01-01", 40, "h")
    times[5] = "2024-01-01T05:00:00"
    table(times)
    assert "line 7, column 'date': expected a date or a number, got '2024-01-01T05:00:00'" in fails(capsys)


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
    table(times, head)
    name = head.removesuffix(",y")
    for arguments in ([], ["--time", name]):
        printed, written = forecast(capsys, *arguments)
        assert written[0] == after
        assert f"{name} " in printed
    forecast(capsys, "--save", "m.npz")
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0


def test_columns_of_other_names_are_joined_on_request(capsys):
    table(dates("2024-01-20", 60, "h", "%d.%m.%Y,%H:%M"), "d,z,y")
    assert forecast(capsys, "--time", "d,z")[1][0] == "2024-01-22T12:00"
    assert "--time d,x: data.csv has the columns d, z, y" in fails(capsys, "--time", "d,x")
    assert "--column z: is the --time" in fails(capsys, "--time", "d,z", "--column", "z")


def test_clock_times_alone_are_no_time(capsys):
    table(dates("2024-01-20", 60, "15min", "%H:%M:%S"), "T,y")
    error = fails(capsys)
    assert "column 'T' has clock times without a date, as '00:00:00'" in error
    assert "--time DATE,T" in error


def test_temperatures_named_t_are_no_time(capsys):
    pandas.DataFrame({"date": dates("2024-01-20", 60, "D"), "T": values(60)}).to_csv("data.csv", index=False)
    printed, written = forecast(capsys)
    assert written[:2] == ["2024-03-20", "T"]
    assert "data.csv: T\n" in printed


def test_equal_dates_are_no_clock(capsys):
    table(["2024-01-01"] * 40)
    for how in ("error", "ignore", "resample"):
        assert "date is 2024-01-01T00:00 in all 40 rows" in fails(capsys, "--irregular", how)


@pytest.mark.parametrize("start", ["2024-03-30", "2024-10-26"])
def test_daylight_saving_without_offsets_is_named(capsys, start):
    table([time[:16] for time in offsets(start, 60, "h")])
    assert "daylight saving" in fails(capsys)


@pytest.mark.parametrize(
    ("gone", "again", "words"),
    [
        ([20, 21], [], "the first from 2024-01-20 to 2024-01-23 (line 22), 2 rows are missing there; "),
        (
            [],
            [20],
            "1 of 60 steps (1 of them none: 2024-01-21 is there twice, line 23) of date are not 1 day",
        ),
    ],
)
def test_the_cause_of_an_irregular_clock_is_named(capsys, gone, again, words):
    rows = sorted([row for row in range(60) if row not in gone] + again)
    table(dates("2024-01-01", 60, "D")[rows])
    assert words in fails(capsys)


def test_holidays_are_gaps_without_values(capsys):
    days = [day for day in dates("2024-01-02", 60, "B") if day != "2024-01-15"]
    table(days)
    printed, _ = forecast(capsys)
    assert "59 rows, date 2024-01-02 to 2024-03-25 in steps of 1 business day" in printed
    assert "1 business day without a row (holidays, the first between 2024-01-12 and 2024-01-16)" in printed
    assert "1 missing values" in fails(capsys, "--irregular", "resample")
    table([day for day in days if not day.startswith("2024-02")])  # no holiday is a month long
    assert "steps of date are not 1 business day" in fails(capsys)


def test_five_business_days_are_a_season(capsys):
    table(dates("2024-01-01", 60, "B"))
    main(["forecast", "data.csv", "--rung", "season", "--horizon", "2"])
    assert "last season(5)" in capsys.readouterr().out


def test_offsets_that_change_are_said(capsys):
    table(offsets("2024-03-01", 60, "D"))
    assert "offsets from UTC change; the forecast keeps the last: +02:00" in forecast(capsys)[0]
    table(offsets("2024-01-01", 60, "D"))
    assert "offsets" not in forecast(capsys)[0]


@pytest.mark.parametrize(
    ("start", "freq", "after"),
    [
        ("2024-01-31", "D", "2024-03-31T00:00+01:00"),
        ("2024-02-01", "D", "2024-04-01T00:00+02:00"),
        ("2024-03-28 15:00", "h", "2024-03-31T04:00+02:00"),
    ],
)
def test_a_named_zone_knows_offsets_to_come(capsys, start, freq, after):
    pytest.importorskip("pyarrow")
    times = pandas.date_range(start, periods=60, freq=freq, tz="Europe/Berlin")
    pandas.DataFrame({"at": times, "y": np.sin(np.arange(60.0))}).to_parquet("data.parquet")
    printed, written = forecast(capsys, file="data.parquet")
    assert written[0] == after
    assert "offsets" not in printed


def test_a_date_and_a_time_of_parquet(capsys):
    pytest.importorskip("pyarrow")
    times = pandas.date_range("2024-01-01", periods=60, freq="h")
    columns = {"Date": times.normalize(), "Time": times.time, "y": np.sin(np.arange(60.0))}
    pandas.DataFrame(columns).to_parquet("data.parquet")
    assert forecast(capsys, "--time", "Date,Time", file="data.parquet")[1][0] == "2024-01-03T12:00"


def test_dates_of_parquet(capsys):
    pytest.importorskip("pyarrow")
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(k) for k in range(60)]
    pandas.DataFrame({"at": days, "y": np.sin(np.arange(60.0))}).to_parquet("data.parquet")
    assert forecast(capsys, file="data.parquet")[1][0] == "2024-03-01"


def test_a_kept_model_reads_dates_as_its_table_was(capsys):
    table(dates("2020-01-01", 48, "MS", "%d/%m/%Y"))
    forecast(capsys, "--save", "m.npz")
    table(dates("2020-01-01", 12, "MS", "%d/%m/%Y"))
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0
    assert "2021-01-01" in capsys.readouterr().out
    table(dates("2020-01-01", 12, "MS"))  # another form that has one meaning
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0
    assert "2021-01-01" in capsys.readouterr().out
    arrays, metadata = read_checkpoint("m.npz")
    write_checkpoint("m.npz", arrays, {**metadata, "date_format": 3})
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 2
    assert "--model m.npz: damaged: 3, []" in capsys.readouterr().err


def test_a_kept_model_knows_what_means_missing(capsys):
    days = dates("2024-01-01", 60, "D")
    table([f"{day},{-200 if k == 3 else k}" for k, day in enumerate(days)], "date,z,y")
    arguments = ["--column", "z", "--missing", "previous"]
    expected = forecast(capsys, *arguments, "--missing-value", "-200", "--save", "m.npz")[1]
    assert main(["forecast", "data.csv", "--model", "m.npz", "--output", "again.csv"]) == 0
    assert ",".join(expected) in open("again.csv").read()
    assert "1 missing values filled" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("freq", ["B", "BME"])
def test_a_short_table_has_the_clock_of_the_model(capsys, count, freq):
    times = dates("2024-01-01", 60, freq)
    table(times)
    expected = forecast(capsys, "--save", "m.npz")[1][0]
    lines = open("data.csv").read().splitlines()
    with open("short.csv", "w") as file:
        file.write("\n".join([lines[0], *lines[-count:], ""]))
    assert main(["forecast", "short.csv", "--model", "m.npz"]) == 0
    assert expected in capsys.readouterr().out


# ---- numbers


@pytest.mark.parametrize(
    ("cells", "last"),
    [
        (['"1,234.5"', "12", '"999,999"', "7.25"], 7.25),
        (['"1,234"', "12", '"999"', '"-5,432"'], -5432.0),
        (['"1.234,5"', "12", '"7,25"'], 7.25),
        (['"1.234.567"', "12", '"7.654.321"'], 7654321.0),
        (['"1,5"', '"2,25"'], 2.25),
    ],
)
def test_numbers_with_groups(capsys, cells, last):
    with open("data.csv", "w") as file:
        file.write("\n".join(["y", *(cells * 20), ""]))
    assert float(forecast(capsys)[1][2]) == last


@pytest.mark.parametrize(
    "cells", [['"1,234"', '"5,678"'], ['"1,234.5"', '"7.654,3"'], ['"12,34"', '"1,2,3"']]
)
def test_numbers_of_no_consistent_form_are_refused(capsys, cells):
    with open("data.csv", "w") as file:
        file.write("\n".join(["y", *(cells * 20), ""]))
    assert "expected a finite number, got" in fails(capsys, "--column", "y")


def test_groups_and_decimal_commas_between_semicolons(capsys):
    with open("data.csv", "w") as file:
        file.write(
            "\n".join(["t;y", *(f"{t};{mean}" for t, mean in enumerate(["1.234,5", "3,125"] * 20)), ""])
        )
    assert float(forecast(capsys)[1][2]) == 3.125


@pytest.mark.parametrize("value", ["-200", "-200.0", "x"])
def test_values_that_mean_missing(capsys, value):
    table(
        [f"{day},{value if k in (3, 59) else k}" for k, day in enumerate(dates("2024-01-01", 60, "D"))],
        "date,z,y",
    )
    arguments = ["--column", "z", "--missing-value", value]
    assert "2 missing values, the first in column 'z', line 5" in fails(capsys, *arguments)
    assert float(forecast(capsys, *arguments, "--missing", "previous")[1][2]) == 58.0


def test_a_column_without_a_name(capsys):
    frame = pandas.DataFrame({"y": np.sin(np.arange(60.0))})
    frame.to_csv("data.csv")  # the index: 0, 1, 2, …
    printed, written = forecast(capsys)
    assert "Unnamed" not in printed
    assert written[0] == "61"
    frame.set_index(pandas.date_range("2024-01-01", periods=60)).to_csv("data.csv")
    printed, written = forecast(capsys)
    assert "column 1 2024-01-01 to 2024-02-29 in steps of 1 day" in printed
    assert written[0] == "2024-03-01"
