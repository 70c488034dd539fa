"""`rnnfast forecast`: tables of all kinds, scores, kept models, and one clear line for every mistake."""

from __future__ import annotations

import re
import signal
import sys

import numpy as np
import pytest
from helpers.tables import days, fails, forecast, pandas, rows, write

from rnnfast.cli.main import main
from rnnfast.series import Markov, network
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

NAIVE = ["--rung", "last", "--rung", "markov", "--horizon", "3"]
rng = np.random.default_rng(0)
VALUES = np.sin(0.5 * np.arange(120)) + 0.1 * rng.standard_normal(120)


# ---- what it does


def test_a_table_gives_scores_a_forecast_and_files(folder, capsys):
    write("data.csv", {"day": days(), "y": VALUES, "place": "here"})
    printed = forecast(
        capsys, "data.csv", *NAIVE, "--rung", "ar", "--lags", "4", "--output", "out.csv", "--save", "m.npz"
    )
    assert "120 rows, day 2024-01-01 to 2024-04-29 in steps of 1 day" in printed
    assert re.search(r"last value +0 +0\.\d\d +\S+ +\S+ +\d+%", printed)
    assert re.search(r"\* AR\(4\) +5 ", printed)
    assert "AR(4), refitted on all 120 rows, forecasts:" in printed
    table = rows("out.csv")
    assert [row["day"] for row in table] == ["2024-04-30", "2024-05-01", "2024-05-02"]
    for row in table:
        assert float(row["lower"]) < float(row["forecast"]) < float(row["upper"])
        assert f"{float(row['forecast']):.6g}" in printed
    expected = np.sin(0.5 * np.arange(120, 123))
    assert np.abs(expected - [float(row["forecast"]) for row in table]).max() < 0.3


@pytest.mark.parametrize(
    "rung", ["last", "season", "markov", "ar", "mlp", "convolution", "linear", "gru", "lstm"]
)
def test_a_kept_model_forecasts_the_same_without_training(folder, capsys, monkeypatch, rung):
    write("data.csv", {"day": days(), "y": VALUES})
    options = ["--rung", rung, "--lags", "6", "--horizon", "3", "--difference", "none"]
    forecast(capsys, "data.csv", *options, "--save", "m.npz", "--output", "first.csv")
    monkeypatch.setattr(network, "fit", None)  # what would be needed to train
    forecast(capsys, "data.csv", "--model", "m.npz", "--output", "again.csv")
    assert rows("again.csv") == rows("first.csv")
    write("later.csv", {"day": days(125), "y": np.append(VALUES, np.ones(5))})
    forecast(capsys, "later.csv", "--model", "m.npz", "--horizon", "2", "--output", "later_out.csv")
    assert [row["day"] for row in rows("later_out.csv")] == ["2024-05-05", "2024-05-06"]


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.tsv", "data.parquet", "semicolons.csv"])
def test_kinds_of_files(folder, capsys, name):
    how = {"sep": {"data.tsv": "\t", "semicolons.csv": ";"}.get(name, ",")} if "parquet" not in name else {}
    write(name, {"day": days(), "y": VALUES}, **how)
    write("plain.csv", {"day": days(), "y": VALUES})
    printed = [forecast(capsys, file, *NAIVE).split("\n", 1)[1] for file in (name, "plain.csv")]
    assert re.sub(r"0\.\d\d ", "", printed[0]) == re.sub(r"0\.\d\d ", "", printed[1])


@pytest.mark.parametrize(
    ("head", "row", "how"),
    [
        ('"t","y"', '"{}","{:.3f}"', {}),
        ('"t","y"', '"{}","{:.3f}"', {"encoding": "utf-8-sig", "newline": "\r\n"}),
        ("t, y", "{}, {:.3f}", {}),
        ("t;y", "{};{:.3f}", {}),
        ('"t";"y"', '"{}";"{:.3f}"', {"decimal": ","}),
        ('t;y;"level, m"', "{};{:.3f};", {"decimal": ","}),
    ],
)
def test_dialects_of_csv(folder, capsys, head, row, how):
    decimal = how.pop("decimal", ".")
    lines = [row.format(t, value).replace(".", decimal) for t, value in enumerate(VALUES)]
    (folder / "data.csv").write_text("\n".join([head, *lines, ""]), **how)
    column = ["--column", "y"]
    printed = forecast(capsys, "data.csv", *column, "--rung", "last", "--horizon", "1", "--output", "out.csv")
    assert "120 rows, t 0 to 119 in steps of 1" in printed
    assert float(rows("out.csv")[0]["forecast"]) == pytest.approx(VALUES[-1], abs=1e-3)


