"""The reference and the layer give what the package `xlstm` gave, gradients too (data/make_xlstm.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.arrays import PARTS
from helpers.tolerances import STORED_TORCH, error

import rnnfast as rf
from rnnfast import functional, reference

FILES = sorted((Path(__file__).parents[1] / "data").glob("xlstm_*.npz"))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def stored(request):
    with np.load(request.param) as file:
        return dict(file)


def under(stored: dict, prefix: str) -> dict[str, np.ndarray]:
    """The arrays called `<prefix>.<name>`, by name."""
    start = prefix + "."
    return {name.removeprefix(start): array for name, array in stored.items() if name.startswith(start)}


def assert_results(got: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> None:
    """Every output and every gradient agrees."""
    results = {name for name in stored if name.startswith(("y", "dx", "final", "dstate", "grads"))}
    assert set(got) == results
    for name, array in got.items():
        assert error(array, stored[name]) <= STORED_TORCH["float64"], name


def named(prefix: str, state: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    return {f"{prefix}.{name}": part for name, part in zip(PARTS, state, strict=True)}


def test_there_are_files_for_one_head_and_for_four():
    assert [path.stem for path in FILES] == ["xlstm_1", "xlstm_1_empty", "xlstm_4", "xlstm_4_empty"]


@pytest.mark.parametrize("module", [reference, functional])
def test_functions(stored, module):
    state, dfinal = (tuple(under(stored, name).values()) for name in ("state", "dfinal"))
    y, final, tape = module.slstm_forward(stored["x"], **under(stored, "weights"), state=state)
    dx, dstate, grads = module.slstm_backward(tape, stored["dy"], dfinal)
    grads = {f"grads.{name}": grad for name, grad in grads.items()}
    assert_results({"y": y, "dx": dx, **named("final", final), **named("dstate", dstate), **grads}, stored)


def test_layer(stored):
    weights = under(stored, "weights")
    H, D = len(weights["bias_ih"]) // 4, weights["weight_hh"].shape[1]
    layer = rf.SLSTM(stored["x"].shape[2], H, num_heads=H // D, dtype="float64")
    layer.load_state_dict({f"{name}_l0": array for name, array in weights.items()})
    state, dfinal = (
        tuple(part[np.newaxis] for part in under(stored, name).values()) for name in ("state", "dfinal")
    )
    y, final, tape = layer.forward(stored["x"], state)
    dx, dstate = layer.backward(tape, stored["dy"], dfinal)
    grads = {f"grads.{name.removesuffix('_l0')}": param.grad for name, param in layer.named_parameters()}
    final, dstate = (tuple(part[0] for part in parts) for parts in (final, dstate))
    assert_results({"y": y, "dx": dx, **named("final", final), **named("dstate", dstate), **grads}, stored)
