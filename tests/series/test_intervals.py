"""Intervals, quantiles and the bias: they are the residuals of the validation part, by rank."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.forecasters import wave

from rnnfast.series import AutoRegression, LastValue, LatentAutoregression, Markov, load_forecaster


@pytest.mark.parametrize(("name", "slack"), [("last", 0.03), ("ar", 0.03), ("markov", 0.04), ("gru", 0.03)])
def test_intervals_hold_what_they_say(name, slack):
    rng = np.random.default_rng(0)
    series = np.zeros(6000)
    for t in range(1, len(series)):
        series[t] = 0.8 * series[t - 1] + rng.standard_normal()
    makers = {"markov": lambda: Markov(30), "ar": lambda: AutoRegression(1)}
    makers["gru"] = lambda: LatentAutoregression("gru", 8, updates=100)
    model = makers.get(name, LastValue)().fit(series[:4000], horizon=3, rng=0)
    origins = np.arange(4000, 5998)
    actual = series[origins[:, np.newaxis] + np.arange(3)]
    for level in (0.5, 0.9):
        _, lower, upper = model.roll(series, origins, level=level)
        covered = ((lower <= actual) & (actual <= upper)).mean(axis=0)
        assert np.abs(covered - level).max() < slack, (level, covered)
    if name == "ar":  # of which the widths are known: 1.645 standard deviations of the noise on both sides
        widths = 2 * 1.645 * np.sqrt(np.cumsum(0.64 ** np.arange(3)))
        np.testing.assert_allclose((upper - lower)[0], widths, rtol=0.08)


@pytest.mark.parametrize(
    ("R", "level", "ranks"),
    [(19, 0.9, (1, 19)), (19, 0.5, (5, 15)), (20, 0.8, (2, 19)), (39, 0.9, (2, 38)), (8, 0.9, (1, 8))],
)
def test_bounds_are_the_residuals_by_rank(R, level, ranks):
    series = np.cumsum(np.random.default_rng(0).standard_normal(100))
    forecast = LastValue().fit(series, held_out=R / 100).predict(series, level=level)
    residuals = np.sort(np.diff(series)[-R:])
    bounds = [forecast.lower[0], forecast.upper[0]] - series[-1]
    np.testing.assert_allclose(bounds, [residuals[rank - 1] for rank in ranks])


def test_a_mean_lies_in_its_interval_where_all_residuals_have_one_sign():
    forecast = LastValue().fit(1.5 ** np.arange(60), horizon=4).predict(1.5 ** np.arange(60), level=0.1)
    assert (forecast.lower <= forecast.mean).all()
    assert (forecast.mean < forecast.upper).all()


def test_quantiles_are_the_forecast_and_the_residuals_of_their_rank():
    series = np.cumsum(np.random.default_rng(0).standard_normal(100))
    model = LastValue().fit(series, held_out=0.19)
    residuals = np.sort(np.diff(series)[-19:])
    found = model.quantiles(series, [0.05, 0.1, 0.5, 0.9, 0.95])
    np.testing.assert_allclose(found[:, 0] - series[-1], residuals[[0, 1, 9, 17, 18]])
    even = LastValue().fit(series, held_out=0.2)
    residuals = np.sort(np.diff(series)[-20:])
    np.testing.assert_allclose(even.quantiles(series, 0.5) - series[-1], [[residuals[9:11].mean()]])


def test_intervals_are_quantiles(forecaster):
    series = wave(S=2)
    forecaster.fit(series, horizon=4, rng=0)
    low, middle, high = forecaster.quantiles(series, [0.05, 0.5, 0.95], 3)
    mean, lower, upper = forecaster.predict(series, 3, level=0.9)
    np.testing.assert_allclose(np.minimum(low, mean), lower)
    np.testing.assert_allclose(np.maximum(high, mean), upper)
    assert (low <= middle).all()
    assert (middle <= high).all()
    with pytest.raises(ValueError, match="probabilities: expected a share between 0 and 1, got 1"):
        forecaster.quantiles(series, [0.5, 1])


def test_a_bias_is_told_and_corrected_by_the_median():
    series = np.arange(100.0) + 0.1 * np.sin(np.arange(100))
    model = LastValue().fit(series, horizon=3)
    np.testing.assert_allclose(model.bias, [1.0, 2.0, 3.0], atol=0.1)
    assert model.one_sided.tolist() == [True]
    mean, lower, upper = model.predict(series)
    np.testing.assert_array_equal(mean, lower)  # at the edge of its interval
    median = model.quantiles(series, [0.5])[0]
    np.testing.assert_allclose(median, mean + model.bias)
    assert ((lower < median) & (median < upper)).all()
    assert not LastValue().fit(wave()).one_sided.any()


def test_forecasts_from_zero_on_end_there(forecaster, tmp_path):
    series = np.abs(wave() - 3.5)
    forecaster.fit(series, horizon=4, non_negative=True, rng=0)
    forecaster.save(tmp_path / "model.npz")
    loaded, _ = load_forecaster(tmp_path / "model.npz")
    for model in (forecaster, loaded):
        for part in model.roll(series, np.arange(20, 160), level=0.8):
            assert part.min() >= 0.0
        assert model.quantiles(series, [0.1, 0.5]).min() >= 0.0
    with pytest.raises(ValueError, match=r"non_negative: expected a series from 0 on, got -"):
        forecaster.fit(wave() - 3.5, non_negative=True)
