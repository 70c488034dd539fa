"""What the tests of `rnnfast.jax` share: cases of `cases` and layers, run by compiled JAX programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from helpers.arrays import as_state, named_parts, normal_like, parts
from helpers.cases import Case

jax = pytest.importorskip("jax")

import rnnfast as rf  # noqa: E402
import rnnfast.jax  # noqa: E402
from rnnfast import _core  # noqa: E402

FUNCTIONS = {"rnn": rnnfast.jax.rnn, "lstm": rnnfast.jax.lstm, "gru": rnnfast.jax.gru}


@contextmanager
def passes_run(count: int) -> Iterator[None]:
    """Whatever is inside must run so many passes of rnnfast, and wait for its results."""
    before = _core.runs_so_far()
    yield
    ran = _core.runs_so_far() - before
    assert ran == count, f"{ran} passes of rnnfast, expected {count}"


def arrays_of(tree: Any) -> Any:
    """The same tree with arrays of NumPy; it waits for results."""
    return jax.tree.map(np.asarray, tree)


def gradients(function: Callable[..., Any], arguments: tuple, cotangents: Any) -> tuple[Any, Any]:
    """The results of a function, and the gradients of its arguments, by one compiled program."""

    def program(arguments: tuple, cotangents: Any) -> tuple[Any, Any]:
        results, back = jax.vjp(function, *arguments)
        return results, back(cotangents)

    return arrays_of(jax.jit(program)(arguments, cotangents))


def run_case(case: Case) -> dict[str, np.ndarray]:
    """All outputs and all gradients, as `cases.run` names them."""
    params = {f"{name}_l0": array for name, array in case.weights.items()}
    state = tuple(part[None] for part in case.state)
    given = dict(case.options)

    def call(x: Any, params: Any, state: Any) -> Any:
        y, final = FUNCTIONS[case.cell](x, params, as_state(state), **given)
        return y, parts(final)

    assert case.dy is not None
    cotangents = (case.dy, tuple(part[None] for part in case.dstate))
    with jax.enable_x64(case.x.dtype == np.float64), passes_run(2):
        (y, final), (dx, grads, dstate) = gradients(call, (case.x, params, state), cotangents)
    return {
        "y": y,
        **named_parts("", tuple(part[0] for part in final)),
        "dx": dx,
        **named_parts("d", tuple(part[0] for part in dstate)),
        **{name.removesuffix("_l0"): gradient for name, gradient in grads.items()},
    }


def options_of(layer: Any) -> dict[str, Any]:
    """The keywords of the function of JAX that does what a layer does."""
    names = {
        rf.RNN: ["nonlinearity"],
        rf.GRU: ["reset_after"],
        rf.LSTM: ["coupled_gates", "cell_clip"],
    }[type(layer)]
    return {name: getattr(layer, name) for name in ("batch_first", "matmul_precision", *names)}


def both(layer: Any, x: np.ndarray, state: Any, **keywords: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that a forward and a backward pass give, of a layer and of its function of JAX."""
    y, final, tape = layer.forward(x, state, **keywords)
    dy, dfinal = normal_like(y, 5), normal_like(final, 7)
    grads: dict[str, np.ndarray] = {}
    dx, dstate = layer.backward(tape, dy, dfinal, grads=grads)
    want = {"y": y, "final": final, "dx": dx, "grads": grads, "dstate": dstate}

    def call(x: Any, params: Any, state: Any) -> Any:
        return FUNCTIONS[layer.cell](x, params, state, **options_of(layer), **keywords)

    with jax.enable_x64(layer.dtype == np.float64):
        results, found = gradients(call, (x, layer.state_dict(), state), (dy, dfinal))
    got = dict(zip(want, (*results, *found), strict=True))
    return got, want
