"""The rungs of the ladder, each against an independent computation; several series; refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.differences import assert_gradients
from helpers.forecasters import CELLS, NETWORKS, PLAIN, made, wave
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf
from rnnfast.series import (
    AutoRegression,
    Convolution,
    LastValue,
    LatentAutoregression,
    Markov,
    Perceptron,
    SeasonalLastValue,
    latent,
)
from rnnfast.series.arrays import spaced
from rnnfast.series.convolution import Flatten, SlidingWindows


def test_the_last_value_and_the_last_season_by_hand():
    series = wave()
    last = LastValue().fit(series, horizon=9).predict(series)
    np.testing.assert_allclose(last.mean, [series[-1]] * 9)
    season = SeasonalLastValue(7).fit(series, horizon=9).predict(series)
    np.testing.assert_allclose(season.mean, [*series[-7:], *series[-7:-5]])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(0, 99))
def test_ar_is_least_squares(lags, seed):
    series = wave(100, seed=seed)
    rows = np.array([[1.0, *series[t - lags : t][::-1]] for t in range(lags, 100)])
    c, *phi = np.linalg.lstsq(rows, series[lags:], rcond=None)[0]
    values = list(series)
    for _ in range(4):
        values.append(c + sum(p * values[-1 - k] for k, p in enumerate(phi)))
    model = AutoRegression(lags).fit(series, horizon=4)
    np.testing.assert_allclose(model.predict(series).mean, values[-4:], rtol=1e-8)
    assert model.parameters == lags + 1


def markov_by_hand(series, levels, smoothing):
    """Borders, the levels' means and the matrix, by loops."""
    borders = sorted(set(np.quantile(series, np.linspace(0, 1, levels + 1))))
    K = len(borders) - 1
    at = [min(sum(value >= border for border in borders[1:-1]), K - 1) for value in series]
    p = np.full((K, K), smoothing / K)
    for before, after in itertools.pairwise(at):
        p[before, after] += 1
    values = [np.mean([x for x, k in zip(series, at, strict=True) if k == level]) for level in range(K)]
    return np.array(borders), np.array(values), p / p.sum(axis=1, keepdims=True)


def test_markov_is_counting():
    series = wave(200)
    borders, values, p = markov_by_hand(series, 6, 2.0)
    model = Markov(6, smoothing=2.0).fit(series, horizon=3)
    forecast = model.predict(series, level=0.8)
    K = len(values)
    probability = np.eye(K)[np.searchsorted(borders[1:-1], series[-1], side="right")]
    for j in range(3):
        probability = probability @ p
        np.testing.assert_allclose(forecast.mean[j], probability @ values)
        for bound, share in ((forecast.lower[j], 0.1), (forecast.upper[j], 0.9)):
            below = (bound - borders[:-1]) / np.diff(borders)
            inside = np.clip(below, 0, 1)  # of each level, the share below
            np.testing.assert_allclose(inside @ probability, share)
    assert model.parameters == (K + 1) + K + K * (K - 1)


def test_each_value_of_a_discrete_series_is_a_level():
    series = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0], 50)
    model = Markov(10, smoothing=1e-9).fit(series, horizon=2)
    p = np.array([[4 / 5, 1 / 5], [49 / 149, 100 / 149]])  # the last value has no successor
    mean, lower, upper = model.predict(series, level=0.9)
    np.testing.assert_allclose(mean, [p[1, 1], (p @ p)[1, 1]])
    np.testing.assert_allclose([lower, upper], [[0, 0], [1, 1]], atol=1e-12)
    assert (model.name, model.parameters) == ("Markov(2)", 4)
    assert Markov(2).fit(np.tile([5.0, 6.0], 50)).predict(np.tile([5.0, 6.0], 50)).mean < 5.1


@pytest.mark.parametrize("top", [False, True])
def test_a_frequent_value_is_a_level_of_its_own(top):
    rng = np.random.default_rng(0)
    series = np.where(rng.random(2000) < 0.6, 0.0, rng.exponential(size=2000))
    series = -series if top else series
    model = Markov(10).fit(series)
    _, lower, upper = model.roll(series, np.arange(1, 2000), level=0.5)
    assert model.name == "Markov(5)"
    assert (lower[:, 0] if not top else upper[:, 0]) == pytest.approx(0.0, abs=1e-12)
    (chain,) = model._chains
    alone = chain.low == chain.high
    assert alone.sum() == 1
    assert chain.values[alone] == pytest.approx(chain.low[alone])


