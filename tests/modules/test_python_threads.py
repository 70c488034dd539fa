"""Several Python threads that use one stream, one tape or one module at once: safe, or a clear error."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.arrays import assert_equal
from helpers.threads import run_together

import rnnfast as rf
from rnnfast import functional
from rnnfast.text import window_model

THREADS = 4


@pytest.fixture
def often() -> Iterator[None]:
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Halt(rf.Module):
    """Passes x and dy on; `entered` is set on the way, and it waits for `free`."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def halt(self) -> None:
        self.entered.set()
        assert self.free.wait(30)

    def __call__(self, x, state=None):
        self.halt()
        return x, None

    def forward(self, x, state=None):
        return x, None, "a tape"

    def backward(self, tape, dy=None, dstate=None, *, retain=False):
        self.halt()
        return dy, None


def while_halted(halt: Halt, call, then):
    """Runs `then` while `call` waits in a thread of its own; returns what `then` returns."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert halt.entered.wait(30)
        return then()
    finally:
        halt.free.set()
        thread.join()


@pytest.mark.parametrize("kind", [rf.LSTM, rf.GRU, rf.SLSTM])
def test_steps_of_one_stream_follow_one_another(kind, often):
    layer, x = kind(3, 5, num_layers=2, rng=0), np.ones((1, 3), np.float32)
    want = layer.stream()
    expected = [want(x).tobytes() for _ in range(THREADS * 50)]
    step, got = layer.stream(), []
    run_together(*[lambda: [got.append(step(x).tobytes()) for _ in range(50)]] * THREADS)
    assert sorted(got) == sorted(expected)
    assert_equal(step.state, want.state)


def test_a_state_is_read_whole_and_set_whole(often):
    layer, x = rf.LSTM(2, 4, rng=0), np.ones((600, 2), np.float32)
    step, states, read = layer.stream(600), set(), []
    for _ in range(60):
        step(x)
        states.add(b"".join(part.tobytes() for part in step.state))
    zero = b"".join(part.tobytes() for part in layer.stream(600).state)
    step.reset()

    def read_on():
        while len(read) < 400:
            read.append(b"".join(part.tobytes() for part in step.state))

    def go_on():
        while len(read) < 400:
            for _ in range(60):
                step(x)
            step.state = None

    run_together(read_on, go_on)
    assert set(read) <= states | {zero}


def test_a_stream_of_several_modules_refuses_a_second_thread():
    halt = Halt()
    step = rf.Sequential(rf.GRU(2, 3, rng=0), halt).stream()
    x = np.ones((1, 2), np.float32)

    def use():
        for call in (
            lambda: step(x),
            lambda: step.state,
            step.reset,
            step.refresh,
            lambda: step.take_state([None, None]),
        ):
            with pytest.raises(RuntimeError, match=r"^CompositeStream: expected one thread at a time"):
                call()
        return True

    assert while_halted(halt, lambda: step(x), use)
    step(x)


def test_a_window_s_stream_refuses_a_second_thread():
    step = window_model(vocabulary=5, window=3, rng=0)[1].stream(2)
    x = np.ones((2, 3), np.float32)
    with step._turn:
        errors = []

        def use():
            try:
                step(x)
            except RuntimeError as error:
                errors.append(str(error))

        run_together(use)
    assert errors
    assert errors[0].startswith("WindowStream: expected one thread at a time")
    step(x)


def test_a_tape_that_another_thread_retains_cannot_be_used_up():
    halt = Halt()
    model = rf.Sequential(rf.GRU(2, 3, rng=0), halt)
    y, _, tape = model.forward(np.ones((4, 1, 2), np.float32))

    def use():
        with pytest.raises(RuntimeError, match=r"^tape: expected one that no other thread reads"):
            model.backward(tape, y)
        return True

    assert while_halted(halt, lambda: model.backward(tape, y, retain=True), use)
    model.backward(tape, y)
    with pytest.raises(ValueError, match="used up"):
        model.backward(tape, y)


def test_many_threads_may_retain_one_tape(often):
    lstm, x = rf.LSTM(3, 8, num_layers=2, rng=0), np.random.default_rng(0).normal(size=(20, 3, 3))
    y, _, tape = lstm.forward(x)
    want, got = lstm.backward(tape, y, retain=True, grads={})[0], []
    run_together(
        *[lambda: [got.append(lstm.backward(tape, y, retain=True, grads={})[0]) for _ in range(10)]] * THREADS
    )
    assert len(got) == 10 * THREADS
    for dx in got:
        np.testing.assert_array_equal(dx, want)


def test_one_of_many_threads_uses_up_a_function_s_tape(often):
    weights = [np.random.default_rng(0).normal(size=(12, n)) for n in (3, 4)]

    def used_by_one(results, errors):
        y, _, tape = functional.gru_forward(np.ones((5, 2, 3)), *weights)

        def backward():
            try:
                results.append(functional.gru_backward(tape, y, None))
            except ValueError as refusal:
                errors.append(str(refusal))

        run_together(*[backward] * THREADS)

    for _ in range(20):
        results, errors = [], []
        used_by_one(results, errors)
        assert len(results) == 1
        assert len(errors) == THREADS - 1
        assert all("used" in error for error in errors)


def test_a_tape_that_is_used_up_while_arguments_are_checked():
    weights = [np.random.default_rng(0).normal(size=(12, n)) for n in (3, 4)]
    y, _, tape = functional.gru_forward(np.ones((5, 2, 3)), *weights)

    class Dy:
        def __array__(self, dtype=None, copy=None):
            functional.gru_backward(tape, y, None)  # as another thread may at this moment
            return y

    with pytest.raises(ValueError, match="used it up"):
        functional.gru_backward(tape, Dy(), None)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_many_threads_may_be_the_first_to_run_a_frozen_module(precision, often):
    x = np.random.default_rng(0).normal(size=(3, 2, 40)).astype(np.float32)
    model = rf.Sequential(rf.GRU(40, 40, num_layers=2, rng=0), rf.Linear(40, 30, rng=1))
    model.matmul_precision = precision
    want, _ = model(x)
    for _ in range(5):
        model.freeze()
        got = []
        run_together(*[lambda got=got: got.append(model(x)[0])] * THREADS)
        assert len(got) == THREADS
        for y in got:
            np.testing.assert_array_equal(y, want)
        model.unfreeze()
