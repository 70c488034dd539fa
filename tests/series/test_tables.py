"""`rf.series.read_data`: what it reads, how its result is used, and what it refuses, by its own arguments."""

from __future__ import annotations

import gzip
import json
import pickle
import sys

import numpy as np
import pytest
from helpers.tables import dates, days, pandas, write, write_rows

import rnnfast as rf
from rnnfast.series.tables import Argument, MissingColumn, StepError, TableError

pytestmark = pytest.mark.usefixtures("folder")
N = 60
VALUES = np.sin(np.arange(float(N)))
PRICES = {"A": VALUES, "B": VALUES[::-1] + 5.0}


def write_long(name="long.csv"):
    parts = [pandas.DataFrame({"day": days(N), "symbol": key, "y": own}) for key, own in PRICES.items()]
    write(name, pandas.concat(parts))


@pytest.mark.parametrize(
    ("times", "how", "step", "after"),
    [
        (dates("2020-01-01", 12, "MS", "%d/%m/%Y"), {"day_first": True}, "1 month", "2021-01-01"),
        (dates("2020-01-01", 12, "MS", "%d/%m/%Y"), {"date_format": "%m/%d/%Y"}, "1 day", "2020-01-13"),
        (dates("2020-01-01", 12, "MS", "%d/%m/%Y"), {"usual_format": "%d/%m/%Y"}, "1 month", "2021-01-01"),
        (["2021-01-01", "2022-01-01", "2023-01-01"], {}, "1 year", "2024-01-01"),
        (["2023-07-01", "2023-08-01", "2023-09-01"], {}, "1 month", "2023-10-01"),
        (["2023-04-30", "2023-06-30"], {}, "2 months", "2023-08-31"),
        (["2024-01-01", "2024-01-02", "2024-01-03"], {}, "1 day", "2024-01-04"),
        (["2024-01-05", "2024-01-08", "2024-01-09"], {}, "1 business day", "2024-01-10"),
        (["2024-01-05"], {"step": "1 business day"}, "1 business day", "2024-01-08"),
        (["2024-02-29", "2024-03-29", "2024-04-30"], {}, "1 month (last business day)", "2024-05-31"),
        (["2023-02-01", "2023-03-01"], {}, "28 days", "2023-03-29"),
    ],
)
def test_the_clock_of_few_dates(times, how, step, after):
    write_rows(times)
    data = rf.series.read_data("data.csv", "y", time="date", **how)
    assert data.clock.step_text() == step
    assert data.clock.after(1).labels() == [after]


def test_a_table_of_one_series(folder):
    write("data.csv", {"day": days(N), "y": VALUES})
    data = rf.series.read_data(folder / "data.csv")
    np.testing.assert_array_equal(data.values, VALUES[:, np.newaxis])
    assert data.observed.all()
    assert (data.path, data.names, data.columns) == (str(folder / "data.csv"), ["y"], ["y"])
    assert (data.only, data.notes, data.covariates, data.future, data.season) == ([], [], None, 0, 7)
    assert (data.clock.name, data.clock.labels()[0], data.clock.step_text()) == ("day", "2024-01-01", "1 day")
    assert isinstance(data.clock, rf.series.Clock)
    assert isinstance(data, rf.series.Data)


def test_a_season_is_suggested_where_four_of_it_are_there():
    for rows, season in ((27, None), (28, 7)):
        write("data.csv", {"day": days(rows), "y": VALUES[:rows]})
        assert rf.series.read_data("data.csv").season == season


def test_values_that_were_filled_in_are_marked():
    gaps = np.where(np.arange(N) % 10 == 5, np.nan, VALUES)
    write("data.csv", {"day": days(N), "y": gaps})
    data = rf.series.read_data("data.csv", missing="previous")
    np.testing.assert_array_equal(data.observed[:, 0], ~np.isnan(gaps))
    np.testing.assert_array_equal(data.values[5], VALUES[[4]])
    assert data.notes == ["6 missing values filled (previous), and not scored"]
    assert len(rf.series.read_data("data.csv", missing="drop").values) == 54


def test_a_number_that_means_missing():
    write("data.csv", {"y": np.where(np.arange(N) == 5, -200.0, VALUES)})
    for value in (-200, "-200", [-200.0]):
        marks = value if isinstance(value, (str, list)) else [value]
        data = rf.series.read_data("data.csv", missing="previous", missing_values=marks)
        assert np.flatnonzero(~data.observed).tolist() == [5]


def test_a_long_table_is_series_side_by_side():
    write_long()
    data = rf.series.read_data("long.csv", "y", series="symbol")
    assert (data.names, data.only, data.columns) == (["A", "B"], ["A", "B"], ["y"])
    np.testing.assert_array_equal(data.values, np.stack([PRICES["A"], PRICES["B"]], axis=1))
    assert rf.series.read_data("long.csv", "y", series="symbol", only="B").names == ["B"]


