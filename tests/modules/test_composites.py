"""Residual and Parallel: their definitions, gradients, states, keywords, streams, copies, refusals."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import numpy as np
import pytest
from helpers.arrays import normal
from helpers.differences import assert_gradients
from modules.tagger import I, Tagger

import rnnfast as rf

T, B, N = 5, 3, 4


def residual(dtype: str = "float32") -> Any:
    """A residual block with a state, dropout and products."""
    return rf.Residual(
        rf.Sequential(
            rf.LayerNorm(N, dtype=dtype),
            rf.LSTM(N, 3, dtype=dtype, rng=0),
            rf.Dropout(0.25, rng=1),
            rf.Linear(3, N, dtype=dtype, rng=2),
        )
    )


def parallel(dtype: str = "float32") -> Any:
    """Modules side by side, with and without states."""
    return rf.Parallel(
        rf.GRU(N, 3, dtype=dtype, rng=0),
        rf.Sequential(rf.Linear(N, 2, dtype=dtype, rng=1), rf.Tanh()),
        rf.Residual(rf.LSTM(N, N, dtype=dtype, rng=2)),
    )


def state_of(model: Any, dtype: Any = np.float32) -> Any:
    """A state of `residual` or of `parallel`."""
    if isinstance(model, rf.Residual):
        return (None, (normal(1, B, 3, dtype=dtype), normal(1, B, 3, dtype=dtype, seed=1)), None, None)
    h, c = (normal(1, B, N, dtype=dtype, seed=seed) for seed in (2, 3))
    return (normal(1, B, 3, dtype=dtype), None, (h, c))


BOTH = pytest.mark.parametrize("make", [residual, parallel])


@BOTH
def test_gradients_agree_with_finite_differences(make: Any) -> None:
    model = make("float64")
    x = normal(T, B, N, dtype=float)
    assert_gradients(model, x, state_of(model, float), rng=5)
    inside = rf.Sequential(rf.Linear(N, N, dtype="float64", rng=3), model)
    assert_gradients(inside, x, (None, state_of(model, float)), rng=5, lengths=[5, 2, 0])


def test_a_residual_is_x_and_its_module() -> None:
    block = residual()
    x, state = normal(T, B, N), state_of(residual())
    y, final = block(x, state)
    own, own_final = block.module(x, state)
    np.testing.assert_array_equal(y, x + own)
    assert repr(final) == repr(own_final)
    y, final, tape = block.forward(x, state, rng=7)
    own, own_final, own_tape = block.module.forward(x, state, rng=7)
    np.testing.assert_array_equal(y, x + own)
    dy = normal(T, B, N, seed=4)
    grads: dict[str, np.ndarray] = {}
    own_grads: dict[str, np.ndarray] = {}
    dx, dstate = block.backward(tape, dy, state, grads=grads)
    own_dx, own_dstate = block.module.backward(own_tape, dy, state, grads=own_grads)
    np.testing.assert_array_equal(dx, dy + own_dx)
    assert repr(dstate) == repr(own_dstate)
    assert list(grads) == [f"module.{name}" for name in own_grads]


def test_parallel_modules_have_the_bits_of_each_by_itself() -> None:
    model = parallel()
    x, state = normal(T, B, N), state_of(parallel())
    y, final, tape = model.forward(x, state)
    dy = normal(*y.shape, seed=4)
    dx, dstate = model.backward(tape, dy, state)
    column, total = 0, np.zeros_like(x)
    for place, module in enumerate(model):
        out, entry, own = module.forward(x, state[place])
        width = out.shape[-1]
        np.testing.assert_array_equal(y[..., column : column + width], out)
        assert repr(final[place]) == repr(entry)
        one, dentry = module.backward(own, dy[..., column : column + width], state[place])
        total = total + one
        assert repr(dstate[place]) == repr(dentry)
        column += width
    assert column == y.shape[-1]
    np.testing.assert_array_equal(dx, total)


@BOTH
def test_a_stream_has_the_bits_of_the_whole_run(make: Any) -> None:
    model = rf.Sequential(make(), rf.Linear(N if make is residual else 3 + 2 + N, 2, rng=3))
    x, state = normal(T, B, N), (state_of(model[0]), None)
    y, final = model(x, state)
    step = model.stream(B)
    step.state = state
    np.testing.assert_array_equal(np.stack([step(x_t) for x_t in x]), y)
    assert repr(step.state) == repr(final)
    step.reset(np.array([True, False, True]))
    np.testing.assert_array_equal(step(x[0])[0], model(x[:1])[0][0, 0])
    alone = make().stream()
    assert alone(x[0, 0]).shape == make()(x[:, 0])[0].shape[1:]
    alone.state = None
    with pytest.raises(TypeError, match="a stream cannot be pickled"):
        pickle.dumps(alone)


@BOTH
def test_unbatched_inputs_lengths_and_resets_are_handed_on(make: Any) -> None:
    model = make()
    x = normal(T, B, N)
    y, _ = model(x)
    np.testing.assert_array_equal(model(x[:, 1])[0], y[:, 1])
    ragged, final = model(x, lengths=[5, 2, 4])
    np.testing.assert_array_equal(ragged[:2, 1], y[:2, 1])
    assert repr(final) == repr(model.forward(x, lengths=[5, 2, 4], training=False)[1])
    border = np.zeros((T, B), bool)
    border[3] = True
    np.testing.assert_array_equal(model(x, reset=border)[0][3:], model(x[3:])[0])
    kept, _, tape = model.forward(x, rng=3, checkpoint=2)
    plain, _, other = model.forward(x, rng=3)
    np.testing.assert_array_equal(kept, plain)
    np.testing.assert_array_equal(model.backward(tape, y)[0], model.backward(other, y)[0])


def test_batch_first_models() -> None:
    layers = [rf.GRU(N, N, batch_first=first, rng=0) for first in (False, True)]
    for make in (rf.Residual, lambda layer: rf.Parallel(layer, rf.Linear(N, 2, rng=1))):
        steps, rows = map(make, layers)
        x = normal(T, B, N)
        y, _ = steps(x, lengths=[3, 5, 1])
        np.testing.assert_array_equal(rows(x.swapaxes(0, 1), lengths=[3, 5, 1])[0].swapaxes(0, 1), y)


@BOTH
def test_copies_files_precisions_and_counts(make: Any, tmp_path: Any) -> None:
    model = make()
    x = normal(T, B, N)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(x)[0], model(x)[0])
    rf.save(tmp_path / "model.npz", model)
    other = make()
    for parameter in other.parameters():
        parameter.data[...] = 0
    rf.load(tmp_path / "model.npz", other)
    np.testing.assert_array_equal(other(x)[0], model(x)[0])
    other.load_state_dict(model.state_dict())
    model.matmul_precision = "bfloat16"
    assert model.matmul_precision == "bfloat16"
    assert set(model.matmul_precisions().values()) == {"bfloat16"}
    assert (model(x)[0] != other(x)[0]).any()
    rows = rf.quantization_error(model, x)
    assert [row.module for row in rows] == [*model.matmul_precisions(), ""]
    prefix = "module.0." if make is residual else "0."
    assert model.named_parameters()[0][0].startswith(prefix)
    model.matmul_precision = "int8"
    with pytest.raises(ValueError, match="matmul_precision"):
        model.forward(x)


def test_a_users_module_inside() -> None:
    x = normal(T, B, I, dtype=float)
    model = rf.Parallel(
        Tagger("float64"), rf.Residual(rf.Sequential(Tagger("float64"), rf.Linear(1, I, dtype="float64")))
    )
    assert_gradients(model, x)
    step = rf.Parallel(rf.ReLU(), rf.Tanh()).stream()
    assert step(x[0, :1]).shape == (1, 2 * I)
    with pytest.raises(TypeError, match=r"^module 0 \(Tagger\): expected a method stream\(batch\)"):
        model.stream()


def test_training_and_probing() -> None:
    model = rf.Sequential(
        rf.Parallel(rf.Embedding(9, 3, rng=0), rf.Embedding(9, 2, rng=1)),
        rf.Residual(rf.GRU(5, 5, rng=2)),
        rf.Linear(5, 9, rng=3),
    )
    tokens = np.random.default_rng(0).integers(0, 9, (12, 16))
    optimizer = rf.optim.Adam(model.parameters(), lr=0.05)
    data = (tokens, np.roll(tokens, 1, axis=0))
    history = rf.fit(model, "cross_entropy", data, optimizer, epochs=60, progress=False, rng=1)
    assert history.loss[-1] < 0.5 * history.loss[0]
    found = rf.probe(model, rf.losses.cross_entropy, *data)
    assert [one.name for one in found.passes] == ["1.module.l0"]


def test_gradients_may_be_missing() -> None:
    for model in (residual(), parallel()):
        y, _, tape = model.forward(normal(T, B, N))
        dx, _ = model.backward(tape, None, retain=True)
        assert not dx.any()
        none, _ = model.backward(tape, y, input_grad=False)
        assert none is None
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_dtypes_may_differ() -> None:
    x = normal(T, B, N, dtype=float)
    block = residual()
    y, _, tape = block.forward(x)
    dx, _ = block.backward(tape, np.ones(y.shape))
    assert y.dtype == dx.dtype == np.float32
    model = rf.Parallel(rf.Linear(N, 2, rng=0), rf.Linear(N, 2, dtype="float64", rng=1))
    y, _, tape = model.forward(x)
    dx, _ = model.backward(tape, y)
    assert y.dtype == dx.dtype == np.float64


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: rf.Residual(rf.Linear(N, 3))(normal(T, N)),
            ValueError,
            "module (Linear): expected y of x's shape (5, 4), got (5, 3)",
        ),
        (lambda: rf.Residual(rf.Embedding(9, 4))(np.ones((2, 3), int)), TypeError, "x: expected float32"),
        (lambda: rf.Residual(np.tanh), TypeError, "modules: expected a Module at place 0, got ufunc"),
        (
            lambda: rf.Residual(rf.GRU(3, 3))(normal(T, B, N)),
            ValueError,
            "module (GRU): x: expected",
        ),
        (
            lambda: setattr(residual(), "module", rf.ReLU()),
            AttributeError,
            "module: the modules of a Residual",
        ),
        (lambda: rf.Parallel(), ValueError, "modules: expected at least one, got none"),
        (
            lambda: rf.Parallel(*[rf.Linear(N, 3)] * 2),
            ValueError,
            "modules: expected each parameter once, got 0.weight again as 1.weight",
        ),
        (
            lambda: rf.Parallel(rf.GRU(N, 3), rf.Last())(normal(T, B, N)),
            ValueError,
            "module 1 (Last): expected y of shape [5, 3, ...], as module 0 gives it, got (3, 4)",
        ),
        (
            lambda: parallel()(normal(T, B, N), (None, None)),
            ValueError,
            "state: expected 3 entries, one per module, got 2",
        ),
        (
            lambda: rf.Parallel(rf.GRU(N, 3), rf.Last()).stream(),
            ValueError,
            "module 1 (Last): stream: expected",
        ),
        (lambda: rf.Residual(rf.GRU(N, 2, bidirectional=True)).stream(), ValueError, "module (GRU):"),
    ],
)
def test_errors_say_which_module_and_what_came(call: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()


@BOTH
def test_all_gradients_are_checked_before_any_backward_pass(make: Any) -> None:
    model = make()
    y, _, tape = model.forward(normal(T, B, N))
    with pytest.raises(ValueError, match=rf"^dy: expected shape {re.escape(str(y.shape))}"):
        model.backward(tape, y[:1])
    with pytest.raises((TypeError, ValueError), match="dstate: expected"):
        model.backward(tape, y, np.zeros(3))
    assert all(parameter.grad is None for parameter in model.parameters())
    model.backward(tape, y)
    with pytest.raises(ValueError, match="used up"):
        model.backward(tape, y)


def test_repr() -> None:
    assert repr(rf.Residual(rf.ReLU())) == "Residual(ReLU())"
    assert repr(rf.Parallel(rf.ReLU(), rf.Dropout(0.5))) == "Parallel(ReLU(), Dropout(0.5))"
