"""`rnnfast forecast`: what models learn from, long tables, covariates, quantiles, and odd series."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from helpers.tables import days, fails, forecast, pandas, rows, write

from rnnfast.cli.main import main
from rnnfast.series import load_forecaster
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

rng = np.random.default_rng(0)
VALUES = 20.0 + np.sin(0.5 * np.arange(120)) + 0.1 * rng.standard_normal(120)
PRICES = {name: 100.0 * k + np.cumsum(rng.standard_normal(120)) for k, name in enumerate("ABC", 1)}
KNOWN = 15.0 + rng.standard_normal(126)
NEXT = ["--rung", "last", "--horizon", "1"]


def long_table(name="long.csv", **more):
    """One row for each day and symbol, shuffled."""
    parts = [{"day": days(), "symbol": key, "price": values, **more} for key, values in PRICES.items()]
    frame = pandas.concat([pandas.DataFrame(part) for part in parts])
    frame.sample(frac=1.0, random_state=0).to_csv(name, index=False)
    return frame


def load_table(name="load.csv", future=6):
    """A load that a temperature explains, with rows of the future."""
    load = np.append(50.0 - 2.0 * KNOWN[:120] + 0.01 * VALUES, np.full(future, np.nan))
    write(name, {"day": days(120 + future), "load": load, "temperature": KNOWN[: 120 + future]})


# ---- lags and differences


def test_the_default_window_covers_the_season(folder, capsys):
    times = pandas.date_range("2010-01-04", periods=400, freq="7D")
    write("weeks.csv", {"week": times, "y": np.sin(np.arange(400) * 2 * np.pi / 52) + 0.1 * rng.random(400)})
    assert "AR(60)" in forecast(capsys, "weeks.csv", "--rung", "ar", "--horizon", "3")
    assert "AR(9)" in forecast(capsys, "weeks.csv", "--rung", "ar", "--horizon", "3", "--lags", "9")


def test_a_difference_is_chosen_or_asked_for_and_kept_with_the_model(folder, capsys):
    write("data.csv", {"day": days(), "y": VALUES + 3.0 * np.arange(120)})
    options = ["data.csv", "--rung", "markov", "--horizon", "3"]
    for difference, label in {
        "none": "Markov(10)",
        "trend": ", difference 1",
        "season": ", difference 7",
    }.items():
        assert f"{label}, refitted on all 120 rows" in forecast(capsys, *options, "--difference", difference)
    printed = forecast(capsys, *options, "--save", "m.npz", "--output", "first.csv")
    assert re.search(r"Markov\(\d+\), difference [17], refitted", printed)
    model, _ = load_forecaster("m.npz")
    assert model.difference in (1, 7)
    forecast(capsys, "data.csv", "--model", "m.npz", "--output", "again.csv")
    assert rows("again.csv") == rows("first.csv")
    write("rows.csv", {"y": VALUES})
    error = fails(capsys, "rows.csv", "--difference", "season")
    assert "--difference season: needs --season, as steps of 1 suggest none" in error


def test_no_package_beyond_pandas_is_needed(folder, capsys, monkeypatch):
    for package in ("sklearn", "statsmodels"):
        monkeypatch.setitem(sys.modules, package, None)
    write("data.csv", {"day": days(), "y": VALUES})
    printed = forecast(capsys, "data.csv", "--rung", "ar", "--rung", "mlp", "--horizon", "1", "--lags", "3")
    assert "AR(3)" in printed
    assert "MLP(3)" in printed


# ---- long tables


def test_a_column_that_repeats_dates_is_named(folder, capsys):
    long_table()
    error = fails(capsys, "long.csv", *NEXT)
    assert "long.csv: the column 'symbol' repeats dates: day 2024-" in error
    assert "is in 3 rows. Take --series symbol: " in error
    long_table("store.csv", store=[f"{n}" for n in range(120)])
    assert "--series symbol" in fails(capsys, "store.csv", "--column", "price", *NEXT)
    assert "120 rows" in forecast(capsys, "long.csv", *NEXT, "--irregular", "resample")  # who asks gets it


def test_each_series_of_a_long_table_is_forecast_by_one_model(folder, capsys):
    long_table()
    printed = forecast(capsys, "long.csv", "--series", "symbol", *NEXT, "--output", "out.csv")
    names = re.search(r"long\.csv: (.+)", printed)[1].split(", ")
    assert sorted(names) == ["A", "B", "C"]
    table = {row["column"]: row for row in rows("out.csv")}
    assert {name: float(row["forecast"]) for name, row in table.items()} == pytest.approx(
        {name: values[-1] for name, values in PRICES.items()}
    )
    assert {row["day"] for row in table.values()} == {"2024-04-30"}
    forecast(capsys, "long.csv", "--series", "symbol", "--rung", "ar", "--lags", "5", "--save", "m.npz")
    assert load_forecaster("m.npz")[0].shared
    forecast(capsys, "long.csv", "--model", "m.npz", "--only", "B", "--output", "b.csv")
    assert {row["column"] for row in rows("b.csv")} == {"B"}
    forecast(capsys, "long.csv", "--model", "m.npz", "--output", "all.csv")
    assert [row for row in rows("all.csv") if row["column"] == "B"] == rows("b.csv")


def test_many_series_are_written_and_some_of_them_printed(folder, capsys):
    parts = [{"day": days(60), "item": f"item{k}", "y": rng.random(60)} for k in range(20)]
    pandas.concat([pandas.DataFrame(part) for part in parts]).to_csv("items.csv", index=False)
    printed = forecast(capsys, "items.csv", "--series", "item", *NEXT, "--output", "out.csv")
    assert "item10, item11 and 8 more\n" in printed
    assert printed.count("90% interval\n") == 8
    assert "12 more series: --output FILE has them all" in printed
    assert len(rows("out.csv")) == 20


def test_only_some_series_are_taken(folder, capsys):
    long_table()
    write("a.csv", {"day": days(), "price": PRICES["C"]})
    options = ["--rung", "ar", "--lags", "5", "--horizon", "3"]
    forecast(capsys, "long.csv", "--series", "symbol", "--only", "C", *options, "--output", "c.csv")
    forecast(capsys, "a.csv", *options, "--output", "alone.csv")
    for ours, alone in zip(rows("c.csv"), rows("alone.csv"), strict=True):
        assert float(ours["forecast"]) == pytest.approx(float(alone["forecast"]))
    two = ["--only", "C", "--only", "A"]
    printed = forecast(capsys, "long.csv", "--series", "symbol", *two, *NEXT)
    assert "long.csv: C, A\n" in printed


def test_mistakes_with_a_long_table(folder, capsys):
    frame = long_table()
    assert "--only: needs --series" in fails(capsys, "long.csv", "--only", "A", *NEXT)
    assert "--only D: column 'symbol' has " in fails(
        capsys, "long.csv", "--series", "symbol", "--only", "D", *NEXT
    )
    assert "--series name: long.csv has the columns day, symbol, price" in fails(
        capsys, "long.csv", "--series", "name", *NEXT
    )
    assert "--column symbol: is --series too" in fails(
        capsys, "long.csv", "--series", "symbol", "--column", "symbol", *NEXT
    )
    pandas.concat([frame, frame.iloc[:1]]).to_csv("twice.csv", index=False)
    assert "twice.csv, line 362: symbol 'A' has the day 2024-01-01 twice" in fails(
        capsys, "twice.csv", "--series", "symbol", *NEXT
    )
    frame.iloc[1:].to_csv("gap.csv", index=False)
    assert "1 missing values, the first in column 'A', line " in fails(
        capsys, "gap.csv", "--series", "symbol", *NEXT
    )
    frame.drop(columns="day").to_csv("rows.csv", index=False)
    assert "--series symbol: needs a column of times" in fails(
        capsys, "rows.csv", "--series", "symbol", *NEXT
    )


# ---- covariates


@pytest.mark.parametrize("rung", ["ar", "mlp"])
def test_future_rows_give_the_covariates_of_the_steps_to_forecast(folder, capsys, rung):
    load_table()
    options = ["--column", "load", "--covariates", "temperature", "--rung", rung, "--lags", "3"]
    options += ["--difference", "none"]
    printed = forecast(capsys, "load.csv", *options, "--save", "m.npz", "--output", "out.csv")
    assert "120 rows, day 2024-01-01 to 2024-04-29" in printed
    assert "horizon 6: the longest for so few future rows" in printed
    table = rows("out.csv")
    assert [row["day"] for row in table] == [
        f"2024-{day}" for day in ("04-30", *(f"05-0{k}" for k in range(1, 6)))
    ]
    expected = 50.0 - 2.0 * KNOWN[120:] + 0.2
    assert np.abs(expected - [float(row["forecast"]) for row in table]).max() < (0.5 if rung == "ar" else 2.5)
    forecast(capsys, "load.csv", "--model", "m.npz", "--output", "again.csv")
    assert rows("again.csv") == table
    load_table("later.csv", future=4)
    assert "has covariates of 4 future rows, and horizon 6 needs 6" in fails(
        capsys, "later.csv", "--model", "m.npz"
    )
    forecast(capsys, "later.csv", "--model", "m.npz", "--horizon", "4", "--output", "four.csv")
    assert rows("four.csv") == table[:4]


def test_series_of_a_long_table_have_their_own_covariates(folder, capsys):
    known = {name: rng.standard_normal(123) for name in PRICES}
    parts = [
        {
            "day": days(123),
            "symbol": name,
            "y": np.append(k + 2.0 * known[name][:120], [np.nan] * 3),
            "x": known[name],
        }
        for k, name in enumerate(PRICES)
    ]
    pandas.concat([pandas.DataFrame(part) for part in parts]).to_csv("long.csv", index=False)
    options = ["--series", "symbol", "--column", "y", "--covariates", "x", "--rung", "ar", "--lags", "2"]
    forecast(capsys, "long.csv", *options, "--output", "out.csv")
    for k, name in enumerate(PRICES):
        found = [float(row["forecast"]) for row in rows("out.csv") if row["column"] == name]
        np.testing.assert_allclose(found, k + 2.0 * known[name][120:], atol=1e-6)


def test_mistakes_with_covariates(folder, capsys):
    load_table()
    options = ["--column", "load", "--covariates", "temperature", "--rung", "ar", "--lags", "3"]
    assert "--horizon 7: load.csv has covariates of 6 future rows" in fails(
        capsys, "load.csv", *options, "--horizon", "7"
    )
    load_table("past.csv", future=0)
    assert "past.csv: no future row: --covariates temperature need rows behind" in fails(
        capsys, "past.csv", *options
    )
    frame = pandas.read_csv("load.csv")
    frame.loc[123, "temperature"] = np.nan
    frame.to_csv("hole.csv", index=False)
    assert "column 'temperature' has no value in a future row, line 125" in fails(
        capsys, "hole.csv", *options
    )
    assert "--covariates wind: load.csv has the columns" in fails(capsys, "load.csv", "--covariates", "wind")
    assert "--column load: is of --covariates too" in fails(
        capsys, "load.csv", "--column", "load", "--covariates", "load"
    )
    twice = ["--column", "load", "--covariates", "temperature,temperature"]
    assert "--covariates: expected each column once" in fails(capsys, "load.csv", *twice)
    assert "--time day: is of --covariates too" in fails(
        capsys, "load.csv", "--column", "load", "--time", "day", "--covariates", "day"
    )
    forecast(capsys, "load.csv", *options, "--save", "m.npz")
    for option in (["--covariates", "x"], ["--series", "x"], ["--difference", "none"], ["--non-negative"]):
        error = fails(capsys, "load.csv", "--model", "m.npz", *option)
        assert f"{option[0]}: not with --model m.npz, which is trained already" in error
    arrays, metadata = read_checkpoint("m.npz")
    for change in ({"covariates": []}, {"series": "symbol"}, {"only": ["A"]}):
        write_checkpoint("m.npz", arrays, {**metadata, **change})
        assert "--model m.npz: damaged: columns " in fails(capsys, "load.csv", "--model", "m.npz")


# ---- quantiles, bias, bounds


def test_quantiles_are_printed_and_written(folder, capsys):
    write("data.csv", {"day": days(), "y": VALUES})
    printed = forecast(capsys, "data.csv", *NEXT, "--quantiles", "0.9,0.1,0.5", "--output", "out.csv")
    assert re.search(r"day +y +q0\.1 +q0\.5 +q0\.9\n", printed)
    (row,) = rows("out.csv")
    assert list(row) == ["day", "column", "forecast", "lower", "upper", "q0.1", "q0.5", "q0.9"]
    low, middle, high = (float(row[name]) for name in ("q0.1", "q0.5", "q0.9"))
    assert float(row["lower"]) <= low < middle < high <= float(row["upper"])
    assert f"{middle:.6g}" in printed
    for text in ("0.5,1", "a", "", "0.1,,0.9"):
        with pytest.raises(SystemExit):
            main(["forecast", "data.csv", "--quantiles", text])
        assert "--quantiles: expected a number between 0 and 1" in capsys.readouterr().err


def test_a_forecast_at_the_edge_of_its_interval_shows_its_bias(folder, capsys):
    write("data.csv", {"day": days(), "y": VALUES + 3.0 * np.arange(120)})
    printed = forecast(capsys, "data.csv", "--rung", "last", "--horizon", "2", "--quantiles", "0.5")
    assert re.search(r"day +y  correction +q0\.5\n", printed)
    first = re.search(r"2024-04-30 +(\S+) +\+(\S+) +(\S+)\n", printed)
    assert float(first[3]) == pytest.approx(float(first[1]) + float(first[2]), abs=0.01)
    assert "The intervals allow for this bias, the forecasts do not" in printed
    write("level.csv", {"day": days(), "y": VALUES})
    assert "correction" not in forecast(capsys, "level.csv", *NEXT)


def test_what_cannot_be_below_zero_is_not(folder, capsys):
    write("data.csv", {"day": days(), "y": np.random.default_rng(1).poisson(0.7, 120)})
    options = ["--rung", "season", "--horizon", "3", "--quantiles", "0.05", "--output", "out.csv"]
    forecast(capsys, "data.csv", *options)
    assert any(float(row["lower"]) < 0 for row in rows("out.csv"))
    forecast(capsys, "data.csv", *options, "--non-negative", "--save", "m.npz")
    for row in rows("out.csv"):
        assert all(float(row[name]) >= 0 for name in ("forecast", "lower", "upper", "q0.05"))
    forecast(capsys, "data.csv", "--model", "m.npz", "--output", "again.csv")
    assert all(float(row["lower"]) >= 0 for row in rows("again.csv"))
    write("below.csv", {"y": VALUES - 20.0})
    assert "--non-negative: expected a series from 0 on, got -" in fails(
        capsys, "below.csv", *NEXT, "--non-negative"
    )


# ---- series that are short, flat or straight


def test_a_short_table_leaves_out_the_rungs_that_need_more(folder, capsys):
    write("data.csv", {"y": VALUES[:40]})
    options = ["--rung", "last", "--rung", "ar", "--rung", "mlp", "--horizon", "1", "--lags", "24"]
    printed = forecast(capsys, "data.csv", *options)
    assert (
        "Left out: too short for AR(24): expected at least 50 values in its training part, got 26 of 32"
        in printed
    )
    assert "Left out: too short for MLP(24): " in printed
    assert "last value, refitted on all 40 rows" in printed
    printed = forecast(capsys, "data.csv", "--rung", "ar")  # the default window is no longer than fits
    assert "AR(8)" in printed
    assert "horizon 2: the longest for so few rows" in printed


def test_too_few_rows_are_told_how_many_are_needed(folder, capsys):
    write("data.csv", {"y": VALUES[:10]})
    assert "data.csv: expected at least 29 values (" in fails(capsys, "data.csv")
    needed = re.search(r"at least (\d+) values .* 12\), got 10", fails(capsys, "data.csv", "--horizon", "12"))
    write("enough.csv", {"y": np.resize(VALUES, int(needed[1]))})
    forecast(capsys, "enough.csv", "--horizon", "12", "--rung", "last")
    write("months.csv", {"month": pandas.date_range("2024-01-01", periods=12, freq="MS"), "y": VALUES[:12]})
    assert "months.csv: expected at least 29 values (" in fails(capsys, "months.csv")


def test_a_flat_start_and_a_flat_column_stop_nothing(folder, capsys):
    rungs = ["--rung", "last", "--rung", "markov", "--rung", "ar", "--horizon", "2"]
    write("start.csv", {"y": np.append(np.zeros(80), VALUES[:40])})
    printed = forecast(capsys, "start.csv", *rungs)
    assert all(name in printed for name in ("last value", "Markov(", "AR(24)"))
    write("flat.csv", {"y": VALUES, "z": 5.0})
    printed = forecast(capsys, "flat.csv", "--column", "y", "--column", "z", *rungs, "--output", "out.csv")
    assert "column 'z' is 5 in all 120 rows: so is its forecast" in printed
    assert {row["forecast"] for row in rows("out.csv") if row["column"] == "z"} == {"5"}
    assert "have width 0" not in printed
    write("big.csv", {"y": 1e9 + 1e-4 * VALUES})
    assert "AR(24)" in forecast(capsys, "big.csv", *rungs)


def test_the_intervals_of_a_straight_line_say_that_they_promise_nothing(folder, capsys):
    write("line.csv", {"y": 0.1 * np.arange(120)})
    printed = forecast(capsys, "line.csv", "--rung", "ar", "--rung", "last", "--horizon", "3")
    assert re.search(r"\* AR\(24\)\S* .* 100%\n", printed)
    assert "The intervals of y have width 0: all errors of the validation part were the same." in printed
