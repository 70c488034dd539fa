"""The rungs of the ladder: each against an independent computation, none sees the future, intervals hold."""

from __future__ import annotations

import itertools
import signal

import numpy as np
import pytest
from differences import assert_gradients
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
    load_forecaster,
    training,
)
from rnnfast.series.arrays import History, spaced
from rnnfast.series.convolution import Flatten, SlidingWindows
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint

CELLS = ("linear", "sigmoid", "tanh", "gru", "lstm")
NETWORKS = {cell: lambda cell=cell: LatentAutoregression(cell, 6, steps=30, updates=20) for cell in CELLS}
NETWORKS["convolution"] = lambda: Convolution(6, 3, 4, updates=20)
NETWORKS["mlp"] = lambda: Perceptron(6, 5, updates=20)
PLAIN = {
    "last": LastValue,
    "season": lambda: SeasonalLastValue(7),
    "markov": lambda: Markov(5),
    "ar": lambda: AutoRegression(4),
}


def made(name):
    """A new forecaster."""
    return (PLAIN | NETWORKS)[name]()


@pytest.fixture(params=[*PLAIN, *NETWORKS])
def forecaster(request):
    return made(request.param)


def wave(N=160, S=None, seed=0):
    """Noisy sines, [N] or [N, S]."""
    rng = np.random.default_rng(seed)
    phases = 0.4 * np.arange(N)[:, np.newaxis] + np.arange(S or 1)
    series = 3.0 + np.sin(phases) + 0.3 * rng.standard_normal((N, S or 1))
    return series if S else series[:, 0]


# ---- each rung against an independent computation


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


@pytest.mark.parametrize("change", [{"low": 9.0}, {"begins": 9.0}, {"p": 0.7}])
def test_a_damaged_chain_is_refused(change, tmp_path):
    path = tmp_path / "model.npz"
    Markov(4).fit(wave()).save(path)
    arrays, metadata = read_checkpoint(path)
    ((name, value),) = change.items()
    array = arrays[f"own.0.{name}"]
    array[(0,) * array.ndim] = value
    write_checkpoint(path, arrays, metadata)
    with pytest.raises(ValueError, match=r"damaged: 0: levels out of order, or no probabilities"):
        load_forecaster(path)


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


# ---- nothing sees the future


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


def test_a_mean_lies_in_its_interval_where_all_residuals_have_one_sign():
    forecast = LastValue().fit(1.5 ** np.arange(60), horizon=4).predict(1.5 ** np.arange(60), level=0.1)
    assert (forecast.lower <= forecast.mean).all()
    assert (forecast.mean < forecast.upper).all()


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


# ---- intervals


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


# ---- several series


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


# ---- the same numbers again


def test_a_seed_gives_the_same_numbers(forecaster):
    series = wave()
    ours = forecaster.fit(series, horizon=3, rng=5).predict(series)
    again = forecaster.clone().fit(series, horizon=3, rng=5).predict(series)
    np.testing.assert_array_equal(ours, again)


@pytest.mark.parametrize("S", [None, 2])
def test_what_is_saved_forecasts_the_same_numbers(forecaster, S, tmp_path):
    series = wave(S=S)
    forecaster.fit(series, horizon=3, rng=0)
    forecaster.save(tmp_path / "model.npz", {"unit": "m"})
    loaded, metadata = load_forecaster(tmp_path / "model.npz")
    assert metadata == {"unit": "m"}
    assert (type(loaded), loaded.settings) == (type(forecaster), forecaster.settings)
    assert (loaded.parameters, loaded.horizon) == (forecaster.parameters, 3)
    np.testing.assert_array_equal(loaded.predict(series), forecaster.predict(series))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("residuals", np.zeros((3, 2))),
        ("residuals", np.full((6, 3, 1), np.nan)),
        ("std", np.ones(2)),
        ("std", np.zeros(1)),
        ("mean", np.zeros(1, int)),
        ("residuals", np.arange(18.0)[::-1].reshape(6, 3, 1)),
        ("residuals", np.zeros((6, 3, 1), bool)),
        ("own.0.bias_hh_l0", np.full(18, np.nan, np.float32)),
        ("own.other", np.zeros(2)),
        ("other", np.zeros(2)),
        ("own.0.weight_hh_l0", np.zeros((2, 2), np.float32)),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, name, value):
    path = tmp_path / "model.npz"
    made("gru").fit(wave(), horizon=3, rng=0).save(path)
    arrays, metadata = read_checkpoint(path)
    write_checkpoint(path, arrays | {name: value}, metadata)
    with pytest.raises(ValueError, match=r"model\.npz: damaged: "):
        load_forecaster(path)
    for size in (10**9, 10**30, "a", -1, 0, True):
        own = {**metadata["forecaster"], "settings": {**metadata["forecaster"]["settings"], "hidden": size}}
        write_checkpoint(path, arrays, {**metadata, "forecaster": own})
        with pytest.raises(ValueError, match=r"model\.npz: damaged: "):
            load_forecaster(path)
    two = {n: np.repeat(a, 2, axis=-1) for n, a in arrays.items() if not n.startswith("own.")}
    for flat, own in (("no", arrays), (True, arrays | two)):
        write_checkpoint(path, own, {**metadata, "forecaster": {**metadata["forecaster"], "flat": flat}})
        with pytest.raises(ValueError, match="flat: expected a bool that fits"):
            load_forecaster(path)
    write_checkpoint(path, arrays, {"kind": "other"})
    with pytest.raises(ValueError, match="not one of a forecaster"):
        load_forecaster(path)


# ---- refusals


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
    with pytest.raises(ValueError, match="cell: expected one of linear"):
        LatentAutoregression("transformer")
    with pytest.raises(ValueError, match="smoothing: expected a number above 0"):
        Markov(smoothing=0)


@pytest.mark.parametrize("name", ["gru", "convolution"])
def test_ctrl_c_ends_the_training(name, monkeypatch):
    def interrupted(*arguments):
        signal.raise_signal(signal.SIGINT)
        return mse(*arguments)

    mse = training.mse
    monkeypatch.setattr(training, "mse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(name).fit(wave())


# ---- quantiles, bias, and bounds at zero


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
