"""What modules without state share: the protocol, errors for wrong arguments, classes that a user derives."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients

import rnnfast as rf
from rnnfast.nn.module import Module, Stateless

T, B, N = 5, 3, 4


def stateless() -> list[tuple[Any, np.ndarray]]:
    """Each kind of stateless module, with an input."""
    return [
        (rf.Linear(N, 2, rng=0), normal(T, B, N)),
        (rf.Embedding(9, 2, rng=0), np.arange(T * B).reshape(T, B) % 9),
        (rf.Dropout(0.5, rng=0), normal(T, B, N)),
        (rf.Last(), normal(T, B, N)),
    ]


# The protocol


@pytest.mark.parametrize("place", range(4), ids=["Linear", "Embedding", "Dropout", "Last"])
class TestStateless:
    def test_a_state_other_than_none_is_refused(self, place: int) -> None:
        module, x = stateless()[place]
        for call in (module, module.forward):
            assert call(x)[1] is None
            with pytest.raises(
                ValueError,
                match=rf"^state: expected None \({type(module).__name__} has no state\), got tuple",
            ):
                call(x, (None,))
        tape = module.forward(x)[2]
        with pytest.raises(ValueError, match=r"^dstate: expected None .* got ndarray"):
            module.backward(tape, dstate=np.zeros(1))
        assert module.backward(tape)[1] is None

    def test_a_dy_of_none_is_a_zero_dy(self, place: int) -> None:
        module, x = stateless()[place]
        y, _, tape = module.forward(x)
        grads: list[dict[str, np.ndarray]] = [{}, {}]
        with_none, _ = module.backward(tape, retain=True, grads=grads[0])
        with_zero, _ = module.backward(tape, np.zeros_like(y), grads=grads[1])
        if not isinstance(module, rf.Embedding):
            np.testing.assert_array_equal(with_none, with_zero, strict=True)
            assert with_none.shape == x.shape
            assert not with_none.any()
        assert list(grads[0]) == list(grads[1]) == [name for name, _ in module.named_parameters()]
        for name, parameter in module.named_parameters():
            np.testing.assert_array_equal(grads[0][name], np.zeros_like(parameter.data), strict=True)
            np.testing.assert_array_equal(grads[1][name], grads[0][name], strict=True)

    def test_without_input_grad_dx_is_none(self, place: int) -> None:
        module, x = stateless()[place]
        y, _, tape = module.forward(x)
        assert module.backward(tape, normal(*y.shape), input_grad=False, retain=True)[0] is None
        assert module.backward(tape, input_grad=False)[0] is None

    def test_a_tape_is_used_once_and_only_by_the_module_that_made_it(self, place: int) -> None:
        module, x = stateless()[place]
        twin = copy.deepcopy(module)
        tape = module.forward(x)[2]
        with pytest.raises(ValueError, match=r"^tape: .*another module's"):
            twin.backward(tape)
        module.backward(tape, retain=True)
        module.backward(tape)
        with pytest.raises(ValueError, match=r"^tape: .*used up"):
            module.backward(tape)

    def test_a_wrong_dy_is_named_and_leaves_tape_and_gradients_alone(self, place: int) -> None:
        module, x = stateless()[place]
        y, _, tape = module.forward(x)
        message = re.escape(f"dy: expected shape {y.shape}, got (7, 1)")
        with pytest.raises(ValueError, match=f"^{message}$"):
            module.backward(tape, np.zeros((7, 1)))
        with pytest.raises(TypeError, match=r"^dy: expected float32 .*, got int64"):
            module.backward(tape, np.zeros(y.shape, np.int64))
        assert all(parameter.grad is None for parameter in module.parameters())
        module.backward(tape, np.zeros(y.shape))

    def test_y_shares_no_memory_with_the_tape_or_the_input(self, place: int) -> None:
        module, x = stateless()[place]
        if isinstance(module, rf.Dropout):
            module = rf.Dropout(0.0)  # whose y equals x
        before = x.copy()
        for y in (module(x)[0], module.forward(x)[0]):
            assert y.flags.writeable
            assert not np.shares_memory(y, x)
            y[...] = 9
        np.testing.assert_array_equal(x, before)

    def test_inputs_are_never_modified(self, place: int) -> None:
        module, x = stateless()[place]
        y, _, tape = module.forward(x)
        dy = normal(*y.shape)
        before = x.copy(), dy.copy()
        module.backward(tape, dy)
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(dy, before[1])

    def test_pickled_and_copied_modules_compute_the_same(self, place: int) -> None:
        module, x = stateless()[place]
        module.backward(module.forward(x)[2])
        for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
            assert repr(twin) == repr(module)
            np.testing.assert_array_equal(twin.forward(x)[0], copy.deepcopy(module).forward(x)[0])
            for parameter, other in zip(module.parameters(), twin.parameters(), strict=True):
                np.testing.assert_array_equal(parameter.grad, other.grad)
                assert not np.shares_memory(parameter.data, other.data)


def test_each_module_says_which_keywords_it_takes() -> None:
    random = frozenset({"training", "rng"})
    for kind in (rf.RNN, rf.LSTM, rf.GRU, rf.Sequential):
        assert kind.takes == random | {"lengths", "reset", "checkpoint"}
    assert rf.Dropout.takes == random
    assert rf.Last.takes == {"lengths"}
    for kind in (rf.Linear, rf.Embedding):
        assert kind.takes == frozenset()


def test_methods_that_a_subclass_must_write_are_named() -> None:
    tape = rf.Dropout().forward(normal(2))[2]
    tape._owner = module = Module()
    for call in (lambda: module(1), lambda: module.forward(1), lambda: module.backward(tape)):
        with pytest.raises(NotImplementedError):
            call()
    with pytest.raises(NotImplementedError):
        module._backward(None, None, None, True, False)
    for call in (lambda: Stateless()._apply(1), lambda: Stateless()._dx(None, np.zeros(1))):
        with pytest.raises(NotImplementedError):
            call()


def test_a_user_s_stateless_module_works_in_a_sequential() -> None:
    class Square(Stateless):
        def _apply(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
            return x * x, (x.shape, x.dtype, x)

        def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
            return 2 * saved[2] * dy

    model = rf.Sequential(
        rf.Linear(3, 4, dtype="float64", rng=0), Square(), rf.GRU(4, 2, dtype="float64", rng=1)
    )
    assert_gradients(model, normal(4, 2, 3, dtype=float))


# Linear


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: rf.Linear(0, 2), ValueError, "in_features: expected at least 1, got 0"),
        (lambda: rf.Linear(2, 1.5), TypeError, "out_features: expected an integer, got 1.5"),
        (lambda: rf.Linear(2, 2, dtype=int), TypeError, "dtype: expected float32 or float64"),
        (lambda: rf.Linear(2, 2, rng=0.5), TypeError, "rng: expected an integer"),
        (lambda: rf.Linear(3, 2)(np.zeros((4, 2))), ValueError, "x: expected shape [..., 3], got (4, 2)"),
        (lambda: rf.Linear(1, 2)(np.float32(1)), ValueError, "x: expected shape [..., 1], got ()"),
        (lambda: rf.Linear(3, 2)(np.zeros(3, int)), TypeError, "x: expected float32"),
        (lambda: rf.Embedding(0, 2), ValueError, "num_embeddings: expected at least 1, got 0"),
        (lambda: rf.Embedding(2, None), TypeError, "embedding_dim: expected an integer, got None"),
        (lambda: rf.Embedding(5, 2)([1.0]), TypeError, "x: expected integers, got float64"),
        (lambda: rf.Embedding(5, 2)([True]), TypeError, "x: expected integers, got bool"),
        (lambda: rf.Embedding(5, 2)([0, 5, 1]), ValueError, "x: expected integers in 0..4, got 0..5"),
        (lambda: rf.Embedding(5, 2)([0, -1]), ValueError, "x: expected integers in 0..4, got -1..0"),
        (
            lambda: rf.Embedding(5, 2)(np.array([2**64 - 1], np.uint64)),
            ValueError,
            "x: expected integers in 0..4",
        ),
        (lambda: rf.Embedding(5, 2)([[1], [1, 2]]), ValueError, "x: expected an array, got list"),
        (lambda: rf.Dropout(1.0), ValueError, "p: expected a probability p with 0 <= p < 1, got 1.0"),
        (lambda: rf.Dropout("a"), TypeError, "p: expected a number, got 'a'"),
        (lambda: rf.Dropout()(np.zeros(3, int)), TypeError, "x: expected float32"),
        (lambda: rf.Dropout().forward(np.zeros(3), rng="a"), TypeError, "rng: expected an integer"),
        (lambda: rf.Last()(np.zeros(3)), ValueError, "x: expected shape [T, B, N] or [T, N], got (3,)"),
        (
            lambda: rf.Last(True)(np.zeros((1, 2, 3, 4))),
            ValueError,
            "x: expected shape [B, T, N] or [T, N], got (1, 2",
        ),
        (
            lambda: rf.Last()(np.zeros((0, 2, 4))),
            ValueError,
            "x: expected at least one step, got shape (0, 2, 4)",
        ),
        (
            lambda: rf.Last(True)(np.zeros((2, 0, 4))),
            ValueError,
            "x: expected at least one step, got shape (2, 0, 4)",
        ),
        (
            lambda: rf.Last(bidirectional=True)(np.zeros((2, 2, 3))),
            ValueError,
            "x: expected an even N in [T, B, N]",
        ),
        (lambda: rf.Last()(np.zeros((2, 2, 3), complex)), TypeError, "x: expected float32"),
    ],
)
def test_a_wrong_argument_is_named(call: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()


# Dropout


@pytest.mark.parametrize(
    ("given", "own"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (np.longdouble, "f8"), (">f8", "f8")]
)
def test_modules_without_parameters_keep_the_dtype_of_x(given: Any, own: str) -> None:
    for module in (rf.Dropout(0.5, rng=0), rf.Last()):
        y, _, tape = module.forward(np.ones((2, 2, 2), given))
        assert y.dtype == own
        assert module.backward(tape, y)[0].dtype == own
