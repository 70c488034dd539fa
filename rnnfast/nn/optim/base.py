"""The base of all optimizers: it updates the parameters block by block, and keeps averages and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.optim.orthonormal import Orthonormal
from rnnfast.nn.optim.settings import checked_setting
from rnnfast.nn.optim.state import StateReader
from rnnfast.nn.parameter import Parameter, named_grad, unwritable

__all__ = ["BLOCK", "Optimizer"]

BLOCK = 16384  # elements: parameter, gradient, two averages and two of scratch are 384 KB in float32


class Optimizer:
    """The base of all optimizers: the walk over parameters, the averages kept for each, and their state.

    A subclass names its settings and averages and writes `_update` for one block.

    Parameters
    ----------
    params : iterable of Parameter
        What to train, each once.
    lr : float
        Learning rate, at least 0.
    constraints : iterable of Orthonormal, default ()
        What holds after every step, for parameters among `params`.

    Attributes
    ----------
    params : list of Parameter
    lr : float
        May be set at any time; schedules do.
    constraints : tuple of Orthonormal

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0, -1.0]))
    >>> optimizer = optim.SGD([weight], lr=0.5)
    >>> for _ in range(3):
    ...     weight.grad = 2 * weight.data    # of the sum of squares
    ...     optimizer.step()
    >>> weight.data.tolist()
    [0.0, 0.0]
    """

    settings: ClassVar[tuple[str, ...]] = ("lr",)
    """Attributes that the state keeps: numbers or tuples of numbers."""

    averages: ClassVar[tuple[str, ...]] = ()
    """Arrays kept for each parameter once updated. A `momentum` other than 0 adds "momentum_buffer"."""

    squares: ClassVar[tuple[str, ...]] = ()
    """Those of the averages that are never negative."""

    lr: float

    def __init__(
        self, params: Iterable[Parameter], lr: float, *, constraints: Iterable[Orthonormal] = ()
    ) -> None:
        each = checks.iterated("params", params, "Parameters such as model.parameters()")
        self.params: list[Parameter] = list(each)
        if not self.params:
            raise ValueError("params: expected at least one Parameter, got none")
        for param in self.params:
            if not isinstance(param, Parameter):
                raise TypeError(f"params: expected Parameter objects, got {type(param).__name__}")
        if len({id(param) for param in self.params}) < len(self.params):
            raise ValueError("params: expected each Parameter once, got one of them twice")
        self.constraints = _checked_constraints(constraints, self.params)
        self.lr = lr
        self._steps = [0] * len(self.params)
        self._kept: list[dict[str, NDArray]] = [{} for _ in self.params]
        self._scratch: dict[np.dtype, tuple[NDArray, NDArray]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings:
            value = checked_setting(name, value)
        object.__setattr__(self, name, value)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise a ValueError for settings that exclude each other; a subclass may override it."""

    @to_nearest
    def step(self) -> None:
        """Update every parameter whose `grad` is not None; then the constraints hold for those that changed.

        Raises
        ------
        ValueError
            If a parameter is read-only, or its module frozen. No parameter has been changed then.
        """
        updated: list[tuple[int, NDArray, NDArray]] = []
        for index, param in enumerate(self.params):
            grad, data = named_grad(f"params[{index}]", param), param.data
            if grad is not None:
                updated.append((index, data, grad))
                if problem := unwritable(param):
                    raise ValueError(
                        f"params[{index}]: expected a parameter that can be written, got {problem}; it has "
                        f"shape {param.shape}"
                    )
        names = self.averages
        if getattr(self, "momentum", 0.0):
            names += ("momentum_buffer",)
        points = [constraint.points() for constraint in self.constraints]
        for index, data, grad in updated:
            self._steps[index] += 1
            kept = self._kept[index]
            for name in names:
                if name not in kept:
                    kept[name] = np.zeros_like(data)
            flat = [data.reshape(-1), grad.reshape(-1), *[kept[name].reshape(-1) for name in names]]
            first, second = self._scratch_for(data.dtype)
            for low in range(0, data.size, BLOCK):
                p, g, *averages = [array[low : low + BLOCK] for array in flat]
                self._update(self._steps[index], p, g, averages, first[: p.size], second[: p.size])
        for constraint, point in zip(self.constraints, points, strict=True):
            constraint.retract(point)

    def _update(
        self,
        step: int,
        p: NDArray,  # INOUT [n]  the parameter
        g: NDArray,  # IN    [n]  its gradient
        averages: Sequence[NDArray],  # INOUT [n] each, in the order of the class attribute
        a: NDArray,  # scratch [n]
        b: NDArray,  # scratch [n]
    ) -> None:
        """Update one block; `step` counts this parameter's updates from 1."""
        raise NotImplementedError

    def _scratch_for(self, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        if dtype not in self._scratch:
            self._scratch[dtype] = np.empty(BLOCK, dtype), np.empty(BLOCK, dtype)
        return self._scratch[dtype]

    def _described_constraints(self) -> list[str]:
        return [line for constraint in self.constraints for line in constraint.described(self.params)]

    def zero_grad(self) -> None:
        """Zero every parameter's gradient."""
        for param in self.params:
            param.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that a later run needs to continue: numbers, text and arrays for an ``.npz``.

        Returns
        -------
        dict
            ``"kind"`` (the class name), every setting (``"lr"``, …), ``"steps"`` (int64 [number of
            parameters], updates so far) and ``"<average>.<n>"`` for the averages of parameter n. With
            constraints, ``"constraints"`` has a line of text for each parameter under one.
        """
        state: dict[str, Any] = {"kind": type(self).__name__}
        for name in self.settings:
            value = getattr(self, name)
            state[name] = np.array(value) if isinstance(value, tuple) else value
        state["steps"] = np.array(self._steps, np.int64)
        if constraints := self._described_constraints():
            state["constraints"] = np.array(constraints)
        for index, kept in enumerate(self._kept):
            for name, array in kept.items():
                state[f"{name}.{index}"] = array.copy()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over settings and averages from :meth:`state_dict`, of the same class and parameter shapes.

        Parameters
        ----------
        state : mapping
            A state dict, or an open ``.npz`` with the same keys.

        Raises
        ------
        TypeError
            It is no mapping.
        ValueError
            A missing, unexpected or wrongly shaped entry, one of another class or dtype, a setting out of its
            range, or other constraints, by name; nothing has been written then.
        """
        settings, steps, kept = self._read_state(state)
        for name, value in settings.items():
            setattr(self, name, value)
        self._steps = steps
        self._kept = kept

    def check_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise the errors of :meth:`load_state_dict` and change nothing."""
        self._read_state(state)

    def _read_state(
        self, state: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[int], list[dict[str, NDArray]]]:
        """Settings, steps and averages of `state`, the arrays copied."""
        reader = StateReader(state)
        reader.check_kind(type(self).__name__)
        reader.check_constraints(self._described_constraints())
        present = {name: getattr(self, name) for name in self.settings}
        settings = reader.settings(present, self.check_settings)
        steps = reader.steps(len(self.params))
        momentum = ("momentum_buffer",) if "momentum" in self.settings else ()
        kept = []
        for index, (param, updates) in enumerate(zip(self.params, steps, strict=True)):
            always, sometimes = (self.averages, momentum) if updates else ((), self.averages + momentum)
            kept.append(reader.averages(index, param.data, always, sometimes, self.squares))
        reader.check_all_read()
        return settings, steps, kept


def _checked_constraints(
    constraints: Iterable[Orthonormal], params: Sequence[Parameter]
) -> tuple[Orthonormal, ...]:
    """The constraints, each of a kind that is known, and on parameters that are trained."""
    each = checks.iterated("constraints", constraints, "constraints such as [rf.optim.Orthonormal(…)]")
    checked = tuple(checks.instance(f"constraints[{at}]", c, Orthonormal) for at, c in enumerate(each))
    free = {id(param) for param in params}
    for at, constraint in enumerate(checked):
        for place, parameter in enumerate(constraint.parameters):
            if id(parameter) not in free:
                raise ValueError(
                    f"constraints[{at}].parameters[{place}]: expected one of params, under no other "
                    f"constraint, got another Parameter of shape {parameter.shape}"
                )
            free.remove(id(parameter))
    return checked
