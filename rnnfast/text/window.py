"""The neural language model of a fixed window: vectors of the last symbols, a hidden layer, a softmax.

It is a baseline for recurrent networks: it has the same vectors and the same logits, but no state except the
last few symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from rnnfast import _core, checks
from rnnfast.nn.activation import Tanh
from rnnfast.nn.dropout import Dropout
from rnnfast.nn.embedding import Embedding
from rnnfast.nn.linear import Linear
from rnnfast.nn.module import Module
from rnnfast.nn.sequential import Sequential
from rnnfast.nn.tape import Tape

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Window", "WindowStream", "window_model"]


def window_model(
    vocabulary: int,
    window: int = 8,
    *,
    embedding: int = 32,
    hidden: int = 256,
    layers: int = 1,
    dropout: float = 0.0,
    rng: checks.Rng = None,
) -> Sequential:
    """The neural language model of Bengio et al., without its direct connections.

    With e(s) the vector of symbol s and n the window,

        h = tanh(W [e(s[t-n+1]) … e(s[t])] + b),    p(s[t+1] | the past) = softmax(U h + d),

    with zeros instead of vectors before the beginning. It sees only the last n symbols, and W grows with n.

    Parameters
    ----------
    vocabulary : int
        The number of different symbols.
    window : int
        n, the number of symbols that the model reads.
    embedding : int
        Size of a symbol's vector.
    hidden : int
        Units of a hidden layer.
    layers : int
        The number of hidden layers.
    dropout : float
        Rate of dropout after each hidden layer.
    rng : int, numpy.random.Generator or None
        Seeds the parameters and the masks.

    Returns
    -------
    Sequential
        From integers [T, B] to logits [T, B, vocabulary]; its state is the contents of the window.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.

    References
    ----------
    Y. Bengio, R. Ducharme, P. Vincent and C. Jauvin, "A neural probabilistic language model", JMLR 3, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.text import window_model
    >>> model = window_model(vocabulary=5, window=3, rng=0)
    >>> x = np.array([[0], [1], [4], [2], [3]])    # [T, B]
    >>> y, state = model(x)
    >>> y.shape
    (5, 1, 5)
    >>> x[0] = 2    # no longer in the window of the last two steps
    >>> [bool((a == b).all()) for a, b in zip(model(x)[0], y)]
    [False, False, False, True, True]
    """
    source = checks.generator(rng)
    width = checks.positive("window", window) * checks.positive("embedding", embedding)
    modules: list[Module] = [Embedding(vocabulary, embedding, rng=source), Window(window)]
    for _ in range(checks.positive("layers", layers)):
        modules += [Linear(width, hidden, rng=source), Tanh(), Dropout(dropout, rng=source)]
        width = hidden
    return Sequential(*modules, Linear(hidden, vocabulary, rng=source))


class Window(Module):
    """y[t] is x[t-size+1] … x[t], one after the other; zeros before the beginning.

    Parameters
    ----------
    size : int
        The number of steps in the window, that of t included.

    Raises
    ------
    TypeError, ValueError
        If `size` is no positive integer.

    Notes
    -----
    The state is the last size - 1 steps of x, [size-1, B, N], so a sequence may be fed whole, in pieces or by
    `stream`. In a batch of several lengths, padding becomes part of the state. Score such a batch with a
    mask, and do not use its final state.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.text import Window
    >>> y, state = Window(3)(np.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]))    # [T, B, N]
    >>> y[:, 0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]
    >>> state.ravel().tolist()
    [3.0, 4.0]
    """

    takes: ClassVar[frozenset[str]] = frozenset({"reset"})

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = checks.positive("size", size)

    def __call__(
        self, x: ArrayLike, state: ArrayLike | None = None, *, reset: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate.

        Parameters
        ----------
        x : array_like
            Floats [T, B, N].
        state : array_like, optional
            [size-1, B, N], the steps before; None: zeros.
        reset : array_like of bool, optional
            [T, B]: where it is true an episode begins, and what came before is out of sight.

        Returns
        -------
        y : numpy.ndarray
            [T, B, size * N].
        state : numpy.ndarray
            [size-1, B, N], the state for the next call.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        """
        return self._apply(x, state, reset)[:2]

    def forward(
        self, x: ArrayLike, state: ArrayLike | None = None, *, reset: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray, Tape]:
        """As calling the module, with a tape for `backward` as the third of what is returned."""
        y, final, saved = self._apply(x, state, reset)
        return y, final, Tape(self, saved)

    def stream(self, batch: int = 1) -> WindowStream:
        """The module one step a call, ``y_t = step(x_t)``, with the window kept in ``step.state``."""
        return WindowStream(self, checks.positive("batch", batch))

    def _apply(
        self, x: ArrayLike, state: ArrayLike | None, reset: ArrayLike | None
    ) -> tuple[np.ndarray, np.ndarray, Any]:
        x = checks.any_floats("x", x)
        if x.ndim != 3:
            raise ValueError(f"x: expected shape [T, B, N], got {x.shape}")
        T, B, N = x.shape
        before = (self.size - 1, B, N)
        if state is None:
            state = np.zeros(before, x.dtype)
        sight = self._sight(reset, T, B)
        steps = np.concatenate([checks.shaped("state", state, x.dtype, before), x])
        y = np.empty((T, B, self.size * N), x.dtype)
        for place, part in enumerate(self._parts(y)):
            part[:] = _seen(steps[place : place + T], self.size - 1 - place, sight[:T])
        final = _seen(steps[T:], self._lags(), sight[T])
        return y, final, (y.shape, x.dtype, final.shape, sight)

    def _parts(self, y: np.ndarray) -> list[np.ndarray]:
        """Views of y: the symbols at each position of the window, the oldest first."""
        return np.split(y, self.size, axis=-1)

    def _lags(self) -> np.ndarray:
        """The distance of each step in the final state from the next step, [size-1, 1]."""
        return np.arange(self.size - 1, 0, -1)[:, np.newaxis]

    def _sight(self, reset: ArrayLike | None, T: int, B: int) -> np.ndarray:
        """How many steps back each step can see, [T+1, B]; the last row is the step after x."""
        if reset is None:
            return np.full((T + 1, B), self.size)
        mask = checks.as_array("reset", reset)
        if mask.dtype != np.bool_:
            raise TypeError(f"reset: expected dtype bool, got {mask.dtype}")
        if mask.shape != (T, B):
            raise ValueError(f"reset: expected shape {(T, B)}, got {mask.shape}")
        steps = np.arange(T + 1)[:, np.newaxis]
        begun = np.full((T + 1, B), -self.size)  # the last step at which an episode began
        begun[:T][mask] = np.broadcast_to(steps[:T], (T, B))[mask]
        return steps - np.maximum.accumulate(begun, axis=0)

    def _check_gradients(
        self, saved: Any, dy: ArrayLike | None, dstate: ArrayLike | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        shape, dtype, before, _ = saved
        return (
            None if dy is None else checks.shaped("dy", dy, dtype, shape),
            None if dstate is None else checks.shaped("dstate", dstate, dtype, before),
        )

    def _backward(
        self,
        saved: Any,
        dy: np.ndarray | None,
        dstate: np.ndarray | None,
        input_grad: bool,
        retain: bool,
    ) -> tuple[np.ndarray | None, np.ndarray, dict[str, np.ndarray]]:
        (T, B, width), dtype, _, sight = saved
        dsteps = np.zeros((T + self.size - 1, B, width // self.size), dtype)
        if dy is not None:
            for place, part in enumerate(self._parts(dy)):
                dsteps[place : place + T] += _seen(part, self.size - 1 - place, sight[:T])
        if dstate is not None:
            dsteps[T:] += _seen(dstate, self._lags(), sight[T])
        return dsteps[self.size - 1 :] if input_grad else None, dsteps[: self.size - 1], {}

    def __repr__(self) -> str:
        return f"Window({self.size})"


class WindowStream:
    """A `Window` one step a call, in one thread at a time; made by its `stream`.

    Parameters
    ----------
    window : Window
    batch : int
        B, the number of parallel sequences.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast.text import window_model
    >>> model = window_model(vocabulary=5, window=3, rng=0)
    >>> x = np.array([[0], [1], [4], [2]])    # [T, B]
    >>> step = model.stream()
    >>> bool((np.stack([step(x_t) for x_t in x]) == model(x)[0]).all())
    True
    """

    def __init__(self, window: Window, batch: int) -> None:
        self._window = window
        self._batch = batch
        self._state: np.ndarray | None = None
        self._turn = _core.Turn(type(self).__name__)

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """y of the next step, [B, size * N], of x [B, N]."""
        x = checks.any_floats("x", x)
        if x.ndim != 2 or len(x) != self._batch:
            raise ValueError(f"x: expected shape [{self._batch}, N], got {x.shape}")
        with self._turn:
            y, self._state = self._window(x[np.newaxis], self._state)
        return y[0]

    @property
    def state(self) -> np.ndarray | None:
        """A copy of the window, [size-1, B, N]; None before the first step. May be set; None is zeros."""
        with self._turn:
            return None if self._state is None else self._state.copy()

    @state.setter
    def state(self, state: ArrayLike | None) -> None:
        held = None if state is None else checks.any_floats("state", state).copy()
        steps, batch = self._window.size - 1, self._batch
        if held is not None and (held.ndim != 3 or held.shape[:2] != (steps, batch)):
            raise ValueError(f"state: expected shape [{steps}, {batch}, N], got {held.shape}")
        with self._turn:
            self._state = held

    def reset(self, mask: ArrayLike | None = None) -> None:
        """Empty the window: of the sequences in `mask`, bool [B], or of all."""
        chosen = checks.row_mask("mask", mask, self._batch)
        with self._turn:
            if self._state is not None:
                self._state[:, chosen] = 0

    def refresh(self) -> None:
        """A window has no weights to take over."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a stream cannot be pickled or copied: make one from the module, and set its state")


def _seen(steps: np.ndarray, lag: int | np.ndarray, sight: np.ndarray) -> np.ndarray:
    """The steps [..., B, N] where they are at most `sight` [..., B] back, else zeros; a new array."""
    return np.where((lag <= sight)[..., np.newaxis], steps, steps.dtype.type(0))