def test_iso_weeks_and_periods_are_dates(folder, capsys):
    weeks = pandas.date_range("2019-12-30", periods=120, freq="W-MON")
    write("data.csv", {"week": weeks.strftime("%G-W%V"), "y": VALUES})
    printed = forecast(capsys, "data.csv", *NAIVE)
    assert "120 rows, week 2019-12-30 to 2022-04-11 in steps of 7 days" in printed
    write("data.parquet", {"at": pandas.period_range("2000-01", periods=120, freq="M"), "y": VALUES})
    printed = forecast(capsys, "data.parquet", *NAIVE)
    assert "120 rows, at 2000-01-01 to 2009-12-01 in steps of 1 month" in printed


@pytest.mark.parametrize("name", [None, "when"])
def test_the_index_of_a_parquet_file_is_its_time(folder, capsys, name):
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"y": VALUES}, index=days().rename(name)).to_parquet("data.parquet")
    printed = forecast(capsys, "data.parquet", *NAIVE)
    assert f"120 rows, {name or 'time'} 2024-01-01 to 2024-04-29 in steps of 1 day" in printed


def test_several_columns(folder, capsys):
    write("data.csv", {"y": VALUES, "z": 100 - 5 * VALUES, "day": days()})
    forecast(capsys, "data.csv", "--column", "z", "--column", "y", "--rung", "last", "--output", "out.csv")
    table = rows("out.csv")
    assert [row["column"] for row in table] == ["z"] * 12 + ["y"] * 12
    assert float(table[0]["forecast"]) == pytest.approx(100 - 5 * VALUES[-1])
    assert float(table[12]["forecast"]) == pytest.approx(VALUES[-1])


def test_a_plot(folder, capsys):
    pytest.importorskip("matplotlib")
    write("data.csv", {"day": days(), "y": VALUES, "z": VALUES})
    forecast(capsys, "data.csv", "--column", "y", "--column", "z", *NAIVE, "--plot", "plot.png")
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("times", "step", "season", "after"),
    [
        (pandas.date_range("2024-01-01", periods=120, freq="h"), "1 hour", 24, "2024-01-06T00:00"),
        (
            pandas.date_range("2024-01-01", periods=120, freq="30min", tz="UTC"),
            "30 minutes",
            None,
            "2024-01-03T12:00+00:00",
        ),
        (pandas.date_range("2000-01-31", periods=120, freq="ME"), "1 month", 12, "2010-01-31"),
        (pandas.date_range("2000-02-01", periods=120, freq="QS"), "3 months", 4, "2030-04-01"),
        (pandas.date_range("1900-06-15", periods=120, freq="YS"), "1 year", None, "2021-01-01"),
        (days(), "1 day", 7, "2024-04-30"),
        (np.arange(1900, 2020), "1", None, "2020"),
        (0.1 * np.arange(120), "0.1", None, "12"),
    ],
)
def test_steps_seasons_and_the_times_that_follow(folder, capsys, times, step, season, after):
    write("data.csv", {"time": times, "y": VALUES})
    printed = forecast(capsys, "data.csv", "--rung", "last", "--horizon", "3", "--output", "out.csv")
    assert f"in steps of {step}\n" in printed
    assert rows("out.csv")[0]["time"] == after
    forecast(capsys, "data.csv", "--rung", "last", "--horizon", "1", "--output", "out.csv")
    assert rows("out.csv")[0]["time"] == after
    if season is None:
        assert "needs --season" in fails(capsys, "data.csv", "--rung", "season", "--horizon", "3")
    else:
        printed = forecast(capsys, "data.csv", "--rung", "season", "--horizon", "3")
        assert f"last season({season})" in printed


