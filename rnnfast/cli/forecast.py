"""`rnnfast forecast`: the ladder of models on a table's series, their scores, and a forecast by the best."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.baselines.series.forecaster import KIND, Forecast, Forecaster
from rnnfast.baselines.series.ladder import (
    Score,
    best_score,
    climb,
    ladder,
    score_table,
    simplest_score,
)
from rnnfast.baselines.series.saving import load_forecaster
from rnnfast.cli.errors import CommandError
from rnnfast.cli.files import check_apart, check_place, check_plot, check_replaced, write_text
from rnnfast.cli.options import positive_integer, seed, share
from rnnfast.cli.series.data import IRREGULAR, MISSING, Data, read_data
from rnnfast.cli.series.plot import draw

__all__ = ["add_options", "run"]

RUNGS = ("last", "season", "markov", "ar", "mlp", "convolution", "linear", "sigmoid", "tanh", "gru", "lstm")
HORIZON, LAGS = 12, 24
TEST = 0.2  # the share of all rows that the scores are measured on
LINES = 24  # of the forecast that are printed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rnnfast forecast`."""
    add = parser.add_argument
    add("data", metavar="FILE", help="a table: .csv, .tsv or .parquet, its first line names the columns")
    add(
        "--column",
        action="append",
        metavar="NAME",
        help="what to forecast; again for more (the only numbers)",
    )
    add(
        "--time",
        metavar="NAME",
        help="dates or numbers; Date,Time: two columns together (the only such; none: the rows' order)",
    )
    _add_reading(parser)
    add("--horizon", type=positive_integer, metavar="N", help=f"steps ahead ({HORIZON}; a model's own)")
    add("--lags", type=positive_integer, metavar="N", help=f"window of AR, MLP and convolution ({LAGS})")
    add("--season", type=positive_integer, metavar="N", help="steps of a season (by the dates, or none)")
    rungs = f"only this model, again for more: {', '.join(RUNGS)} (all)"
    add("--rung", action="append", choices=RUNGS, metavar="NAME", help=rungs)
    add("--level", type=share, default=0.9, metavar="P", help="what the intervals are to hold (0.9)")
    add("--seed", type=seed, default=0, metavar="N", help="of the networks' training (0)")
    add("--missing", choices=MISSING, help=_help("values are missing", MISSING))
    add("--irregular", choices=IRREGULAR, help=_help("steps of time differ", IRREGULAR))
    add("--output", metavar="FILE", help="write the forecast as CSV")
    add("--plot", metavar="FILE", help="draw the forecast")
    add("--save", metavar="FILE", help="keep the model, as .npz")
    add("--model", metavar="FILE", help="forecast by a model that --save kept: nothing is trained")


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say how a table's text is read."""
    add = parser.add_argument
    add("--date-format", metavar="FORMAT", help="of the dates, as %%d.%%m.%%Y (the one that fits all rows)")
    add("--day-first", action="store_true", help="dates like 01/02/2024 have the day first")
    add(
        "--missing-value",
        action="append",
        metavar="V",
        help='a value that means "missing", as -200; again for more (texts like NA)',
    )


