"""Random RNN, LSTM and GRU nodes with their inputs, and a slow evaluation of them that shares no code.

`oracle` is written from the operators' definitions, one sequence at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
FUNCTIONS = {"RNN": 1, "LSTM": 3, "GRU": 2}
DEFAULTS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
ACTIVATIONS = {  # what each takes: alpha, beta
    "Affine": (True, True),
    "Elu": (True, False),
    "HardSigmoid": (True, True),
    "LeakyRelu": (True, False),
    "Relu": (False, False),
    "ScaledTanh": (True, True),
    "Sigmoid": (False, False),
    "Softplus": (False, False),
    "Softsign": (False, False),
    "Tanh": (False, False),
    "ThresholdedRelu": (True, False),
}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def random_node(seed: int, operator: str) -> tuple[dict[str, Any], Arrays]:
    """Attributes and inputs, layout among them; about half of the nodes have the default activations."""
    rng = np.random.default_rng([seed, *operator.encode()])

    def flip(p: float = 0.5) -> bool:
        return bool(rng.random() < p)

    attributes: dict[str, Any] = {"direction": str(rng.choice(["forward", "reverse", "bidirectional"]))}
    D = 2 if attributes["direction"] == "bidirectional" else 1
    T, B, I, H = (int(n) for n in rng.integers(1, [8, 5, 6, 20]))
    G = GATES[operator]
    if flip(0.8):
        attributes["hidden_size"] = H
    if flip():
        names = [str(name) for name in rng.choice(list(ACTIVATIONS), D * FUNCTIONS[operator])]
        if operator == "RNN" and flip():
            names = [str(name) for name in rng.choice(["Relu", "Sigmoid", "Tanh"], D)]
        attributes["activations"] = names
        for place, name in enumerate(("activation_alpha", "activation_beta")):
            count = sum(ACTIVATIONS[activation][place] for activation in names)
            if count:
                attributes[name] = rng.uniform(0.1, 0.9, count).astype(np.float32).tolist()
    elif flip():
        attributes["activations"] = DEFAULTS[operator] * D
    if flip(0.25):
        attributes["clip"] = float(np.float32(rng.uniform(0.1, 1)))
    if flip(0.3):
        attributes["layout"] = 1
    if operator == "GRU" and flip():
        attributes["linear_before_reset"] = 1
    if operator == "LSTM" and flip(0.3):
        attributes["input_forget"] = 1

    def normal(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    inputs = {"X": normal(T, B, I), "W": normal(D, G * H, I), "R": normal(D, G * H, H)}
    if flip(0.8):
        inputs["B"] = normal(D, 2 * G * H)
    if flip():
        inputs["sequence_lens"] = rng.integers(1, T + 1, B).astype(np.int32)
    if flip():
        inputs["initial_h"] = normal(D, B, H)
    if operator == "LSTM" and flip():
        inputs["initial_c"] = normal(D, B, H)
    if operator == "LSTM" and flip():
        inputs["P"] = normal(D, 3 * H)
    if attributes.get("layout"):
        inputs = {name: swapped(name, array) for name, array in inputs.items()}
    return attributes, inputs


def swapped(name: str, array: np.ndarray) -> np.ndarray:
    """An input as the other layout has it."""
    return array.swapaxes(0, 1) if name in ("X", "initial_h", "initial_c") else array


def uncovered(operator: str, attributes: dict[str, Any]) -> bool:
    """Whether no kernel computes such a node."""
    names = attributes.get("activations")
    if operator == "RNN":
        odd = bool(names) and not set(names) <= {"Relu", "Sigmoid", "Tanh"}
    else:
        odd = bool(names) and names != DEFAULTS[operator] * (len(names) // FUNCTIONS[operator])
    return odd or "clip" in attributes


def make_model(
    operator: str,
    attributes: dict[str, Any],
    inputs: Arrays,
    *,
    constant: tuple[str, ...] = (),
    outputs: tuple[str, ...] | None = None,
    opset: int = 14,
) -> onnx.ModelProto:
    """A model of one node; the inputs in `constant` are initializers, `outputs` are those it asks for."""
    import onnx

    known = ("Y", "Y_h", "Y_c") if operator == "LSTM" else ("Y", "Y_h")
    asked = known if outputs is None else outputs
    names = [name if name in inputs else "" for name in INPUTS[: 8 if operator == "LSTM" else 6]]
    node = onnx.helper.make_node(
        operator, names, [name if name in asked else "" for name in known], name="cell", **attributes
    )
    value = onnx.helper.make_tensor_value_info
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [value(name, kinds[name], array.shape) for name, array in inputs.items() if name not in constant],
        [value(name, kinds["X"], [None] * (4 if name == "Y" else 3)) for name in known if name in asked],
        [onnx.numpy_helper.from_array(inputs[name], name) for name in constant],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _activation(name: str, alpha: float, beta: float):
    def f(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, np.float64)
        if name == "Affine":
            return alpha * x + beta
        if name == "Elu":
            return np.array([v if v >= 0 else alpha * (np.exp(v) - 1) for v in x])
        if name == "HardSigmoid":
            return np.minimum(np.maximum(alpha * x + beta, 0), 1)
        if name == "LeakyRelu":
            return np.array([v if v >= 0 else alpha * v for v in x])
        if name == "Relu":
            return np.maximum(0, x)
        if name == "ScaledTanh":
            return alpha * np.tanh(beta * x)
        if name == "Sigmoid":
            return 1 / (1 + np.exp(-x))
        if name == "Softplus":
            return np.logaddexp(0, x)
        if name == "Softsign":
            return x / (1 + np.abs(x))
        if name == "ThresholdedRelu":
            return np.array([v if v >= alpha else 0 for v in x])
        assert name == "Tanh"
        return np.tanh(x)

    return f


def oracle(operator: str, attributes: dict[str, Any], inputs: Arrays) -> Arrays:
    """Y, Y_h and Y_c in float64."""
    attributes = dict(attributes)
    batch_first = attributes.get("layout", 0) == 1
    given = {name: swapped(name, array) if batch_first else array for name, array in inputs.items()}
    X, W, R = (given[name].astype(np.float64) for name in "XWR")
    (T, B, _), (D, _, H) = X.shape, R.shape
    each = FUNCTIONS[operator]
    names = attributes.get("activations", DEFAULTS[operator] * D)
    alphas = list(attributes.get("activation_alpha", []))
    betas = list(attributes.get("activation_beta", []))
    functions = []
    for name in names:
        takes_alpha, takes_beta = ACTIVATIONS[name]
        functions.append(
            _activation(name, alphas.pop(0) if takes_alpha else 0, betas.pop(0) if takes_beta else 0)
        )
    bound = attributes.get("clip", np.inf)

    def clip(v: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(v, -bound), bound)

    outputs = {"Y": np.zeros((T, D, B, H)), "Y_h": np.zeros((D, B, H)), "Y_c": np.zeros((D, B, H))}
    for d in range(D):
        f, *rest = functions[d * each : (d + 1) * each]
        backwards = attributes["direction"] == "reverse" or d == 1
        bias = given["B"][d].astype(np.float64) if "B" in given else np.zeros(2 * GATES[operator] * H)
        Wb, Rb = bias[: len(bias) // 2], bias[len(bias) // 2 :]
        P = given["P"][d].astype(np.float64) if "P" in given else np.zeros(3 * H)
        for b in range(B):
            steps = int(given["sequence_lens"][b]) if "sequence_lens" in given else T
            order = list(range(steps))[::-1] if backwards else list(range(steps))
            h = given["initial_h"][d, b].astype(np.float64) if "initial_h" in given else np.zeros(H)
            c = given["initial_c"][d, b].astype(np.float64) if "initial_c" in given else np.zeros(H)
            for t in order:
                wx, rh = W[d] @ X[t, b] + Wb, R[d] @ h
                if operator == "RNN":
                    h = f(clip(wx + rh + Rb))
                elif operator == "LSTM":
                    g, last = rest
                    a = wx + rh + Rb
                    i = f(clip(a[:H] + P[:H] * c))
                    forget = f(clip(a[2 * H : 3 * H] + P[2 * H :] * c))
                    if attributes.get("input_forget"):
                        forget = 1 - i
                    c = forget * c + i * g(clip(a[3 * H :]))
                    h = f(clip(a[H : 2 * H] + P[H : 2 * H] * c)) * last(c)
                else:
                    (g,) = rest
                    z = f(clip((wx + rh + Rb)[:H]))
                    r = f(clip((wx + rh + Rb)[H : 2 * H]))
                    if attributes.get("linear_before_reset"):
                        n = wx[2 * H :] + r * (rh[2 * H :] + Rb[2 * H :])
                    else:
                        n = wx[2 * H :] + R[d][2 * H :] @ (r * h) + Rb[2 * H :]
                    h = (1 - z) * g(clip(n)) + z * h
                outputs["Y"][t, d, b] = h
            outputs["Y_h"][d, b], outputs["Y_c"][d, b] = h, c
    if operator != "LSTM":
        del outputs["Y_c"]
    if batch_first:
        outputs = {name: np.moveaxis(array, -2, 0) for name, array in outputs.items()}
    return outputs