def test_the_perceptron_is_its_equation():
    series = wave()
    model = Perceptron(6, 5, updates=30).fit(series, rng=0)
    numbers = model._numbers()
    z = (series[-6:] - series.mean()) / series.std()
    hidden = np.maximum(numbers["0.weight"].astype(np.float64) @ z + numbers["0.bias"], 0.0)
    x = numbers["2.weight"][0] @ hidden + numbers["2.bias"][0]
    expected = x * series.std() + series.mean()
    np.testing.assert_allclose(model.predict(series).mean, expected, rtol=1e-5)
    assert model.parameters == sum(array.size for array in numbers.values()) == 5 * (6 + 2) + 1


def test_the_convolution_is_its_equation():
    series = wave()
    model = Convolution(6, 3, 4, updates=20).fit(series, rng=0)
    numbers = {name: array.astype(np.float64) for name, array in model._numbers().items()}
    z = (series[-6:] - series.mean()) / series.std()
    maps = [[np.correlate(z, kernel)[j] for kernel in numbers["1.weight"]] for j in range(3)]
    x = np.maximum(maps + numbers["1.bias"], 0).ravel() @ numbers["4.weight"][0] + numbers["4.bias"][0]
    expected = x * series.std() + series.mean()
    np.testing.assert_allclose(model.predict(series).mean, expected, rtol=1e-5)
    assert model.parameters == (4 * 3 + 3) + (3 * 3 + 1)


def test_the_convolutions_gradients():
    rng = np.random.default_rng(0)
    model = rf.Sequential(
        SlidingWindows(3),
        rf.Linear(3, 4, dtype="float64", rng=1),
        rf.ReLU(),
        Flatten(),
        rf.Linear(5 * 4, 2, dtype="float64", rng=2),
    )
    assert_gradients(model, rng.standard_normal((6, 7)))


def test_there_are_fewer_origins_where_many_series_need_memory():
    assert spaced(10, 19, 1000, 1).tolist() == list(range(10, 20))
    assert spaced(0, 9999, 5, 1).tolist() == [0, 2500, 5000, 7499, 9999]
    assert len(spaced(0, 9999, 1000, 100 * 1000)) == 2**24 // 100_000
    assert len(spaced(0, 9999, 1000, 10**9)) == 20


@pytest.mark.parametrize("S", [None, 3])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_of_long_histories_are_kept_in_chunks(cell, S, monkeypatch):
    series, origins = wave(S=S), [1, 9, 10, 11, 40, 160]
    model = LatentAutoregression(cell, 6, steps=30, updates=5).fit(series, horizon=3, rng=0)
    whole = model.roll(series, origins)
    monkeypatch.setattr(latent, "CHUNK", 10)
    np.testing.assert_array_equal(model.roll(series, origins), whole)


@pytest.mark.parametrize("cell", CELLS)
def test_a_latent_state_reads_the_history_and_then_its_own_forecasts(cell):
    series = wave()
    model = LatentAutoregression(cell, 6, steps=30, updates=20).fit(series, horizon=4, rng=0)
    mean, std = series.mean(), series.std()
    step = model._network.stream()
    for value in (series - mean) / std:
        x = step(np.array([[value]], np.float32))
    expected = []
    for _ in range(4):
        expected.append(float(x[0, 0]) * std + mean)
        x = step(x)
    np.testing.assert_allclose(model.predict(series).mean, expected, rtol=1e-6)


def test_the_linear_latent_state_is_a_linear_filter():
    series = wave()
    model = LatentAutoregression("linear", 3, steps=30, updates=20).fit(series, rng=0)
    w = {name: array.astype(np.float64) for name, array in model._numbers().items()}
    h = np.zeros(3)
    for x in (series - series.mean()) / series.std():
        h = w["0.weight_hh_l0"] @ h + w["0.weight_ih_l0"][:, 0] * x + w["0.bias_ih_l0"] + w["0.bias_hh_l0"]
    expected = (w["1.weight"][0] @ h + w["1.bias"][0]) * series.std() + series.mean()
    np.testing.assert_allclose(model.predict(series).mean, expected, rtol=1e-4)


def test_windows_cost_parameters_and_states_do_not():
    series = wave(400)
    counts = {W: Perceptron(W, updates=1).fit(series).parameters for W in (10, 20, 40)}
    assert counts[40] - counts[20] == 2 * (counts[20] - counts[10]) == 20 * 32
    counts = {T: LatentAutoregression("gru", steps=T, updates=1).fit(series).parameters for T in (10, 40)}
    assert counts[10] == counts[40]


