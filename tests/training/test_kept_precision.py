"""Files remember `matmul_precision`: of models, of runs that resume, of text models and forecasters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.forecasters import made, wave
from helpers.models import weights_of
from training.runs import classifier, fit_quietly, labelled

import rnnfast as rf
from rnnfast import text
from rnnfast.series import load_forecaster
from rnnfast.training import Run, read_checkpoint, write_checkpoint


def model_of(*precisions: str, seed: int = 0) -> rf.Sequential:
    lstm, linear = (dict(matmul_precision=precision) for precision in precisions)
    return rf.Sequential(
        rf.Embedding(5, 3, rng=seed), rf.LSTM(3, 4, rng=seed, **lstm), rf.Linear(4, 5, rng=seed, **linear)
    )


def precisions(model: rf.Module) -> list[str | None]:
    return [module.matmul_precision for module in model]  # type: ignore[attr-defined]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of a model whose LSTM multiplies in bfloat16."""
    rf.save(tmp_path / "model.npz", model_of("bfloat16", "float32"), metadata={"a": 1})
    return tmp_path / "model.npz"


def changed(path: Path, **entries: Any) -> Path:
    """The file with some entries replaced; None leaves one out."""
    arrays, metadata = read_checkpoint(path)
    arrays |= entries
    write_checkpoint(path, {name: array for name, array in arrays.items() if array is not None}, metadata)
    return path


@pytest.mark.parametrize("before", ["float32", "bfloat16"])
def test_a_model_takes_over_the_precision_of_its_file(saved: Path, before: str) -> None:
    model = model_of(before, before, seed=1)
    assert rf.load(saved, model) == {"a": 1}
    assert precisions(model) == [None, "bfloat16", "float32"]
    tokens = np.arange(10).reshape(5, 2) % 5
    assert_equal(model(tokens), model_of("bfloat16", "float32")(tokens))
    rf.save(saved, model_of("float32", "float32"))
    rf.load(saved, model)
    assert model.matmul_precision == "float32"


def test_a_file_from_before_leaves_the_precision(saved: Path) -> None:
    changed(saved, matmul_precision=None)
    for before in ("float32", "bfloat16"):
        model = model_of(before, before, seed=1)
        rf.load(saved, model)
        assert model.matmul_precision == before


def test_a_single_layer_a_dict_and_a_model_without_products(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    layer = rf.GRU(2, 3)
    rf.save(path, rf.GRU(2, 3, matmul_precision="bfloat16"))
    rf.load(path, layer)
    assert layer.matmul_precision == "bfloat16"
    pair = {"a": rf.GRU(2, 3), "b": rf.Linear(3, 2)}
    rf.save(path, {"a": layer, "b": rf.Linear(3, 2)})
    rf.load(path, pair)
    assert [module.matmul_precision for module in pair.values()] == ["bfloat16", "float32"]
    rf.save(path, rf.Embedding(3, 2))
    rf.load(path, rf.Embedding(3, 2))
    assert "matmul_precision" not in read_checkpoint(path)[0]
    rf.save(path, rf.GRU(2, 3, dtype="float64"))
    rf.load(path, rf.GRU(2, 3, dtype="float64"))


def test_modules_may_be_named_that_do_not_multiply_here(saved: Path) -> None:
    rows = [["1", "bfloat16"], ["0", "float32"], ["elsewhere", "float32"]]
    model = model_of("float32", "bfloat16")
    rf.load(changed(saved, matmul_precision=np.array(rows)), model)
    assert precisions(model) == [None, "bfloat16", "bfloat16"]  # the file does not name the last


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([["1", "bfloat16"], ["2", "half"]], "matmul_precision: expected one of "),
        ([["0", "bfloat16"]], "matmul_precision: expected '0' to be a module that multiplies, got none"),
        ([["9", "bfloat16"]], "matmul_precision: expected '9' to be a module that multiplies, got none"),
        ([[1.0, 2.0]], "matmul_precision: expected text of shape [N, 2], got float64 of shape [1, 2]"),
        (["1", "bfloat16"], "matmul_precision: expected text of shape [N, 2], got <U8 of shape [2]"),
        ([["1"], ["2"]], "matmul_precision: expected text of shape [N, 2], got <U1 of shape [2, 1]"),
    ],
)
def test_a_damaged_entry_changes_nothing(saved: Path, entry: Any, message: str) -> None:
    changed(saved, matmul_precision=np.array(entry))
    model = model_of("float32", "float32", seed=1)
    before = model.state_dict()
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{saved}: {message}')}"):
        rf.load(saved, model)
    assert_equal(model.state_dict(), before)
    assert model.matmul_precision == "float32"


