"""`rnnfast forecast`: irregular clocks, zones, kept models of tables, numbers, missing values."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from helpers.tables import dates, fails_last, forecast_last, offsets, pandas, write_rows

from rnnfast.cli.main import main
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize("start", ["2024-03-30", "2024-10-26"])
def test_daylight_saving_without_offsets_is_named(capsys, start):
    write_rows([time[:16] for time in offsets(start, 60, "h")])
    assert "daylight saving" in fails_last(capsys)


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
    write_rows(dates("2024-01-01", 60, "D")[rows])
    assert words in fails_last(capsys)


def test_holidays_are_gaps_without_values(capsys):
    days = [day for day in dates("2024-01-02", 60, "B") if day != "2024-01-15"]
    write_rows(days)
    printed, _ = forecast_last(capsys)
    assert "59 rows, date 2024-01-02 to 2024-03-25 in steps of 1 business day" in printed
    assert "1 business day without a row (holidays, the first between 2024-01-12 and 2024-01-16)" in printed
    assert "1 missing values" in fails_last(capsys, "--irregular", "resample")
    write_rows([day for day in days if not day.startswith("2024-02")])  # no holiday is a month long
    assert "steps of date are not 1 business day" in fails_last(capsys)


def test_five_business_days_are_a_season(capsys):
    write_rows(dates("2024-01-01", 60, "B"))
    main(["forecast", "data.csv", "--rung", "season", "--horizon", "2"])
    assert "last season(5)" in capsys.readouterr().out


def test_offsets_that_change_are_said(capsys):
    write_rows(offsets("2024-03-01", 60, "D"))
    assert "offsets from UTC change; the forecast keeps the last: +02:00" in forecast_last(capsys)[0]
    write_rows(offsets("2024-01-01", 60, "D"))
    assert "offsets" not in forecast_last(capsys)[0]


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
    printed, written = forecast_last(capsys, file="data.parquet")
    assert written[0] == after
    assert "offsets" not in printed


def test_a_date_and_a_time_of_parquet(capsys):
    pytest.importorskip("pyarrow")
    times = pandas.date_range("2024-01-01", periods=60, freq="h")
    columns = {"Date": times.normalize(), "Time": times.time, "y": np.sin(np.arange(60.0))}
    pandas.DataFrame(columns).to_parquet("data.parquet")
    assert forecast_last(capsys, "--time", "Date,Time", file="data.parquet")[1][0] == "2024-01-03T12:00"


def test_dates_of_parquet(capsys):
    pytest.importorskip("pyarrow")
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(k) for k in range(60)]
    pandas.DataFrame({"at": days, "y": np.sin(np.arange(60.0))}).to_parquet("data.parquet")
    assert forecast_last(capsys, file="data.parquet")[1][0] == "2024-03-01"


def test_a_kept_model_reads_dates_as_its_table_was(capsys):
    write_rows(dates("2020-01-01", 48, "MS", "%d/%m/%Y"))
    forecast_last(capsys, "--save", "m.npz")
    write_rows(dates("2020-01-01", 12, "MS", "%d/%m/%Y"))
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0
    assert "2021-01-01" in capsys.readouterr().out
    write_rows(dates("2020-01-01", 12, "MS"))  # another form that has one meaning
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 0
    assert "2021-01-01" in capsys.readouterr().out
    arrays, metadata = read_checkpoint("m.npz")
    write_checkpoint("m.npz", arrays, {**metadata, "date_format": 3})
    assert main(["forecast", "data.csv", "--model", "m.npz"]) == 2
    assert "--model m.npz: damaged: 3, []" in capsys.readouterr().err


def test_a_kept_model_knows_what_means_missing(capsys):
    days = dates("2024-01-01", 60, "D")
    write_rows([f"{day},{-200 if k == 3 else k}" for k, day in enumerate(days)], "date,z,y")
    arguments = ["--column", "z", "--missing", "previous"]
    expected = forecast_last(capsys, *arguments, "--missing-value", "-200", "--save", "m.npz")[1]
    assert main(["forecast", "data.csv", "--model", "m.npz", "--output", "again.csv"]) == 0
    assert ",".join(expected) in open("again.csv").read()
    assert "1 missing values filled" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("freq", ["B", "BME"])
def test_a_short_table_has_the_clock_of_the_model(capsys, count, freq):
    times = dates("2024-01-01", 60, freq)
    write_rows(times)
    expected = forecast_last(capsys, "--save", "m.npz")[1][0]
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
    assert float(forecast_last(capsys)[1][2]) == last


@pytest.mark.parametrize(
    "cells", [['"1,234"', '"5,678"'], ['"1,234.5"', '"7.654,3"'], ['"12,34"', '"1,2,3"']]
)
def test_numbers_of_no_consistent_form_are_refused(capsys, cells):
    with open("data.csv", "w") as file:
        file.write("\n".join(["y", *(cells * 20), ""]))
    assert "expected a finite number, got" in fails_last(capsys, "--column", "y")


def test_groups_and_decimal_commas_between_semicolons(capsys):
    with open("data.csv", "w") as file:
        file.write(
            "\n".join(["t;y", *(f"{t};{mean}" for t, mean in enumerate(["1.234,5", "3,125"] * 20)), ""])
        )
    assert float(forecast_last(capsys)[1][2]) == 3.125


@pytest.mark.parametrize("value", ["-200", "-200.0", "x"])
def test_values_that_mean_missing(capsys, value):
    write_rows(
        [f"{day},{value if k in (3, 59) else k}" for k, day in enumerate(dates("2024-01-01", 60, "D"))],
        "date,z,y",
    )
    arguments = ["--column", "z", "--missing-value", value]
    assert "2 missing values, the first in column 'z', line 5" in fails_last(capsys, *arguments)
    assert float(forecast_last(capsys, *arguments, "--missing", "previous")[1][2]) == 58.0


def test_a_column_without_a_name(capsys):
    frame = pandas.DataFrame({"y": np.sin(np.arange(60.0))})
    frame.to_csv("data.csv")  # the index: 0, 1, 2, …
    printed, written = forecast_last(capsys)
    assert "Unnamed" not in printed
    assert written[0] == "61"
    frame.set_index(pandas.date_range("2024-01-01", periods=60)).to_csv("data.csv")
    printed, written = forecast_last(capsys)
    assert "column 1 2024-01-01 to 2024-02-29 in steps of 1 day" in printed
    assert written[0] == "2024-03-01"
