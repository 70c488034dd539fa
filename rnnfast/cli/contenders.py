"""One recurrent layer run by rnnfast, by its reference and by the installed peers, on the same numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import rnnfast as rf
from rnnfast import reference
from rnnfast.layers import Recurrent

__all__ = [
    "GATES",
    "Contender",
    "Functions",
    "Problem",
    "check_equal",
    "contenders",
    "exact_results",
    "limited_threads",
    "make_problem",
]

LAYERS: dict[str, type[Recurrent]] = {"rnn": rf.RNN, "gru": rf.GRU, "lstm": rf.LSTM}
GATES = {cell: layer.gates for cell, layer in LAYERS.items()}
# ONNX's gates z r n and i o f g, as places among ours.
ONNX_ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}
# Relative to the largest magnitude; the tests hold rnnfast to less.
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}

Arrays = dict[str, np.ndarray]


class Problem(NamedTuple):
    """A layer of one direction, its inputs, and the gradients of its results."""

    cell: str
    weights: Arrays  # weight_ih [G*H, I], weight_hh [G*H, H], bias_ih [G*H], bias_hh [G*H]
    x: np.ndarray  # [T, B, I]
    state: tuple[np.ndarray, ...]  # (h,) or (h, c), each [B, H]
    dy: np.ndarray  # [T, B, H]
    dstate: tuple[np.ndarray, ...]  # as state

    def astype(self, dtype: str) -> Problem:
        """The same numbers in another dtype."""
        return Problem(
            self.cell,
            {name: array.astype(dtype) for name, array in self.weights.items()},
            self.x.astype(dtype),
            tuple(part.astype(dtype) for part in self.state),
            self.dy.astype(dtype),
            tuple(part.astype(dtype) for part in self.dstate),
        )


def make_problem(cell: str, T: int, B: int, I: int, H: int, dtype: str = "float32") -> Problem:
    """Random numbers: weights at PyTorch's default scale, all else standard normal.

    Parameters
    ----------
    cell : {"rnn", "gru", "lstm"}
        The recurrent cell (rnn: tanh).
    T, B, I, H : int
        Steps, sequences, inputs, hidden units.
    dtype : {"float32", "float64"}
        Of all arrays.

    Returns
    -------
    Problem
        The same at every call with the same arguments.
    """
    rng = np.random.default_rng(0)
    rows, bound = GATES[cell] * H, H**-0.5
    shapes = {"weight_ih": (rows, I), "weight_hh": (rows, H), "bias_ih": (rows,), "bias_hh": (rows,)}
    parts = 2 if cell == "lstm" else 1
    return Problem(
        cell,
        {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()},
        rng.standard_normal((T, B, I)),
        tuple(rng.standard_normal((B, H)) for _ in range(parts)),
        rng.standard_normal((T, B, H)),
        tuple(rng.standard_normal((B, H)) for _ in range(parts)),
    ).astype(dtype)


class Contender:
    """Something that runs the layer: `evaluate` and `train` get timed, `arrays` names what they gave.

    `evaluate` gives (y, state), `train` gives (y, state, dx, dstate, gradients of the weights), in types of
    its own; a contender that cannot train has `trains` false.
    """

    name: str
    trains = True

    def evaluate(self) -> Any:
        """Forward, keeping nothing for backward."""
        raise NotImplementedError

    def train(self) -> Any:
        """Forward and backward, with the gradients of input, initial state, weights and biases."""
        raise NotImplementedError

    def arrays(self, result: Any) -> Arrays:
        """y, h, (c), and after training dx, dh, (dc), dweight_ih, …; states may have a layer axis."""
        y, state, *rest = result
        named = {"y": y, **_by_name("", _parts(state))}
        if rest:
            dx, dstate, grads = rest
            named |= {"dx": dx, **_by_name("d", _parts(dstate))}
            named |= {"d" + name.removesuffix("_l0"): grad for name, grad in grads.items()}
        return {name: np.asarray(array) for name, array in named.items()}


class Rnnfast(Contender):
    """The layer of this library."""

    name = "rnnfast"

    def __init__(self, problem: Problem) -> None:
        I = problem.x.shape[2]
        self.layer = LAYERS[problem.cell](I, problem.dy.shape[2], dtype=problem.x.dtype.name)
        self.layer.load_state_dict({f"{name}_l0": array for name, array in problem.weights.items()})
        self.x, self.dy = problem.x, problem.dy
        self.state, self.dstate = (
            tuple(part[None] for part in parts) if problem.cell == "lstm" else parts[0][None]
            for parts in (problem.state, problem.dstate)
        )

    def evaluate(self) -> Any:
        return self.layer(self.x, self.state)

    def train(self) -> Any:
        grads: Arrays = {}
        y, state, tape = self.layer.forward(self.x, self.state)
        dx, dstate = self.layer.backward(tape, self.dy, self.dstate, grads=grads)
        return y, state, dx, dstate, grads


class Functions(Contender):
    """`<cell>_forward` and `<cell>_backward` of a module: `rf.reference`'s or `rf.functional`'s."""

    def __init__(self, problem: Problem, module: ModuleType) -> None:
        self.name = module.__name__.rpartition(".")[2]
        self.problem = problem
        self.forward = getattr(module, f"{problem.cell}_forward")
        self.backward = getattr(module, f"{problem.cell}_backward")
        self.state, self.dstate = (
            parts if problem.cell == "lstm" else parts[0] for parts in (problem.state, problem.dstate)
        )

    def evaluate(self) -> Any:
        return self.forward(self.problem.x, **self.problem.weights, state=self.state)[:2]

    def train(self) -> Any:
        y, state, tape = self.forward(self.problem.x, **self.problem.weights, state=self.state)
        return y, state, *self.backward(tape, self.problem.dy, self.dstate)


class Torch(Contender):
    """`torch.nn` on the CPU, by autograd."""

    name = "torch"

    def __init__(self, problem: Problem) -> None:
        torch = import_module("torch")
        I = problem.x.shape[2]
        dtype = getattr(torch, problem.x.dtype.name)
        self.torch = torch
        self.layer = getattr(torch.nn, problem.cell.upper())(I, problem.dy.shape[2], dtype=dtype)
        self.layer.load_state_dict({f"{name}_l0": torch.tensor(a) for name, a in problem.weights.items()})
        self.parameters = dict(self.layer.named_parameters())
        self.x = torch.tensor(problem.x, requires_grad=True)
        self.parts = [torch.tensor(part[None], requires_grad=True) for part in problem.state]
        self.state = tuple(self.parts) if problem.cell == "lstm" else self.parts[0]
        self.given = [torch.tensor(problem.dy), *(torch.tensor(part[None]) for part in problem.dstate)]

    def evaluate(self) -> Any:
        with self.torch.no_grad():
            return self.layer(self.x, self.state)

    def train(self) -> Any:
        y, state = self.layer(self.x, self.state)
        wanted = [self.x, *self.parts, *self.parameters.values()]
        dx, *grads = self.torch.autograd.grad([y, *_parts(state)], wanted, self.given)
        parts = len(self.parts)
        return y, state, dx, grads[:parts], dict(zip(self.parameters, grads[parts:], strict=True))

    def arrays(self, result: Any) -> Arrays:
        y, state, *rest = result
        return super().arrays((y.detach(), tuple(part.detach() for part in _parts(state)), *rest))


class OnnxRuntime(Contender):
    """onnxruntime's CPU provider, on a graph of one node; it needs the package onnx to make that graph."""

    name = "onnxruntime"
    trains = False

    def __init__(self, problem: Problem, threads: int) -> None:
        onnx, onnxruntime = import_module("onnx"), import_module("onnxruntime")
        H = problem.dy.shape[2]
        order = ONNX_ORDER[problem.cell]

        def gates(array: np.ndarray) -> np.ndarray:
            return array.reshape(len(order), H, -1)[order].reshape(array.shape)

        w = {name: gates(array) for name, array in problem.weights.items()}
        constants = {
            "W": w["weight_ih"][None],
            "R": w["weight_hh"][None],
            "B": np.concatenate([w["bias_ih"], w["bias_hh"]])[None],
        }
        initial = _by_name("initial_", [part[None] for part in problem.state])
        self.feed = {"X": problem.x, **initial}
        self.outputs = ["Y", *_by_name("Y_", problem.state)]
        kind = onnx.TensorProto.FLOAT
        attributes = {"linear_before_reset": 1} if problem.cell == "gru" else {}
        node = onnx.helper.make_node(
            problem.cell.upper(),
            ["X", "W", "R", "B", "", *initial],
            self.outputs,
            hidden_size=H,
            **attributes,
        )
        graph = onnx.helper.make_graph(
            [node],
            problem.cell,
            [onnx.helper.make_tensor_value_info(name, kind, a.shape) for name, a in self.feed.items()],
            [onnx.helper.make_tensor_value_info(name, kind, None) for name in self.outputs],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def evaluate(self) -> Any:
        return self.session.run(self.outputs, self.feed)

    def arrays(self, result: Any) -> Arrays:
        y, *state = result
        return super().arrays((y[:, 0], state))


def contenders(problem: Problem, threads: int) -> list[Contender]:
    """Those installed that know the problem's dtype, rnnfast first; build them inside `limited_threads`."""
    found: list[Contender] = [Rnnfast(problem), Functions(problem, reference)]
    if _installed("torch"):
        found.append(Torch(problem))
    if problem.x.dtype == np.float32 and _installed("onnx") and _installed("onnxruntime"):
        found.append(OnnxRuntime(problem, threads))
    return found


def exact_results(problem: Problem) -> Arrays:
    """What the reference gives in float64: all results and all gradients."""
    exact = Functions(problem.astype("float64"), reference)
    return exact.arrays(exact.train())


def check_equal(found: Arrays, expected: Arrays, who: str) -> None:
    """Compare a contender's results with those of the reference in float64.

    Raises
    ------
    AssertionError
        That names the contender and the array which differs by more than the tolerance of its dtype.
    """
    for name, array in found.items():
        scale = np.abs(expected[name]).max(initial=0.0) or 1.0
        error = float(np.abs(array.reshape(expected[name].shape) - expected[name]).max(initial=0.0) / scale)
        if not error <= TOLERANCE[array.dtype.name]:
            raise AssertionError(
                f"{who}: {name} differs from the reference by {error:.1e} of its largest magnitude"
            )


@contextlib.contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let rnnfast, torch and (with threadpoolctl) NumPy's BLAS use so many threads inside the block."""
    with contextlib.ExitStack() as undo:
        undo.callback(rf.set_num_threads, rf.get_num_threads())
        rf.set_num_threads(threads)
        if _installed("torch"):
            torch = import_module("torch")
            undo.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if _installed("threadpoolctl"):
            threadpoolctl = import_module("threadpoolctl")
            undo.enter_context(threadpoolctl.threadpool_limits(threads, user_api="blas"))
        yield


def _parts(state: Any) -> tuple[Any, ...]:
    """(h,) or (h, c) from what a contender calls a state."""
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def _by_name(prefix: str, parts: Any) -> dict[str, Any]:
    """The parts of a state under the names of h and c."""
    return dict(zip((prefix + "h", prefix + "c"), parts, strict=False))


def _installed(package: str) -> bool:
    return find_spec(package) is not None
