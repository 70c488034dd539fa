"""The promises of the CTC loss: it sums over all paths; the reference, PyTorch, bits, refusals."""

from __future__ import annotations

import math
import warnings
from functools import partial
from itertools import groupby, product
from typing import Any

import numpy as np
import pytest
from helpers.differences import central_differences
from helpers.tolerances import FINITE_DIFFERENCES, error
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnfast as rf
from rnnfast import _core, reference
from rnnfast.nn.losses import ctc


def over_all_paths(y: np.ndarray, labels: list[int], blank: int = 0) -> float:
    """The definition: y [T, V], every path one by one."""
    T, V = y.shape
    p = np.exp(y) / np.exp(y).sum(axis=1, keepdims=True)
    total = 0.0
    for path in product(range(V), repeat=T):
        if [k for k, _ in groupby(path) if k != blank] == list(labels):
            total += math.prod(p[t, k] for t, k in enumerate(path))
    return -math.log(total) if total else math.inf


def batch(T: int, B: int, V: int, seed: int, blank: int = 0) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """Logits, labels that have a path and lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, B)
    classes = np.delete(np.arange(V), blank)
    labels = [rng.choice(classes, rng.integers(0, (n + 1) // 2 + 1)) for n in lengths]
    return 2 * rng.normal(size=(T, B, V)), labels, lengths


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 5), V=st.integers(2, 4), count=st.integers(0, 3), seed=st.integers(0, 99))
def test_the_loss_is_the_sum_over_all_paths(T: int, V: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    blank = int(rng.integers(V))
    y, labels = rng.normal(size=(T, V)), rng.choice(np.delete(np.arange(V), blank), count)
    expected = over_all_paths(y, labels.tolist(), blank)
    losses, _ = reference.ctc(y[:, np.newaxis], [labels.tolist()], blank=blank)
    loss, _ = ctc(y, labels, blank=blank)
    for got in (float(losses[0]), loss):
        assert math.isclose(got, expected, rel_tol=1e-12, abs_tol=1e-13)


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(1, 12),
    B=st.integers(1, 5),
    V=st.integers(2, 5),
    seed=st.integers(0, 99),
    batch_first=st.booleans(),
)
def test_loss_and_gradient_are_those_of_the_reference(
    T: int, B: int, V: int, seed: int, batch_first: bool
) -> None:
    blank = seed % V
    y, labels, lengths = batch(T, B, V, seed, blank)
    losses, expected = reference.ctc(y, [row.tolist() for row in labels], lengths.tolist(), blank)
    options = {"lengths": lengths, "blank": blank, "zero_infinity": True}
    possible = np.isfinite(losses)
    expected[:, ~possible] = 0
    got, dy = ctc(y.swapaxes(0, 1) if batch_first else y, labels, batch_first=batch_first, **options)
    assert math.isclose(got, np.where(possible, losses, 0).mean(), rel_tol=1e-12, abs_tol=1e-12)
    np.testing.assert_allclose(dy.swapaxes(0, 1) if batch_first else dy, expected / B, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    y, labels, lengths = batch(7, 4, 4, 3)
    labels[0], lengths[0] = np.array([2, 2, 1]), 7
    _, dy = ctc(y, labels, lengths=lengths)
    numeric = central_differences(y, lambda: ctc(y, labels, lengths=lengths)[0])
    assert error(dy, numeric) <= FINITE_DIFFERENCES


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_losses_and_gradients_are_those_of_torch(zero_infinity: bool) -> None:
    torch = pytest.importorskip("torch")
    T, B, V = 30, 8, 6
    y, labels, lengths = batch(T, B, V, 4)
    labels[0], lengths[0] = np.array([2, 2, 2, 1]), 6  # no path: repeated labels need a blank between
    labels[1], lengths[1] = np.array([2, 2, 2, 1]), T
    labels[2] = np.array([], int)
    counts = np.array([len(row) for row in labels])
    padded = np.full((B, counts.max()), -100)
    for row, own in zip(padded, labels, strict=True):
        row[: len(own)] = own
    tensor = torch.tensor(y, requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        tensor.log_softmax(-1),
        torch.tensor(padded.clip(0)),
        torch.tensor(lengths),
        torch.tensor(counts),
        reduction="none",
        zero_infinity=zero_infinity,
    ).mean()
    expected.backward()
    within = np.arange(T)[:, np.newaxis] < lengths
    for targets, more in ((labels, {}), (padded, {}), (padded, {"target_lengths": counts})):
        for steps in ({"lengths": lengths}, {"mask": within}):
            loss, dy = ctc(y, targets, zero_infinity=zero_infinity, **more, **steps)
            assert math.isclose(loss, expected.item(), rel_tol=1e-12)
            np.testing.assert_allclose(dy[within], tensor.grad.numpy()[within], atol=1e-12)
            assert not dy[~within].any()


def test_a_sequence_without_a_path_has_an_infinite_loss_and_a_gradient_of_nan() -> None:
    y = np.zeros((3, 2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, dy = ctc(y, [[1, 1, 2], [1, 2, 3]])
        zeroed, zeros = ctc(y, [[1, 1, 2], [1, 2, 3]], zero_infinity=True)
        alone, gradient = ctc(y[:, 1:], [[1, 2, 3]])
    assert loss == math.inf
    assert np.isnan(dy[:, 0]).all()
    np.testing.assert_array_equal(2 * dy[:, 1:], gradient)
    assert zeroed == alone / 2
    assert not zeros[:, 0].any()


def test_logits_may_be_large_infinite_or_nan() -> None:
    y = np.zeros((4, 2, 3))
    y[:, 0, 1] = [1e4, -1e4, -np.inf, 3e300]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, dy = ctc(y, [[1, 1], [2]])
        y[1, 1, 0] = np.nan
        worse, gradient = ctc(y, [[1, 1], [2]])
    assert math.isfinite(loss)
    assert np.isfinite(dy).all()
    assert math.isnan(worse)
    assert np.isnan(gradient[:, 1]).all()
    np.testing.assert_array_equal(gradient[:, 0], dy[:, 0])


def test_unlikely_labels_do_not_underflow() -> None:
    y = np.zeros((200, 1, 3))
    y[..., 0] = 800  # blank everywhere: each label has a probability of exp(-800)
    loss, dy = ctc(y, [[1, 2] * 40])
    expected, gradient = reference.ctc(y, [[1, 2] * 40])
    assert math.isclose(loss, expected[0], rel_tol=1e-12)
    assert loss > 60000
    np.testing.assert_allclose(dy, gradient, atol=1e-8)


def test_skipped_steps_are_as_if_they_were_not_there() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(size=(9, 3, 4))
    mask = rng.random((9, 3)) < 0.7
    mask[:, 2] = False
    spoilt = np.where(mask[..., np.newaxis], y, np.nan)
    loss, dy = ctc(spoilt, [[1, 2], [3], [77]], mask)
    assert not dy[~mask].any()
    total = 0.0
    for b, labels in enumerate([[1, 2], [3]]):
        own, gradient = ctc(y[mask[:, b], b], labels)
        total += own / 2
        np.testing.assert_array_equal(dy[mask[:, b], b], gradient / 2)
    assert math.isclose(loss, total, rel_tol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sequence_has_the_same_bits_alone_in_any_batch_for_any_threads_and_instructions(
    dtype: Any, restored: None, dirty_memory: None
) -> None:
    y, labels, lengths = batch(40, 8, 5, 6)
    y = y.astype(dtype)
    _core.force_split("rows")
    runs = []
    for threads, isa in [(1, None), (2, None), (5, None), *((1, isa) for isa in _core.available_isas())]:
        rf.set_num_threads(threads)
        _core.force_isa(isa)
        runs.append(ctc(y, labels, lengths=lengths, zero_infinity=True))
    for loss, dy in runs[1:]:
        assert loss == runs[0][0]
        np.testing.assert_array_equal(dy, runs[0][1])
    for b in range(8):
        _, alone = ctc(y[: lengths[b], b], labels[b], zero_infinity=True)
        np.testing.assert_array_equal(runs[0][1][: lengths[b], b], alone / 8)  # 1/8 is exact
    assert runs[0][1].dtype == dtype


def test_a_mean_over_nothing_is_zero_with_a_zero_gradient() -> None:
    for y, targets, mask in (
        (np.ones((0, 2, 3), np.float32), [[1], [2]], None),
        (np.ones((4, 0, 3)), [], None),
        (np.ones((4, 2, 3)), [[1], [2]], np.zeros((4, 2), bool)),
    ):
        loss, dy = ctc(y, targets, mask)
        assert loss == 0.0
        assert (dy.shape, dy.dtype) == (y.shape, y.dtype)
        assert not dy.any()


def test_inputs_are_left_as_they_are() -> None:
    y, labels, lengths = batch(6, 3, 4, 7)
    before = y.copy()
    ctc(y, labels, lengths=lengths)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize(
    ("arguments", "keywords", "kind", "message"),
    [
        ((np.zeros((4, 2, 3), int), [[1], [2]]), {}, TypeError, "^y: expected float32"),
        ((np.zeros(3), [1]), {}, ValueError, r"^y: expected shape \[T, B, V\] or \[T, V\]"),
        ((np.zeros((4, 2, 3)), [[1]]), {}, ValueError, "^targets: expected the labels of 2 sequences, got"),
        (
            (np.zeros((4, 2, 3)), [[1], [3]]),
            {},
            ValueError,
            r"^targets: .*0\.\.2 other than the blank 0, got 3",
        ),
        ((np.zeros((4, 2, 3)), [[1], [0]]), {}, ValueError, r"other than the blank 0, got 0"),
        ((np.zeros((4, 2, 3)), [[1], [2.0]]), {}, TypeError, r"^targets\[1\]: expected integer labels"),
        ((np.zeros((4, 2, 3)), [[1], [[2]]]), {}, ValueError, r"^targets\[1\]: expected labels in one row"),
        (
            (np.zeros((4, 2, 3)), [[1, 1], [-100, 2]]),
            {},
            ValueError,
            r"^targets\[1\]: expected -100 behind all labels, got \[-100, 2\]",
        ),
        ((np.zeros((4, 2, 3)), [[1], [2]]), {"blank": 3}, ValueError, r"^blank: expected a class in 0\.\.2"),
        ((np.zeros((4, 2, 3)), [[1], [2]]), {"lengths": [4, 5]}, ValueError, "^lengths: expected 0 to T = 4"),
        (
            (np.zeros((4, 3)), [1]),
            {"lengths": [4]},
            ValueError,
            "^lengths: expected one integer, as y is unb",
        ),
        (
            (np.zeros((4, 2, 3)), [[1], [2]]),
            {"target_lengths": [1, 2]},
            ValueError,
            "^target_lengths: expected 0 to 1, got 2",
        ),
        (
            (np.zeros((4, 2, 3)), [[1], [2]]),
            {"target_lengths": [1.0, 1.0]},
            TypeError,
            "^target_lengths: expected an integer dtype",
        ),
        (
            (np.zeros((4, 2, 3)), [[1], [2]]),
            {"target_lengths": [1]},
            ValueError,
            r"^target_lengths: expected shape \[2\], got \(1,\)",
        ),
        ((np.zeros((4, 2, 3)), [[1], [2]], np.ones((2, 4), bool)), {}, ValueError, "^mask: expected shape"),
        ((np.zeros((4, 2, 3)), [[1], [2]], np.ones((4, 2))), {}, TypeError, "^mask: expected bool"),
        ((np.zeros((4, 2, 3)), np.ma.array([[1], [2]])), {}, TypeError, "^targets: expected a plain array"),
    ],
)
def test_errors_name_the_argument_and_what_came(
    arguments: Any, keywords: Any, kind: Any, message: str
) -> None:
    with pytest.raises(kind, match=message):
        ctc(*arguments, **keywords)


# With models


def spoken(count: int, rng: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences [T, count, 3] in which each label is heard for some steps, labels -100 behind, lengths."""
    T = 20
    x = 0.3 * rng.standard_normal((T, count, 3)).astype(np.float32)
    labels, lengths = np.full((count, 3), -100), np.zeros(count, int)
    for b in range(count):
        t = 0
        for n in range(rng.integers(1, 4)):
            t += rng.integers(1, 3)
            labels[b, n] = rng.integers(1, 3)
            steps = rng.integers(2, 4)
            x[t : t + steps, b, labels[b, n]] += 2
            t += steps
        lengths[b] = min(T, t + 1)
        x[lengths[b] :, b] = np.nan
    return x, labels, lengths


