"""The ladder: one split for all, scores that a plain loop agrees with, a table that marks the best."""

from __future__ import annotations

import numpy as np
import pytest

import rnnfast as rf
from rnnfast.series import (
    AutoRegression,
    LastValue,
    LatentAutoregression,
    Markov,
    Score,
    SeasonalLastValue,
    TooShort,
    backtest,
    best_score,
    default_lags,
    ladder,
    longest_horizon,
    score_table,
    simplest_score,
)


def wave(N=200, S=None):
    rng = np.random.default_rng(1)
    series = np.sin(0.4 * np.arange(N)[:, np.newaxis] + np.arange(S or 1)) + 0.2 * rng.standard_normal(
        (N, S or 1)
    )
    return series if S else series[:, 0]


def test_values_that_are_not_observed_do_not_count():
    series = wave(S=2)
    observed = np.random.default_rng(0).random(series.shape) < 0.5
    changed = np.where(observed, series, 1e3)
    changed[:160] = series[:160]
    model = SeasonalLastValue(40)  # reads none of what is changed
    ours, theirs = (
        next(backtest(values, [model.clone()], horizon=3, observed=observed)) for values in (series, changed)
    )
    assert ours[1:2] + ours[3:] == theirs[1:2] + theirs[3:]
    assert ours[3:] != next(backtest(series, [model.clone()], horizon=3))[3:]
    with pytest.raises(ValueError, match=r"observed: expected bool \(200, 2\), as the series"):
        next(backtest(series, [model], observed=observed[:, 0]))
    with pytest.raises(ValueError, match="observed: expected an outcome"):
        next(backtest(series, [model], observed=np.arange(400).reshape(200, 2) < 320))


@pytest.mark.parametrize("S", [None, 3])
def test_scores_are_what_predicting_again_and_again_gives(S):
    series, start, horizon = wave(S=S), 160, 4
    scores = list(
        backtest(series, [LastValue(), SeasonalLastValue(5), Markov(4)], horizon=horizon, level=0.7)
    )
    for score in scores:
        misses, held = [], []
        for origin in range(start, 200 - horizon + 1):
            mean, lower, upper = score.forecaster.predict(series[:origin], level=0.7)
            actual = series[origin : origin + horizon]
            misses.append((mean - actual) / (1.0 if S is None else series[:start].std(axis=0)))
            held.append((lower <= actual) & (actual <= upper))
        misses = np.reshape(misses, (len(misses), horizon, -1))
        np.testing.assert_allclose(score.one_step, np.sqrt((misses[:, 0] ** 2).mean()))
        np.testing.assert_allclose(score.all_steps, np.sqrt((misses**2).mean()))
        np.testing.assert_allclose(score.by_step, np.sqrt((misses**2).mean(axis=(0, 2))))
        np.testing.assert_allclose(score.coverage, np.mean(held))
        assert score.parameters == score.forecaster.parameters


def test_what_is_learnt_does_not_depend_on_the_test_part():
    series = wave()
    changed = series.copy()
    changed[160:] = np.random.default_rng(2).standard_normal(40) * 9
    rungs = [[Markov(4), LatentAutoregression("gru", 4, updates=30)] for _ in range(2)]
    for values, own in zip((series, changed), rungs, strict=True):
        list(backtest(values, own))
    for ours, theirs in zip(*rungs, strict=True):
        np.testing.assert_array_equal(ours.predict(series[:160]), theirs.predict(series[:160]))


def test_a_recurrent_rung_climbs_above_the_naive_ones():
    scores = list(backtest(wave(400), [LastValue(), Markov(), LatentAutoregression("gru", 12, updates=300)]))
    assert best_score(scores) is scores[2]
    assert scores[2].one_step < 0.6 * scores[0].one_step


def test_baselines_has_the_forecasters_and_the_ladder_too():
    shared = set(rf.baselines.__all__) & set(rf.series.__all__)
    assert {"AutoRegression", "Forecaster", "backtest", "climb", "load_forecaster", "pivot"} <= shared
    for name in shared:
        assert getattr(rf.baselines, name) is getattr(rf.series, name)


def test_the_ladder_has_one_of_each():
    rungs = ladder(lags=7, season=12, hidden=16)
    assert [rung.name for rung in rungs.values()] == [
        "last value",
        "last season(12)",
        "Markov(10)",
        "AR(7)",
        "MLP(7)",
        "convolution(7)",
        "linear latent state",
        "RNN, sigmoid",
        "RNN, tanh",
        "GRU",
        "LSTM",
    ]
    assert "season" not in ladder()


def score(name, parameters, error):
    forecaster = LastValue()
    forecaster.name = name
    return Score(forecaster, parameters, 0.5, error / 2, error, (error / 2, error), 0.875)


def test_the_table_marks_the_best_and_the_simplest_is_close_to_it():
    scores = [score("a", 0, 1.2), score("b", 10, 1.04), score("c", 1000, 1.0), score("d", 12, 1.01)]
    assert best_score(scores).forecaster.name == "c"
    assert simplest_score(scores).forecaster.name == "b"
    head, *lines = score_table(scores).splitlines()
    assert head.split() == ["parameters", "seconds", "1", "step", "2", "steps", "covered"]
    assert lines[2].split() == ["*", "c", "1,000", "0.50", "0.5", "1", "88%"]
    assert [line[0] for line in lines] == [" ", " ", "*", " "]


def test_an_error_that_is_no_number_is_never_the_best():
    nan, one = score("a", 0, float("nan")), score("b", 3, 1.0)
    assert best_score([nan, one]) is simplest_score([nan, one]) is one
    assert best_score([nan]) is simplest_score([nan]) is nan


