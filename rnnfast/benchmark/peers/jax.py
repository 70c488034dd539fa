"""The layer as JAX users write it: a cell under `lax.scan`."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

from rnnfast.benchmark.problems import Contender, Problem

__all__ = ["Jax"]


class Jax(Contender):
    """A cell under `lax.scan`, the input's products before it, compiled by `jit`.

    Its number of threads cannot be set once it is loaded; it chooses the number itself.
    """

    name = "jax"
    needs = ("jax",)
    precisions = ("float32",)
    steps = False

    def __init__(self, problem: Problem, threads: int) -> None:
        super().__init__(problem, threads)
        jax = import_module("jax")
        self.ready = jax.block_until_ready
        self.forward, self.gradient = _jax_functions(problem.cell)
        self.given = [jax.numpy.asarray(a) for a in (problem.x, *problem.weights.values())]
        self.dy = jax.numpy.asarray(problem.dy)
        self.names = list(problem.weights)

    def evaluate(self) -> Any:
        return self.ready(self.forward(*self.given))

    def train(self) -> Any:
        (_, (y, state)), (dx, *grads) = self.ready(self.gradient(self.dy, *self.given))
        return y, state, dx, dict(zip(self.names, grads, strict=True))


@functools.cache  # JAX keeps what it compiled by function
def _jax_functions(cell: str) -> tuple[Any, Any]:
    """(x, weights) -> (y, state), and (dy, x, weights) -> (_, (y, state)), gradients; both compiled."""
    jax = import_module("jax")
    jnp, sigmoid = jax.numpy, jax.nn.sigmoid

    def forward(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        def rnn(h: Any, a: Any) -> Any:
            h = jnp.tanh(a + h @ weight_hh.T + bias_hh)
            return h, h

        def lstm(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(a + h @ weight_hh.T + bias_hh, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        def gru(h: Any, a: Any) -> Any:
            (r, z, p), (r_h, z_h, q) = jnp.split(a, 3, -1), jnp.split(h @ weight_hh.T + bias_hh, 3, -1)
            z = sigmoid(z + z_h)
            h = (1 - z) * jnp.tanh(p + sigmoid(r + r_h) * q) + z * h
            return h, h

        zero = jnp.zeros((x.shape[1], weight_hh.shape[1]), x.dtype)
        initial = (zero, zero) if cell == "lstm" else zero
        step = {"rnn": rnn, "gru": gru, "lstm": lstm}[cell]
        state, y = jax.lax.scan(step, initial, x @ weight_ih.T + bias_ih)
        return y, state

    def objective(dy: Any, *given: Any) -> Any:
        y, state = forward(*given)
        return (y * dy).sum(), (y, state)

    gradient = jax.value_and_grad(objective, argnums=(1, 2, 3, 4, 5), has_aux=True)
    return jax.jit(forward), jax.jit(gradient)
