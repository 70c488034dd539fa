"""Differences: learnt from, added up again in forecasts, and chosen by the validation part."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.series import (
    AutoRegression,
    Convolution,
    LastValue,
    LatentAutoregression,
    Markov,
    Perceptron,
    backtest,
    default_lags,
    ladder,
    load_forecaster,
)
from rnnfast.series.scale import Scale

MAKERS = {
    "markov": lambda d: Markov(4, difference=d),
    "ar": lambda d: AutoRegression(3, difference=d),
    "mlp": lambda d: Perceptron(4, 3, updates=20, difference=d),
    "convolution": lambda d: Convolution(4, 2, 3, updates=20, difference=d),
    "gru": lambda d: LatentAutoregression("gru", 4, steps=30, updates=20, difference=d),
}


def noisy(N=160, S=2, slope=0.0, season=7, seed=0):
    """Seasons, a slope and noise: [N, S]."""
    t = np.arange(N)[:, np.newaxis]
    waves = np.sin(2 * np.pi * t / season + np.arange(S))
    return 5.0 + waves + slope * t + 0.2 * np.random.default_rng(seed).standard_normal((N, S))


@pytest.mark.parametrize("d", [0, 1, 3, 7])
def test_undoing_the_scale_gives_the_values_back(d):
    series = noisy(60)
    scale = Scale.of(series, 40, d)
    scaled = scale.apply(series)
    assert len(scaled) == 60 - d
    np.testing.assert_allclose(scaled[: 40 - d].mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(scaled[: 40 - d].std(axis=0), 1.0)
    origins = np.array([10, 25, 50])
    future = np.stack([scaled[origin - d : origin - d + 10] for origin in origins])
    known = series.copy()
    for k, origin in enumerate(origins):
        hidden = known.copy()
        hidden[origin:] = np.nan  # nothing behind an origin is read
        values = scale.undo(hidden, origins[k : k + 1], future[k : k + 1])
        np.testing.assert_allclose(values[0], series[origin : origin + 10])


@pytest.mark.parametrize("d", [1, 7])
def test_an_autoregression_on_differences_is_least_squares_on_them(d):
    series = noisy(120, 1, slope=0.1)[:, 0]
    changes = series[d:] - series[:-d]
    rows = np.array([[1.0, *changes[t - 3 : t]] for t in range(3, len(changes))])
    c, *phi = np.linalg.lstsq(rows, changes[3:], rcond=None)[0]
    values, steps = list(series), list(changes)
    for _ in range(9):
        steps.append(c + np.dot(phi, steps[-3:]))
        values.append(values[-d] + steps[-1])
    model = AutoRegression(3, difference=d).fit(series, horizon=9)
    np.testing.assert_allclose(model.predict(series).mean, values[-9:])
    assert (model.memory, model.label) == (3 + d, f"AR(3), difference {d}")


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("d", [1, 7])
def test_no_forecast_of_differences_depends_on_what_comes_after_it(name, d):
    series = noisy()
    model = MAKERS[name](d).fit(series, horizon=9, rng=0)
    origins = np.array([20, 60, 110])
    before = model.roll(series, origins)
    for k, origin in enumerate(origins):
        changed = series.copy()
        changed[origin:] = 1e6
        for one, other in zip(before, model.roll(changed, origins), strict=True):
            np.testing.assert_array_equal(one[: k + 1], other[: k + 1])
        alone = model.predict(series[:origin])
        np.testing.assert_allclose(before.mean[k], alone.mean, rtol=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_a_level_added_to_a_series_is_added_to_forecasts_of_its_differences(name):
    series = noisy()
    model = MAKERS[name](1).fit(series, horizon=5, rng=0)
    raised = model.predict(series + 100.0)
    for ours, other in zip(model.predict(series), raised, strict=True):
        np.testing.assert_allclose(ours + 100.0, other, rtol=1e-5)


TRENDING = np.cumsum(noisy(300, 1, season=300) - 4.0, axis=0)
SEASONAL = np.tile([[0.0], [3.0], [1.0], [-4.0], [3.0], [3.0], [-2.0]], (43, 1)) + noisy(301, 1, season=90)


@pytest.mark.parametrize(("series", "chosen"), [(noisy(300, 1), 0), (TRENDING, 1), (SEASONAL, 7)])
def test_the_validation_part_chooses_the_difference(series, chosen):
    """A perceptron knows only the levels of its training, and of a season only what its window shows."""
    window = 2 if chosen == 7 else 14
    model = Perceptron(window, 16, updates=200, difference=[0, 1, 7]).fit(series, horizon=7, rng=0)
    assert model.difference == chosen
    errors = {}
    for d in (0, 1, 7):
        alone = model.clone(difference=d).fit(series, horizon=7, rng=0)
        errors[d] = np.sqrt(np.mean(alone._residuals.values**2))
        if d == chosen:  # chosen among several or asked for: the same model
            np.testing.assert_array_equal(alone.predict(series).mean, model.predict(series).mean)
    assert errors[chosen] <= min(errors.values()) / 0.85


def test_networks_follow_a_trend_and_a_season_that_they_do_not_otherwise():
    series = noisy(400, 1, slope=0.2)[:, 0]
    rungs = [Perceptron(14, 16, updates=300, difference=d) for d in (0, [0, 1, 7])]
    plain, differenced = backtest(series, rungs, horizon=7)
    assert differenced.all_steps < 0.5 * plain.all_steps
    assert differenced.all_steps < 0.5  # the noise of two values: 0.28


def test_a_window_covers_the_season():
    assert [default_lags(season) for season in (None, 7, 12, 24, 52, 400, 401)] == [
        24,
        24,
        24,
        32,
        60,
        408,
        24,
    ]
    assert [default_lags(12, rows) for rows in (30, 40, 48, 60, 100, 200)] == [6, 12, 12, 12, 21, 24]
    assert [default_lags(52, rows) for rows in (150, 208, 400)] == [32, 52, 60]
    rungs = ladder(season=52)
    assert [rungs[name].memory for name in ("ar", "mlp", "convolution")] == [60] * 3
    assert rungs["lstm"].differences == [0, 1, 52]
    assert ladder(difference=0)["lstm"].differences == [0]
    assert ladder(lags=5, season=52)["ar"].memory == 5
    with pytest.raises(ValueError, match="difference: expected 'auto', an integer or several, got 'season'"):
        ladder(difference="season")


def test_a_difference_that_the_series_is_too_short_for_is_not_tried():
    series = noisy(60, 1)[:, 0]
    assert AutoRegression(3, difference=[0, 45]).fit(series).difference == 0
    with pytest.raises(ValueError, match=r"too short for AR\(3\): expected at least 53 values"):
        AutoRegression(3, difference=45).fit(series)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_saved_forecasts_the_same_numbers(name, tmp_path):
    series = noisy()
    model = MAKERS[name]([0, 7]).fit(series, horizon=3, rng=0)
    model.save(tmp_path / "model.npz")
    loaded, _ = load_forecaster(tmp_path / "model.npz")
    assert (loaded.difference, loaded.settings) == (model.difference, model.settings)
    np.testing.assert_array_equal(loaded.predict(series), model.predict(series))


@pytest.mark.parametrize("difference", [-1, 1.5, True, "auto", [], [1, 1], [0, "a"]])
def test_other_differences_are_refused(difference):
    with pytest.raises((TypeError, ValueError), match="difference: expected"):
        AutoRegression(3, difference=difference)


def test_naive_forecasters_take_none():
    with pytest.raises(TypeError):
        LastValue(difference=1)
    assert LastValue().settings == {}
