"""The recurrent operators in NumPy, written from ONNX's equations: for what the kernels do not compute.

With ONNX's own weights; of one direction they are W [G*H, I], R [G*H, H], B [2*G*H] or None (zero) and P
[3*H] or None; X is [T, B, I], a part of the state [B, H]. The equations are those of the operators'
definitions, RNN, LSTM and GRU in https://onnx.ai/onnx/operators/. `clip` bounds each pre-activation, after
all of its terms are summed. The definition can be read as if it bounded the argument of h(Ct) too;
onnxruntime and OpenVINO leave that as it is, and so does this.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnnfast.onnx.activations import Activation, Array
from rnnfast.onnx.node import Node
from rnnfast.onnx.products import product
from rnnfast.onnx.weights import Weights

__all__ = ["State", "run_direction"]

State = tuple[Array, ...]  # (H,) or, for the LSTM, (H, C)


def run_direction(
    node: Node,
    direction: int,
    weights: Weights,
    X: Array,
    state: State,
    lengths: Array | None,
    precision: str = "float32",
) -> tuple[Array, State]:
    """Y [T, B, H], zero past the lengths, and the state after each sequence's last step.

    `precision` is that of all products; X is float32 where it is another than "float32".

    Examples
    --------
    >>> import numpy as np, onnx
    >>> from rnnfast.onnx.cells import run_direction
    >>> from rnnfast.onnx.node import read_node
    >>> from rnnfast.onnx.weights import Weights
    >>> node = read_node(onnx.helper.make_node("RNN", ["x", "w", "r"], ["y"], activations=["Relu"]))
    >>> X, ones = np.array([[[1.0]], [[2.0]], [[4.0]]]), np.ones((1, 1, 1))
    >>> Y, (H,) = run_direction(node, 0, Weights(ones, ones), X, (np.zeros((1, 1)),), None)
    >>> Y.ravel().tolist(), H.tolist()
    ([1.0, 3.0, 7.0], [[7.0]])
    """
    W, R = weights.W[direction], weights.R[direction]
    B, P = (None if array is None else array[direction] for array in (weights.B, weights.P))
    step = _STEPS[node.operator](node, direction, R, B, P, precision)
    T = len(X)
    Y = np.zeros((*X.shape[:2], R.shape[1]), X.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN come and go as in the kernels
        for t in reversed(range(T)) if node.reverse[direction] else range(T):
            after = step(product(X[t], W, precision), *state)
            if lengths is not None:  # a reversed sequence starts at its own end
                active = (t < lengths)[:, np.newaxis]
                after = tuple(np.where(active, new, old) for new, old in zip(after, state, strict=True))
                Y[t] = np.where(active, after[0], 0)
            else:
                Y[t] = after[0]
            state = after
    return Y, state


def _rnn_step(
    node: Node, direction: int, R: Array, B: Array | None, P: Array | None, precision: str
) -> Callable[..., State]:
    (f,) = _clipped(node, direction)
    Wb, Rb = _biases(B)

    def step(XW: Array, H: Array) -> State:
        return (f(XW + product(H, R, precision) + Wb + Rb),)

    return step


def _lstm_step(
    node: Node, direction: int, R: Array, B: Array | None, P: Array | None, precision: str
) -> Callable[..., State]:
    f, g, _ = _clipped(node, direction)
    h = node.activations[direction][2]
    Wb, Rb = _biases(B)
    Pi, Po, Pf = (0, 0, 0) if P is None else np.split(P, 3)

    def step(XW: Array, H: Array, C: Array) -> State:
        i, o, forget, c = np.split(XW + product(H, R, precision) + Wb + Rb, 4, axis=-1)
        i = f(i + Pi * C)
        forget = 1 - i if node.input_forget else f(forget + Pf * C)
        C = forget * C + i * g(c)
        return f(o + Po * C) * h(C), C

    return step


def _gru_step(
    node: Node, direction: int, R: Array, B: Array | None, P: Array | None, precision: str
) -> Callable[..., State]:
    f, g = _clipped(node, direction)
    Rz, Rr, Rh = np.split(R, 3)
    (Wbz, Wbr, Wbh), (Rbz, Rbr, Rbh) = ((0, 0, 0) if B is None else np.split(bias, 3) for bias in _biases(B))

    def step(XW: Array, H: Array) -> State:
        z, r, h = np.split(XW, 3, axis=-1)
        z = f(z + product(H, Rz, precision) + Wbz + Rbz)
        r = f(r + product(H, Rr, precision) + Wbr + Rbr)
        if node.linear_before_reset:
            hidden = r * (product(H, Rh, precision) + Rbh)
        else:
            hidden = product(r * H, Rh, precision) + Rbh
        return ((1 - z) * g(h + hidden + Wbh) + z * H,)

    return step


_STEPS = {"RNN": _rnn_step, "LSTM": _lstm_step, "GRU": _gru_step}


def _biases(B: Array | None) -> list:
    """Wb and Rb, one after the other in B."""
    return [0, 0] if B is None else np.split(B, 2)


def _clipped(node: Node, direction: int) -> list[Callable[[Array], Array]]:
    """The activations of one direction, what they are given bounded by the node's clip."""
    bound = np.inf if node.clip is None else node.clip

    def clipped(f: Activation) -> Callable[[Array], Array]:
        return lambda x: f(np.clip(x, -bound, bound))

    return [clipped(f) for f in node.activations[direction]]
