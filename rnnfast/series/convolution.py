"""A one-dimensional convolution on a window, built of modules: sliding windows, Linear, ReLU, Linear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from rnnfast import checks
from rnnfast.nn.activation import ReLU
from rnnfast.nn.linear import Linear
from rnnfast.nn.module import Stateless
from rnnfast.nn.sequential import Sequential
from rnnfast.series.network import WindowNetwork

__all__ = ["Convolution", "Flatten", "SlidingWindows"]


class SlidingWindows(Stateless):
    """All windows of the last axis: ``[…, W]`` becomes ``[…, W-k+1, k]``. Before Linear, a convolution.

    Parameters
    ----------
    size : int
        k.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.series.convolution import SlidingWindows
    >>> module = SlidingWindows(2)
    >>> y, _, tape = module.forward(np.array([1.0, 2.0, 3.0]))
    >>> y.tolist(), module.backward(tape, np.ones_like(y))[0].tolist()
    ([[1.0, 2.0], [2.0, 3.0]], [1.0, 2.0, 1.0])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = checks.positive("size", size)

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        if x.ndim == 0 or x.shape[-1] < self.size:
            raise ValueError(f"x: expected shape [..., W] with W at least {self.size}, got {x.shape}")
        y = sliding_window_view(x, self.size, axis=-1).copy()
        return y, (y.shape, y.dtype, x.shape)

    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        (*_, windows, _), dtype, shape = saved
        dx = np.zeros(shape, dtype)
        for k in range(self.size):
            dx[..., k : k + windows] += dy[..., k]
        return dx


class Flatten(Stateless):
    """The last two axes as one: ``[…, M, N]`` becomes ``[…, M*N]``.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.series.convolution import Flatten
    >>> Flatten()(np.zeros((5, 2, 3)))[0].shape
    (5, 6)
    """

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        if x.ndim < 2:
            raise ValueError(f"x: expected shape [..., M, N], got {x.shape}")
        y = x.reshape(*x.shape[:-2], -1).copy()
        return y, (y.shape, y.dtype, x.shape)

    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        *_, shape = saved
        return dy.reshape(shape).copy()


class Convolution(WindowNetwork):
    """A one-dimensional convolution on the last W values, with a linear map on top:

        z_{j,c} = relu(a_c + Σ_k K_{c,k} x_{t-W+j+k}),    x̂_t = b + Σ_{j,c} v_{j,c} z_{j,c}.

    Its C kernels of k values look for the same patterns at each of the W - k + 1 places; they do not grow
    with the window, the map on top does.

    Parameters
    ----------
    window : int
        W.
    channels : int, default 8
        C.
    size : int, default 5
        k, at most W; a shorter window takes its own length.
    updates : int, default 1500
        Updates of the weights, at most.
    difference : int or sequence of int, default 0
        As for :class:`Forecaster`.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.sin(0.3 * np.arange(300))
    >>> model = rf.series.Convolution(12, updates=100).fit(series, rng=0)
    >>> model.parameters == (5 * 8 + 8) + (8 * 8 + 1)
    True
    """

    def __init__(
        self, window: int, channels: int = 8, size: int = 5, *, updates: int = 1500, difference: Any = 0
    ) -> None:
        window = checks.positive("window", window)
        self.channels = checks.positive("channels", channels)
        self.size = min(checks.positive("size", size), window)
        super().__init__(window=window, channels=channels, size=size, updates=updates, difference=difference)
        self.name = f"convolution({window})"

    def _build(self, rng: checks.Rng) -> Sequential:
        source = checks.generator(rng)
        return Sequential(
            SlidingWindows(self.size),
            Linear(self.size, self.channels, rng=source),
            ReLU(),
            Flatten(),
            Linear((self.reads - self.size + 1) * self.channels, 1, rng=source),
        )

    def _least_parameters(self) -> int:
        return self.channels * (self.reads + 1)
