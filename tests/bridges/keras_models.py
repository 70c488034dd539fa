"""What the tests of Keras layers share: a layer of Keras and ours with the same weights, run the same way.

They run in the backend that KERAS_BACKEND names, torch unless it is set. `test_keras_backends` runs them
in the other one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers.depth import LONG
from helpers.tolerances import FORWARD, GRADIENT, error

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
BACKEND = keras.backend.backend()
pytest.importorskip(BACKEND)

import rnnfast.keras  # noqa: E402

if BACKEND == "torch":
    import torch

    torch.set_num_threads(1)  # what runs here is small, and waiting for a pool on busy cores is not
elif BACKEND == "jax":
    import jax

    if not jax.config.jax_enable_x64:  # set here, it would change the random numbers of other tests
        pytest.skip("needs JAX_ENABLE_X64=1, for float64", allow_module_level=True)

KINDS = ("SimpleRNN", "LSTM", "GRU")
THOROUGH = BACKEND == "torch" or LONG
once = pytest.mark.skipif(not THOROUGH, reason="what no backend changes is tested in that of torch alone")
B, T, I, H = 5, 6, 3, 4


def some(*axes: Sequence[Any]) -> list[Any]:
    """All combinations of values; in a short run a few where each takes JAX seconds to compile."""
    combinations = list(axes[0]) if len(axes) == 1 else list(product(*axes))
    return combinations if THOROUGH else combinations[:: 7 if len(axes) > 1 else 4]


def twins(kind: str, width: int = I, **options: Any) -> tuple[Any, Any]:
    """Keras's layer and ours with the same weights, all random, the biases too."""
    plain, fast = (getattr(module, kind)(H, **options) for module in (keras.layers, rnnfast.keras))
    rng = np.random.default_rng(0)
    for layer in (plain, fast):
        layer.build((B, T, width))
    weights = [rng.standard_normal(weight.shape) for weight in plain.get_weights()]
    plain.set_weights(weights)
    fast.set_weights(weights)
    return plain, fast


def parts(kind: str) -> int:
    """How many parts the state of a layer has."""
    return 2 if kind == "LSTM" else 1


def a_call(kind: str, dtype: str = "float64", mask: Any = None, seed: int = 0) -> dict[str, Any]:
    """Random arguments of a call."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((B, T, I)).astype(dtype)
    state = [rng.standard_normal((B, H)).astype(dtype) for _ in range(parts(kind))]
    return {"x": x, "state": state, "mask": mask}


def a_mask(name: str) -> np.ndarray | None:
    """A mask [B, T] by its name; each has a sequence that is masked whole, and one that is not masked."""
    lengths, steps = np.array([0, T, 3, 1, 4])[:, np.newaxis], np.arange(T)
    if name == "none":
        return None
    if name == "gaps":
        mask = np.random.default_rng(1).random((B, T)) < 0.5
        mask[0], mask[1] = False, True
        return mask
    return steps < lengths if name == "right" else steps >= T - lengths


def arrays_in(value: Any) -> list[np.ndarray]:
    """The tensors of a result as arrays."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [keras.ops.convert_to_numpy(one) for one in values]


def results(
    layer: Any, x: np.ndarray, state: Any = None, mask: Any = None, training: bool = False
) -> dict[str, np.ndarray]:
    """Outputs, and the gradients of x, the state and the weights for distinct gradients of all outputs."""
    run = _torch_results if BACKEND == "torch" else _jax_results
    outputs, gradients = run(layer, x, state or [], mask, {"training": training} if training else {})
    names = [
        "x",
        *(f"state {n}" for n in range(len(state or []))),
        *(w.path for w in layer.trainable_weights),
    ]
    named = {f"output {n}": array for n, array in enumerate(arrays_in(outputs))}
    return named | {
        f"gradient of {name.rpartition('/')[2]}": keras.ops.convert_to_numpy(gradient)
        for name, gradient in zip(names, gradients, strict=True)
    }


def _loss(outputs: Iterable[Any], tensor_of: Any) -> Any:
    """The sum of all outputs, each number times another."""
    return sum((one * tensor_of(np.linspace(-1, 2, int(np.prod(one.shape))), one)).sum() for one in outputs)


def _torch_results(layer: Any, x: Any, state: list[Any], mask: Any, keywords: dict[str, Any]) -> Any:
    inputs = [torch.tensor(array, requires_grad=True) for array in (x, *state)]
    mask = None if mask is None else torch.tensor(mask)
    outputs = layer(inputs[0], mask=mask, initial_state=inputs[1:] or None, **keywords)
    outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    loss = _loss(outputs, lambda array, one: torch.tensor(array.reshape(one.shape)).to(one))
    return outputs, torch.autograd.grad(loss, [*inputs, *(w.value for w in layer.trainable_weights)])


def _jax_results(layer: Any, x: Any, state: list[Any], mask: Any, keywords: dict[str, Any]) -> Any:
    frozen = [w.value for w in layer.non_trainable_variables]

    def run(inputs: Any, weights: Any) -> Any:
        outputs, _ = layer.stateless_call(
            weights, frozen, inputs[0], mask=mask, initial_state=inputs[1:] or None, **keywords
        )
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        return _loss(outputs, lambda array, one: array.reshape(one.shape).astype(one.dtype)), outputs

    weights = [w.value for w in layer.trainable_variables]
    differentiated = jax.jit(jax.grad(run, (0, 1), has_aux=True))
    (inputs, found), outputs = differentiated([jax.numpy.asarray(array) for array in (x, *state)], weights)
    return outputs, [*inputs, *found]


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray], factor: float = 1.0) -> None:
    """All results within `factor` times the tolerance of their dtype."""
    assert got.keys() == want.keys()
    for name, array in got.items():
        table = FORWARD if name.startswith("output") else GRADIENT
        assert array.dtype == want[name].dtype, name
        measured, allowed = error(array, want[name], 1.0), factor * table[array.dtype.name]
        assert measured <= allowed, f"{name}: error {measured:.2e}, allowed {allowed:.2e}"
