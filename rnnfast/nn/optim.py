"""Optimizers with PyTorch's formulas: they read `.grad` of their parameters and write `.data` in place.

Each update runs over blocks that stay in cache, with two blocks of scratch and no other temporaries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.parameter import Parameter, named_grad

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]

_BLOCK = 16384  # elements: parameter, gradient, two averages and two of scratch are 384 KB in float32


def _betas(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name}: expected a pair of numbers, got {value!r}")
    return checks.below_one(f"{name}[0]", value[0]), checks.below_one(f"{name}[1]", value[1])


# What each setting may be, wherever it comes from: a constructor, an assignment, a state.
_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "lr": checks.at_least_zero,
    "betas": _betas,
    "alpha": checks.below_one,
    "eps": checks.at_least_zero,
    "momentum": checks.at_least_zero,
    "nesterov": checks.flag,
    "weight_decay": checks.at_least_zero,
}


class Optimizer:
    """The base of all optimizers: the walk over parameters, the averages kept for each, and their state.

    A subclass names its settings and averages and writes `_update` for one block.

    Parameters
    ----------
    params : iterable of Parameter
        What to train, each once.
    lr : float
        Learning rate, at least 0.

    Attributes
    ----------
    params : list of Parameter
    lr : float
        May be set at any time; schedules do.

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

    lr: float

    def __init__(self, params: Iterable[Parameter], lr: float) -> None:
        if not isinstance(params, Iterable):
            raise TypeError(
                f"params: expected Parameters such as model.parameters(), got {type(params).__name__}"
            )
        self.params: list[Parameter] = list(params)
        if not self.params:
            raise ValueError("params: expected at least one Parameter, got none")
        for param in self.params:
            if not isinstance(param, Parameter):
                raise TypeError(f"params: expected Parameter objects, got {type(param).__name__}")
        if len({id(param) for param in self.params}) < len(self.params):
            raise ValueError("params: expected each Parameter once, got one of them twice")
        self.lr = lr
        self._steps = [0] * len(self.params)
        self._kept: list[dict[str, NDArray]] = [{} for _ in self.params]
        self._scratch: dict[np.dtype, tuple[NDArray, NDArray]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.settings and name in _CHECKS:
            value = _CHECKS[name](name, value)
        object.__setattr__(self, name, value)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        """Refuse settings that do not go together."""

    @to_nearest
    def step(self) -> None:
        """Update every parameter whose `grad` is not None.

        Raises
        ------
        ValueError
            A parameter is read-only; none has been changed then.
        """
        updated: list[tuple[int, NDArray, NDArray]] = []
        for index, param in enumerate(self.params):
            grad, data = named_grad(f"params[{index}]", param), param.data
            if grad is not None:
                updated.append((index, data, grad))
                if not data.flags.writeable:
                    raise ValueError(
                        f"params[{index}]: expected a parameter that can be written, got a read-only one of "
                        f"shape {param.shape}"
                    )
        names = self.averages
        if getattr(self, "momentum", 0.0):
            names += ("momentum_buffer",)
        for index, data, grad in updated:
            self._steps[index] += 1
            kept = self._kept[index]
            for name in names:
                if name not in kept:
                    kept[name] = np.zeros_like(data)
            flat = [data.reshape(-1), grad.reshape(-1), *[kept[name].reshape(-1) for name in names]]
            first, second = self._scratch_for(data.dtype)
            for low in range(0, data.size, _BLOCK):
                p, g, *averages = [array[low : low + _BLOCK] for array in flat]
                self._update(self._steps[index], p, g, averages, first[: p.size], second[: p.size])

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
            self._scratch[dtype] = np.empty(_BLOCK, dtype), np.empty(_BLOCK, dtype)
        return self._scratch[dtype]

    def zero_grad(self) -> None:
        """Zero every parameter's gradient."""
        for param in self.params:
            param.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that a later run needs to go on: numbers, text and arrays that an ``.npz`` holds.

        Returns
        -------
        dict
            ``"kind"`` (the class name), every setting (``"lr"``, …), ``"steps"`` (int64 [number of
            parameters], updates so far) and ``"<average>.<n>"`` for the averages of parameter n.
        """
        state: dict[str, Any] = {"kind": type(self).__name__}
        for name in self.settings:
            value = getattr(self, name)
            state[name] = np.array(value) if isinstance(value, tuple) else value
        state["steps"] = np.array(self._steps, np.int64)
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
            A missing, unexpected or wrongly shaped entry, one of another class or dtype, or a setting out of
            its range, by name; nothing has been written then.
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
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a mapping as state_dict() gives it, got {type(state).__name__}")
        unread = set(state)

        def take(name: str) -> NDArray:
            if name not in state:
                raise ValueError(f"optimizer state: expected an entry {name!r}, got none")
            unread.discard(name)
            return checks.as_array(f"optimizer state {name}", state[name])

        kind = str(take("kind"))
        if kind != type(self).__name__:
            raise ValueError(f"optimizer state: expected that of {type(self).__name__}, got that of {kind}")

        settings: dict[str, Any] = {}
        for name in self.settings:
            present, value = getattr(self, name), take(name)
            if (
                value.shape != np.shape(present)
                or value.dtype.kind not in "biuf"
                or not np.isfinite(value).all()
            ):
                raise ValueError(
                    f"optimizer state {name}: expected finite numbers like {present!r}, got {value}"
                )
            try:
                read = tuple(value.tolist()) if isinstance(present, tuple) else value.item()
                settings[name] = _CHECKS[name](name, read) if name in _CHECKS else type(present)(read)
            except (TypeError, ValueError) as error:
                raise ValueError(f"optimizer state {error}") from error
        try:
            self._check_settings(settings)
        except ValueError as error:
            raise ValueError(f"optimizer state {error}") from error

        given = take("steps")
        if given.shape != (len(self.params),) or given.dtype.kind not in "iu" or (given < 0).any():
            raise ValueError(
                f"optimizer state steps: expected {len(self.params)} counts (one for each parameter), "
                f"got {given.dtype} of shape {given.shape}"
            )

        optional = ("momentum_buffer",) if "momentum" in self.settings else ()
        all_kept: list[dict[str, NDArray]] = []
        for index, param in enumerate(self.params):
            kept: dict[str, NDArray] = {}
            for name in self.averages + optional:
                key = f"{name}.{index}"
                if key not in state and (name in optional or given[index] == 0):
                    continue
                array = take(key)
                if array.shape != param.data.shape or array.dtype != param.data.dtype:
                    raise ValueError(
                        f"optimizer state {key}: expected {param.data.dtype} of shape {param.data.shape}, "
                        f"got {array.dtype} of shape {array.shape}"
                    )
                if name.endswith("_sq") or name == "square_avg":
                    if (array < 0).any():
                        raise ValueError(f"optimizer state {key}: expected squares, got a negative number")
                kept[name] = np.array(array, order="C")
            all_kept.append(kept)
        if unread:
            raise ValueError(f"optimizer state: unexpected entries {', '.join(sorted(unread))}")
        return settings, given.tolist(), all_kept


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if wanted.

    With g = grad + weight_decay p::

        m = momentum m + g
        p = p - lr (g + momentum m if nesterov else m)

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    momentum : float, default 0.0
        At least 0.
    nesterov : bool, default False
        Needs a momentum.
    weight_decay : float, default 0.0
        At least 0.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, in the form
    of ``torch.optim.SGD``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.SGD([weight], lr=0.1, momentum=0.9)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.8]
    """

    settings = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        self._check_settings({"momentum": self.momentum, "nesterov": self.nesterov})

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        if settings["nesterov"] and settings["momentum"] == 0:
            raise ValueError("nesterov: expected a momentum above 0 with it, got momentum=0")

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        g = _decayed(g, p, self.weight_decay, b)
        if averages:
            (m,) = averages
            m *= self.momentum
            m += g
            if self.nesterov:
                np.multiply(m, self.momentum, out=a)
                a += g
                g = a
            else:
                g = m
        np.multiply(g, self.lr, out=a)
        p -= a


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    With g = grad + weight_decay p, at the t-th update::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g²
        p = p - lr / (1 - beta1^t) · m / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
        Each in 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0.0
        At least 0.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, in the form of ``torch.optim.Adam``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.Adam([weight], lr=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.9]
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    averages = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        self._move(step, p, _decayed(g, p, self.weight_decay, b), averages, a)

    def _move(self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray) -> None:
        """The update itself, when g holds its weight decay; `a` is scratch, and may not be g."""
        m, v = averages
        beta1, beta2 = self.betas
        np.subtract(g, m, out=a)
        a *= 1.0 - beta1
        m += a
        np.multiply(g, g, out=a)
        a *= 1.0 - beta2
        v *= beta2
        v += a
        np.sqrt(v, out=a)
        a /= math.sqrt(1.0 - beta2**step)
        a += self.eps
        np.divide(m, a, out=a)
        a *= self.lr / (1.0 - beta1**step)
        p -= a


class AdamW(Adam):
    """Adam with weight decay apart from the averages: ``p = p (1 - lr weight_decay)``, then Adam's step.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-3
    betas : (float, float), default (0.9, 0.999)
        Each in 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 1e-2
        At least 0.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, in the form of
    ``torch.optim.AdamW``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.AdamW([weight], lr=0.1, weight_decay=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.89]
    """

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        if self.weight_decay:
            p *= 1.0 - self.lr * self.weight_decay
        self._move(step, p, g, averages, a)


class RMSprop(Optimizer):
    """Steps scaled by a running average of the gradient's square.

    With g = grad + weight_decay p::

        v = alpha v + (1 - alpha) g²
        m = momentum m + g / (sqrt(v) + eps)
        p = p - lr m

    Parameters
    ----------
    params : iterable of Parameter
    lr : float, default 1e-2
    alpha : float, default 0.99
        In 0..1, 1 excluded.
    eps : float, default 1e-8
        At least 0.
    weight_decay : float, default 0.0
        At least 0.
    momentum : float, default 0.0
        At least 0.

    References
    ----------
    Hinton, lecture 6 of "Neural networks for machine learning", 2012, in the form of ``torch.optim.RMSprop``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.nn import Parameter, optim
    >>> weight = Parameter(np.array([1.0]))
    >>> optimizer = optim.RMSprop([weight], lr=0.1)
    >>> weight.grad = 2 * weight.data    # of its square
    >>> optimizer.step()
    >>> weight.data.round(4).tolist()
    [0.0]
    """

    settings = ("lr", "alpha", "eps", "weight_decay", "momentum")
    averages = ("square_avg",)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(params, lr)
        self.alpha = alpha
        self.eps = eps
        self.weight_decay = weight_decay
        self.momentum = momentum

    def _update(
        self, step: int, p: NDArray, g: NDArray, averages: Sequence[NDArray], a: NDArray, b: NDArray
    ) -> None:
        v, *momentum_buffer = averages
        g = _decayed(g, p, self.weight_decay, b)
        np.multiply(g, g, out=a)
        a *= 1.0 - self.alpha
        v *= self.alpha
        v += a
        np.sqrt(v, out=a)
        a += self.eps
        np.divide(g, a, out=a)
        for m in momentum_buffer:
            m *= self.momentum
            m += a
            np.copyto(a, m)
        a *= self.lr
        p -= a


def _decayed(g: NDArray, p: NDArray, weight_decay: float, out: NDArray) -> NDArray:
    """``g + weight_decay p``, in `out` where there is a decay and else g itself."""
    if not weight_decay:
        return g
    np.multiply(p, weight_decay, out=out)
    out += g
    return out
