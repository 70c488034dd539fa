"""Dropout as a module. (A recurrent stack has its own dropout between its layers.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rnnfast import _core, checks
from rnnfast.arithmetic import to_nearest
from rnnfast.nn.module import Stateless, refuse_state
from rnnfast.nn.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Dropout"]

_LAYER = 2**32 - 1  # in the key of the masks, in place of a recurrent stack's layer number


class Dropout(Stateless):
    """In training, each element of x is zero with probability p, else 1/(1-p) times itself.

    In evaluation y is a copy of x.

    Parameters
    ----------
    p : float
        The probability of zero, ``0 <= p < 1``.
    rng : int, numpy.random.Generator or None
        Seeds the masks. Each pass in training draws the next one; ``forward(x, rng=5)`` draws the same at
        every call.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    Notes
    -----
    A mask depends on (seed, call) and each element's place alone: its index along the first axis, along the
    last, and in between. It is drawn anew in `backward`, not stored.

    Examples
    --------
    >>> import numpy as np, rnnfast as rf
    >>> dropout = rf.Dropout(0.5, rng=0)
    >>> x = np.ones((4, 2, 3), np.float32)
    >>> y, state, tape = dropout.forward(x)
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    >>> dx, _ = dropout.backward(tape, x)
    >>> bool((dx == y).all()), bool((dropout(x)[0] == x).all())
    (True, True)
    """

    def __init__(self, p: float = 0.5, *, rng: checks.Rng = None) -> None:
        super().__init__()
        self.p = checks.probability("p", p)
        self._seed_masks(checks.generator(rng))

    def _apply(self, x: ArrayLike, training: bool = False, rng: checks.Rng = None) -> tuple[np.ndarray, Any]:
        x = checks.any_floats("x", x)
        key = self._mask_key(rng) if training and self.p else None
        saved = (x.shape, x.dtype, key, self.p)
        return _dropped(x, saved), saved

    def forward(
        self, x: ArrayLike, state: None = None, *, training: bool = True, rng: checks.Rng = None
    ) -> tuple[np.ndarray, None, Tape]:
        """Drop, and save what `backward` needs.

        Parameters
        ----------
        x : array_like
            Floats of any shape.
        state : None
            There is none.
        training : bool
            False: nothing is dropped.
        rng : int, numpy.random.Generator or None
            The mask's seed for this pass alone, in place of the module's own.

        Returns
        -------
        y : numpy.ndarray
            Of x's shape.
        state : None
            There is none.
        tape : Tape
            For `backward`.
        """
        refuse_state("state", state, self)
        checks.check_rng(rng)
        training = checks.flag("training", training)
        y, saved = self._apply(x, training, rng)
        return y, None, Tape(self, saved)

    def _dx(self, saved: Any, dy: np.ndarray) -> np.ndarray:
        return _dropped(dy, saved)

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


@to_nearest
def _dropped(array: np.ndarray, saved: Any) -> np.ndarray:
    """A new array: `array` times the mask that `saved` keys."""
    shape, dtype, key, p = saved
    if key is None:
        return array.copy(order="C")
    *outer, units = shape or (1,)
    steps = outer[0] if outer else 1
    sequence = (steps, int(np.prod(outer[1:])), units)
    seed, call = key
    mask = _core.dropout_mask(seed, call, _LAYER, sequence, p, dtype).reshape(shape)
    return np.multiply(array, mask, out=mask)
