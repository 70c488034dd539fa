"""Finite differences name what is wrong in a backward pass or a loss, and pass what is right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnfast as rf

T, B, I, H = 5, 3, 2, 4


class FaultyModel(rf.Module):
    """A model whose backward pass can be wrong in several ways."""

    def __init__(self, dtype: str = "float64", fault: str = "") -> None:
        super().__init__()
        self.trunk = rf.GRU(I, H, dtype=dtype, rng=0)
        self.drop = rf.Dropout(0.3, rng=2)
        self.head = rf.Linear(H, 2, dtype=dtype, rng=1)
        self.shift = rf.Parameter(np.full(2, 0.5, dtype))
        self.fault = fault

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None) -> Any:
        h, state, trunk = self.trunk.forward(x, state, lengths=lengths)
        h, _, drop = self.drop.forward(h)
        y, _, head = self.head.forward(h)
        return y + self.shift.data, state, (trunk, drop, head)

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
        trunk, drop, head = tape
        if self.fault != "shift":
            shares = dy.sum(axis=(0, 1))
            self.shift.add_grad(shares * [1, 2] if self.fault == "element" else shares)
        dh, _ = self.head.backward(head, dy)
        dh, _ = self.drop.backward(drop, dh)
        if self.fault == "trunk":
            dh = dh * np.float32(1.05)
        dx, dstate = self.trunk.backward(trunk, dh, None if self.fault == "final" else dstate)
        if self.fault == "x":
            dx = -dx
        if self.fault == "state":
            dstate = 2 * dstate
        return None if self.fault == "no x" else dx, dstate


def batch(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x, targets, h = (rng.normal(size=shape).astype(dtype) for shape in ((T, B, I), (T, B, 2), (1, B, H)))
    return x, targets, h


def sum_of_cubes(y: np.ndarray, targets: np.ndarray, mask: Any = None) -> Any:
    return float(((y - targets) ** 3).sum()), 3 * (y - targets) ** 2


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", ["mse", sum_of_cubes])
def test_right_gradients_pass(dtype: str, loss: Any) -> None:
    x, targets, h = batch(dtype)
    model = FaultyModel(dtype)
    before = model.state_dict()
    errors = rf.check_gradients(model, loss, x, targets, h)
    names = ["loss", *before, "x", "state"]
    assert list(errors) == [*names, *(f"dstate: {name}" for name in names[1:])]
    assert max(errors.values()) < (1e-5 if dtype == "float64" else 2e-2)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.drop.mask_calls == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("shift", r"^shift: backward gives no gradient at \[[01]\], finite differences give "),
        ("element", r"^shift: backward gives \S+ at \[1\]"),
        (
            "trunk",
            r"^trunk\.weight_ih_l0: backward gives \S+ at \[\d+, \d\], finite differences give \S+; tr",
        ),
        ("x", r"^x: backward gives \S+ at \[\d, \d, \d\], finite"),
        ("no x", r"^x: backward gives no gradient at "),
        ("state", r"^state: backward gives \S+ at \[0, \d, \d\]"),
        ("final", r"^dstate: trunk\.weight_ih_l0: backward gives "),
    ],
)
def test_the_wrong_gradient_is_named(dtype: str, fault: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        rf.check_gradients(FaultyModel(dtype, fault), "mse", *batch(dtype))
    assert ("in float32, to 2%" in str(caught.value)) == (dtype == "float32")
    if fault in ("shift", "element", "x", "state"):
        assert ";" not in str(caught.value)


def test_a_wrong_loss_is_named_and_the_model_is_not() -> None:
    def forgets_the_count(y: np.ndarray, targets: np.ndarray) -> Any:
        return float(((y - targets) ** 2).mean()), 2 * (y - targets)

    with pytest.raises(ValueError, match=r"^loss: backward gives \S+ at \[\d, \d, \d\], finite differences"):
        rf.check_gradients(FaultyModel(), forgets_the_count, *batch())


def test_lengths_masks_and_integers_are_taken() -> None:
    x, targets, _ = batch()
    lengths = [5, 2, 3]
    mask = np.ones((T, B), bool)
    mask[0] = False
    errors = rf.check_gradients(FaultyModel(), "mse", x, targets, lengths=lengths, mask=mask)
    assert max(errors.values()) < 1e-5
    table = rf.Sequential(rf.Embedding(4, I, dtype="float64", rng=0), rf.LSTM(I, H, dtype="float64", rng=1))
    tokens = np.arange(T * B).reshape(T, B) % 4
    errors = rf.check_gradients(table, "cross_entropy", tokens, tokens)
    assert "x" not in errors
    assert max(errors.values()) < 1e-5


def test_a_kink_of_relu_is_accepted() -> None:
    rnn = rf.RNN(1, 1, nonlinearity="relu", dtype="float64", rng=0)
    for parameter in rnn.parameters():
        parameter.data[...] = 1
    x = np.array([[[-2.0 + 3e-6]], [[1.0]]])  # the first step's unit is 3e-6 above its kink
    rf.check_gradients(rnn, "mse", x, np.zeros((2, 1, 1)))


def test_wrong_arguments_are_refused() -> None:
    x, targets, _ = batch()
    for change, kind, message in (
        ({"model": 3}, TypeError, "model: expected a Module, got int"),
        (
            {"loss": "l1"},
            ValueError,
            "loss: expected a function or one of binary_cross_entropy, cross_entropy, "
            "ctc, huber, mae, mse, got 'l1'",
        ),
        ({"samples": 0}, ValueError, "samples: expected at least 1"),
        ({"context": 1}, TypeError, "context: expected a keyword"),
        ({"targets": targets * np.nan}, ValueError, "loss: expected a finite number"),
    ):
        given: dict[str, Any] = {"model": FaultyModel(), "loss": "mse", "x": x, "targets": targets}
        with pytest.raises(kind, match=message):
            rf.check_gradients(**{**given, **change})


def test_the_gradients_of_tied_weights_add_up() -> None:
    class Language(rf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = rf.Embedding(6, H, dtype="float64", rng=0)
            self.trunk = rf.GRU(H, H, dtype="float64", rng=1)
            self.head = rf.Linear(H, 6, dtype="float64", rng=2)
            self.head.weight = self.table.weight

        def forward(self, x: Any, state: Any = None) -> Any:
            e, _, table = self.table.forward(x)
            h, state, trunk = self.trunk.forward(e, state)
            y, _, head = self.head.forward(h)
            return y, state, (table, trunk, head)

        def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
            table, trunk, head = tape
            dh, _ = self.head.backward(head, dy)
            de, dstate = self.trunk.backward(trunk, dh, dstate)
            self.table.backward(table, de)
            return None, dstate

    model = Language()
    names = [name for name, _ in model.named_parameters()]
    assert names[0] == "table.weight"
    assert "head.weight" not in names
    tokens = np.arange(T * B).reshape(T, B) % 6
    assert max(rf.check_gradients(model, "cross_entropy", tokens, tokens[::-1]).values()) < 1e-5
