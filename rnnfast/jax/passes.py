"""A pass as a primitive of JAX: its derivative, and how vmap folds a batch of calls into one.

`jax.custom_vjp` has the derivative. It is not enough by itself: vmap would ask its backward pass for the
gradients of the weights of each member of the batch, and add them up. The primitive surrounds it, so that
vmap sees the call first. It becomes one call of a larger batch, whose weight gradients are sums already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnfast import _core
from rnnfast.jax.calls import (
    Pass,
    Results,
    Wanted,
    backward,
    forward,
    forward_and_tape,
    forward_results,
    one_by_one,
)
from rnnfast.jax.meshes import varying_alike

__all__ = ["run"]

_pass = Primitive("rnnfast_pass")
_pass.multiple_results = True


def run(what: Pass, *operands: jax.Array) -> Results:
    """y and the parts of the final state."""
    return tuple(_pass.bind(*varying_alike(operands), what=what))


@cache
def _compiled(what: Pass):
    return jax.jit(partial(forward, what))


@_pass.def_impl
def _run_now(*operands, what: Pass):
    return _compiled(what)(*operands)


@_pass.def_abstract_eval
def _shapes(*operands, what: Pass):
    return forward_results(what, operands, False)


mlir.register_lowering(
    _pass,
    mlir.lower_fun(lambda *operands, what: forward(what, *operands), multiple_results=True),
    platform="cpu",
)


# ---- the derivative ----------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _differentiable(what: Pass, input_grad: bool, weight_grads: bool, *operands):
    return run(what, *operands)


def _with_tape(what: Pass, input_grad: bool, weight_grads: bool, *operands):
    operands = tuple(operand.value for operand in operands)
    y, *rest = forward_and_tape(what)(*operands)
    parts = len(what.info.parts)
    return (y, *rest[:parts]), (operands, (*rest[parts:], y))


def _gradients(what: Pass, input_grad: bool, weight_grads: bool, saved, gradients):
    """The gradients of the operands."""
    operands, tape = saved
    _, weights, state, masks = what.split(operands)
    dy, *dstate = gradients
    given: list[jax.Array] = [] if isinstance(dy, SymbolicZero) else [dy]
    has_dstate = not all(isinstance(part, SymbolicZero) for part in dstate)
    if has_dstate:
        given += [jnp.zeros(d.shape, d.dtype) if isinstance(d, SymbolicZero) else d for d in dstate]
    wanted = Wanted(not isinstance(dy, SymbolicZero), has_dstate, input_grad, weight_grads)
    found = list(backward(what, wanted)(*operands, *tape, *given))
    d_initial, found = found[: len(dstate)], found[len(dstate) :]
    dx = found.pop(0) if input_grad else None
    d_weights = found if weight_grads else [None] * len(weights)
    return (dx, *d_weights, *(d_initial if state else ()), *(None for _ in masks))


_differentiable.defvjp(_with_tape, _gradients, symbolic_zeros=True)


def _jvp(operands, tangents, *, what: Pass):
    """The operands that vary go through `_differentiable`; what belongs to the others is not computed."""
    if what.precision not in _core.TRAINABLE:
        raise ValueError(
            f"matmul_precision: got {what.precision!r}, which has no gradient, where one is wanted; set it "
            "to 'bfloat16' or 'float32'"
        )
    varies = [n for n, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]
    x_varies, weights_vary, _, _ = what.split([n in varies for n in range(len(operands))])

    def call(*varying):
        places = dict(zip(varies, varying, strict=True))
        every = (places.get(n, operand) for n, operand in enumerate(operands))
        return _differentiable(what, x_varies, any(weights_vary), *every)

    return jax.jvp(call, tuple(operands[n] for n in varies), tuple(tangents[n] for n in varies))


ad.primitive_jvps[_pass] = _jvp


# ---- vmap --------------------------------------------------------------------------------------------------


@cache
def _one_pass(what: Pass):
    return partial(run, what)


def _batched(operands: Sequence[Any], dims: Sequence[int | None], *, what: Pass):
    """One call of a larger batch; where weights differ, one call after the other."""
    _, weight_dims, _, _ = what.split(dims)
    size = next(operand.shape[dim] for operand, dim in zip(operands, dims, strict=True) if dim is not None)
    if all(dim is None for dim in weight_dims):
        return _folded(what, operands, dims, size)
    moved = [
        operand if dim is None else jnp.moveaxis(operand, dim, 0)
        for operand, dim in zip(operands, dims, strict=True)
    ]
    results = one_by_one(_one_pass(what), tuple(dim is not None for dim in dims))(*moved)
    return results, [0] * len(results)


def _folded(what: Pass, operands: Sequence[Any], dims: Sequence[int | None], size: int):
    """All members of the batch in one call, whose batch axis has those of all members."""
    sequence_axis = 0 if what.batch_first else 1
    x, _, state, masks = what.split(range(len(operands)))
    axes = {x: sequence_axis, **dict.fromkeys(state, 0)}
    if what.lengths:
        axes[masks[0]] = 0
    if what.reset:
        axes[masks[-1]] = sequence_axis
    folded = [
        _fold(operand, dims[n], axes[n], size) if n in axes else operand for n, operand in enumerate(operands)
    ]
    y, *final = run(what, *folded)
    member = [n for axis, n in enumerate(operands[x].shape) if axis != dims[x]]
    B = member[sequence_axis]
    results = [_unfold(y, sequence_axis, size, B), *(_unfold(part, 0, size, B) for part in final)]
    return results, [sequence_axis, *(0 for _ in final)]


def _fold(array: Any, dim: int | None, axis: int, size: int) -> jax.Array:
    """An array whose `axis` has those of all members of a batch, one member after the other."""
    if dim is None:
        array = jnp.broadcast_to(
            jnp.expand_dims(array, axis), (*array.shape[:axis], size, *array.shape[axis:])
        )
    else:
        array = jnp.moveaxis(array, dim, axis)
    return array.reshape(*array.shape[:axis], size * array.shape[axis + 1], *array.shape[axis + 2 :])


def _unfold(array: jax.Array, axis: int, size: int, B: int) -> jax.Array:
    """The inverse of `_fold`, for members of B sequences each."""
    return array.reshape(*array.shape[:axis], size, B, *array.shape[axis + 1 :])


batching.primitive_batchers[_pass] = _batched
