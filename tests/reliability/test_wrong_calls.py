"""Random wrong calls: each ends in a ValueError or TypeError of one line, and nothing is written.

A call is right but for one argument, whose value comes from a list of wrong ones for its kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state, normal, parts
from helpers.cases import LAYERS
from helpers.depth import times
from helpers.memory import arrays_in

import rnnfast as rf

CALLS = times(1500, 30_000)
T, B, I, H = 4, 3, 2, 6

NOT_FLAGS = ["no", 2, 1.0, [], np.zeros(2), object(), (True,)]
NOT_SIZES = [0, -1, 1.5, "1", True, None, [1], np.array([1, 2]), object(), -(2**70), float("nan")]
NOT_SHARES = [-0.1, 1.5, float("nan"), float("inf"), "0.5", True, [0.1, 0.2, 0.3], object(), 1j]
NOT_SEEDS = [-1, 1.5, "7", object(), [1], np.array([1, 2])]
NOT_PRECISIONS = ["float16", "", 8, None, ["int8"], np.float32, object()]
NOT_ARRAYS = [None, "x", object(), {}, {"x": 1}, 3.0, np.float32(1), lambda: 0, [[1.0], [1.0, 2.0]], b"1234"]
NOT_DTYPES = [np.dtype(name) for name in ("complex64", "U3", "O", "bool", "datetime64[s]", "int64")]

OPTIONS = {  # keywords of every layer's constructor, and wrong values for them
    "num_layers": NOT_SIZES,
    "bias": NOT_FLAGS,
    "batch_first": NOT_FLAGS,
    "bidirectional": NOT_FLAGS,
    "dropout": NOT_SHARES,
    "dtype": ["float16", "int32", "x", 32, np.complex64, object()],
    "rng": NOT_SEEDS,
    "matmul_precision": NOT_PRECISIONS,
}


def wrong_array(good: np.ndarray, fixed: tuple[int, ...], rng: Random, none: bool = False) -> Any:
    """Something else than an array like this one; `fixed` are axes that cannot have another size.

    None is among them if `none`.
    """
    kind = rng.choice(["value", "dtype", "axes", "size", "masked"])
    if kind == "dtype":
        return good.astype(rng.choice(NOT_DTYPES))
    if kind == "axes":
        return rng.choice([good[None, None], good[..., None, None], good.ravel()[:1].reshape(())])
    if kind == "size" and fixed:
        axis = rng.choice(fixed)
        return rng.choice(
            [np.repeat(good, 2, axis=axis), good.take([], axis=axis), good.take([0] * 9, axis=axis)]
        )
    if kind == "masked":
        return np.ma.masked_array(good, mask=np.ones(good.shape, bool))
    return rng.choice([value for value in NOT_ARRAYS if none or value is not None])


def wrong_state(good: Any, rng: Random) -> Any:
    """Something else than a state or its gradient."""
    if isinstance(good, tuple):
        if rng.random() < 0.2:
            return rng.choice([good[:-1], (*good, good[0]), good[0], "hc", 3])
        place = rng.randrange(len(good))
        return (*good[:place], wrong_array(good[place], (0, 1, 2), rng), *good[place + 1 :])
    return wrong_array(good, (0, 1, 2), rng)


def wrong_lengths(rng: Random) -> Any:
    """Something else than lengths 0..T of B sequences."""
    return rng.choice(
        [
            [T + 1] * B,
            [-1] * B,
            [1.0] * B,
            [True] * B,
            [1] * (B + 1),
            [[1] * B],
            2,
            "123",
            [None] * B,
            object(),
        ]
    )


def wrong_reset(rng: Random) -> Any:
    """Something else than bools [T, B]."""
    right = np.zeros((T, B), bool)
    return rng.choice([right.T, right[:1], right[0], right.astype(int), right.astype(float), True, "x", 3])


class Model:
    """A random layer with right arguments for each of its methods."""

    def __init__(self, rng: Random) -> None:
        self.name = rng.choice(sorted(LAYERS))
        options = {"num_layers": rng.randint(1, 2), "bias": rng.random() < 0.5}
        options |= {"bidirectional": rng.random() < 0.5, "dtype": rng.choice(["float32", "float64"])}
        self.layer = LAYERS[self.name](I, H, rng=0, **options)
        self.x = normal(T, B, I, dtype=self.layer.dtype)
        self.y, self.state, _ = self.layer.forward(self.x)
        self.stream = None if self.layer.bidirectional else self.layer.stream(B)
        for parameter in self.layer.parameters():
            parameter.grad = np.ones_like(parameter.data)
        self.grads = {name: np.ones_like(p.data) for name, p in self.layer.named_parameters()}

    def held(self) -> list[np.ndarray]:
        """All that a call may write."""
        written = [*self.layer.state_dict().values(), *self.grads.values(), self.x, *arrays_in(self.state)]
        written += [parameter.grad for parameter in self.layer.parameters()]
        return written + (list(arrays_in(self.stream.state)) if self.stream is not None else [])

    def wrong_call(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        """A call with one wrong argument, and what it is called."""
        ways = [self._build, self._forward, self._evaluate, self._backward, self._weights]
        return rng.choice([*ways, self._stream] if self.stream is not None else ways)(rng)

    def _build(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        option = rng.choice(["input_size", "hidden_size", *OPTIONS])
        value = rng.choice(NOT_SIZES if option.endswith("size") else OPTIONS[option])
        given = {"input_size": I, "hidden_size": H, option: value}
        return f"{self.name}({option}={value!r})", lambda: LAYERS[self.name](**given)

    def _given(self, rng: Random, *more: str) -> tuple[str, dict[str, Any]]:
        """Arguments of a call, one of them wrong, and which."""
        wrong = {
            "x": lambda: wrong_array(self.x, (2,), rng, none=True),
            "state": lambda: wrong_state(self.state, rng),
            "lengths": lambda: wrong_lengths(rng),
            "reset": lambda: wrong_reset(rng),
            "return_states": lambda: rng.choice(NOT_FLAGS),
            "training": lambda: rng.choice(NOT_FLAGS),
            "rng": lambda: rng.choice(NOT_SEEDS),
            "checkpoint": lambda: rng.choice([0, -1, 1.5, "x", object(), [2]]),
        }
        name = rng.choice(["x", "state", "lengths", "reset", "return_states", *more])
        return name, {"x": self.x, "state": self.state, name: wrong[name]()}

    def _forward(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        name, given = self._given(rng, "training", "rng", "checkpoint")
        return f"{self.layer}.forward({name}={given[name]!r})", lambda: self.layer.forward(**given)

    def _evaluate(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        name, given = self._given(rng)
        return f"{self.layer}({name}={given[name]!r})", lambda: self.layer(**given)

    def _backward(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        wrong = {
            "tape": lambda: rng.choice([None, 3, "tape", (), self.y, LAYERS[self.name](I, H)]),
            "dy": lambda: wrong_array(self.y, (0, 1, 2), rng),
            "dstate": lambda: wrong_state(self.state, rng),
            "input_grad": lambda: rng.choice(NOT_FLAGS),
            "retain": lambda: rng.choice(NOT_FLAGS),
            "grads": lambda: rng.choice(
                [3, "x", [], {name: array[:1] for name, array in self.grads.items()}]
            ),
        }
        name = rng.choice(list(wrong))
        _, _, tape = self.layer.forward(self.x)
        given = {"tape": tape, "dy": self.y, "dstate": self.state, "grads": self.grads, name: wrong[name]()}
        return f"{self.layer}.backward({name}={given[name]!r})", lambda: self.layer.backward(**given)

    def _weights(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        state = self.layer.state_dict()
        name = rng.choice(list(state))
        axes = tuple(range(state[name].ndim))
        value = wrong_array(state[name], axes, rng, none=True)
        if isinstance(value, np.ndarray) and value.dtype.kind == "i":  # whole numbers are weights too
            value = value.astype("complex64")
        changed = rng.choice([{**state, name: value}, {**state, f"{name}x": state[name]}, {}, 3, None])
        return f"{self.layer}.load_state_dict({name})", lambda: self.layer.load_state_dict(changed)

    def _stream(self, rng: Random) -> tuple[str, Callable[[], Any]]:
        stream: Any = self.stream
        kind = rng.choice(["x", "state", "mask"])
        if kind == "x":
            value = wrong_array(self.x[0], (0, 1), rng, none=True)
            return f"{self.layer}.stream()({value!r})", lambda: stream(value)
        if kind == "state":
            state = wrong_state(as_state(tuple(parts(stream.state))), rng)
            return f"{self.layer}.stream().state = {state!r}", lambda: setattr(stream, "state", state)
        mask = rng.choice([[True] * (B + 1), [1] * B, [0.5] * B, "yes", 3, [[True] * B]])
        return f"{self.layer}.stream().reset({mask!r})", lambda: stream.reset(mask)


def taken(call: Callable[[], Any], text: str) -> None:
    """Fails the test if the call ends without an error."""
    call()
    pytest.fail(f"taken: {text}")


def test_wrong_calls_are_refused_and_write_nothing(figure: Callable[[str], None]) -> None:
    rng = Random(0)
    refused: Counter[str] = Counter()
    for n in range(CALLS):
        if n % 20 == 0:
            model = Model(rng)
        text, call = model.wrong_call(rng)
        before = [array.copy() for array in model.held()]
        with pytest.raises((TypeError, ValueError)) as caught:
            taken(call, text)
        refused[type(caught.value).__name__] += 1
        assert type(caught.value) in (TypeError, ValueError, rf.checks.BeyondMemory), text
        message = str(caught.value)
        assert "expected" in message or "missing" in message, f"{text}: {message}"
        assert "\n" not in message, f"{text}: {message}"
        for old, new in zip(before, model.held(), strict=True):
            assert old.tobytes() == new.tobytes(), text
    figure(f"{CALLS} wrong calls: {dict(refused)}, nothing written")
