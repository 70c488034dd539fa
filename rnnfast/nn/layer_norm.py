"""Layer normalization over the last axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.members import check_same_form
from rnnfast.nn.module import Stateless
from rnnfast.nn.parameter import Parameter

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ["LayerNorm"]


class LayerNorm(Stateless):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance over the last axis.

    The variance is the biased one, as PyTorch's. A row of x gives the same bits alone and in any batch.

    Parameters
    ----------
    size : int
        The size of x's last axis.
    eps : float
        Is added to the variance, more than 0.
    bias : bool
        Whether there is a bias.
    dtype : {"float32", "float64"}
        Of the parameters and of y. Floats of another dtype are cast.

    Attributes
    ----------
    weight : Parameter
        ``[size]``, ones at first.
    bias : Parameter or None
        ``[size]``, zeros at first.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    Sums are in float64, in a fixed order. A row whose gradient is zero adds nothing to the gradients of the
    parameters, whatever x holds there.

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450 (2016).

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> norm = rf.LayerNorm(4, dtype="float64")
    >>> y, state, tape = norm.forward(np.array([[1.0, 2.0, 3.0, 4.0]]))
    >>> y.round(3).tolist()
    [[-1.342, -0.447, 0.447, 1.342]]
    >>> dx, _ = norm.backward(tape, np.ones((1, 4)))
    >>> norm.bias.grad.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    bias: Parameter | None

    def __init__(
        self, size: int, eps: float = 1e-5, bias: bool = True, *, dtype: DTypeLike = "float32"
    ) -> None:
        super().__init__()
        self.size = checks.positive("size", size)
        self.eps = checks.above_zero("eps", eps)
        kind = checks.float_dtype(dtype)
        checks.fits({"size": self.size}, self.size, kind)
        self._parameters["weight"] = Parameter(np.ones(self.size, kind))
        if checks.flag("bias", bias):
            self._parameters["bias"] = Parameter(np.zeros(self.size, kind))
        else:
            self.bias = None

    def _check_member(self, name: str, value: Any) -> None:
        if name in ("weight", "bias"):  # the kernels do not check shapes
            check_same_form(name, self._parameters.get(name), value)

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        weight, bias = self._parameters["weight"].data, self._parameters.get("bias")
        x = checks.floats("x", x, weight.dtype)
        if x.shape[-1:] != (self.size,):
            raise ValueError(f"x: expected shape [..., {self.size}], got {x.shape}")
        rows = checks.block(x).reshape(-1, self.size)
        y, moments = np.empty_like(rows), np.empty((len(rows), 2))
        _core.layer_norm_forward(rows, weight, None if bias is None else bias.data, self.eps, y, moments)
        return y.reshape(x.shape), (x.shape, x.dtype, rows, moments)

    @to_nearest
    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: None, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, None, dict[str, np.ndarray]]:
        shape, dtype, rows, moments = saved
        dx = np.zeros(rows.shape, dtype) if input_grad else None
        sums = {"weight": np.zeros(self.size), "bias": np.zeros(self.size)}
        if dy is not None:
            dy = checks.block(dy).reshape(rows.shape)
            weight = self._parameters["weight"].data
            _core.layer_norm_backward(rows, weight, moments, dy, dx, sums["weight"], sums["bias"])
        fresh = {name: sums[name].astype(dtype, copy=False) for name in self._parameters}
        return None if dx is None else dx.reshape(shape), None, fresh

    def __repr__(self) -> str:
        return (
            f"LayerNorm({self.size}, eps={self.eps}, bias={self.bias is not None}, dtype={str(self.dtype)!r})"
        )
