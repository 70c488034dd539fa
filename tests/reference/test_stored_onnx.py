"""The reference and the layers give what ONNX's own cases of RNN, LSTM and GRU expect (data/make_onnx.py)."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnfast
from rnnfast import reference

DATA = Path(__file__).parents[1] / "data"
GATES = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}  # ONNX's blocks (iofc, zrh) in the order of ours
PEEPHOLES = {"weight_ci": 0, "weight_co": 1, "weight_cf": 2}
RTOL, ATOL = 1e-3, 1e-7  # the package's own

Arrays = dict[str, np.ndarray]


def by_case(arrays: Arrays) -> dict[str, Arrays]:
    """The arrays of each case by `<kind>.<name>`."""
    cases: dict[str, Arrays] = {}
    for name, array in arrays.items():
        case, rest = name.split(".", 1)
        cases.setdefault(case, {})[rest] = array
    return cases


def under(kind: str, arrays: Arrays) -> Arrays:
    start = kind + "."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


with np.load(DATA / "onnx_nodes.npz") as file:
    CASES = by_case(dict(file))


def weights_of_direction(operator: str, inputs: Arrays, index: int) -> Arrays:
    """One direction's weights by our names, their blocks in our order."""
    order = GATES[operator]

    def blocks(weight: np.ndarray) -> np.ndarray:
        parts = np.split(weight, len(order))
        return np.concatenate([parts[gate] for gate in order])

    weights = {"weight_ih": blocks(inputs["W"][index]), "weight_hh": blocks(inputs["R"][index])}
    if "B" in inputs:
        weights["bias_ih"], weights["bias_hh"] = map(blocks, np.split(inputs["B"][index], 2))
    if "P" in inputs:
        parts = np.split(inputs["P"][index], 3)
        weights |= {name: parts[place] for name, place in PEEPHOLES.items()}
    return weights


def run_node(attributes: dict[str, Any], inputs: Arrays) -> Arrays:
    """Y, Y_h and Y_c of an ONNX node, one call of the reference for each direction."""
    known = {"operator", "hidden_size", "direction", "layout", "linear_before_reset"}
    assert attributes.keys() <= known
    operator, direction = attributes["operator"], attributes.get("direction", "forward")
    batch_first = attributes.get("layout", 0) == 1
    forward = getattr(reference, operator.lower() + "_forward")

    def swapped(name: str) -> np.ndarray | None:
        array = inputs.get(name)
        return array.swapaxes(0, 1) if batch_first and array is not None else array

    x, h, c = swapped("X"), swapped("initial_h"), swapped("initial_c")
    ys, finals = [], []
    for index in range(len(inputs["W"])):
        options = {"reverse": direction == "reverse" or index == 1, "lengths": inputs.get("sequence_lens")}
        state = None if h is None else h[index]
        if operator == "GRU":
            options["reset_after"] = bool(attributes.get("linear_before_reset", 0))
        if operator == "LSTM":
            state = state, None if c is None else c[index]
        y, final, _ = forward(x, **weights_of_direction(operator, inputs, index), state=state, **options)
        ys.append(y)
        finals.append(final if operator == "LSTM" else (final,))
    outputs = {"Y": np.stack(ys, axis=1)}  # [T, D, B, H]
    outputs |= {name: np.stack(parts) for name, *parts in zip(("Y_h", "Y_c"), *finals, strict=False)}
    if batch_first:  # [B, T, D, H] and [B, D, H]
        outputs = {name: np.moveaxis(array, -2, 0) for name, array in outputs.items()}
    return outputs


def run_layer(attributes: dict[str, Any], inputs: Arrays) -> Arrays:
    """The same from a layer."""
    operator = attributes["operator"]
    batch_first, x = attributes.get("layout", 0) == 1, inputs["X"]
    D, H = len(inputs["W"]), inputs["R"].shape[2]
    options: dict[str, Any] = {"dtype": x.dtype, "bias": "B" in inputs, "batch_first": batch_first}
    if operator == "GRU":
        options["reset_after"] = bool(attributes.get("linear_before_reset", 0))
    if operator == "LSTM":
        options["peephole"] = "P" in inputs
    layer = getattr(rnnfast, operator)(x.shape[2], H, bidirectional=D == 2, **options)
    suffixes = ("_l0", "_l0_reverse")
    layer.load_state_dict(
        {
            name + suffixes[index]: weight
            for index in range(D)
            for name, weight in weights_of_direction(operator, inputs, index).items()
        }
    )
    state = [inputs.get(name) for name in ("initial_h", "initial_c")]
    state = [part.swapaxes(0, 1) if batch_first and part is not None else part for part in state]
    y, final = layer(x, tuple(state) if operator == "LSTM" else state[0], lengths=inputs.get("sequence_lens"))
    y = y.reshape(*y.shape[:2], D, H)
    parts = final if operator == "LSTM" else (final,)
    outputs = {"Y": y if batch_first else y.swapaxes(1, 2)}
    outputs |= dict(zip(("Y_h", "Y_c"), parts, strict=False))
    return {
        name: array.swapaxes(0, 1) if batch_first and name != "Y" else array
        for name, array in outputs.items()
    }


def assert_outputs(case: Arrays, run: Callable[[dict[str, Any], Arrays], Arrays]) -> None:
    attributes = {name: array[()] for name, array in under("attribute", case).items()}
    got, want = run(attributes, under("input", case)), under("output", case)
    assert want
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, RTOL, ATOL, err_msg=name)


def test_cases_are_there():
    assert len(CASES) == 18


@pytest.mark.parametrize("name", CASES)
def test_stored_case(name):
    assert_outputs(CASES[name], run_node)


@pytest.mark.parametrize(  # a layer does not run in reverse alone
    "name", [name for name, case in CASES.items() if case.get("attribute.direction", "") != "reverse"]
)
def test_layers(name):
    assert_outputs(CASES[name], run_layer)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of other operators' cases, as the package makes them
def test_the_cases_of_the_package_installed():
    pytest.importorskip("onnx")
    made = by_case(runpy.run_path(str(DATA / "make_onnx.py"))["all_arrays"]())
    assert made.keys() >= CASES.keys()
    for case in made.values():
        assert_outputs(case, run_node)
