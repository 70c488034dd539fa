"""Makes onnx_nodes.npz beside it: ONNX's own cases of RNN, LSTM and GRU nodes (made with onnx 1.23.2).

Each array is called `<case>.<kind>.<name>`: of the kinds `input` and `output`, with the names that the
operator's definition has, and of the kind `attribute`, among them the node's operator as `operator`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

OPERATORS = ("RNN", "LSTM", "GRU")


def case_arrays(case: TestCase) -> dict[str, np.ndarray]:
    """One case's arrays by `<kind>.<name>`."""
    (node,) = case.model.graph.node
    ((inputs, outputs),) = case.data_sets
    schema = onnx.defs.get_schema(node.op_type)
    arrays = {"attribute.operator": np.array(node.op_type)}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        value = value.decode() if isinstance(value, bytes) else value
        arrays[f"attribute.{attribute.name}"] = np.array(value)
    for kind, formal, used, values in (
        ("input", schema.inputs, node.input, inputs),
        ("output", schema.outputs, node.output, outputs),
    ):  # a parameter left out has an empty name in the node, and no value
        present = [parameter.name for parameter, name in zip(formal, used, strict=False) if name]
        arrays |= {f"{kind}.{name}": value for name, value in zip(present, values, strict=True)}
    return arrays


def all_arrays() -> dict[str, np.ndarray]:
    """The arrays of all cases of the three operators."""
    cases = [case for case in collect_testcases() if case.model.graph.node[0].op_type in OPERATORS]
    return {
        f"{case.name.removeprefix('test_')}.{name}": array
        for case in cases
        for name, array in case_arrays(case).items()
    }


def main() -> None:
    np.random.seed(0)  # noqa: NPY002 - two cases are drawn from NumPy's global state
    np.savez_compressed(Path(__file__).parent / "onnx_nodes.npz", **all_arrays())


if __name__ == "__main__":
    main()