def _reading(options: argparse.Namespace, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """How the table is read: by the options, or as that of a kept model was."""
    kept = about or {}
    kept_format, kept_values = kept.get("date_format"), kept.get("missing_values", [])
    if not isinstance(kept_format, str | None) or not isinstance(kept_values, list):
        raise CommandError(f"--model {options.model}: damaged: {kept_format!r}, {kept_values!r}")
    return {
        "date_format": options.date_format,
        "day_first": options.day_first,
        "kept_format": None if options.date_format is not None or options.day_first else kept_format,
        "missing_values": options.missing_value or [str(value) for value in kept_values],
    }


def run(options: argparse.Namespace) -> int:
    """Forecast columns of a table: the ladder of models, the cost and error of each, the best one used."""
    _check_files(options)
    if options.model is None:
        data = read_data(
            options.data,
            options.column,
            options.time,
            options.missing or "error",
            options.irregular or "error",
            **_reading(options),
        )
        _print_data(data)
        forecaster = _trained(data, options)
        horizon = forecaster.horizon
    else:
        forecaster, data = _kept(options)
        _print_data(data)
        horizon = options.horizon or forecaster.horizon
    forecast = _forecast(forecaster, data, horizon, options.level)
    _print_forecast(data, forecast, options.level)
    if options.level > forecaster.bounded:
        print(
            f"\nThe intervals are to hold {options.level:.0%}, but are made of too few errors of the past "
            f"for more than {forecaster.bounded:.0%}."
        )
    if options.output is not None:
        write_text("--output", options.output, _as_csv(data, forecast))
    if options.plot is not None:
        try:
            draw(options.plot, data, forecast, forecaster.name, options.level)
        except OSError as error:
            raise CommandError(f"--plot {options.plot}: {error.strerror or error}") from None
    return 0


def _help(when: str, ways: dict[str, str]) -> str:
    return f"where {when}: " + "; ".join(f"{way}: {what}" for way, what in ways.items())


def _check_files(options: argparse.Namespace) -> None:
    given = {f"--{name}": getattr(options, name) for name in ("model", "save", "output", "plot")}
    check_apart({"the data": options.data} | given)
    if options.output is not None:
        check_place("--output", options.output)
    if options.save is not None:
        check_place("--save", options.save)
        check_replaced("--save", options.save, KIND)
    if options.plot is not None:
        check_plot(options.plot, "forecast")
    if options.model is not None:
        for name in ("lags", "season", "rung", "save"):
            if getattr(options, name) is not None:
                raise CommandError(f"--{name}: is of training, and --model {options.model} is trained")


# ---- training


def _trained(data: Data, options: argparse.Namespace) -> Forecaster:
    """Climb the ladder, show it, and fit the best rung on all rows."""
    horizon = options.horizon or HORIZON
    series = data.values[:, 0] if len(data.names) == 1 else data.values
    for name, column in zip(data.names, data.values.T, strict=True):
        if (column == column[0]).all():
            raise CommandError(f"{data.path}: column {name!r} is {column[0]:g} in all {len(column)} rows")
    scores: list[Score] = []
    for forecaster in _rungs(data, options):
        _show_progress(forecaster.name)
        try:
            how = {"horizon": horizon, "test": TEST, "level": options.level, "rng": options.seed}
            observed = data.observed.reshape(series.shape)
            scores += climb(series, [forecaster], observed=observed, **how)
        except ValueError as error:
            raise CommandError(_too_much(data, str(error))) from None
        except FloatingPointError as error:
            print(f"{forecaster.name} left out: {error}", file=sys.stderr)
        finally:
            _show_progress("")
    if not scores:
        raise CommandError(f"{data.path}: no model could be trained")
    _print_scores(data, scores, horizon, options.level)

    chosen = best_score(scores).forecaster.unfitted()
    _show_progress(f"{chosen.name}, on all rows")
    try:
        chosen.fit(series, horizon=horizon, rng=options.seed)
    except FloatingPointError as error:
        raise CommandError(f"{chosen.name}: {error}") from None
    finally:
        _show_progress("")
    print(f"\n{chosen.name}, fitted once more on all {len(data.values):,} rows, goes on:\n")
    if options.save is not None:
        about = {"columns": data.names, "time": data.clock.name, "step": data.clock.step_text()}
        about |= {"missing": options.missing or "error", "irregular": options.irregular or "error"}
        read: dict[str, Any] = {"date_format": data.clock.reading or None}
        about |= read | {"missing_values": options.missing_value or []}
        try:
            chosen.save(options.save, about)
        except OSError as error:
            raise CommandError(f"--save {options.save}: {error.strerror or error}") from None
    return chosen


def _rungs(data: Data, options: argparse.Namespace) -> list[Forecaster]:
    """The rungs asked for, or all for which there are packages and a season."""
    season = options.season
    if season is None:
        suggested = data.clock.season()
        fits = suggested is not None and suggested <= len(data.values) // 4
        season = suggested if fits else None
    rungs = ladder(options.lags or LAGS, season)
    if options.rung is None:
        absent = [name for name, rung in rungs.items() if rung.needs and not _is_there(rung.needs)]
        if absent:
            print(f'            without {", ".join(absent)}: pip install "rnnfast[forecast]" brings them')
        return [rung for name, rung in rungs.items() if name not in absent]
    if "season" in options.rung and season is None:
        raise CommandError(
            f"--rung season: needs --season, as steps of {data.clock.step_text()} suggest none"
        )
    for name in options.rung:
        needs = rungs[name].needs
        if needs and not _is_there(needs):
            root = needs.partition(".")[0]
            raise CommandError(f'--rung {name}: needs {root}: pip install "rnnfast[forecast]"')
    return [rung for name, rung in rungs.items() if name in options.rung]


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def _too_much(data: Data, message: str) -> str:
    """A ValueError of the ladder as an error of the command."""
    if message.startswith("horizon: "):
        return f"--{message}"
    hint = (
        "; fewer --lags, a shorter --season or another --rung may do" if "too short for " in message else ""
    )
    return f"{data.path}: {message.removeprefix('series: ')}{hint}"


# ---- a model that was kept


def _kept(options: argparse.Namespace) -> tuple[Forecaster, Data]:
    """The model of --model, and the series of the file that it is to forecast."""
    try:
        forecaster, about = load_forecaster(options.model)
        names, time, step = about["columns"], about["time"], about["step"]
        missing, irregular = about["missing"], about["irregular"]
        if missing not in MISSING or irregular not in IRREGULAR:
            raise ValueError(f"{options.model}: damaged: {missing!r}, {irregular!r}")
        texts = isinstance(names, list) and all(isinstance(text, str) for text in [*names, time, step])
        if not texts or len(names) != forecaster.series:
            raise ValueError(f"{options.model}: damaged: columns {names!r}, time {time!r}, step {step!r}")
    except OSError as error:
        raise CommandError(f"--model {options.model}: {error.strerror or error}") from None
    except (KeyError, TypeError) as error:
        raise CommandError(
            f"--model {options.model}: damaged, or not of `rnnfast forecast`: {error}"
        ) from None
    except ValueError as error:
        raise CommandError(f"--model {error}") from None
    columns = options.column or names
    if len(columns) != len(names):
        raise CommandError(
            f"--column: the model forecasts {len(names)} ({', '.join(names)}), not {len(columns)}"
        )
    by = None if time == "row" else time
    data = read_data(
        options.data,
        columns,
        options.time or by,
        options.missing or missing,
        options.irregular or irregular,
        step=step,
        note=f"; the model was trained on {', '.join(names)}" + (f" by {by}" if by else ""),
        **_reading(options, about),
    )
    if data.clock.step_text() != step:
        raise CommandError(
            f"{data.path}: has steps of {data.clock.step_text()}, the model was trained on steps of {step}"
        )
    if options.horizon is not None and options.horizon > forecaster.horizon:
        raise CommandError(f"--horizon {options.horizon}: the model was trained for {forecaster.horizon}")
    if len(data.values) < forecaster.memory:
        raise CommandError(
            f"{data.path}: too short: {forecaster.name} reads {forecaster.memory} values, there are "
            f"{len(data.values)}"
        )
    return forecaster, data


# ---- what is printed


def _print_data(data: Data) -> None:
    labels = data.clock.labels(np.array([0, len(data.values) - 1]))
    print(f"data        {data.path}: {', '.join(data.names)}")
    print(
        f"            {len(data.values):,} rows, {data.clock.name} {labels[0]} to {labels[1]} in steps of "
        f"{data.clock.step_text()}"
    )
    for note in data.notes:
        print(f"            {note}")


def _print_scores(data: Data, scores: list[Score], horizon: int, level: float) -> None:
    test = round(TEST * len(data.values))
    unit = "of the column" if len(data.names) == 1 else "of each column's standard deviation"
    steps = "step" if horizon == 1 else "steps"
    print(f"            the last {test:,} are the test: {horizon} {steps} ahead from row after row of them")
    print(f"\n{score_table(scores)}\n")
    print(f"Errors are root mean squares in the unit {unit}; {level:.0%} were to be covered.")
    fewest = simplest_score(scores).forecaster.name
    print(f"* has the lowest over all steps; the fewest parameters within 5% of it: {fewest}")


def _print_forecast(data: Data, forecast: Forecast, level: float) -> None:
    labels = data.clock.after(len(forecast.mean)).labels()
    width = max(len(label) for label in [*labels, data.clock.name])
    for s, name in enumerate(data.names):
        print(f"{data.clock.name:>{width}}  {name:>14}    {level:.0%} interval")
        digits = _digits(data.values[:, s])
        for label, *row in list(zip(labels, *(part[:, s] for part in forecast), strict=True))[:LINES]:
            mean, lower, upper = (f"{value:.{digits}g}" for value in row)
            print(f"{label:>{width}}  {mean:>14}    {lower} to {upper}")
        if len(labels) > LINES:
            print(f"{'…':>{width}}  {len(labels) - LINES} more: --output FILE has them all")


def _digits(column: NDArray[np.float64]) -> int:
    """So many that a thousandth of the column's range shows, and at least 6."""
    size, spread = np.abs(column).max(), np.ptp(column)
    return max(6, min(15, 4 + int(np.ceil(np.log10(size / spread))))) if spread > 0.0 else 6


def _show_progress(text: str) -> None:
    """What is being trained, on a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text and f'training {text} …'}")
        sys.stderr.flush()


# ---- the forecast


def _forecast(forecaster: Forecaster, data: Data, horizon: int, level: float) -> Forecast:
    """mean, lower and upper, [horizon, S]."""
    S = len(data.names)
    series: Any = data.values[:, 0] if forecaster.flat else data.values
    forecast = forecaster.predict(series, horizon, level=level)
    return Forecast(*(part.reshape(horizon, S) for part in forecast))


def _as_csv(data: Data, forecast: Forecast) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([data.clock.name, "column", "forecast", "lower", "upper"])
    labels = data.clock.after(len(forecast.mean)).labels()
    for s, name in enumerate(data.names):
        for label, *row in zip(labels, *(part[:, s] for part in forecast), strict=True):
            writer.writerow([label, name, *(f"{value:.10g}" for value in row)])
    return text.getvalue()
