"""Random arrays, the arrays of a state, and the equality of whatever holds arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np


def normal(*shape: int, dtype: Any = np.float32, seed: int = 1) -> np.ndarray:
    """Standard normal numbers: always the same for a shape and a seed."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


PARTS = ("h", "c", "n", "m")  # of all states, in their order
D_PARTS = tuple("d" + part for part in PARTS)

normal64 = partial(normal, dtype=np.float64)


def normal_like(value: Any, seed: int = 1) -> Any:
    """Standard normal numbers in the form and dtype of an array, None, or a tuple of such."""
    if isinstance(value, tuple):
        return tuple(normal_like(part, seed + place) for place, part in enumerate(value))
    return None if value is None else normal(*value.shape, dtype=value.dtype, seed=seed)


def parts(state: Any) -> tuple[np.ndarray, ...]:
    """The arrays of a layer's state, h first."""
    return state if isinstance(state, tuple) else (state,)


def as_state(parts: tuple[Any, ...]) -> Any:
    """The state that a layer takes, of its arrays."""
    return parts if len(parts) > 1 else parts[0]


def named_parts(prefix: str, state: Any) -> dict[str, np.ndarray]:
    """The arrays of a layer's state under the names <prefix>h, <prefix>c and so on."""
    return {prefix + name: part for name, part in zip(PARTS, parts(state), strict=False)}


def assert_equal(got: Any, want: Any, name: str = "") -> None:
    """Equal arrays, of equal shape and dtype, in the same places of tuples, lists and mappings."""
    if isinstance(want, Mapping):
        assert sorted(got) == sorted(want), name
        for key, value in want.items():
            assert_equal(got[key], value, f"{name} {key}")
    elif isinstance(want, (tuple, list)):
        assert len(got) == len(want), name
        for place, value in enumerate(want):
            assert_equal(got[place], value, f"{name} {place}")
    else:
        np.testing.assert_array_equal(got, want, err_msg=name, strict=True)
