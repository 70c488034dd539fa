"""A trainable array and its gradient. Only `add_grad` and `zero_grad` write the gradient in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core
from rnnfast.checks import any_floats, shaped
from rnnfast.nn.lock import sharing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "Parameter",
    "add_gradients",
    "arrays_version",
    "check_writeable",
    "freeze",
    "gradients_kept",
    "is_frozen",
    "named_grad",
    "unfreeze",
    "unwritable",
    "zero_gradients",
]


class _Kept(local):
    """The dict into which this thread's gradients go instead of `.grad`, or None."""

    gradients: dict[Parameter, np.ndarray] | None = None


_kept = _Kept()


class _Version:
    """The version of the arrays of all parameters: a new object after some got others."""

    arrays = object()


_version = _Version()


class Parameter:
    """A trainable array with its gradient.

    Parameters
    ----------
    data : array_like of float32 or float64
        The values. They are copied: the parameter owns its memory.

    Attributes
    ----------
    data : numpy.ndarray
        The values, C-contiguous: a view of memory that stays the same, except at `freeze` and `unfreeze` of a
        module with this parameter. Assigning to `data` writes into it. The view cannot be resized; one that
        was given another shape or dtype in place is replaced.
    grad : numpy.ndarray or None
        The gradient, of the shape and dtype of `data`; None until the first backward pass. Assigning copies.
    frozen : bool
        Whether `freeze` of a module made the values constant.

    Raises
    ------
    TypeError
        If `data` (or what is assigned later) does not hold floats.
    ValueError
        If what is assigned has another shape, or the parameter cannot be written.

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

    __slots__ = ("_data", "_data_view", "_grad")
    _data: np.ndarray
    _data_view: np.ndarray
    _grad: np.ndarray | None

    def __init__(self, data: ArrayLike) -> None:
        self._hold(any_floats("data", data).copy(order="C"), None)

    def _hold(self, data: np.ndarray, grad: np.ndarray | None) -> None:
        """Keep these arrays; `data` becomes a view of the first."""
        self._data, self._data_view, self._grad = data, data.view(), grad

    @property
    def data(self) -> np.ndarray:
        array, view = self._data, self._data_view
        if view.shape != array.shape or view.dtype != array.dtype or view.strides != array.strides:
            self._data_view = array.view()
            self._data_view.flags.writeable = view.flags.writeable
        return self._data_view

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._data_view:
            if problem := unwritable(self):
                raise ValueError(f"data: expected a parameter that can be written, got {problem}")
            self.data[...] = shaped("data", value, self.dtype, self.shape)

    @property
    def grad(self) -> np.ndarray | None:
        self.check_grad()
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None and value is not self._grad:
            value = shaped("grad", value, self.dtype, self.shape).copy(order="C")
        self._grad = value

    @property
    def frozen(self) -> bool:
        """Whether the values are constant, until `unfreeze` of a module that has the parameter."""
        return is_frozen(self._data_view)

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

    def check_grad(self) -> None:
        """Refuse a gradient that was given another shape or dtype in place, with a ValueError."""
        grad, data = self._grad, self._data
        if grad is None or (
            grad.shape == data.shape and (grad.dtype is data.dtype or grad.dtype == data.dtype)
        ):
            return
        raise ValueError(
            f"grad: expected {self.dtype} of shape {self.shape}, got {grad.dtype} of shape {grad.shape}, "
            "set in place; assign None or another gradient"
        )

    def add_grad(self, array: np.ndarray) -> None:
        """Add `array` to the gradient, one thread at a time.

        Parameters
        ----------
        array : numpy.ndarray
            Of the shape and dtype of `data`. The first one is kept, not copied; do not write into it.

        Raises
        ------
        TypeError, ValueError
            If the array has another dtype or shape.
        """
        self.check_grad()
        add_gradients([(self, shaped("array", array, self.dtype, self.shape))])

    def zero_grad(self) -> None:
        """Set the gradient to zero, if there is one."""
        zero_gradients([self])

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        return None, {"_data": self._data, "_grad": self._grad, "frozen": self.frozen}

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """What unpickling gives back, in memory that the kernels can read and optimizers can write.

        pickle's out-of-band buffers are the caller's: read-only, perhaps, and at any address.
        """
        slots = state[1]
        grad = None if slots["_grad"] is None else _own(slots["_grad"])
        self._hold((_constant if slots.get("frozen") else _own)(slots["_data"]), grad)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


def _own(array: np.ndarray) -> np.ndarray:
    """`array` itself if it is C-contiguous, aligned and writeable, else a copy."""
    return array if array.flags.carray else array.copy(order="C")


def _constant(array: np.ndarray) -> np.ndarray:
    """A copy that nobody can write: bytes have its memory, so no view's flag makes it writeable."""
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def is_frozen(data: np.ndarray) -> bool:
    """Whether this `data` of a parameter is constant."""
    return isinstance(getattr(data.base, "base", None), bytes)


