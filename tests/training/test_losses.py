"""The promises of the losses: values, gradients, masks, and what they refuse."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from helpers.tolerances import FINITE_DIFFERENCES, error
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.nn.losses import binary_cross_entropy, cross_entropy, huber, mae, mse

OF_NUMBERS = [binary_cross_entropy, huber, mae, mse]


def targets_for(loss: Any, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Random targets that a loss takes for y of this shape."""
    rng = np.random.default_rng(seed)
    if loss is cross_entropy:
        return rng.integers(0, shape[-1], shape[:-1])
    return rng.random(shape) if loss is binary_cross_entropy else rng.normal(size=shape)


# The definitions of the losses of single numbers, in numbers that overflow nowhere.
DEFINITIONS: list[tuple[Any, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = [
    (mse, lambda y, t: (y - t) ** 2),
    (mae, lambda y, t: abs(y - t)),
    (huber, lambda y, t: np.where(abs(y - t) < 1, (y - t) ** 2 / 2, abs(y - t) - 0.5)),
    (
        partial(huber, delta=0.2),
        lambda y, t: np.where(abs(y - t) < 0.2, (y - t) ** 2 / 2, 0.2 * abs(y - t) - 0.02),
    ),
    (binary_cross_entropy, lambda y, t: t * np.log1p(np.exp(-y)) + (1 - t) * np.log1p(np.exp(y))),
    (
        partial(binary_cross_entropy, pos_weight=[2.5, 0.25]),
        lambda y, t: [2.5, 0.25] * t * np.log1p(np.exp(-y)) + (1 - t) * np.log1p(np.exp(y)),
    ),
]


def numeric_gradient(loss: Callable[[np.ndarray], float], y: np.ndarray, step: float = 1e-5) -> np.ndarray:
    gradient = np.empty_like(y)
    for index in np.ndindex(y.shape):
        moved = y.copy()
        moved[index] = y[index] + step
        above = loss(moved)
        moved[index] = y[index] - step
        gradient[index] = (above - loss(moved)) / (2 * step)
    return gradient


def plain_cross_entropy(y: np.ndarray, targets: np.ndarray, keep: np.ndarray) -> float:
    """The definition, row by row."""
    losses = [
        -math.log(math.exp(y[index][targets[index]]) / sum(math.exp(value) for value in y[index]))
        for index in np.ndindex(targets.shape)
        if keep[index]
    ]
    return sum(losses) / len(losses)


@settings(max_examples=25, deadline=None)
@given(
    lead=st.lists(st.integers(1, 3), max_size=2),
    classes=st.integers(1, 5),
    masked=st.sampled_from(["no", "full", "leading", "ignored", "both"]),
    seed=st.integers(0, 99),
)
def test_cross_entropy_is_its_definition_and_its_gradient_that_of_finite_differences(
    lead: list[int], classes: int, masked: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(*lead, classes)) * 3
    targets = rng.integers(0, classes, lead)
    keep = np.ones(lead, bool)
    mask = None
    if masked in ("full", "both"):
        mask = rng.random(lead) < 0.7
        keep &= mask
    if masked == "leading" and lead:
        mask = rng.random(lead[:1]) < 0.7
        keep &= mask.reshape(-1, *[1] * (len(lead) - 1))
    if masked in ("ignored", "both"):
        targets = np.where(rng.random(lead) < 0.3, -100, targets)
        keep &= targets >= 0
    loss, dy = cross_entropy(y, targets, mask)
    if keep.any():
        assert math.isclose(loss, plain_cross_entropy(y, targets, keep), rel_tol=1e-12, abs_tol=1e-14)
        numeric = numeric_gradient(lambda moved: cross_entropy(moved, targets, mask)[0], y)
        assert np.abs(dy - numeric).max() <= FINITE_DIFFERENCES * max(1.0, np.abs(numeric).max())
    else:
        assert loss == 0.0
    assert not dy[~keep].any()


@pytest.mark.parametrize("masked", ["no", "full", "leading"])
@pytest.mark.parametrize(("loss", "definition"), DEFINITIONS)
def test_a_loss_of_numbers_is_its_definition_and_its_gradient_that_of_finite_differences(
    loss: Any, definition: Any, masked: str
) -> None:
    rng = np.random.default_rng(1)
    y, targets = rng.normal(size=(4, 3, 2)), rng.random((4, 3, 2))
    mask = {"no": None, "full": rng.random((4, 3, 2)) < 0.6, "leading": rng.random((4, 3)) < 0.6}[masked]
    keep = np.ones(y.shape, bool) if mask is None else np.broadcast_to(mask.reshape(4, 3, -1), y.shape)
    value, dy = loss(y, targets, mask)
    assert math.isclose(value, definition(y, targets)[keep].mean(), rel_tol=1e-14)
    assert error(dy, numeric_gradient(lambda moved: loss(moved, targets, mask)[0], y)) <= FINITE_DIFFERENCES
    assert not dy[~keep].any()


def test_losses_of_numbers_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    rng = np.random.default_rng(2)
    y, targets = 3 * rng.normal(size=(50, 4)), rng.random((50, 4))
    weight = [2.0, 1.0, 0.5, 9.0]
    for loss, theirs in (
        (mse, functional.mse_loss),
        (mae, functional.l1_loss),
        (partial(huber, delta=0.7), partial(functional.huber_loss, delta=0.7)),
        (binary_cross_entropy, functional.binary_cross_entropy_with_logits),
        (
            partial(binary_cross_entropy, pos_weight=weight),
            partial(functional.binary_cross_entropy_with_logits, pos_weight=torch.tensor(weight).double()),
        ),
    ):
        value, dy = loss(y, targets)
        tensor = torch.tensor(y, requires_grad=True)
        expected = theirs(tensor, torch.tensor(targets))
        expected.backward()
        assert math.isclose(value, expected.item(), rel_tol=1e-13)
        assert error(dy, tensor.grad.numpy()) <= 1e-13


def test_binary_cross_entropy_stays_exact_for_logits_whose_exponentials_overflow() -> None:
    y = np.array([1e4, -1e4, np.inf, -np.inf, 3e38, -3e38], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, dy = binary_cross_entropy(y, [True, False, True, False, True, False])
        wrong, slope = binary_cross_entropy(y[:2], [0, 1])
        _, small = binary_cross_entropy(np.array([50.0, -50.0]), [1, 0])
    assert loss == 0.0
    assert not dy.any()
    assert (wrong, slope.tolist()) == (1e4, [0.5, -0.5])
    np.testing.assert_allclose(small, [-np.exp(-50) / 2, np.exp(-50) / 2], rtol=1e-14)


@pytest.mark.parametrize("loss", [cross_entropy, *OF_NUMBERS])
def test_dtype_of_the_gradient_is_that_of_y_and_float32_is_as_good_as_it_can_be(loss: Any) -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=(7, 5, 30)).astype(np.float32)
    targets = targets_for(loss, y.shape)
    before = y.copy()
    value, dy = loss(y, targets)
    exact, exact_dy = loss(y.astype(np.float64), targets)
    assert type(value) is float
    assert dy.dtype == np.float32
    assert dy.flags.c_contiguous
    assert math.isclose(value, exact, rel_tol=1e-6)
    assert error(dy, exact_dy) <= 1e-6
    assert np.array_equal(y, before)


def test_cross_entropy_of_any_layout_and_each_row_on_its_own() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=(6, 4, 9)).astype(np.float32)
    targets = rng.integers(0, 9, (6, 4))
    loss, dy = cross_entropy(y, targets)
    turned = cross_entropy(y.transpose(1, 0, 2), targets.T)
    assert math.isclose(turned[0], loss, rel_tol=1e-12)
    assert np.array_equal(turned[1].transpose(1, 0, 2), dy)
    mask = np.zeros((6, 4), bool)
    mask[2, 1] = True
    alone = cross_entropy(y[2, 1], targets[2, 1])
    among = cross_entropy(y, targets, mask)
    assert alone[0] == among[0]
    assert np.array_equal(alone[1], among[1][2, 1])


def test_cross_entropy_stays_exact_for_logits_whose_exponentials_overflow() -> None:
    y = np.array([[1e4, 0.0], [-3e38, 3e38], [-np.inf, 0.0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, dy = cross_entropy(y, [0, 1, 1])
        wrong, _ = cross_entropy(y[:1], [1])
    assert loss == 0.0
    assert not dy.any()
    assert wrong == 1e4


@pytest.mark.parametrize("loss", [cross_entropy, *OF_NUMBERS])
def test_masked_targets_are_never_read(loss: Any) -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=(3, 4))
    targets = targets_for(loss, y.shape)
    mask = np.array([True, False, True])
    want = loss(y, targets, mask)
    spoilt_y, spoilt = y.copy(), targets.copy()
    spoilt_y[1] = [np.nan, np.inf, -np.inf, 1e300]
    spoilt[1] = 99 if loss is cross_entropy else np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = loss(spoilt_y, spoilt, mask)
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])


def test_ignore_index_may_be_any_number() -> None:
    y = np.random.default_rng(5).normal(size=(4, 3))
    targets = np.array([0, 1, 0, 2])
    got = cross_entropy(y, targets, ignore_index=0)
    want = cross_entropy(y, targets, targets != 0)
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])
    with pytest.raises(ValueError, match="got -100"):
        cross_entropy(y, [0, 1, -100, 2], ignore_index=0)


