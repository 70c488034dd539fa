"""Covariates: what is known of the steps to come is used, and nothing else of the future."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.series import (
    AutoRegression,
    LastValue,
    LatentAutoregression,
    Perceptron,
    backtest,
    ladder,
    load_forecaster,
)

READERS = {
    "ar": lambda **keywords: AutoRegression(3, **keywords),
    "mlp": lambda **keywords: Perceptron(3, 8, updates=200, **keywords),
    "gru": lambda **keywords: LatentAutoregression("gru", 8, steps=30, updates=200, **keywords),
    "lstm": lambda **keywords: LatentAutoregression("lstm", 8, steps=30, updates=200, **keywords),
}
N, H = 200, 5
rng = np.random.default_rng(0)
KNOWN = rng.standard_normal((N + H, 2))  # which no past tells
SERIES = 10.0 + 3.0 * KNOWN[:N, 0] - KNOWN[:N, 1] + 0.1 * rng.standard_normal(N)


def fitted(name, **keywords):
    return READERS[name](**keywords).fit(SERIES, horizon=H, covariates=KNOWN, rng=0)


def test_an_autoregression_with_covariates_is_least_squares():
    rows = np.array([[1.0, *SERIES[t - 3 : t], *KNOWN[t]] for t in range(3, N)])
    coefficients = np.linalg.lstsq(rows, SERIES[3:], rcond=None)[0]
    values = list(SERIES)
    for t in range(N, N + H):
        values.append(np.dot([1.0, *values[-3:], *KNOWN[t]], coefficients))
    model = fitted("ar")
    np.testing.assert_allclose(model.predict(SERIES, covariates=KNOWN).mean, values[-H:])
    assert (model.parameters, model.covariates) == (3 + 1 + 2, 2)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("difference", [0, 1])
def test_covariates_make_forecasts_that_no_past_could(name, difference):
    scores = backtest(
        SERIES, [LastValue(), READERS[name](difference=difference)], horizon=H, covariates=KNOWN[:N]
    )
    last, score = scores
    assert score.all_steps < 0.5 * last.all_steps
    assert score.forecaster.covariates == 2
    assert last.forecaster.covariates == 0


@pytest.mark.parametrize("name", READERS)
def test_a_forecast_reads_the_covariates_up_to_its_own_step_alone(name):
    model = fitted(name)
    origins = np.array([50, 120])
    before = model.roll(SERIES, origins, covariates=KNOWN).mean
    for k, origin in enumerate(origins):
        for j in range(H):
            changed = KNOWN.copy()
            changed[origin + j + 1 :] += 7.0
            after = model.roll(SERIES, origins, covariates=changed).mean
            np.testing.assert_array_equal(before[k, : j + 1], after[k, : j + 1])
            if j + 1 < H:
                assert before[k, j + 1] != after[k, j + 1]
        alone = model.predict(SERIES[:origin], covariates=KNOWN).mean
        np.testing.assert_allclose(before[k], alone, rtol=1e-6)


def test_a_latent_state_reads_each_covariate_with_the_value_in_front_of_it():
    model = fitted("gru")
    u = (KNOWN - KNOWN[:N].mean(axis=0)) / KNOWN[:N].std(axis=0)
    step = model._network.stream()
    for t, value in enumerate((SERIES - SERIES.mean()) / SERIES.std()):
        x = step(np.array([[value, *u[t + 1]]], np.float32))
    expected = []
    for j in range(H):
        expected.append(float(x[0, 0]) * SERIES.std() + SERIES.mean())
        if j + 1 < H:
            x = step(np.array([[x[0, 0], *u[N + j + 1]]], np.float32))
    np.testing.assert_allclose(model.predict(SERIES, covariates=KNOWN).mean, expected, rtol=1e-5)


def test_series_share_covariates_or_have_their_own():
    both = np.stack([SERIES, SERIES[::-1]], axis=1)
    own = np.stack([KNOWN[:N], KNOWN[:N][::-1]], axis=1)  # [N, S, K]
    apart = AutoRegression(3).fit(both, covariates=own)
    for s in range(2):
        alone = AutoRegression(3).fit(both[:, s], covariates=own[:, s])
        np.testing.assert_allclose(
            apart.roll(both, [50], covariates=own).mean[..., s],
            alone.roll(both[:, s], [50], covariates=own[:, s]).mean,
        )
    shared = AutoRegression(3).fit(both, covariates=KNOWN[:, 0])
    assert shared.covariates == 1


@pytest.mark.parametrize("name", READERS)
def test_what_is_saved_forecasts_the_same_numbers(name, tmp_path):
    model = fitted(name)
    model.save(tmp_path / "model.npz")
    loaded, _ = load_forecaster(tmp_path / "model.npz")
    ours, theirs = (one.predict(SERIES, covariates=KNOWN) for one in (model, loaded))
    np.testing.assert_array_equal(ours, theirs)


def test_a_covariate_that_does_not_vary_says_nothing():
    flat = np.column_stack([KNOWN, np.full(N + H, 3.0)])
    model = AutoRegression(3).fit(SERIES, covariates=flat)
    mean = model.predict(SERIES, covariates=flat).mean
    np.testing.assert_allclose(mean, fitted("ar").predict(SERIES, 1, covariates=KNOWN).mean)


def test_who_reads_covariates():
    readers = {name for name, rung in ladder(season=7).items() if rung.reads_covariates}
    assert readers == {"ar", "mlp", "linear", "sigmoid", "tanh", "gru", "lstm"}


@pytest.mark.parametrize(
    ("covariates", "error", "message"),
    [
        (KNOWN[: N - 1], ValueError, "covariates: expected at least 200 rows, got 199"),
        (np.zeros((N, 3, 1)), ValueError, r"covariates: expected shape \[N\], \[N, K\] or \[N, 1, K\], got"),
        (np.zeros((N, 0)), ValueError, r"covariates: expected shape .* got \(200, 0\)"),
        (["a"] * N, TypeError, "covariates: expected real numbers"),
        (np.full(N, np.nan), ValueError, "covariates: expected finite numbers .* got row 0"),
    ],
)
def test_covariates_that_cannot_be_are_refused(covariates, error, message):
    with pytest.raises(error, match=message):
        AutoRegression(3).fit(SERIES, covariates=covariates)


def test_forecasts_without_their_covariates_are_refused():
    model = fitted("ar")
    with pytest.raises(ValueError, match="covariates: expected those of 205 rows, as fit had some, got none"):
        model.predict(SERIES)
    with pytest.raises(ValueError, match="covariates: expected at least 205 rows, got 200"):
        model.predict(SERIES, covariates=KNOWN[:N])
    with pytest.raises(ValueError, match="covariates: expected 2 of them, as in fit, got 1"):
        model.predict(SERIES, covariates=KNOWN[:, 0])