def test_without_a_time_rows_are_counted(folder, capsys):
    write("data.csv", {"y": VALUES})
    forecast(capsys, "data.csv", *NAIVE, "--output", "out.csv")
    assert [row["row"] for row in rows("out.csv")] == ["121", "122", "123"]


# ---- rows that are missing or irregular


def last_forecast(capsys, *arguments):
    forecast(capsys, *arguments, "--rung", "last", "--horizon", "1", "--output", "out.csv")
    (row,) = rows("out.csv")
    return float(row["forecast"])


def test_missing_values_are_treated_as_asked(folder, capsys):
    values = VALUES.copy()
    values[[0, 50, 51, 119]] = np.nan
    write("data.csv", {"day": days(), "y": values})
    error = fails(capsys, "data.csv", *NAIVE)
    assert "4 missing values, the first in column 'y', line 2; --missing drop (" in error
    assert last_forecast(capsys, "data.csv", "--missing", "drop") == pytest.approx(VALUES[118])
    assert last_forecast(capsys, "data.csv", "--missing", "previous") == pytest.approx(VALUES[118])
    for how, (rows_left, filled) in {"previous": (119, 3), "interpolate": (118, 2), "drop": (116, 4)}.items():
        printed = forecast(capsys, "data.csv", "--missing", how, *NAIVE)
        assert f"{rows_left} rows" in printed
        assert f"{filled} {'rows with missing' if how == 'drop' else 'missing'} values" in printed


def test_values_that_were_filled_in_are_not_scored(folder, capsys):
    values = np.random.default_rng(0).standard_normal(400)
    values[1::2] = np.nan
    write("data.csv", {"y": values})
    printed = forecast(capsys, "data.csv", "--missing", "previous", "--rung", "last", "--horizon", "1")
    error = float(re.search(r"last value +0 +0\.\d\d +(\S+)", printed)[1])
    kept = values[::2]
    assert error == pytest.approx(np.sqrt(np.mean(np.diff(kept[159:]) ** 2)), rel=1e-3)


def test_interpolation_is_a_straight_line(folder, capsys):
    values = np.append(VALUES, [3.0, np.nan, np.nan, 6.0])
    write("data.csv", {"y": values})
    season = ["--rung", "season", "--season", "3", "--horizon", "3"]
    forecast(capsys, "data.csv", "--missing", "interpolate", *season, "--output", "out.csv")
    assert [float(row["forecast"]) for row in rows("out.csv")] == pytest.approx([4.0, 5.0, 6.0])


def test_irregular_steps_are_treated_as_asked(folder, capsys):
    kept = np.delete(np.arange(120), [60, 61])
    write("data.csv", {"day": days()[kept], "y": VALUES[kept]})
    error = fails(capsys, "data.csv", *NAIVE)
    assert "1 of 117 steps of day are not 1 day, the first from 2024-02-29 to 2024-03-03 (line 62)" in error
    assert "118 rows" in forecast(capsys, "data.csv", *NAIVE, "--irregular", "ignore")
    error = fails(capsys, "data.csv", *NAIVE, "--irregular", "resample")
    assert "2 missing values, the first in column 'y', day 2024-03-01" in error
    printed = forecast(capsys, "data.csv", *NAIVE, "--irregular", "resample", "--missing", "interpolate")
    assert "120 rows" in printed
    assert (
        "2 missing values filled (interpolate), and not scored, which uses values that came later" in printed
    )


def test_rows_of_one_step_become_their_mean_and_disorder_is_put_right(folder, capsys):
    order = np.random.default_rng(0).permutation(121)
    times, values = np.append(np.arange(120), 119), np.append(VALUES, VALUES[119] + 1.0)
    write("data.csv", {"time": times[order], "y": values[order]})
    assert "1 of 120 steps" in fails(capsys, "data.csv", *NAIVE)
    assert last_forecast(capsys, "data.csv", "--irregular", "resample") == pytest.approx(VALUES[119] + 0.5)
    assert "rows put in the order of time" in forecast(capsys, "data.csv", *NAIVE, "--irregular", "resample")


