"""Sequential: it equals its modules in turn; names, states, gradients, errors, copies."""

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

T, B, N = 5, 3, 4


def nested_model(**options: Any) -> Any:
    """A Sequential in a Sequential, with and without state, with and without dropout."""
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
    """A state of `nested_model`."""
    h, c, g = (
        normal(2, B, 4, dtype=dtype),
        normal(2, B, 4, dtype=dtype, seed=2),
        normal(1, B, 3, dtype=dtype),
    )
    return (None, None, (h, c), (g, None))


def test_sequential_gradients_agree_with_finite_differences() -> None:
    assert_gradients(nested_model(dtype="float64"), tokens(), model_state(float), rng=5)
    with_input = rf.Sequential(
        rf.GRU(3, 4, bidirectional=True, dtype="float64", rng=1),
        rf.Last(bidirectional=True),
        rf.Linear(8, 2, dtype="float64", rng=2),
    )
    assert_gradients(with_input, normal(4, 2, 3, dtype=float), (normal(2, 2, 4, dtype=float), None, None))


def test_sequential_has_the_bits_of_its_modules_in_turn() -> None:
    whole, by_hand = nested_model(), list(nested_model())
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
    whole = nested_model()
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
    whole = nested_model()
    x = tokens()
    y, final = whole(x)
    first, state = whole(x[:2])
    second, state = whole(x[2:], state)
    np.testing.assert_array_equal(np.concatenate([first, second]), y)
    assert repr(state) == repr(final)
    assert [entry is None for entry in state] == [True, True, False, False]


def test_sequential_names_and_lists_its_modules() -> None:
    whole = nested_model()
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
    whole, other = nested_model(), nested_model()
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
    whole = nested_model()
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


def test_sequential_checks_all_gradients_before_any_backward_pass() -> None:
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


def test_sequential_refuses_no_modules_other_objects_and_a_module_twice() -> None:
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
