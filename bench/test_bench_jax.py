"""The bridge to JAX: training beside `lax.scan` of the same equations, and beside rnnfast's own layers.

`pytest bench -k jax --benchmark-only` has a group for each shape. Results are compared before they are timed.
Both programs compute a loss, y, the final state, and the gradients of x and of all weights.
"""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.benchmark.contenders import limited_threads
from rnnfast.benchmark.peers.jax import Jax
from rnnfast.benchmark.problems import make_problem

jax = pytest.importorskip("jax")

import rnnfast as rf  # noqa: E402
import rnnfast.jax  # noqa: E402

SHAPES = [(100, 32, 64, 64), (100, 8, 32, 32), (50, 16, 16, 17)]  # T, B, I, H
LAYERS = {
    "lstm": (rf.LSTM, rnnfast.jax.lstm),
    "gru": (rf.GRU, rnnfast.jax.gru),
    "rnn": (rf.RNN, rnnfast.jax.rnn),
}


def bridge(problem):
    """One step of training through `rnnfast.jax`."""
    function = LAYERS[problem.cell][1]
    params = {f"{name}_l0": jax.numpy.asarray(array) for name, array in problem.weights.items()}
    x, dy = jax.numpy.asarray(problem.x), jax.numpy.asarray(problem.dy)

    def objective(x, params):
        y, state = function(x, params)
        return (y * dy).sum(), (y, state)

    program = jax.jit(jax.value_and_grad(objective, (0, 1), has_aux=True))

    def train():
        (_, (y, state)), (dx, grads) = jax.block_until_ready(program(x, params))
        return y, state, dx, {name.removesuffix("_l0"): gradient for name, gradient in grads.items()}

    return train


def own(problem):
    """The same by the layer itself, without JAX."""
    layer = LAYERS[problem.cell][0](problem.x.shape[2], problem.dy.shape[2])
    layer.load_state_dict({f"{name}_l0": array for name, array in problem.weights.items()})

    def train():
        grads: dict[str, np.ndarray] = {}
        y, state, tape = layer.forward(problem.x)
        dx, _ = layer.backward(tape, problem.dy, grads=grads)
        return y, state, dx, {name.removesuffix("_l0"): gradient for name, gradient in grads.items()}

    return train


ROWS = {"rnnfast": bridge, "lax.scan": lambda problem: Jax(problem, 1).train, "layer": own}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", LAYERS)
def test_bench_jax_training(timed, threads, cell, shape, row):
    problem = make_problem(cell, *shape)
    with limited_threads(threads):
        results, expected = ROWS[row](problem)(), own(problem)()
        for got, want in zip(jax.tree.leaves(results), jax.tree.leaves(expected), strict=True):
            got = np.asarray(got).reshape(want.shape)
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
        timed(f"jax bridge, {cell} training {shape}, threads: {threads}", row, ROWS[row](problem))
