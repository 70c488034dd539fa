"""`rnnfast forecast`: the ladder of models on a table's series, their scores, and a forecast by the best."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast.cli.errors import CommandError
from rnnfast.cli.files import check_apart, check_place, check_plot, check_replaced, write_text
from rnnfast.cli.forecast_output import (
    Forecasts,
    as_csv,
    print_data,
    print_doubts,
    print_flat,
    print_forecast,
    print_scores,
)
from rnnfast.cli.options import positive_integer, seed, share, shares
from rnnfast.series.forecaster import KIND, Forecaster
from rnnfast.series.intervals import Forecast
from rnnfast.series.ladder import (
    Score,
    backtest,
    best_score,
    default_lags,
    ladder,
    longest_horizon,
)
from rnnfast.series.learner import TooShort
from rnnfast.series.plot import draw_forecast
from rnnfast.series.saving import load_forecaster
from rnnfast.series.tables.data import Data, read_data
from rnnfast.series.tables.errors import Argument, MissingColumn, StepError, TableError
from rnnfast.series.tables.rows import IRREGULAR, MISSING

__all__ = ["add_options", "run", "writes_files"]

RUNGS = ("last", "season", "markov", "ar", "mlp", "convolution", "linear", "sigmoid", "tanh", "gru", "lstm")
DIFFERENCES = {  # the choices of --difference, and the differences that models learn from
    "auto": "the one of the lowest validation error",
    "none": "the values themselves",
    "trend": "steps from row to row",
    "season": "steps from season to season",
}
HORIZON = 12
OF_TRAINING = ("lags", "season", "difference", "rung", "series", "covariates", "non_negative", "save")


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
    lags = "window of AR, MLP and convolution (a season and 8 more, at least 24)"
    add("--lags", type=positive_integer, metavar="N", help=lags)
    add("--season", type=positive_integer, metavar="N", help="steps of a season (by the dates, or none)")
    what = "; ".join(f"{name}: {text}" for name, text in DIFFERENCES.items())
    add("--difference", choices=DIFFERENCES, help=f"what models learn from (auto): {what}")
    add("--series", metavar="NAME", help="the column that says which series each row of a long table is of")
    add("--only", action="append", metavar="NAME", help="only this series of --series, again for more (all)")
    known = "columns known in advance; rows without a value to forecast are the future"
    add("--covariates", action="extend", type=_names, metavar="NAME,…", help=known)
    add("--non-negative", action="store_true", default=None, help="forecasts and intervals end at 0")
    rungs = f"only this model, again for more: {', '.join(RUNGS)} (all)"
    add("--rung", action="append", choices=RUNGS, metavar="NAME", help=rungs)
    add("--level", type=share, default=0.9, metavar="P", help="what the intervals are to hold (0.9)")
    add("--quantiles", type=shares, metavar="P,…", help="quantiles to print and write, as 0.1,0.5,0.9")
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
    missing = 'a value that means "missing", as -200; again for more (texts like NA)'
    add("--missing-value", action="append", metavar="V", help=missing)


def writes_files(options: argparse.Namespace) -> bool:
    """Whether the command writes files beside what it prints."""
    return any(file is not None for file in (options.output, options.plot, options.save))


def run(options: argparse.Namespace) -> int:
    """Forecast columns of a table: compare the ladder of models, and forecast with the best."""
    _check_files(options)
    if options.model is None:
        data = _read(options)
        print_data(data)
        forecaster = _trained(data, options)
    else:
        forecaster, data = _kept(options)
        print_data(data)
    data, forecasts = _forecast(forecaster, data, options)
    print_forecast(data, forecasts, options.level)
    print_doubts(data, forecasts, forecaster.bounded, options.level)
    if options.output is not None:
        write_text("--output", options.output, as_csv(data, forecasts))
    if options.plot is not None:
        try:
            draw_forecast(options.plot, data, forecasts.interval, name=forecaster.label, level=options.level)
        except OSError as error:
            raise CommandError(f"--plot {options.plot}: {error.strerror or error}") from None
    return 0


def _names(text: str) -> list[str]:
    return text.split(",")


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
        for name in OF_TRAINING:
            if getattr(options, name) is not None:
                option = name.replace("_", "-")
                raise CommandError(f"--{option}: not with --model {options.model}, which is trained already")


# ---- the table


def _data(path: str, note: str = "", **how: Any) -> Data:
    """The series of a file. Errors name options; an error about a missing column ends with `note`."""
    try:
        return read_data(path, **how)
    except MissingColumn as error:
        raise CommandError(_in_options(error) + note) from None
    except StepError as error:
        raise CommandError(
            f"{path}: has steps of {error.found}, the model was trained on steps of {error.expected}"
        ) from None
    except TableError as error:
        raise CommandError(_in_options(error)) from None
    except ImportError as error:
        raise CommandError(str(error).replace("rnnfast.series", "rnnfast forecast")) from None
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None


def _in_options(error: TableError) -> str:
    """An error of the library, which then names this command's options instead of arguments."""
    return "".join(_option(part) if isinstance(part, Argument) else part for part in error.args)