@pytest.mark.parametrize("batch_first", [False, True])
def test_fit_trains_with_lengths_and_padded_labels(batch_first: bool) -> None:
    rng = np.random.default_rng(0)
    x, labels, lengths = spoken(64, rng)
    x = x.swapaxes(0, 1) if batch_first else x
    model = rf.Sequential(rf.GRU(3, 12, batch_first=batch_first, rng=1), rf.Linear(12, 3, rng=2))
    loss = partial(rf.losses.ctc, batch_first=True) if batch_first else "ctc"
    data = (x, labels, {"lengths": lengths})
    optimizer = rf.optim.Adam(model.parameters(), lr=0.02)
    history = rf.fit(model, loss, data, optimizer, epochs=40, validation=data, progress=False, rng=3)
    assert history.best < 0.25 < history.loss[0]
    y, _ = model(x, lengths=lengths)
    best = (y if batch_first else y.swapaxes(0, 1)).argmax(axis=-1)
    read = [[k for k, _ in groupby(row[:n]) if k] for row, n in zip(best, lengths, strict=True)]
    right = [row[row > 0].tolist() == got for row, got in zip(labels, read, strict=True)]
    assert np.mean(right) > 0.9


def test_batches_of_ones_own_may_have_labels_of_several_lengths() -> None:
    x, labels, lengths = spoken(6, np.random.default_rng(1))
    rows = [row[row > 0] for row in labels]
    batches = [(x, rows, {"lengths": lengths}), (np.nan_to_num(x), rows)]
    model = rf.Sequential(rf.GRU(3, 4, rng=1), rf.Linear(4, 3, rng=2))
    optimizer = rf.optim.Adam(model.parameters())
    history = rf.fit(model, rf.losses.ctc, batches, optimizer, validation=batches, progress=False)
    assert math.isfinite(history.best)


def test_gradients_through_a_model_agree_with_finite_differences() -> None:
    model = rf.Sequential(rf.GRU(2, 3, dtype="float64", rng=1), rf.Linear(3, 4, dtype="float64", rng=2))
    x = np.random.default_rng(2).standard_normal((6, 2, 2))
    rf.check_gradients(model, rf.losses.ctc, x, [[1, 2], [3, 3]], lengths=[6, 4])
