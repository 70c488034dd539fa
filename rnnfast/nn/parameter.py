"""A trainable array and its gradient. Only `add_grad` and `zero_grad` write the gradient in place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast.nn.checks import any_floats, shaped

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_adding = Lock()  # one for all parameters: threads that run one layer add their gradients in turn


class _Kept(local):
    """Where this thread's gradients go instead, if anywhere."""

    gradients: dict[Parameter, np.ndarray] | None = None


_kept = _Kept()


class Parameter:
    """A trainable array with its gradient.

    Parameters
    ----------
    data : array_like of float32 or float64
        The values. They are copied: the parameter owns its memory.

    Attributes
    ----------
    data : numpy.ndarray
        The values, C-contiguous. It stays one and the same array for the parameter's life, so that a layer
        may hold on to it: assigning to `data` writes into it.
    grad : numpy.ndarray or None
        The gradient, of the shape and dtype of `data`; None until the first backward pass. Assigning copies.

    Raises
    ------
    TypeError
        If `data` (or what is assigned later) does not hold floats.
    ValueError
        If what is assigned has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter
    >>> weight = Parameter(np.zeros((2, 3)))
    >>> weight.grad is None
    True
    >>> weight.add_grad(np.ones((2, 3)))
    >>> weight.data -= 0.1 * weight.grad
    >>> weight
    Parameter(shape=(2, 3), dtype=float64)
    """

    __slots__ = ("_data", "_grad")

    def __init__(self, data: ArrayLike) -> None:
        self._data: np.ndarray = any_floats("data", data).copy(order="C")
        self._grad: np.ndarray | None = None

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """What unpickling gives back, in memory that the kernels can read and optimizers can write.

        pickle's out-of-band buffers are the caller's: read-only, perhaps, and at any address.
        """
        slots = state[1]
        self._data = _own(slots["_data"])
        self._grad = None if slots["_grad"] is None else _own(slots["_grad"])

    @property
    def data(self) -> np.ndarray:
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._data:
            self._data[...] = shaped("data", value, self._data.dtype, self._data.shape)

    @property
    def grad(self) -> np.ndarray | None:
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None and value is not self._grad:
            value = shaped("grad", value, self._data.dtype, self._data.shape).copy(order="C")
        self._grad = value

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return self._data.shape

    @property
    def size(self) -> int:
        """The number of elements of `data`."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype:
        """The dtype of `data`."""
        return self._data.dtype

    def add_grad(self, array: np.ndarray) -> None:
        """Add `array` to the gradient, in turn with every other thread that does.

        Parameters
        ----------
        array : numpy.ndarray
            Of the shape and dtype of `data`. The first one is adopted, not copied: leave it alone afterwards.

        Raises
        ------
        TypeError, ValueError
            If the array has another dtype or shape.
        """
        self._add_checked(shaped("array", array, self._data.dtype, self._data.shape))

    def _add_checked(self, array: np.ndarray) -> None:
        """`add_grad` of an array known to fit."""
        kept = _kept.gradients
        if kept is not None:
            kept[self] = kept[self] + array if self in kept else array
            return
        with _adding:
            if self._grad is None:
                self._grad = _own(array)
            else:
                self._grad += array

    def zero_grad(self) -> None:
        """Set the gradient to zero, if there is one."""
        with _adding:
            if self._grad is not None:
                self._grad.fill(0.0)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def _own(array: np.ndarray) -> np.ndarray:
    """`array` itself where it is C-contiguous, aligned and writeable, else a copy."""
    return array if array.flags.carray else array.copy(order="C")


@contextmanager
def gradients_kept() -> Iterator[dict[Parameter, np.ndarray]]:
    """Gradients that this thread adds are summed up in the dict that this gives; every `.grad` stays."""
    outer = _kept.gradients
    gradients: dict[Parameter, np.ndarray] = {}
    _kept.gradients = gradients
    try:
        yield gradients
    finally:
        _kept.gradients = outer