def test_covariates_go_on_beyond_the_values():
    known = np.arange(float(N))
    write("data.csv", {"day": days(N), "y": np.where(known < 55, VALUES, np.nan), "u": known})
    data = rf.series.read_data("data.csv", "y", covariates="u")
    assert (data.values.shape, data.covariates.shape, data.future) == ((55, 1), (60, 1, 1), 5)
    np.testing.assert_array_equal(data.covariates[:, 0, 0], known)
    model = rf.series.AutoRegression(2).fit(data.values, horizon=5, covariates=data.covariates)
    assert model.predict(data.values, covariates=data.covariates).mean.shape == (5, 1)


def test_the_ladder_on_a_table_and_the_file_of_its_best_rung():
    write_long()
    data = rf.series.read_data("long.csv", "y", series="symbol", irregular="ignore")
    lags = rf.series.default_lags(data.season, len(data.values))
    rungs = rf.series.ladder(lags, data.season, shared=True)
    chosen = [rungs[name] for name in ("last", "season", "ar")]
    scores = list(rf.series.backtest(data.values, chosen, horizon=3, observed=data.observed))
    best = rf.series.best_score(scores).forecaster.clone().fit(data.values, horizon=3)
    best.save("model.npz", data.reading)
    loaded, reading = rf.series.load_forecaster("model.npz")
    newer = rf.series.read_data("long.csv", **reading)
    assert newer.reading == data.reading == json.loads(json.dumps(data.reading))
    np.testing.assert_array_equal(loaded.predict(newer.values), best.predict(data.values))


def test_a_file_is_read_as_another_was():
    write("data.csv", {"Date": dates("2020-01-01", 48, "MS", "%d/%m/%Y"), "y": VALUES[:48]})
    reading = rf.series.read_data("data.csv").reading
    write("short.csv", {"Date": ["01/02/2024"], "y": [3.0]})
    data = rf.series.read_data("short.csv", **reading)
    assert data.clock.after(1).labels() == ["2024-03-01"]
    write("days.csv", {"Date": ["01/02/2024", "02/02/2024"], "y": [3.0, 4.0]})
    with pytest.raises(StepError, match=r"days\.csv: has steps of 1 day, expected step='1 month'") as caught:
        rf.series.read_data("days.csv", **reading)
    assert (caught.value.found, caught.value.expected) == ("1 day", "1 month")


ONE = {"day": dates("2024-01-01", N, "D"), "y": VALUES}
TWO = ONE | {"z": VALUES}
GAPS = {"day": np.delete(np.array(ONE["day"]), [20]), "y": VALUES[1:]}


@pytest.mark.parametrize(
    ("columns", "how", "message"),
    [
        (TWO, {}, "data.csv: several columns of numbers: y, z; choose with columns"),
        (ONE, {"columns": "x"}, "columns='x': data.csv has the columns day, y"),
        (ONE, {"time": "x"}, "time='x': data.csv has the columns day, y"),
        (ONE, {"series": "x"}, "series='x': data.csv has the columns day, y"),
        (ONE, {"covariates": ["x"]}, "covariates='x': data.csv has the columns day, y"),
        (TWO, {"columns": ["y", "y"]}, "columns: expected each column once, got y, y"),
        (TWO, {"columns": "y", "time": "y"}, "columns='y': is the time"),
        (TWO, {"columns": "y", "covariates": "y"}, "columns='y': is of covariates too"),
        (TWO, {"columns": "y", "series": "y"}, "columns='y': is series too"),
        (ONE, {"only": "A"}, "only: needs series, the column of names"),
        (
            {"symbol": "A", "y": VALUES},
            {"series": "symbol"},
            "series='symbol': needs a column of times; choose with time",
        ),
        (
            {"date": ONE["day"], "time": ONE["day"], "y": VALUES},
            {},
            "data.csv: several columns may be the time: date, time; choose with time, or join columns that "
            "are one time together: time='date,time'",
        ),
        (
            {"T": dates("2024-01-01", N, "min", "%H:%M"), "y": VALUES},
            {},
            "data.csv: column 'T' has clock times without a date, as '00:00'; name the column of the dates "
            "too: time='DATE,T'",
        ),
        (
            {"day": dates("2020-01-01", 3, "MS", "%d/%m/%Y"), "y": VALUES[:3]},
            {},
            "data.csv: column 'day' can be read in 2 ways, as '01/01/2020': %m/%d/%Y (steps of 1 day, "
            "2020-01-03 the last) or %d/%m/%Y (steps of 1 month, 2020-03-01 the last); choose with "
            "date_format='%m/%d/%Y', or day_first",
        ),
        (ONE, {"date_format": "%Q"}, "date_format %Q: 'Q' is a bad directive in format '%Q'"),
        (
            GAPS,
            {},
            "data.csv: 1 of 58 steps of day are not 1 day, the first from 2024-01-20 to 2024-01-22 (line "
            "22), 1 row is missing there; irregular='resample' (one row for each step, the mean of the rows "
            "nearest to it; a step without any is missing) or irregular='ignore' (use the rows as they "
            "are)",
        ),
        (
            {"day": ["2024-01-01", "2024-01-02", "2924-01-01"], "y": [1.0, 2.0, 3.0]},
            {"irregular": "resample"},
            "data.csv: steps of 1 day from 2024-01-01 to 2924-01-01 would make 328,719 rows of 3; "
            "irregular='ignore' (use the rows as they are)",
        ),
        (
            {"y": [1.0, np.nan, 3.0], "t": [1, 2, 3]},
            {"columns": "y"},
            "data.csv: 1 missing values, the first in column 'y', line 3; missing='drop' (leave rows out; "
            "the others count as neighbours) or missing='previous' (repeat the value before) or "
            "missing='interpolate' (a straight line between the values before and after)",
        ),
        (
            {"y": [1.0, np.nan], "z": [np.nan, 1.0]},
            {"columns": ["y", "z"], "missing": "drop"},
            "data.csv: no row has a value in all of y, z",
        ),
    ],
)
def test_an_error_names_the_arguments(columns, how, message):
    write("data.csv", columns)
    with pytest.raises(TableError) as caught:
        rf.series.read_data("data.csv", **how)
    assert str(caught.value) == message


