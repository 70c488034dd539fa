"""`rnnfast forecast`: dates of all kinds in long tables and beside covariates."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.tables import LAST, fails, forecast_rows, pandas

pytestmark = pytest.mark.usefixtures("folder")
AR = [
    "--column",
    "load",
    "--covariates",
    "temperature",
    "--rung",
    "ar",
    "--lags",
    "2",
    "--difference",
    "none",
]


def long_table(times, forms=("%d/%m/%Y",) * 3, seed=0, name="long.csv", **more):
    """A row for each time and symbol, in any order; each symbol writes its times in a form of its own."""
    prices = np.cumsum(np.random.default_rng(1).standard_normal((3, len(times))), axis=1)
    parts = [
        pandas.DataFrame({"date": times.strftime(form), "symbol": symbol, "price": price, **more})
        for symbol, form, price in zip("ABC", forms, prices, strict=True)
    ]
    frame = pandas.concat(parts)
    frame = frame if seed is None else frame.sample(frac=1.0, random_state=seed)
    frame.to_csv(name, index=False)
    return dict(zip("ABC", prices, strict=True))


def load_table(times, future, name="load.csv"):
    """A load that a temperature explains, with rows of the future at the end of `times`."""
    temperature = np.random.default_rng(2).standard_normal(len(times))
    load = 50.0 - 2.0 * temperature
    load[len(times) - future :] = np.nan
    pandas.DataFrame({"at": times, "load": load, "temperature": temperature}).to_csv(name, index=False)
    return 50.0 - 2.0 * temperature[len(times) - future :]


# ---- long tables


def test_prices_by_symbol_on_business_days_with_the_day_first(capsys):
    days = pandas.bdate_range("2024-01-02", periods=60)
    days = days[days != "2024-01-15"]  # a holiday
    prices = long_table(days)
    printed, written = forecast_rows(capsys, "long.csv", "--series", "symbol", *LAST, "--save", "m.npz")
    assert "59 rows, date 2024-01-02 to 2024-03-25 in steps of 1 business day" in printed
    assert "1 business day without a row (holidays, the first between 2024-01-12 and 2024-01-16)" in printed
    assert [row["date"] for row in written] == ["2024-03-26", "2024-03-27"] * 3
    assert {row["column"]: float(row["forecast"]) for row in written} == pytest.approx(
        {symbol: price[-1] for symbol, price in prices.items()}
    )
    assert forecast_rows(capsys, "long.csv", "--model", "m.npz")[1] == written
    assert "last season(5)" in forecast_rows(capsys, "long.csv", "--series", "symbol", "--rung", "season")[0]


@pytest.mark.parametrize("seed", [None, 0])
def test_a_repeat_by_names_asks_for_series_and_not_for_resampling(capsys, seed):
    long_table(pandas.bdate_range("2024-01-02", periods=60), seed=seed)
    error = fails(capsys, "long.csv", *LAST)
    assert "the column 'symbol' repeats dates: date 2024-01-02 is in 3 rows. Take --series symbol" in error
    assert "resample" not in error


def test_one_date_in_two_forms_is_one_row(capsys):
    days = pandas.bdate_range("2024-01-02", periods=60)
    long_table(days, ("%d/%m/%Y", "%d/%m/%y", "%d/%m/%Y"), name="mixed.csv")
    assert "expected a date" in fails(capsys, "mixed.csv", "--series", "symbol", *LAST)
    long_table(days, ("%Y-%m-%d", "%Y-%m-%d 00:00", "%Y-%m-%dT00:00:00"))
    printed, _ = forecast_rows(capsys, "long.csv", "--series", "symbol", *LAST)
    assert "60 rows, date 2024-01-02 to 2024-03-25 in steps of 1 business day" in printed


def test_two_readings_of_a_long_table_are_told_apart_by_its_dates(capsys):
    long_table(pandas.date_range("2020-01-01", periods=48, freq="MS"))
    printed, written = forecast_rows(capsys, "long.csv", "--series", "symbol", *LAST)
    assert "48 rows, date 2020-01-01 to 2023-12-01 in steps of 1 month" in printed
    assert written[0]["date"] == "2024-01-01"
    long_table(pandas.date_range("2020-01-01", periods=12, freq="MS"))
    assert "can be read in 2 ways" in fails(capsys, "long.csv", "--series", "symbol", *LAST)


@pytest.mark.parametrize(
    ("head", "form", "after"),
    [
        ("Date,Time", "%d.%m.%Y,%H:%M", "2024-01-22T12:00"),
        ("year,month,day,hour", "%Y,%m,%d,%H", "2024-01-22T12:00"),
    ],
)
def test_a_long_table_whose_time_is_several_columns(capsys, head, form, after):
    times = pandas.date_range("2024-01-20", periods=60, freq="h").strftime(form)
    lines = [f"{time},{symbol},{k % 7}" for k, time in enumerate(times) for symbol in "AB"]
    with open("long.csv", "w") as file:
        file.write("\n".join([f"{head},symbol,y", *lines, ""]))
    twice = ["--series", head.split(",")[0], "--time", head]
    assert f"--time {twice[1]}: is --series too" in fails(capsys, "long.csv", *twice, *LAST)
    for arguments in (["--time", head], []):
        assert forecast_rows(capsys, "long.csv", "--series", "symbol", *LAST, *arguments)[1][0][head] == after
        assert "Take --series symbol" in fails(capsys, "long.csv", "--column", "y", *LAST, *arguments)


def test_years_of_a_long_table_are_its_time(capsys):
    lines = [f"{name},{year},{year % 7}" for name in "AB" for year in range(1960, 2020)]
    with open("long.csv", "w") as file:
        file.write("\n".join(["country,year,y", *lines, ""]))
    assert forecast_rows(capsys, "long.csv", "--series", "country", *LAST)[1][0]["year"] == "2020"


def test_values_that_mean_missing_in_a_long_table(capsys):
    long_table(pandas.bdate_range("2024-01-02", periods=60), seed=None)
    text = open("long.csv").read().splitlines()
    text[60] = text[60].rpartition(",")[0] + ",-200"  # the last of A
    with open("long.csv", "w") as file:
        file.write("\n".join([*text, ""]))
    options = ["long.csv", "--series", "symbol", "--missing-value", "-200", *LAST]
    assert "1 missing values, the first in column 'A'" in fails(capsys, *options)
    written = forecast_rows(capsys, *options, "--missing", "previous", "--save", "m.npz")[1]
    assert float(written[0]["forecast"]) == pytest.approx(float(text[59].rpartition(",")[2]))
    assert forecast_rows(capsys, "long.csv", "--model", "m.npz")[1] == written


@pytest.mark.parametrize("count", [1, 3])
def test_a_short_long_table_has_the_clock_of_the_model(capsys, count):
    days = pandas.bdate_range("2024-01-02", periods=60)
    long_table(days)
    written = forecast_rows(capsys, "long.csv", "--series", "symbol", *LAST, "--save", "m.npz")[1]
    long_table(days[-count:], name="short.csv")
    shown = forecast_rows(capsys, "short.csv", "--model", "m.npz")[1]
    assert [row["date"] for row in shown] == [row["date"] for row in written]


# ---- covariates


def test_covariates_beside_hours_with_offsets(capsys):
    times = pandas.date_range("2024-03-27 23:00", periods=80, freq="h", tz="Europe/Berlin")
    expected = load_table([time.isoformat() for time in times], future=6)
    printed, written = forecast_rows(capsys, "load.csv", *AR, "--save", "m.npz")
    assert "74 rows, at 2024-03-27T23:00+01:00 to 2024-03-31T00:00+01:00 in steps of 1 hour" in printed
    assert "offsets from UTC change" not in printed  # the future rows have theirs
    assert [row["at"] for row in written] == [
        time.isoformat()[:16] + time.isoformat()[19:] for time in times[74:]
    ]
    assert [row["at"][-6:] for row in written] == ["+01:00"] + ["+02:00"] * 5
    np.testing.assert_allclose([float(row["forecast"]) for row in written], expected, atol=1e-6)
    assert forecast_rows(capsys, "load.csv", "--model", "m.npz")[1] == written


def test_future_rows_keep_their_dates_beyond_a_holiday(capsys):
    days = pandas.bdate_range("2024-01-02", periods=64)
    days = days[(days != "2024-01-15") & (days != "2024-03-27")]
    expected = load_table(days.strftime("%d/%m/%Y"), future=4)
    printed, written = forecast_rows(capsys, "load.csv", *AR)
    assert "2 business days without a row" in printed
    assert [row["at"] for row in written] == list(days[-4:].strftime("%Y-%m-%d"))
    np.testing.assert_allclose([float(row["forecast"]) for row in written], expected, atol=1e-6)


def test_covariates_of_newest_rows_first(capsys):
    times = pandas.date_range("2024-03-01", periods=60, freq="D", tz="Europe/Berlin")
    load_table([time.isoformat() for time in times], future=3)
    expected = forecast_rows(capsys, "load.csv", *AR)
    frame = pandas.read_csv("load.csv")
    frame.iloc[::-1].to_csv("down.csv", index=False)
    printed, written = forecast_rows(capsys, "down.csv", *AR)
    assert "in steps of 1 day" in printed
    assert written == expected[1]


def test_a_kept_model_of_hours_goes_on_across_daylight_saving(capsys):
    times = pandas.date_range("2024-03-28", periods=80, freq="h", tz="Europe/Berlin")
    table = pandas.DataFrame({"at": [time.isoformat() for time in times], "y": np.sin(np.arange(80.0))})
    table.to_csv("data.csv", index=False)
    written = forecast_rows(capsys, "data.csv", *LAST, "--save", "m.npz")[1]
    assert forecast_rows(capsys, "data.csv", "--model", "m.npz")[1] == written
    table.iloc[-1:].to_csv("one.csv", index=False)
    assert forecast_rows(capsys, "one.csv", "--model", "m.npz")[1][0]["at"] == written[0]["at"]
