"""Long tables made wide, and models that several series share."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.series import AutoRegression, Markov, backtest, ladder, load_forecaster, pivot

rng = np.random.default_rng(0)


def siblings(N=40, S=12):
    """Short series of one process, at levels and sizes of their own: [N, S]."""
    series = np.zeros((N, S))
    for t in range(2, N):
        series[t] = 1.6 * series[t - 1] - 0.9 * series[t - 2] + rng.standard_normal(S)
    return 50.0 * np.arange(S) + series * 2.0 ** np.arange(S)


def test_a_long_table_becomes_a_wide_one_in_whatever_order_its_rows_are():
    series = rng.standard_normal((7, 3))
    rows = rng.permutation(21)
    times, names = np.repeat(np.arange(7), 3)[rows], np.tile(["x", "y", "z"], 7)[rows]
    wide = pivot(times, names, series.ravel()[rows])
    assert wide.names == list(dict.fromkeys(names.tolist()))
    for s, name in enumerate(wide.names):
        np.testing.assert_array_equal(wide.series[:, s], series[:, "xyz".index(name)])
    days = np.array(["2024-01-02", "2024-01-01"], "datetime64[D]")
    assert pivot(days, ["a", "a"], [1, 2]).times.tolist() == sorted(days.tolist())
    np.testing.assert_array_equal(pivot([1, 2], ["a", "b"], [3.0, 4.0]).series, [[3, np.nan], [np.nan, 4]])


def test_mistakes_in_a_long_table_are_named():
    with pytest.raises(ValueError, match="times: expected each time once for a name, got 5 twice for b"):
        pivot([5, 5, 5], ["a", "b", "b"], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"values: expected three arrays of one shape \[R\], got \(2,\)"):
        pivot([1, 2], ["a"], [1.0])
    with pytest.raises(TypeError, match="values: expected real numbers"):
        pivot([1], ["a"], ["x"])


def test_a_shared_autoregression_is_least_squares_on_all_series_scaled_each_by_itself():
    series = siblings()
    model = AutoRegression(2, shared=True).fit(series, horizon=2)
    scaled = (series - series.mean(axis=0)) / series.std(axis=0)
    rows = [[1.0, *column[t - 2 : t]] for column in scaled.T for t in range(2, 40)]
    targets = [column[t] for column in scaled.T for t in range(2, 40)]
    coefficients = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    expected = np.array([[1.0, *column[-2:]] for column in scaled.T]) @ coefficients
    mean = model.predict(series).mean
    np.testing.assert_allclose(mean[0], expected * series.std(axis=0) + series.mean(axis=0))
    assert model.parameters == 3


def test_a_shared_chain_counts_the_moves_of_all_series():
    column = (rng.random(60) < 0.4).astype(float)
    series = np.stack([column, column[::-1]], axis=1)
    model = Markov(2, smoothing=1e-9, shared=True).fit(series)
    moves = np.zeros((2, 2))
    for part in series.T.astype(int):
        np.add.at(moves, (part[:-1], part[1:]), 1)
    p = moves / moves.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(series).mean[0], p[series[-1].astype(int), 1])
    assert model.parameters == Markov(2).fit(column).parameters


@pytest.mark.parametrize("make", [lambda **k: AutoRegression(6, **k), lambda **k: Markov(5, **k)])
def test_short_series_of_one_kind_are_forecast_better_together(make):
    series = siblings()
    shared, apart = backtest(series, [make(shared=True), make()])
    assert shared.one_step < apart.one_step


@pytest.mark.parametrize("name", ["ar", "markov"])
def test_a_shared_model_is_saved_and_read(name, tmp_path):
    series = siblings()
    model = ladder(4, shared=True, difference=0)[name].fit(series, horizon=2)
    model.save(tmp_path / "model.npz")
    loaded, _ = load_forecaster(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.predict(series), model.predict(series))
    with pytest.raises(TypeError, match="shared: expected True or False, got 1"):
        AutoRegression(3, shared=1)