def test_names_that_repeat_dates_are_a_long_table():
    write_long()
    with pytest.raises(TableError, match=r"Take series='symbol': one model of all of them"):
        rf.series.read_data("long.csv", "y")
    with pytest.raises(TableError, match=r"only='C': column 'symbol' has A, B"):
        rf.series.read_data("long.csv", "y", series="symbol", only=["C"])


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"columns": 3}, TypeError, "columns: expected a name or a list of names, got 3"),
        ({"covariates": [1]}, TypeError, r"covariates: expected a name or a list of names, got \[1\]"),
        ({"time": 3}, TypeError, "time: expected text or None, got 3"),
        ({"step": 3}, TypeError, "step: expected text or None, got 3"),
        ({"missing": "no"}, ValueError, "missing: expected one of error, drop, previous, interpolate, got"),
        ({"irregular": 1}, ValueError, "irregular: expected one of error, resample, ignore, got 1"),
        ({"day_first": 1}, TypeError, "day_first: expected True or False, got 1"),
        ({"missing_values": 3}, TypeError, "missing_values: expected a list of numbers or texts, got 3"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_the_file_is_read(how, error, message):
    with pytest.raises(error, match=message):
        rf.series.read_data("absent.csv", **how)


def test_a_file_that_cannot_be_read(monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        rf.series.read_data("absent.csv")
    with pytest.raises(TypeError, match="path: expected the name of a file"):
        rf.series.read_data(3)
    with pytest.raises(TableError, match=r"data.txt: expected a file .csv, .tsv or .parquet"):
        rf.series.read_data("data.txt")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'rnnfast.series needs pandas: pip install "rnnfast\[forecast\]"'):
        rf.series.read_data("absent.csv")


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-20], lambda b: b[:30] + bytes(20) + b[50:], lambda b: b"no"]
)
def test_a_damaged_archive_is_no_table(folder, damage):
    whole = gzip.compress("".join(["a,b\n", *(f"{k},{k * k}\n" for k in range(300))]).encode())
    (folder / "data.csv.gz").write_bytes(damage(whole))
    with pytest.raises(TableError, match=r"^data\.csv\.gz: "):
        rf.series.read_data("data.csv.gz")


def test_errors_are_pickled_whole():
    for error in (
        MissingColumn(Argument("time", "x"), ": is absent"),
        StepError("data.csv", "1 hour", "1 day"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)


# ---- a picture


@pytest.mark.parametrize("flat", [False, True])
def test_a_forecast_is_drawn(folder, flat):
    pytest.importorskip("matplotlib")
    write("data.csv", {"day": days(N), "y": VALUES})
    data = rf.series.read_data("data.csv")
    series = data.values[:, 0] if flat else data.values
    forecast = rf.series.LastValue().fit(series, horizon=3).predict(series)
    rf.series.draw_forecast(folder / "out.svg", data, forecast, name="the last value")
    picture = (folder / "out.svg").read_text()
    for text in ("the last value", "90% interval", "day", "y"):
        assert f"<!-- {text} -->" in picture
    with pytest.raises(ValueError, match=r"forecast: expected shape \[horizon, 1\], .* got \(3, 2\)"):
        rf.series.draw_forecast("o.svg", data, rf.series.Forecast(*[np.zeros((3, 2))] * 3))
    with pytest.raises(ValueError, match="level: expected a number"):
        rf.series.draw_forecast("o.svg", data, forecast, level=90)
    with pytest.raises(TypeError, match=r"data: expected a Data, got 'data\.csv'"):
        rf.series.draw_forecast("o.svg", "data.csv", forecast)
    with pytest.raises(TypeError, match="forecast: expected a Forecast, got 5"):
        rf.series.draw_forecast("o.svg", data, 5)
    with pytest.raises(TypeError, match="name: expected a str, got 5"):
        rf.series.draw_forecast("o.svg", data, forecast, name=5)
    assert not (folder / "o.svg").exists()


def test_a_clock_goes_on_for_a_number_of_steps():
    clock = rf.series.Clock("hour", np.array([0, 6, 12]))
    assert clock.after(0).labels() == []
    for count, error in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="count: expected "):
            clock.after(count)
