"""What a forecaster learns from: the training part, then all rows; never what comes after a forecast."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from helpers.forecasters import made, wave

import rnnfast as rf
from rnnfast.series import AutoRegression, Convolution, LatentAutoregression, Perceptron, latent, network
from rnnfast.series.arrays import History


def test_no_forecast_depends_on_what_comes_after_it(forecaster):
    series = wave()
    forecaster.fit(series, horizon=5, rng=0)
    origins = np.arange(10, 120, 10)
    before = forecaster.roll(series, origins)
    for k, origin in enumerate(origins):
        changed = series.copy()
        changed[origin:] = 1e6
        after = forecaster.roll(changed, origins)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one[: k + 1], other[: k + 1])


def test_rolling_is_predicting_again_and_again(forecaster):
    series = wave()
    forecaster.fit(series, horizon=5, rng=0)
    origins = np.array([20, 77, 160])
    rolled = forecaster.roll(series, origins, 3, level=0.5)
    for k, origin in enumerate(origins):
        alone = forecaster.predict(series[:origin], 3, level=0.5)
        for one, other in zip(rolled, alone, strict=True):
            np.testing.assert_allclose(one[k], other, rtol=1e-12)


def learnt(forecaster, monkeypatch):
    """What `_learn` is given, call by call, and the weights it leaves."""
    calls, learn = [], forecaster._learn

    def spy(history, start, rng, stop=None):
        found = learn(history, start, rng, stop)
        calls.append(
            (history.values, start, stop, found, {n: a.copy() for n, a in forecaster._numbers().items()})
        )
        return found

    monkeypatch.setattr(forecaster, "_learn", spy)
    return calls


def test_a_fit_learns_from_the_training_part_and_then_from_all(forecaster, monkeypatch):
    series = wave()
    calls = learnt(forecaster, monkeypatch)
    forecaster.fit(series, horizon=3, rng=0)
    (first, start, stop, updates, _), (second, end, again, _, numbers) = calls
    assert (start, stop, end, again) == (128, None, 160, updates)
    np.testing.assert_allclose(first[:, 0], (series - series[:128].mean()) / series[:128].std())
    np.testing.assert_allclose(second[:, 0], (series - series.mean()) / series.std())
    assert forecaster._scale == (0, series.mean(), series.std())
    for array, kept in zip(numbers.values(), forecaster._numbers().values(), strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("name", ["markov", "ar", "gru", "mlp", "convolution"])
def test_the_validation_part_is_learnt_from_the_second_time_alone(name, monkeypatch):
    series = wave()
    changed = series.copy()
    changed[128:] = changed[:127:-1]
    found = []
    for values in (series, changed):
        model = made(name)
        calls = learnt(model, monkeypatch)
        monkeypatch.setattr(model, "updates", 4, raising=False)  # which end no training early
        model.fit(values, rng=0)
        found.append([numbers for *_, numbers in calls])
    (one, two), (other, others) = found
    for array, its in zip(one.values(), other.values(), strict=True):
        np.testing.assert_array_equal(array, its)
    assert any((array != its).any() for array, its in zip(two.values(), others.values(), strict=True))


def test_the_level_of_the_newest_rows_counts():
    series = np.where(np.arange(300) < 240, 10.0, 20.0) + np.sin(np.arange(300))
    mean, lower, upper = AutoRegression(6).fit(series, horizon=12).predict(series)
    assert np.abs(mean - 20.0).max() < 3.0
    assert (lower <= mean).all()
    assert (mean <= upper).all()


@pytest.mark.parametrize("name", ["mlp", "convolution", "gru"])
@pytest.mark.parametrize("updates", [1, 7, 20])
def test_no_more_updates_than_asked_for(name, updates, monkeypatch):
    steps, step = [], rf.optim.Adam.step
    monkeypatch.setattr(rf.optim.Adam, "step", lambda *a, **k: steps.append(1) or step(*a, **k))
    model = {"mlp": Perceptron(6, 5, updates=updates), "convolution": Convolution(6, updates=updates)}
    model["gru"] = LatentAutoregression("gru", 4, steps=30, updates=updates)
    chosen = model[name]
    calls = learnt(chosen, monkeypatch)
    chosen.fit(np.sin(0.1 * np.arange(700)), rng=0)
    assert calls[0][3] <= updates
    assert len(steps) == updates + calls[0][3]


def test_a_latent_state_is_validated_on_the_validation_part_alone(monkeypatch):
    series = wave(S=2)
    seen = []
    monkeypatch.setattr(latent, "train", lambda *given, **keywords: seen.append((given, keywords)) or 5)
    LatentAutoregression("gru", 4, steps=30).fit(series)
    ((_, (x, targets), [(_, later, keywords)], updates, _), _), ((_, (all_x, _), held_out, again, _), _) = (
        seen
    )
    scaled = ((series - series[:128].mean(axis=0)) / series[:128].std(axis=0)).astype(np.float32)
    np.testing.assert_array_equal(later[..., 0][keywords["mask"]].reshape(-1, 2), scaled[128:])
    assert np.isin(x, scaled[:127]).all()
    assert np.isin(targets, scaled[1:128]).all()
    assert np.isin(scaled[:127], x).all()
    assert (updates, held_out, again) == (1500, None, 5)
    whole = ((series - series.mean(axis=0)) / series.std(axis=0)).astype(np.float32)
    assert np.isin(whole[:-1], all_x).all()


def test_a_state_lasts_longer_than_gradients_flow_back():
    model = LatentAutoregression("gru", 16, steps=20, updates=300)
    rng = np.random.default_rng(0)
    series = np.sin(np.arange(4000) / 15) + 0.1 * rng.standard_normal(4000)
    model.fit(series[:3000], rng=0)
    origins = np.arange(3000, 4000, 7)
    whole = model.roll(series, origins).mean[:, 0]
    error = np.sqrt(np.mean((whole - series[origins]) ** 2))
    short = [model.predict(series[origin - 40 : origin]).mean[0] for origin in origins]
    assert error < 0.2
    assert error < 1.1 * np.sqrt(np.mean((short - series[origins]) ** 2))


def test_the_perceptron_keeps_the_weights_of_the_lowest_validation_error():
    series = np.random.default_rng(0).standard_normal((160, 1))  # where more updates make it worse
    errors = []
    for updates in (4, 12, 200):
        model = Perceptron(6, updates=updates)
        history = History(series, np.zeros((161, 1, 0)))
        model._learn(history, 128, np.random.default_rng(0))
        means = model._means(history, np.arange(128, 160), 1)
        errors.append(np.mean((means[:, 0] - series[128:]) ** 2))
    assert errors[0] >= errors[1] >= errors[2]


def test_a_seed_gives_the_same_numbers(forecaster):
    series = wave()
    ours = forecaster.fit(series, horizon=3, rng=5).predict(series)
    again = forecaster.clone().fit(series, horizon=3, rng=5).predict(series)
    np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_ctrl_c_ends_the_training(name, monkeypatch):
    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return mse(*arguments)

    mse = network.mse
    monkeypatch.setattr(network, "mse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(name).fit(wave())
