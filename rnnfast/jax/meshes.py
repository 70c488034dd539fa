"""Types of arrays within `jax.shard_map`: along which axes of a mesh their values vary.

JAX derives from them where gradients are summed over the mesh. A custom call knows nothing of them, so the
operands of a pass are made to vary alike, and the results vary as the operands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["array_type", "varying_alike"]

_FIELDS = ("manual_axis_type", "vma")  # the field of a type that has the axes, in newer and in older JAX


def _axes(array: Any) -> frozenset[Any]:
    """The axes of the mesh along which an array or a type varies; none outside of `jax.shard_map`."""
    aval = getattr(array, "aval", array)
    found: Any = next((getattr(aval, name) for name in _FIELDS if hasattr(aval, name)), frozenset())
    return getattr(found, "varying", found)


def varying_alike(arrays: Sequence[Any]) -> list[Any]:
    """The arrays, each made to vary along all axes along which one of them does."""
    every: frozenset[Any] = frozenset().union(*map(_axes, arrays))
    if not every:
        return list(arrays)
    cast = partial(jax.lax.pcast, to="varying") if hasattr(jax.lax, "pcast") else jax.lax.pvary
    return [cast(array, tuple(every - _axes(array))) for array in arrays]


def array_type(shape: tuple[int, ...], like: Any) -> jax.core.ShapedArray:
    """The type of an array of this shape with the dtype of `like`, an array or a type, which varies alike."""
    aval = getattr(like, "aval", like)
    if not _axes(aval):
        return jax.core.ShapedArray(shape, aval.dtype)
    sharding = NamedSharding(aval.sharding.mesh, PartitionSpec(*[None] * len(shape)))
    return aval.update(shape=shape, weak_type=False, sharding=sharding)
