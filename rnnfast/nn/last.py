"""The output at the end of a sequence, for classifiers of whole sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnfast import checks
from rnnfast.nn.module import Stateless, refuse_state
from rnnfast.nn.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Last"]


class Last(Stateless):
    """y at the last step, for one target per sequence.

    With `lengths`, which `Sequential` hands on, it is each sequence's own last step; zero where it has none.

    Parameters
    ----------
    batch_first : bool
        x is ``[B, T, N]`` instead of ``[T, B, N]``. Unbatched x is ``[T, N]`` either way.
    bidirectional : bool
        x comes from a bidirectional layer: its second half along N is taken at step 0, where the reverse
        direction has read everything.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> x = np.arange(12.0).reshape(3, 1, 4)
    >>> rf.Last()(x)[0].tolist()
    [[8.0, 9.0, 10.0, 11.0]]
    >>> rf.Last(bidirectional=True)(x)[0].tolist()
    [[8.0, 9.0, 2.0, 3.0]]
    >>> rf.Last()(x, lengths=[2])[0].tolist()
    [[4.0, 5.0, 6.0, 7.0]]
    """

    causal: ClassVar[bool] = False

    def __init__(self, batch_first: bool = False, bidirectional: bool = False) -> None:
        super().__init__()
        self.batch_first = checks.flag("batch_first", batch_first)
        self.bidirectional = checks.flag("bidirectional", bidirectional)

    def __call__(
        self, x: ArrayLike, state: None = None, *, lengths: ArrayLike | None = None
    ) -> tuple[np.ndarray, None]:
        """Evaluate.

        Parameters
        ----------
        x : array_like
            ``[T, B, N]`` (``[B, T, N]`` with batch_first), or ``[T, N]`` unbatched.
        state : None
            There is none.
        lengths : array_like of integers, optional
            ``[B]``, unbatched one integer: how many steps each sequence has, 0..T. None: T.

        Returns
        -------
        y : numpy.ndarray
            ``[B, N]``, unbatched ``[N]``.
        state : None
            There is none.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        """
        refuse_state("state", state, self)
        return self._apply(x, lengths)[0], None

    def forward(
        self, x: ArrayLike, state: None = None, *, lengths: ArrayLike | None = None
    ) -> tuple[np.ndarray, None, Tape]:
        """As calling the module, with a tape for `backward` as the third of what is returned."""
        refuse_state("state", state, self)
        y, saved = self._apply(x, lengths)
        return y, None, Tape(self, saved)

    def _apply(self, x: ArrayLike, lengths: ArrayLike | None = None) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        expected = f"{'[B, T, N]' if self.batch_first else '[T, B, N]'} or [T, N]"
        if x.ndim not in (2, 3):
            raise ValueError(f"x: expected shape {expected}, got {x.shape}")
        axis = int(self.batch_first and x.ndim == 3)
        if x.shape[axis] == 0:
            raise ValueError(f"x: expected at least one step, got shape {x.shape}")
        if self.bidirectional and x.shape[-1] % 2:
            raise ValueError(f"x: expected an even N in {expected} (two directions), got {x.shape}")
        steps = self._steps(x, axis)
        T, B, N = steps.shape
        if lengths is not None and x.ndim == 2:
            if np.ndim(lengths):
                raise ValueError(f"lengths: expected one integer, as x is unbatched, got {lengths!r}")
            lengths = checks.as_array("lengths", lengths)[np.newaxis]
        checked = checks.checked_lengths(lengths, T, B)
        ends = np.full(B, T) if checked is None else checked
        y = np.zeros((B, N), x.dtype)
        for rows, times, columns in self._places(ends, N):
            y[rows, columns] = steps[times, rows, columns]
        y = y if x.ndim == 3 else y[0]
        return y, (y.shape, y.dtype, x.shape, axis, ends)

    def _steps(self, x: np.ndarray, axis: int) -> np.ndarray:
        """x seen as [T, B, N]."""
        return x[:, np.newaxis] if x.ndim == 2 else np.moveaxis(x, axis, 0)

    def _places(self, ends: np.ndarray, N: int) -> list[tuple[np.ndarray, Any, slice]]:
        """The entries of x that y takes: sequences that have a step, the step, and the units."""
        rows = np.flatnonzero(ends)
        middle = N // 2 if self.bidirectional else N  # the forward direction's units come first
        return [(rows, ends[rows] - 1, slice(middle)), (rows, 0, slice(middle, N))]

    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        _, dtype, shape, axis, ends = saved
        dx = np.zeros(shape, dtype)
        steps, dy = self._steps(dx, axis), dy.reshape(len(ends), shape[-1])
        for rows, times, columns in self._places(ends, shape[-1]):
            steps[times, rows, columns] = dy[rows, columns]
        return dx

    def __repr__(self) -> str:
        return f"Last(batch_first={self.batch_first}, bidirectional={self.bidirectional})"
