"""ONNX's activation functions of recurrent nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Activation", "Array", "read_activations"]

Array = np.ndarray

_REQUIRED = float("nan")  # ONNX takes defaults from the operators of the same names; these have none

# name -> (function of x, alpha and beta; the default alpha, and beta: None where it has none to set)
_TABLE: dict[str, tuple[Callable[[Array, float, float], Array], float | None, float | None]] = {
    "Affine": (lambda x, alpha, beta: alpha * x + beta, _REQUIRED, _REQUIRED),
    "Elu": (lambda x, alpha, _: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))), 1.0, None),
    "HardSigmoid": (lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1), 0.2, 0.5),
    "LeakyRelu": (lambda x, alpha, _: np.where(x >= 0, x, alpha * x), 0.01, None),
    "Relu": (lambda x, *_: np.maximum(x, 0), None, None),
    "ScaledTanh": (lambda x, alpha, beta: alpha * np.tanh(beta * x), _REQUIRED, _REQUIRED),
    "Sigmoid": (lambda x, *_: np.exp(-np.logaddexp(0, -x)), None, None),
    "Softplus": (lambda x, *_: np.logaddexp(0, x), None, None),
    "Softsign": (lambda x, *_: x / (1 + abs(x)), None, None),
    "Tanh": (lambda x, *_: np.tanh(x), None, None),
    "ThresholdedRelu": (lambda x, alpha, _: np.where(x >= alpha, x, 0), 1.0, None),
}
_NAMES = {name.lower(): name for name in _TABLE}  # some exporters write them in lower case


class Activation(NamedTuple):
    """One function with its parameters; those it has not are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.onnx.activations import Activation
    >>> Activation("LeakyRelu", 0.5)(np.array([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: Array) -> Array:
        return _TABLE[self.name][0](x, self.alpha, self.beta).astype(x.dtype, copy=False)


def read_activations(names: list[str], alphas: list[float], betas: list[float]) -> list[Activation]:
    """The functions of a node's `activations`.

    Each that has an alpha (a beta) takes the next one of `alphas` (`betas`), as onnxruntime has it; when they
    are used up, the default. Where none has one, the values mean nothing.

    Raises
    ------
    ValueError
        ONNX has no such function, a parameter without a default is missing, or there are more alphas (betas)
        than the functions that take one, of which there are some.

    Examples
    --------
    >>> from rnnfast.onnx.activations import read_activations
    >>> for activation in read_activations(["Sigmoid", "LeakyRelu", "Elu"], [0.5], []):
    ...     print(activation)
    Activation(name='Sigmoid', alpha=0.0, beta=0.0)
    Activation(name='LeakyRelu', alpha=0.5, beta=0.0)
    Activation(name='Elu', alpha=1.0, beta=0.0)
    """
    given = {"activation_alpha": iter(alphas), "activation_beta": iter(betas)}
    found = []
    for name in names:
        known = _NAMES.get(name.lower())
        if known is None:
            raise ValueError(f"activations: expected some of {', '.join(_TABLE)}, got {name!r}")
        parameters = []
        for (attribute, values), default in zip(given.items(), _TABLE[known][1:], strict=True):
            value = 0.0 if default is None else next(values, default)
            if value is _REQUIRED:
                raise ValueError(f"{attribute}: expected a value for {known}, which has no default")
            parameters.append(value)
        found.append(Activation(known, *parameters))
    for place, (attribute, values) in enumerate(given.items(), start=1):
        taken = any(_TABLE[activation.name][place] is not None for activation in found)
        if taken and next(values, None) is not None:
            raise ValueError(f"{attribute}: expected no more values than activations that take one, got more")
    return found
