"""Central finite differences in float64, also through a module's public protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from helpers.memory import arrays_in
from helpers.tolerances import FINITE_DIFFERENCES, error

STEP = 1e-5


def assert_gradients(module: Any, x: np.ndarray, state: Any = None, seed: int = 0, **keywords: Any) -> None:
    """`backward` agrees with finite differences for x, every part of the state and every parameter.

    The loss is a random linear function of y and of every part of the final state, so that each has a
    gradient. `keywords` go to `forward`, and must make it repeatable.
    """
    rng = np.random.default_rng(seed)
    y, final, tape = module.forward(x, state, **keywords)
    dy, dfinal = _like(rng, y), _like(rng, final)

    def loss() -> float:
        y, final, _ = module.forward(x, state, **keywords)
        return float(
            (y * dy).sum()
            + sum((a * b).sum() for a, b in zip(arrays_in(final), arrays_in(dfinal), strict=True))
        )

    grads: dict[str, np.ndarray] = {}
    dx, dstate = module.backward(tape, dy, dfinal, grads=grads)
    assert list(grads) == [name for name, _ in module.named_parameters()]
    for name, parameter in module.named_parameters():
        _assert_agrees(name, grads[name], parameter.data, loss)
    if dx is not None:
        _assert_agrees("dx", dx, x, loss)
    if state is not None:
        for place, (gradient, part) in enumerate(zip(arrays_in(dstate), arrays_in(state), strict=True)):
            _assert_agrees(f"dstate part {place}", gradient, part, loss)


def central_differences(at: np.ndarray, loss: Callable[[], float]) -> np.ndarray:
    """The gradient of `loss` in the array `at` that it reads, which is put back."""
    numeric = np.empty_like(at)
    for index in np.ndindex(at.shape):
        value = at[index]
        at[index] = value + STEP
        above = loss()
        at[index] = value - STEP
        below = loss()
        at[index] = value
        numeric[index] = (above - below) / (2 * STEP)
    return numeric


def _assert_agrees(name: str, gradient: np.ndarray, at: np.ndarray, loss: Callable[[], float]) -> None:
    assert error(gradient, central_differences(at, loss)) <= FINITE_DIFFERENCES, name


def _like(rng: np.random.Generator, value: Any) -> Any:
    """Random arrays in the form of `value`: an array, None, or a tuple of such."""
    if isinstance(value, tuple):
        return tuple(_like(rng, entry) for entry in value)
    return None if value is None else rng.normal(size=value.shape)