# ---- mistakes


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, [], "data.csv: No such file"),
        ("", [], "data.csv: no readable table: "),
        ("a,b\n", [], "data.csv: expected rows, got none"),
        ("a,b\n1,2\n1,2,3,4\n", [], "data.csv, line 3: expected 2 values, as the first line has, got 4; put"),
        ("t,y\n0,1,23\n1,1,24\n", [], "data.csv, line 2: expected 2 values, as the first line has, got 3"),
        ("t,y\n0,1\n1e-9,2\n2e-9,3\n1e12,4\n", ["--irregular", "resample"], "would make 1e+21 rows of 4"),
        ("t,y\n0,1\n1e300,2\n2e300,3\n3e301,4\n", [], "1 of 3 steps of t are not 1e+300"),
        ("y\n" + "1e200\n-1e200\n" * 50, ["--rung", "last"], "data.csv: expected finite numbers of at"),
        ("y\n" + "1e308\n-1e308\n" * 50, ["--rung", "last"], "data.csv: expected finite numbers of at"),
        ("a;b\n1;1.234,5\n2;3.5\n", ["--column", "b"], "column 'b': expected a finite number, got '1.234,5'"),
        ("t x, y\n1,2\n", ["--column", "x"], "--column x: data.csv has the columns 't x', y"),
        ("1,2\n3,4\n", [], "expected a first line that names the columns, got 1, 2"),
        ("a,b\n1,x\n2,y\n", ["--column", "c"], "--column c: data.csv has the columns a, b"),
        ("a,b\n1,x\n2,y\n", ["--time", "c"], "--time c: data.csv has the columns a, b"),
        ("a,b\n1,x\n2,y\n", ["--column", "a", "--time", "a"], "--column a: is the --time"),
        ("a,b\n1,x\n2,y\n", ["--column", "a", "--column", "a"], "--column: expected each column once"),
        ("a,b\n1,2\n2,3\n", [], "several columns of numbers: a, b; choose with --column"),
        ("a,b\nx,z\ny,z\n", [], "no column of numbers among a, b"),
        ("year,date,y\n1,2,3\n", [], "several columns may be the time: year, date; choose with --time"),
        ("a\n1\n2\n\n3x\n4\n", [], "data.csv, line 5, column 'a': expected a finite number, got '3x'"),
        ("a\n1\n2\ninf\n4\n", [], "data.csv, line 4, column 'a': expected a finite number, got 'inf'"),
        ("a,b\n1,2\n", ["--column", "b", "--time", "a"], "data.csv: column 'b' is 2 in all 1 rows"),
        ("date,y\n2024-01-31,1\n2024-02-31,2\n", [], "line 3, column 'date': expected a date or a number"),
        ("date,y\n2024-01-31,1\n,2\n", [], "line 3, column 'date': expected a time, got none"),
        ("y,z\n1,\n2,\n", ["--column", "z", "--missing", "drop"], "data.csv: column 'z' has no value"),
        (
            "y,z\n1,\n,2\n",
            ["--column", "y", "--column", "z", "--missing", "interpolate"],
            "no row at which all of y, z have begun and none has ended",
        ),
        (
            "time,y\n0,1\n1,2\n2,3\n1000000,4\n",
            ["--irregular", "resample"],
            "steps of 1 from 0 to 1000000 would make 1,000,001 rows of 4",
        ),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_explained(folder, capsys, content, arguments, words):
    if content is not None:
        (folder / "data.csv").write_text(content)
    assert words in fails(capsys, "data.csv", *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--horizon", "40"], "--horizon: expected at most 15 for a series of 120 values, got 40"),
        (
            ["--lags", "70", "--rung", "convolution", "--horizon", "3"],
            "data.csv: too short for convolution(70): ",
        ),
        (["--season", "90", "--rung", "season", "--horizon", "3"], "too short for last season(90): "),
        (["--save", "other.csv"], "--save other.csv: exists, is no checkpoint"),
        (["--save", "absent/m.npz"], "--save absent/m.npz: its folder does not exist"),
        (["--output", "."], "--output .: is a folder"),
        (["--model", "absent.npz"], "--model absent.npz: No such file"),
        (["--model", "other.csv"], "--model other.csv: no readable rnnfast checkpoint"),
        (["--model", "m.npz", "--lags", "3"], "--lags: not with --model m.npz, which is trained already"),
    ],
)
def test_options_that_cannot_be_are_explained(folder, capsys, arguments, words):
    write("data.csv", {"day": days(), "y": VALUES})
    write("other.csv", {"y": VALUES})
    assert words in fails(capsys, "data.csv", *arguments)