def freeze(parameters: Iterable[Parameter]) -> None:
    """Make the values of all these parameters constant, or of none."""
    _replace(_constant, [parameter for parameter in parameters if not parameter.frozen])


def unfreeze(parameters: Iterable[Parameter]) -> None:
    """Give all these parameters values that can be written, or none."""
    _replace(np.array, [parameter for parameter in parameters if parameter.frozen])


def _replace(copied: Callable[[np.ndarray], np.ndarray], parameters: list[Parameter]) -> None:
    """Give parameters copies of their arrays."""
    for parameter, array in zip(parameters, [copied(own._data) for own in parameters], strict=True):
        parameter._hold(array, parameter._grad)
    _version.arrays = object()  # after the change: who reads the new version finds the new arrays


def arrays_version() -> object:
    """An object that is another one after any parameters were frozen or unfrozen."""
    return _version.arrays


def unwritable(parameter: Parameter) -> str | None:
    """What an error says that it got if the parameter's data cannot be written; None if it can."""
    if parameter.frozen:
        return "one of a frozen module (unfreeze() makes it writeable)"
    return None if parameter.data.flags.writeable else "a read-only one"


def named_grad(name: str, parameter: Parameter) -> np.ndarray | None:
    """`parameter.grad`; if its shape was set in place, an error that begins with the parameter's name."""
    try:
        return parameter.grad
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error


def check_writeable(parameters: Mapping[str, Parameter], kind: str) -> None:
    """Refuse parameters whose `kind` ("data" or "grad") cannot be written; the error names the first."""
    every = parameters.values()
    arrays = [parameter._grad if kind == "grad" else parameter._data_view for parameter in every]
    if _core.first_unfit(arrays, [parameter._data for parameter in every]) < 0:
        return
    for name, parameter in parameters.items():
        if kind == "data":
            problem = unwritable(parameter)
        else:
            grad = named_grad(name, parameter)
            problem = None if grad is None or grad.flags.writeable else "a read-only one"
        if problem:
            raise ValueError(f"{name}.{kind}: expected a writeable array, got {problem}")


def add_gradients(pairs: Iterable[tuple[Parameter, np.ndarray]]) -> None:
    """`Parameter.add_grad` of arrays known to fit."""
    kept = _kept.gradients
    if kept is not None:
        with _core.Arithmetic():
            for parameter, array in pairs:
                kept[parameter] = kept[parameter] + array if parameter in kept else array
        return
    sums: list[np.ndarray] = []
    arrays: list[np.ndarray] = []
    with sharing:
        for parameter, array in pairs:
            grad = parameter._grad
            if grad is None:
                parameter._grad = _own(array)
            else:
                sums.append(grad)
                arrays.append(array)
        _core.add_arrays(sums, arrays)


def zero_gradients(parameters: Iterable[Parameter]) -> None:
    """Set the gradients of parameters that are not None to zero."""
    with sharing:
        for parameter in parameters:
            if parameter._grad is not None:
                parameter._grad.fill(0.0)


@contextmanager
def gradients_kept() -> Iterator[dict[Parameter, np.ndarray]]:
    """Within the block, gradients that this thread adds go into the dict it yields, not into `.grad`."""
    outer = _kept.gradients
    gradients: dict[Parameter, np.ndarray] = {}
    _kept.gradients = gradients
    try:
        yield gradients
    finally:
        _kept.gradients = outer