@pytest.mark.parametrize(
    ("loss", "y", "targets", "mask"),
    [
        (cross_entropy, np.ones((2, 3)), [-100, -100], None),
        (cross_entropy, np.ones((2, 3)), [0, 1], [False, False]),
        (cross_entropy, np.ones((0, 3), np.float32), [], None),
        (cross_entropy, np.ones((0, 4, 3)), np.ones((0, 4), int), None),
        *((loss, np.ones((2, 3)), np.zeros((2, 3)), [False, False]) for loss in OF_NUMBERS),
        *((loss, np.ones((0, 3), np.float32), np.zeros((0, 3)), None) for loss in OF_NUMBERS),
    ],
)
def test_a_mean_over_nothing_is_zero_with_a_zero_gradient(loss: Any, y: Any, targets: Any, mask: Any) -> None:
    value, dy = loss(y, targets, mask)
    assert value == 0.0
    assert dy.shape == y.shape
    assert dy.dtype == y.dtype
    assert not dy.any()


@pytest.mark.parametrize(
    ("loss", "arguments", "kind", "message"),
    [
        (cross_entropy, (np.ones((2, 3), int), [0, 1]), TypeError, "y: expected float32"),
        (
            cross_entropy,
            (np.ones((2, 3)), [0.0, 1.0]),
            TypeError,
            "targets: expected integer classes, got float64",
        ),
        (
            cross_entropy,
            (np.ones((2, 3)), [True, False]),
            TypeError,
            "targets: expected integer classes, got bool",
        ),
        (cross_entropy, (np.ones((2, 3)), [0, 1, 2]), ValueError, r"targets: expected shape \(2,\)"),
        (cross_entropy, (np.ones((2, 3)), [0, 3]), ValueError, r"targets: expected classes in 0..2, got 3"),
        (cross_entropy, (np.ones((2, 3)), [0, -1]), ValueError, r"targets: expected classes in 0..2, got -1"),
        (cross_entropy, (1.0, 0), ValueError, r"y: expected shape \[..., C\] with at least one class"),
        (cross_entropy, (np.ones((2, 0)), [0, 0]), ValueError, "at least one class"),
        (cross_entropy, (np.ones((2, 3)), [0, 1], [1, 0]), TypeError, "mask: expected bool, got int64"),
        (
            cross_entropy,
            (np.ones((2, 3)), [0, 1], np.ones((2, 3), bool)),
            ValueError,
            r"mask: expected shape \(2,\)",
        ),
        *(
            (loss, arguments, kind, message)
            for loss in OF_NUMBERS
            for arguments, kind, message in (
                (
                    (np.ones((2, 1)), np.ones(2)),
                    ValueError,
                    r"targets: expected shape \(2, 1\) \(that of y\), got \(2,\)",
                ),
                ((np.ones(2), np.ones(2, complex)), TypeError, "targets: expected real numbers"),
                (
                    (np.ones(2), np.ones(2), [True]),
                    ValueError,
                    r"mask: expected shape \(2,\) or leading axes",
                ),
                (([1, 2], [1, 2]), TypeError, "y: expected float32"),
            )
        ),
        (huber, (np.ones(2), np.ones(2), None, 0.0), ValueError, "delta: expected"),
        (huber, (np.ones(2), np.ones(2), None, "1"), TypeError, "delta: expected"),
        (
            binary_cross_entropy,
            (np.ones(2), [0.0, 1.5]),
            ValueError,
            "targets: expected probabilities from 0 to 1, got 1.5",
        ),
        (binary_cross_entropy, (np.ones(2), [0.0, np.nan]), ValueError, "from 0 to 1, got nan"),
        (
            binary_cross_entropy,
            (np.ones(2), [0, 1], None, -1),
            ValueError,
            "pos_weight: expected finite numbers",
        ),
        (
            binary_cross_entropy,
            (np.ones(2), [0, 1], None, "a"),
            TypeError,
            "pos_weight: expected real numbers",
        ),
        (
            binary_cross_entropy,
            (np.ones((3, 2)), np.ones((3, 2)), None, [1, 1, 1]),
            ValueError,
            r"pos_weight: expected a number or the shape of last axes of y \(3, 2\), got \(3,\)",
        ),
    ],
)
def test_errors_name_the_argument_and_what_came(loss: Any, arguments: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        loss(*arguments)