def test_a_month_twice_is_still_a_month(folder, capsys):
    months = list(pandas.date_range("2000-01-01", periods=120, freq="MS"))
    write("data.csv", {"month": [*months[:50], *months[49:]], "y": [*VALUES[:50], *VALUES[49:]]})
    error = fails(capsys, "data.csv", *NAIVE)
    assert (
        "1 of 120 steps (1 of them none: 2004-02-01 is there twice, line 52) of month are not 1 month"
        in error
    )
    printed = forecast(capsys, "data.csv", *NAIVE, "--irregular", "resample")
    assert "120 rows, month 2000-01-01 to 2009-12-01 in steps of 1 month" in printed


@pytest.mark.parametrize(
    ("freq", "rows"), [("MS", 1), ("MS", 2), ("QS", 1), ("ME", 2), ("YS", 1), ("YS", 2), ("D", 1), ("h", 1)]
)
def test_a_short_history_has_the_step_of_the_model(folder, capsys, freq, rows):
    times = pandas.date_range("2000-01-31", periods=120, freq=freq)
    write("data.csv", {"time": times, "y": VALUES})
    forecast(capsys, "data.csv", "--rung", "last", "--horizon", "1", "--save", "m.npz")
    write("short.csv", {"time": times[-rows:], "y": VALUES[-rows:]})
    for file in ("data.csv", "short.csv"):
        forecast(capsys, file, "--model", "m.npz", "--output", f"of_{file}")
    assert (folder / "of_data.csv").read_text() == (folder / "of_short.csv").read_text()


def test_a_small_range_at_a_high_level_is_printed_with_enough_digits(folder, capsys):
    write("data.csv", {"y": 1e9 + VALUES})
    printed = forecast(capsys, "data.csv", "--rung", "last", "--horizon", "1")
    (mean,) = re.findall(r"^ *121 +(\S+) ", printed, re.MULTILINE)
    assert float(mean) == pytest.approx(1e9 + VALUES[-1], rel=0, abs=1e-3)


def test_intervals_of_a_short_series_say_what_they_hold(folder, capsys):
    write("data.csv", {"y": VALUES[:40]})
    printed = forecast(capsys, "data.csv", "--rung", "last", "--horizon", "1")
    assert "are to hold 90%, but are made of too few errors of the past for more than 78%." in printed
    assert "too few" not in forecast(capsys, "data.csv", "--rung", "last", "--horizon", "1", "--level", "0.7")
    assert "too few" not in forecast(
        capsys, "data.csv", "--rung", "markov", "--horizon", "1", "--difference", "none"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output", "data.csv"], "--output data.csv: is the same file as the data"),
        (["--output", "link.csv"], "--output link.csv: is the same file as the data"),
        (["--model", "m.npz", "--output", "./m.npz"], "--output ./m.npz: is the same file as --model"),
        (["--save", "n.npz", "--output", "n.npz"], "--output n.npz: is the same file as --save"),
        (["--output", "a.png", "--plot", "a.png"], "--plot a.png: is the same file as --output"),
        (["--save", "text.npz"], "--save text.npz: exists, and is a checkpoint, but not of a forecaster"),
    ],
)
def test_no_file_is_written_over_another(folder, capsys, arguments, words):
    write("data.csv", {"day": days(), "y": VALUES})
    (folder / "link.csv").symlink_to("data.csv")
    forecast(capsys, "data.csv", *NAIVE, "--save", "m.npz")
    write_checkpoint("text.npz", {"a": np.zeros(2)}, {"kind": "language"})
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert words in fails(capsys, "data.csv", *arguments)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    forecast(capsys, "data.csv", *NAIVE, "--save", "m.npz")  # a forecaster is replaced


