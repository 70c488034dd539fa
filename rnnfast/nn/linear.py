"""The affine map over the last axis."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.members import check_same_form
from rnnfast.nn.module import Stateless
from rnnfast.nn.parameter import Parameter, is_frozen

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["Linear"]


class Linear(Stateless):
    """y = x Wᵀ + b over the last axis.

    A row of x gives the same bits alone and in any batch.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of x's and y's last axis.
    bias : bool
        Whether there is a b.
    dtype : {"float32", "float64"}
        Of the parameters and of y. Floats of another dtype are cast.
    rng : int, numpy.random.Generator or None
        Seeds the parameters: uniform in ±1/sqrt(in_features), as PyTorch's.
    matmul_precision : {"float32", "bfloat16", "int8"}
        Of the operands of products; "int8" evaluates alone. With float64 parameters only its default.

    Attributes
    ----------
    weight : Parameter
        ``[out_features, in_features]``.
    bias : Parameter or None
        ``[out_features]``.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> linear = rf.Linear(4, 2, rng=0)
    >>> x = np.ones((5, 3, 4), np.float32)
    >>> y, state, tape = linear.forward(x)
    >>> y.shape
    (5, 3, 2)
    >>> dx, _ = linear.backward(tape, np.ones_like(y))
    >>> dx.shape, linear.bias.grad.tolist()
    ((5, 3, 4), [15.0, 15.0])
    """

    bias: Parameter | None
    _precision: str = "float32"

    @to_nearest
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        rng: checks.Rng = None,
        matmul_precision: str = "float32",
    ) -> None:
        super().__init__()
        self.in_features = checks.positive("in_features", in_features)
        self.out_features = checks.positive("out_features", out_features)
        kind = checks.float_dtype(dtype)
        self._precision = checks.precision("matmul_precision", matmul_precision, kind)
        sizes = {"in_features": self.in_features, "out_features": self.out_features}
        checks.fits(sizes, self.in_features * self.out_features, kind)
        source = checks.generator(rng)
        bound = self.in_features**-0.5
        shape = (self.out_features, self.in_features)
        self._parameters["weight"] = Parameter(source.uniform(-bound, bound, shape).astype(kind))
        if checks.flag("bias", bias):
            self._parameters["bias"] = Parameter(
                source.uniform(-bound, bound, self.out_features).astype(kind)
            )
        else:
            self.bias = None

    def _matrices(self) -> Collection[str]:
        return ("weight",)

    def _check_member(self, name: str, value: Any) -> None:
        if name in ("weight", "bias"):  # the kernels do not check shapes
            check_same_form(name, self._parameters.get(name), value)

    def _arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        bias = self._parameters.get("bias")
        return self._parameters["weight"].data, None if bias is None else bias.data

    def _packs(self, weight: np.ndarray, bias: np.ndarray | None) -> _core.Packs | None:
        """The packed weight and bias if they are constant."""
        kept = self._from_arrays
        if kept is not None and kept[0] is weight and kept[1] is bias:
            return kept[2]
        if not is_frozen(weight) or (bias is not None and not is_frozen(bias)):
            return None
        packs = _core.Packs()
        self.__dict__["_from_arrays"] = weight, bias, packs
        return packs

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_from_arrays"}

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        weight, bias = self._arrays()
        x = checks.floats("x", x, weight.dtype)
        shape = x.shape
        if shape[-1:] != (self.in_features,):
            raise ValueError(f"x: expected shape [..., {self.in_features}], got {shape}")
        flat = checks.block(x).reshape(-1, self.in_features)
        y = np.empty((len(flat), self.out_features), weight.dtype)
        precision = self._precision
        _core.linear_forward(flat, weight, bias, y, precision, self._packs(weight, bias))
        y = y.reshape(*shape[:-1], self.out_features)
        return y, (y.shape, y.dtype, flat, shape, precision)

    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: None, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, None, dict[str, np.ndarray]]:
        _, dtype, x, shape, precision = saved
        fresh = {name: np.zeros(parameter.shape, dtype) for name, parameter in self._parameters.items()}
        if dy is None:
            return np.zeros(shape, dtype) if input_grad else None, None, fresh
        weight, _ = self._arrays()
        dx = np.empty(x.shape, dtype) if input_grad else None
        dy = checks.block(dy).reshape(len(x), self.out_features)
        _core.linear_backward(x, weight, dy, dx, fresh["weight"], fresh.get("bias"), precision)
        return None if dx is None else dx.reshape(shape), None, fresh

    def __repr__(self) -> str:
        sizes = f"{self.in_features}, {self.out_features}"
        return f"Linear({sizes}, bias={self.bias is not None}, dtype={str(self.dtype)!r})"
