"""A first-order Markov model of a series cut into levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnfast import checks
from rnnfast.series.arrays import History
from rnnfast.series.forecaster import Forecaster

__all__ = ["Markov"]


class Markov(Forecaster):
    """A first-order Markov model: the level of the last value gives the probabilities of the next level.

    Each series by itself is cut into K levels at its quantiles. With n_ij the number of times that level j
    came after level i there,

        p(j | i) = (n_ij + α / K) / (Σ_j n_ij + α),

    h steps ahead by the h-th power of this matrix. A level's value is the mean of the values in it; its
    density is even between its borders, and the intervals are the quantiles of the density that the
    probabilities of all levels make. So they need no residuals, unless differences are taken.

    Parameters
    ----------
    levels : int, default 10
        K, at least 2. Of a series with no more different values, each is a level; in others, a value that is
        frequent enough to be at two borders. So there may be other numbers of levels, and `name` says the
        most of a series after `fit`.
    smoothing : float, default 1.0
        α above 0: how many observations the even distribution counts for.
    shared : bool, default False
        Several series, each scaled by itself, have one chain; False: each has its own.
    difference : int or sequence of int, default 0
        As for :class:`Forecaster`.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> series = np.tile([0.0, 1.0, 2.0], 50)    # each level has one successor
    >>> forecast = rf.series.Markov(3, smoothing=1e-9).fit(series, horizon=2).predict(series)
    >>> forecast.mean.round(6).tolist()
    [0.0, 1.0]
    """

    def __init__(
        self, levels: int = 10, *, smoothing: float = 1.0, shared: bool = False, difference: Any = 0
    ) -> None:
        self.levels = checks.integer("levels", levels, 2)
        self.smoothing = checks.real("smoothing", smoothing)
        if not self.smoothing > 0.0:
            raise ValueError(f"smoothing: expected a number above 0, got {smoothing!r}")
        self.shared = checks.flag("shared", shared)
        super().__init__(levels=levels, smoothing=self.smoothing, shared=shared, difference=difference)
        self.name = f"Markov({levels})"
        self.examples = 2 * levels
        self._chains: list[_Chain] = []  # one for each series, or one for all

    def _learn(self, history: History, start: int, rng: np.random.Generator, stop: int | None = None) -> int:
        series = history.values[:start]
        columns = np.split(series, series.shape[1], axis=1)
        if self.shared:  # one value of several series, each scaled by itself, differs in its last bits
            columns = [series.round(9)]
        self._use([_Chain.of(own, self.levels, self.smoothing) for own in columns])
        return 0

    def _chain(self, s: int) -> _Chain:
        """The chain of series s."""
        return self._chains[0 if self.shared else s]

    def _means(self, history: History, origins: NDArray[np.integer], horizon: int) -> NDArray[np.float64]:
        means = [
            self._chain(s).probabilities(column[origins - 1], horizon) @ self._chain(s).values
            for s, column in enumerate(history.values.T)
        ]
        return np.stack(means, axis=2)

    def _quantile(
        self,
        series: NDArray[np.float64],
        origins: NDArray[np.integer],
        means: NDArray[np.float64],
        probability: float,
    ) -> NDArray[np.float64]:
        if self.difference:  # the chain does not give the distribution of sums of differences
            return super()._quantile(series, origins, means, probability)
        values = np.empty_like(means)
        for s, last in enumerate(self._scale.apply(series)[origins - 1].T):
            chain = self._chain(s)
            values[:, :, s] = chain.quantile(chain.probabilities(last, means.shape[1]), probability)
        return self._scale.undo(series, origins, values)

    @property
    def bounded(self) -> float:
        return super().bounded if self.difference else 1.0

    @property
    def exact(self) -> NDArray[np.bool_]:
        return super().exact if self.difference else np.zeros(self.series, bool)

    @property
    def parameters(self) -> int:
        return sum(chain.parameters for chain in self._chains)

    def _numbers(self) -> dict[str, NDArray]:
        return {
            f"{s}.{name}": array
            for s, chain in enumerate(self._chains)
            for name, array in vars(chain).items()
        }

    def _take(self, numbers: Mapping[str, NDArray], S: int) -> None:
        kind = np.dtype(np.float64)
        chains = []
        for s in range(1 if self.shared else S):
            K = len(numbers[f"{s}.values"])
            shapes = {"low": (K,), "high": (K,), "begins": (K,), "values": (K,), "p": (K, K)}
            arrays = {
                name: checks.shaped(name, numbers[f"{s}.{name}"], kind, own) for name, own in shapes.items()
            }
            chain = _Chain(**arrays)
            ordered = (np.diff(chain.begins) > 0.0).all() and (chain.low <= chain.high).all()
            if not (ordered and (chain.p >= 0.0).all() and np.allclose(chain.p.sum(axis=1), 1.0)):
                raise ValueError(f"{s}: levels out of order, or no probabilities")
            chains.append(chain)
        self._use(chains)

    def _use(self, chains: list[_Chain]) -> None:
        self._chains = chains
        self.name = f"Markov({max(len(chain.values) for chain in chains)})"


class _Chain:
    """The chain of one series, or of several."""

    def __init__(
        self,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        begins: NDArray[np.float64],
        values: NDArray[np.float64],
        p: NDArray[np.float64],
    ) -> None:
        self.low = low  # [K] ascending
        self.high = high  # [K] where each level's density ends; a single value has all its density there
        self.begins = begins  # [K] the lower border of each level
        self.values = values  # [K] the mean of each level
        self.p = p  # [K, K] p[i, j]: from i to j

    @classmethod
    def of(cls, series: NDArray[np.float64], levels: int, smoothing: float) -> _Chain:
        """The chain that the columns of `series` [N, S] have in common."""
        distinct = np.unique(series)
        if len(distinct) <= levels:
            low = high = distinct
            begins = np.append(distinct[0], (distinct[1:] + distinct[:-1]) / 2)
        else:
            borders, times = np.unique(
                np.quantile(series, np.linspace(0.0, 1.0, levels + 1)), return_counts=True
            )
            alone = borders[times > 1]
            low = np.concatenate([borders[:-1], alone])
            high = np.concatenate([borders[1:], alone])
            order = np.lexsort((high, low))  # a level of one value ends before the level that begins at it
            low, high = low[order], high[order]
            after = np.isin(low, alone) & (low < high)
            begins = np.where(after, np.nextafter(low, np.inf), low)
        at = np.searchsorted(begins[1:], series, side="right")
        kept = np.bincount(at.ravel(), minlength=len(low)) > 0
        low, high, begins = low[kept], high[kept], begins[kept]
        at = np.searchsorted(begins[1:], series, side="right")
        K = len(low)
        moves = np.bincount((at[:-1] * K + at[1:]).ravel(), minlength=K * K).reshape(K, K) + smoothing / K
        values = np.bincount(at.ravel(), series.ravel()) / np.bincount(at.ravel())
        return cls(low, high, begins, values, moves / moves.sum(axis=1, keepdims=True))

    @property
    def parameters(self) -> int:
        """The number of means, of entries of p (all but one in each row), and of borders, if any."""
        K = len(self.values)
        return K + K * (K - 1) + (0 if (self.low == self.high).all() else K + 1)

    def level(self, values: NDArray[np.float64]) -> NDArray[np.integer]:
        """The level of each value; beyond the outer borders, the outer levels."""
        return np.searchsorted(self.begins[1:], values, side="right")

    def probabilities(self, last: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
        """The probability [O, horizon, K] of each level at each step after the values `last` [O]."""
        found = np.empty((len(last), horizon, len(self.p)))
        now = np.eye(len(self.p))[self.level(last)]
        for j in range(horizon):
            now = found[:, j] = now @ self.p
        return found

    def quantile(self, probabilities: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        """The value below which `share` of the density with these probabilities [O, horizon, K] is."""
        below = np.cumsum(probabilities, axis=-1)
        at = np.minimum((below < share).sum(axis=-1), len(self.p) - 1)
        own = np.take_along_axis(probabilities, at[..., np.newaxis], -1)[..., 0]
        reached = np.take_along_axis(below, at[..., np.newaxis], -1)[..., 0] - own
        part = np.clip((share - reached) / own, 0.0, 1.0)
        return self.low[at] + part * (self.high[at] - self.low[at])
