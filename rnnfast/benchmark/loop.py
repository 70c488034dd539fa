"""The layer as a NumPy user writes it: a loop over time, every product a call of NumPy's BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnnfast.benchmark.problems import Arrays, Contender, Problem

__all__ = ["NumpyLoop"]

Array = np.ndarray


class Run(NamedTuple):
    """A forward pass, and what the backward pass reads of it."""

    y: Array  # [T, B, H]
    state: Any  # h [B, H], or (h, c)
    before: Array  # [T, B, H] h before each step
    saved: tuple[Array, ...]


class NumpyLoop(Contender):
    """One product for all steps of the input, one a step for the state, one for each weight's gradient."""

    name = "numpy"

    def __init__(self, problem: Problem, threads: int = 1) -> None:
        super().__init__(problem, threads)
        self.forward, self.backward = CELLS[problem.cell]

    def evaluate(self) -> Any:
        run = self.forward(self.problem.x, self.problem.weights, None)
        return run.y, run.state

    def train(self) -> Any:
        x, w = self.problem.x, self.problem.weights
        run = self.forward(x, w, None)
        d_ih, d_hh = (d.reshape(-1, d.shape[2]) for d in self.backward(self.problem.dy, w, run))
        grads = {
            "weight_ih": d_ih.T @ x.reshape(-1, x.shape[2]),
            "weight_hh": d_hh.T @ run.before.reshape(-1, run.before.shape[2]),
            "bias_ih": d_ih.sum(axis=0),
            "bias_hh": d_hh.sum(axis=0),
        }
        return run.y, run.state, (d_ih @ w["weight_ih"]).reshape(x.shape), grads

    def stepper(self) -> Callable[[], Any]:
        x, state = self.problem.x[:1], None

        def step() -> Any:
            nonlocal state
            y, state, *_ = self.forward(x, self.problem.weights, state)
            return y[0]

        return step


def sigmoid(a: Array) -> Array:
    """In place: the logistic function."""
    np.negative(a, out=a)
    np.exp(a, out=a)
    a += 1.0
    return np.reciprocal(a, out=a)


def beginning(x: Array, w: Arrays, h: Array | None) -> tuple[Array, Array, Array]:
    """The input's part of all pre-activations [T, B, G*H], h before each step (the first is set), W_hh^T."""
    (T, B, I), H = x.shape, w["weight_hh"].shape[1]
    a = (x.reshape(T * B, I) @ w["weight_ih"].T).reshape(T, B, -1)
    a += w["bias_ih"]
    before = np.empty((T + 1, B, H), x.dtype)
    before[0] = 0.0 if h is None else h
    return a, before, w["weight_hh"].T


def rnn_forward(x: Array, w: Arrays, h: Array | None) -> Run:
    """h = tanh(a + W_hh h_prev)."""
    a, hs, W = beginning(x, w, h)
    a += w["bias_hh"]
    for t in range(len(x)):
        np.tanh(a[t] + hs[t] @ W, out=hs[t + 1])
    return Run(hs[1:], hs[-1], hs[:-1], ())


def rnn_backward(dy: Array, w: Arrays, run: Run) -> tuple[Array, Array]:
    """The gradients of all pre-activations, of their input's and their state's part."""
    d, dh = 1.0 - run.y**2, np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        d[t] *= dy[t] + dh
        dh = d[t] @ w["weight_hh"]
    return d, d


def lstm_forward(x: Array, w: Arrays, state: tuple[Array, Array] | None) -> Run:
    """c = f c_prev + i g, h = o tanh(c)."""
    a, hs, W = beginning(x, w, state and state[0])
    a += w["bias_hh"]
    H = W.shape[0]
    cs = np.empty_like(hs)
    cs[0] = 0.0 if state is None else state[1]
    tanh_c = np.empty_like(hs[1:])
    for t in range(len(x)):
        gates = a[t]
        gates += hs[t] @ W
        sigmoid(gates[:, : 2 * H])
        np.tanh(gates[:, 2 * H : 3 * H], out=gates[:, 2 * H : 3 * H])
        sigmoid(gates[:, 3 * H :])
        i, f, g, o = np.split(gates, 4, axis=1)
        np.multiply(f, cs[t], out=cs[t + 1])
        cs[t + 1] += i * g
        np.tanh(cs[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=hs[t + 1])
    return Run(hs[1:], (hs[-1], cs[-1]), hs[:-1], (a, cs, tanh_c))


def lstm_backward(dy: Array, w: Arrays, run: Run) -> tuple[Array, Array]:
    """The gradients of all pre-activations, of their input's and their state's part."""
    gates, cs, tanh_c = run.saved
    d = np.empty_like(gates)
    dh, dc = np.zeros_like(dy[0]), np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        d_i, d_f, d_g, d_o = np.split(d[t], 4, axis=1)
        dh = dh + dy[t]
        dc = dc + dh * o * (1.0 - tanh_c[t] ** 2)
        d_i[:] = dc * g * i * (1.0 - i)
        d_f[:] = dc * cs[t] * f * (1.0 - f)
        d_g[:] = dc * i * (1.0 - g**2)
        d_o[:] = dh * tanh_c[t] * o * (1.0 - o)
        dc = dc * f
        dh = d[t] @ w["weight_hh"]
    return d, d


def gru_forward(x: Array, w: Arrays, h: Array | None) -> Run:
    """n = tanh(p + r q), h = n + z (h_prev - n)."""
    a, hs, W = beginning(x, w, h)
    H = W.shape[0]
    qs = np.empty_like(hs[1:])
    for t in range(len(x)):
        product = hs[t] @ W
        product += w["bias_hh"]
        qs[t] = product[:, 2 * H :]
        a[t, :, : 2 * H] += product[:, : 2 * H]
        sigmoid(a[t, :, : 2 * H])
        r, z, n = np.split(a[t], 3, axis=1)
        n += r * qs[t]
        np.tanh(n, out=n)
        np.subtract(hs[t], n, out=hs[t + 1])
        hs[t + 1] *= z
        hs[t + 1] += n
    return Run(hs[1:], hs[-1], hs[:-1], (a, qs))


def gru_backward(dy: Array, w: Arrays, run: Run) -> tuple[Array, Array]:
    """The gradients of all pre-activations, of their input's and their state's part; n's differ by r."""
    gates, qs = run.saved
    d_ih, d_hh = np.empty_like(gates), np.empty_like(gates)
    H, dh = dy.shape[2], np.zeros_like(dy[0])
    for t in reversed(range(len(dy))):
        r, z, n = np.split(gates[t], 3, axis=1)
        d_r, d_z, d_n = np.split(d_ih[t], 3, axis=1)
        dh = dh + dy[t]
        d_n[:] = dh * (1.0 - z) * (1.0 - n**2)
        d_z[:] = dh * (run.before[t] - n) * z * (1.0 - z)
        d_r[:] = d_n * qs[t] * r * (1.0 - r)
        d_hh[t] = d_ih[t]
        d_hh[t, :, 2 * H :] *= r
        dh = dh * z + d_hh[t] @ w["weight_hh"]
    return d_ih, d_hh


CELLS: dict[str, tuple[Callable[..., Run], Callable[..., tuple[Array, Array]]]] = {
    "rnn": (rnn_forward, rnn_backward),
    "gru": (gru_forward, gru_backward),
    "lstm": (lstm_forward, lstm_backward),
}
