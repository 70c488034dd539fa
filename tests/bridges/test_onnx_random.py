"""Random models, without a shape for their outputs, agree with ONNX's own evaluator and with onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
import rnnfast.onnx  # noqa: E402

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
node = onnx.helper.make_node
value = onnx.helper.make_tensor_value_info


class Random:
    """A graph that grows by random operators on values [T, B, N] with T = 3 and B = 2."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.widths = {"x": int(self.rng.integers(1, 6))}
        self.x = self.floats(3, 2, self.widths["x"])
        for _ in range(int(self.rng.integers(2, 9))):
            source = str(self.rng.choice(list(self.widths)))
            kind = self.rng.choice(
                [self.cell, self.cell, self.linear, self.sum_of_two, self.slices, self.turn]
            )
            kind(source, self.widths[source])
        if self.rng.random() < 0.3:
            self.nodes.reverse()  # onnxruntime sorts them

    def floats(self, *shape: int) -> np.ndarray:
        return (0.4 * self.rng.standard_normal(shape)).astype(np.float32)

    def constant(self, array: Any) -> str:
        """An array that is stored, or computed from one that is, by its name."""
        array = np.asarray(array)
        name = f"constant{len(self.arrays)}"
        self.arrays[name] = array
        if array.dtype == np.float32 and self.rng.random() < 0.5:
            halves = np.split(array, [array.shape[0] // 2])
            parts = [self.new("Identity", [self.stored(half)]) for half in halves]
            del self.arrays[name]
            return self.new("Concat", parts, axis=0)
        return name

    def stored(self, array: np.ndarray) -> str:
        name = f"constant{len(self.arrays)}_"
        self.arrays[name] = array
        return name

    def new(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        output = f"value{len(self.nodes)}"
        self.nodes.append(node(operator, inputs, [output], name=f"node {output}", **attributes))
        return output

    def add(self, operator: str, inputs: list[str], width: int, **attributes: Any) -> None:
        self.widths[self.new(operator, inputs, **attributes)] = width

    def cell(self, x: str, width: int) -> None:
        operator = str(self.rng.choice(["RNN", "LSTM", "GRU"]))
        G = {"RNN": 1, "LSTM": 4, "GRU": 3}[operator]
        H, D = int(self.rng.integers(1, 6)), int(self.rng.integers(1, 3))
        shapes = [(D, G * H, width), (D, G * H, H), (D, 2 * G * H)]
        inputs = [x, *(self.constant(self.floats(*shape)) for shape in shapes)]
        if self.rng.random() < 0.3:
            inputs.append(self.constant(np.array([3, 2], np.int32)))
        direction = "bidirectional" if D == 2 else str(self.rng.choice(["forward", "reverse"]))
        Y = self.new(operator, inputs, hidden_size=H, direction=direction)
        turned = self.new("Transpose", [Y], perm=[0, 2, 1, 3])
        self.add("Reshape", [turned, self.constant(np.array([0, 0, D * H]))], D * H)

    def linear(self, x: str, width: int) -> None:
        N = int(self.rng.integers(1, 6))
        product = self.new("MatMul", [x, self.constant(self.floats(width, N))])
        self.add("Add", [product, self.constant(self.floats(N))], N)

    def sum_of_two(self, x: str, width: int) -> None:
        others = [name for name, N in self.widths.items() if N in (1, width)]
        self.add(str(self.rng.choice(["Add", "Mul", "Sub"])), [x, str(self.rng.choice(others))], width)

    def slices(self, x: str, width: int) -> None:
        start = int(self.rng.integers(width))
        bounds = [self.constant(np.array([number])) for number in (start, 2**31, -1, 1)]
        self.add("Slice", [x, *bounds], width - start)

    def turn(self, x: str, width: int) -> None:
        shape = self.new("Shape", [x])
        flat = self.new("Reshape", [x, self.constant(np.array([-1]))])
        self.add("Reshape", [flat, shape], width)

    def model(self) -> Any:
        outputs = [name for name in self.widths if name != "x"]
        graph = onnx.helper.make_graph(
            self.nodes,
            "random",
            [value("x", FLOAT, ["T", "B", self.x.shape[2]])],
            [
                onnx.ValueInfoProto(name=name) if n % 2 else value(name, FLOAT, None)
                for n, name in enumerate(outputs)
            ],
            [onnx.numpy_helper.from_array(array, name) for name, array in self.arrays.items()],
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("seed", range(40))
def test_random_models_agree_with_onnxruntime(seed):
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    random = Random(seed)
    model = random.model()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = rnnfast.onnx.prepare(model).run([random.x])
    for mine, want in zip(got, session.run(None, {"x": random.x}), strict=True):
        assert mine.flags.c_contiguous
        assert mine.dtype == want.dtype
        np.testing.assert_allclose(mine, want, 2e-5, 1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", range(40, 64))
def test_random_models_agree_with_the_evaluator(seed, precision):
    """ONNX's evaluator without folding and without a plan; the operators with products in it are ours."""
    random = Random(seed)
    model = random.model()
    evaluator = rnnfast.onnx.plan.evaluator_of(_sorted(model), [], precision)
    prepared = rnnfast.onnx.prepare(model, matmul_precision=precision)
    for mine, want in zip(prepared.run([random.x]), evaluator.run(None, {"x": random.x}), strict=True):
        np.testing.assert_allclose(mine, want, 1e-6, 1e-6, strict=True)


def _sorted(model: Any) -> Any:
    nodes = sorted(model.graph.node, key=lambda node: int(node.output[0].removeprefix("value")))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