def test_a_folder_that_cannot_be_written_to_is_found_first(folder, capsys, monkeypatch):
    def refuse(**how):
        raise PermissionError(13, "Permission denied")

    write("data.csv", {"day": days(), "y": VALUES})
    monkeypatch.setattr("rnnfast.cli.files.TemporaryFile", refuse)
    monkeypatch.setattr("rnnfast.cli.forecast.read_data", None)
    assert "--save m.npz: its folder: Permission denied" in fails(capsys, "data.csv", "--save", "m.npz")


def test_a_model_and_a_table_that_do_not_fit(folder, capsys):
    write("data.csv", {"day": days(), "y": VALUES})
    forecast(capsys, "data.csv", "--rung", "season", "--horizon", "3", "--save", "m.npz")
    write("hours.csv", {"day": pandas.date_range("2024-01-01", periods=120, freq="h"), "y": VALUES})
    write("short.csv", {"day": days(6), "y": VALUES[:6]})
    write("other.csv", {"day": days(), "z": VALUES})
    for file, arguments, words in (
        ("hours.csv", [], "hours.csv: has steps of 1 hour, the model was trained on steps of 1 day"),
        ("short.csv", [], "short.csv: too short: last season(7) reads 7 values, there are 6"),
        ("other.csv", [], "--column y: other.csv has the columns day, z; the model was trained on y by day"),
        ("data.csv", ["--horizon", "4"], "--horizon 4: the model was trained for 3"),
        ("data.csv", ["--column", "y", "--column", "y"], "--column: the model forecasts 1 (y), not 2"),
    ):
        assert words in fails(capsys, file, "--model", "m.npz", *arguments)
    assert forecast(capsys, "other.csv", "--model", "m.npz", "--column", "z")
    arrays, metadata = read_checkpoint("m.npz")
    for change in (
        {"columns": 3},
        {"columns": []},
        {"columns": ["y", "day"]},
        {"time": ["day"]},
        {"step": None},
    ):
        write_checkpoint("m.npz", arrays, {**metadata, **change})
        assert "--model m.npz: damaged: columns " in fails(capsys, "data.csv", "--model", "m.npz")


def test_files_that_are_no_tables(folder, capsys):
    (folder / "data.parquet").write_bytes(b"PAR1 or not")
    (folder / "data.csv").write_bytes(bytes(range(256)))
    if pytest.importorskip("pyarrow"):
        assert "data.parquet: no readable table: " in fails(capsys, "data.parquet")
    assert "data.csv: no readable table: " in fails(capsys, "data.csv")
    assert "data.xlsx: expected a file .csv, .tsv or .parquet" in fails(capsys, "data.xlsx")


def test_without_pandas_the_extra_is_named(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert 'rnnfast forecast needs pandas: pip install "rnnfast[forecast]"' in fails(capsys, "data.csv")


def test_a_rung_whose_training_fails_is_left_out(folder, capsys, monkeypatch):
    def fail(*arguments):
        raise FloatingPointError("loss: expected a finite number, got nan")

    write("data.csv", {"day": days(), "y": VALUES})
    monkeypatch.setattr(Markov, "_learn", fail)
    assert main(["forecast", "data.csv", *NAIVE]) == 0
    printed, said = capsys.readouterr()
    assert "Markov(10) left out: loss: expected a finite number" in said
    assert "* last value" in printed
    assert main(["forecast", "data.csv", "--rung", "markov", "--horizon", "3"]) == 2
    assert "data.csv: no model could be trained" in capsys.readouterr().err


def test_ctrl_c_ends_the_ladder_and_writes_nothing(folder, capsys, monkeypatch):
    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return mse(*arguments)

    mse = network.mse
    monkeypatch.setattr(network, "mse", interrupted)
    write("data.csv", {"day": days(), "y": VALUES})
    arguments = ["data.csv", "--rung", "gru", "--horizon", "3", "--save", "m.npz", "--output", "out.csv"]
    before = set(folder.iterdir())
    assert main(["forecast", *arguments]) == 130
    assert set(folder.iterdir()) == before