def test_a_resumed_run_has_the_bits_of_one_that_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    options: Any = {"batch_size": 8, "epochs": 3, "validation": labelled(1, 8)}

    def stop(run: Run) -> None:
        if run.event == "step" and run.step == 4:
            raise KeyboardInterrupt

    want, first, second = (classifier(dropout=0.2) for _ in range(3))
    want.matmul_precision = first.matmul_precision = "bfloat16"
    fit_quietly(want, labelled(), **options)
    assert fit_quietly(first, labelled(), callbacks=[stop], checkpoint=path, **options).interrupted
    fit_quietly(second, labelled(), resume=path, checkpoint=path, **options)
    assert second.matmul_precision == "bfloat16"
    assert_equal(weights_of(second), weights_of(want))
    exact = classifier(dropout=0.2)
    fit_quietly(exact, labelled(), **options)
    assert not np.array_equal(weights_of(exact), weights_of(want))


def test_a_run_with_a_damaged_precision_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    fit_quietly(classifier(), labelled(), epochs=1, checkpoint=path)
    changed(path, matmul_precision=np.array([["0", "half"]]))
    model = classifier()
    before = weights_of(model)
    with pytest.raises(ValueError, match=r"run\.npz: matmul_precision: expected one of"):
        fit_quietly(model, labelled(), epochs=2, resume=path)
    assert_equal(weights_of(model), before)


@pytest.mark.parametrize("cell", ["lstm", "window"])
def test_text_models(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "model.npz"
    model = text.build(text.Characters("abc\n"), cell=cell, hidden=8, rng=0)
    exact = model.bits_per_symbol("abcabccba")
    model.model.matmul_precision = "bfloat16"
    rounded = model.bits_per_symbol("abcabccba")
    assert rounded != exact
    for weights in ("float32", "bfloat16"):
        model.save(path, weights=weights)
        loaded = text.load(path)
        assert loaded.model.matmul_precision == "bfloat16"
        assert loaded.bits_per_symbol("abcabccba") == rounded
        assert loaded.generate("ab", 20, rng=1) == model.generate("ab", 20, rng=1)
    assert text.load(changed(path, matmul_precision=None)).model.matmul_precision == "float32"
    changed(path, matmul_precision=np.array([["2", "half"]]))
    with pytest.raises(ValueError, match=r"model\.npz: damaged: matmul_precision: expected one of"):
        text.load(path)


def test_text_models_in_int8(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    model = text.build(text.Characters("abc\n"), hidden=32, rng=0)
    model.save(path, weights="int8")
    loaded = text.load(path)
    assert loaded.bits_per_symbol("abcabccba") == pytest.approx(model.bits_per_symbol("abcabccba"), rel=0.01)
    arrays, _ = read_checkpoint(path)
    arrays["model.4.weight.max"][0] = np.nan
    changed(path, **arrays)
    with pytest.raises(ValueError, match=r"model\.npz: damaged: 4\.weight: expected finite maxima"):
        text.load(path)


@pytest.mark.parametrize("name", ["gru", "mlp"])
def test_forecasters(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.npz"
    forecaster = made(name).fit(wave(), horizon=3, rng=0)
    exact = forecaster.predict(wave()).mean
    forecaster.matmul_precision = "bfloat16"
    rounded = forecaster.predict(wave())
    assert not np.array_equal(rounded.mean, exact)
    forecaster.save(path)
    loaded, metadata = load_forecaster(path)
    assert (loaded.matmul_precision, metadata) == ("bfloat16", {})
    assert_equal(loaded.predict(wave()), rounded)
    arrays, metadata = read_checkpoint(path)
    for kept, precision in (({}, "float32"), ({"matmul_precision": "half"}, None)):
        own = {
            key: metadata["forecaster"][key] for key in metadata["forecaster"] if key != "matmul_precision"
        }
        write_checkpoint(path, arrays, {**metadata, "forecaster": own | kept})
        if precision is not None:
            assert load_forecaster(path)[0].matmul_precision == precision
            continue
        with pytest.raises(ValueError, match=r"damaged: matmul_precision: expected one of"):
            load_forecaster(path)
    assert forecaster.fit(wave(), horizon=3, rng=0).matmul_precision == "float32"


def test_a_forecaster_without_a_network_has_none(tmp_path: Path) -> None:
    assert made("ar").matmul_precision is None
    with pytest.raises(AttributeError):
        made("ar").matmul_precision = "bfloat16"
    with pytest.raises(ValueError, match="expected a fitted forecaster"):
        made("gru").matmul_precision = "bfloat16"