@pytest.mark.parametrize("name", PLAIN)
def test_several_series_are_forecast_as_each_alone(name):
    series = wave(S=3)
    together = made(name).fit(series, horizon=4).predict(series)
    for s in range(3):
        alone = made(name).fit(series[:, s], horizon=4).predict(series[:, s])
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[:, s], other, rtol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_share_their_weights_and_keep_series_apart(name):
    series = wave(S=3)
    model = made(name).fit(series, horizon=4, rng=0)
    assert model.parameters == made(name).fit(series[:, 0], rng=0).parameters
    changed = series.copy()
    changed[:, 2] += 1.0
    before, after = model.predict(series).mean, model.predict(changed).mean
    assert before.shape == (4, 3)
    np.testing.assert_allclose(before[:, :2], after[:, :2], rtol=1e-12)
    assert (before[:, 2] != after[:, 2]).all()


@pytest.mark.parametrize(
    ("series", "error", "message"),
    [
        (["a", "b"], TypeError, "series: expected real numbers"),
        (np.zeros((50, 2, 2)), ValueError, r"series: expected shape \[N\] or \[N, S\]"),
        (np.append(wave(), np.nan), ValueError, "series: expected finite numbers of .*, got row 160"),
        (wave() * 1e101, ValueError, "series: expected finite numbers of at most 1e.100 in size, got row 0"),
        (np.full(100, 5.0), ValueError, "series: expected values that vary, got a constant"),
        (wave() * 1e-200, ValueError, "series: expected ranges of at least 1e-100, got "),
        (wave(12), ValueError, "series: too short for last value: expected at least 11 values"),
    ],
)
def test_a_series_that_cannot_be_is_refused(series, error, message):
    with pytest.raises(error, match=message):
        LastValue().fit(series)


def test_the_convolutions_modules_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., W\] with W at least 3, got \(5, 2\)"):
        SlidingWindows(3)(np.zeros((5, 2)))
    with pytest.raises(ValueError, match=r"x: expected shape \[\.\.\., M, N\], got \(5,\)"):
        Flatten()(np.zeros(5))
    for module in (SlidingWindows(2), rf.ReLU(), Flatten()):
        x = np.ones((3, 4))
        *_, tape = module.forward(x)
        assert module.backward(tape, input_grad=False) == (None, None)
        *_, tape = module.forward(x)
        np.testing.assert_array_equal(module.backward(tape)[0], np.zeros((3, 4)))


def test_other_refusals():
    series = wave()
    model = LastValue()
    with pytest.raises(ValueError, match="expected a fitted forecaster"):
        model.predict(series)
    with pytest.raises(ValueError, match="expected a fitted forecaster"):
        model.save("model.npz")
    with pytest.raises(ValueError, match=r"horizon: expected at most 28, .* got 29"):
        model.fit(series, horizon=29)
    model.fit(series, horizon=3)
    with pytest.raises(ValueError, match="horizon: expected at most that of fit, 3, got 4"):
        model.predict(series, 4)
    with pytest.raises(ValueError, match="level: expected a share between 0 and 1, got 1"):
        model.predict(series, level=1)
    with pytest.raises(ValueError, match=r"history: expected shape \[N\], as in fit, got \(160, 2\)"):
        model.predict(wave(S=2))
    with pytest.raises(ValueError, match="history: expected at least 1 values before each forecast"):
        model.roll(series, [0, 5])
    with pytest.raises(TypeError, match="origins: expected integers"):
        model.roll(series, [0.5])
    ragged = [[1.0], [2.0, 3.0]]
    with pytest.raises(ValueError, match="history: expected an array, got list"):
        model.predict(ragged)
    with pytest.raises(ValueError, match="history: expected an array, got list"):
        model.quantiles(ragged, 0.5)
    with pytest.raises(ValueError, match="probabilities: expected an array, got list"):
        model.quantiles(series, ragged)
    with pytest.raises(ValueError, match="origins: expected an array, got list"):
        model.roll(series, ragged)
    with pytest.raises(TypeError, match="metadata: expected a Mapping, got 5"):
        model.save("model.npz", 5)
    for cell in ("transformer", ["gru"]):
        with pytest.raises(ValueError, match="cell: expected one of linear"):
            LatentAutoregression(cell)
    with pytest.raises(TypeError, match=r"difference: expected an integer, got 0\.5"):
        Markov(difference=np.array(0.5))
    with pytest.raises(ValueError, match="smoothing: expected a number above 0"):
        Markov(smoothing=0)