def _option(argument: Argument) -> str:
    option = "--column" if argument.name == "columns" else f"--{argument.name.replace('_', '-')}"
    if argument.value is None:
        return option
    return f"{option} '{argument.value}'" if argument.name == "date_format" else f"{option} {argument.value}"


# ---- training


def _read(options: argparse.Namespace) -> Data:
    return _data(
        options.data,
        columns=options.column,
        time=options.time,
        series=options.series,
        only=options.only or [],
        covariates=options.covariates or [],
        missing=options.missing or "error",
        irregular=options.irregular or "error",
        date_format=options.date_format,
        day_first=options.day_first,
        missing_values=options.missing_value or [],
    )


def _trained(data: Data, options: argparse.Namespace) -> Forecaster:
    """Backtest the ladder, show the scores, and refit the best rung on all rows."""
    print_flat(data)
    horizon = _horizon(data, options)
    series = data.values[:, 0] if len(data.names) == 1 else data.values
    how: dict[str, Any] = {"horizon": horizon, "rng": options.seed, "covariates": data.covariates}
    how |= {"non_negative": bool(options.non_negative)}
    scores, left_out = _backtested(data, series, options, how)
    print_scores(data, scores, horizon, options.level)
    for short in left_out:
        print(f"Left out: {str(short).removeprefix('series: ')}")
    chosen = best_score(scores).forecaster
    refitted = chosen.clone(**({"difference": chosen.difference} if "difference" in chosen.settings else {}))
    _show_progress(f"{chosen.label}, on all rows")
    try:
        refitted.fit(series, **how)
    except FloatingPointError as error:
        raise CommandError(f"{refitted.name}: {error}") from None
    finally:
        _show_progress("")
    print(f"\n{refitted.label}, refitted on all {len(data.values):,} rows, forecasts:\n")
    if options.save is not None:
        _save(refitted, data, options)
    return refitted


def _backtested(
    data: Data, series: NDArray[np.float64], options: argparse.Namespace, how: dict[str, Any]
) -> tuple[list[Score], list[TooShort]]:
    """The scores of the chosen rungs, and the reasons why others have none."""
    scores: list[Score] = []
    left_out: list[TooShort] = []
    for forecaster in _rungs(data, options):
        _show_progress(forecaster.name)
        try:
            observed = data.observed.reshape(series.shape)
            scores += backtest(series, [forecaster], observed=observed, level=options.level, **how)
        except TooShort as error:
            left_out.append(error)
        except ValueError as error:
            raise CommandError(_ladder_error(data, str(error))) from None
        except FloatingPointError as error:
            print(f"{forecaster.name} left out: {error}", file=sys.stderr)
        finally:
            _show_progress("")
    if not scores:
        none = f"{data.path}: no model could be trained"
        reason = _ladder_error(data, str(left_out[0])) if left_out else none
        raise CommandError(reason)
    return scores, left_out


def _horizon(data: Data, options: argparse.Namespace) -> int:
    """The horizon of the options, or the default, no longer than the rows and future rows allow."""
    future = data.future
    if data.covariates is not None:
        if not future:
            names = ", ".join(options.covariates)
            raise CommandError(
                f"{data.path}: no future row: --covariates {names} need rows behind the last value, with the "
                "covariates of the steps to forecast"
            )
        if options.horizon is not None and options.horizon > future:
            raise CommandError(
                f"--horizon {options.horizon}: {data.path} has covariates of {future} future rows"
            )
    if options.horizon is not None:
        return options.horizon
    most = longest_horizon(len(data.values))
    horizon = min(HORIZON, max(1, most), future or HORIZON)
    if most and horizon < HORIZON:
        rows = "rows" if horizon == most else "future rows"
        print(f"            horizon {horizon}: the longest for so few {rows}")
    return horizon


def _rungs(data: Data, options: argparse.Namespace) -> list[Forecaster]:
    """The rungs of --rung, or all; without a season, all that need none."""
    season = options.season or data.season
    wanted = options.difference or "auto"
    if season is None and ("season" in (options.rung or []) or wanted == "season"):
        option = "--rung" if wanted != "season" else "--difference"
        raise CommandError(
            f"{option} season: needs --season, as steps of {data.clock.step_text()} suggest none"
        )
    lags = options.lags or default_lags(season, len(data.values))
    difference = {"none": 0, "trend": 1, "season": season or 0}.get(wanted, "auto")
    rungs = ladder(lags, season, difference=difference, shared=bool(data.only))
    return [rung for name, rung in rungs.items() if options.rung is None or name in options.rung]


def _save(forecaster: Forecaster, data: Data, options: argparse.Namespace) -> None:
    about = {**data.reading, "time": data.clock.name}
    about["date_format"] = about.pop("usual_format")
    try:
        forecaster.save(options.save, about)
    except OSError as error:
        raise CommandError(f"--save {options.save}: {error.strerror or error}") from None


def _ladder_error(data: Data, message: str) -> str:
    """The text of a ValueError of the ladder, in words of the command."""
    name, _, rest = message.partition(": ")
    if name in ("horizon", "non_negative"):
        return f"--{name.replace('_', '-')}: {rest}"
    hint = (
        "; fewer --lags, a shorter --season or another --rung may do" if "too short for " in message else ""
    )
    return f"{data.path}: {message.removeprefix('series: ')}{hint}"


