"""The output at the end of a sequence: what a classifier of whole sequences looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnnfast.nn import checks
from rnnfast.nn.module import Stateless

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Last(Stateless):
    """y at the last step, for one target per sequence.

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
    """

    causal: ClassVar[bool] = False

    def __init__(self, batch_first: bool = False, bidirectional: bool = False) -> None:
        super().__init__()
        self.batch_first = bool(batch_first)
        self.bidirectional = bool(bidirectional)

    def _apply(self, x: ArrayLike) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        expected = f"{'[B, T, N]' if self.batch_first else '[T, B, N]'} or [T, N]"
        if x.ndim not in (2, 3):
            raise ValueError(f"x: expected shape {expected}, got {x.shape}")
        axis = int(self.batch_first and x.ndim == 3)
        if x.shape[axis] == 0:
            raise ValueError(f"x: expected at least one step, got shape {x.shape}")
        if self.bidirectional and x.shape[-1] % 2:
            raise ValueError(f"x: expected an even N in {expected} (two directions), got {x.shape}")
        steps = np.moveaxis(x, axis, 0)
        forward = self._forward_units(x.shape[-1])
        y = steps[0].copy(order="C")
        y[..., :forward] = steps[-1, ..., :forward]
        return y, (y.shape, y.dtype, x.shape, axis)

    def _forward_units(self, units: int) -> int:
        """How many of the units belong to the forward direction: they come first."""
        return units // 2 if self.bidirectional else units

    def _backward(
        self, saved: Any, dy: np.ndarray | None, dstate: None, input_grad: bool, retain: bool
    ) -> tuple[np.ndarray | None, None, dict[str, np.ndarray]]:
        _, dtype, shape, axis = saved
        if not input_grad:
            return None, None, {}
        dx = np.zeros(shape, dtype)
        if dy is not None:
            steps = np.moveaxis(dx, axis, 0)
            forward = self._forward_units(shape[-1])
            steps[-1, ..., :forward] = dy[..., :forward]
            steps[0, ..., forward:] = dy[..., forward:]
        return dx, None, {}

    def __repr__(self) -> str:
        return f"Last(batch_first={self.batch_first}, bidirectional={self.bidirectional})"
