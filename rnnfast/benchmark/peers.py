"""The layer as users of other libraries run it; each library is imported when its contender is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from rnnfast.benchmark.problems import Arrays, Contender, Problem, parts

__all__ = ["PEERS", "Jax", "OnnxRuntime", "OpenVino", "Torch"]

# ONNX's gates z r n and i o f g, as places among ours.
ONNX_ORDER = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}


class Torch(Contender):
    """`torch.nn` on the CPU, by autograd; `limited_threads` sets its number of threads."""

    name = "torch"
    needs = ("torch",)
    dtypes = ("float32", "float64")

    def __init__(self, problem: Problem, threads: int) -> None:
        torch = import_module("torch")
        I = problem.x.shape[2]
        dtype = getattr(torch, problem.x.dtype.name)
        self.torch = torch
        self.layer = getattr(torch.nn, problem.cell.upper())(I, problem.dy.shape[2], dtype=dtype)
        self.layer.load_state_dict({f"{name}_l0": torch.tensor(a) for name, a in problem.weights.items()})
        self.x, self.dy = torch.tensor(problem.x, requires_grad=True), torch.tensor(problem.dy)

    def evaluate(self) -> Any:
        with self.torch.inference_mode():
            return self.layer(self.x)

    def train(self) -> Any:
        self.layer.zero_grad()
        self.x.grad = None
        y, state = self.layer(self.x)
        y.backward(self.dy)
        return y, state, self.x.grad, {name: p.grad for name, p in self.layer.named_parameters()}

    def stepper(self) -> Callable[[], Any]:
        x, state = self.x.detach()[:1], None

        def step() -> Any:
            nonlocal state
            with self.torch.inference_mode():
                y, state = self.layer(x, state)
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, state, *rest = result
        return super().arrays((y.detach(), tuple(part.detach() for part in parts(state)), *rest))


class OnnxRuntime(Contender):
    """onnxruntime's CPU provider, on a graph of one node."""

    name = "onnxruntime"
    needs = ("onnx", "onnxruntime")
    dtypes = ("float32",)
    trains = False

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem = problem
        self.ort = import_module("onnxruntime")
        self.options = self.ort.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.session = self._session(carries_state=False)

    def _session(self, carries_state: bool) -> Any:
        model = onnx_model(self.problem, carries_state)
        return self.ort.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])

    def evaluate(self) -> Any:
        return self.session.run(None, {"X": self.problem.x})

    def stepper(self) -> Callable[[], Any]:
        session = self._session(carries_state=True)
        feed = step_inputs(self.problem)

        def step() -> Any:
            y, *state = session.run(None, feed)
            feed.update(zip(("initial_h", "initial_c"), state, strict=False))
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, *state = result
        return super().arrays((y[:, 0], state))


class OpenVino(Contender):
    """OpenVINO's CPU plugin, on the graph that onnxruntime gets."""

    name = "openvino"
    needs = ("onnx", "openvino")
    dtypes = ("float32",)
    trains = False

    def __init__(self, problem: Problem, threads: int) -> None:
        self.problem, self.threads = problem, threads
        self.request = self._request(carries_state=False)

    def _request(self, carries_state: bool) -> Any:
        core = import_module("openvino").Core()
        model = core.read_model(onnx_model(self.problem, carries_state))
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # it may choose bfloat16
        }
        return core.compile_model(model, "CPU", config).create_infer_request()

    def evaluate(self) -> Any:
        return self.request.infer({"X": self.problem.x}, share_inputs=True, share_outputs=True)

    def stepper(self) -> Callable[[], Any]:
        request = self._request(carries_state=True)
        feed = step_inputs(self.problem)

        def step() -> Any:
            y, *state = request.infer(feed, share_inputs=True).to_tuple()
            feed.update(zip(("initial_h", "initial_c"), state, strict=False))
            return y

        return step

    def arrays(self, result: Any) -> Arrays:
        y, *state = result.to_tuple()
        return super().arrays((y[:, 0], state))


class Jax(Contender):
    """A cell under `lax.scan`, the input's products before it, compiled by `jit`.

    Its number of threads cannot be set once it is loaded; it chooses the number itself.
    """

    name = "jax"
    needs = ("jax",)
    dtypes = ("float32",)
    steps = False

    def __init__(self, problem: Problem, threads: int) -> None:
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


PEERS = (Torch, OnnxRuntime, OpenVino, Jax)


def onnx_model(problem: Problem, carries_state: bool) -> bytes:
    """A graph of one node that reads X; or one step of it, that reads `step_inputs`."""
    onnx = import_module("onnx")
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
    given = step_inputs(problem) if carries_state else {"X": problem.x}
    outputs = ["Y", "Y_h", *(["Y_c"] if problem.cell == "lstm" else [])]
    node = onnx.helper.make_node(
        problem.cell.upper(),
        ["X", "W", "R", "B", "", *([name for name in given if name != "X"])],
        outputs,
        hidden_size=H,
        **({"linear_before_reset": 1} if problem.cell == "gru" else {}),
    )
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        problem.cell,
        [onnx.helper.make_tensor_value_info(name, kind, array.shape) for name, array in given.items()],
        [onnx.helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def step_inputs(problem: Problem) -> Arrays:
    """X of the first step, initial_h (and initial_c) of zeros."""
    names = ("initial_h", "initial_c") if problem.cell == "lstm" else ("initial_h",)
    return {"X": problem.x[:1], **{name: np.zeros(problem.state_shape, problem.x.dtype) for name in names}}


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