# ---- a saved model


def _kept(options: argparse.Namespace) -> tuple[Forecaster, Data]:
    """The model of --model, and the series of the file that it is to forecast."""
    forecaster, about = _loaded(options.model)
    names, only, time = about["columns"], about["only"], about["time"]
    values = options.column or names
    if len(values) != len(names):
        raise CommandError(
            f"--column: the model forecasts {len(names)} ({', '.join(names)}), not {len(values)}"
        )
    for name in options.only or []:
        if name not in only:
            raise CommandError(
                f"--only {name}: the model forecasts {', '.join(only) or 'a table without --series'}"
            )
    by = None if time == "row" else time
    anew = options.date_format is not None or options.day_first
    data = _data(
        options.data,
        f"; the model was trained on {', '.join(names)}" + (f" by {by}" if by else ""),
        columns=values,
        time=options.time or by,
        series=about["series"],
        only=only,
        covariates=about["covariates"],
        missing=options.missing or about["missing"],
        irregular=options.irregular or about["irregular"],
        date_format=options.date_format,
        day_first=options.day_first,
        usual_format=None if anew else about["date_format"],
        step=about["step"],
        missing_values=options.missing_value or about["missing_values"],
    )
    if options.horizon is not None and options.horizon > forecaster.horizon:
        raise CommandError(f"--horizon {options.horizon}: the model was trained for {forecaster.horizon}")
    if len(data.values) < forecaster.memory:
        raise CommandError(
            f"{data.path}: too short: {forecaster.name} reads {forecaster.memory} values, there are "
            f"{len(data.values)}"
        )
    return forecaster, data


def _loaded(path: str) -> tuple[Forecaster, dict[str, Any]]:
    """The model of a file, and the options that :func:`_save` wrote beside it."""
    try:
        forecaster, about = load_forecaster(path)
        _check_kept(path, forecaster, about)
    except OSError as error:
        raise CommandError(f"--model {path}: {error.strerror or error}") from None
    except (KeyError, TypeError) as error:
        raise CommandError(f"--model {path}: damaged, or not of `rnnfast forecast`: {error}") from None
    except ValueError as error:
        raise CommandError(f"--model {error}") from None
    return forecaster, about


def _check_kept(path: str, forecaster: Forecaster, about: dict[str, Any]) -> None:
    """Refuse options that :func:`_save` did not write, or not for this model."""
    if about["missing"] not in MISSING or about["irregular"] not in IRREGULAR:
        raise ValueError(f"{path}: damaged: {about['missing']!r}, {about['irregular']!r}")
    date_format, missing_values = about["date_format"], about["missing_values"]
    if not isinstance(date_format, str | None) or not _are_texts(missing_values):
        raise ValueError(f"{path}: damaged: {date_format!r}, {missing_values!r}")
    names, only, covariates = about["columns"], about["only"], about["covariates"]
    time, step, series = about["time"], about["step"], about["series"]
    texts = all(_are_texts(part) for part in (names, only, covariates, [time, step, series or ""]))
    counts = texts and len(names) * max(1, len(only)) == forecaster.series
    known = forecaster.covariates if forecaster.reads_covariates else len(covariates)
    if not counts or (series is None) != (not only) or len(covariates) != known:
        raise ValueError(f"{path}: damaged: columns {names!r}, time {time!r}, step {step!r}")


def _are_texts(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(text, str) for text in part)


def _forecast(forecaster: Forecaster, data: Data, options: argparse.Namespace) -> tuple[Data, Forecasts]:
    """The forecasts, and the data they are of: those of --only."""
    horizon = options.horizon or forecaster.horizon
    if forecaster.covariates and data.future < horizon:
        raise CommandError(
            f"{data.path}: has covariates of {data.future} future rows, and horizon "
            f"{horizon} needs {horizon}; take a shorter --horizon"
        )
    series: Any = data.values[:, 0] if forecaster.flat else data.values
    S, probabilities = len(data.names), options.quantiles or []
    interval = forecaster.predict(series, horizon, level=options.level, covariates=data.covariates)
    quantiles = np.zeros((0, horizon, S))
    if probabilities:
        quantiles = forecaster.quantiles(series, probabilities, horizon, covariates=data.covariates)
    only = options.only or data.only
    shown = [s for s in range(S) if not data.only or data.only[s % len(data.only)] in only]
    forecasts = Forecasts(
        Forecast(*(part.reshape(horizon, S)[:, shown] for part in interval)),
        probabilities,
        quantiles.reshape(-1, horizon, S)[:, :, shown],
        forecaster.bias.reshape(-1, S)[:horizon, shown],
        forecaster.one_sided[shown],
        forecaster.exact[shown],
    )
    names = [data.names[s] for s in shown]
    return data._replace(names=names, values=data.values[:, shown]), forecasts


def _show_progress(text: str) -> None:
    """Show on a terminal which model is being trained."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text and f'training {text} …'}")
        sys.stderr.flush()
