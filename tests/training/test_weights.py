"""Weights stored in bfloat16 and int8: which are, that they load to the same bits, and what is refused."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.arrays import assert_equal, normal
from helpers.cases import LAYERS
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import rnnfast as rf
from rnnfast import _core, reference
from rnnfast.training import model_arrays, read_checkpoint, write_checkpoint
from rnnfast.training.weights import stored, widened

NARROW = ("bfloat16", "int8")
CELLS = sorted(LAYERS)


def tagger(seed: int = 0, **options: Any) -> rf.Sequential:
    """Tokens to logits, with a module of every kind."""
    return rf.Sequential(
        rf.Embedding(6, 5, rng=seed),
        rf.GRU(5, 4, num_layers=2, bidirectional=True, rng=seed, **options),
        rf.IndRNN(8, 7, rng=seed, **options),
        rf.Linear(7, 6, rng=seed, **options),
    )


def through_a_file(path: Path, model: Any, **options: Any) -> Any:
    """A copy of the model whose weights come from a file."""
    rf.save(path, model, **options)
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data[...] = 9.0
    rf.load(path, other)
    return other


def as_stored(weights: str, matrix: np.ndarray) -> tuple[np.ndarray, ...]:
    linear = rf.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    return stored(linear, {"weight": matrix}, weights)["weight"].arrays


def read_back(weights: str, matrix: np.ndarray) -> np.ndarray:
    linear = rf.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    return widened("weight", stored(linear, {"weight": matrix}, weights)["weight"])


# ---- the numbers

bits = st.integers(0, 2**32 - 1)
odd = st.sampled_from([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x3F808000, 0x3F818000, 0x0D800000, 0x0D7FFFFF])
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
patterns_of = hnp.arrays(np.uint32, shapes, elements=bits | odd | odd.map(lambda b: b | 1 << 31))
matrices = patterns_of.map(lambda patterns: patterns.view(np.float32))
finite = matrices.map(lambda matrix: np.where(np.isfinite(matrix), matrix, np.float32(0)))


@settings(max_examples=150, deadline=None)
@given(matrices)
def test_bfloat16_is_the_rounding_of_products(matrix: np.ndarray) -> None:
    got = read_back("bfloat16", matrix)
    want = reference.round_to_bfloat16(matrix)
    assert_equal(got.view(np.uint32), want.view(np.uint32))
    assert_equal(as_stored("bfloat16", got), as_stored("bfloat16", matrix))


@settings(max_examples=150, deadline=None)
@given(finite)
def test_int8_read_and_stored_again_has_the_same_integers_and_maxima(matrix: np.ndarray) -> None:
    integers, maxima = as_stored("int8", matrix)
    got = read_back("int8", matrix)
    assert (got.dtype, got.shape) == (np.float32, matrix.shape)
    assert_equal(as_stored("int8", got), (integers, maxima))
    assert_equal(read_back("int8", got), got)


@settings(max_examples=150, deadline=None)
@given(finite)
def test_int8_is_the_nearest_of_255_steps_of_each_row(matrix: np.ndarray) -> None:
    integers, maxima = as_stored("int8", matrix)
    got = read_back("int8", matrix)
    for row, kept, m, out in zip(matrix, integers, maxima, got, strict=True):
        largest = np.abs(row).max()
        if largest < 2.0**-100:
            assert (m, kept.any(), out.any()) == (0, False, False)
            continue
        assert m == largest
        assert_equal(kept, np.rint(row * (np.float32(127) / m)).astype(np.int8))
        assert_equal(out[np.abs(row) == m], row[np.abs(row) == m])
        assert (np.abs(out.astype(float) - row) <= 0.50001 * float(m) / 127).all()


def test_int8_rounds_half_to_even() -> None:
    matrix = np.array([[127, 0.5, 1.5, -2.5, -0.49, 126.5]], np.float32)
    assert as_stored("int8", matrix)[0].tolist() == [[127, 0, 2, -2, 0, 126]]


# ---- models


@pytest.mark.parametrize("weights", NARROW)
@pytest.mark.parametrize("cell", CELLS)
def test_a_loaded_model_has_the_bits_of_the_saved_one(tmp_path: Path, cell: str, weights: str) -> None:
    if weights not in _core.PRECISIONS:
        pytest.skip(f"no products in {weights}")
    options = {"proj_size": 3, "peephole": True} if cell == "lstm" else {}
    layer = LAYERS[cell](4, 6, num_layers=2, bidirectional=True, rng=1, **options)
    model = rf.Sequential(layer, rf.Linear(6 if cell == "lstm" else 12, 3, rng=2))
    other = through_a_file(tmp_path / "model.npz", model, weights=weights)
    assert not np.array_equal(other[0].weight_ih_l0.data, model[0].weight_ih_l0.data)
    model.matmul_precision = other.matmul_precision = weights
    x = normal(5, 3, 4)
    assert_equal(other(x), model(x))


@pytest.mark.parametrize("weights", NARROW)
def test_tokens_and_streams_have_the_bits_of_the_saved_model(tmp_path: Path, weights: str) -> None:
    if weights not in _core.PRECISIONS:
        pytest.skip(f"no products in {weights}")
    model = rf.Sequential(rf.Embedding(6, 5, rng=0), rf.LSTM(5, 4, rng=1), rf.Linear(4, 6, rng=2))
    model.matmul_precision = weights
    other = through_a_file(tmp_path / "model.npz", model, weights=weights)
    tokens = np.random.default_rng(0).integers(0, 6, (7, 2))
    assert_equal(other(tokens), model(tokens))
    ours, theirs = other.stream(2), model.stream(2)
    for row in tokens:
        assert_equal(ours(row), theirs(row))


@pytest.mark.parametrize("weights", NARROW)
def test_only_matrices_of_products_change(tmp_path: Path, weights: str) -> None:
    model = tagger()
    other = through_a_file(tmp_path / "model.npz", model, weights=weights)
    theirs = dict(model.named_parameters())
    changed = [n for n, p in other.named_parameters() if not np.array_equal(p.data, theirs[n].data)]
    assert changed == model.multiplied()
    assert [name for name in changed if "bias" in name or name in ("0.weight", "2.weight_hh_l0")] == []
    assert len(changed) == 2 * 2 * 2 + 1 + 1


@pytest.mark.parametrize("weights", NARROW)
def test_a_matrix_that_an_embedding_shares_stays(tmp_path: Path, weights: str) -> None:
    model = rf.Sequential(rf.Embedding(6, 4, rng=0), rf.GRU(4, 4, rng=1), rf.Linear(4, 6, rng=2))
    model[2].weight = model[0].weight
    assert model.multiplied() == ["1.weight_ih_l0", "1.weight_hh_l0"]
    other = through_a_file(tmp_path / "model.npz", model, weights=weights)
    assert_equal(other[2].weight.data, model[0].weight.data)


def test_files_are_smaller_and_their_entries_say_the_form(tmp_path: Path) -> None:
    model = rf.Sequential(rf.LSTM(64, 128, rng=0), rf.Linear(128, 10, rng=1))
    sizes, names = {}, {}
    for weights in ("float32", *NARROW):
        rf.save(tmp_path / weights, model, weights=weights)
        sizes[weights] = os.path.getsize(tmp_path / weights)
        with np.load(tmp_path / weights, allow_pickle=False) as file:
            names[weights] = {name: file[name].dtype.name for name in file if name.startswith("model.1")}
        assert read_checkpoint(tmp_path / weights)[1] == {}
    assert sizes["bfloat16"] < 0.52 * sizes["float32"]
    assert sizes["int8"] < 0.28 * sizes["float32"]
    assert names == {
        "float32": {"model.1.weight": "float32", "model.1.bias": "float32"},
        "bfloat16": {"model.1.weight.bfloat16": "uint16", "model.1.bias": "float32"},
        "int8": {"model.1.weight.int8": "int8", "model.1.weight.max": "float32", "model.1.bias": "float32"},
    }


@pytest.mark.parametrize("weights", NARROW)
def test_model_arrays_are_float32(tmp_path: Path, weights: str) -> None:
    model, path = tagger(), tmp_path / "model.npz"
    loaded = through_a_file(path, model, weights=weights)
    assert_equal(model_arrays(read_checkpoint(path)[0]), loaded.state_dict())


def test_parameters_may_have_the_names_of_forms(tmp_path: Path) -> None:
    names = ("int8", "max", "bfloat16")
    model = rf.ModuleDict({"a": rf.Linear(2, 3, rng=0)})
    model.own = rf.ParameterDict({name: rf.Parameter(normal(2, 3)) for name in names})
    for weights in ("float32", *NARROW):
        other = through_a_file(tmp_path / "model.npz", model, weights=weights)
        assert_equal(other.own.state_dict(), model.own.state_dict())
        read = model_arrays(read_checkpoint(tmp_path / "model.npz")[0])
        assert read.keys() == model.state_dict().keys()


# ---- what is refused


def test_what_cannot_be_narrow_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for weights in ("int4", "BFLOAT16", None, 8):
        with pytest.raises(ValueError, match=r"^weights: expected one of float32, bfloat16, int8, got"):
            rf.save(path, tagger(), weights=weights)  # type: ignore[arg-type]
    model = tagger()
    with pytest.raises(ValueError, match=r"^weights: expected 'float32' \(its default\) with an optimizer"):
        rf.save(path, model, rf.optim.SGD(model.parameters(), lr=0.1), weights="int8")
    double = rf.Sequential(rf.GRU(2, 3), rf.Linear(3, 4, dtype="float64"))
    with pytest.raises(ValueError, match=r"^weights: expected 'float32' .* with float64, got 'bfloat16'"):
        rf.save(path, double, weights="bfloat16")
    for number in (np.nan, np.inf):
        model[3].weight.data[1, 2] = number
        with pytest.raises(ValueError, match=r"^weights: expected finite numbers .* got others in 3\.weight"):
            rf.save(path, model, weights="int8")
    assert os.listdir(tmp_path) == []
    assert np.isinf(through_a_file(path, model, weights="bfloat16")[3].weight.data[1, 2])
    assert_equal(through_a_file(path, double).state_dict(), double.state_dict())


W = "model.3.weight"
Entries = dict[str, np.ndarray]
DAMAGES: dict[str, tuple[str, Any, str]] = {
    "no maxima": ("int8", lambda a: a.pop(f"{W}.max"), f"missing {W}.max"),
    "maxima of other rows": (
        "int8",
        lambda a: a.update({f"{W}.max": np.ones(5, np.float32)}),
        f"{W}.max: expected",
    ),
    "maxima of float64": ("int8", lambda a: a.update({f"{W}.max": np.ones(6)}), f"{W}.max: expected float32"),
    "an infinite maximum": ("int8", lambda a: a[f"{W}.max"].fill(np.inf), "3.weight: expected finite maxima"),
    "a maximum that is no number": (
        "int8",
        lambda a: a[f"{W}.max"].fill(np.nan),
        "3.weight: expected finite",
    ),
    "a negative maximum": ("int8", lambda a: a[f"{W}.max"].fill(-1), "3.weight: expected finite maxima"),
    "a tiny maximum": ("int8", lambda a: a[f"{W}.max"].fill(1e-40), "3.weight: expected finite maxima"),
    "-128": ("int8", lambda a: a[f"{W}.int8"].fill(-128), "3.weight: expected integers from -127 to 127"),
    "other integers": (
        "int8",
        lambda a: a.update({f"{W}.int8": np.ones((6, 7), np.uint8)}),
        f"{W}.int8: expected",
    ),
    "another shape": (
        "bfloat16",
        lambda a: a.update({f"{W}.bfloat16": a[f"{W}.bfloat16"].T}),
        "of shape (6, 7)",
    ),
    "floats": (
        "bfloat16",
        lambda a: a.update({f"{W}.bfloat16": np.ones((6, 7), np.float16)}),
        "expected uint16",
    ),
    "two forms": ("bfloat16", lambda a: a.update({W: np.ones((6, 7), np.float32)}), f"unexpected {W}"),
    "a form of no parameter": (
        "bfloat16",
        lambda a: a.update({"model.x.bfloat16": a[f"{W}.bfloat16"]}),
        "model.x",
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, damage: str) -> None:
    weights, change, message = DAMAGES[damage]
    path, model = tmp_path / "model.npz", tagger(7)
    rf.save(path, tagger(), weights=weights)
    arrays, metadata = read_checkpoint(path)
    change(arrays)
    write_checkpoint(path, arrays, metadata)
    before = model.state_dict()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        rf.load(path, model)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert_equal(model.state_dict(), before)
    if damage not in ("another shape", "other integers", "floats", "a form of no parameter"):
        with pytest.raises(ValueError, match=r"3\.weight"):
            model_arrays(arrays)


def test_a_float64_model_takes_no_narrow_file(tmp_path: Path) -> None:
    for weights in NARROW:
        rf.save(tmp_path / "model.npz", rf.Linear(3, 4, rng=0), weights=weights)
        with pytest.raises(ValueError, match=rf"missing model\.weight; unexpected model\.weight\.{weights}"):
            rf.load(tmp_path / "model.npz", rf.Linear(3, 4, dtype="float64"))


@pytest.mark.parametrize("weights", NARROW)
def test_cut_and_flipped_files_are_refused_or_read_the_same(tmp_path: Path, weights: str) -> None:
    path, model = tmp_path / "model.npz", tagger(7)
    rf.save(path, tagger(), weights=weights)
    data = path.read_bytes()
    rf.load(path, model)
    want = model.state_dict()
    rng = np.random.default_rng(0)
    refusals = []
    for place in rng.integers(0, len(data), 120):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << rng.integers(8)
        path.write_bytes(spoilt if place % 2 else data[:place])
        model = tagger(8)
        try:
            rf.load(path, model)
        except ValueError as error:
            refusals.append(str(error))
            assert_equal(model.state_dict(), tagger(8).state_dict())
        else:  # a date, an attribute: nothing that is read
            assert_equal(model.state_dict(), want)
    assert len(refusals) > 80
    assert all(refusal.startswith(f"{path}: ") for refusal in refusals)


@pytest.mark.parametrize("weights", NARROW)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    path = tmp_path / "model.npz"
    rf.save(path, tagger(), weights=weights)
    before = path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        rf.save(path, tagger(1), weights=weights)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