@pytest.mark.parametrize(
    ("N", "horizon", "message"),
    [
        (100, 13, "horizon: expected at most 12 for a series of 100 values, got 13"),
        (
            20,
            1,
            r"series: expected at least 29 values \(a training, a validation and a test part .* 1\), got 20",
        ),
    ],
)
def test_a_series_too_short_is_refused(N, horizon, message):
    with pytest.raises(ValueError, match=message):
        next(backtest(wave(N), [LastValue()], horizon=horizon))
    if horizon == 13:
        next(backtest(wave(N), [LastValue()], horizon=12))


# ---- series that are short, flat or straight


def test_rungs_that_need_a_longer_series_are_left_out_with_a_warning():
    with pytest.warns(
        UserWarning, match=r"left out: series: too short for AR\(24\): expected at least 50 .* got 26"
    ):
        scores = list(backtest(wave(40), [LastValue(), AutoRegression(24), Markov(4)]))
    assert [score.forecaster.name for score in scores] == ["last value", "Markov(4)"]
    with pytest.raises(TooShort, match=r"too short for AR\(24\)"):
        list(backtest(wave(40), [AutoRegression(24)]))


def test_a_series_too_short_for_any_rung_is_told_how_long_it_has_to_be():
    with pytest.raises(ValueError, match=r"expected at least 29 values .* horizon 1\), got 10"):
        next(backtest(wave(10), [LastValue()]))
    assert (longest_horizon(28), longest_horizon(29)) == (0, 1)
    assert next(backtest(wave(29), [LastValue()])).one_step > 0.0
    with pytest.raises(
        ValueError, match="expected at most 2 for a series of 40 values, got 9: horizon 9 needs at least"
    ):
        next(backtest(wave(40), [LastValue()], horizon=9))


def test_a_flat_start_stops_no_rung():
    series = np.append(np.zeros(80), np.random.default_rng(0).random(40))
    rungs = [LastValue(), Markov(), AutoRegression(4), LatentAutoregression("gru", 4, updates=20)]
    assert len(list(backtest(series, rungs, horizon=2))) == 4
    flat_until_the_test = np.append(np.full(80, 3.0), np.random.default_rng(0).random(20))
    for score in backtest(flat_until_the_test, [rung.clone() for rung in rungs]):
        assert score.forecaster.predict(flat_until_the_test[:80]).mean == pytest.approx(3.0)


def test_a_flat_column_is_forecast_as_it_is_and_stops_no_other():
    series = np.column_stack([wave(), np.full(200, 5.0)])
    alone = [LastValue(), AutoRegression(4), LatentAutoregression("gru", 4, updates=20)]
    for score in backtest(series, alone, horizon=2):
        model = score.forecaster
        assert (model.predict(series).mean[:, 1] == 5.0).all()
        assert model.exact.tolist() == [False, True]
        assert np.isfinite(score.all_steps)
    with pytest.raises(ValueError, match="series: expected values that vary, got a constant in all 160 rows"):
        next(backtest(np.ones((200, 2)), alone))


def test_a_small_range_around_a_large_value_is_no_constant():
    small = wave()
    ours, theirs = (
        list(backtest(values, [LastValue(), AutoRegression(4)])) for values in (small, 1e9 + 1e-4 * small)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert other.one_step == pytest.approx(1e-4 * one.one_step, rel=2e-2)


def test_a_straight_line_is_met_exactly_and_the_intervals_say_that_they_have_no_width():
    line = 0.1 * np.arange(200)
    last, ar = backtest(line, [LastValue(), AutoRegression(6)], horizon=5)
    assert (last.coverage, ar.coverage) == (1.0, 1.0)
    assert (last.all_steps > 0.1, ar.all_steps) == (True, 0.0)
    assert last.forecaster.exact.tolist() == ar.forecaster.exact.tolist() == [True]
    assert not LastValue().fit(wave()).exact.any()


def test_of_errors_that_are_level_the_fewest_parameters_win():
    assert best_score([score("a", 9, 0.0), score("b", 3, 0.0)]).parameters == 3


def test_wrong_arguments_are_named_before_anything_is_learnt():
    rungs, series = [LastValue()], wave()
    for keywords, error, message in (
        ({"level": 90}, ValueError, "level: expected a share between 0 and 1, got 90"),
        ({"rng": "x"}, TypeError, "rng: expected an integer"),
        ({"forecasters": 5}, TypeError, "forecasters: expected an iterable of Forecaster, got 5"),
        ({"forecasters": ["ar"]}, TypeError, "forecasters: expected a Forecaster, got 'ar'"),
    ):
        with pytest.raises(error, match=message):
            list(backtest(**{"series": series, "forecasters": rungs} | keywords))
    assert rungs[0].horizon == 0
    for function in (best_score, simplest_score, score_table):
        with pytest.raises(ValueError, match="scores: expected at least one, got none"):
            function([])
        with pytest.raises(TypeError, match="scores: expected a list of Score, got 5"):
            function(5)
        with pytest.raises(TypeError, match="scores: expected a Score, got 'ar'"):
            function(["ar"])
    for rows in ("x", 2.5):
        with pytest.raises(TypeError, match="rows: expected an integer"):
            longest_horizon(rows)
        with pytest.raises(TypeError, match="rows: expected an integer"):
            default_lags(rows=rows)
    with pytest.raises(ValueError, match="test: expected a probability p"):
        longest_horizon(100, test=1.5)
