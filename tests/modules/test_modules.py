"""The promises of Linear, Embedding, Dropout, Last, Sequential, Parameter, and of the protocol they share."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from arrays import normal
from differences import assert_gradients
from threads import run_together

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
    def test_there_is_no_state(self, place: int) -> None:
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

    def test_no_dy_means_a_zero_dy(self, place: int) -> None:
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

    def test_a_tape_is_used_once_by_its_maker_alone(self, place: int) -> None:
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

    def test_y_is_nothing_that_the_tape_or_the_input_holds(self, place: int) -> None:
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

    def test_it_pickles_and_copies(self, place: int) -> None:
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


def test_a_module_without_a_body_says_so() -> None:
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


def test_a_module_of_ones_own_works_among_the_others() -> None:
    class Square(Stateless):
        def _apply(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
            return x * x, (x.shape, x.dtype, x)

        def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
            return 2 * saved[2] * dy

    model = rf.Sequential(
        rf.Linear(3, 4, dtype="float64", rng=0), Square(), rf.GRU(4, 2, dtype="float64", rng=1)
    )
    assert_gradients(model, normal(4, 2, 3, dtype=float))


# Parameter


def test_a_parameters_array_stays_the_same_object() -> None:
    data = normal(2, 3, dtype=float)
    parameter = rf.Parameter(data)
    own = parameter.data
    assert not np.shares_memory(own, data)
    parameter.data = data + 1
    parameter.data *= 2
    assert parameter.data is own
    np.testing.assert_array_equal(own, 2 * (data + 1))
    assert (parameter.shape, parameter.size, parameter.dtype) == ((2, 3), 6, np.float64)
    assert repr(parameter) == "Parameter(shape=(2, 3), dtype=float64)"


def test_a_parameter_is_c_contiguous_float32_or_float64() -> None:
    for data, dtype in ((normal(3, 2).T, "f4"), (np.ones((2, 2), np.float16), "f4"), ([[1.0], [2.0]], "f8")):
        parameter = rf.Parameter(data)
        assert parameter.data.flags.c_contiguous
        assert parameter.dtype == dtype
    for wrong in ([1, 2], "a", None, [True]):
        with pytest.raises(TypeError, match=r"^data: expected float32"):
            rf.Parameter(wrong)


def test_a_gradient_is_adopted_then_added_to() -> None:
    parameter = rf.Parameter(np.zeros((2, 2)))
    parameter.zero_grad()
    assert parameter.grad is None
    first = np.ones((2, 2))
    parameter.add_grad(first)
    assert parameter.grad is first
    parameter.add_grad(np.full((2, 2), 2.0))
    np.testing.assert_array_equal(parameter.grad, np.full((2, 2), 3.0))
    parameter.zero_grad()
    np.testing.assert_array_equal(parameter.grad, np.zeros((2, 2)))
    parameter.grad = None
    assert parameter.grad is None
    parameter.add_grad(np.broadcast_to(1.0, (2, 2)))  # nobody's own array: copied
    parameter.add_grad(np.ones((2, 2)))
    np.testing.assert_array_equal(parameter.grad, np.full((2, 2), 2.0))


def test_an_assigned_gradient_is_copied() -> None:
    parameter = rf.Parameter(np.zeros(3))
    mine = np.ones(3)
    parameter.grad = mine
    parameter.grad *= 2
    parameter.add_grad(np.ones(3))
    np.testing.assert_array_equal(mine, 1)
    np.testing.assert_array_equal(parameter.grad, 3)


def test_what_does_not_fit_a_parameter_is_named() -> None:
    parameter = rf.Parameter(np.zeros((2, 3)))
    for name in ("data", "grad"):
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \(2, 3\), got \(3,\)"):
            setattr(parameter, name, np.zeros(3))
        with pytest.raises(TypeError, match=rf"^{name}: expected float64 .*, got int64"):
            setattr(parameter, name, np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"^array: expected shape"):
        parameter.add_grad(np.zeros(3))
    assert not parameter.data.any()
    assert parameter.grad is None


def test_threads_add_whole_gradients() -> None:
    parameter = rf.Parameter(np.zeros(1000))

    def work() -> None:
        for _ in range(200):
            parameter.add_grad(np.ones(1000))

    run_together(*[work] * 4)
    np.testing.assert_array_equal(parameter.grad, 800)


# Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (2, 1, 3, 2), (0,), (2, 0)])
def test_linear_gradients_agree_with_finite_differences(lead: tuple[int, ...], bias: bool) -> None:
    linear = rf.Linear(3, 2, bias, dtype="float64", rng=0)
    assert_gradients(linear, normal(*lead, 3, dtype=float))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linear_is_the_affine_map(dtype: str) -> None:
    linear = rf.Linear(37, 19, dtype=dtype, rng=0)
    x = normal(6, 5, 37, dtype=dtype)
    want = x.astype(float) @ linear.weight.data.T.astype(float) + linear.bias.data
    y, _ = linear(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)


def test_a_row_has_the_same_bits_alone_and_in_any_batch() -> None:
    linear = rf.Linear(50, 33, rng=0)
    x = normal(40, 50)
    y, _, tape = linear.forward(x)
    dy = normal(40, 33)
    dx, _ = linear.backward(tape, dy)
    for rows in (slice(0, 1), slice(7, 9), slice(3, 30)):
        part, _, tape = linear.forward(x[rows])
        np.testing.assert_array_equal(part, y[rows])
        np.testing.assert_array_equal(linear.backward(tape, dy[rows])[0], dx[rows])


def test_linear_reads_any_memory_layout() -> None:
    linear = rf.Linear(N, 2, rng=0)
    x, dy = normal(T, B, N), normal(T, B, 2)
    y, _, tape = linear.forward(x)
    dx, _ = linear.backward(tape, dy)
    frozen = x.copy()
    frozen.setflags(write=False)
    for form in (np.asfortranarray(x), frozen, x.astype(float), x.astype(">f4"), x[::-1].copy()[::-1]):
        got, _, tape = linear.forward(form)
        np.testing.assert_array_equal(got, y)
        np.testing.assert_array_equal(linear.backward(tape, np.asfortranarray(dy))[0], dx)
    tape = linear.forward(x[0])[2]
    np.testing.assert_array_equal(linear.backward(tape, np.repeat(dy[0], 2, axis=1)[:, ::2])[0], dx[0])


def test_linear_starts_uniform_by_in_features() -> None:
    linear = rf.Linear(100, 400, rng=0)
    for parameter in linear.parameters():
        assert np.abs(parameter.data).max() <= 0.1
        assert abs(parameter.data.std() * 10 * 3**0.5 - 1) < 0.1
    np.testing.assert_array_equal(linear.weight.data, rf.Linear(100, 400, rng=0).weight.data)
    assert (linear.weight.data != rf.Linear(100, 400).weight.data).any()


def test_linear_has_pytorchs_names() -> None:
    linear = rf.Linear(3, 2)
    assert {name: parameter.shape for name, parameter in linear.named_parameters()} == {
        "weight": (2, 3),
        "bias": (2,),
    }
    assert linear.dtype == np.float32
    assert repr(linear) == "Linear(3, 2, bias=True, dtype='float32')"
    bare = rf.Linear(3, 2, bias=False)
    assert bare.bias is None
    assert [name for name, _ in bare.named_parameters()] == ["weight"]


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


# Embedding


@pytest.mark.parametrize("shape", [(), (7,), (4, 3), (2, 2, 2), (0,), (3, 0)])
def test_embedding_gradients_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    embedding = rf.Embedding(5, 3, dtype="float64", rng=0)
    assert_gradients(embedding, np.random.default_rng(0).integers(0, 5, shape))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_embedding_reads_integers_of_any_kind(dtype: Any) -> None:
    embedding = rf.Embedding(5, 3, rng=0)
    x = np.array([[4, 0, 4], [1, 1, 2]])
    y, _, tape = embedding.forward(x.astype(dtype))
    np.testing.assert_array_equal(y, embedding.weight.data[x])
    dx, _ = embedding.backward(tape, np.ones_like(y))
    assert dx is None
    np.testing.assert_array_equal(embedding.weight.grad[:, 0], [1, 2, 1, 0, 2])
    np.testing.assert_array_equal(embedding(x.tolist())[0], y)
    np.testing.assert_array_equal(embedding(np.asfortranarray(x.astype(dtype)))[0], y)


def test_embedding_adds_repeated_rows_exactly_and_in_order() -> None:
    embedding = rf.Embedding(50, 8, rng=0)
    x = np.random.default_rng(0).integers(0, 50, (300, 4))
    y, _, tape = embedding.forward(x)
    dy = normal(*y.shape)
    want = np.zeros((50, 8), np.float32)
    for index, row in zip(x.ravel(), dy.reshape(-1, 8), strict=True):
        want[index] += row
    for form in (dy, np.asfortranarray(dy)):
        grads: dict[str, np.ndarray] = {}
        embedding.backward(tape, form, retain=True, grads=grads)
        np.testing.assert_array_equal(grads["weight"], want)


def test_embedding_starts_standard_normal() -> None:
    embedding = rf.Embedding(200, 50, rng=0)
    assert abs(embedding.weight.data.mean()) < 0.03
    assert abs(embedding.weight.data.std() - 1) < 0.03
    double = rf.Embedding(200, 50, dtype="float64", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(embedding.weight.data, double.weight.data.astype(np.float32))
    assert repr(double) == "Embedding(200, 50, dtype='float64')"


# Dropout


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (4, 3, 2), (2, 3, 2, 2), (0, 3), (2, 0, 3)])
def test_dropout_gradients_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    assert_gradients(rf.Dropout(0.5, rng=0), normal(*shape, dtype=float), rng=5)


def test_dropout_zeroes_or_scales_and_backward_does_the_same() -> None:
    dropout = rf.Dropout(0.25, rng=0)
    x = np.ones((50, 20, 30), np.float32)
    y, _, tape = dropout.forward(x)
    assert y.dtype == np.float32
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / 0.75))}
    assert abs((y == 0).mean() - 0.25) < 0.01
    dy = normal(50, 20, 30)
    np.testing.assert_array_equal(dropout.backward(tape, dy)[0], dy * y)


def test_dropout_keeps_everything_out_of_training() -> None:
    dropout = rf.Dropout(0.5, rng=0)
    x = normal(T, B, N)
    y, _, tape = dropout.forward(x, training=False)
    for kept in (dropout(x)[0], y, rf.Dropout(0.0).forward(x)[0]):
        np.testing.assert_array_equal(kept, x)
    np.testing.assert_array_equal(dropout.backward(tape, x)[0], x)
    assert dropout.mask_calls == 0
    assert dropout.dtype is None
    assert repr(dropout) == "Dropout(0.5)"


def test_dropouts_masks_are_fixed_by_seed_call_and_place() -> None:
    dropout, other = rf.Dropout(0.5, rng=3), rf.Dropout(0.5, rng=3)
    x = np.ones((6, 4, 8), np.float32)
    calls = [dropout.forward(x)[0] for _ in range(3)]
    assert (calls[0] != calls[1]).any()
    assert (calls[1] != calls[2]).any()
    for y in calls:
        np.testing.assert_array_equal(other.forward(x)[0], y)
    fixed = dropout.forward(x, rng=9)[0]
    np.testing.assert_array_equal(dropout.forward(x, rng=9)[0], fixed)
    np.testing.assert_array_equal(dropout.forward(x[:3, :2], rng=9)[0], fixed[:3, :2])
    stacks = rf.RNN(8, 8, num_layers=2, nonlinearity="identity", dropout=0.5, rng=0)
    for name, parameter in stacks.named_parameters():
        parameter.data[...] = np.eye(8) if name.startswith("weight_ih") else 0
    assert (stacks.forward(x, rng=9)[0] != fixed).any()  # one seed, yet not one mask
    assert dropout.mask_calls == 3
    with pytest.raises(TypeError, match=r"^x: "):
        dropout.forward(np.zeros(3, int))
    assert dropout.mask_calls == 3


@pytest.mark.parametrize(
    ("given", "own"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (np.longdouble, "f8"), (">f8", "f8")]
)
def test_modules_without_parameters_keep_the_dtype_of_x(given: Any, own: str) -> None:
    for module in (rf.Dropout(0.5, rng=0), rf.Last()):
        y, _, tape = module.forward(np.ones((2, 2, 2), given))
        assert y.dtype == own
        assert module.backward(tape, y)[0].dtype == own


# Last


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("batch_first", "shape"), [(False, (4, 3, 2)), (True, (3, 4, 2)), (True, (4, 2)), (False, (1, 2))]
)
def test_last_gradients_agree_with_finite_differences(
    batch_first: bool, shape: tuple[int, ...], bidirectional: bool
) -> None:
    assert_gradients(rf.Last(batch_first, bidirectional), normal(*shape, dtype=float))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_gives_each_directions_final_state(bidirectional: bool) -> None:
    layer = rf.GRU(N, 6, batch_first=True, bidirectional=bidirectional, rng=0)
    y, h = layer(normal(B, T, N))
    last = rf.Last(batch_first=True, bidirectional=bidirectional)
    np.testing.assert_array_equal(last(y)[0], np.concatenate(list(h), axis=-1))
    np.testing.assert_array_equal(last(y[0])[0], np.concatenate(list(h[:, 0]), axis=-1))
    assert repr(last) == f"Last(batch_first=True, bidirectional={bidirectional})"


# Sequential


def model(**options: Any) -> Any:
    dtype = options.get("dtype", "float32")
    return rf.Sequential(
        rf.Embedding(9, 3, dtype=dtype, rng=0),
        rf.Dropout(0.25, rng=1),
        rf.LSTM(3, 4, num_layers=2, dropout=0.25, dtype=dtype, rng=2),
        rf.Sequential(rf.GRU(4, 3, dtype=dtype, rng=3), rf.Linear(3, 2, dtype=dtype, rng=4)),
    )


def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, (T, B))


def model_state(dtype: Any = np.float32) -> Any:
    h, c, g = (
        normal(2, B, 4, dtype=dtype),
        normal(2, B, 4, dtype=dtype, seed=2),
        normal(1, B, 3, dtype=dtype),
    )
    return (None, None, (h, c), (g, None))


def test_sequential_gradients_agree_with_finite_differences() -> None:
    assert_gradients(model(dtype="float64"), tokens(), model_state(float), rng=5)
    with_input = rf.Sequential(
        rf.GRU(3, 4, bidirectional=True, dtype="float64", rng=1),
        rf.Last(bidirectional=True),
        rf.Linear(8, 2, dtype="float64", rng=2),
    )
    assert_gradients(with_input, normal(4, 2, 3, dtype=float), (normal(2, 2, 4, dtype=float), None, None))


def test_sequential_has_the_bits_of_its_modules_by_hand() -> None:
    whole, by_hand = model(), list(model())
    x, state, keywords = tokens(), model_state(), {"rng": 5}
    y, final, tape = whole.forward(x, state, **keywords)
    out, finals, tapes = x, [], []
    for place, module in enumerate(by_hand):
        taken = keywords if "rng" in module.takes else {}
        out, entry, one = module.forward(out, state[place], **taken)
        finals.append(entry)
        tapes.append(one)
    np.testing.assert_array_equal(y, out)
    dy, dstate = normal(*y.shape), model_state()
    grads: dict[str, np.ndarray] = {}
    dx, dinitial = whole.backward(tape, dy, dstate, grads=grads)
    assert dx is None
    back = dy
    for place in reversed(range(4)):
        own: dict[str, np.ndarray] = {}
        back, entry = by_hand[place].backward(tapes[place], back, dstate[place], grads=own)
        for name, gradient in own.items():
            np.testing.assert_array_equal(grads.pop(f"{place}.{name}"), gradient)
        assert repr(dinitial[place]) == repr(entry)
    assert not grads
    assert repr(final) == repr(tuple(finals))


def test_sequential_evaluates_as_its_modules_do() -> None:
    whole = model()
    x, state = tokens(), model_state()
    y, final = whole(x, state)
    out, finals = x, []
    for place, module in enumerate(whole):
        out, entry = module(out, state[place])
        finals.append(entry)
    np.testing.assert_array_equal(y, out)
    assert repr(final) == repr(tuple(finals))
    np.testing.assert_array_equal(whole.forward(x, list(state), training=False)[0], y)
    assert (whole.forward(x, state)[0] != y).any()


def test_sequential_states_carry_from_call_to_call() -> None:
    whole = model()
    x = tokens()
    y, final = whole(x)
    first, state = whole(x[:2])
    second, state = whole(x[2:], state)
    np.testing.assert_array_equal(np.concatenate([first, second]), y)
    assert repr(state) == repr(final)
    assert [entry is None for entry in state] == [True, True, False, False]


def test_sequential_names_and_lists_its_modules() -> None:
    whole = model()
    assert len(whole) == 4
    assert [type(module).__name__ for module in whole] == ["Embedding", "Dropout", "LSTM", "Sequential"]
    assert whole[2] is list(whole)[2]
    assert whole[-1] is whole[3]
    names = [name for name, _ in whole.named_parameters()]
    assert names[:2] == ["0.weight", "2.weight_ih_l0"]
    assert names[-2:] == ["3.1.weight", "3.1.bias"]
    assert dict(whole.named_parameters())["3.0.bias_hh_l0"] is whole[3][0].bias_hh_l0
    assert whole.dtype == np.float32
    assert [type(module).__name__ for module in whole.modules()] == [
        "Sequential", "Embedding", "Dropout", "LSTM", "Sequential", "GRU", "Linear"
    ]  # fmt: skip
    assert repr(rf.Sequential(rf.Dropout(0.5), rf.Last())) == (
        "Sequential(Dropout(0.5), Last(batch_first=False, bidirectional=False))"
    )


def test_a_sequential_state_dict_round_trips(tmp_path: Any) -> None:
    whole, other = model(), model()
    for parameter in other.parameters():
        parameter.data[...] = 0
    np.savez(tmp_path / "model.npz", **whole.state_dict())
    with np.load(tmp_path / "model.npz") as file:
        other.load_state_dict(file)
    np.testing.assert_array_equal(other(tokens())[0], whole(tokens())[0])
    with pytest.raises(ValueError, match=r"^state_dict: missing 0\.weight; unexpected weight$"):
        other.load_state_dict({name.removeprefix("0."): array for name, array in whole.state_dict().items()})


@pytest.mark.parametrize(
    "take", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))], ids=["deepcopy", "pickle"]
)
def test_a_copied_sequential_shares_parameters_with_its_own_modules_alone(take: Any) -> None:
    whole = model()
    whole.forward(tokens())
    twin = take(whole)
    np.testing.assert_array_equal(twin.forward(tokens())[0], whole.forward(tokens())[0])
    dict(twin.named_parameters())["3.1.bias"].data[...] = 7
    assert (twin[3][1].bias.data == 7).all()
    assert (whole[3][1].bias.data != 7).all()


def test_sequential_passes_input_grad_to_its_first_module_alone() -> None:
    whole = rf.Sequential(rf.GRU(N, 3, rng=0), rf.Linear(3, 2, rng=1))
    x = normal(T, B, N)
    y, _, tape = whole.forward(x)
    runs: list[dict[str, np.ndarray]] = [{}, {}]
    dx, _ = whole.backward(tape, y, retain=True, grads=runs[0])
    none, _ = whole.backward(tape, y, input_grad=False, retain=True, grads=runs[1])
    assert dx.shape == x.shape
    assert none is None
    for name, gradient in runs[0].items():
        np.testing.assert_array_equal(runs[1][name], gradient)
    whole.backward(tape, y)
    with pytest.raises(ValueError, match=r"^tape: .*used up"):
        whole.backward(tape, y)
    assert all(np.array_equal(parameter.grad, runs[0][name]) for name, parameter in whole.named_parameters())


def test_sequential_refuses_before_any_module_goes_back() -> None:
    whole = rf.Sequential(rf.GRU(N, 3, rng=0), rf.LSTM(3, 2, rng=0), rf.Linear(2, 2, rng=1))
    y, _, tape = whole.forward(normal(T, B, N))
    grads: dict[str, np.ndarray] = {}
    for wrong, message in (
        ({"dy": y[:1]}, r"module 2 (Linear): dy: expected shape (5, 3, 2), got (1, 3, 2)"),
        (
            {"dstate": (np.zeros((1, 3, 2)), None, None)},
            "module 0 (GRU): dstate: expected shape (1, 3, 3), got (1, 3, 2)",
        ),
        (
            {"dstate": (None, None, 0)},
            "module 2 (Linear): dstate: expected None (Linear has no state), got int",
        ),
        ({"dstate": (None, None)}, "dstate: expected 3 entries, one per module, got 2"),
        (
            {"grads": {"0.bias_ih_l0": np.zeros(1, np.float32)}},
            "grads['0.bias_ih_l0']: expected shape (9,), got (1,)",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            whole.backward(tape, **{"dy": y, "grads": grads, **wrong})
    with pytest.raises(TypeError, match=r"^dstate: expected a tuple with one entry per module, got ndarray"):
        whole.backward(tape, y, np.zeros(3))
    with pytest.raises(TypeError, match=r"^module 1 \(LSTM\): dstate: expected a pair \(h, c\)"):
        whole.backward(tape, y, (None, np.zeros(3), None))
    assert not grads
    assert all(parameter.grad is None for parameter in whole.parameters())
    whole.backward(tape, y, grads=grads)
    assert len(grads) == 10


def test_sequential_names_the_module_that_refuses() -> None:
    whole = rf.Sequential(rf.GRU(N, 3), rf.Sequential(rf.Linear(3, 2), rf.Linear(5, 2)))
    x = normal(T, B, N)
    inner = r"^module 1 \(Sequential\): module 1 \(Linear\): x: expected shape \[..., 5\], got \(5, 3, 2\)$"
    for call in (whole, whole.forward):
        with pytest.raises(ValueError, match=inner):
            call(x)
        with pytest.raises(TypeError, match=r"^module 0 \(GRU\): x: expected float32"):
            call(x.astype(int))
        with pytest.raises(
            TypeError, match=r"^state: expected a tuple with one entry per module, got ndarray"
        ):
            call(x, np.zeros((1, B, 3)))
        with pytest.raises(ValueError, match=r"^state: expected 2 entries, one per module, got 1"):
            call(x, (None,))
    with pytest.raises(TypeError, match=r"^rng: expected an integer"):
        whole.forward(x, rng="a")


def test_sequential_refuses_what_it_cannot_hold() -> None:
    layer, linear = rf.GRU(N, N), rf.Linear(N, N)
    with pytest.raises(ValueError, match=r"^modules: expected at least one, got none"):
        rf.Sequential()
    with pytest.raises(TypeError, match=r"^modules: expected a Module at place 1, got function"):
        rf.Sequential(layer, lambda x: x)
    with pytest.raises(
        ValueError, match=r"^modules: expected each parameter once, got 0\.weight again as 1\.1\.weight"
    ):
        rf.Sequential(linear, rf.Sequential(layer, linear))


def test_a_module_without_parameters_may_come_twice() -> None:
    dropout = rf.Dropout(0.5, rng=0)
    twice = rf.Sequential(dropout, dropout)
    x = np.ones((40, 50), np.float32)
    y, _, tape = twice.forward(x)
    assert abs((y == 4).mean() - 0.25) < 0.05  # two masks, not one twice
    np.testing.assert_array_equal(twice.backward(tape, x)[0], y)


def test_dtypes_may_change_along_a_sequential() -> None:
    whole = rf.Sequential(
        rf.Linear(N, 3, rng=0), rf.GRU(3, 3, dtype="float64", rng=1), rf.Linear(3, 2, rng=2)
    )
    y, _, tape = whole.forward(normal(T, B, N))
    dx, (_, dh, _) = whole.backward(tape, np.ones((T, B, 2)))
    assert (y.dtype, dx.dtype, dh.dtype) == (np.float32, np.float32, np.float64)
