"""Activations as modules: y = f(x), element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.module import Stateless
from rnnfast.nn.normal import normal_cdf

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["GELU", "Activation", "ReLU", "SiLU", "Sigmoid", "Tanh"]

Function = Callable[[np.ndarray], np.ndarray]


class Activation(Stateless):
    """y = f(x), element by element.

    ======== ===========================================================
    function f(x)
    ======== ===========================================================
    relu     max(x, 0); its derivative at 0 is 0
    tanh     tanh(x)
    sigmoid  1 / (1 + exp(-x))
    gelu     x P(X <= x), X from the standard normal distribution
    silu     x / (1 + exp(-x))
    ======== ===========================================================

    Parameters
    ----------
    function : {"relu", "tanh", "sigmoid", "gelu", "silu"}

    Raises
    ------
    ValueError
        `function` is none of these.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", 2016: gelu and silu.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> module = rf.Activation("relu")
    >>> y, state, tape = module.forward(np.array([-1.0, 2.0]))
    >>> y.tolist(), module.backward(tape, np.ones(2))[0].tolist()
    ([0.0, 2.0], [0.0, 1.0])
    >>> model = rf.Sequential(rf.Linear(3, 8, rng=0), rf.GELU(), rf.Linear(8, 1, rng=1))
    >>> model(np.ones((5, 3)))[0].shape
    (5, 1)
    """

    def __init__(self, function: str) -> None:
        super().__init__()
        if not isinstance(function, str) or function not in FUNCTIONS:
            raise ValueError(f"function: expected one of {', '.join(FUNCTIONS)}, got {function!r}")
        self.function = function

    @to_nearest
    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        f, slope, of_y = FUNCTIONS[self.function]
        y = np.asarray(f(x))  # also for an array without axes
        return y, (y.shape, y.dtype, slope, (y if of_y else x).copy())

    @to_nearest
    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        *_, slope, value = saved
        return np.asarray(dy * slope(value))

    def __repr__(self) -> str:
        named = type(self) is not Activation
        return f"{type(self).__name__}()" if named else f"Activation({self.function!r})"


class ReLU(Activation):
    """:class:`Activation` ``("relu")``: y = max(x, 0).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rf.ReLU()(np.array([-1.0, 2.0]))[0].tolist()
    [0.0, 2.0]
    """

    def __init__(self) -> None:
        super().__init__("relu")


class Tanh(Activation):
    """:class:`Activation` ``("tanh")``: y = tanh(x).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rf.Tanh()(np.array([0.0, 1.0]))[0].round(3).tolist()
    [0.0, 0.762]
    """

    def __init__(self) -> None:
        super().__init__("tanh")


class Sigmoid(Activation):
    """:class:`Activation` ``("sigmoid")``: y = 1 / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rf.Sigmoid()(np.array([0.0, 1.0]))[0].round(3).tolist()
    [0.5, 0.731]
    """

    def __init__(self) -> None:
        super().__init__("sigmoid")


class GELU(Activation):
    """:class:`Activation` ``("gelu")``: x times the standard normal distribution function of x.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rf.GELU()(np.array([-1.0, 1.0]))[0].round(3).tolist()
    [-0.159, 0.841]
    """

    def __init__(self) -> None:
        super().__init__("gelu")


class SiLU(Activation):
    """:class:`Activation` ``("silu")``: y = x / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> rf.SiLU()(np.array([-1.0, 1.0]))[0].round(3).tolist()
    [-0.269, 0.731]
    """

    def __init__(self) -> None:
        super().__init__("silu")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))  # at most 1, so that nothing overflows
    return np.where(x < 0, e, 1) / (1 + e)


def _silu_slope(x: np.ndarray) -> np.ndarray:
    s = _sigmoid(x)
    return s * (1 + x * (1 - s))


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return normal_cdf(x) + np.clip(x, -1e3, 1e3) * np.exp(-0.5 * x * x) * 0.3989422804014327


# f, its derivative, and whether the derivative is given y (else x)
FUNCTIONS: dict[str, tuple[Function, Function, bool]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: x > 0, False),
    "tanh": (np.tanh, lambda y: 1 - y * y, True),
    "sigmoid": (_sigmoid, lambda y: y * (1 - y), True),
    "gelu": (lambda x: x * normal_cdf(x), _gelu_slope, False),
    "silu": (lambda x: x * _sigmoid(x), _silu_slope, False),
}
