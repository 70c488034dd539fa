"""A forecaster that is saved and read forecasts the same numbers; a damaged file is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.forecasters import made, wave

from rnnfast.series import Markov, load_forecaster
from rnnfast.training.checkpoint import read_checkpoint, write_checkpoint


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
    write_checkpoint(path, arrays, {**metadata, "forecaster": {**metadata["forecaster"], "class": "Mine"}})
    with pytest.raises(ValueError, match=r"damaged: class: expected one of LastValue, .* got 'Mine'"):
        load_forecaster(path)
    write_checkpoint(path, arrays, {"kind": "other"})
    with pytest.raises(ValueError, match="not one of a forecaster"):
        load_forecaster(path)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("gru", {"hidden": 400}), ("mlp", {"window": 40, "hidden": 400}), ("convolution", {"channels": 400})],
)
def test_a_small_file_asks_for_no_large_network(name, settings, tmp_path, monkeypatch):
    """Even if some array is as long as each setting."""
    path = tmp_path / "model.npz"
    forecaster = made(name).fit(wave(), horizon=3, rng=0)
    forecaster.save(path)
    arrays, metadata = read_checkpoint(path)
    own = metadata["forecaster"]
    own["settings"] |= settings
    write_checkpoint(path, arrays, metadata)
    monkeypatch.setattr(type(forecaster), "_build", lambda *_: pytest.fail("memory is taken"))
    with pytest.raises(ValueError, match="damaged: settings: expected a network of"):
        load_forecaster(path)


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
